"""What all figures of the laboratories have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)
"""The colours of Okabe and Ito, which the colour-blind tell apart."""

SETTINGS: Any = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "lines.linewidth": 1.8,
    "savefig.dpi": 100,
}


@contextmanager
def drawing(width: float, height: float, *, rows: int = 1, columns: int = 1, **options: Any) -> Iterator[Any]:
    """Give a figure of so many inches and its axes, rows x columns of them, in the house's style."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False, **options)
