"""The constant that leaves the least variance, estimated from points of its own."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.baselines._apart import at_least_one
from arzhang.baselines._numbers import numbers_of
from arzhang.distributions import described, parameters_of, with_parameters
from arzhang.types import Drawn, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The mean of f weighed by the squared length of the score, over points that are drawn besides.

        b = E[f(z') |s(z')|^2] / E[|s(z')|^2],    s = d log q / dtheta

    Of all numbers this leaves the least variance, summed over those parameters that require a gradient. Of f = (m z)^2
    and N(mu, 1) it is m^2 (mu^2 + 3), and leaves m^4 (8 mu^2 + 6), where the mean leaves 10 for the 6: seldom enough to
    pay for the points, to which the scores come besides. Where no score is other than zero, it is the mean.

    Raises:
        MisuseError: There are no samples.

    References:
        Greensmith, Bartlett and Baxter, "Variance Reduction Techniques for Gradient Estimates in Reinforcement
        Learning", JMLR 5, 2004, theorem 8.

    Example:
        >>> mu = torch.zeros((), requires_grad=True)
        >>> q, points = torch.distributions.Normal(mu, 1.0), torch.tensor([1.0, 2.0])
        >>> Config(samples=2).build()(Drawn(q=q, values=points[:1], apart=points, apart_values=points))  # (1 + 8) / 5
        tensor(1.8000)
    """

    samples: int = 16
    """How many points it has, which are evaluated with the others in the same call."""

    def build(self) -> "Optimal":
        """Make the baseline, which remembers nothing."""
        at_least_one(self.samples)
        return Optimal(apart=self.samples)


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimal:
    """The baseline; ``apart`` is how many points it asks for."""

    apart: int

    def check(self, q: Distribution, samples: int) -> None:  # noqa: ARG002
        """Refuse a q without a parameter to take the score of."""
        if not any(each.requires_grad for each in parameters_of(q).values()):
            raise MisuseError(
                f"The optimal baseline weighs by the scores of parameters, and of {described(q)} none of "
                f"{', '.join(parameters_of(q))} requires a gradient: use leave_one_out or mean."
            )

    def __call__(self, drawn: Drawn) -> Float[Tensor, "*batch"]:
        """Return the weighed mean of f over the points apart."""
        if not drawn.apart_values.numel():
            return drawn.apart_values.mean(0)
        parameters = parameters_of(drawn.q)
        still = {name: each.detach().expand(self.apart, *each.shape) for name, each in parameters.items()}
        leaves = {name: still[name].requires_grad_() for name, each in parameters.items() if each.requires_grad}
        # A score for each point: the parameters are made as wide as there are points.
        log_density = with_parameters(drawn.q, {**still, **leaves}).log_prob(drawn.apart)
        scores = torch.autograd.grad(log_density.sum(), list(leaves.values()), materialize_grads=True)
        lengths = [numbers_of(each, drawn.apart_values.ndim).square().sum(-1) for each in scores]
        weights = torch.stack(lengths).sum(0)
        total = weights.sum(0)
        weighed = (weights * drawn.apart_values).sum(0) / total.where(total > 0, 1.0)
        return torch.where(total > 0, weighed, drawn.apart_values.mean(0))
