"""What an encoder and a decoder have in common: residual blocks, and how wide each layer is."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class Residual(nn.Module):
    """Two convolutions, each after SiLU, beside which the features also pass as they are (He et al., 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the features, refined."""
        return torch.add(features, self.layers(features))


def widths(width: int, depth: int) -> list[int]:
    """Return the channels of each layer, from the outermost: each has twice as many, up to eight times ``width``."""
    return [width * min(2**i, 8) for i in range(depth)]
