"""Two piles of pictures on disk, which do not belong together: what a CycleGAN learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arzhang import layout
from arzhang.data import _augment, images
from arzhang.data._piles import TwoPiles
from arzhang.types import Splits

Channels = Literal[1, 3, 4]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Two folders, such as trainA and trainB (and testA and testB), of as many pictures as there are.

    An example is a picture of the larger pile and one that is drawn from the other; each is resized, cropped and
    mirrored by itself. Names mean nothing. Held out is of each folder what a dataset of pairs would hold out.
    """

    root: Path
    """Holds the two folders, in any arrangement of pairs."""
    a: str | None = None
    """Name of the first folder, if it is not a usual one (A, source, input, label)."""
    b: str | None = None
    """Name of the second folder, if it is not a usual one (B, target, output, photo)."""
    size: int = 256
    """Side of the square that is cut out, in pixels."""
    load: int | None = None
    """Shorter side before a training crop, in pixels; by default 286/256 of the size."""
    flip: bool = True
    """Mirror every second training picture."""
    a_channels: Channels = 3
    """Channels of the pictures of A: 1 grey, 3 colour, 4 colour and alpha."""
    b_channels: Channels = 3
    """Channels of the pictures of B."""
    cache: int = 2_000_000_000
    """Bytes of memory for decoded pictures, for each pile; more goes to a temporary file, 0 decodes every time."""

    def build(self, *, seed: int) -> Splits:
        """Open the pictures.

        Raises:
            ArzhangError: There are no two folders, too few pictures in one, or one that cannot be opened.
        """
        a, b = layout.divide_piles(layout.apart(self.root, a=self.a, b=self.b), seed=seed)
        load = _augment.load_for(self.size, self.load)
        return Splits(
            train=TwoPiles(self._pile(a.train, self.a_channels, load), self._pile(b.train, self.b_channels, load)),
            held_out=TwoPiles(
                self._pile(a.held_out, self.a_channels, self.size), self._pile(b.held_out, self.b_channels, self.size)
            ),
        )

    def _pile(self, items: Sequence[layout.Item], channels: Channels, load: int) -> images.Pictures:
        config = images.Config(root=self.root, size=self.size, flip=self.flip, channels=channels, cache=self.cache)
        return images.Pictures(items, config=config, load=load)
