"""Configs to and from dictionaries, files and flags.

A Config is a frozen dataclass. Written down, it is a mapping of its fields; where a field may hold different Configs
(its annotation is a Protocol) the mapping also says which, ``kind: networks.unet``. A file may hold all of a Config or
only what differs from the one it is laid upon. Flags are the same keys joined by dots, hyphens and underscores alike.
"""

import contextlib
import dataclasses
import inspect
import json
import os
import reprlib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import tyro
import yaml

from arzhang import files, plugins
from arzhang.types import MisuseError

VERSION = 1
C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """Write a Config down in plain values.

    Example:
        >>> from arzhang.run import Adam
        >>> to_dict(Adam(rate=1e-4))["rate"]
        0.0001
    """
    hints = get_type_hints(type(config))
    return {
        field.name: _plain(getattr(config, field.name), open_=_is_open(hints[field.name]))
        for field in dataclasses.fields(config)
    }


def from_dict(kind: type[C], data: Mapping[Any, Any], *, base: C | None = None, path: str = "") -> C:
    """Read a Config; what the mapping leaves out comes from ``base`` or from the fields' defaults.

    Raises:
        MisuseError: A key is unknown (the nearest is named), missing, or its value is not of the field's type.

    Example:
        >>> from arzhang.run import Adam
        >>> from_dict(Adam, {"rte": 1.0})
        Traceback (most recent call last):
        arzhang.types.MisuseError: There is no key 'rte'; did you mean rate?
    """
    fields = {field.name: field for field in dataclasses.fields(cast("Any", kind))}
    hints = get_type_hints(kind)
    data = {key.replace("-", "_") if isinstance(key, str) else key: value for key, value in data.items()}
    for key in data:
        if key not in fields:
            raise MisuseError(f"There is no key {path + str(key)!r}{plugins.nearest(str(key), list(fields))}")
    values = {name: value for name in fields if (value := getattr(base, name, tyro.MISSING)) is not tyro.MISSING}
    for name, value in data.items():
        values[name] = _value(hints[name], value, values.get(name), path + name)
    for name, field in fields.items():
        if name not in values and _default(field) is dataclasses.MISSING:
            raise MisuseError(f"The key {path + name!r} is missing, and it has no default.")
    return kind(**values)


def save(config: Any, path: Path, **about: Any) -> None:
    """Write a Config to a JSON file, with its version and what else is to be said about it."""
    text = json.dumps({"version": VERSION, **about, **to_dict(config)}, indent=2) + "\n"
    files.write_whole(path, text.encode(), durable=True)


def read(path: Path) -> dict[Any, Any]:
    """Read what a YAML or JSON file says, such as an earlier run's ``config.json``; a folder means the one in it.

    Raises:
        MisuseError: The file is absent, is not YAML or JSON, or comes from another version.
    """
    path = path / "config.json" if path.is_dir() else path
    parse = json.loads if path.suffix == ".json" else yaml.safe_load
    try:
        data = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, RecursionError, yaml.YAMLError) as error:
        raise MisuseError(f"The configuration {path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise MisuseError(
            f"The configuration {path} holds {reprlib.repr(data)}, where a mapping of keys to values is expected."
        )
    version = data.pop("version", VERSION)
    data.pop("made_with", None)
    if version != VERSION:
        raise MisuseError(f"{path} is of configuration version {version!r}; this Arzhang reads version {VERSION}.")
    return data


def flat(config: Any) -> dict[str, Any]:
    """Return every value under its dotted key."""

    def walk(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in data.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(walk(to_dict(config), ""))


def select(config: C, path: str, name: str) -> C:
    """Put another Config of the same room at a dotted path; fields that both have keep their values.

    Example:
        >>> from arzhang.models import pix2pix
        >>> plugins.address(select(pix2pix.Config(), "discriminator", "pixelgan").discriminator)
        'networks.pixelgan'
    """
    head, _, rest = path.partition(".")
    current = getattr(config, head)
    if rest:
        return _replace(config, head, select(current, rest, name))
    kind = _fitting(get_type_hints(type(config))[head], plugins.address(current).partition(".")[0], name)
    return _replace(config, head, _carry(kind, current))


def select_named(config: C, arguments: Sequence[str]) -> tuple[C, list[str]]:
    """Put the Configs in place that flags name, such as ``--model.generator unet``; return the other flags, too."""
    left = [part for argument in arguments for part in _split_flag(argument)]
    rest: list[str] = []
    while left:
        flag = left.pop(0)
        path = flag.removeprefix("--").replace("-", "_")
        if flag.startswith("--") and left and not left[0].startswith("-") and path in _open_paths(config):
            config = select(config, path, left.pop(0))
        else:
            rest.append(flag)
    return config, rest


def _replace(config: C, name: str, value: Any) -> C:
    return cast("C", dataclasses.replace(cast("Any", config), **{name: value}))


def _split_flag(argument: str) -> list[str]:
    return argument.split("=", 1) if argument.startswith("--") and "=" in argument else [argument]


def _open_paths(config: Any, prefix: str = "") -> set[str]:
    """Return the dotted paths at which different Configs may stand."""
    found: set[str] = set()
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name, None)
        if _is_open(hint):
            found.add(prefix + name)
        if dataclasses.is_dataclass(value):
            found |= _open_paths(value, f"{prefix}{name}.")
    return found


def _is_open(hint: Any) -> bool:
    return isinstance(hint, type) and getattr(hint, "_is_protocol", False)


def _fitting(hint: Any, room: str, name: str) -> Any:
    """Return the Config of this name, if it builds from what the field's kind builds from."""

    def kind_of(room: str, name: str) -> Any:
        kind = getattr(plugins.find(room, name), "Config", None)
        return kind if takes(kind) == takes(hint) else None

    def takes(kind: Any) -> set[str] | None:
        return set(inspect.signature(kind.build).parameters) if hasattr(kind, "build") else None

    kind = kind_of(room, name)
    if kind is None:
        others = [other for where in plugins.ROOMS for other in plugins.names(where) if kind_of(where, other)]
        needed = hint.__name__.removesuffix("Config").lower()
        raise MisuseError(f"{name} cannot stand where a {needed} is needed; these can: {', '.join(others)}.")
    return kind


def _address(named: str, path: str) -> tuple[str, str]:
    room, dot, name = named.partition(".")
    if not dot or not room.isidentifier():
        raise MisuseError(
            f"The key {path + '.kind'!r} holds {named!r}, where something like 'networks.unet' is expected."
        )
    return room, name


def _plain(value: Any, *, open_: bool) -> Any:
    if dataclasses.is_dataclass(value):
        return ({"kind": plugins.address(value)} if open_ else {}) | to_dict(value)
    if isinstance(value, tuple):
        return [_plain(each, open_=False) for each in value]
    return os.fspath(value) if isinstance(value, Path) else value


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _carry(kind: Any, old: Any) -> Any:
    """Make a Config of another kind, with the old one's values where both have the field.

    Made without ``__init__``, since a field that only a later flag gives is still missing here.
    """
    new, hints = object.__new__(kind), get_type_hints(kind)
    for field in dataclasses.fields(kind):
        value = getattr(old, field.name, _default(field))
        if value is None and types.NoneType not in get_args(hints[field.name]):  # such as a root that is needed now
            value = _default(field)
        object.__setattr__(new, field.name, tyro.MISSING if value is dataclasses.MISSING else value)
    return new


def _value(hint: Any, value: Any, base: Any, path: str) -> Any:
    """Turn a plain value into what the annotation asks for."""
    if _is_open(hint) or dataclasses.is_dataclass(hint):
        return _config(hint, value, base, path)
    origin, options = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        for option in options:
            with contextlib.suppress(MisuseError):
                return _value(option, value, base, path)
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = [options[0]] * len(value) if options[-1] is Ellipsis else list(options)
        if len(kinds) == len(value):
            return tuple(_value(kind, each, None, path) for kind, each in zip(kinds, value, strict=True))
    elif origin is Literal:
        if any(value == option and type(value) is type(option) for option in options):
            return value
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)  # YAML reads 1e-4 as a string
    elif isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise MisuseError(f"The key {path!r} holds {reprlib.repr(value)}, where {_wanted(hint)} is expected.")


def _wanted(hint: Any) -> str:
    origin, options = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(repr, options))}"
    if origin in {Union, types.UnionType}:
        return " or ".join(map(_wanted, options))
    if isinstance(hint, type):
        return "nothing" if hint is types.NoneType else hint.__name__
    return str(hint)


def _config(hint: Any, value: Any, base: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise MisuseError(
            f"The key {path!r} holds {reprlib.repr(value)}, where a mapping of keys to values is expected."
        )
    data = dict(value)
    kind = type(base) if base is not None else hint
    if _is_open(hint):
        named = data.pop("kind", None if base is None else plugins.address(base))
        if named is None:
            raise MisuseError(f"The key {path!r} does not say its kind, such as 'kind: networks.unet'.")
        if base is not None and "." not in str(named):
            named = f"{plugins.address(base).partition('.')[0]}.{named}"
        kind = _fitting(hint, *_address(str(named), path))
        if base is not None and type(base) is not kind:
            base = _carry(kind, base)
    return from_dict(kind, data, base=base, path=f"{path}.")
