"""Squared distances by tiles, as fast as a product of matrices and as exact as a difference.

In float64, about a common origin,

    |x - y|^2 = |x|^2 + |y|^2 - 2 x.y    with an error below (2 D + 16) u (|x|^2 + |y|^2), u = 2^-53.

Where that error could decide a comparison, the distance is taken again as sum (x - y)^2, which is 0 for equal points
and the same for the same two points wherever they stand, so that ties are ties. No matrix of all distances is held.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

_ROWS = 1024
_NUMBERS = 2**20  # that are subtracted at a time: 8 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Some samples of one cell, in float64, about the origin; ``norms`` are squared."""

    rows: Int[ndarray, " b"]
    cell: int
    points: Float[Tensor, "b D"]
    norms: Float[Tensor, " b"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """A set of samples and the cell that each is dealt into."""

    features: Float[Tensor, "N D"]
    origin: Float[Tensor, " D"]
    cells: Int[ndarray, " N"]

    def blocks(self, *, after: int = 0) -> Iterator[Block]:
        """Yield the samples from block number ``after`` on; no block is of two cells."""
        of_cells = [np.flatnonzero(self.cells == cell) for cell in np.unique(self.cells)]
        places = [rows[i : i + _ROWS] for rows in of_cells for i in range(0, len(rows), _ROWS)]
        for rows in places[after:]:
            points = self.features[torch.from_numpy(rows)].double().sub_(self.origin)
            norms = torch.linalg.vector_norm(points, dim=1).square_()
            yield Block(rows=rows, cell=int(self.cells[rows[0]]), points=points, norms=norms)


def squares(a: Block, b: Block) -> tuple[Float[ndarray, "a b"], Float[ndarray, "a b"]]:
    """Return the squared distances of a tile, and how far each may be off."""
    both = a.norms[:, None] + b.norms
    error = (2 * a.points.shape[1] + 16) * 2.0**-53 * both
    return torch.addmm(both, a.points, b.points.T, alpha=-2).numpy(), error.numpy()


def direct(
    x: Float[Tensor, "N D"], i: Int[ndarray, " P"], y: Float[Tensor, "M D"], j: Int[ndarray, " P"]
) -> Float[ndarray, " P"]:
    """Return the squared distances of pairs, as sums of squared differences."""
    distances = np.empty(len(i))
    step = max(1, _NUMBERS // x.shape[1])
    for pairs in (slice(start, start + step) for start in range(0, len(i), step)):
        ours, theirs = x[torch.from_numpy(i[pairs])], y[torch.from_numpy(j[pairs])]
        distances[pairs] = np.square((ours.double() - theirs.double()).numpy()).sum(axis=1)  # a row's sum is its own
    return distances
