"""Pearson's chi-squared divergence.

    chi^2(p, q) = E_q[(p/q - 1)^2] = E_p[p/q] - 1 = exp(R_2(p, q)) - 1

A number from 0 on, R_2 being Renyi's divergence of order 2: the variance of the importance weights p/q, and infinite
where these have none. It bounds the Kullback-Leibler divergence, KL <= log(1 + chi^2). Closed for Gaussians and for a
mixture of Gaussians p against one Gaussian q.

References:
    Pearson, "On the criterion that a given system of deviations from the probable in the case of a correlated system of
        variables is such that it can be reasonably supposed to have arisen from random sampling", 1900.
    Dieng et al., "Variational inference via chi upper bound minimization", NeurIPS 2017.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> chi_squared(Normal(1.0, 1.0), Normal(0.0, 1.0))  # e - 1
    tensor(1.7183)
"""

from typing import overload

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import common_batch
from arzhang.divergences._estimates import Sampled, estimated, no_closed_form
from arzhang.divergences._gaussians import mixtures, paired
from arzhang.divergences.renyi import closed, log_second_moment
from arzhang.types import Estimated, Estimator


@overload
def chi_squared(p: Distribution, q: Distribution) -> Float[Tensor, "*batch"]: ...
@overload
def chi_squared(p: Distribution, q: Distribution, *, estimator: Estimator, samples: int = 1000) -> Estimated: ...
def chi_squared(
    p: Distribution, q: Distribution, *, estimator: Estimator | None = None, samples: int = 1000
) -> Float[Tensor, "*batch"] | Estimated:
    """Return the divergence of p from q, for each element of their batch.

    Args:
        p: Where samples are drawn.
        q: What it is compared with.
        estimator: Estimates it, with its standard error and the estimator's gradient; without, there must be a
            closed form.
        samples: How many the estimator draws.

    Raises:
        MisuseError: There is no closed form and no estimator, or the shapes do not fit.
    """
    batch = common_batch(p, q)
    if estimator is not None:
        drawn = Sampled(p, q, estimator, samples)
        return estimated(lambda mean: mean, drawn.mean(lambda x: drawn.log_ratio(x).expm1(), drawn.p))
    found = mixtures(p, q)
    if found is None or not found[1].single:
        raise no_closed_form("chi-squared divergence", p, q)
    first, second = found
    log_moment = closed(paired(first, second), 2) if first.single else log_second_moment(first, second)
    return log_moment.expm1().expand(batch)
