"""The Gaussian likelihood: the decoder says the mean of every pixel, and how far off it may be.

    log p(x) = -sum over pixels of  (x - m)^2/(2 s^2) + log s + log(2 pi)/2

With a fixed s it is the squared error, and 1/s^2 decides how much it counts beside the divergence: the weight that
many a VAE hides. A learned one finds that weight by itself (one a picture: Rybkin et al.); one a pixel also says where
the decoder is not sure. It is a density, not a probability, so that its nats depend on the scale of the pictures and
may have any sign. Choose it for continuous pictures.

References:
    Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, appendix C.2.
    Rybkin, Daniilidis and Levine, "Simple and Effective VAE Training with Calibrated Decoders", ICML 2021.

Example:
    >>> import torch
    >>> likelihood = Config(scale=1.0).build(channels=1)
    >>> print(f"{likelihood.distribution(torch.zeros(1, 1, 1)).log_prob(torch.ones(1, 1, 1)):.3f}")
    -1.419
"""

import math
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from arzhang.likelihoods._pictures import check, check_channels, wide
from arzhang.types import MisuseError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """A mean in every pixel, and a scale that is fixed, or the decoder's last channels: one a picture, or a pixel."""

    channels: int
    outputs: int
    scale: float
    least: float
    learned: Literal["no", "picture", "pixel"]

    def distribution(self, decoded: Float[Tensor, "*N outputs H W"]) -> Distribution:
        """Return the distribution over pictures."""
        mean, more = wide(decoded).split([self.channels, self.outputs - self.channels], dim=-3)
        if self.learned == "no":
            scale = mean.new_tensor(self.scale)
        else:
            more = more.mean((-2, -1), keepdim=True) if self.learned == "picture" else more
            scale = (more + math.log(self.scale)).clamp(math.log(self.least), 0).exp()
        return Independent(Normal(mean, scale.expand(mean.shape), validate_args=False), 3)

    def picture(self, decoded: Float[Tensor, "*N outputs H W"]) -> Float[Tensor, "*N channels H W"]:
        """Return the mean, cut off at black and at white."""
        return wide(decoded[..., : self.channels, :, :]).clamp(-1, 1)

    def check(self, pictures: Float[Tensor, "*N C H W"]) -> None:
        """Refuse pictures outside [-1, 1].

        Raises:
            MisuseError: They are.
        """
        check("Gaussian", pictures)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A normal distribution in every pixel."""

    scale: float = 0.2
    """Standard deviation of a pixel, where black is -1 and white 1; where it is learned, what it begins at."""
    learned: Literal["no", "picture", "pixel"] = "no"
    """Whether the decoder says the deviation, too: one for each picture, or for each of its pixels."""
    least: float = 0.01
    """Least deviation that can be learned, about that of 8 bits: a density has no upper limit as it goes to 0."""

    def build(self, *, channels: int) -> Likelihood:
        """Make the likelihood of pictures of this number of channels.

        Raises:
            MisuseError: There is no channel, or a deviation is out of its range.
        """
        check_channels("Gaussian", channels)
        if not (0 < self.scale < math.inf and 0 < self.least < 1):
            raise MisuseError(
                f"The Gaussian likelihood has a scale of {self.scale} and a least scale of {self.least}; give a scale "
                "above 0, and a least one between 0 and 1."
            )
        if self.learned != "no" and not self.least <= self.scale <= 1:
            raise MisuseError(
                f"The Gaussian likelihood begins at a scale of {self.scale}, which is to be learned from {self.least} "
                "to 1: give one between them."
            )
        more = {"no": 0, "picture": 1, "pixel": channels}[self.learned]
        return Likelihood(
            channels=channels, outputs=channels + more, scale=self.scale, least=self.least, learned=self.learned
        )
