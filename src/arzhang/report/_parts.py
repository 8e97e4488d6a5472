"""What a report is made of. Texts are plain text, in any script; the page escapes them."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from arzhang.types import MisuseError

Number = int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A number that means something by itself.

    Args:
        name: What was measured, and on what.
        value: The number; one that is not finite is shown as a dash.
        unit: Its unit, empty for none.
        note: How it was measured: sample size, what was averaged.
        interval: Its 95 % confidence interval.
        better: Which way is an improvement, if either is.
    """

    name: str
    value: Number
    unit: str = ""
    note: str = ""
    interval: tuple[Number, Number] | None = None
    better: Literal["lower", "higher"] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A small comparison, such as a model beside its baselines. The first column names the rows."""

    title: str
    caption: str = ""
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Number | Figure, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            _check_width(self.title, columns=self.columns, found=len(row))


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One example: a picture for each column of its panel.

    Args:
        name: What people call the example, such as its file's name.
        note: What to know about it, such as its error.
        pictures: Grey, RGB, or RGB with alpha, in [-1, 1].
    """

    name: str
    note: str = ""
    pictures: tuple[Float[Tensor, "_ _ _"], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Pictures to look at side by side, such as input, output and target."""

    title: str
    caption: str = ""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            _check_width(self.title, columns=self.columns, found=len(row.pictures))


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Numbers over time. A series of many points is drawn faint, with its moving average over it.

    Args:
        title: What the curves show.
        caption: What to see in them.
        unit: Unit of the vertical axis.
        x_label: Quantity on the horizontal axis.
        series: Points (x, y) under the name of each line.
        scale: A logarithmic axis leaves out what is not positive.
    """

    title: str
    caption: str = ""
    unit: str = ""
    x_label: str = "step"
    series: Mapping[str, Sequence[tuple[Number, Number]]]
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True, kw_only=True, slots=True)
class Map:
    """Points in a plane, each written as the class that it is of.

    Args:
        title: What lies there.
        caption: What to see in it.
        axes: Quantities from left to right and from bottom to top, in one scale.
        points: Those of each class, under its name.
    """

    title: str
    caption: str = ""
    axes: tuple[str, str]
    points: Mapping[str, Sequence[tuple[Number, Number]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What people look at: numbers with their provenance, pictures, curves.

    Args:
        title: What was made.
        summary: One or two sentences for somebody who reads nothing else.
        date: The day it was made; it is given so that the same report is always the same bytes.
        figures: The few numbers that matter most.
        panels: Pictures.
        maps: Where pictures lie.
        curves: Numbers over time.
        tables: Comparisons.
        config: Everything that was chosen, nested.
        provenance: Where it comes from: versions, machine, data, checkpoint.
    """

    title: str
    summary: str = ""
    date: dt.date | None = None
    figures: tuple[Figure, ...] = ()
    panels: tuple[Panel, ...] = ()
    maps: tuple[Map, ...] = ()
    curves: tuple[Curve, ...] = ()
    tables: tuple[Table, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)


def plain(value: Any) -> Any:
    """Return what JSON can hold of a value: numbers that are not finite become null, pictures are left out."""
    if is_dataclass(value):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value) if part.name != "pictures"}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _check_width(title: str, *, columns: tuple[str, ...], found: int) -> None:
    if found != len(columns):
        raise MisuseError(
            f"A row of {title!r} has {found} entries, but there are {len(columns)} columns ({', '.join(columns)}). "
            "Give one entry for each column."
        )
