"""The squared maximum mean discrepancy of two sets under a kernel of inner products, and its spread over other samples.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)

With the pairs of a sample with itself this is the biased V statistic, without them the unbiased U. Its variance has
a part of single samples, 4 var_x [E k(x, x') - E k(x, y)] / n and the same of y, and one of pairs, which alone is left
where the distributions are equal. Means of rows tell the first, with some of the second in it, and squares of the
centred kernel the second.

References:
    Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, lemma 6 and appendix B.
    Sutherland and Deka, "Unbiased estimators for the variance of MMD estimators", arXiv:1906.02104, section 2.
    Szekely and Rizzo, "Partial distance correlation with methods for dissimilarities", 2014, proposition 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 512  # rows and columns of the kernel, which stay near the processor while they are added up

Kernel = Callable[[Float[Tensor, "n m"]], Float[Tensor, "n m"]]
"""From inner products to values, which may take their place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Discrepancy:
    """The unbiased statistic, and what its bias and its variance at any numbers of samples are made of.

    Args:
        unbiased: The U statistic.
        own: By how much a sample's pair with itself exceeds others, in the real set and in the generated one.
        single: The variance of E k(x, x') - E k(x, y) over x, and the same over y.
        pair: The mean square of the centred kernel within the real set, within the generated one, and across.
    """

    unbiased: float
    own: tuple[float, float]
    single: tuple[float, float]
    pair: tuple[float, float, float]

    def bias(self, n: int, m: int) -> float:
        """Return by how much the V statistic of so many samples exceeds the U statistic."""
        return self.own[0] / n + self.own[1] / m

    def once(self, n: int, m: int) -> float:
        """Return the part of single samples in the variance of the statistics of so many; without bias, if negative."""
        return 4 * self.single[0] / n + 4 * self.single[1] / m

    def twice(self, n: int, m: int) -> float:
        """Return the part of pairs of samples."""
        real, fake, across = self.pair
        return 2 * real / (n * (n - 1)) + 2 * fake / (m * (m - 1)) + 4 * across / (n * m)


def variance(found: Sequence[Discrepancy], n: int, m: int) -> float:
    """Return the variance of the statistics of so many samples, known from one or several smaller ones."""
    return max(fmean(each.once(n, m) for each in found), 0.0) + fmean(each.twice(n, m) for each in found)


def discrepancy(real: Float[Tensor, "N D"], fake: Float[Tensor, "M D"], kernel: Kernel) -> Discrepancy:
    """Return all of that, by blocks."""
    n, m = len(real), len(fake)
    x, y = _within(real, kernel), _within(fake, kernel)
    rows, columns, squares = _across(real, fake, kernel)
    centred = squares - rows.square().sum() / m - columns.square().sum() / n + rows.sum().square() / (n * m)
    across = float(centred.clamp_min(0)) / ((n - 1) * (m - 1))
    return Discrepancy(
        unbiased=x.mean + y.mean - 2 * float(rows.sum()) / (n * m),
        own=(x.own / n - x.mean, y.own / m - y.mean),
        # A row's mean varies by its sample, and by the pairs that it happens to be in.
        single=(
            float((x.rows / (n - 1) - rows / m).var()) - x.pair / (n - 1) - across / m,
            float((y.rows / (m - 1) - columns / n).var()) - y.pair / (m - 1) - across / n,
        ),
        pair=(x.pair, y.pair, across),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Within:
    """Sums over a set: of rows without the pairs of samples with themselves, of these, and of squares without them."""

    rows: Float[Tensor, " N"]
    own: float
    squares: float

    @property
    def mean(self) -> float:
        """The mean of the kernel."""
        n = len(self.rows)
        return float(self.rows.sum()) / (n * (n - 1))

    @property
    def pair(self) -> float:
        """The mean square of the kernel, centred so that this has no bias."""
        n = len(self.rows)
        centred = self.squares - 2 * self.rows.square().sum() / (n - 2) + self.rows.sum().square() / ((n - 1) * (n - 2))
        return float(centred.clamp_min(0)) / (n * (n - 3))


def _within(features: Tensor, kernel: Kernel) -> _Within:
    rows = features.new_zeros(len(features), dtype=torch.float64)
    own = squares = 0.0
    blocks = _blocks(features)
    for index, (here, left) in enumerate(blocks):
        values = kernel(left @ left.T)
        own += float(values.trace())
        values.fill_diagonal_(0)
        rows[here] += values.sum(1)
        squares += _square(values)
        for there, right in blocks[index + 1 :]:
            values = kernel(left @ right.T)
            rows[here] += values.sum(1)
            rows[there] += values.sum(0)
            squares += 2 * _square(values)
    return _Within(rows=rows, own=own, squares=squares)


def _across(real: Tensor, fake: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor, float]:
    rows = real.new_zeros(len(real), dtype=torch.float64)
    columns = fake.new_zeros(len(fake), dtype=torch.float64)
    squares = 0.0
    for here, left in _blocks(real):
        for there, right in _blocks(fake):
            values = kernel(left @ right.T)
            rows[here] += values.sum(1)
            columns[there] += values.sum(0)
            squares += _square(values)
    return rows, columns, squares


def _blocks(features: Tensor) -> list[tuple[slice, Tensor]]:
    widened = features.double()
    places = [slice(start, start + BLOCK) for start in range(0, len(features), BLOCK)]
    return [(place, widened[place]) for place in places]


def _square(values: Tensor) -> float:
    flat = values.flatten()
    return float(flat @ flat)
