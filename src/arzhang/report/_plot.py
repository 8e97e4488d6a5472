"""Curves and maps as SVG that take their colours and their font from the page around them."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

import numpy as np
from jaxtyping import Float

from arzhang.report._parts import Curve, Map, Number

Place = Callable[[Number], float]
COLOURS = [f"var(--line-{number})" for number in range(1, 7)]
DASHES = ((), (5, 2), (1, 1.5), (7, 2, 1, 2))
"""In units of the line's width; colour alone never tells lines apart."""

WIDE = 480
"""Width of a map, in its own units, of which text is 11 high."""
MARGIN = 30
"""Of a map, within which numbers stand."""
MANY = 100
"""A series of more points is drawn faint, under its moving average over a fortieth of them."""


def draw(curve: Curve, *, prefix: str) -> str:
    """Return the curve as an ``<svg>`` whose ids start with the prefix. It has no text but the axes' numbers."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import StrMethodFormatter  # noqa: PLC0415

    # matplotlib does not know the page's variables, so it draws in stand-ins.
    stand_ins = {f"#0000{number:02x}": name for number, name in enumerate(["var(--muted)", "var(--rule)", *COLOURS], 1)}
    muted, rule, *colours = stand_ins
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": prefix, "path.simplify_threshold": 0.5, "font.size": 9.5}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(5, 2.6), layout="constrained")
        axes = figure.subplots()
        for index, points in enumerate(curve.series.values()):
            x, y = np.asarray(points, dtype=float).reshape(-1, 2).T
            y = np.where(np.isfinite(y) & ((y > 0) | (curve.scale == "linear")), y, np.nan)
            colour, dash = colours[index % len(colours)], DASHES[index % len(DASHES)]
            if len(y) > MANY:
                axes.plot(x, y, color=colour, linewidth=0.7, alpha=0.25)
                y = smooth(y, window=len(y) // 40)
            marker = "o" if len(y) < 30 else ""
            axes.plot(
                x, y, color=colour, linewidth=1.6, linestyle=(0, dash) if dash else "-", marker=marker, markersize=3
            )
        axes.set_yscale(curve.scale)
        axes.margins(x=0.01)
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
        axes.grid(axis="y", color=rule, linewidth=0.6)
        axes.tick_params(which="both", length=0, colors=muted)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(muted)
        target = StringIO()
        figure.savefig(
            target,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    svg = target.getvalue()
    svg = re.sub(r"<style.*?</style>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\1{prefix}", svg)
    return re.sub("|".join(stand_ins), lambda match: stand_ins[match[0]], svg)


def keys(names: Iterable[str]) -> list[str]:
    """Return what each class is written as: its name if it is short, else a letter of its own.

    Example:
        >>> keys(["7", "cat", "dog"])
        ['7', 'a', 'b']
    """
    names = list(names)
    free = (letter for letter in "abcdefghijklmnopqrstuvwxyz" * (1 + len(names) // 26) if letter not in names)
    return [name if 0 < len(name) <= 2 else next(free) for name in names]


def scatter(chart: Map) -> str:
    """Return a map as an ``<svg>``, on which every point is the key of its class, and no axis is stretched."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    finite = [point for points in chart.points.values() for point in points if all(map(math.isfinite, point))]
    (left, right), (low, high) = (_ends([point[axis] for point in finite]) for axis in (0, 1))
    scale = (WIDE - 2 * MARGIN) / max(right - left, (high - low) * 0.75)
    tall = round((high - low) * scale) + 2 * MARGIN

    def x(value: Number) -> float:
        return MARGIN + (value - left) * scale

    def y(value: Number) -> float:
        return tall - MARGIN - (value - low) * scale

    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(min(left, low), max(right, high))
    across, up = [tick for tick in ticks if left <= tick <= right], [tick for tick in ticks if low <= tick <= high]
    lines = [f"M{x(tick):.1f} 0V{tall - 18}" for tick in across] + [f"M28 {y(tick):.1f}H{WIDE}" for tick in up]
    below = (f'<text x="{x(tick):.1f}" y="{tall - 3}" text-anchor="middle">{_tick(tick)}</text>' for tick in across)
    beside = (f'<text x="24" y="{y(tick) + 3.5:.1f}" text-anchor="end">{_tick(tick)}</text>' for tick in up)
    return (
        f'<svg viewBox="0 0 {WIDE} {tall}">'
        f'<path d="{"".join(lines)}" stroke="var(--rule)" stroke-width=".6" fill="none"/>'
        f'<g fill="var(--muted)" font-size="10">{"".join((*below, *beside))}</g>'
        f'<g font-size="11" font-weight="600" text-anchor="middle">{_points(chart.points, x, y)}</g></svg>'
    )


def smooth(y: Float[np.ndarray, " N"], *, window: int) -> Float[np.ndarray, " N"]:
    """Return the centred moving average over what there is: less at the ends and where values are missing."""
    kernel = np.ones(window | 1)
    there = np.isfinite(y)
    total = np.convolve(np.where(there, y, 0), kernel, mode="same")
    count = np.convolve(there, kernel, mode="same")
    return np.where(there, total / np.maximum(count, 1), np.nan)


def _points(points: Mapping[str, Sequence[tuple[Number, Number]]], x: Place, y: Place) -> str:
    groups = []
    for index, (key, places) in enumerate(zip(keys(points), points.values(), strict=True)):
        finite = [place for place in places if all(map(math.isfinite, place))]
        texts = "".join(f'<text x="{x(a):.1f}" y="{y(b) + 4:.1f}">{escape(key)}</text>' for a, b in finite)
        groups.append(f'<g fill="{COLOURS[index % len(COLOURS)]}">{texts}</g>')
    return "".join(groups)


def _ends(values: Sequence[Number]) -> tuple[Number, Number]:
    low, high = (min(values), max(values)) if values else (0, 0)
    return (low, high) if high > low else (low - 1, high + 1)


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")
