"""Pictures in a folder, as they are: what an autoencoder learns from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import images, layout
from arzhang.data import _augment
from arzhang.data._cache import Cache
from arzhang.types import MisuseError, Splits


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Pictures in a folder, below it, or in its train, val and test folders."""

    root: Path
    """Folder of the pictures."""
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
        """Open the pictures.

        Raises:
            ArzhangError: Pictures that cannot be opened.
            MisuseError: The folder holds two folders of pairs, or the size is out of its range.
        """
        found = layout.survey(self.root)
        if found.kind == "two-folders":
            raise MisuseError(f"{self.root} holds two folders of pairs; name one of the two as root.")
        parts = layout.divide(found, seed=seed)
        return Splits(
            train=Pictures(parts.train, config=self, load=_augment.load_for(self.size, self.load)),
            held_out=Pictures(parts.held_out, config=self, load=self.size),
        )


@final
class Pictures:
    """One split."""

    def __init__(self, items: Sequence[layout.Item], *, config: Config, load: int) -> None:
        self._items = items
        self._config = config
        self._sizes = [_augment.scaled(item.files[0], images.size_of(item.files[0]), shorter=load) for item in items]
        shapes = [[(config.channels, *size)] for size in self._sizes]
        self._cache = Cache(self._decode, shapes, budget=config.cache)

    def __len__(self) -> int:
        return len(self._items)

    def name(self, index: int) -> str:
        """Return the path of this picture below its folder."""
        return self._items[index].name

    def example(self, index: int, generator: torch.Generator | None) -> Mapping[str, Float[Tensor, "C H W"]]:
        """Return ``image``, a square of it."""
        size, flip = self._config.size, self._config.flip
        (image,) = _augment.views(self._cache[index], size=size, flip=flip, generator=generator)
        return {"image": image}

    def _decode(self, index: int) -> list[Tensor]:
        height, width = self._sizes[index]
        picture = images.read(self._items[index].files[0])
        return [_augment.levels(picture, channels=self._config.channels, height=height, width=width)]
