"""What README and docs say is so: links lead somewhere, commands parse, flags exist, the plug-in of the page runs."""

import json
import re
import shlex
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from arzhang import cli, config, plugins
from arzhang.run import from_recipe

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted(ROOT.glob("docs/**/*.md")),
    ]
}
PAGES |= {
    str(path.relative_to(ROOT)): "\n\n".join(
        "".join(cell["source"])
        for cell in json.loads(path.read_text("utf-8"))["cells"]
        if cell["cell_type"] == "markdown"
    )
    for path in sorted(ROOT.glob("notebooks/*.ipynb"))
}
PARSERS = {
    "train": partial(cli._parse_run, cli._Train),
    "inspect": partial(cli._parse_run, cli._Inspect),
    "translate": partial(cli._parse, cli._Translate, name="translate"),
    "sample": partial(cli._parse, cli._Sample, name="sample"),
    "reconstruct": partial(cli._parse, cli._Reconstruct, name="reconstruct"),
    "interpolate": partial(cli._parse, cli._Interpolate, name="interpolate"),
    "evaluate": partial(cli._parse_look, cli._Evaluate, name="evaluate"),
    "compare": partial(cli._parse_look, cli._Compare, name="compare"),
    "check": partial(cli._parse, cli._Check, name="check"),
    "study": cli._parse_study,
    "list": partial(cli._parse, cli._List, name="list"),
}
TINY = "--steps 2 --data.size 32 --data.count 4 --data.held-out 2 --model.generator.depth 3 --model.generator.width 4"


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def prose(page):
    return re.sub(r"^```.*?^```", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)


def commands(page):
    """The arguments of every command of ours that a page shows, but for those with a placeholder such as RECIPE."""
    shown = [line for block in blocks(page, "sh") for line in block.splitlines()]
    shown += re.findall(r"`(arzhang [a-z]+ [^`]+)`", prose(page))
    words = [shlex.split(re.split("[<>]", line)[0]) for line in shown if not re.search(r"\b[A-Z]{3,}\b", line)]
    return [rest for first, *rest in filter(None, words) if first == "arzhang"]


def anchors(page):
    headings = re.findall(r"^#+ (.*)", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(autouse=True)
def _desk(tmp_path, monkeypatch):
    """A folder in which everything lies that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_joined", {})
    for name in ("new", *(f"{folder}/{i}" for folder in ("photos", "pairs/A", "pairs/B") for i in range(2))):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 32)).save(f"{name}.png")
    Path("settings.yaml").write_text(*blocks("docs/training.md", "yaml"))
    Path("wide.yaml").write_text(*blocks("docs/autoencoding.md", "yaml"))
    (plugin,) = (block for block in blocks("docs/extending.md", "python") if "\nroom = " in block)
    Path("spectral_patch.py").write_text(plugin)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose(page)):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(str(path.resolve().relative_to(ROOT))), f"{target}#{anchor}"


@pytest.mark.parametrize(("page", "arguments"), [(page, arguments) for page in PAGES for arguments in commands(page)])
def test_every_command_can_be_given(page, arguments):
    PARSERS[arguments[0]](arguments[1:])


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_exists(page):
    run = from_recipe("pix2pix")
    runs = [config.select(run, "data", name) for name in plugins.names("data")]
    runs += [from_recipe(name) for name in plugins.names("recipes")]
    model = from_recipe("vae-mnist")
    runs += [config.select(model, "model.likelihood", name) for name in plugins.names("likelihoods")]
    kinds = (
        *(cli._Train, cli._Inspect, cli._Translate, cli._Sample, cli._Reconstruct, cli._Interpolate, cli._Making),
        *(cli._Evaluate, cli._Compare, cli._Looking, cli._Check, cli._List),
        *(cli._Study, *(plugins.find("study", name).Config for name in plugins.names("study"))),
    )
    looks = [config.select(cli._Looking(), "features", name) for name in plugins.names("features")]
    known = {
        "help",
        "no_cache",
        "from",
        *(path for each in runs for path in config._open_paths(each)),
        *(key for each in (*runs, *looks) for key in config.flat(each)),
    }
    known |= {field.name for kind in kinds for field in fields(kind)}
    named = re.findall(r"`--([a-z][\w.-]*)", prose(page))
    assert {name.replace("-", "_") for name in named} <= known


@pytest.mark.parametrize("page", PAGES)
def test_every_example_in_python_compiles(page):
    for block in blocks(page, "python"):
        compile(block, page, "exec")


def test_the_plug_in_of_the_page_does_what_the_page_does_with_it():
    for name, *arguments in commands("docs/extending.md"):
        assert cli.main([name, *arguments, *(TINY.split() if name == "train" else ())]) == 0
    assert Path("made/new.png").exists()
