"""The PixelGAN: a discriminator that judges every pixel by its colour alone."""

from dataclasses import dataclass

from torch import nn

from arzhang.networks._discriminator import Discriminator
from arzhang.networks._layers import Norm, initialise, normalisation
from arzhang.types import MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A PixelGAN: it makes colours livelier and does nothing for sharpness.

    References:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", arXiv:1611.07004, sections
        4.4 and 6.1.2.

    Example:
        >>> Config(width=8).build(inputs=6).receptive_field
        1
    """

    width: int = 64
    """Channels of the first layer; the second has twice as many."""
    norm: Norm = "batch"
    """What normalises the second layer; a gradient penalty does not go with batch norm."""

    def build(self, *, inputs: int) -> Discriminator:
        """Make the network for this number of channels.

        Raises:
            MisuseError: ``width`` is less than 1.
        """
        if self.width < 1:
            raise MisuseError(f"The PixelGAN has a width of {self.width}; give it at least 1.")
        bias = self.norm != "batch"  # of the logit too: published so
        layers = nn.Sequential(
            nn.Conv2d(inputs, self.width, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(self.width, 2 * self.width, 1, bias=bias),
            normalisation(self.norm, 2 * self.width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * self.width, 1, 1, bias=bias),
        )
        return Discriminator(layers, smallest=2).apply(initialise)  # a single pixel has no statistics
