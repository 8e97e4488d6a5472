"""The mean of f, estimated from points of its own."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from arzhang.baselines._apart import at_least_one
from arzhang.types import Drawn


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The mean of f over points that are drawn besides, so that it depends on none of those that it is subtracted at.

        b = mean of f(z'),    z' ~ q, independent of z

    Of f = (m z)^2 and N(mu, 1) the exact mean leaves m^4 (8 mu^2 + 10), where no baseline leaves
    m^4 (mu^4 + 14 mu^2 + 15); the error of one from M points adds Var f / M times the score's variance. The points cost
    as much as samples: leave_one_out makes use of both, and is nearly always the better bargain.

    Raises:
        MisuseError: There are no samples.

    Example:
        >>> import torch
        >>> q, values = torch.distributions.Normal(0.0, 1.0), torch.tensor([1.0, 2.0, 6.0])
        >>> Config(samples=2).build()(Drawn(q=q, values=values[:1], apart=values[1:], apart_values=values[1:]))
        tensor(4.)
    """

    samples: int = 1
    """How many points it has, which are evaluated with the others in the same call."""

    def build(self) -> "Mean":
        """Make the baseline, which remembers nothing."""
        at_least_one(self.samples)
        return Mean(apart=self.samples)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """The baseline; ``apart`` is how many points it asks for."""

    apart: int

    def __call__(self, drawn: Drawn) -> Float[Tensor, "*batch"]:
        """Return the mean of f over the points apart."""
        return drawn.apart_values.mean(0)
