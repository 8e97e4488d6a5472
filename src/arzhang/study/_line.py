"""Divergences of two densities on the line, by quadrature: what no closed form tells."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

REACH = 12
"""Beyond so many standard deviations lies less than rounding leaves."""
ORDER = 12
"""Nodes in a panel, which is as wide as the narrowest density about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Logarithms of two densities, p and q, at the nodes of an integral.

    Args:
        weight: Of the nodes.
        p: log p.
        q: log q, of a batch maybe.
    """

    weight: Float[Tensor, "Q *ones"]
    p: Float[Tensor, "Q *batch"]
    q: Float[Tensor, "Q *other"]

    def kl(self) -> Float[Tensor, "*batch"]:
        """Return the integral of p log p/q."""
        return (self.weight * self.p.exp() * (self.p - self.q)).sum(0)

    def reverse_kl(self) -> Float[Tensor, "*batch"]:
        """Return the integral of q log q/p."""
        return (self.weight * self.q.exp() * (self.q - self.p)).sum(0)

    def renyi_half(self) -> Float[Tensor, "*batch"]:
        """Return Renyi's divergence of order 1/2: -2 log of the integral of sqrt(p q)."""
        return -2 * (self.weight * ((self.p + self.q) / 2).exp()).sum(0).log()

    def reverse_chi_squared(self) -> Float[Tensor, "*batch"]:
        """Return the integral of q^2/p, less 1."""
        return (self.weight * (2 * self.q - self.p).exp()).sum(0) - 1

    def jensen_shannon(self) -> Float[Tensor, "*batch"]:
        """Return the mean of the Kullback-Leibler divergences from the even mixture of both."""
        apart = (self.p - self.q).abs()
        middle = torch.maximum(self.p, self.q) + ((-apart).exp().log1p() - math.log(2))  # p itself where both are equal
        each = self.p.exp() * (self.p - middle) + self.q.exp() * (self.q - middle)
        return (self.weight * each).sum(0) / 2

    def total_variation(self) -> Float[Tensor, "*batch"]:
        """Return half of the integral of |p - q|, which bends where they cross: right to about six digits."""
        return (self.weight * (self.p.exp() - self.q.exp()).abs()).sum(0) / 2


def line(p: Distribution, q: Distribution, edges: Float[Tensor, " E"]) -> Line:
    """Return p and q between the edges of panels.

    Example:
        >>> from torch.distributions import Normal
        >>> p, q = Normal(0.0, 1.0), Normal(torch.tensor([0.0, 1.0]), 1.0)
        >>> line(p, q, around([(0.0, 1.0), (1.0, 1.0)])).kl().round(decimals=4)
        tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    node, weight = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(ORDER))
    half, middle = (edges[1:] - edges[:-1]) / 2, (edges[1:] + edges[:-1]) / 2
    x = (middle[:, None] + half[:, None] * node).flatten()
    weights = (half[:, None] * weight).flatten()
    batch = (1,) * max(len(p.batch_shape), len(q.batch_shape))
    at = x.reshape(-1, *batch, *(1,) * len(p.event_shape))
    return Line(weight=weights.reshape(-1, *batch), p=p.log_prob(at), q=q.log_prob(at))


def around(components: Iterable[tuple[float, float]]) -> Float[Tensor, " E"]:
    """Return edges of panels about Gaussians of these means and deviations, fine where one of them is narrow."""
    steps = torch.linspace(-REACH, REACH, 2 * REACH + 1, dtype=torch.float64)
    return torch.cat([mean + deviation * steps for mean, deviation in components]).sort().values


def across(components: Iterable[tuple[float, float]]) -> Float[Tensor, " E"]:
    """Return even edges of panels under all of many Gaussians, as far apart as the narrowest is wide."""
    means, deviations = zip(*components, strict=True)
    start, end = min(means) - REACH * max(deviations), max(means) + REACH * max(deviations)
    return torch.linspace(start, end, math.ceil((end - start) / min(deviations)) + 1, dtype=torch.float64)
