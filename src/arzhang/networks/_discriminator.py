"""What all discriminators are: convolutions one after another, from a picture to a map of logits."""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from arzhang.networks._layers import Conv2d, Norm, normalisation
from arzhang.types import MisuseError


@final
class Discriminator(nn.Module):
    """Convolutions one after another; each logit, positive for real, judges its own square of the picture.

    Args:
        layers: The convolutions and what is between them.
        smallest: The least height and width, in pixels, that the layers can take.
    """

    def __init__(self, layers: nn.Sequential, *, smallest: int) -> None:
        super().__init__()
        self.layers = layers
        self.smallest = smallest

    @property
    def receptive_field(self) -> int | None:
        """Side, in pixels, of the square that one logit judges; None where that is the whole picture.

        1 + sum over the convolutions of (kernel - 1) * (product of the strides before it).
        """
        side = stride = 1
        for layer in self.layers:
            match layer:
                case nn.Conv2d():
                    side += (layer.kernel_size[0] - 1) * stride
                    stride *= layer.stride[0]
                case nn.AdaptiveAvgPool2d():
                    return None
        return side

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 h w"]:
        """Return the logits of each picture.

        Raises:
            MisuseError: The pictures are smaller than ``smallest``.
        """
        height, width = image.shape[-2:]
        if min(height, width) < self.smallest:
            raise MisuseError(
                f"The discriminator was given pictures of {height} x {width} pixels but needs at least "
                f"{self.smallest} x {self.smallest}; give it larger pictures or fewer layers."
            )
        logits: Tensor = self.layers(image)
        return logits


def features(widths: Sequence[int], strides: Sequence[int], *, norm: Norm) -> list[nn.Module]:
    """Return convolutions from each width to the next, all but the first normalised, each with a LeakyReLU.

    Raises:
        MisuseError: There is no layer, or one without channels.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise MisuseError("The discriminator has no convolution; give it at least one layer and a width of 1 or more.")
    layers: list[nn.Module] = []
    for i, ((before, after), stride) in enumerate(zip(pairwise(widths), strides, strict=True)):
        layers += [
            # Of the norms only batch norm brings an offset. Instance norm undoes the bias, but it is published so.
            Conv2d(before, after, 4, stride, padding=1, bias=i == 0 or norm != "batch"),
            normalisation(norm if i > 0 else "none", after),
            nn.LeakyReLU(0.2, inplace=i > 0),  # what may follow a product, a view, is slow in place
        ]
    return layers
