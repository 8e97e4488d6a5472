"""The total variation distance.

    TV(p, q) = 1/2 integral |p - q| = E_p[max(0, 1 - q/p)]
    of Gaussians of one covariance: erf(sqrt(d' S^-1 d / 8))

A number from 0 to 1, a metric: the most by which probabilities of one event differ. Closed for Gaussians of one
dimension, and for others of equal covariances. Distributions that are far from each other all have 1, and no gradient.
Only first derivatives are right.

References:
    Tsybakov, "Introduction to nonparametric estimation", 2009, section 2.4.
    Devroye, Mehrabian and Reddad, "The total variation distance between high-dimensional Gaussians with the same mean",
        arXiv:1810.08693.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> total_variation(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.3829)
"""

import math
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import common_batch
from arzhang.divergences._estimates import Sampled, estimated, no_closed_form
from arzhang.divergences._gaussians import Pair, gaussians
from arzhang.types import Estimated, Estimator


@overload
def total_variation(p: Distribution, q: Distribution) -> Float[Tensor, "*batch"]: ...
@overload
def total_variation(p: Distribution, q: Distribution, *, estimator: Estimator, samples: int = 1000) -> Estimated: ...
def total_variation(
    p: Distribution, q: Distribution, *, estimator: Estimator | None = None, samples: int = 1000
) -> Float[Tensor, "*batch"] | Estimated:
    """Return the distance, for each element of the batch.

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
        drawn = Sampled(p, q, estimator, samples)
        return estimated(lambda mean: mean, drawn.mean(lambda x: -(-drawn.log_ratio(x)).expm1().clamp_max(0), drawn.p))
    pair = gaussians(p, q)
    if pair is None:
        raise no_closed_form("total variation", p, q)
    if pair.shift.shape[-1] == 1:
        return _on_a_line(pair).expand(batch)
    near = (pair.s - pair.t).abs() <= EQUAL * torch.finfo(pair.s.dtype).eps * pair.s.abs()
    equal = (near if pair.diagonal else near.flatten(-2)).all(-1)
    if not bool(equal.all()):
        remark = f", because the covariances differ in {int((~equal).sum())} of {equal.numel()} pairs"
        raise no_closed_form("total variation", p, q, remark=remark)
    square = pair.distance(0.5, 0.5) / 8
    apart = square > 0  # where there is a derivative
    return torch.erf(torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)).expand(batch)


EQUAL = 8  # roundings by which covariances may differ
FAR = 50.0  # deviations beyond which there is nothing


def _on_a_line(pair: Pair) -> Float[Tensor, "*batch"]:
    """Return the distance of Gaussians of one dimension: P - Q between the two points where their densities are equal.

    Those points may be taken as fixed, since p - q is zero there. In deviations from the narrower one's mean they are

        (d -+ r sqrt(d^2 + 2 (r^2 - 1) log r)) / (r^2 - 1),    r the ratio of the deviations, d of the means' difference

    of which the one that would cancel follows from the other; for r = 1 one is infinite.
    """
    s, t = (each[..., 0] if pair.diagonal else each[..., 0, 0] for each in (pair.s, pair.t))
    swapped = s > t
    narrow, wide = torch.where(swapped, t, s), torch.where(swapped, s, t)
    away = torch.where(swapped, -1.0, 1.0) * pair.shift.squeeze(-1)  # of the narrower from the wider
    with torch.no_grad():
        r, d = wide / narrow, away / narrow
        widening, side = (r - 1) * (r + 1), torch.where(d < 0, -1.0, 1.0)
        root = d + side * r * (d.square() + 2 * widening * r.log()).sqrt()
        near = -(d.square() + 2 * r.square() * r.log()) / torch.where(root == 0, side, root)
        far = torch.where(widening > 0, root / widening, side * FAR)
        ends = [away + narrow * end.clamp(-FAR, FAR) for end in (torch.minimum(near, far), torch.maximum(near, far))]
    below, above = (torch.erf((end - away) / (SQRT_2 * narrow)) - torch.erf(end / (SQRT_2 * wide)) for end in ends)
    return ((above - below) / 2).clamp_min(0)


SQRT_2 = math.sqrt(2)
