"""The Frechet distance between Gaussians with the moments of two sets, and its spread over other samples.

    FD = |m1 - m2|^2 + tr S1 + tr S2 - 2 |F1' F2|_*,    where S = F F' and |.|_* is the sum of the singular values

F is the Cholesky factor, or, where there are no more samples than dimensions, the centred samples themselves; then the
product is small. With F1' F2 = U s V', the samples x and y are brought to a = s^-1/2 V' F2' (x - m1) and
b = s^-1/2 U' F1' (y - m2), in which both covariances are diag(s). Small changes e and f of the means, and there E and F
of the covariances, change FD by

    2 (m1 - m2)'(e - f) + changes of tr S1 and tr S2 - tr E - tr F                        first order
    + |e - f|^2 + 1/2 sum_kl (E - F)_kl^2 / (s_k + s_l)                                   second order

Of the first order is the influence of a sample, 2 (m1 - m2)'(x - m1) + |x - m1|^2 - |a|^2, where |a|^2 is also
(x - m1)' T (x - m1) with the optimal transport T. The second order says what pairs of samples add together, and with it
the bias, and what is left of the variance where the first order vanishes, at equal distributions.

References:
    Dowson and Landau, "The Frechet distance between multivariate normal distributions", 1982, equation 4.
    Efron and Stein, "The jackknife estimate of variance", 1981, equation 4.1.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import rng
from arzhang.moments import ROWS, Moments

SAMPLES, PAIRS = 1000, 2000  # of each set, and of those: what tells the second order to a few per cent


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Side:
    """One of the two sets: its mean, the trace and a factor of its covariance, and its samples where they are known."""

    n: int | None
    mean: Float[Tensor, " D"]
    trace: float
    factor: Float[Tensor, "D r"]
    features: Float[Tensor, "N D"] | None = None

    @classmethod
    def of(cls, given: Float[Tensor, "N D"] | Moments) -> "Side":
        """Look at features or moments."""
        if not isinstance(given, Moments) and len(given) <= given.shape[1]:
            widened = given.double()
            mean = widened.mean(0)
            factor = ((widened - mean) / math.sqrt(len(given) - 1)).T
            return cls(n=len(given), mean=mean, trace=float(factor.square().sum()), factor=factor, features=given)
        moments = given if isinstance(given, Moments) else Moments.of(given)
        covariance = moments.covariance
        return cls(
            n=moments.n,
            mean=moments.mean,
            trace=float(covariance.trace()),
            factor=_factor(covariance),
            features=None if isinstance(given, Moments) else given,
        )

    @property
    def few(self) -> bool:
        """Whether there are no more samples than dimensions."""
        return self.n is not None and self.n <= len(self.mean)


def distance(real: Side, fake: Side) -> float:
    """Return the Frechet distance, never negative."""
    product, squares = _products(real, fake)
    values = None if squares is None else torch.linalg.eigvalsh(squares).clamp_min(0).sqrt()
    if values is None or _rounded(values):
        values = torch.linalg.svdvals(product)
    return _distance(real, fake, values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How samples of one set move the distance: the variances of what one does, and two together; and the bias."""

    n: float
    first: float
    second: float
    bias: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """A Frechet distance with what its variance is made of; ``across`` is of pairs of a real and a generated sample."""

    value: float
    real: Spread
    fake: Spread
    across: float

    @property
    def bias(self) -> float:
        """By how much the distance lies above that of the distributions; for few samples by more."""
        return self.real.bias + self.fake.bias

    def variance(self, *, once: float | None = None, pairs: float | None = None) -> float:
        """Return the variance of the distance, or of a weighted sum of distances to parts of the fake set.

        A sample's influence, found among others, varies also by its pairs with them, which is taken away.

        Args:
            once: The sum of the squares of the weights of samples of the fake set, 1 / n by default.
            pairs: The sum of the squares of the weights of pairs of them, 1 / n^2 by default.
        """
        real, fake, across = self.real, self.fake, self.across
        once, pairs = once or 1 / fake.n, pairs or 1 / fake.n**2
        first = (real.first - real.second / real.n - across / fake.n) / real.n
        first += (fake.first - fake.second / fake.n - across / real.n) * once
        second = real.second / 2 / real.n**2 + fake.second / 2 * pairs + across / real.n * once
        return max(first, 0.0) + second


def decompose(real: Side, fake: Side) -> Distance:
    """Return the Frechet distance and the parts of its variance."""
    left, values, right = _balance(real, fake)
    maps = {"real": fake.factor @ right, "fake": real.factor @ left}
    kept = values > 1e-8 * values.sum()  # of the rest, directions are known as little as they matter
    s = values[kept]
    step = real.mean - fake.mean
    looked = {
        name: _look(side, maps[name][:, kept] / s.sqrt(), s, step if name == "real" else -step, name)
        for name, side in (("real", real), ("fake", fake))
        if side.features is not None
    }
    across = _mean_square(s, *looked["real"][1], *looked["fake"][1], apart=0) if len(looked) == 2 else 0.0
    known = Spread(n=math.inf, first=0.0, second=0.0, bias=0.0)  # for what only moments are given of
    spreads = {"real": known, "fake": known, **{name: spread for name, (spread, _) in looked.items()}}
    return Distance(value=_distance(real, fake, values), across=across, **spreads)


def few(**sides: Side) -> list[str]:
    """Return a sentence for every set that has no more samples than dimensions, under its name."""
    return [
        f"The {name} set has no more samples ({side.n}) than dimensions ({len(side.mean)}): compare "
        "only figures of just as many; better take more, or fewer dimensions, or kid."
        for name, side in sides.items()
        if side.few
    ]


def _factor(covariance: Float[Tensor, "D D"]) -> Float[Tensor, "D r"]:
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed:
        values, vectors = torch.linalg.eigh(covariance)
        kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1].clamp_min(0)
        factor = vectors[:, kept] * values[kept].sqrt()
    return factor


def _products(real: Side, fake: Side) -> tuple[Tensor, Tensor | None]:
    """Return F1' F2, and, where its singular values are had sooner from their squares, F1' S2 F1."""
    product = real.factor.T @ fake.factor
    return product, None if real.few or fake.few else product @ product.T


def _rounded(values: Float[Tensor, " r"]) -> bool:
    """Whether these roots, whose squares are known to a rounding of the largest, have a sum not known to 1e-8."""
    rounding = torch.finfo(values.dtype).eps * values.square().sum()
    return bool((rounding / values.clamp_min(rounding.sqrt())).sum() > 1e-8 * values.sum())


def _balance(real: Side, fake: Side) -> tuple[Tensor, Tensor, Tensor]:
    """Return the singular vectors and values, the largest first."""
    product, squares = _products(real, fake)
    if squares is not None:
        eigenvalues, left = torch.linalg.eigh(squares)
        values, left = eigenvalues.clamp_min(0).sqrt().flip(0), left.flip(1)
        if not _rounded(values):
            return left, values, (product.T @ left) / values
    left, values, right = torch.linalg.svd(product, full_matrices=False)
    return left, values, right.mT


def _distance(real: Side, fake: Side, values: Float[Tensor, " r"]) -> float:
    step = real.mean - fake.mean
    return max(float(step @ step) + real.trace + fake.trace - 2 * float(values.sum()), 0.0)


def _look(side: Side, to_balanced: Tensor, s: Tensor, step: Tensor, name: str) -> tuple[Spread, tuple[Tensor, Tensor]]:
    """Return how samples and their pairs move the distance, and some samples, centred, and as they are balanced."""
    assert side.features is not None
    n = len(side.features)
    influence = torch.cat(
        [2 * x @ step + x.square().sum(1) - (x @ to_balanced).square().sum(1) for x in _centred(side)]
    )
    order = torch.randperm(n, generator=rng.generator(0, "pairs", name))[:SAMPLES].to(side.features.device)
    x = side.features[order].double() - side.mean
    a = x @ to_balanced
    # A sample's pair with itself is what it adds to the mean of the second order, which is the bias.
    own = _together(s, a, a) + 2 * x.square().sum(1)
    spread = Spread(
        n=n,
        first=float(influence.var()),
        second=_mean_square(s, x, a, x, a, apart=1),
        bias=float(own.mean()) / 2 / n,
    )
    return spread, (x, a)


def _mean_square(s: Tensor, x: Tensor, a: Tensor, y: Tensor, b: Tensor, *, apart: int) -> float:
    """Return the mean square of what two samples add together, of pairs that lie at least so far apart."""
    pair = torch.arange(PAIRS, device=s.device)
    i = pair % len(x)
    j = (i + apart + pair // len(x) % (len(y) - apart)) % len(y)
    h = _together(s, a[i], b[j]) + 2 * (x @ y.T)[i, j]
    return float(h.square().mean())


def _together(s: Float[Tensor, " r"], a: Float[Tensor, "N r"], b: Float[Tensor, "N r"]) -> Float[Tensor, " N"]:
    """Return sum_kl (a a' - diag s)_kl (b b' - diag s)_kl / (s_k + s_l) of each pair."""
    both = a * b
    weights = 1 / (s[:, None] + s)
    return ((both @ weights) * both).sum(1) - (a.square().sum(1) + b.square().sum(1) - s.sum()) / 2


def _centred(side: Side) -> Iterator[Tensor]:
    assert side.features is not None
    for block in side.features.split(ROWS):
        yield block.double() - side.mean
