"""Pairs made from plain pictures: the source is computed from the picture, the target is the picture itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from arzhang import images, layout, rng
from arzhang.data import _augment
from arzhang.data._cache import Cache
from arzhang.types import MisuseError, Splits


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Plain pictures in a folder, below it, or in its train, val and test folders."""

    root: Path
    """Folder of the pictures."""
    source: Literal["edges", "grey", "low-resolution", "masked", "noisy"] = "edges"
    """What is made of a picture and is to be turned back into it."""
    size: int = 256
    """Side of the square that is cut out, in pixels."""
    load: int | None = None
    """Shorter side before a training crop, in pixels; by default 286/256 of the size."""
    flip: bool = True
    """Mirror every second training picture."""
    line: float = 1.0
    """Edges: how thick a line is and how coarse the detail it leaves out, in pixels (deviation of a blur)."""
    factor: int = 4
    """Low resolution: how many times fewer pixels along a side."""
    hidden: float = 0.25
    """Masked: the share of the square that is at least hidden."""
    noise: float = 0.2
    """Noisy: standard deviation of the noise, where black is -1 and white 1."""
    cache: int = 2_000_000_000
    """Bytes of memory for decoded pictures, for each split; more goes to a temporary file, 0 decodes every time."""

    def build(self, *, seed: int) -> Splits:
        """Open the pictures; ``seed`` also fixes the masks and the noise of the views without a generator.

        Raises:
            ArzhangError: Pictures that cannot be opened.
            MisuseError: The folder holds two folders of pairs, or an option is out of its range.
        """
        if self.source == "low-resolution" and (self.factor < 1 or self.size % self.factor):
            raise MisuseError(
                f"{self.size} pixels do not divide by a factor of {self.factor}; choose one that divides them."
            )
        if not (self.line > 0 and 0 < self.hidden < 1 and self.noise >= 0):
            raise MisuseError(
                f"line={self.line}, hidden={self.hidden} or noise={self.noise} is out of range; "
                f"a line is wider than 0, a hidden share lies between 0 and 1, and noise is not negative."
            )
        found = layout.survey(self.root)
        if found.kind == "two-folders":
            raise MisuseError(
                f"{self.root} holds two folders of pairs; use --data paired, or name one of the two as root."
            )
        parts = layout.divide(found, seed=seed)
        return Splits(
            train=_Pictures(parts.train, config=self, load=_augment.load_for(self.size, self.load), seed=seed),
            held_out=_Pictures(parts.held_out, config=self, load=self.size, seed=seed),
        )


def derive(target: Float[Tensor, "3 H W"], *, config: Config, generator: torch.Generator) -> Float[Tensor, "3 H W"]:
    """Compute the source that belongs to a target.

    Args:
        target: The picture.
        config: What to make of it.
        generator: Draws masks and noise.

    Example:
        >>> white = torch.ones(3, 8, 8)
        >>> bool((derive(white, config=Config(root=Path()), generator=torch.Generator()) == white).all())
        True
    """
    height, width = target.shape[1:]
    match config.source:
        case "edges":
            return _drawn(target, line=config.line)
        case "grey":
            return images.luma(target).expand(3, -1, -1).contiguous()
        case "low-resolution":
            small = images.resize(target, height=height // config.factor, width=width // config.factor)
            return images.resize(small, height=height, width=width)
        case "masked":
            return target.masked_fill(_mask(height, width, share=config.hidden, generator=generator), 0)
        case "noisy":
            return (target + config.noise * torch.randn(target.shape, generator=generator)).clamp(-1, 1)
        case _:
            assert_never(config.source)


@final
class _Pictures:
    def __init__(self, items: Sequence[layout.Item], *, config: Config, load: int, seed: int) -> None:
        self._items = items
        self._config = config
        self._seed = seed
        self._sizes = [_augment.scaled(item.files[0], images.size_of(item.files[0]), shorter=load) for item in items]
        self._cache = Cache(self._decode, [[(3, *size)] for size in self._sizes], budget=config.cache)

    def __len__(self) -> int:
        return len(self._items)

    def name(self, index: int) -> str:
        return self._items[index].name

    def example(self, index: int, generator: torch.Generator | None) -> Mapping[str, Float[Tensor, "3 H W"]]:
        size, flip = self._config.size, self._config.flip
        (target,) = _augment.views(self._cache[index], size=size, flip=flip, generator=generator)
        generator = generator or rng.generator(self._seed, "derived", index)
        return {"source": derive(target, config=self._config, generator=generator), "target": target}

    def _decode(self, index: int) -> list[Tensor]:
        height, width = self._sizes[index]
        picture = images.read(self._items[index].files[0])
        return [_augment.levels(picture, channels=3, height=height, width=width)]


def _drawn(image: Float[Tensor, "3 H W"], *, line: float) -> Float[Tensor, "3 H W"]:
    """Draw dark lines on white by an extended difference of Gaussians (Winnemöller et al., XDoG, 2012)."""
    grey = (images.luma(image) + 1) / 2
    difference = _blurred(grey, sigma=line) - 0.98 * _blurred(grey, sigma=1.6 * line)
    lines = 1 + torch.tanh(40 * difference.clamp(max=0))
    return (2 * lines - 1).expand(3, -1, -1).contiguous()


def _blurred(image: Float[Tensor, "1 H W"], *, sigma: float) -> Float[Tensor, "1 H W"]:
    radius = min(int(3 * sigma + 0.5), *(length - 1 for length in image.shape[1:]))
    bell = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (bell / bell.sum())[None, None, None]
    padded = functional.pad(image[None], [radius] * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel), kernel.mT)[0]


def _mask(height: int, width: int, *, share: float, generator: torch.Generator) -> Tensor:
    """Hide rectangles, an eighth to a half of a side long, until the share is reached; some hang over the border."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    while mask.float().mean() < share:
        tall, wide, y, x = torch.rand(4, generator=generator).tolist()
        half_tall, half_wide = height * (1 + 3 * tall) / 16, width * (1 + 3 * wide) / 16
        rows = (torch.arange(height) + 0.5 - height * y).abs() < half_tall
        columns = (torch.arange(width) + 0.5 - width * x).abs() < half_wide
        mask |= rows[:, None] & columns
    return mask
