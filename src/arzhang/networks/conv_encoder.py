"""The convolutional encoder: a picture becomes features, from which a model takes what it needs by linear heads."""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from arzhang.networks._residual import Residual, widths
from arzhang.networks._sizes import descent
from arzhang.types import MisuseError


@final
class Encoder(nn.Module):
    """Convolutions that shrink a picture, and a linear layer.

    Args:
        layers: From a picture to features.
        features: How many they are.
    """

    def __init__(self, layers: nn.Sequential, *, features: int) -> None:
        super().__init__()
        self.layers = layers
        self.features = features

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """Return the features of each picture."""
        features: Tensor = self.layers(image)
        return features


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A convolutional encoder; the defaults turn 28 x 28 pixels into 14 x 14, 7 x 7, and 128 features.

    Residual blocks make it a better and a slower one. Between its layers stands SiLU, with which learning bears a rate
    several times as high as with ReLU.

    References:
        Ramachandran, Zoph and Le, "Searching for Activation Functions", 2017, equation 1.

    Example:
        >>> import torch
        >>> network = Config().build(inputs=1, size=28)
        >>> network(torch.zeros(2, 1, 28, 28)).shape, network.features
        (torch.Size([2, 128]), 128)
    """

    depth: int = 2
    """How many convolutions shrink the picture, each by the stride."""
    width: int = 32
    """Channels of the outermost layer; each layer inwards has twice as many, up to eight times this."""
    features: int = 128
    """How many numbers the picture becomes."""
    blocks: int = 0
    """Residual blocks after each convolution."""
    kernel: int = 4
    """Side of the square of pixels that a convolution sees."""
    stride: int = 2
    """How many times fewer pixels along a side each convolution leaves."""
    padding: int = 1
    """Pixels of zeros at each border."""

    def build(self, *, inputs: int, size: int) -> Encoder:
        """Make the network for this number of channels and pixels of each side.

        Raises:
            MisuseError: There is no layer, no channel or no feature, or a layer too many for the size.
        """
        if min(self.width, self.features) < 1 or self.blocks < 0:
            raise MisuseError(
                f"The encoder has a width of {self.width}, {self.features} features and {self.blocks} blocks; give "
                "width and features at least 1, and no negative number of blocks."
            )
        how = {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        sides = descent(size, depth=self.depth, **how)
        channels = [inputs, *widths(self.width, self.depth)]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers.append(nn.Conv2d(before, after, self.kernel, self.stride, self.padding))
            layers += [Residual(after) for _ in range(self.blocks)]
            layers.append(nn.SiLU())
        layers += [nn.Flatten(), nn.Linear(channels[-1] * sides[-1] ** 2, self.features), nn.SiLU()]
        return Encoder(nn.Sequential(*layers), features=self.features)
