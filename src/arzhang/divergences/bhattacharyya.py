"""The Bhattacharyya distance.

    B(p, q) = -log of integral sqrt(p q)
    of Gaussians: 1/8 d' V^-1 d + 1/2 log det V - 1/4 log det S - 1/4 log det T,    V = (S + T) / 2

In nats, symmetric, finite for all Gaussians; half of Renyi's divergence of order 1/2. It is small wherever both share
some mass, so that it punishes a forgotten mode little.

References:
    Bhattacharyya, "On a measure of divergence between two statistical populations", 1943.
    Kailath, "The divergence and Bhattacharyya distance measures in signal selection", 1967.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> bhattacharyya(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.1250)
"""

from collections.abc import Callable
from typing import overload

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import common_batch, logarithm
from arzhang.divergences._estimates import Sampled, estimated, no_closed_form
from arzhang.divergences._gaussians import Pair, gaussians
from arzhang.types import Estimated, Estimator


@overload
def bhattacharyya(p: Distribution, q: Distribution) -> Float[Tensor, "*batch"]: ...
@overload
def bhattacharyya(p: Distribution, q: Distribution, *, estimator: Estimator, samples: int = 1000) -> Estimated: ...
def bhattacharyya(
    p: Distribution, q: Distribution, *, estimator: Estimator | None = None, samples: int = 1000
) -> Float[Tensor, "*batch"] | Estimated:
    """Return the distance, for each element of the batch.

    Args:
        p: Where samples are drawn.
        q: The other.
        estimator: Estimates it, with its standard error and the estimator's gradient, and a bias of order 1/samples;
            without, there must be a closed form.
        samples: How many the estimator draws.

    Raises:
        MisuseError: There is no closed form and no estimator, or the shapes do not fit.
    """
    batch = common_batch(p, q)
    if estimator is not None:
        return estimate(Sampled(p, q, estimator, samples), lambda log_affinity: -log_affinity)
    pair = gaussians(p, q)
    if pair is None:
        raise no_closed_form("Bhattacharyya distance", p, q)
    return closed(pair).expand(batch)


def closed(pair: Pair) -> Float[Tensor, "*batch"]:
    """Return the distance of two Gaussians."""
    return 0.25 * pair.distance(1, 1) + 0.5 * pair.between()


def estimate(drawn: Sampled, of: Callable[[Tensor], Tensor]) -> Estimated:
    """Return a function of the logarithm of integral sqrt(p q)."""
    means, c = drawn.log_mean(lambda x: -0.5 * drawn.log_ratio(x), drawn.p)
    return estimated(lambda mean: of(logarithm(mean) + c), means)
