"""The discretised logistic likelihood: a probability for each of the 256 levels that a pixel can have.

    P(x) = F((x + d - m)/s) - F((x - d - m)/s),    d = 1/255,  F the sigmoid;

black takes all that lies below it, and white all above, so that the levels' probabilities sum to 1. Unlike a density
it is a probability of the picture as it is stored: its nats (divided by log 2 and by the number of pixels and channels:
bits per dimension) compare across models. Choose it for photographs.

References:
    Kingma et al., "Improved Variational Inference with Inverse Autoregressive Flow", NeurIPS 2016, section 5.2.
    Salimans et al., "PixelCNN++", ICLR 2017, equation 2.

Example:
    >>> import torch
    >>> likelihood = Config(levels=4).build(channels=1)
    >>> levels = torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1)
    >>> decoded = torch.tensor([0.3, -1.0]).reshape(2, 1, 1).expand(4, 2, 1, 1)  # mean, and log-scale
    >>> print(f"{likelihood.distribution(decoded).log_prob(levels).exp().sum():.4f}")
    1.0000
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints
from torch.distributions.utils import broadcast_all
from torch.nn import functional

from arzhang.likelihoods._pictures import check, check_channels, wide
from arzhang.types import MisuseError

MOST = 7.0
"""Greatest log-scale, and least: far wider than all levels, and narrower than one, where gradients only overflow."""


@final
class Levels(Distribution):
    """A logistic distribution that is rounded to so many levels from -1 to 1."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012 - as torch has it
    support = constraints.interval(-1, 1)

    def __init__(self, loc: Tensor, scale: Tensor, *, levels: int, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean before rounding, cut off where pictures end."""
        return self.loc.clamp(-1, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log P of the nearest level.

        F(b) - F(a) = F(b) F(-a) (1 - exp(a - b)), whose logarithm has no difference of near numbers; b - a is the
        width of a level in scales.
        """
        last = self.levels - 1
        value = ((value + 1) * (last / 2)).round() * (2 / last) - 1
        above, below = (value + 1 / last - self.loc) / self.scale, (value - 1 / last - self.loc) / self.scale
        beneath = torch.where(value < -1 + 1 / last, 0, functional.logsigmoid(-below))
        upto = torch.where(value > 1 - 1 / last, 0, functional.logsigmoid(above))
        between = (-torch.expm1(-2 / (last * self.scale))).log()
        inner = (value > -1 + 1 / last) & (value < 1 - 1 / last)
        return beneath + upto + torch.where(inner, between, 0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw levels."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).clamp(1e-7, 1 - 1e-7)
            last = self.levels - 1
            drawn = (self.loc + self.scale * uniform.logit()).clamp(-1, 1)
            return ((drawn + 1) * (last / 2)).round() * (2 / last) - 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """A mean and a log-scale in every pixel, which are the first and the last half of the decoder's channels."""

    outputs: int
    levels: int

    def distribution(self, decoded: Float[Tensor, "*N outputs H W"]) -> Distribution:
        """Return the distribution over pictures."""
        mean, log_scale = wide(decoded).chunk(2, dim=-3)
        return Independent(Levels(mean, log_scale.clamp(-MOST, MOST).exp(), levels=self.levels, validate_args=False), 3)

    def picture(self, decoded: Float[Tensor, "*N outputs H W"]) -> Float[Tensor, "*N C H W"]:
        """Return the mean, cut off at black and at white."""
        return wide(decoded.chunk(2, dim=-3)[0]).clamp(-1, 1)

    def check(self, pictures: Float[Tensor, "*N C H W"]) -> None:
        """Refuse pictures outside [-1, 1].

        Raises:
            MisuseError: They are.
        """
        check("discretised logistic", pictures)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A logistic distribution in every pixel, rounded to levels."""

    levels: int = 256
    """Levels that a pixel can have, from black to white; what lies between them is rounded."""

    def build(self, *, channels: int) -> Likelihood:
        """Make the likelihood of pictures of this number of channels.

        Raises:
            MisuseError: There is no channel, or there are fewer than two levels.
        """
        check_channels("discretised logistic", channels)
        if self.levels < 2:
            raise MisuseError(f"The discretised logistic likelihood has {self.levels} levels; give at least 2.")
        return Likelihood(outputs=2 * channels, levels=self.levels)
