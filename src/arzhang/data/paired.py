"""Pairs of pictures on disk: two folders matched by name, or side by side in one file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import images, layout
from arzhang.data import _augment
from arzhang.data._cache import Cache
from arzhang.types import ArzhangError, Splits


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Pairs in a folder, in any layout that `arzhang.layout` knows.

    Both pictures of a pair are resized, cropped and flipped alike.
    """

    root: Path
    """Folder of the pairs."""
    direction: Literal["a-to-b", "b-to-a"] = "a-to-b"
    """What is drawn from what; A is the first folder, or the left half."""
    a: str | None = None
    """Name of the first folder, if it is not a usual one (A, source, input, label)."""
    b: str | None = None
    """Name of the second folder, if it is not a usual one (B, target, output, photo)."""
    size: int = 256
    """Side of the square that is cut out, in pixels."""
    load: int | None = None
    """Shorter side before a training crop, in pixels; by default 286/256 of the size."""
    flip: bool = True
    """Mirror every second training pair."""
    source_channels: Literal[1, 3, 4] = 3
    """Channels of the source: 1 grey, 3 colour, 4 colour and alpha."""
    target_channels: Literal[1, 3, 4] = 3
    """Channels of the target."""
    cache: int = 2_000_000_000
    """Bytes of memory for decoded pictures, for each split; more goes to a temporary file, 0 decodes every time."""

    def build(self, *, seed: int) -> Splits:
        """Open the pairs.

        Raises:
            ArzhangError: Pictures that do not pair up, cannot be opened, or differ in shape within a pair.
        """
        found = layout.survey(self.root, a=self.a, b=self.b)
        parts = layout.divide(found, seed=seed)
        return Splits(
            train=_Pairs(parts.train, kind=found.kind, config=self, load=_augment.load_for(self.size, self.load)),
            held_out=_Pairs(parts.held_out, kind=found.kind, config=self, load=self.size),
        )


@final
class _Pairs:
    def __init__(self, items: Sequence[layout.Item], *, kind: layout.Kind, config: Config, load: int) -> None:
        self._items = items
        self._config = config
        sizes = [size_of(item.files, kind=kind) for item in items]
        self._sizes = [
            _augment.scaled(item.files[0], size, shorter=load) for item, size in zip(items, sizes, strict=True)
        ]
        # Pairs lie as (A, B), so that the cache need not know the direction.
        channels = (config.source_channels, config.target_channels)
        self._channels = channels if config.direction == "a-to-b" else channels[::-1]
        self._cache = Cache(
            self._decode,
            [[(channels, *size) for channels in self._channels] for size in self._sizes],
            budget=config.cache,
        )

    def __len__(self) -> int:
        return len(self._items)

    def name(self, index: int) -> str:
        return self._items[index].name

    def example(self, index: int, generator: torch.Generator | None) -> Mapping[str, Float[Tensor, "_ H W"]]:
        size, flip = self._config.size, self._config.flip
        a, b = _augment.views(self._cache[index], size=size, flip=flip, generator=generator)
        return {"source": a, "target": b} if self._config.direction == "a-to-b" else {"source": b, "target": a}

    def _decode(self, index: int) -> list[Tensor]:
        height, width = self._sizes[index]
        return [
            _augment.levels(picture, channels=channels, height=height, width=width)
            for picture, channels in zip(_read(self._items[index]), self._channels, strict=True)
        ]


def _read(item: layout.Item) -> list[images.Picture]:
    pictures = [images.read(file) for file in item.files]
    if len(pictures) == 2:
        return pictures
    (both,) = pictures
    middle = both.pixels.shape[1] // 2
    return [
        replace(both, pixels=both.pixels[:, half], alpha=None if both.alpha is None else both.alpha[:, half])
        for half in (slice(middle), slice(middle, None))
    ]


def size_of(files: Sequence[Path], *, kind: layout.Kind) -> tuple[int, int]:
    """Return the height and width that both pictures of a pair are taken to have: those of the first.

    Raises:
        ArzhangError: A header cannot be read, or the two are not of one shape.
    """
    sizes = [images.size_of(file) for file in files]
    height, width = sizes[0]
    if len(sizes) == 1:
        if kind == "side-by-side" and width != 2 * height:
            raise ArzhangError(
                f"{files[0]} is {width} x {height} pixels, where others are exactly twice as wide as high; crop it so, "
                "or take it out."
            )
        if width % 2 or width <= height:
            raise ArzhangError(
                f"{files[0]} is {width} x {height} pixels, which cannot be two pictures side by side; give such "
                f"pictures, or two folders, such as A and B, in which the pictures of a pair have the same name."
            )
        return height, width // 2
    other_height, other_width = sizes[1]
    if abs(width * other_height / (height * other_width) - 1) > 0.01:
        raise ArzhangError(
            f"{files[0]} is {width} x {height} pixels but its partner {files[1]} is "
            f"{other_width} x {other_height}; the two of a pair must have the same shape. Crop one of them."
        )
    return height, width
