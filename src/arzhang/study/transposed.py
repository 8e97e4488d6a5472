"""Transposed convolutions: what one does to the grid of pixels, and how large its output is.

It is a plain convolution, of stride 1 and with the kernel turned round, over a grid that was spread first: stride - 1
zeros go between the pixels of the input, dilation (kernel - 1) - padding zeros around them, and the output padding p'
below and to the right. So n pixels of a side become

    (n - 1) stride - 2 padding + dilation (kernel - 1) + p' + 1

References:
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, section 4, relationship 14.
    Odena et al., "Deconvolution and Checkerboard Artifacts", 2016.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn import functional

from arzhang.study._drawing import BLUE, GREEN, ORANGE, VERMILLION, drawing
from arzhang.types import MisuseError

PIXEL, BETWEEN, AROUND, MORE = range(4)
"""What a cell of the spread grid is: a pixel of the input, or a zero of the stride, the border, the output padding."""
COLOURS = {PIXEL: BLUE, BETWEEN: "#dcebf7", AROUND: "#e2e2e2", MORE: ORANGE}
APART = 3
"""Cells between the spread grid and the output."""
COLUMNS = 2
WIDTH = 5.4
"""Of a drawing, in inches."""
CELLS = 64
"""Of a side of the spread grid, up to which a drawing can be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One transposed convolution, the same along both sides."""

    size: int
    kernel: int
    stride: int
    padding: int
    output_padding: int
    dilation: int

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            MisuseError: A number is out of its range, or there is no output.
        """
        if min(self.size, self.kernel, self.stride, self.dilation) < 1 or min(self.padding, self.output_padding) < 0:
            raise MisuseError(
                f"There is a {self}; give size, kernel, stride and dilation at least 1, and no negative padding."
            )
        if self.padding > self.dilation * (self.kernel - 1):
            raise MisuseError(
                f"The padding is {self.padding}, and takes away more than the border of dilation x (kernel - 1) = "
                f"{self.dilation * (self.kernel - 1)} zeros: pixels of the input would be lost. Give a smaller one."
            )
        if self.output_padding >= max(self.stride, self.dilation):
            raise MisuseError(
                f"The output padding is {self.output_padding}, and should be less than the stride, {self.stride}, or "
                f"the dilation, {self.dilation}."
            )
        if self.rule < 1:
            raise MisuseError(f"Nothing comes out of a {self}: give a larger size or a smaller padding.")
        if (cells := self.rule + self.dilation * (self.kernel - 1)) > CELLS:
            raise MisuseError(f"A {self} makes a grid of {cells} cells a side; give one of {CELLS} at most to draw it.")

    def __str__(self) -> str:
        return (
            f"side of {self.size} pixels with kernel {self.kernel}, stride {self.stride}, padding {self.padding}, "
            f"output padding {self.output_padding} and dilation {self.dilation}"
        )

    @property
    def rule(self) -> int:
        """Pixels of a side of the output."""
        return (
            (self.size - 1) * self.stride
            - 2 * self.padding
            + self.dilation * (self.kernel - 1)
            + self.output_padding
            + 1
        )

    def spread(self) -> Int64[Tensor, "S S"]:
        """Return what each cell is of the grid that the kernel goes over.

        Example:
            >>> Setting(size=2, kernel=2, stride=2, padding=0, output_padding=0, dilation=1).spread()
            tensor([[2, 2, 2, 2, 2],
                    [2, 0, 1, 0, 2],
                    [2, 1, 1, 1, 2],
                    [2, 0, 1, 0, 2],
                    [2, 2, 2, 2, 2]])
        """
        border = [AROUND] * (self.dilation * (self.kernel - 1) - self.padding)
        inside = ([PIXEL] + [BETWEEN] * (self.stride - 1)) * self.size
        line = torch.tensor(border + inside[: len(inside) - self.stride + 1] + border + [MORE] * self.output_padding)
        return torch.maximum(line[:, None], line)

    def seen(self) -> Int64[Tensor, "R R"]:
        """Return from how many pixels of the input each pixel of the output comes, by asking PyTorch."""
        ones = torch.ones(1, 1, self.size, self.size)
        options = {name: getattr(self, name) for name in ("stride", "padding", "output_padding", "dilation")}
        return functional.conv_transpose2d(ones, torch.ones(1, 1, self.kernel, self.kernel), **options)[0, 0].long()


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Draw what transposed convolutions do to the grid of pixels, beside the size of their output.

    Several values of a flag are for several drawings; one value is for all.

    Example: arzhang study transposed --size 4 --kernel 4 --stride 2 --padding 1 --output-padding 0 1 --dilation 1
    """

    size: tuple[int, ...] = (3,)
    """Pixels of a side of the input."""
    kernel: tuple[int, ...] = (3, 3, 3, 3, 4, 3)
    """Pixels of a side of the kernel."""
    stride: tuple[int, ...] = (1, 2, 2, 2, 2, 1)
    """Cells from one pixel of the input to the next."""
    padding: tuple[int, ...] = (0, 0, 1, 1, 1, 1)
    """Cells that are taken off the border."""
    output_padding: tuple[int, ...] = (0, 0, 0, 1, 0, 0)
    """Cells that are added below and to the right."""
    dilation: tuple[int, ...] = (1, 1, 1, 1, 1, 2)
    """Cells from one pixel of the kernel to the next."""

    def settings(self) -> list[Setting]:
        """Return what is to be drawn.

        Raises:
            MisuseError: Flags have different numbers of values, or a setting cannot be.
        """
        given: Mapping[str, Sequence[int]] = {field.name: getattr(self, field.name) for field in fields(Setting)}
        count = max(map(len, given.values()))
        if odd := {name: len(values) for name, values in given.items() if len(values) not in {1, count}}:
            told = " and ".join(f"{number} of {name}" for name, number in odd.items())
            raise MisuseError(f"There are {count} values of one flag, and {told}: give 1 or {count} of each.")
        made = [
            Setting(**{name: values[index % len(values)] for name, values in given.items()}) for index in range(count)
        ]
        for setting in made:
            setting.check()
        return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The table and the figure.

    Args:
        found: Each setting, and from how many pixels of the input each pixel of the output comes.
    """

    found: Mapping[Setting, Int64[Tensor, "R R"]]
    caption: str = (
        "Sizes are of a side, by the rule and of what PyTorch makes. Where pixels of the output come from more pixels "
        "of the input than their neighbours, what is learnt may show a checkerboard."
    )

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each setting."""
        return [
            {
                **asdict(setting),
                "by_rule": setting.rule,
                "by_torch": len(seen),
                "least_seen": int(seen.min()),
                "most_seen": int(seen.max()),
            }
            for setting, seen in self.found.items()
        ]

    def figures(self) -> dict[str, Any]:
        """Draw, of each setting, the spread grid with the kernel at its first place, and the output."""
        from matplotlib.colors import LinearSegmentedColormap, ListedColormap  # noqa: PLC0415
        from matplotlib.patches import Patch  # noqa: PLC0415

        kinds = ListedColormap(list(COLOURS.values()))
        greens = LinearSegmentedColormap.from_list("greens", ["#eef7f3", GREEN])
        columns = min(COLUMNS, len(self.found))
        spreads = [setting.spread() for setting in self.found]
        heights = [max(map(len, spreads[start : start + columns])) for start in range(0, len(spreads), columns)]
        wide = max(heights)
        across = wide + APART + max(map(len, self.found.values()))
        height = sum(heights) * WIDTH / across + len(heights)
        with drawing(WIDTH * columns, height + 0.8, rows=len(heights), columns=columns, height_ratios=heights) as (
            figure,
            axes,
        ):
            figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
            for ax in axes.flat:
                ax.set_axis_off()
            for number, (ax, setting, spread) in enumerate(zip(axes.flat, self.found, spreads, strict=False)):
                high, seen = heights[number // columns], self.found[setting]
                ax.set(xlim=(0, across), ylim=(high, 0), aspect="equal", title=_title(setting))
                corner = (wide - len(spread)) / 2, (high - len(spread)) / 2
                _grid(ax, spread, corner, cmap=kinds, vmax=MORE, gid="spread")
                for row, column in product(range(setting.kernel), repeat=2):
                    _frame(ax, corner[0] + column * setting.dilation, corner[1] + row * setting.dilation)
                corner = wide + APART, (high - len(seen)) / 2
                _grid(ax, seen, corner, cmap=greens, vmax=1.6 * int(seen.max()), gid="output")
                for row, column in product(range(len(seen)), repeat=2):
                    place = corner[0] + column + 0.5, corner[1] + row + 0.5
                    ax.text(*place, int(seen[row, column]), ha="center", va="center", fontsize=9)
                _frame(ax, *corner)
                ax.annotate("", (corner[0] - 0.7, high / 2), (wide + 0.7, high / 2), arrowprops={"arrowstyle": "->"})
                ax.text(across / 2, high + 0.4, _sum(setting), ha="center", va="top")
            figure.legend(
                handles=[
                    Patch(color=COLOURS[PIXEL], label="pixel of the input"),
                    Patch(color=COLOURS[BETWEEN], label="zero of the stride"),
                    Patch(color=COLOURS[AROUND], label="zero of the border"),
                    Patch(color=COLOURS[MORE], label="zero of the output padding"),
                    Patch(facecolor="none", edgecolor=VERMILLION, linewidth=2, label="kernel, and what it gives"),
                    Patch(color=GREEN, alpha=0.6, label="output, from so many pixels"),
                ],
                loc="outside lower center",
                ncols=columns + 1,
                fontsize=11,
            )
        return {"transposed": figure}


def run(config: Config, *, track: Callable[[Sequence[Any]], Iterable[Any]] = iter) -> Result:
    """Make each transposed convolution, and look at what comes out.

    Args:
        config: What is asked.
        track: Hands settings on while it shows progress.

    Raises:
        MisuseError: A setting cannot be.
    """
    return Result(found={setting: setting.seen() for setting in track(config.settings())})


def _grid(ax: Any, cells: Int64[Tensor, "S S"], corner: tuple[float, float], **options: Any) -> None:
    across, down = ([start + side for side in range(len(cells) + 1)] for start in corner)
    ax.pcolormesh(across, down, cells.numpy(), vmin=0, edgecolors="white", linewidth=1.2, **options)


def _frame(ax: Any, left: float, top: float) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    ax.add_patch(Rectangle((left, top), 1, 1, fill=False, color=VERMILLION, linewidth=2, clip_on=False))


def _title(setting: Setting) -> str:
    said = f"kernel {setting.kernel}, stride {setting.stride}, padding {setting.padding}"
    said += f", output padding {setting.output_padding}" if setting.output_padding else ""
    return said + (f", dilation {setting.dilation}" if setting.dilation > 1 else "")


def _sum(setting: Setting) -> str:
    """Write the rule out with its numbers."""
    said = (
        f"({setting.size} - 1)*{setting.stride} - 2*{setting.padding} + {setting.dilation}*({setting.kernel} - 1) "
        f"+ {setting.output_padding} + 1 = {setting.rule}"
    )
    return said.replace("-", "\N{MINUS SIGN}").replace("*", "\N{MIDDLE DOT}")
