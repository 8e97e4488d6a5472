"""Two Gaussians, and what their divergences are made of, without differences of large numbers."""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import Components, components_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two Gaussians N(m, S) and N(n, T), in one precision, both diagonal or both full.

    Args:
        shift: m - n.
        s: Standard deviations of the first ``(*batch, D)``, or its Cholesky factor ``(*batch, D, D)``.
        t: The same of the second.
    """

    shift: Float[Tensor, "*batch D"]
    s: Float[Tensor, "..."]
    t: Float[Tensor, "..."]
    diagonal: bool

    def distance(
        self, first: float, second: float, where: Bool[Tensor, "*batch"] | None = None
    ) -> Float[Tensor, "*batch"]:
        """Return the square of the shift in units of the covariance first * S + second * T, where that is positive.

        Where it is not, and none was to be, it is infinite.
        """
        if self.diagonal:
            variance = first * self.s.square() + second * self.t.square()
            if where is not None:
                variance = torch.where(where.unsqueeze(-1), variance, 1.0)
            return torch.sum(self.shift.square() / variance, dim=-1)
        if first >= 0:  # by a triangle of both, whose condition is not squared
            both = torch.broadcast_tensors(first**0.5 * self.s, second**0.5 * self.t)
            return square_norm(torch.linalg.qr(torch.cat(both, dim=-1).mT).R.mT, self.shift)
        covariance = first * (self.s @ self.s.mT) + second * (self.t @ self.t.mT)
        positive = torch.linalg.cholesky_ex(covariance).info == 0
        positive = positive if where is None else positive & where
        one = torch.eye(self.shift.shape[-1], dtype=covariance.dtype, device=covariance.device)
        tril = torch.linalg.cholesky(torch.where(positive[..., None, None], covariance, one))
        return torch.where(positive, square_norm(tril, self.shift), torch.inf)

    def ratios(self) -> Float[Tensor, "*batch D"]:
        """Return the standard deviations of T in units of S, along the axes that they have in common."""
        if self.diagonal:
            return self.t / self.s
        return cast("Tensor", torch.linalg.svdvals(torch.linalg.solve_triangular(self.s, self.t, upper=False)))

    def between(self) -> Float[Tensor, "*batch"]:
        """Return log det (S + T)/2 - (log det S + log det T)/2, which is positive unless S = T."""
        if self.diagonal:
            return torch.sum(((self.s - self.t).square() / (2 * self.s * self.t)).log1p(), dim=-1)
        ratios = self.ratios()
        return ((1 - ratios).square() / (2 * ratios)).log1p().sum(-1)


def square_norm(tril: Float[Tensor, "*#batch D D"], shift: Float[Tensor, "*#batch D"]) -> Float[Tensor, "*batch"]:
    """Return the square of a shift in units of the covariance with this Cholesky factor."""
    z: Tensor = torch.linalg.solve_triangular(tril, shift.unsqueeze(-1), upper=False)
    return z.squeeze(-1).square().sum(-1)


def gaussians(p: Distribution, q: Distribution) -> Pair | None:
    """Return the pair, or None if one of them is no single Gaussian."""
    found = mixtures(p, q)
    return paired(*found) if found is not None and found[0].single and found[1].single else None


def paired(first: Components, second: Components) -> Pair:
    """Return the pair that two mixtures of one component are."""
    diagonal = first.diagonal and second.diagonal
    return Pair(
        shift=(first.means - second.means).squeeze(-2),
        s=first.scales.squeeze(-2) if diagonal else first.trils.squeeze(-3),
        t=second.scales.squeeze(-2) if diagonal else second.trils.squeeze(-3),
        diagonal=diagonal,
    )


def mixtures(p: Distribution, q: Distribution) -> tuple[Components, Components] | None:
    """Return the components of both in one precision, or None if one of them is no mixture of Gaussians."""
    first, second = components_of(p), components_of(q)
    if first is None or second is None:
        return None
    dtype = torch.promote_types(first.means.dtype, second.means.dtype)
    return first.to(dtype), second.to(dtype)
