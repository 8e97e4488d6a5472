"""The convolutional decoder: latents become a small map of features, which transposed convolutions enlarge."""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arzhang.networks._layers import ConvTranspose2d
from arzhang.networks._residual import Residual, widths
from arzhang.networks._sizes import descent, transposed
from arzhang.types import MisuseError

LAYOUT = torch.channels_last
"""Of the maps in memory, in which transposed convolutions are fastest."""


@final
class Decoder(nn.Module):
    """Linear layers, and transposed convolutions that enlarge what they give.

    Args:
        layers: From latents to what a likelihood makes pictures of.
    """

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, latents: Float[Tensor, "B D"]) -> Float[Tensor, "B outputs H W"]:
        """Return what the likelihood makes a picture of, unbounded."""
        decoded: Tensor = self.layers(latents)
        return decoded


@final
class _Map(nn.Module):
    """Features as a small map.

    Args:
        channels: Of the map.
        side: Its pixels of each side.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.shape = channels, side, side

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B C side side"]:
        """Return the map."""
        small: Tensor = features.unflatten(1, self.shape)
        return small.contiguous(memory_format=LAYOUT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A convolutional decoder, whose sides are those that ``conv_encoder`` goes through, the other way round.

    A transposed convolution makes (n - 1) s - 2 p + k + p' pixels of n; the output padding p' is chosen so that every
    size is reached exactly. A kernel that the stride divides, such as 4 by 2, leaves no checkerboard.

    References:
        Odena et al., "Deconvolution and Checkerboard Artifacts", 2016.

    Example:
        >>> import torch
        >>> Config().build(latents=10, outputs=1, size=28)(torch.zeros(2, 10)).shape
        torch.Size([2, 1, 28, 28])
    """

    depth: int = 2
    """How many transposed convolutions enlarge the map, each by the stride."""
    width: int = 32
    """Channels before the outermost layer; each layer inwards has twice as many, up to eight times this."""
    features: int = 128
    """Numbers between the latents and the small map."""
    blocks: int = 0
    """Residual blocks before each transposed convolution."""
    kernel: int = 4
    """Side of the square of pixels that a pixel of the smaller map spreads over."""
    stride: int = 2
    """How many times more pixels along a side each transposed convolution gives."""
    padding: int = 1
    """Pixels that are cut off at each border."""

    def build(self, *, latents: int, outputs: int, size: int) -> Decoder:
        """Make the network for these numbers of latents, channels and pixels of each side.

        Raises:
            MisuseError: There is no layer, no channel or no feature, or a layer too many for the size.
        """
        if min(self.width, self.features) < 1 or self.blocks < 0:
            raise MisuseError(
                f"The decoder has a width of {self.width}, {self.features} features and {self.blocks} blocks; give "
                "width and features at least 1, and no negative number of blocks."
            )
        how = {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        sides = descent(size, depth=self.depth, **how)[::-1]
        channels = [outputs, *widths(self.width, self.depth)][::-1]
        layers: list[nn.Module] = [
            nn.Linear(latents, self.features),
            nn.SiLU(),
            nn.Linear(self.features, channels[0] * sides[0] ** 2),
            _Map(channels[0], sides[0]),
        ]
        for (before, after), (small, large) in zip(pairwise(channels), pairwise(sides), strict=True):
            layers += [Residual(before) for _ in range(self.blocks)]
            rest = large - transposed(small, **how)
            layers += [
                nn.SiLU(),
                ConvTranspose2d(before, after, self.kernel, self.stride, self.padding, output_padding=rest),
            ]
        return Decoder(nn.Sequential(*layers))
