"""The PatchGAN: a discriminator that judges every patch of a picture by itself."""

from dataclasses import dataclass

from torch import nn

from arzhang.networks._discriminator import Discriminator, features
from arzhang.networks._layers import Conv2d, Norm, initialise


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A PatchGAN: texture is judged within patches, and what lies further apart is left to the rest of the loss.

    One to six layers judge patches of 16, 34, 70, 142, 286 and 574 pixels. Seventy is the paper's best; its 286
    did worse.

    References:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", arXiv:1611.07004, sections
        3.2.2 and 6.1.2.

    Example:
        >>> network = Config(width=8).build(inputs=6)
        >>> network.receptive_field, network.smallest
        (70, 24)
    """

    layers: int = 3
    """Number of convolutions of stride 2; two of stride 1 follow."""
    width: int = 64
    """Channels of the first layer; each layer has twice as many as the one before, up to eight times this."""
    norm: Norm = "batch"
    """What normalises all layers but the first and the last; a gradient penalty does not go with batch norm."""

    def build(self, *, inputs: int) -> Discriminator:
        """Make the network for this number of channels.

        Raises:
            MisuseError: ``layers`` is negative, or ``width`` is less than 1.
        """
        widths = [self.width * min(2**i, 8) for i in range(self.layers + 1)]
        layers = nn.Sequential(
            *features([inputs, *widths], [2] * self.layers + [1], norm=self.norm),
            Conv2d(widths[-1], 1, 4, padding=1),
        )
        return Discriminator(layers, smallest=3 * 2**self.layers).apply(initialise)
