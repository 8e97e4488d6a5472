"""The ImageGAN: a discriminator that gives one logit for the whole picture, whatever its size."""

from dataclasses import dataclass

from torch import nn

from arzhang.networks._discriminator import Discriminator, features
from arzhang.networks._layers import Conv2d, Norm, initialise


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """An ImageGAN: the PatchGAN's strided layers, the mean of their features over the picture, one linear logit of it.

    It judges how distant parts go together, which patches cannot, and is harder to train. The paper's ImageGAN is a
    PatchGAN whose patches are larger than the picture; five layers match it at 256 pixels.

    References:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", arXiv:1611.07004, section 4.4.

    Example:
        >>> import torch
        >>> Config(layers=2, width=8).build(inputs=3)(torch.zeros(1, 3, 24, 40)).shape
        torch.Size([1, 1, 1, 1])
    """

    layers: int = 5
    """Number of convolutions of stride 2."""
    width: int = 64
    """Channels of the first layer; each layer has twice as many as the one before, up to eight times this."""
    norm: Norm = "batch"
    """What normalises all layers but the first; a gradient penalty does not go with batch norm."""

    def build(self, *, inputs: int) -> Discriminator:
        """Make the network for this number of channels.

        Raises:
            MisuseError: ``layers`` or ``width`` is less than 1.
        """
        widths = [self.width * min(2**i, 8) for i in range(self.layers)]
        layers = nn.Sequential(
            *features([inputs, *widths], [2] * self.layers, norm=self.norm),
            nn.AdaptiveAvgPool2d(1),
            Conv2d(widths[-1], 1, 1),
        )
        # The last features are at least 2 x 2: a single one has no statistics.
        return Discriminator(layers, smallest=2 ** (self.layers + 1)).apply(initialise)
