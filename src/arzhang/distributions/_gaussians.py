"""What is a mixture of Gaussians, whatever it is called, and the integral of the product of two."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from arzhang.distributions._mixture import GaussianMixture, logarithm
from arzhang.distributions._pairs import log_densities
from arzhang.distributions._parameters import described, parameters_of
from arzhang.types import MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Components:
    """A mixture of K Gaussians in D dimensions, of which a single Gaussian is one with K = 1.

    Args:
        log_weights: Normalised; minus infinity where a weight is zero.
        means: Of the components; an event of several dimensions is flat.
        scales: Standard deviations of diagonal components ``(*batch, K, D)``, or Cholesky factors
            ``(*batch, K, D, D)``.
    """

    log_weights: Float[Tensor, "*batch K"]
    means: Float[Tensor, "*batch K D"]
    scales: Float[Tensor, "..."]

    @property
    def diagonal(self) -> bool:
        """Whether the components are diagonal."""
        return self.scales.dim() == self.means.dim()

    @property
    def single(self) -> bool:
        """Whether it is one Gaussian."""
        return self.means.shape[-2] == 1

    @property
    def trils(self) -> Float[Tensor, "*batch K D D"]:
        """The Cholesky factors, of diagonal components too."""
        return self.scales.diag_embed() if self.diagonal else self.scales

    @property
    def covariances(self) -> Float[Tensor, "*batch K D D"]:
        """The covariances."""
        return self.trils @ self.trils.mT

    def blurred(self, deviation: float) -> "Components":
        """Return what is left after Gaussian noise of this deviation was added."""
        if self.diagonal:
            scales = torch.hypot(self.scales, self.scales.new_tensor(deviation))
        else:
            noise = deviation**2 * torch.eye(self.means.shape[-1], dtype=self.means.dtype, device=self.means.device)
            scales = torch.linalg.cholesky(self.covariances + noise)
        return Components(log_weights=self.log_weights, means=self.means, scales=scales)

    def to(self, dtype: torch.dtype) -> "Components":
        """Return the same in another precision."""
        return Components(
            log_weights=self.log_weights.to(dtype), means=self.means.to(dtype), scales=self.scales.to(dtype)
        )


def components_of(q: Distribution) -> Components | None:
    """Return the Gaussians that a distribution consists of, or None if it does not.

    Seen through are ``Normal``, ``MultivariateNormal``, ``LowRankMultivariateNormal``, ``GaussianMixture``,
    ``MixtureSameFamily`` and ``Independent`` of such.

    Example:
        >>> from torch.distributions import Normal
        >>> components_of(Normal(torch.zeros(7), 1.0)).means.shape
        torch.Size([7, 1, 1])
    """
    match q:
        case Normal():
            return _one(q.loc.unsqueeze(-1), q.scale.unsqueeze(-1))
        case MultivariateNormal() | LowRankMultivariateNormal():
            return _one(q.loc, q.scale_tril)
        case GaussianMixture():
            return Components(log_weights=q.log_weights, means=q.loc, scales=q.scale if q.diagonal else q.scale_tril)
        case Independent():
            return _joined(components_of(q.base_dist), q.reinterpreted_batch_ndims)
        case MixtureSameFamily():
            return _mixed(q)
    return None


def _one(loc: Tensor, scales: Tensor) -> Components:
    dtype = torch.result_type(loc, scales)
    return Components(
        log_weights=loc.new_zeros(*loc.shape[:-1], 1, dtype=dtype),
        means=loc.unsqueeze(-2).to(dtype),
        scales=scales.unsqueeze(loc.dim() - 1).to(dtype),
    )


def _joined(parts: Components | None, dims: int) -> Components | None:
    """Return the joint distribution of independent ones; of mixtures it would have all their combinations."""
    if parts is None or (dims and not parts.single):
        return None
    if not dims:
        return parts
    batch = parts.means.dim() - 2 - dims
    loc = parts.means.flatten(batch)
    if parts.diagonal:
        return _one(loc, parts.scales.flatten(batch))
    tril = parts.scales.squeeze(-3).flatten(batch, -3)  # (*batch, n, d, d)
    blocks = tril.unsqueeze(-2) * torch.eye(tril.shape[-3], dtype=tril.dtype, device=tril.device)[:, None, :, None]
    return _one(loc, blocks.flatten(-2).flatten(-3, -2))


def _mixed(q: MixtureSameFamily) -> Components | None:
    inner = components_of(q.component_distribution)
    if inner is None:
        return None
    mixture = q.mixture_distribution
    given = parameters_of(mixture)  # of probs, torch keeps the logits from minus infinity
    log_weights = logarithm(given["probs"]) if "probs" in given else mixture.logits
    log_weights = log_weights.expand(*q.batch_shape, -1).unsqueeze(-1) + inner.log_weights
    outer = len(q.batch_shape)
    return Components(
        log_weights=log_weights.flatten(outer),
        means=inner.means.flatten(outer, outer + 1),
        scales=inner.scales.flatten(outer, outer + 1),
    )


def common_batch(p: Distribution, q: Distribution) -> torch.Size:
    """Return the batch shape of a comparison of two distributions.

    Raises:
        MisuseError: They are distributions of events of different shapes, or their batches do not broadcast.

    Example:
        >>> from torch.distributions import Normal
        >>> common_batch(Normal(torch.zeros(7, 1), 1.0), Normal(torch.zeros(3), 1.0))
        torch.Size([7, 3])
    """
    if p.event_shape != q.event_shape:
        raise MisuseError(
            f"{described(p)} has events of shape {tuple(p.event_shape)} and {described(q)} of shape "
            f"{tuple(q.event_shape)}; both need the same: Independent moves dimensions from the batch to the event."
        )
    try:
        return torch.Size(torch.broadcast_shapes(p.batch_shape, q.batch_shape))
    except RuntimeError as error:
        raise MisuseError(
            f"{described(p)} has a batch of shape {tuple(p.batch_shape)} and {described(q)} of shape "
            f"{tuple(q.batch_shape)}, which do not broadcast."
        ) from error


def log_overlap(p: Distribution, q: Distribution) -> Float[Tensor, "*batch"]:
    """Return the logarithm of the integral of the product of two densities.

        log sum_kl w_k v_l N(m_k; n_l, S_k + T_l)

    It is the one primitive under the Cauchy-Schwarz divergence, L2, Renyi's entropy of order 2 and MMD. A batch of
    diagonal Gaussians against a diagonal mixture takes the memory of its B x K log-densities, gradients too.

    Raises:
        MisuseError: One of them is not a mixture of Gaussians, or the shapes do not fit.

    Example:
        >>> from torch.distributions import Normal
        >>> log_overlap(Normal(0.0, 1.0), Normal(0.0, 1.0)).exp()  # 1 / (2 sqrt(pi))
        tensor(0.2821)
    """
    batch = common_batch(p, q)
    first, second = components_of(p), components_of(q)
    if first is None or second is None:
        other = p if first is None else q
        raise MisuseError(
            f"The overlap of {described(p)} and {described(q)} has no closed form, because {described(other)} is no "
            "Gaussian and no mixture of Gaussians."
        )
    return overlap(first, second).expand(batch)


def overlap(first: Components, second: Components) -> Float[Tensor, "*batch"]:
    """Return the log-overlap of what was seen already."""
    dtype = torch.result_type(first.means, second.means)
    first, second = first.to(dtype), second.to(dtype)
    if first.diagonal and second.diagonal:
        pairs = log_densities(first.means, first.scales, second.means, second.scales)
    else:
        summed = first.covariances.unsqueeze(-3) + second.covariances.unsqueeze(-4)
        tril = torch.linalg.cholesky(summed)
        away = (first.means.unsqueeze(-2) - second.means.unsqueeze(-3)).unsqueeze(-1)
        z = torch.linalg.solve_triangular(tril, away, upper=False).squeeze(-1)
        logdet = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        pairs = -0.5 * z.square().sum(-1) - logdet - 0.5 * z.shape[-1] * math.log(2 * math.pi)
    pairs = pairs + first.log_weights.unsqueeze(-1) + second.log_weights.unsqueeze(-2)
    return pairs.flatten(-2).logsumexp(-1)
