"""A curve as SVG that takes its colours and its font from the page around it."""

import re
from io import StringIO
from typing import Any

import numpy as np
from jaxtyping import Float

from arzhang.report._parts import Curve

COLOURS = [f"var(--line-{number})" for number in range(1, 7)]
DASHES = ((), (5, 2), (1, 1.5), (7, 2, 1, 2))
"""In units of the line's width; colour alone never tells lines apart."""

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


def smooth(y: Float[np.ndarray, " N"], *, window: int) -> Float[np.ndarray, " N"]:
    """Return the centred moving average over what there is: less at the ends and where values are missing."""
    kernel = np.ones(window | 1)
    there = np.isfinite(y)
    total = np.convolve(np.where(there, y, 0), kernel, mode="same")
    count = np.convolve(there, kernel, mode="same")
    return np.where(there, total / np.maximum(count, 1), np.nan)
