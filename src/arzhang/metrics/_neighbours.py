"""Who lies near whom: one pass over the distances, for all neighbour metrics and for reports.

The balls are found for the whole and, in the same pass, for the halves and quarters from which intervals come (see
``_parts``). For the whole, every comparison is exact (see ``_distances``); in the parts, ties may fall either way.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from arzhang.metrics._distances import Block, Samples, direct, squares
from arzhang.metrics._parts import CELLS, METHOD, PARTITIONS, Parts, deal
from arzhang.metrics._sets import check
from arzhang.types import Estimate, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What neighbour metrics are made of, and what a report shows of each fake sample.

    The balls of precision, recall and realism are closed and reach ``manifold_k`` neighbours far; those of density and
    coverage are open and reach ``density_k`` neighbours far.
    """

    manifold_k: int
    density_k: int
    seed: int
    n: dict[str, int]
    precision: Parts
    recall: Parts
    density: Parts
    coverage: Parts
    nearest: Int[Tensor, " M"]
    """The real sample that is nearest to each fake one."""
    distance: Float[Tensor, " M"]
    """Its distance: what is near 0 was remembered, not made."""
    realism: Float[Tensor, " M"]
    """The greatest ratio of a real sample's radius to its distance from the fake one, among the real samples whose
    radius is at most the median (Kynkaanniemi et al. 2019, equation 3); infinite upon one of those."""

    def proportion(self, name: Literal["precision", "recall", "coverage"], *, of: Literal["real", "fake"]) -> Estimate:
        """Return the figure of this name, a share of the real samples or of the fake ones."""
        parts = getattr(self, name)
        return self._estimate(name, parts, parts.proportion(of=self.n[of], least=min(self.n.values())))

    def amount(self, name: Literal["density"]) -> Estimate:
        """Return the figure of this name, which has no upper limit."""
        parts = getattr(self, name)
        return self._estimate(name, parts, parts.amount())

    def _estimate(self, name: str, parts: Parts, interval: tuple[float, float] | None) -> Estimate:
        return Estimate(
            name=name,
            value=parts.whole,
            interval=interval,
            method=METHOD if interval else parts.why_not,
            n=self.n,
            higher_is_better=True,
            seed=self.seed,
        )


def survey(
    real: Float[Tensor, "N D"], fake: Float[Tensor, "M E"], *, manifold_k: int = 3, density_k: int = 5, seed: int = 0
) -> Survey:
    """Find what precision, recall, density, coverage, realism and the nearest real samples need, in one pass.

    Beyond the features, it takes less than 200 MB for 10,000 against 10,000 of 2048.

    Args:
        real: Features of real samples.
        fake: Features of samples made.
        manifold_k: How many neighbours far the balls of precision, recall and realism reach.
        density_k: How many neighbours far the balls of density and coverage reach.
        seed: Of the parts from which the intervals come.

    Raises:
        MisuseError: A ``k`` is less than 1.
        ArzhangError: A set has no ``k``-th neighbours, a feature is not finite, or the dimensions differ.
    """
    k = max(manifold_k, density_k)
    if min(manifold_k, density_k) < 1:
        raise MisuseError(f"k is {min(manifold_k, density_k)}, but the nearest neighbour is number 1; take 1 or more.")
    check({"real": real, "fake": fake}, least=k + 1)
    x, y = (
        Samples(features=each.detach().cpu(), origin=real[0].detach().cpu().double(), cells=deal(len(each), seed))
        for each in (real, fake)
    )
    divide = min(len(real), len(fake)) >= 8 * (k + 1)
    partitions = PARTITIONS if divide else PARTITIONS[:1]
    reach, reach_of_fake = _nearest(x, k), _nearest(y, manifold_k)
    found = _meet(
        x,
        y,
        partitions,
        closed=_radii(reach, x.cells, manifold_k, partitions),
        opened=_radii(reach, x.cells, density_k, partitions),
        of_fake=_radii(reach_of_fake, y.cells, manifold_k, partitions),
    )

    def parts(values: ndarray, cells: Int[ndarray, " n"], by: int = 1) -> Parts:
        return Parts.of(lambda p, part: float(values[p, partitions[p][cells] == part].mean()) / by, divide=divide)

    return Survey(
        manifold_k=manifold_k,
        density_k=density_k,
        seed=seed,
        n={"real": len(real), "fake": len(fake)},
        precision=parts(found.precise, y.cells),
        recall=parts(found.recalled, x.cells),
        density=parts(found.within, y.cells, density_k),
        coverage=parts(found.covered, x.cells),
        nearest=torch.from_numpy(found.nearest),
        distance=torch.from_numpy(found.squares).sqrt(),
        realism=torch.from_numpy(found.realism).sqrt(),
    )


def _nearest(x: Samples, k: int) -> Float[ndarray, "N 16 K"]:
    """Return squared distances from each sample to the nearest others in each cell, exact up to its ``k``-th of all."""
    width = k + 1  # one more, lest a rounding error choose between two
    reach = np.full((len(x.cells), CELLS, width), np.inf)
    kept = (
        reach,
        np.zeros(reach.shape),
        np.zeros(reach.shape, int),
    )  # squares, how far they may be off, whose they are

    def keep(a: Block, b: Block, tile: Float[ndarray, "a b"], off: Float[ndarray, "a b"]) -> None:
        near = np.argpartition(tile, min(width, tile.shape[1]) - 1, axis=1)[:, :width]
        found = (np.take_along_axis(tile, near, 1), np.take_along_axis(off, near, 1), b.rows[near])
        both = [np.concatenate([old[a.rows, b.cell], new], 1) for old, new in zip(kept, found, strict=True)]
        best = np.argpartition(both[0], width - 1, axis=1)[:, :width]
        for old, new in zip(kept, both, strict=True):
            old[a.rows, b.cell] = np.take_along_axis(new, best, 1)

    for number, a in enumerate(x.blocks()):
        for b in x.blocks(after=number):
            tile, off = squares(a, b)
            if a.rows[0] == b.rows[0]:
                np.fill_diagonal(tile, np.inf)
                np.fill_diagonal(off, 0)
            else:
                keep(b, a, tile.T, off.T)
            keep(a, b, tile, off)

    flat, error, whose = (each.reshape(len(each), -1) for each in kept)
    farthest = np.partition(flat + error, k - 1, axis=1)[:, k - 1 : k]
    i, place = np.nonzero(flat - error <= farthest)
    flat[i, place] = direct(x.features, i, x.features, whose[i, place])
    return reach


def _radii(
    reach: Float[ndarray, "N 16 K"], cells: Int[ndarray, " N"], k: int, partitions: Int[ndarray, "P 16"]
) -> Float[ndarray, "P N"]:
    """Return the squared distance from each sample to its ``k``-th neighbour within its own part."""
    radii = np.empty((len(partitions), len(cells)))
    for p, labels in enumerate(partitions):
        mine = labels[cells][:, None] == labels
        own = np.where(mine[:, :, None], reach, np.inf).reshape(len(cells), -1)
        radii[p] = np.partition(own, k - 1, axis=1)[:, k - 1]
    return radii


class _Found(NamedTuple):
    precise: Bool[ndarray, "P M"]
    """Whether a fake sample lies in the closed ball of a real one of its own part."""
    recalled: Bool[ndarray, "P N"]
    """Whether a real sample lies in the closed ball of a fake one."""
    within: Int[ndarray, "P M"]
    """In how many open balls of real samples a fake one lies."""
    covered: Bool[ndarray, "P N"]
    """Whether a fake sample lies in the open ball of a real one."""
    nearest: Int[ndarray, " M"]
    squares: Float[ndarray, " M"]
    realism: Float[ndarray, " M"]
    """Squared."""


def _meet(
    x: Samples,
    y: Samples,
    partitions: Int[ndarray, "P 16"],
    *,
    closed: Float[ndarray, "P N"],
    opened: Float[ndarray, "P N"],
    of_fake: Float[ndarray, "P M"],
) -> _Found:
    """Hold the balls against the other set's samples, tile by tile, in all parts at once."""
    P, N, M = len(partitions), len(x.cells), len(y.cells)
    found = _Found(
        precise=np.zeros((P, M), bool),
        recalled=np.zeros((P, N), bool),
        within=np.zeros((P, M), int),
        covered=np.zeros((P, N), bool),
        nearest=np.zeros(M, int),
        squares=np.full(M, np.inf),
        realism=np.zeros(M),
    )
    usual = closed[0] <= np.median(closed[0])
    for a in x.blocks():
        for b in y.blocks():
            tile, off = squares(a, b)
            doubtful = tile <= off
            for radii in (closed[0, a.rows, None], opened[0, a.rows, None], of_fake[0, b.rows]):
                doubtful |= np.abs(tile - radii) <= off
            i, j = np.nonzero(doubtful)
            tile[i, j] = direct(x.features, a.rows[i], y.features, b.rows[j])

            p = np.flatnonzero(partitions[:, a.cell] == partitions[:, b.cell])
            rows, columns = np.ix_(p, a.rows), np.ix_(p, b.rows)
            found.precise[columns] |= (tile <= closed[rows][:, :, None]).any(axis=1)
            found.recalled[rows] |= (tile <= of_fake[columns][:, None]).any(axis=2)
            inside = tile < opened[rows][:, :, None]
            found.within[columns] += inside.view(np.uint8).sum(axis=1, dtype=np.int16)
            found.covered[rows] |= inside.any(axis=2)

            first = tile.argmin(axis=0)
            least = tile[first, np.arange(len(first))]
            closer = least < found.squares[b.rows]
            found.nearest[b.rows[closer]] = a.rows[first[closer]]
            found.squares[b.rows[closer]] = least[closer]
            near, radii = tile[usual[a.rows]], closed[0, a.rows[usual[a.rows]], None]
            ratios = np.divide(radii, near, out=np.full_like(near, np.inf), where=near > 0)
            found.realism[b.rows] = np.maximum(found.realism[b.rows], ratios.max(axis=0, initial=0))
    return found
