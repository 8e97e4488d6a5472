"""Renyi's divergence of an order.

    R(p, q) = log E_p[(p/q)^(alpha - 1)] / (alpha - 1)
    of Gaussians: alpha/2 d' V^-1 d + (log det V - (1 - alpha) log det S - alpha log det T) / (2 (1 - alpha)),
    V = (1 - alpha) S + alpha T

In nats. Orders below 1 are finite for all Gaussians, and 1 is the Kullback-Leibler divergence; beyond it the divergence
is infinite where V is not positive definite: where q's tails are too thin for p's. It grows with the order, and with it
q's duty to cover p. Closed for Gaussians and, at order 2, for a mixture of Gaussians p against one Gaussian q.

References:
    Renyi, "On measures of entropy and information", 1961, equation 3.3.
    Gil, Alajaji and Linder, "Renyi divergence measures for commonly used univariate continuous distributions", 2013.
    Li and Turner, "Renyi divergence variational inference", NeurIPS 2016.

Example:
    >>> import torch
    >>> from torch.distributions import Normal
    >>> renyi(Normal(1.0, 1.0), Normal(0.0, 1.0), alpha=3.0)  # alpha d^2 / 2
    tensor(1.5000)
    >>> renyi(Normal(0.0, 2.0), Normal(0.0, 1.0), alpha=2.0)
    tensor(inf)
"""

import math
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import Components, common_batch, logarithm
from arzhang.divergences._estimates import Sampled, estimated, no_closed_form
from arzhang.divergences._gaussians import Pair, mixtures, paired, square_norm
from arzhang.divergences.kl import kl
from arzhang.types import Estimated, Estimator, MisuseError


@overload
def renyi(p: Distribution, q: Distribution, *, alpha: float = 0.5) -> Float[Tensor, "*batch"]: ...
@overload
def renyi(
    p: Distribution, q: Distribution, *, alpha: float = 0.5, estimator: Estimator, samples: int = 1000
) -> Estimated: ...
def renyi(
    p: Distribution, q: Distribution, *, alpha: float = 0.5, estimator: Estimator | None = None, samples: int = 1000
) -> Float[Tensor, "*batch"] | Estimated:
    """Return the divergence of p from q, for each element of their batch.

    Args:
        p: Where the expectation is taken.
        q: What it is compared with.
        alpha: The order.
        estimator: Estimates it, with its standard error and the estimator's gradient, and a bias of order 1/samples;
            without, there must be a closed form.
        samples: How many the estimator draws.

    Raises:
        MisuseError: The order is not positive, there is no closed form and no estimator, or the shapes do not fit.
    """
    batch = common_batch(p, q)
    if not 0 < alpha < math.inf:
        raise MisuseError(f"The order of Renyi's divergence is {alpha}; it has to be positive and finite.")
    if alpha == 1:
        return kl(p, q) if estimator is None else kl(p, q, estimator=estimator, samples=samples)
    if estimator is not None:
        return _estimate(Sampled(p, q, estimator, samples), alpha)
    found = mixtures(p, q)
    if found is not None and found[0].single and found[1].single:
        return closed(paired(*found), alpha).expand(batch)
    if found is not None and found[1].single and alpha == 2:
        return log_second_moment(*found).expand(batch)
    raise no_closed_form(f"Renyi divergence of order {alpha:g}", p, q)


def closed(pair: Pair, alpha: float) -> Float[Tensor, "*batch"]:
    """Return the divergence of two Gaussians, near equality and near order 1 without differences of large numbers.

    With r the deviations of T in units of S along their common axes,

        log det V - (1 - alpha) log det S - alpha log det T = sum log(1 + (alpha - 1)(1 - 1/r^2)) - (alpha - 1) log r^2
    """
    ratios = pair.ratios()
    thinner = (ratios - 1) * (ratios + 1) / ratios.square()  # 1 - 1/r^2
    positive = 1 + (alpha - 1) * thinner > 0
    finite = positive.all(-1)
    thinner = torch.where(positive, thinner, 0.0)
    volume = (2 * ratios.log() - ((alpha - 1) * thinner).log1p() / (alpha - 1)).sum(-1)
    moved = pair.distance(1 - alpha, alpha, where=finite)
    return torch.where(finite, 0.5 * alpha * moved + 0.5 * volume, torch.inf)


def log_second_moment(first: Components, second: Components) -> Float[Tensor, "*batch"]:
    """Return the logarithm of E_q[(p/q)^2] of a mixture p and one Gaussian q: order 2.

    sum_kl w_k w_l N(m_k; n, S_k) N(m_l; n, S_l) / N(n; n, T) . (2 pi)^(D/2) det(U)^(1/2) . exp(h' U h / 2),
    U = (S_k^-1 + S_l^-1 - T^-1)^-1,    h = S_k^-1 (m_k - n) + S_l^-1 (m_l - n)
    """
    away = first.means - second.means
    if first.diagonal and second.diagonal:
        a, c = first.scales.square().reciprocal(), second.scales.square().reciprocal()
        inner = a.unsqueeze(-2) + a.unsqueeze(-3) - c.unsqueeze(-2)
        finite = (inner > 0).all(-1)
        inner = torch.where(finite.unsqueeze(-1), inner, 1.0)
        pull = a * away
        squares = ((pull.unsqueeze(-2) + pull.unsqueeze(-3)).square() / inner).sum(-1)
        own, volume = (pull * away).sum(-1), inner.log().sum(-1)
        logs, log_c = a.log().sum(-1), c.log().sum(-1)
    else:
        a, c = (torch.cholesky_inverse(each.trils) for each in (first, second))
        inner = a.unsqueeze(-3) + a.unsqueeze(-4) - c.unsqueeze(-3)
        finite = torch.linalg.cholesky_ex(inner).info == 0
        one = torch.eye(inner.shape[-1], dtype=inner.dtype, device=inner.device)
        tril = torch.linalg.cholesky(torch.where(finite[..., None, None], inner, one))
        pull = (a @ away.unsqueeze(-1)).squeeze(-1)
        squares = square_norm(tril, pull.unsqueeze(-2) + pull.unsqueeze(-3))
        own, volume = (pull * away).sum(-1), 2 * _log_diagonal(tril)
        logs, log_c = -2 * _log_diagonal(first.trils), -2 * _log_diagonal(second.trils)
    pairs = 0.5 * (squares - volume - log_c.unsqueeze(-1))
    ends = first.log_weights + 0.5 * (logs - own)
    pairs = pairs + ends.unsqueeze(-1) + ends.unsqueeze(-2)
    used = first.log_weights.unsqueeze(-1) + first.log_weights.unsqueeze(-2) > -torch.inf
    return torch.where((finite | ~used).all(-1).all(-1), pairs.flatten(-2).logsumexp(-1), torch.inf)


def _log_diagonal(tril: Tensor) -> Tensor:
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _estimate(drawn: Sampled, alpha: float) -> Estimated:
    means, c = drawn.log_mean(lambda x: (alpha - 1) * drawn.log_ratio(x), drawn.p)
    return estimated(lambda mean: (logarithm(mean) + c) / (alpha - 1), means)
