"""The house. Read this page first: it says what is where, and who may use whom.

A *room* is a folder or a file of ``src/arzhang``. Rooms lie in layers, and imports point down: a room may use its own
files and the layers below, with the exceptions that ``EXCEPTIONS`` lists. Rooms that are not built yet have their place
already; a room that has no place here fails the tests. A file that begins with an underscore is a helper of its folder.

Most folders are open: one thing more is one file, and one line in the folder's ``__init__``. The file's name is the
public name, everywhere: in Python, in a configuration and on the command line. A thing that has more than its Python,
such as weights, is a folder of its name.
"""

import ast
import importlib
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from arzhang import plugins

HOUSE = Path(__file__).parents[1] / "src/arzhang"

LAYERS = {
    6: {
        "cli": "words to functions, errors to sentences",
        "__main__": "python -m arzhang",
        "web": "the page that runs in a browser, the demo's server",
    },
    5: {
        "study": "laboratories and ablations",
        "share": "onnx, model cards, publishing",
    },
    4: {
        "train": "the loop, the same for every game",
        "translate": "pictures of any size, with what a run has learnt",
        "sample": "pictures from noise, and by way of latents",
        "restore": "what a run has learnt, whichever of the two that is",
        "evaluate": "metrics over folders and runs",
        "agreement": "a run that draws what it is asked for, by a classifier",
        "explain": "a run that explains pictures, in nats and in pictures",
    },
    3: {
        "recipes": "one published or recommended result a file: a function that returns a complete Run",
    },
    2: {
        "models": "games: one paper a file",
        "metrics": "one metric a file",
        "objectives": "the variational objective",
        "checkpoint": "a run at one step, on disk",
        "report": "what people look at",
        "check": "the audit of a folder",
        "summary": "what a run would be made of",
        "evidence": "pictures from anywhere, as features",
    },
    1: {
        "data": "datasets, one a file",
        "divergences": "one a file",
        "estimators": "gradient estimators, one a file",
        "baselines": "what a score function subtracts, one a file",
        "likelihoods": "what a decoder says of pictures, one a file",
        "features": "networks that are only looked through",
        "losses": "one a file",
        "networks": "one a file",
    },
    0: {
        "types": "the words that all share: Batch, Move, Game, Dataset",
        "rng": "all randomness is a function of (seed, what, index)",
        "config": "Configs to and from dictionaries, files and flags",
        "run": "the Config of a training",
        "plugins": "names to things",
        "images": "the one safe door for pictures",
        "layout": "what lies in a folder",
        "files": "files that are whole or absent",
        "loading": "batches, in an order that is a function of (seed, step)",
        "processes": "many that train as one",
        "allocator": "memory that is kept between steps",
        "inference": "what norms and dropout do when nothing is learnt",
        "distributions": "the Gaussian mixture, overlaps, what a distribution's parameters are",
        "gradients": "gradients of estimates, a sample at a time",
        "downloads": "weights and data, checked and resumable",
        "weights": "the one safe door for what networks have learnt",
        "moments": "means and covariances that merge",
    },
}

# What a room may import besides itself and layer 0, where that is not simply all that lies below.
EXCEPTIONS = {
    "__main__": {"cli"},
    **dict.fromkeys(LAYERS[4], {*LAYERS[3], *LAYERS[2], *LAYERS[1]} - {"models", "metrics"}),  # by name: plugins.find
    "sample": {*LAYERS[2], *LAYERS[1], "translate"} - {"models", "metrics"},  # files go where translations would
    "restore": {"checkpoint", "sample", "translate"},
    "evaluate": {*LAYERS[2], *LAYERS[1], "sample", "translate"} - {"models", "metrics"},  # a run, by what it makes
    **dict.fromkeys(("agreement", "explain"), {*LAYERS[2], *LAYERS[1], "evaluate", "sample"} - {"models", "metrics"}),
    "train": {*LAYERS[3], *LAYERS[2], *LAYERS[1], "evaluate"}
    - {"models", "metrics"},  # the best checkpoint, by any metric
    "recipes": {"models", "data", "networks"},
    "models": {"objectives", *LAYERS[1]},
    **dict.fromkeys(LAYERS[1], frozenset()),
    "losses": {"networks", "features"},
    "features": {"networks"},
}

# ``import arzhang`` is for users: what it offers comes from here, and the house itself imports from the rooms.
FRONT_DOOR = set(LAYERS[4])

FOUNDATION = {"PIL", "jaxtyping", "numpy", "safetensors", "torch", "tyro", "yaml", *sys.stdlib_module_names}
FETCHING = {"pooch", "rich"}  # what downloads, and nothing else of layer 0, imports where it needs it
HEAVY = {"gradio", "matplotlib", "onnx", "onnxruntime", "onnxscript", "pooch", "scipy", "sklearn"}
UNPICKLING = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
NAMELESS = {"base.py", "common.py", "helpers.py", "utils.py"}


def may_import(room: str) -> set[str]:
    if room == "__init__":
        return FRONT_DOOR
    layer_of = {other: layer for layer, rooms in LAYERS.items() for other in rooms}
    below = {other for other, layer in layer_of.items() if layer < layer_of[room]}
    return {room, *LAYERS[0], *EXCEPTIONS.get(room, below)}


def faults(house: Path) -> Iterator[str]:
    """Yield a sentence for everything in a house that the page above does not allow."""
    for file in sorted(house.rglob("*.py")):
        place = file.relative_to(house)
        room = place.parts[0].removesuffix(".py")
        if file.name in NAMELESS:
            yield f"{place} should be named after what is in it."
        if room != "__init__" and not any(room in rooms for rooms in LAYERS.values()):
            yield f"{place} has no place in LAYERS."
            continue
        for line, name, in_function in imports(file):
            top, target, thing = (*name.split("."), "", "")[:3]
            where = f"{place}:{line}"
            if top == "":
                yield f"{where} imports {name}, which should be written in full, from arzhang on."
            elif top == "arzhang" and target not in may_import(room):
                yield f"{where} imports {name}, which {room} may not."
            elif room == target == "models" and file.stem != "__init__" and not thing.startswith("_"):
                yield f"{where} imports {name}, but a model stands alone."
            elif room == "downloads" and in_function and top in FETCHING:
                continue
            elif room in LAYERS[0] and top not in {"arzhang", *FOUNDATION}:
                yield f"{where} imports {name}, which layer 0 does without."
            elif top in HEAVY and not in_function:
                yield f"{where} imports {name}, which belongs inside the function that needs it."
            elif top in UNPICKLING or name == "torch.load" or (name == "torch.load, guarded" and room != "weights"):
                yield f"{where} uses {name}, but nothing is unpickled."


def imports(file: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield line and full name of all that a file imports, and whether that happens in a function; also torch.load.

    It is guarded where ``weights_only=True`` is written in the call, which lets a file hold tensors only.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {node for function in functions for node in ast.walk(function)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    guarded = {call.func for call in calls if "weights_only=True" in map(ast.unparse, call.keywords)}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
            case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                names = ["torch.load, guarded" if node in guarded else "torch.load"]
            case _:
                continue
        yield from ((node.lineno, name, node in inside) for name in names)


def test_the_house_is_as_this_page_says():
    assert list(faults(HOUSE)) == []


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        ("rng.py", "from arzhang.networks import unet", "imports arzhang.networks.unet, which rng may not"),
        ("config.py", "def f():\n    from arzhang import train", "config.py:2 imports arzhang.train, which config may"),
        ("images.py", "import rich", "which layer 0 does without"),
        ("networks/unet.py", "import arzhang.losses", "imports arzhang.losses, which networks may not"),
        ("data/paired.py", "from arzhang import check", "which data may not"),
        ("models/pix2pix.py", "from arzhang.models import cyclegan", "a model stands alone"),
        ("models/pix2pix.py", "from arzhang import report", "which models may not"),
        ("recipes/demo.py", "from arzhang.losses import l1", "which recipes may not"),
        ("train.py", "from arzhang.models.pix2pix import Config", "which train may not"),
        ("train.py", "from arzhang import translate", "which train may not"),
        ("cli.py", "import arzhang", "imports arzhang, which cli may not"),
        ("cli.py", "from arzhang import load", "imports arzhang.load, which cli may not"),
        ("__init__.py", "from arzhang.rng import generator", "which __init__ may not"),
        ("report/_plot.py", "from matplotlib import pyplot", "belongs inside the function"),
        ("report/_plot.py", "from . import _page", "should be written in full"),
        ("translate.py", "import pickle", "nothing is unpickled"),
        ("translate.py", "import torch\ntorch.load('x')", "translate.py:2 uses torch.load"),
        ("translate.py", "from torch import load", "nothing is unpickled"),
        ("translate.py", "import torch\ntorch.load('x', weights_only=True)", "nothing is unpickled"),
        ("weights.py", "import torch\ntorch.load('x')", "nothing is unpickled"),
        ("weights.py", "import torch\ntorch.load('x', weights_only=False)", "nothing is unpickled"),
        ("downloads.py", "import pooch", "which layer 0 does without"),
        ("images.py", "def f():\n    import pooch", "which layer 0 does without"),
        ("networks/utils.py", "", "named after what is in it"),
        ("attic/x.py", "", "has no place"),
    ],
)
def test_what_the_page_does_not_allow_is_found(tmp_path, place, text, expected):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(text)
    (fault,) = faults(tmp_path)
    assert expected in fault


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("losses/lpips.py", "from arzhang.features import vgg"),
        ("models/pix2pix.py", "from arzhang.models import _noise\nfrom arzhang import losses, rng"),
        ("report/_plot.py", "def f():\n    from matplotlib import figure"),
        ("weights.py", "import torch\ntorch.load('x', weights_only=True)"),
        ("downloads.py", "def f():\n    import pooch"),
        ("__main__.py", "from arzhang.cli import main"),
        ("__init__.py", "from arzhang.train import train"),
    ],
)
def test_what_the_page_allows_is_no_fault(tmp_path, place, text):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(text)
    assert list(faults(tmp_path)) == []


@pytest.mark.parametrize("room", plugins.ROOMS)
def test_the_public_names_of_a_room_are_its_files(room):
    files = [file.stem for file in (HOUSE / room).glob("*.py") if not file.name.startswith("_")]
    files += [file.parent.name for file in (HOUSE / room).glob("*/__init__.py")]
    assert importlib.import_module(f"arzhang.{room}").__all__ == sorted(files)


@pytest.mark.parametrize("room", plugins.ROOMS)
def test_everything_in_a_room_says_what_it_is(room):
    for name in plugins.names(room):
        assert plugins.about(room, name).endswith("."), name
        thing = plugins.find(room, name)
        doc = getattr(thing, "Config", thing).__doc__
        assert doc
        assert not doc.startswith("Config("), name  # which dataclasses say of themselves


@pytest.mark.parametrize("room", plugins.ROOMS)
def test_every_field_of_a_config_has_its_line_of_help(room):
    for file in (HOUSE / room).rglob("*.py"):
        classes = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]
        for body in (node.body for node in classes if node.name == "Config"):
            for field, after in pairwise(body):
                if isinstance(field, ast.AnnAssign):
                    assert isinstance(after, ast.Expr), f"{file.name}: {ast.unparse(field)}"
