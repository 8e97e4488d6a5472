"""Shapes and types are enforced at every call while the tests run, and one thread keeps small networks fast."""

import resource
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("arzhang", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")  # int for float
torch.set_num_threads(1)
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)  # speed is no test, chance no verdict
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def tiny():
    """Flags of `arzhang train demo` that make a run of seconds, with dropout and a moving average."""
    values = {
        "model.generator.depth": 5,
        "model.generator.width": 4,
        "model.discriminator.layers": 1,
        "model.discriminator.width": 4,
        "data.size": 32,
        "steps": 2,
        "judge-every": 2,
        "ema": 0.5,
        "device": "cpu",
    }
    return [part for key, value in values.items() for part in (f"--{key}", str(value))]


@pytest.fixture(scope="session")
def tiny_run(tiny, tmp_path_factory) -> Path:
    """The folder of such a run; copy it before you change it."""
    from arzhang.cli import main

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "demo", *tiny, "--data.count", "8", "--data.held-out", "2", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def largest_file():
    """Let no file grow beyond so many bytes, as on a disk that is full: ``with largest_file(100): ...``."""

    @contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture
def arzhang(capsys):
    """Run a command in this process; give back its status and what it said."""
    from arzhang.cli import main

    def call(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # how tyro ends
            status = exit_.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return SimpleNamespace(status=status, out=said.out, err=said.err)

    return call
