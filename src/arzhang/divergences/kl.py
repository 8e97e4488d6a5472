"""The Kullback-Leibler divergence.

    KL(p, q) = E_p[log p - log q]

In nats. It is closed for Gaussians, diagonal and full, and for the pairs that torch.distributions knows; for a mixture
of several Gaussians it has to be estimated. Minimised over p it seeks a mode of q, over q it covers all of p. It is
infinite where p has mass and q has none. Pairs of Gaussians that torch does not know, of a diagonal and a full one or a
mixture of one, are registered with its kl_divergence.

References:
    Kullback and Leibler, "On information and sufficiency", 1951.
    Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014, appendix B.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> kl(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
"""

from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, MultivariateNormal
from torch.distributions.kl import kl_divergence, register_kl

from arzhang.distributions import GaussianMixture, common_batch
from arzhang.divergences._estimates import Sampled, estimated, no_closed_form
from arzhang.divergences._gaussians import Pair, gaussians, square_norm
from arzhang.types import Estimated, Estimator


@overload
def kl(p: Distribution, q: Distribution) -> Float[Tensor, "*batch"]: ...
@overload
def kl(p: Distribution, q: Distribution, *, estimator: Estimator, samples: int = 1000) -> Estimated: ...
def kl(
    p: Distribution, q: Distribution, *, estimator: Estimator | None = None, samples: int = 1000
) -> Float[Tensor, "*batch"] | Estimated:
    """Return the divergence of p from q, for each element of their batch.

    Args:
        p: Where the expectation is taken.
        q: What it is compared with.
        estimator: Estimates it, with its standard error and the estimator's gradient; without, there must be a closed
            form.
        samples: How many the estimator draws.

    Raises:
        MisuseError: There is no closed form and no estimator, or the shapes do not fit.
    """
    batch = common_batch(p, q)
    if estimator is not None:
        drawn = Sampled(p, q, estimator, samples)
        return estimated(lambda mean: mean, drawn.mean(drawn.log_ratio, drawn.p))
    pair = gaussians(p, q)
    if pair is not None:
        return closed(pair).expand(batch)
    try:
        # Not all of torch's broadcast, and not all of others' expand.
        return kl_divergence(*(each if each.batch_shape == batch else each.expand(batch) for each in (p, q)))
    except NotImplementedError:
        raise no_closed_form("Kullback-Leibler divergence", p, q) from None


def closed(pair: Pair) -> Float[Tensor, "*batch"]:
    """Return the divergence of two Gaussians, as a sum of what is never negative."""
    if pair.diagonal:
        moved = (pair.shift / pair.t).square()
        return 0.5 * torch.sum(_excess(pair.s, pair.t) + moved, dim=-1)
    ratio: Tensor = torch.linalg.solve_triangular(pair.t, pair.s, upper=False)
    on = ratio.diagonal(dim1=-2, dim2=-1)
    off = ratio.tril(-1).square().sum((-2, -1))
    return 0.5 * (_excess(on, torch.ones_like(on)).sum(-1) + off + square_norm(pair.t, pair.shift))


def _excess(s: Tensor, t: Tensor) -> Tensor:
    """Return s^2/t^2 - 1 - log s^2/t^2, where they are nearly equal, and where s is next to nothing."""
    more = (s - t) / t
    near = more > -0.5
    logarithm = torch.where(near, torch.where(near, more, 0.0).log1p(), torch.where(near, 1.0, s / t).log())
    return more.square() + 2 * (more - logarithm)


def _registered(p: Distribution, q: Distribution) -> Tensor:
    pair = gaussians(p, q)
    if pair is None:
        raise NotImplementedError
    return closed(pair).expand(common_batch(p, q))


register_kl(GaussianMixture, GaussianMixture)(_registered)
for _full in (MultivariateNormal, LowRankMultivariateNormal):
    for _other in (GaussianMixture, Independent):
        register_kl(_full, _other)(_registered)
        register_kl(_other, _full)(_registered)
register_kl(GaussianMixture, Independent)(_registered)
register_kl(Independent, GaussianMixture)(_registered)
