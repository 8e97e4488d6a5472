"""A mixture of Gaussians, through whose samples gradients go."""

import functools
import math
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import lazy_property

from arzhang.distributions._pairs import HALF_LOG_TAU, log_densities
from arzhang.types import MisuseError

TOLERANCE = 1e-5  # of the sum of weights, which are then normalised


class GaussianMixture(Distribution):
    """A mixture of K Gaussians in D dimensions, diagonal or full.

        p(x) = sum_k w_k N(x; m_k, S_k),    S_k = diag(scale_k)^2 or L_k L_k'

    Unlike ``MixtureSameFamily`` it has ``rsample``: a sample is drawn, and then held at the same conditional
    probabilities u_d = sum_k w_k(x_<d) Phi(z_kd) while the parameters move, which gives dx = -(du/dx)^-1 du for
    weights, means and scales alike; first derivatives only. Between modes that lie far apart such gradients are rare
    and large. Leading dimensions and components that one of the parameters lacks are broadcast, and all are taken in
    the widest precision among them.

    Gradients of ``weights`` go through their normalisation; a weight of zero has none.

    Args:
        loc: The means, ``(*batch, K, D)``.
        logits: Logarithms of the weights, up to a constant; or
        weights: not negative, with a sum of one.
        scale: Standard deviations of diagonal components; or
        scale_tril: Cholesky factors, ``(*batch, K, D, D)``; or
        covariance_matrix: covariances.
        validate_args: Whether values are looked at; shapes always are.

    Raises:
        MisuseError: A scale is not positive, a covariance not positive definite, the weights do not sum to one, shapes
            do not broadcast, or not exactly one of each of the alternatives is given.

    References:
        Figurnov et al., "Implicit reparameterization gradients", NeurIPS 2018, equation 6.
        Graves, "Stochastic backpropagation through mixture density distributions", arXiv:1607.05690, section 3.

    Example:
        >>> prior = GaussianMixture(
        ...     weights=torch.tensor([0.5, 0.5]), loc=torch.tensor([[-2.0], [2.0]]), scale=torch.ones(2, 1)
        ... )
        >>> prior.mean, prior.variance
        (tensor([0.]), tensor([5.]))
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "logits": constraints.real_vector,
        "weights": constraints.simplex,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
        "scale_tril": constraints.independent(constraints.lower_cholesky, 1),
        "covariance_matrix": constraints.independent(constraints.positive_definite, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    diagonal: bool
    """Whether the components were given by ``scale``."""
    loc: Float[Tensor, "*batch K D"]
    scale: Float[Tensor, "*batch K D"]

    def __init__(
        self,
        *,
        loc: Tensor,
        logits: Tensor | None = None,
        weights: Tensor | None = None,
        scale: Tensor | None = None,
        scale_tril: Tensor | None = None,
        covariance_matrix: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name, chosen = _one(logits=logits, weights=weights)
        form, spread = _one(scale=scale, scale_tril=scale_tril, covariance_matrix=covariance_matrix)
        self._given, self.diagonal = (name, form), form == "scale"
        common = _common_shape((name, chosen), loc, (form, spread), diagonal=self.diagonal)
        dtype = functools.reduce(torch.promote_types, (each.dtype for each in (chosen, loc, spread)))
        self.loc = loc.expand(common).to(dtype)
        self.__dict__[name] = chosen.expand(common[:-1]).to(dtype)
        self.__dict__[form] = spread.expand(common if self.diagonal else (*common, common[-1])).to(dtype)
        checked = bool(Distribution._validate_args) if validate_args is None else validate_args  # noqa: SLF001
        if checked:
            _check((name, chosen), loc, (form, spread))
        super().__init__(torch.Size(common[:-2]), torch.Size(common[-1:]), validate_args=False)
        self._validate_args = checked

    @lazy_property
    def logits(self) -> Float[Tensor, "*batch K"]:
        """The logarithms of the weights."""
        return self.log_weights

    @lazy_property
    def weights(self) -> Float[Tensor, "*batch K"]:
        """The weights, which sum to one."""
        return self.logits.softmax(-1)

    @lazy_property
    def scale_tril(self) -> Float[Tensor, "*batch K D D"]:
        """The Cholesky factors of the components' covariances."""
        if self.diagonal:
            return self.scale.diag_embed()
        return cast("Tensor", torch.linalg.cholesky(self.covariance_matrix))

    @lazy_property
    def covariance_matrix(self) -> Float[Tensor, "*batch K D D"]:
        """The components' covariances."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def log_weights(self) -> Float[Tensor, "*batch K"]:
        """The logarithms of the weights, normalised; minus infinity for a weight of zero."""
        if "weights" in self._given:
            return logarithm(self.weights / self.weights.sum(-1, keepdim=True))
        return self.logits.log_softmax(-1)

    @property
    def mean(self) -> Float[Tensor, "*batch D"]:
        """The mean of the mixture."""
        return (self.log_weights.exp().unsqueeze(-1) * self.loc).sum(-2)

    @property
    def variance(self) -> Float[Tensor, "*batch D"]:
        """The variances of the mixture, of every dimension by itself."""
        spread = self.scale if self.diagonal else torch.linalg.vector_norm(self.scale_tril, dim=-1)
        parts = spread.square() + (self.loc - self.mean.unsqueeze(-2)).square()
        return (self.log_weights.exp().unsqueeze(-1) * parts).sum(-2)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "GaussianMixture":
        """Return the same mixtures with more dimensions in front."""
        batch = tuple(batch_shape)
        parts = {
            name: self.__dict__[name].expand(*batch, *self.__dict__[name].shape[len(self.batch_shape) :])
            for name in ("loc", *self._given)
        }
        wide = GaussianMixture(**parts, validate_args=False)
        wide._validate_args = self._validate_args
        return wide

    def log_prob(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the log-density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        batch = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        samples = len(batch) - len(self.batch_shape)
        count, d = math.prod(batch[:samples]), value.shape[-1]
        rows = value.expand(*batch, -1).reshape(count, *batch[samples:], d).movedim(0, -2)
        if self.diagonal:
            each = log_densities(rows, None, self.loc, self.scale)
        else:
            away = (rows.unsqueeze(-3) - self.loc.unsqueeze(-2)).mT  # (*batch, K, D, N)
            z = torch.linalg.solve_triangular(self.scale_tril, away, upper=False)
            logdet = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
            each = (-0.5 * z.square().sum(-2) - logdet - d * HALF_LOG_TAU).mT
        return (each + self.log_weights.unsqueeze(-2)).logsumexp(-1).movedim(-1, 0).reshape(batch)

    def sample(self, sample_shape: Any = ()) -> Float[Tensor, "..."]:
        """Draw points, of shape ``(*sample_shape, *batch, D)``."""
        with torch.no_grad():
            return self._draw(torch.Size(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Float[Tensor, "..."]:
        """Draw points that have gradients with respect to logits or weights, means and spreads."""
        x = self.sample(sample_shape)
        parts = (self.log_weights, self.loc, self.scale if self.diagonal else self.scale_tril)
        if not torch.is_grad_enabled() or not any(part.requires_grad for part in parts):
            return x
        return _held(x, *parts, diagonal=self.diagonal)

    def _draw(self, sample_shape: torch.Size) -> Tensor:
        k, d = self.loc.shape[-2:]
        count = math.prod(sample_shape)
        steps = self.log_weights.exp().cumsum(-1)
        steps = (steps / steps[..., -1:]).contiguous()
        uniform = torch.rand(*self.batch_shape, count, dtype=steps.dtype, device=steps.device)
        chosen = torch.searchsorted(steps, uniform, right=True).clamp_max(k - 1).unsqueeze(-1)
        loc = self.loc.gather(-2, chosen.expand(*self.batch_shape, count, d))
        noise = torch.randn_like(loc)
        if self.diagonal:
            x = loc + noise * self.scale.gather(-2, chosen.expand(*self.batch_shape, count, d))
        else:
            tril = self.scale_tril.gather(-3, chosen.unsqueeze(-1).expand(*self.batch_shape, count, d, d))
            x = loc + (tril @ noise.unsqueeze(-1)).squeeze(-1)
        return x.movedim(-2, 0).reshape(*sample_shape, *self.batch_shape, d)


def logarithm(weights: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the logarithm, which at zero is minus infinity without a gradient."""
    positive = weights > 0
    return torch.where(positive, torch.where(positive, weights, 1.0).log(), -torch.inf)


def _held(x: Tensor, log_weights: Tensor, loc: Tensor, spread: Tensor, *, diagonal: bool) -> Tensor:
    """Return x with the gradient that holds its conditional probabilities, a dimension after the other.

    With u the lesser of both tails, p the density, and the dimensions before it as they move,

        dx_d = -+ du_d / p_d,    du_d = sum_k w_k [Phi(-+z_kd) dlog w_k +- phi(z_kd) dz_kd]

    whose coefficients are found first: torch's derivative of log_ndtr loses its digits far from a component.
    """
    moving: list[Tensor] = []
    standard: list[Tensor] = []  # L_k^-1 (x - m_k), as far as known
    for d in range(x.shape[-1]):
        log_weights = log_weights.log_softmax(-1)  # given the dimensions before
        width, centre = (spread if diagonal else spread.diagonal(dim1=-2, dim2=-1))[..., d], loc[..., d]
        if not diagonal and d:
            centre = centre + (spread[..., d, :d] * torch.stack(standard, dim=-1)).sum(-1)
        z = (x[..., d, None] - centre) / width
        with torch.no_grad():
            log_p = (log_weights - 0.5 * z.square() - width.log()).logsumexp(-1, keepdim=True) - HALF_LOG_TAU
            lower, upper = ((log_weights + torch.special.log_ndtr(side)).logsumexp(-1) for side in (z, -z))
            sign = torch.where(lower < upper, 1.0, -1.0).to(x.dtype).unsqueeze(-1)
            tail = sign * (log_weights + torch.special.log_ndtr(sign * z) - log_p).exp()
            slope = (log_weights - 0.5 * z.square() - HALF_LOG_TAU - log_p).exp()
        moved = (tail * log_weights.clamp_min(torch.finfo(x.dtype).min) + slope * z).sum(-1)
        moving.append(x[..., d] - (moved - moved.detach()))
        standard.append((moving[d].unsqueeze(-1) - centre) / width)
        log_weights = log_weights - 0.5 * standard[d].square() - width.log()
    return torch.stack(moving, dim=-1)


def _one(**alternatives: Tensor | None) -> tuple[str, Tensor]:
    given = [(name, value) for name, value in alternatives.items() if value is not None]
    if len(given) != 1:
        raise MisuseError(
            f"A Gaussian mixture was given {' and '.join(name for name, _ in given) or 'nothing'} of "
            f"{', '.join(alternatives)}: give exactly one of them."
        )
    return given[0]


def _common_shape(
    weights: tuple[str, Tensor], loc: Tensor, spread: tuple[str, Tensor], *, diagonal: bool
) -> tuple[int, ...]:
    """Return (*batch, K, D)."""
    (name, chosen), (form, of) = weights, spread
    try:
        if not chosen.dim() or loc.dim() < 2 or (not diagonal and of.shape[-2:] != (loc.shape[-1],) * 2):
            raise RuntimeError  # noqa: TRY301
        return tuple(torch.broadcast_shapes((*chosen.shape, 1), loc.shape, of.shape if diagonal else of.shape[:-1]))
    except RuntimeError as error:
        raise MisuseError(
            f"A Gaussian mixture of {name} {tuple(chosen.shape)}, loc {tuple(loc.shape)} and {form} {tuple(of.shape)} "
            f"cannot be: give (*batch, K), (*batch, K, D) and (*batch, K, D{'' if diagonal else ', D'}), which "
            "broadcast."
        ) from error


def _check(weights: tuple[str, Tensor], loc: Tensor, spread: tuple[str, Tensor]) -> None:
    (name, chosen), (form, of) = weights, spread
    if not chosen.shape[-1]:
        raise MisuseError("A Gaussian mixture of no components was asked for: give at least one.")
    if name == "logits" and not bool((chosen.isfinite() | (chosen == -torch.inf)).all()):
        raise MisuseError("The logits of a Gaussian mixture have a NaN or an infinity: give finite numbers.")
    if name == "logits" and not bool((chosen > -torch.inf).any(-1).all()):
        raise MisuseError(
            "All logits of a Gaussian mixture are minus infinity, weights of zero: give one component a finite one."
        )
    if name == "weights":
        sums = chosen.sum(-1)
        off = (sums - 1).abs()
        if not bool((chosen >= 0).all()):
            raise MisuseError("The weights of a Gaussian mixture have a negative number or a NaN; none may be below 0.")
        if not bool((off <= TOLERANCE).all()):
            worst = sums.flatten()[off.argmax()].item()
            raise MisuseError(
                f"The weights of a Gaussian mixture sum to {worst:.6g}, not to 1: divide them by their sum, or give "
                "their logarithms as logits."
            )
    if not bool(loc.isfinite().all()):
        raise MisuseError("The means of a Gaussian mixture have a NaN or an infinity: give finite numbers.")
    if form == "scale" and not bool(((of > 0) & of.isfinite()).all()):
        worst = of.min().item()
        raise MisuseError(f"The scale of a Gaussian mixture has {worst:.6g} in it; it has to be positive and finite.")
    if form == "scale_tril" and not bool(constraints.lower_cholesky.check(of).all()):
        raise MisuseError(
            "The scale_tril of a Gaussian mixture is not a Cholesky factor: it has to be lower triangular, with a "
            "positive diagonal."
        )
    if form == "covariance_matrix" and not bool(constraints.positive_definite.check(of).all()):
        raise MisuseError(
            "A covariance of a Gaussian mixture is not positive definite: it has to be symmetric, and all its "
            "eigenvalues positive."
        )
