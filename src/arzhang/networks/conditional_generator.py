"""The conditional generator: latents and a condition become a picture, which grows by transposed convolutions."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arzhang.networks._layers import Conv2d, ConvTranspose2d, Norm, initialise, normalisation
from arzhang.networks._residual import widths
from arzhang.networks._sizes import halved
from arzhang.types import MisuseError

LAYOUT = torch.channels_last
"""Of the maps in memory, in which transposed convolutions are fastest."""


@final
class ConditionalNorm(nn.Module):
    """Batch norm whose gain and offset are linear in the condition (de Vries et al., NeurIPS 2017).

    Args:
        channels: Of the features.
        labels: Of the condition.
    """

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.affine = nn.Linear(labels, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.02)
        nn.init.zeros_(self.affine.bias)

    def forward(self, features: Float[Tensor, "B C H W"], condition: Float[Tensor, "B K"]) -> Float[Tensor, "B C H W"]:
        """Normalise, and give each channel the scale and the mean that the condition asks for."""
        gain, offset = self.affine(condition)[:, :, None, None].chunk(2, dim=1)
        normal: Tensor = self.norm(features)
        return torch.addcmul(offset, normal, 1 + gain)


@final
class Generator(nn.Module):
    """A linear layer that sees latents and condition, transposed convolutions, and a convolution.

    Args:
        start: From latents and condition to the small map.
        norms: Before each of the layers.
        layers: What doubles the map, and the last convolution.
        side: Of the small map, in pixels.
    """

    def __init__(self, start: nn.Linear, norms: nn.ModuleList, layers: nn.ModuleList, *, side: int) -> None:
        super().__init__()
        self.start, self.norms, self.layers, self.side = start, norms, layers, side

    def forward(self, latents: Float[Tensor, "B D"], condition: Float[Tensor, "B K"]) -> Float[Tensor, "B C H W"]:
        """Return pictures in [-1, 1]."""
        features: Tensor = self.start(torch.cat([latents, condition], 1)).unflatten(1, (-1, self.side, self.side))
        features = features.contiguous(memory_format=LAYOUT)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            normal = norm(features, condition) if isinstance(norm, ConditionalNorm) else norm(features)
            features = layer(normal.relu())
        return features.tanh()


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A convolutional generator with a condition, for any size that is a base times two to the power of the depth.

    The condition is seen at the start, beside the latents, and, by the conditional norm, at every scale.

    References:
        Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
        Networks", ICLR 2016, figure 1.
        de Vries et al., "Modulating early visual processing by language", NeurIPS 2017, equations 4 to 6.

    Example:
        >>> network = Config().build(latents=64, labels=10, outputs=1, size=28)
        >>> network(torch.zeros(2, 64), torch.eye(10)[[3, 7]]).shape
        torch.Size([2, 1, 28, 28])
    """

    depth: int = 2
    """How often the map doubles its sides."""
    width: int = 32
    """Channels of the outermost layer; each layer inwards has twice as many, up to eight times this."""
    norm: Norm | Literal["conditional"] = "conditional"
    """Batch norm whose gain and offset follow the condition; or plain batch norm, instance norm, or none."""

    def build(self, *, latents: int, labels: int, outputs: int, size: int) -> Generator:
        """Make the network for these numbers of latents, of the condition, of channels, and pixels of each side.

        Raises:
            MisuseError: There is no layer or no channel, or the size is no multiple of two to the power of the depth.
        """
        if self.width < 1:
            raise MisuseError(f"The generator has a width of {self.width}; give at least 1.")
        side = halved(size, depth=self.depth)
        channels = widths(self.width, self.depth + 1)[::-1]
        layers: list[nn.Module] = [
            ConvTranspose2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(channels)
        ]
        layers.append(Conv2d(channels[-1], outputs, 3, padding=1))
        network = Generator(
            nn.Linear(latents + labels, channels[0] * side**2),
            nn.ModuleList(self._norm(each, labels) for each in channels),
            nn.ModuleList(layers),
            side=side,
        )
        network.layers.apply(initialise)
        return network

    def _norm(self, channels: int, labels: int) -> nn.Module:
        if self.norm == "conditional":
            return ConditionalNorm(channels, labels)
        return normalisation(self.norm, channels)
