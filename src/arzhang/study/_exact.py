"""Mean and variance of one gradient sample of each method, by quadrature of its definition.

The variable is z = mu + sigma e, e ~ N(0, 1), and theta is mu or sigma. Everything is an integral over one standard
variable, taken by Gauss and Legendre between the jumps of f, which is right to rounding (a test holds it to the closed
forms of linear and quadratic f). All of it is batched over mu.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Map = Callable[[Tensor], Tensor]
Parameter = Literal["location", "scale"]

REACH = 12.0
"""Beyond so many standard deviations lies less than rounding leaves."""
ORDER = 16
"""Nodes in a panel, whose width is one standard deviation, or less where f turns faster."""

NODES = tuple(torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(ORDER))


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """A function of the line that is studied.

    Args:
        value: f itself, as an estimator may call it.
        first: Its derivative, where it has one.
        second: Its second derivative.
        integral: An antiderivative.
        edges: Where it jumps.
        turns: Radians by which it turns over a unit, so that panels are narrow enough.
        text: What it is called in a figure.
    """

    value: Map
    first: Map
    second: Map
    integral: Map
    edges: tuple[float, ...] = ()
    turns: float = 0.0
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Mean and variance of one gradient sample, for each mu."""

    mean: Float[Tensor, " M"]
    variance: Float[Tensor, " M"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """The derivative of E f(z), z ~ N(mu, sigma^2), by its location or its scale.

    Args:
        f: The function.
        mu: The locations, in float64.
        sigma: The scale.
        parameter: By which of the two one differentiates.
        step: Half of what a central difference spans.
        group: How many samples leave each other out.
    """

    f: Function
    mu: Float[Tensor, " M"]
    sigma: float
    parameter: Parameter
    step: float
    group: int

    @property
    def truth(self) -> Float[Tensor, " M"]:
        """The derivative itself, E[f(z) score(z)]."""
        mean = self.score_function().mean
        return torch.where(mean.abs() > 1e-12 * self._size().sqrt(), mean, 0.0)

    @property
    def expectation(self) -> Float[Tensor, " M"]:
        """E f(z)."""
        e, weight = self._normal()
        return (weight * self._f(e)).sum(0)

    @property
    def optimal(self) -> Float[Tensor, " M"]:
        """The constant that leaves a score function the least variance, E[f score^2] / E[score^2]."""
        e, weight = self._normal()
        squares = weight * self._score(e).square()
        return (squares * self._f(e)).sum(0) / squares.sum(0)

    def pathwise(self) -> Moments | None:
        """f'(z) dz/dtheta; None where f jumps, and this would miss what the jump contributes."""
        if self.f.edges:
            return None
        e, weight = self._normal()
        return self._moments(self.f.first(self.mu + self.sigma * e) * self._path(e), weight)

    def score_function(self, baseline: Float[Tensor, " M"] | float = 0.0) -> Moments:
        """(f(z) - b) score(z)."""
        e, weight = self._normal()
        return self._moments((self._f(e) - baseline) * self._score(e), weight)

    def leave_one_out(self) -> Moments:
        """The covariance of f and score over K samples, whose variance times K this is.

        K Var = E[f_0^2 s^2] - (K - 2)/(K - 1) E[f_0 s]^2 + Var f Var s / (K - 1), with f_0 = f - E f and E s = 0.
        """
        e, weight = self._normal()
        f, score, K = self._f(e), self._score(e), self.group
        centred = self._moments((f - self.expectation) * score, weight)
        rest = centred.mean.square() + self._moments(f, weight).variance * self._moments(score, weight).variance
        return Moments(mean=centred.mean, variance=centred.variance + rest / (K - 1))

    def antithetic(self) -> Moments:
        """(f(mu + sigma e) score(e) + f(mu - sigma e) score(-e)) / 2."""
        e, weight = self._normal(mirrored=True)
        return self._moments((self._f(e) * self._score(e) + self._f(-e) * self._score(-e)) / 2, weight)

    def taylor(self, order: int) -> Moments:
        """(f - T)(z) score(z) + d/dtheta E T, with T the expansion of f about mu."""
        e, weight = self._normal()
        away = self.sigma * e
        expansion = self.f.value(self.mu) + self.f.first(self.mu) * away
        known = self.f.first(self.mu) if self.parameter == "location" else torch.zeros_like(self.mu)
        if order == 2:
            expansion = expansion + self.f.second(self.mu) * away.square() / 2
            known = known if self.parameter == "location" else self.f.second(self.mu) * self.sigma
        return self._moments((self._f(e) - expansion) * self._score(e) + known, weight)

    def measure_valued(self, *, coupled: bool) -> Moments:
        """The difference of f at two positive measures: Rayleigh for mu; double-sided Maxwell and normal for sigma."""
        if self.parameter == "location":
            w, weight = self._nodes(0.0, REACH, mirrored=True)
            weight = weight * w * (-w.square() / 2).exp()
            constant = 1 / (self.sigma * math.sqrt(2 * math.pi))
            if coupled:
                return self._moments(constant * (self._f(w) - self._f(-w)), weight)
            up, down = self._moments(self._f(w), weight), self._moments(self._f(-w), weight)
        else:
            constant = 1 / self.sigma
            y, weight = self._normal()
            up, down = self._moments(self._f(y), weight * y.square()), self._moments(self._f(y), weight)
        mean, variance = constant * (up.mean - down.mean), up.variance + down.variance
        if coupled:  # E[f(mu + sigma U y) given y] is a mean over the way from mu to mu + sigma y
            start, end = self.f.integral(self.mu), self.f.integral(self.mu + self.sigma * y)
            together = (weight * y * (self._f(y) - up.mean) * (end - start) / self.sigma).sum(0)
            variance = variance - 2 * together
        return Moments(mean=mean, variance=self._cleaned(constant**2 * variance))

    def finite_difference(self, *, common: bool) -> Moments:
        """(f(z_+) - f(z_-)) / 2h, with z at theta + h and theta - h, of the same noise or of other."""
        e, weight = self._normal(stepped=True)
        h = self.step
        if self.parameter == "location":
            up, down = self._f(e + h / self.sigma), self._f(e - h / self.sigma)
        else:
            up, down = self._f(e * (1 + h / self.sigma)), self._f(e * (1 - h / self.sigma))
        if common:
            size = (weight * (up.square() + down.square())).sum(0) / h**2
            return self._moments((up - down) / (2 * h), weight, size=size)
        first, second = self._moments(up, weight), self._moments(down, weight)
        variance = (first.variance + second.variance) / (4 * h**2)
        return Moments(mean=(first.mean - second.mean) / (2 * h), variance=self._cleaned(variance))

    def _f(self, e: Tensor) -> Tensor:
        return self.f.value(self.mu + self.sigma * e)

    def _score(self, e: Tensor) -> Tensor:
        return (e if self.parameter == "location" else e.square() - 1) / self.sigma

    def _path(self, e: Tensor) -> Tensor:
        return torch.ones_like(e) if self.parameter == "location" else e

    def _moments(self, values: Tensor, weight: Tensor, *, size: Tensor | float = 0.0) -> Moments:
        mean = (weight * values).sum(0)
        return Moments(mean=mean, variance=self._cleaned((weight * (values - mean).square()).sum(0), size))

    def _cleaned(self, variance: Tensor, size: Tensor | float = 0.0) -> Tensor:
        """Take for zero what is no more than the rounding of sums of squares of this size."""
        return torch.where(variance > 1e-24 * (self._size() + size), variance, 0.0)

    def _size(self) -> Tensor:
        e, weight = self._normal()
        return (weight * (self._f(e) * self._score(e)).square()).sum(0)

    def _normal(self, *, mirrored: bool = False, stepped: bool = False) -> tuple[Tensor, Tensor]:
        e, weight = self._nodes(-REACH, REACH, mirrored=mirrored, stepped=stepped)
        return e, weight * (-e.square() / 2).exp() / math.sqrt(2 * math.pi)

    def _nodes(
        self, lower: float, upper: float, *, mirrored: bool = False, stepped: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return nodes and weights between two ends, (Q, M), with no jump of f inside a panel."""
        sigma, h = self.sigma, self.step
        edges = [(edge - self.mu) / sigma for edge in self.f.edges]
        if mirrored:
            edges += [-edge for edge in edges]
        if stepped and self.parameter == "location":
            edges = [edge + sign * h / sigma for edge in edges for sign in (-1, 1)]
        elif stepped:
            edges = [edge / (1 + sign * h / sigma) for edge in edges for sign in (-1, 1)]
        count = math.ceil((upper - lower) * max(1.0, self.f.turns * sigma / 4))
        panels = torch.linspace(lower, upper, count + 1, dtype=torch.float64)[:, None].expand(-1, len(self.mu))
        panels = torch.cat([panels, *(edge.clamp(lower, upper)[None] for edge in edges)]).sort(0).values
        node, weight = (each[:, None, None] for each in NODES)
        half, middle = (panels[1:] - panels[:-1]) / 2, (panels[1:] + panels[:-1]) / 2
        return (middle + half * node).flatten(0, 1), (half * weight).flatten(0, 1)
