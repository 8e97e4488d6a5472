"""Pixels: a small copy of the picture itself, flattened, in [-1, 1].

No network and no weights, so that everything around an extractor can be tried in a moment. As a measure of quality it
is worth little: a picture that is moved by one pixel is far away.

Example:
    >>> extractor = Config(size=2).build()
    >>> white = extractor.prepare(torch.full((3, 8, 8), 255, dtype=torch.uint8))
    >>> extractor(white[None])["features"]
    tensor([[1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.]])
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from arzhang import images
from arzhang.types import MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The picture itself, made small."""

    size: int = 8
    """Side of the square that every picture becomes; there are three times its square features."""

    def build(self) -> "Pixels":
        """Make the extractor.

        Raises:
            MisuseError: The size is less than 1.
        """
        if self.size < 1:
            raise MisuseError(f"The size is {self.size}, and at least 1 pixel is needed.")
        return Pixels(self.size)


@final
class Pixels(nn.Module):
    """The extractor."""

    name: str
    provenance: Mapping[str, str]

    def __init__(self, size: int) -> None:
        super().__init__()
        self.name = "pixels"
        self.provenance = {"resize": f"bicubic, antialiased, to {size} x {size}"}
        self._size = size
        self.eval()

    def prepare(self, picture: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "3 size size"]:
        """Resize a picture, to [-1, 1]."""
        return images.resize(picture / 127.5 - 1, height=self._size, width=self._size)

    @torch.no_grad()
    def forward(self, prepared: Float[Tensor, "B 3 size size"]) -> dict[str, Float[Tensor, "B D"]]:
        """Return the pixels as features."""
        return {"features": prepared.flatten(1)}
