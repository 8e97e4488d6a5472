"""The squared L2 distance of densities.

    L2(p, q) = integral (p - q)^2 = integral p^2 + integral q^2 - 2 integral p q

In units of density: it depends on the scale of x, and in many dimensions is very small or very large, where the
Cauchy-Schwarz divergence is not. Symmetric, and closed for mixtures of Gaussians on both sides. Of near-equal Gaussians
it is exact to rounding; of near-equal mixtures it is as exact as its largest term.

References:
    Scott, "Parametric statistical modeling by minimum integrated square error", 2001.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> l2(Normal(1.0, 1.0), Normal(0.0, 1.0))  # (1 - exp(-1/4)) / sqrt(pi)
    tensor(0.1248)
"""

import math
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import Components, common_batch, overlap
from arzhang.divergences._estimates import Sampled, estimated, log_prob, no_closed_form
from arzhang.divergences._gaussians import mixtures
from arzhang.divergences.cauchy_schwarz import closed as cauchy_schwarz
from arzhang.types import Estimated, Estimator


@overload
def l2(p: Distribution, q: Distribution) -> Float[Tensor, "*batch"]: ...
@overload
def l2(p: Distribution, q: Distribution, *, estimator: Estimator, samples: int = 1000) -> Estimated: ...
def l2(
    p: Distribution, q: Distribution, *, estimator: Estimator | None = None, samples: int = 1000
) -> Float[Tensor, "*batch"] | Estimated:
    """Return the square of the distance, for each element of the batch.

    Args:
        p: One distribution.
        q: The other.
        estimator: Estimates it, with its standard error and the estimator's gradient; without, there must be a
            closed form.
        samples: How many the estimator draws from either.

    Raises:
        MisuseError: There is no closed form and no estimator, or the shapes do not fit.
    """
    batch = common_batch(p, q)
    if estimator is not None:
        return _estimate(Sampled(p, q, estimator, samples))
    found = mixtures(p, q)
    if found is None:
        raise no_closed_form("L2 distance", p, q)
    return closed(*found).expand(batch)


def closed(first: Components, second: Components, *, log_unit: float = 0.0) -> Float[Tensor, "*batch"]:
    """Return the distance in a unit of which the logarithm is given.

    With a >= b the logarithms of integral p^2 and integral q^2, and the Cauchy-Schwarz divergence c, nothing large is
    subtracted:

        exp(a) [(1 - exp(-(a - b)/2))^2 + 2 exp(-(a - b)/2) (1 - exp(-c))]
    """
    own, others = overlap(first, first), overlap(second, second)
    more = own >= others  # no maximum, which has no second derivative where both are equal
    size, lesser = torch.where(more, own, others), torch.where(more, others, own)
    uneven = 0.5 * (lesser - size)
    shape = uneven.expm1().square() - 2 * uneven.exp() * (-cauchy_schwarz(first, second)).expm1()
    size = size + log_unit
    limit = math.floor(math.log(torch.finfo(size.dtype).max))
    return torch.where((size > limit) & (shape > 0), torch.inf, size.clamp_max(limit).exp() * shape)


def _estimate(drawn: Sampled) -> Estimated:
    p, q = drawn.p, drawn.q
    with torch.no_grad():
        pilot = (each.sample((drawn.pilot,)) for each in (p, q))
        peaks = torch.stack([log_prob(each, x) for x in pilot for each in (p, q)]).amax((0, 1, 2))
        c = torch.where(peaks.isfinite(), peaks, 0.0)

    def difference(x: Tensor) -> Tensor:
        return (log_prob(p, x) - c).exp() - (log_prob(q, x) - c).exp()

    def combine(under_p: Tensor, under_q: Tensor) -> Tensor:
        apart, size = under_p - under_q, c.exp()
        return apart * torch.where((apart == 0) & size.isinf(), 1.0, size)

    return estimated(combine, drawn.mean(difference, p), drawn.mean(difference, q))
