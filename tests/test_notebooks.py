"""The notebooks run from top to bottom, and what they show is whole, and small.

To show anew what they make: ``jupyter execute --inplace notebooks/*.ipynb``.
"""

import os
from base64 import b64decode
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = {path.stem: path for path in Path(__file__).parents[1].glob("notebooks/*.ipynb")}
QUICK = 'steps = 2\nout = "run"'
LARGEST = 300_000
"""Bytes of the pictures of a notebook."""


def of(name):
    return nbformat.read(NOTEBOOKS[name], as_version=4)


def coded(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_in_a_fresh_kernel(name, tmp_path, monkeypatch):
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(path).resolve()) for path in paths if path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = of(name)
    (parameters,) = (cell for cell in coded(notebook) if "parameters" in cell.metadata.get("tags", ()))
    parameters.source = QUICK
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, timeout=300).execute()
    for cell, kept in zip(coded(notebook), coded(of(name)), strict=True):
        made, shown = ([kind for output in each.outputs for kind in output.get("data", ())] for each in (cell, kept))
        assert {"image/png"} & set(made) == {"image/png"} & set(shown), cell.source
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source
    assert (tmp_path / "run/report.html").exists()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_a_notebook_shows_was_made_in_order_and_is_small(name):
    cells = coded(of(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    kinds = [(kind, value) for output in outputs for kind, value in output.get("data", {}).items()]
    assert {kind for kind, _ in kinds} == {"image/png", "text/plain"}
    pictures = [b64decode(value) for kind, value in kinds if kind == "image/png"]
    assert len(pictures) >= 4
    assert sum(map(len, pictures)) < LARGEST
