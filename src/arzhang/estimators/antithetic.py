"""The score function's gradient from pairs of points that mirror each other about the middle of a symmetric q."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    Cauchy,
    Distribution,
    Laplace,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    StudentT,
)

from arzhang.estimators._contract import at_least_one, average, carried, draw, evaluate, innermost, lacking
from arzhang.estimators._method import method
from arzhang.estimators._support import log_prob
from arzhang.types import Cost, Integrand

SYMMETRIC = (Normal, Laplace, Cauchy, StudentT, MultivariateNormal, LowRankMultivariateNormal)
NEEDS = f"a q symmetric about its loc: {', '.join(each.__name__ for each in SYMMETRIC)}"


def _cost(q: Distribution, *, samples: int = 1) -> Cost:  # noqa: ARG001
    return Cost(evaluations=2 * samples)


@method(unbiased=True, needs=NEEDS, cost=_cost)
def antithetic(f: Integrand, q: Distribution, *, samples: int = 1) -> Float[Tensor, "*batch"]:
    """Return the mean of f over pairs z and 2 loc - z, with the score function's gradient.

        gradient = mean of (f(z) d log q(z) + f(z') d log q(z')) / 2 dtheta,    z' = 2 loc - z

    The scores of a location are opposite at the two, so that all of f that is even about it, a constant above all,
    cancels: per pair, of f = m z and N(mu, 1), 2 m^2 remains, and of (m z)^2, 8 m^4 mu^2, nothing at mu = 0. For a
    scale the scores are the same and only what is odd cancels; there a baseline does more.

    Args:
        f: Any function of points (N, *batch, *event), to values (N, *batch).
        q: A distribution that is symmetric about its ``loc``, ``Independent`` or not.
        samples: How many pairs, for each element of the batch.

    Raises:
        MisuseError: q is none of those.

    References:
        Mohamed, Rosca, Figurnov and Mnih, "Monte Carlo Gradient Estimation in Machine Learning", JMLR 21(132), 2020,
        section 7.2.

    Example:
        >>> mu = torch.zeros((), requires_grad=True)
        >>> value = antithetic(lambda z: z**2, Normal(mu, 1.0))
        >>> round(torch.autograd.grad(value, mu)[0].item(), 4)
        0.0
    """
    at_least_one(samples)
    inner = innermost(q)
    if not isinstance(inner, SYMMETRIC):
        raise lacking("The antithetic estimator", NEEDS, q, "use score_function with leave_one_out")
    drawn = draw(q, samples)
    points = torch.cat([drawn, 2 * inner.loc.detach() - drawn])
    log_density = log_prob(q, points, method="The antithetic estimator")
    values = evaluate(f, points, q)
    if not log_density.requires_grad:
        return average(values)
    return carried(average(values), average(values.detach() * log_density))
