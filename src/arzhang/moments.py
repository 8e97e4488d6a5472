"""Means and covariances that merge: of any number of samples in constant memory, on one process or many.

    scatter     S = sum (x - mean)(x - mean)'
    covariance  S / (n - 1)
    merge       n = n1 + n2,    mean = mean1 + (n2 / n) d,    S = S1 + S2 + (n1 n2 / n) d d',    d = mean2 - mean1

All is float64 and centred at a mean before it is squared, so that a mean of millions takes nothing from a variance of
one. Each block of samples costs one product of matrices, which has the step between the means as one more row.

References:
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", COMPSTAT 1982,
    equations 2.1.

Example:
    >>> first, second = torch.tensor([[1.0], [2.0]]), torch.tensor([[6.0]])
    >>> both = Moments.of(first).merge(Moments.of(second))
    >>> both.n, both.mean, both.covariance
    (3, tensor([3.], dtype=torch.float64), tensor([[7.]], dtype=torch.float64))
"""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import processes
from arzhang.files import write_whole
from arzhang.types import ArzhangError

ROWS = 4096  # which are widened at a time
# What numpy, zipfile and json raise at files that are not theirs.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moments:
    """How many samples, their mean and their scatter.

    Args:
        n: How many; None for statistics from elsewhere that do not say.
        mean: Their mean.
        scatter: The sum of the products of their deviations from it; where ``n`` is None, their covariance.
    """

    n: int | None
    mean: Float[Tensor, " D"]
    scatter: Float[Tensor, "D D"]

    @classmethod
    def of_none(cls, dimensions: int) -> "Moments":
        """Return the moments of no samples, to which others can be merged."""
        zeros = torch.zeros(dimensions, dimensions, dtype=torch.float64)
        return cls(n=0, mean=zeros[0].clone(), scatter=zeros)

    @classmethod
    def of(cls, features: Float[Tensor, "N D"] | Iterable[Float[Tensor, "_ D"]]) -> "Moments":
        """Return the moments of all rows of a tensor, or of many tensors, which are looked at once, one by one.

        Raises:
            ArzhangError: There are no rows, or a number is not finite.
        """
        n, mean, scatter = 0, None, None
        for block in features.split(ROWS) if isinstance(features, Tensor) else features:
            if not len(block):
                continue
            widened = block.double()
            centre = widened.mean(0)
            if not centre.isfinite().all():
                row = n + int((~block.isfinite()).any(1).nonzero()[0])
                raise ArzhangError(
                    f"The features of sample {row} are not finite: look at that picture and the extractor's weights."
                )
            if mean is None or scatter is None:
                mean, scatter = torch.zeros_like(centre), centre.new_zeros(len(centre), len(centre))
            step, before, n = centre - mean, n, n + len(block)
            rows = torch.cat([widened - centre, step[None] * math.sqrt(before * len(block) / n)])
            scatter.addmm_(rows.T, rows)
            mean.add_(step, alpha=len(block) / n)
        if mean is None or scatter is None:
            raise ArzhangError("There are no samples, and so there is no mean: give at least two.")
        return cls(n=n, mean=mean, scatter=scatter)

    @property
    def covariance(self) -> Float[Tensor, "D D"]:
        """The covariance, divided by n - 1.

        Raises:
            ArzhangError: There are fewer than two samples.
        """
        if self.n is None:
            return self.scatter
        if self.n < 2:
            raise ArzhangError(f"A covariance takes at least two samples, and here are {self.n}.")
        return self.scatter / (self.n - 1)

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of samples.

        Raises:
            ArzhangError: They differ in dimensions, or one does not say of how many samples it is.
        """
        if self.n is None or other.n is None:
            raise ArzhangError("Statistics that do not say of how many samples they are cannot be merged.")
        if len(self.mean) != len(other.mean):
            raise ArzhangError(
                f"Moments of {len(self.mean)} and of {len(other.mean)} dimensions cannot be merged: they are of "
                "different features."
            )
        n = self.n + other.n
        step = other.mean - self.mean
        return Moments(
            n=n,
            mean=self.mean + step * (other.n / max(n, 1)),
            scatter=(self.scatter + other.scatter).addr_(step, step, alpha=self.n * other.n / max(n, 1)),
        )

    def all_reduced(self) -> "Moments":
        """Return the moments of the samples of all processes; every process has to call this.

        A process without samples gives ``Moments.of_none``.

        Raises:
            ArzhangError: It is not known of how many samples these are.
        """
        if self.n is None:
            raise ArzhangError("Statistics that do not say of how many samples they are cannot be merged.")
        n = int(processes.total(torch.tensor(self.n)))
        mean = processes.total(self.mean * (self.n / max(n, 1)))
        step = self.mean - mean
        return Moments(n=n, mean=mean, scatter=processes.total(self.scatter.addr(step, step, alpha=self.n)))

    def save(self, path: Path, provenance: Mapping[str, str]) -> None:
        """Write an .npz that says where the samples came from, and that other packages can read (``mu``, ``sigma``).

        Raises:
            ArzhangError: There are fewer than two samples, or it is not known how many.
        """
        if self.n is None:
            raise ArzhangError("Statistics that do not say of how many samples they are are not saved again.")
        content = io.BytesIO()
        said = json.dumps(dict(provenance), ensure_ascii=False)
        np.savez(content, mu=self.mean.cpu(), sigma=self.covariance.cpu(), n=self.n, provenance=said)
        write_whole(path, content.getvalue())


def load(path: Path) -> tuple[Moments, dict[str, str]]:
    """Read moments and their provenance, or another package's ``mu`` and ``sigma``, whose n and provenance are unknown.

    Raises:
        ArzhangError: The file is no such file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            mean, covariance = (np.asarray(arrays[key], dtype=np.float64) for key in ("mu", "sigma"))
            n = int(arrays["n"]) if "n" in arrays else None
            provenance = json.loads(str(arrays["provenance"])) if "provenance" in arrays else {}
    except UNREADABLE as error:
        raise ArzhangError(
            f"{path} cannot be read as statistics, an .npz with a mean `mu` and a covariance `sigma`: {error}."
        ) from error
    if not isinstance(provenance, dict) or not all(isinstance(value, str) for value in provenance.values()):
        raise ArzhangError(f"{path} holds the provenance {provenance!r:.100}, where texts by name were expected.")
    finite = np.isfinite(mean).all() and np.isfinite(covariance).all()
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape or not finite:
        raise ArzhangError(
            f"{path} holds a mean of shape {mean.shape} and a covariance of shape {covariance.shape}; expected were "
            "finite numbers, D and D x D of them."
        )
    if n is not None and n < 2:
        raise ArzhangError(f"{path} says that it is of {n} samples, but a covariance takes at least two.")
    scatter = torch.from_numpy(covariance) * (1 if n is None else n - 1)
    return Moments(n=n, mean=torch.from_numpy(mean), scatter=scatter), provenance
