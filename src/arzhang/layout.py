"""What lies in a folder: pairs or plain pictures, and how they are split.

Names of folders are recognised in any case. At the top may lie ``train``, ``val`` and ``test``. In each of them, or at
the top, lie either single pictures or two folders whose pictures pair up by name: ``A`` and ``B``, ``source`` and
``target``, ``input`` and ``output``, ``labels`` and ``photos``. The two levels may be swapped (``A/train``) or
joined (``trainA``), but ``train`` beside ``trainA`` is refused, and so are folders whose names mean the same, ``A``
beside ``a``. Single pictures are pairs, side by side, when more than nine in ten of them are exactly twice as wide as
high; the others are then mistakes.

    root/train/7.png          root/train/A/7.png        root/A/train/7.png        root/trainA/7.png
                              root/train/B/7.png        root/B/train/7.png        root/trainB/7.png
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from arzhang import images, rng
from arzhang.types import ArzhangError, MisuseError

Kind = Literal["plain", "side-by-side", "two-folders", "two-piles"]

_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SIDES = (
    ("a", "b"),
    ("source", "target"),
    ("input", "output"),
    ("input", "target"),
    ("inputs", "outputs"),
    ("inputs", "targets"),
    ("label", "photo"),
    ("labels", "photos"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One example on disk.

    Args:
        name: The path of its first file below the folder of its split.
        files: One picture, or the two of a pair.
    """

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """What one split holds.

    Args:
        items: The examples, in natural order.
        lone_a: Pictures of the first folder that have no partner of the same name in the second.
        lone_b: Likewise for the second.
        ambiguous: Pictures of one folder that share a name and differ only by suffix.
    """

    items: tuple[Item, ...]
    lone_a: tuple[Path, ...] = ()
    lone_b: tuple[Path, ...] = ()
    ambiguous: tuple[tuple[Path, ...], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What lies in a folder.

    Args:
        root: The folder.
        kind: How its pictures belong together.
        splits: ``train``, ``val`` and ``test``, as far as the folder names them, or else ``all``.
    """

    root: Path
    kind: Kind
    splits: Mapping[str, Split]


@dataclass(frozen=True, kw_only=True, slots=True)
class Division:
    """What to learn from, and what to keep back."""

    train: tuple[Item, ...]
    held_out: tuple[Item, ...]


def survey(root: Path, *, a: str | None = None, b: str | None = None) -> Layout:
    """Find out what lies in a folder, without decoding a picture.

    Args:
        root: The folder.
        a: The name of the first folder of pairs, where it is not one of the usual names.
        b: The name of the second.

    Raises:
        ArzhangError: A folder is missing, cannot be read or holds no pictures.
        MisuseError: The named folders are not there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("trainA/1.png", "trainB/1.jpg", "trainB/2.jpg"):
        ...         Path(folder, name).parent.mkdir(exist_ok=True)
        ...         Path(folder, name).touch()
        ...     found = survey(Path(folder))
        >>> found.kind, [item.name for item in found.splits["train"].items]
        ('two-folders', ['1.png'])
        >>> [path.name for path in found.splits["train"].lone_b]
        ['2.jpg']
    """
    if (a is None) != (b is None):
        raise MisuseError(f"Only one folder of pairs is named, {a or b!r}; name both, a and b, or neither.")
    if a is not None and b is not None and _bare(a) == _bare(b):
        raise MisuseError(f"Both folders are named {a!r}, and nothing is learnt from a folder and itself; name two.")
    pairs = _folders_of_pairs(root, sides=_sides_named(a, b))
    if a is not None and not pairs:
        raise MisuseError(
            f"{root} and its train, val and test folders hold no two folders named {a!r} and {b!r}; "
            f"the folders in it are: {', '.join(sorted(path.name for path in _subfolders(root))) or 'none'}."
        )
    kind: Kind = "two-folders"
    splits = {name: _match(*two) for name, two in pairs.items()}
    if not pairs:
        splits = {name: _single(folder) for name, folder in (_splits(root) or {"all": root}).items()}
        kind = "side-by-side" if _twice_as_wide([i.files[0] for s in splits.values() for i in s.items]) else "plain"
    _require_training(root, splits)
    return Layout(root=root, kind=kind, splits=splits)


def singles(root: Path) -> Layout:
    """Find every picture by itself, whatever folders are called that are no splits.

    Raises:
        ArzhangError: A folder is missing, cannot be read or holds no pictures.
    """
    splits = {name: _single(folder) for name, folder in (_splits(root) or {"all": root}).items()}
    _require_training(root, splits)
    return Layout(root=root, kind="plain", splits=splits)


def dataset_of(root: Path) -> Literal["paired", "derived"]:
    """Return the name of the dataset that reads this folder: ``paired`` for pairs, ``derived`` for plain pictures."""
    return "derived" if survey(root).kind == "plain" else "paired"


def belong_together(layout: Layout) -> bool:
    """Tell whether two folders are meant as pairs: whether one picture in ten has a partner."""
    pairs = sum(len(split.items) for split in layout.splits.values())
    lone = sum(len(split.lone_a) + len(split.lone_b) for split in layout.splits.values())
    return 10 * pairs >= pairs + lone


def apart(root: Path, *, a: str | None = None, b: str | None = None) -> Layout:
    """Find two folders whose pictures do not belong together, each as a split of its own: ``train A``, ``train B``.

    Args:
        root: Holds the two folders, in any arrangement of pairs.
        a: The name of the first, where it is not one of the usual names.
        b: The name of the second.

    Raises:
        ArzhangError: There are no two folders, or one of them is empty.
        MisuseError: The named folders are not there.
    """
    survey(root, a=a, b=b)  # which refuses what is no layout
    folders = _folders_of_pairs(root, sides=_sides_named(a, b))
    if not folders:
        raise ArzhangError(
            f"{root} holds no two folders of pictures; put the two domains into trainA and trainB (and testA and "
            "testB), or name their folders with --data.a and --data.b."
        )
    return Layout(
        root=root,
        kind="two-piles",
        splits={
            f"{name} {side}": _single(folder)
            for name, two in folders.items()
            for side, folder in zip("AB", two, strict=True)
        },
    )


def divide_piles(layout: Layout, *, seed: int) -> tuple[Division, Division]:
    """Choose what to train on and what to hold out of each pile as `divide` does.

    Raises:
        ArzhangError: There are fewer than two pictures to train on in one of them.
    """
    parts = []
    for side in "AB":
        splits = {name.split()[0]: split for name, split in layout.splits.items() if name.endswith(side)}
        count = len((splits.get("train") or splits["all"]).items)
        if count < (least := 2 if len(splits) > 1 else 3):
            raise ArzhangError(
                f"Of domain {side} there {'is' if count == 1 else 'are'} {count} in {layout.root}, and at least "
                f"{least} pictures are needed: two, to learn what they have in common, and one to hold out."
            )
        parts.append(divide(replace(layout, splits=splits), seed=seed))
    return parts[0], parts[1]


def divide(layout: Layout, *, seed: int) -> Division:
    """Choose what to train on and what to hold out.

    Held out is ``val``; without it ``test``; without both a tenth of the training examples, at least 1 and at most
    100, chosen by a hash of the seed and the name, so that pictures added later move few others across. Where there
    is a ``val``, ``test`` is left for the end.

    Raises:
        ArzhangError: A picture has no partner or two of them, or there is a single example.
    """
    for split in layout.splits.values():
        _require_partners(split, root=layout.root)
    train = (layout.splits.get("train") or layout.splits["all"]).items
    held_out = layout.splits.get("val") or layout.splits.get("test")
    if held_out:
        return Division(train=train, held_out=held_out.items)
    if len(train) < 2:
        raise ArzhangError(
            f"{layout.root} holds one example; at least two are needed, to train on one and hold one out."
        )
    drawn = sorted(train, key=lambda item: rng.seed_of(seed, "held-out", item.name))
    kept_back = set(drawn[: min(max(len(drawn) // 10, 1), 100)])
    return Division(
        train=tuple(item for item in train if item not in kept_back),
        held_out=tuple(item for item in train if item in kept_back),
    )


def _require_training(root: Path, splits: Mapping[str, Split]) -> None:
    if not splits.keys() & {"train", "all"}:
        raise ArzhangError(
            f"{root} has a folder for {' and '.join(splits)} but none for training; "
            f"put the training pictures into a folder named train beside it."
        )


def _sides_named(a: str | None, b: str | None) -> Sequence[tuple[str, str]]:
    return _SIDES if a is None or b is None else ((a, b),)


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise ArzhangError(f"{folder} cannot be read ({error.strerror}). Give a folder of pictures.") from error


def _splits(folder: Path) -> dict[str, Path]:
    found = _grouped((_SPLITS.get(path.name.lower(), ""), path) for path in _subfolders(folder))
    return {name: _only(found[name]) for name in ("train", "val", "test") if name in found}


def _sides(folder: Path, *, sides: Sequence[tuple[str, str]], prefix: str = "") -> tuple[Path, Path] | None:
    folders = _grouped((_bare(path.name), path) for path in _subfolders(folder))
    found = ((folders.get(_bare(prefix + a)), folders.get(_bare(prefix + b))) for a, b in sides)
    return next(((_only(a), _only(b)) for a, b in found if a and b), None)


def _grouped(folders: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for key, path in folders:
        found.setdefault(key, []).append(path)
    return found


def _only(folders: Sequence[Path]) -> Path:
    """Refuse folders whose names mean the same, such as A and a, of which one would be left out unseen."""
    if len(folders) > 1:
        first, second = sorted(folders)[:2]
        raise ArzhangError(
            f"{first} and {second.name} beside it have names that mean the same; keep one, or give the other a name of "
            "its own."
        )
    return folders[0]


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _folders_of_pairs(root: Path, *, sides: Sequence[tuple[str, str]]) -> dict[str, tuple[Path, Path]]:
    if splits := _splits(root):
        _require_one_arrangement(root, sides=sides, split=next(iter(splits.values())))
        pairs = {name: two for name, folder in splits.items() if (two := _sides(folder, sides=sides))}
        if pairs and len(pairs) < len(splits):
            single = next(splits[name] for name in splits if name not in pairs)
            raise ArzhangError(
                f"{single} lacks the two folders of pairs that {root / next(iter(pairs))} has; add them."
            )
        return pairs
    if two := _sides(root, sides=sides):
        a, b = (_splits(folder) for folder in two)
        if a.keys() != b.keys():
            raise ArzhangError(f"{two[0]} and {two[1]} are split differently: {[*a]} and {[*b]}. Split both alike.")
        return {name: (a[name], b[name]) for name in a} or {"all": two}
    found = [(name, two) for word, name in _SPLITS.items() if (two := _sides(root, sides=sides, prefix=word))]
    for alike in _grouped((name, first) for name, (first, _) in found).values():
        _only(alike)
    joined = dict(found)
    if joined:
        _require_both(root, sides=sides, splits=joined)
    return {name: joined[name] for name in ("train", "val", "test") if name in joined}


def _require_one_arrangement(root: Path, *, sides: Sequence[tuple[str, str]], split: Path) -> None:
    """Refuse folders such as trainA beside train, of which one would be left out unseen."""
    joined = {word + _bare(side) for word in _SPLITS for two in sides for side in two}
    if beside := sorted(path for path in _subfolders(root) if _bare(path.name) in joined):
        raise ArzhangError(
            f"{split} lies beside {beside[0].name}, and they are two arrangements of one folder; move one away."
        )


def _require_both(root: Path, *, sides: Sequence[tuple[str, str]], splits: Mapping[str, tuple[Path, Path]]) -> None:
    """Refuse one half of a split, such as testA without testB, which would be left out unseen."""
    folders = {_bare(path.name): path for path in _subfolders(root)}
    for word, name in _SPLITS.items():
        lone = [folders[word + _bare(side)] for two in sides for side in two if word + _bare(side) in folders]
        if name not in splits and lone:
            raise ArzhangError(
                f"{lone[0]} lacks its other half, which {next(iter(splits.values()))[0]} has; add it, or move it away."
            )


def _single(folder: Path) -> Split:
    return Split(items=tuple(Item(name=_name(path, folder), files=(path,)) for path in _pictures(folder)))


def _match(a: Path, b: Path) -> Split:
    of_a, of_b = _by_stem(a), _by_stem(b)
    return Split(
        items=tuple(
            Item(name=_name(paths[0], a), files=(paths[0], of_b[stem][0]))
            for stem, paths in of_a.items()
            if stem in of_b
        ),
        lone_a=tuple(path for stem, paths in of_a.items() if stem not in of_b for path in paths),
        lone_b=tuple(path for stem, paths in of_b.items() if stem not in of_a for path in paths),
        ambiguous=tuple(tuple(paths) for paths in (*of_a.values(), *of_b.values()) if len(paths) > 1),
    )


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = {}
    for path in _pictures(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        stems.setdefault(unicodedata.normalize("NFC", stem), []).append(path)
    return stems


def _pictures(folder: Path) -> list[Path]:
    found = images.find(folder)
    if not found:
        raise ArzhangError(
            f"{folder} holds no pictures; expected files that end in {', '.join(sorted(images.SUFFIXES))}."
        )
    return found


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _twice_as_wide(paths: Sequence[Path]) -> bool:
    sizes = []
    for path in paths:
        with suppress(ArzhangError):  # a broken header is for those who decode the picture to report
            sizes.append(images.size_of(path))
    return sum(width == 2 * height for height, width in sizes) > 0.9 * len(sizes)


def _require_partners(split: Split, *, root: Path) -> None:
    if split.ambiguous:
        raise ArzhangError(
            f"{' and '.join(map(str, split.ambiguous[0]))} differ only by suffix, so that the pair is ambiguous; "
            f"keep one of them ({len(split.ambiguous)} such cases)."
        )
    lone = [
        f"{len(paths)} in the {which} folder ({', '.join(str(path.relative_to(root)) for path in paths[:3])}"
        f"{', ...' if len(paths) > 3 else ''})"
        for which, paths in (("first", split.lone_a), ("second", split.lone_b))
        if paths
    ]
    if lone:
        raise ArzhangError(
            f"Of the pictures in {root}, {len(split.items)} pair up by name, but there is no partner for "
            f"{' and '.join(lone)}. Give both pictures of a pair the same name, or take these out; "
            f"`arzhang check` lists them all. Without pairs, a CycleGAN learns from both folders: --data unpaired."
        )
