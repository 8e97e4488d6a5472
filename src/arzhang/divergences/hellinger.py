"""The squared Hellinger distance.

    H^2(p, q) = 1/2 integral (sqrt p - sqrt q)^2 = 1 - exp(-B(p, q))

A number from 0 to 1, symmetric: the square, which is differentiable where p = q; its root is a metric. B is the
Bhattacharyya distance. It bounds the total variation, H^2 <= TV <= sqrt(2) H. Distributions that are far from each
other all have 1, and no gradient.

References:
    Hellinger, "Neue Begruendung der Theorie quadratischer Formen von unendlichvielen Veraenderlichen", 1909.
    Tsybakov, "Introduction to nonparametric estimation", 2009, section 2.4.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> hellinger(Normal(1.0, 1.0), Normal(0.0, 1.0))  # 1 - exp(-1/8)
    tensor(0.1175)
"""

from typing import overload

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import common_batch
from arzhang.divergences._estimates import Sampled, no_closed_form
from arzhang.divergences._gaussians import gaussians
from arzhang.divergences.bhattacharyya import closed, estimate
from arzhang.types import Estimated, Estimator


@overload
def hellinger(p: Distribution, q: Distribution) -> Float[Tensor, "*batch"]: ...
@overload
def hellinger(p: Distribution, q: Distribution, *, estimator: Estimator, samples: int = 1000) -> Estimated: ...
def hellinger(
    p: Distribution, q: Distribution, *, estimator: Estimator | None = None, samples: int = 1000
) -> Float[Tensor, "*batch"] | Estimated:
    """Return the square of the distance, for each element of the batch.

    Args:
        p: Where samples are drawn.
        q: The other.
        estimator: Estimates it, with its standard error and the estimator's gradient; without, there must be a
            closed form.
        samples: How many the estimator draws.

    Raises:
        MisuseError: There is no closed form and no estimator, or the shapes do not fit.
    """
    batch = common_batch(p, q)
    if estimator is not None:
        return estimate(Sampled(p, q, estimator, samples), lambda log_affinity: -log_affinity.expm1())
    pair = gaussians(p, q)
    if pair is None:
        raise no_closed_form("squared Hellinger distance", p, q)
    return -(-closed(pair)).expm1().expand(batch)
