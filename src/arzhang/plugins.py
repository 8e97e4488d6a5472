"""Names become things: ``find("networks", "unet")`` is what ``from arzhang.networks import unet`` gives.

A room is a folder of the package; a name is a file's name, hyphens and underscores alike, but for the underscore at the
end of a file that Python could not import by its name, such as ``lambda_``. A file of the user's own joins a room by
naming it, ``room = "networks"``, as ``--plugin my_module`` or as an entry point of group ``arzhang``.
"""

import difflib
import functools
import importlib
import keyword
import sys
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from arzhang.types import MisuseError

ROOMS = (
    "recipes",
    "models",
    "data",
    "networks",
    "losses",
    "likelihoods",
    "features",
    "metrics",
    "estimators",
    "divergences",
    "study",
)
_joined: dict[tuple[str, str], ModuleType] = {}


def names(room: str) -> list[str]:
    """Return the public names of a room, sorted.

    Example:
        >>> "pix2pix" in names("models")
        True
    """
    if room not in ROOMS:
        raise MisuseError(f"There is no room {room!r}{nearest(room, list(ROOMS))}")
    _join_entry_points()
    own = (name.removesuffix("_") for name in _own(room))
    return sorted([*own, *(name for where, name in _joined if where == room)])


def find(room: str, name: str) -> Any:
    """Return what a room publishes under a name: a function, or a module with a ``Config``.

    Raises:
        MisuseError: Nothing in the room has this name; the nearest names are given.
    """
    return _published(_file(room, name))


def about(room: str, name: str) -> str:
    """Return the first line of what a name's file says of itself.

    Example:
        >>> about("losses", "l1")
        'The mean absolute error.'
    """
    return (_file(room, name).__doc__ or "").strip().partition("\n")[0]


def address(config: object) -> str:
    """Return where a Config lives, as ``room.name``.

    Example:
        >>> from arzhang.networks import unet
        >>> address(unet.Config())
        'networks.unet'
    """
    module = importlib.import_module(type(config).__module__)
    room, _, name = module.__name__.removeprefix("arzhang.").rpartition(".")
    return f"{getattr(module, 'room', room)}.{name}"


def join(module_name: str) -> None:
    """Let a module of the user's own into the room that it names.

    Raises:
        MisuseError: The module cannot be imported, names no room, publishes nothing, or has the name of a file there.
    """
    if "" not in sys.path:
        sys.path.append("")  # the current folder, which a console script does not look into
    _admit(module_name)


def nearest(name: str, known: list[str]) -> str:
    """Return the end of a sentence about an unknown name: the likeliest meant, or else all there are.

    Example:
        >>> nearest("pixpix", ["demo", "pix2pix"])
        '; did you mean pix2pix?'
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}."


def _own(room: str) -> list[str]:
    names: list[str] = importlib.import_module(f"arzhang.{room}").__all__
    return names


def _file(room: str, name: str) -> ModuleType:
    key = name.replace("-", "_")
    if key not in names(room):
        known = [each.replace("_", "-") for each in names(room)]
        raise MisuseError(f"There is no {name!r} in {room}{nearest(key.replace('_', '-'), known)}")
    file = f"{key}_" if keyword.iskeyword(key) else key
    return _joined.get((room, key)) or importlib.import_module(f"arzhang.{room}.{file}")


def _published(module: ModuleType) -> Any:
    return module if hasattr(module, "Config") else getattr(module, _name(module), None)


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _admit(module_name: str) -> None:
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a stranger's file raises
        raise MisuseError(f"The plug-in {module_name!r} cannot be imported: {error}.") from error
    room, name = getattr(module, "room", None), _name(module)
    if room not in ROOMS or _published(module) is None:
        raise MisuseError(
            f"The plug-in {module.__name__!r} needs a line such as room = 'networks' (one of {', '.join(ROOMS)}), "
            f"and either a class Config or something called {name}."
        )
    if name in _own(room):
        raise MisuseError(f"There is a {name} in {room} already; give the plug-in {module.__name__!r} another name.")
    _joined[room, name] = module


@functools.cache
def _join_entry_points() -> None:
    for entry in entry_points(group="arzhang"):
        _admit(entry.module)
