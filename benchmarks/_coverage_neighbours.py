"""Simulations of the intervals of neighbour metrics and PRD, for ``benchmarks.coverage`` to count.

Each simulation is of a setting, and yields estimates with the truth that their intervals should hold, which is the
expectation of the figure at that number of samples: its mean over the draws, in each of which all samples are new.
"""

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from arzhang.metrics import density_coverage, prd, precision_recall
from arzhang.metrics._neighbours import survey
from arzhang.rng import generator
from arzhang.types import Estimate

Simulation = Callable[[int], Iterator[tuple[Estimate, float]]]


def _gaussians(setting: str, draw: int, *, n: int, m: int, d: int, scale: float, shift: float) -> tuple[Tensor, Tensor]:
    """Real N(0, I) and fake N(shift, scale^2 I)."""
    real, fake = (torch.randn(each, d, generator=generator(draw, setting, name)) for each, name in ((n, "x"), (m, "y")))
    return real, fake * scale + shift


def _neighbours(real: Tensor, fake: Tensor) -> list[Estimate]:
    seen = survey(real, fake)
    pr, dc = precision_recall(real, fake, shared=seen), density_coverage(real, fake, shared=seen)
    return [pr.precision, pr.recall, dc.density, dc.coverage]


def _prd(real: Tensor, fake: Tensor) -> list[Estimate]:
    found = prd(real, fake)
    return [found.f8, found.f1_8]


def _simulate(
    metric: Callable[[Tensor, Tensor], list[Estimate]], sets: Callable[[int], tuple[Tensor, Tensor]], draws: int
) -> Iterator[tuple[Estimate, float]]:
    rounds = [metric(*sets(draw)) for draw in range(draws)]
    for estimates in zip(*rounds, strict=True):
        truth = statistics.fmean(estimate.value for estimate in estimates)
        yield from ((estimate, truth) for estimate in estimates)


_SETS = {
    "equal, d 2": {"d": 2, "scale": 1.0, "shift": 0.0},
    "equal, d 16": {"d": 16, "scale": 1.0, "shift": 0.0},
    "equal, d 64": {"d": 64, "scale": 1.0, "shift": 0.0},
    "wide, d 16": {"d": 16, "scale": 1.2, "shift": 0.3},
    "narrow, d 16": {"d": 16, "scale": 0.7, "shift": 0.0},
    "narrow, d 64": {"d": 64, "scale": 0.8, "shift": 0.0},
    "beside, d 2": {"d": 2, "scale": 1.0, "shift": 1.0},
    "apart, d 4": {"d": 4, "scale": 1.0, "shift": 1.5},  # what overlaps is in the balls of few outliers: the hardest
}
_SIZES = ((100, 100), (200, 200), (500, 150), (1000, 1000))


def _name(metrics: str, sets: str, n: int, m: int) -> str:
    return f"{metrics}: {sets}, n {n}" + (f" and {m}" if m != n else "")


SIMULATIONS: dict[str, Simulation] = {
    _name("neighbours", sets, n, m): partial(_simulate, _neighbours, partial(_gaussians, sets, n=n, m=m, **options))
    for sets, options in _SETS.items()
    for n, m in _SIZES
} | {
    _name("prd", sets, n, n): partial(_simulate, _prd, partial(_gaussians, sets, n=n, m=n, **options))
    for sets, options in _SETS.items()
    for n in (200, 1000)
}
