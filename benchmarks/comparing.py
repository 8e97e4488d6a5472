"""How often `arzhang compare` is right: its interval, and the chance that it gives where there is no difference.

    python benchmarks/comparing.py [--simulations 200]

Two candidates of 100 samples in 8 dimensions, equal or with one shifted, against a reference. Without a difference, a
chance of .05 or less should be told in 5 % of simulations, and of .5 or less in half; with one, the more often the
better.
"""

import argparse
from functools import partial
from statistics import fmean

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from arzhang import rng
from arzhang.evaluate import Comparison, How, compare_features
from arzhang.metrics import fid, kid

PERMUTATIONS = 39


METRICS = {
    "fid": lambda real, fake: [fid(real, fake)],
    "kid": lambda real, fake: [kid(real, fake, subsets=1)],
}


def simulate(metric: str, shift: float, index: int) -> list[Comparison]:
    """Compare two candidates, the second of them shifted."""
    draw = partial(torch.randn, 100, 8, generator=rng.generator(index, "compare", metric))
    real, first, second = draw(), 1.1 * draw(), 1.1 * draw() + shift
    return list(
        compare_features(METRICS[metric], (first, second, real), permutations=PERMUTATIONS, options=How(seed=index))
    )


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--simulations", type=int, default=200)
    simulations = parser.parse_args().simulations
    torch.set_num_threads(1)
    table = Table(
        "figure", "shift", "interval holds", "chance <= .05", "chance <= .5", title=f"{simulations} simulations"
    )
    todo = [(metric, shift) for metric in METRICS for shift in (0.0, 0.3)]
    for metric, shift in track(todo, console=Console(stderr=True), transient=True):
        for figure in zip(*(simulate(metric, shift, index) for index in range(simulations)), strict=True):
            truth = fmean(each.difference.value for each in figure) if shift else 0.0
            intervals = [each.difference.interval for each in figure if each.difference.interval]
            table.add_row(
                figure[0].difference.name,
                f"{shift}",
                f"{sum(low <= truth <= high for low, high in intervals) / simulations:.1%}",
                *(f"{fmean(each.chance <= chance for each in figure):.1%}" for chance in (0.05, 0.5)),
            )
    Console().print(table)


if __name__ == "__main__":
    main()
