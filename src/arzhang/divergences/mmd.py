"""The squared maximum mean discrepancy of distributions, under a Gaussian kernel.

    MMD^2(p, q) = E k(x, x') + E k(y, y') - 2 E k(x, y),    k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2))

A number from 0 to 2, symmetric. It is the squared L2 distance after noise of deviation bandwidth / sqrt 2 was
added to both, times (2 pi bandwidth^2)^(D/2); hence closed for mixtures of Gaussians on both sides. Estimates need
samples of p and q only, no densities. It sees differences of about the bandwidth: take one near the distance of typical
points, which grows with sqrt D.

References:
    Gretton et al., "A kernel two-sample test", JMLR 2012, lemma 6.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> mmd(Normal(1.0, 1.0), Normal(0.0, 1.0))  # 2 (1 - exp(-1/6)) / sqrt 3
    tensor(0.1773)
"""

import math
from typing import overload

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import common_batch
from arzhang.divergences._estimates import Sampled, estimated, no_closed_form
from arzhang.divergences._gaussians import mixtures
from arzhang.divergences.l2 import closed
from arzhang.types import Estimated, Estimator, MisuseError


@overload
def mmd(p: Distribution, q: Distribution, *, bandwidth: float = 1.0) -> Float[Tensor, "*batch"]: ...
@overload
def mmd(
    p: Distribution, q: Distribution, *, bandwidth: float = 1.0, estimator: Estimator, samples: int = 1000
) -> Estimated: ...
def mmd(
    p: Distribution, q: Distribution, *, bandwidth: float = 1.0, estimator: Estimator | None = None, samples: int = 1000
) -> Float[Tensor, "*batch"] | Estimated:
    """Return the square of the discrepancy, for each element of the batch.

    Args:
        p: One distribution.
        q: The other.
        bandwidth: Of the kernel, in units of x.
        estimator: Estimates it, with its standard error and the estimator's gradient; without, there must be a
            closed form.
        samples: How many the estimator draws from either, twice.

    Raises:
        MisuseError: The bandwidth is not positive, there is no closed form and no estimator, or the shapes do not fit.
    """
    batch = common_batch(p, q)
    if not LEAST < bandwidth < 1 / LEAST:
        raise MisuseError(
            f"The bandwidth of the kernel is {bandwidth}; it has to be positive, and so that its square neither "
            f"vanishes nor overflows: from {LEAST} to {1 / LEAST:g}. Measure x in other units."
        )
    if estimator is not None:
        return _estimate(Sampled(p, q, estimator, samples), bandwidth)
    found = mixtures(p, q)
    if found is None:
        raise no_closed_form("maximum mean discrepancy", p, q)
    first, second = (each.blurred(bandwidth / math.sqrt(2)) for each in found)
    unit = 0.5 * first.means.shape[-1] * math.log(2 * math.pi * bandwidth**2)
    return closed(first, second, log_unit=unit).expand(batch)


LEAST = 1e-15


def _estimate(drawn: Sampled, bandwidth: float) -> Estimated:
    """Return the mean of the witness E k(x, x') - E k(x, y) under p less that under q; its gradient is half of it."""
    ours, theirs = (each.sample((drawn.size,)) for each in (drawn.p, drawn.q))
    event = len(drawn.p.event_shape)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squares = (x.unsqueeze(1) - y).square()
        return (-0.5 / bandwidth**2 * (squares.flatten(-event).sum(-1) if event else squares)).exp().mean(1)

    def witness(x: Tensor) -> Tensor:
        return kernel(x, ours) - kernel(x, theirs)

    def combine(under_p: Tensor, under_q: Tensor) -> Tensor:
        return 2 * (under_p - under_q) - (under_p - under_q).detach()

    return estimated(combine, drawn.mean(witness, drawn.p), drawn.mean(witness, drawn.q))
