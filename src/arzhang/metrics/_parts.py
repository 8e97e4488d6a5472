"""How far a figure may be from its expectation, learnt from halves and quarters of its samples.

Resampling with replacement makes duplicates, which neighbour metrics take for likeness. Disjoint parts have none, and
are as independent of one another as the samples are. The samples of each set are dealt at random into 16 cells, the
cells into halves in the 15 ways of a Hadamard matrix, which are orthogonal, and into quarters in the 5 ways that use
the same 15 contrasts up. A figure F of n samples then has the variance

    V = H clip(H / Q, 1, 2)    H = mean var(F(A), F(B)) / 2    Q = mean var(F(A), F(B), F(C), F(D)) / 4

H and Q are what halves and quarters say of the variance at n, if it falls as 1/n. Where it falls more slowly, as when a
few outlying samples decide, H exceeds Q, and the same ratio is taken to hold once more, from n/2 to n. A proportion p
has the effective size p (1 - p) / V, in which all this is done, so that Wilson's interval holds near 0 and 1. Quantiles
are Student's with 8 degrees of freedom: 15 contrasts, less what the ratio costs. Simulations of it, with where it falls
short, are in ``benchmarks/_coverage_neighbours.py``.

References:
    McCarthy, "Pseudo-replication: half samples", Review of the International Statistical Institute 37, 1969.
    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from arzhang import rng

CELLS = 16
STUDENT = 2.306004135204166
"""Student's quantile of 97.5 % for 8 degrees of freedom."""
METHOD = "15 halvings and 5 quarterings, without replacement"
_SPREAD = ((1, 2), (4, 8), (5, 10), (6, 11), (7, 9))  # five lines of PG(3, 2) that share no point


def _contrast(row: int) -> Int[ndarray, "16"]:
    return np.array([(row & cell).bit_count() % 2 for cell in range(CELLS)])


HALVINGS = np.stack([_contrast(row) for row in range(1, CELLS)])
"""Which half a cell is in, 15 by 16."""
QUARTERINGS = np.stack([2 * _contrast(a) + _contrast(b) for a, b in _SPREAD])
"""Which quarter a cell is in, 5 by 16."""
PARTITIONS = np.concatenate([np.zeros((1, CELLS), int), HALVINGS, QUARTERINGS])
"""Which part a cell is in: of the whole, which has one, of each halving and of each quartering, 21 by 16."""


def deal(n: int, seed: int) -> Int[ndarray, " n"]:
    """Return the cell of each of n samples; sets of one size are dealt alike, so that pairs stay together."""
    order = torch.randperm(n, generator=rng.generator(seed, "cells")).numpy()
    cells = np.empty(n, int)
    cells[order] = np.arange(n) * CELLS // n
    return cells


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """A figure of the whole, of both halves of each halving and of the quarters of each quartering.

    The latter two are None where there are too few samples to divide.
    """

    whole: float
    halves: Float[ndarray, "15 2"] | None
    quarters: Float[ndarray, "5 4"] | None

    @classmethod
    def of(cls, figure: Callable[[int, int], float], *, divide: bool) -> "Parts":
        """Ask for the figure of each part of each of PARTITIONS."""
        return cls(
            whole=figure(0, 0),
            halves=np.array([[figure(p, part) for part in range(2)] for p in range(1, 16)]) if divide else None,
            quarters=np.array([[figure(p, part) for part in range(4)] for p in range(16, 21)]) if divide else None,
        )

    @property
    def why_not(self) -> str:
        """Say why there is no interval, where there is none."""
        return "none: too few samples to divide" if self.halves is None else "none: all parts of the samples agree"

    def amount(self) -> tuple[float, float] | None:
        """Return the interval of a figure that is not negative."""
        if self.halves is None or self.quarters is None:
            return None
        half, quarter = _variance(self.halves), _variance(self.quarters)
        reach = STUDENT * math.sqrt(half * _growth(half, quarter))
        return (max(0.0, self.whole - reach), self.whole + reach) if reach > 0 else None

    def proportion(self, *, least: int, of: float = math.inf, besides: float = 0) -> tuple[float, float] | None:
        """Return Wilson's interval of a proportion.

        Args:
            least: The effective size where all parts are 0 or all are 1, and say nothing about it.
            of: Of how many samples, if it is a share of them: the effective size is no more.
            besides: Variance from elsewhere.
        """
        if self.halves is None or self.quarters is None:
            return None
        half, quarter = (_size(parts, of, least) for parts in (self.halves, self.quarters))
        size, spread = half / _growth(quarter, half), self.whole * (1 - self.whole)
        return wilson(self.whole, spread / (spread / size + besides) if spread > 0 else size)


def _variance(parts: Float[ndarray, "P Q"]) -> float:
    """Return the variance of the figure of the whole, if it falls as 1/n."""
    return float(parts.var(axis=1, ddof=1).mean() / parts.shape[1])


def _size(parts: Float[ndarray, "P Q"], of: float, least: int) -> float:
    variance, mean = _variance(parts), float(parts.mean())
    return min(of, mean * (1 - mean) / variance) if variance > 0 else least


def _growth(late: float, early: float) -> float:
    """Return by how much a variance that falls more slowly than 1/n is larger than it seems."""
    return min(max(late / early, 1.0), 2.0) if early > 0 else 1.0


def wilson(p: float, n: float) -> tuple[float, float]:
    """Return Wilson's interval of a proportion, with Student's quantile.

    Example:
        >>> low, high = wilson(1.0, 100)
        >>> f"{low:.4f} {high}"
        '0.9495 1.0'
    """
    z = STUDENT**2 / n
    middle, reach = (p + z / 2) / (1 + z), math.sqrt(z * p * (1 - p) + z**2 / 4) / (1 + z)
    return max(0.0, min(p, middle - reach)), min(1.0, max(p, middle + reach))  # whatever is rounded, p is inside
