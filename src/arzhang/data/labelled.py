"""Pictures with labels: in a folder for each label, or with a table of what each is of."""

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor

from arzhang import layout
from arzhang.data import _augment, images
from arzhang.types import ArzhangError, Dataset, Splits


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Pictures with labels, in folders named after these, or with a table.

    The table is a CSV file whose first line has titles and whose first column has paths of pictures below the folder
    (of a split: below ``train`` or ``val``). One more column names the label of each; several hold numbers: whether it
    has each of several labels, where all are 0 or 1, or else a vector.

        root/cat/1.png          labels.csv   name,label       or   name,striped,asleep
        root/dog/1.png                       1.png,cat             1.png,0,1
    """

    root: Path
    """Folder of the pictures."""
    table: Path | None = None
    """A CSV file of what each picture is of; by default the folder that it is in says so."""
    size: int = 64
    """Side of the square that is cut out, in pixels."""
    load: int | None = None
    """Shorter side before a training crop, in pixels; by default 286/256 of the size."""
    flip: bool = True
    """Mirror every second training picture."""
    channels: Literal[1, 3, 4] = 3
    """1 grey, 3 colour, 4 colour and alpha."""
    cache: int = 2_000_000_000
    """Bytes of memory for decoded pictures, for each split; more goes to a temporary file, 0 decodes every time."""

    def build(self, *, seed: int) -> Splits:
        """Open the pictures, and read what they are of.

        Raises:
            ArzhangError: Pictures that cannot be opened, that have no label, or that a table names and are not there.
            MisuseError: The size is out of its range.
        """
        parts = layout.divide(layout.singles(self.root), seed=seed)
        how = images.Config(**{field.name: getattr(self, field.name) for field in fields(images.Config)})
        load = _augment.load_for(self.size, self.load)
        splits = {
            "train": images.Pictures(parts.train, config=how, load=load),
            "held_out": images.Pictures(parts.held_out, config=how, load=self.size),
        }
        names = [split.name(index) for split in splits.values() for index in range(len(split))]
        known, titles = _by_folder(names, self.root) if self.table is None else _by_table(names, self.table, self.root)
        labels = dict(zip(names, known, strict=True))
        return Splits(
            **{
                name: Labelled(split, torch.stack([labels[split.name(i)] for i in range(len(split))]), titles)
                for name, split in splits.items()
            }
        )


@final
class Labelled:
    """One split.

    Args:
        pictures: Its pictures.
        of: The label of each, or a row of numbers.
        label_names: What labels, or numbers, are called.
    """

    def __init__(self, pictures: Dataset, of: Tensor, label_names: Sequence[str]) -> None:
        self._pictures, self._of, self.label_names = pictures, of, tuple(label_names)

    def __len__(self) -> int:
        return len(self._pictures)

    def name(self, index: int) -> str:
        """Return the path of this picture below its folder."""
        return self._pictures.name(index)

    def example(self, index: int, generator: torch.Generator | None) -> Mapping[str, Tensor]:
        """Return ``image``, a square of it, and ``label``: a number, or a row of them."""
        return {**self._pictures.example(index, generator), "label": self._of[index]}


def _by_folder(names: Sequence[str], root: Path) -> tuple[list[Tensor], list[str]]:
    if loose := [name for name in names if "/" not in name]:
        raise ArzhangError(
            f"{_some(loose)} in {root} {'lies' if len(loose) == 1 else 'lie'} in no folder that would be a label: put "
            "the pictures of each label into a folder of its own, or give --data.table labels.csv."
        )
    words = [name.partition("/")[0] for name in names]
    return _numbered(words)


def _by_table(names: Sequence[str], table: Path, root: Path) -> tuple[list[Tensor], list[str]]:
    titles, rows = _read(table)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ArzhangError(
            f"{_some(twice)} {'is' if len(twice) == 1 else 'are'} in several of the train, val and test folders of "
            f"{root}, and {table} would not tell them apart: give pictures names of their own."
        )
    folders = [root, *(path for path in root.iterdir() if path.is_dir())]
    if absent := [name for name in {*rows} - {*names} if not any((each / name).is_file() for each in folders)]:
        raise ArzhangError(
            f"{table} names {_some(absent)}, which {'is' if len(absent) == 1 else 'are'} not in {root} (or its train "
            "and val folders): take the lines out, or write the paths below that folder."
        )
    if missing := [name for name in names if name not in rows]:
        raise ArzhangError(
            f"{table} has no line for {_some(missing)} in {root}: add {'it' if len(missing) == 1 else 'them'}, or move "
            "the pictures away."
        )
    if len(titles) == 1:
        return _numbered([rows[name][0] for name in names])
    numbers = torch.tensor([[_number(cell, name, table) for cell in rows[name]] for name in names])
    several = bool(((numbers == 0) | (numbers == 1)).all())
    return list(numbers.long() if several else numbers), titles


def _read(table: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the titles of a table but the first, and the cells of each named line."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file) if any(line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArzhangError(f"{table} cannot be read as a CSV file in UTF-8 ({error}).") from error
    if len(lines) < 2 or len(lines[0]) < 2:
        raise ArzhangError(
            f"{table} holds {len(lines)} lines and {len(lines[0]) if lines else 0} columns, where a line of titles is "
            "expected, such as name,label, and below it a line for each picture."
        )
    if len({*lines[0][1:]}) < len(lines[0]) - 1:
        raise ArzhangError(f"{table} has two columns of one title in {', '.join(lines[0])}; give each its own.")
    rows: dict[str, list[str]] = {}
    for name, *cells in lines[1:]:
        if len(cells) != len(lines[0]) - 1:
            raise ArzhangError(f"{table} has {len(cells) + 1} cells for {name}, where {len(lines[0])} are expected.")
        if name in rows:
            raise ArzhangError(f"{table} names {name} twice; leave one line.")
        if "" in cells:
            raise ArzhangError(f"{table} has an empty cell for {name}; say what the picture is of.")
        rows[name] = cells
    return lines[0][1:], rows


def _numbered(words: Sequence[str]) -> tuple[list[Tensor], list[str]]:
    titles = sorted(set(words), key=lambda word: (int(word), word) if word.isdecimal() else (math.inf, word))
    if len(titles) < 2:
        raise ArzhangError(f"All pictures are of {titles[0]!r}; to draw what is asked for takes two labels at least.")
    place = {word: number for number, word in enumerate(titles)}
    return [torch.tensor(place[word]) for word in words], titles


def _number(cell: str, name: str, table: Path) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ArzhangError(
            f"{table} has {cell!r} for {name}, where a number is expected, since there are several columns."
        )
    return value


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(sorted(names)[:3])}{more}"
