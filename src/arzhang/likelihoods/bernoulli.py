"""The Bernoulli likelihood: a pixel is white with a probability that the decoder says, and black otherwise.

    log p(x) = sum over pixels of  t log s(l) + (1 - t) log s(-l),    t = (x + 1)/2,

with the logit l and the sigmoid s. For pictures of two values, -1 and 1, it is a probability, and bounds made of it are
bounds in nats. A grey level t is read as the chance of white, and log p(x) is then the mean over all pictures of two
values that could be drawn so: right to train on, as dynamic binarisation is, but no log-likelihood of the grey picture
(Loaiza-Ganem and Cunningham, 2019). Choose it for binarised digits.

References:
    Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, appendix C.1.
    Loaiza-Ganem and Cunningham, "The continuous Bernoulli", NeurIPS 2019.

Example:
    >>> import torch
    >>> likelihood = Config().build(channels=1)
    >>> logits, white = torch.zeros(1, 28, 28), torch.ones(1, 28, 28)
    >>> print(f"{likelihood.distribution(logits).log_prob(white):.2f}")  # 784 log(1/2)
    -543.43
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints
from torch.nn import functional

from arzhang.likelihoods._pictures import check, check_channels, wide


@final
class BlackOrWhite(Distribution):
    """A Bernoulli distribution over -1 and 1, whose log-probability is also defined, linearly, between them."""

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012 - as torch has it
    support = constraints.interval(-1, 1)

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean, between -1 and 1."""
        return torch.tanh(self.logits / 2)

    @property
    def variance(self) -> Tensor:
        """The variance."""
        return 1 - self.mean.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return t log s(l) + (1 - t) log s(-l), which overflows for no logit."""
        chance, logits = torch.broadcast_tensors((value + 1) / 2, self.logits)
        return -functional.binary_cross_entropy_with_logits(logits, chance, reduction="none")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw -1 or 1."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            return 2 * torch.bernoulli(self.logits.sigmoid().expand(shape)) - 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """Black or white in every pixel."""

    outputs: int

    def distribution(self, decoded: Float[Tensor, "*N outputs H W"]) -> Distribution:
        """Return the distribution over pictures, of the logits of white."""
        return Independent(BlackOrWhite(wide(decoded), validate_args=False), 3)

    def picture(self, decoded: Float[Tensor, "*N outputs H W"]) -> Float[Tensor, "*N outputs H W"]:
        """Return the mean of every pixel: grey where the decoder is not sure."""
        return torch.tanh(wide(decoded) / 2)

    def check(self, pictures: Float[Tensor, "*N C H W"]) -> None:
        """Refuse pictures outside [-1, 1].

        Raises:
            MisuseError: They are.
        """
        check("Bernoulli", pictures)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Black or white in every pixel; grey is the chance of white."""

    def build(self, *, channels: int) -> Likelihood:
        """Make the likelihood of pictures of this number of channels.

        Raises:
            MisuseError: There is no channel.
        """
        check_channels("Bernoulli", channels)
        return Likelihood(outputs=channels)
