"""Divergences between distributions, one a file: never negative, zero where both are equal, with natural logarithms."""

from arzhang.divergences.bhattacharyya import bhattacharyya as bhattacharyya
from arzhang.divergences.cauchy_schwarz import cauchy_schwarz as cauchy_schwarz
from arzhang.divergences.chi_squared import chi_squared as chi_squared
from arzhang.divergences.hellinger import hellinger as hellinger
from arzhang.divergences.jensen_shannon import jensen_shannon as jensen_shannon
from arzhang.divergences.kl import kl as kl
from arzhang.divergences.l2 import l2 as l2
from arzhang.divergences.mmd import mmd as mmd
from arzhang.divergences.renyi import renyi as renyi
from arzhang.divergences.total_variation import total_variation as total_variation
from arzhang.divergences.wasserstein import wasserstein as wasserstein

__all__ = [
    "bhattacharyya",
    "cauchy_schwarz",
    "chi_squared",
    "hellinger",
    "jensen_shannon",
    "kl",
    "l2",
    "mmd",
    "renyi",
    "total_variation",
    "wasserstein",
]
