"""How often a 95 % interval holds what it is for: 200 simulations of each metric in several settings.

    python benchmarks/coverage.py [--only fid kid] [--simulations 200] [--json]

The truth is the expectation of the figure at that number of samples, which is the mean over the simulations, or what
is known of the distributions. Between 90 and 99 % are asked for, of all simulations of a metric together; the status is
1 where that fails, and settings that lie outside by themselves are marked.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import NamedTuple

import torch
from _coverage_neighbours import SIMULATIONS, Simulation
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from arzhang import rng
from arzhang.metrics import cmmd, fid, fid_infinity, inception_score, kid, l1, ppl
from arzhang.moments import Moments
from arzhang.types import Estimate


class Setting(NamedTuple):
    """One simulation, of a generator of random numbers, and what is true, unless that is the mean."""

    simulate: Callable[[torch.Generator], Estimate]
    truth: float | None = None


Pair = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""Draws a real and a generated set."""


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw standard normal numbers."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gaussians(
    generator: torch.Generator, *, d: int, n: int, shift: float = 0, scale: float = 1, steep: bool = False
) -> tuple[Tensor, Tensor]:
    """Draw Gaussian sets whose variances fall over the dimensions to a tenth, or, steeply, to a hundredth."""
    scales = torch.logspace(0, -1 if steep else -0.5, d, dtype=torch.float64)
    return normal(generator, n, d) * scales, (normal(generator, n, d) * scale + shift) * scales


def turned(generator: torch.Generator, *, d: int, n: int, steep: bool = False) -> tuple[Tensor, Tensor]:
    """Draw Gaussian sets whose variances fall in opposite order."""
    real, fake = gaussians(generator, d=d, n=n, shift=0.1, scale=1.2, steep=steep)
    return real, fake.flip(1)


def features(generator: torch.Generator, *, d: int, n: int) -> tuple[Tensor, Tensor]:
    """Draw sets that are not Gaussian: not negative, and the generated one in two scales."""
    real, fake = normal(generator, n, d), 1.2 * normal(generator, n, d) + 0.1
    return real.relu(), fake.relu() * torch.rand(n, 1, generator=generator, dtype=torch.float64).add(0.5)


SETS: dict[str, Pair] = {
    "equal, d 8, n 100": partial(gaussians, d=8, n=100),
    "equal, d 8, n 500": partial(gaussians, d=8, n=500),
    "equal, d 64, n 100": partial(gaussians, d=64, n=100),
    "equal, d 64, n 1000": partial(gaussians, d=64, n=1000),
    "equal, d 128, n 100": partial(gaussians, d=128, n=100),
    "shifted by .1, d 8, n 500": partial(gaussians, d=8, n=500, shift=0.1),
    "shifted by .3, d 16, n 200": partial(gaussians, d=16, n=200, shift=0.3),
    "shifted by .3, d 64, n 1000": partial(gaussians, d=64, n=1000, shift=0.3),
    "scaled by 1.2, d 32, n 200": partial(gaussians, d=32, n=200, scale=1.2),
    "other covariance, d 16, n 100": partial(turned, d=16, n=100),
    "other covariance, d 64, n 500": partial(turned, d=64, n=500),
    "steep, equal, d 8, n 100": partial(gaussians, d=8, n=100, steep=True),
    "steep, equal, d 8, n 500": partial(gaussians, d=8, n=500, steep=True),
    "steep, equal, d 64, n 1000": partial(gaussians, d=64, n=1000, steep=True),
    "steep, shifted by .1, d 8, n 500": partial(gaussians, d=8, n=500, shift=0.1, steep=True),
    "steep, scaled by 1.2, d 32, n 200": partial(gaussians, d=32, n=200, scale=1.2, steep=True),
    "steep, other covariance, d 16, n 100": partial(turned, d=16, n=100, steep=True),
    "not Gaussian, d 8, n 100": partial(features, d=8, n=100),
    "not Gaussian, d 32, n 500": partial(features, d=32, n=500),
    "not Gaussian, d 128, n 100": partial(features, d=128, n=100),
}


def of_sets(metric: Callable[[Tensor, Tensor], Estimate], *, unbiased: bool = False) -> dict[str, Setting]:
    """Measure all those sets; what is unbiased is 0 for equal distributions."""
    return {
        name: Setting(
            lambda generator, pair=pair: metric(*pair(generator)), 0 if unbiased and "equal" in name else None
        )
        for name, pair in SETS.items()
    }


def to_moments(generator: torch.Generator, *, d: int, n: int) -> Estimate:
    """Measure the distance to moments that stay the same."""
    reference, _ = gaussians(rng.generator(0, "reference"), d=d, n=300)
    return fid(Moments.of(reference), gaussians(generator, d=d, n=n, shift=0.1)[1])


def score(generator: torch.Generator, *, n: int, classes: int, sure: float) -> Estimate:
    """Measure the Inception Score of random logits, larger in some classes."""
    logits = sure * normal(generator, n, classes) + torch.linspace(-1, 1, classes, dtype=torch.float64)
    return inception_score(logits)


def path(generator: torch.Generator, *, n: int, bend: float) -> Estimate:
    """Measure ways through a generator that stretches some of its latents."""
    start, end = normal(generator, 2, n, 8)
    seed = int(torch.randint(2**31, (), generator=generator))
    return ppl(
        lambda latent: (latent * (bend * latent).exp()).reshape(-1, 2, 2, 2),
        lambda one, other: (one - other).square().sum((1, 2, 3)),
        start,
        end,
        space="w",
        seed=seed,
    )


def pairs(generator: torch.Generator, *, n: int, uneven: float) -> Estimate:
    """Measure L1 of pairs of pictures, some of which differ by much."""
    shape = (n, 3, 4, 4)
    size = (uneven * torch.randn(n, 1, 1, 1, generator=generator)).exp()
    return l1(torch.zeros(shape), (torch.rand(shape, generator=generator) * size / 20).clamp(max=1))


METRICS: dict[str, dict[str, Setting]] = {
    "cmmd": of_sets(cmmd),
    "fid": {
        **of_sets(fid),
        **{
            f"moments of 300, d {d}, n {n}": Setting(partial(to_moments, d=d, n=n))
            for d, n in [(16, 100), (16, 1000), (64, 50)]
        },
        "equal, d 64, n 2000": Setting(lambda generator: fid(*gaussians(generator, d=64, n=2000))),
        "shifted by .3, d 64, n 2000": Setting(lambda generator: fid(*gaussians(generator, d=64, n=2000, shift=0.3))),
    },
    "fid_infinity": of_sets(lambda real, fake: fid_infinity(real, fake).intercept),
    "inception_score": {
        f"classes {classes}, n {n}, scale {sure}": Setting(partial(score, n=n, classes=classes, sure=sure))
        for classes, n, sure in [(10, 100, 2), (10, 1000, 2), (10, 1000, 20), (100, 1000, 5), (1000, 1000, 3)]
    },
    "kid": {
        **of_sets(kid, unbiased=True),
        **{
            f"subsets of 200, {name}": setting
            for name, setting in of_sets(partial(kid, size=200, subsets=20), unbiased=True).items()
            if name.endswith(("n 500", "n 1000"))
        },
    },
    "l1": {
        f"n {n}, uneven {uneven}": Setting(partial(pairs, n=n, uneven=uneven))
        for n, uneven in [(10, 0.0), (10, 0.5), (100, 0.5), (100, 1.0)]
    },
    "ppl": {
        f"n {n}, bend {bend}": Setting(partial(path, n=n, bend=bend))
        for n, bend in [(100, 0.0), (1000, 0.0), (300, 0.3), (100, 0.5), (1000, 0.5)]
    },
}


def cover(setting: Setting, name: str, simulations: int) -> dict[str, float]:
    """Return how often the interval held the truth, that, and the mean width of the interval."""
    found = [setting.simulate(rng.generator(0, name, index)) for index in range(simulations)]
    truth = fmean(each.value for each in found) if setting.truth is None else setting.truth
    intervals = [each.interval for each in found if each.interval]
    held = sum(low <= truth <= high for low, high in intervals) / simulations
    return {"covered": held, "truth": truth, "width": fmean(high - low for low, high in intervals)}


ALL: dict[str, Mapping[str, Setting | Simulation]] = {
    **METRICS,
    **{
        kind: {name.partition(": ")[2]: each for name, each in SIMULATIONS.items() if name.startswith(kind)}
        for kind in ("neighbours", "prd")
    },
}


def counted(drawn: Sequence[tuple[Estimate, float]]) -> dict[str, float]:
    """Return how often the interval of one figure held the truth, that, and the mean width of the interval."""
    intervals = [estimate.interval for estimate, _ in drawn if estimate.interval]
    held = sum(low <= truth <= high for (low, high), (_, truth) in zip(intervals, drawn, strict=True))
    return {
        "covered": held / len(drawn),
        "truth": drawn[0][1],
        "width": fmean(high - low for low, high in intervals),
    }


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=ALL, default=[*ALL])
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    todo = [(metric, name, setting) for metric in given.only for name, setting in ALL[metric].items()]
    torch.set_num_threads(1)
    found: dict[tuple[str, str], dict[str, float]] = {}
    for metric, name, setting in track(todo, console=Console(stderr=True), transient=True):
        if isinstance(setting, Setting):
            found[metric, name] = cover(setting, name, given.simulations)
            continue
        drawn = list(setting(given.simulations))
        for figure in dict.fromkeys(estimate.name for estimate, _ in drawn):
            found[figure, name] = counted([pair for pair in drawn if pair[0].name == figure])
    together = {
        metric: fmean(each["covered"] for (of, _), each in found.items() if of == metric)
        for metric in dict.fromkeys(of for of, _ in found)
    }
    if given.json:
        print(json.dumps({f"{metric}: {name}": each for (metric, name), each in found.items()}, indent=2))
    else:
        table = Table("metric", "setting", "covered", "truth", "mean width", title=f"{given.simulations} simulations")
        for (metric, name), each in found.items():
            covered = f"{each['covered']:.1%}{'' if fits(each['covered']) else ' !'}"
            table.add_row(metric, name, covered, f"{each['truth']:.4g}", f"{each['width']:.3g}")
        for metric, each in together.items():
            table.add_row(metric, "all", f"{each:.1%}", "", "")
        Console().print(table)
    sys.exit(not all(map(fits, together.values())))


def fits(covered: float) -> bool:
    """Whether an interval held the truth as often as it should."""
    return 0.9 <= covered <= 0.99


if __name__ == "__main__":
    main()
