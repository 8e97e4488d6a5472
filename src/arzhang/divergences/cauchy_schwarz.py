"""The Cauchy-Schwarz divergence.

    CS(p, q) = -log of integral p q / sqrt(integral p^2 . integral q^2)
    of Gaussians: 1/2 d'(S + T)^-1 d + 1/2 log det (S + T)/2 - 1/4 log det S - 1/4 log det T

In nats, symmetric, and closed for mixtures of Gaussians on both sides: what to take for a prior that is a mixture. It
is at most either Kullback-Leibler divergence of two Gaussians, but not of mixtures; near p = q it is half of it along
the mean and a quarter along the logarithm of the scale, and it is no bound of a likelihood.

References:
    Jenssen et al., "The Cauchy-Schwarz divergence and Parzen windowing", 2006.
    Tran, Pantic and Deisenroth, "Cauchy-Schwarz regularized autoencoder", JMLR 23(115), 2022.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> cauchy_schwarz(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.2500)
"""

from typing import overload

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import Components, common_batch, logarithm, overlap
from arzhang.divergences._estimates import Sampled, estimated, log_prob, no_closed_form
from arzhang.divergences._gaussians import mixtures, paired
from arzhang.types import Estimated, Estimator


@overload
def cauchy_schwarz(p: Distribution, q: Distribution) -> Float[Tensor, "*batch"]: ...
@overload
def cauchy_schwarz(p: Distribution, q: Distribution, *, estimator: Estimator, samples: int = 1000) -> Estimated: ...
def cauchy_schwarz(
    p: Distribution, q: Distribution, *, estimator: Estimator | None = None, samples: int = 1000
) -> Float[Tensor, "*batch"] | Estimated:
    """Return the divergence, for each element of the batch.

    A batch of B diagonal Gaussians against one mixture of K in D dimensions takes B K D steps and the memory of B K
    numbers; the mixture with itself is counted once.

    Args:
        p: One distribution.
        q: The other.
        estimator: Estimates it, with its standard error and the estimator's gradient, and a bias of order 1/samples;
            without, there must be a closed form.
        samples: How many the estimator draws for each of the three integrals.

    Raises:
        MisuseError: There is no closed form and no estimator, or the shapes do not fit.
    """
    batch = common_batch(p, q)
    if estimator is not None:
        return _estimate(Sampled(p, q, estimator, samples))
    found = mixtures(p, q)
    if found is None:
        raise no_closed_form("Cauchy-Schwarz divergence", p, q)
    return closed(*found).expand(batch)


def closed(first: Components, second: Components) -> Float[Tensor, "*batch"]:
    """Return the divergence of mixtures; of single Gaussians without differences of large numbers."""
    if first.single and second.single:
        pair = paired(first, second)
        return 0.5 * pair.distance(1, 1) + 0.5 * pair.between()
    return 0.5 * overlap(first, first) + 0.5 * overlap(second, second) - overlap(first, second)


def _estimate(drawn: Sampled) -> Estimated:
    p, q = drawn.p, drawn.q
    own, c = drawn.log_mean(lambda x: log_prob(p, x), p)
    others, d = drawn.log_mean(lambda x: log_prob(q, x), q)
    across, e = drawn.log_mean(lambda x: log_prob(q, x), p)
    return estimated(
        lambda a, b, ab: (logarithm(a) + c + logarithm(b) + d) / 2 - (logarithm(ab) + e), own, others, across
    )
