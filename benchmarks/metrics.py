"""Metrics of sets, on random features of 2048 dimensions.

    python benchmarks/metrics.py frechet | few | neighbours | table [--json]

`frechet` is the distance of given moments, against the root of a matrix that others take, and `few` that of 500
samples, also with its interval. `neighbours` is what they take beyond the features: the peak memory of the two rows
differs by that. `table` is what `arzhang evaluate` prints for 10,000 pictures against 10,000, and each metric's share.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import _interleave
import torch
from torch import Tensor

from arzhang import plugins
from arzhang.metrics import fid
from arzhang.metrics._frechet import Side, distance
from arzhang.metrics._neighbours import survey
from arzhang.moments import Moments
from arzhang.rng import generator

D, CLASSES = 2048, 1008
METRICS = ("fid", "kid", "inception_score", "prd", "precision_recall", "density_coverage")
NEIGHBOURS = ("precision_recall", "density_coverage")


def features(n: int) -> tuple[Tensor, Tensor]:
    """Draw sets as an extractor gives them: not negative, correlated, in scales that differ a thousandfold."""
    mixing = torch.randn(D, D, generator=generator(0, "mixing")) * torch.logspace(0, -3, D)[:, None]
    real, fake = (torch.randn(n, D, generator=generator(0, name)) @ mixing for name in ("real", "fake"))
    return (real + 0.5).relu(), (1.1 * fake + 0.5).relu()


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def by_root(n: int) -> Callable[[], float]:
    """Prepare what others do: the root of the product of the covariances."""
    import scipy.linalg  # noqa: PLC0415 - in one process only

    first, second = (Moments.of(side) for side in features(n))
    covariances = first.covariance.numpy(), second.covariance.numpy()

    def others() -> object:
        root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
        step = first.mean - second.mean
        return step @ step + sum(each.trace() for each in covariances) - 2 * root.trace()

    return partial(timed, others)


def of_moments(n: int) -> Callable[[], float]:
    """Prepare the distance of the same moments."""
    first, second = (Moments.of(side) for side in features(n))
    return partial(timed, lambda: fid(first, second))


def alone(n: int) -> Callable[[], float]:
    """Prepare the distance of features, without an interval, as `fid_infinity` takes it."""
    real, fake = features(n)
    return partial(timed, lambda: distance(Side.of(real), Side.of(fake)))


def of_features(n: int) -> Callable[[], float]:
    """Prepare the distance of features, with its interval."""
    return partial(timed, partial(fid, *features(n)))


def together(names: Sequence[str], n: int = 10_000) -> Callable[[], float]:
    """Prepare these metrics; those of neighbours share one pass over the distances."""
    (real, fake), logits = features(n), 3 * torch.randn(n, CLASSES, generator=generator(0, "logits"))

    def work() -> None:
        shared = survey(real, fake) if set(names) & set(NEIGHBOURS) else None
        for name in names:
            given = (logits,) if name == "inception_score" else (real, fake)
            plugins.find("metrics", name)(*given, **({"shared": shared} if name in NEIGHBOURS else {}))

    return partial(timed, work)


GROUPS = {
    "frechet": (
        "The Frechet distance, 2048 dimensions",
        {"scipy's sqrtm": partial(by_root, 5000), "of moments": partial(of_moments, 5000)},
        3,
    ),
    "few": (
        "The Frechet distance of 500 samples, 2048 dimensions",
        {
            "scipy's sqrtm, 500": partial(by_root, 500),
            "of features": partial(alone, 500),
            "of features, with interval": partial(of_features, 500),
        },
        3,
    ),
    "neighbours": (
        "Neighbours, 10,000 x 10,000 x 2048",
        {"the features alone": partial(together, ()), "with both metrics": partial(together, NEIGHBOURS)},
        1,
    ),
    "table": (
        "The table, 10,000 x 10,000 x 2048",
        {
            "all": partial(together, METRICS),
            **{name: partial(together, [name]) for name in METRICS[:4]},
            "neighbours": partial(together, NEIGHBOURS),
        },
        1,
    ),
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--variant"]:
        _interleave.main(
            "", {name: setup for _, variants, _ in GROUPS.values() for name, setup in variants.items()}, rounds=1
        )
    elif len(sys.argv) > 1 and sys.argv[1] in GROUPS:
        title, variants, rounds = GROUPS[sys.argv.pop(1)]
        _interleave.main(title, variants, rounds=rounds, warmup=1 if rounds > 1 else 0)
    else:
        sys.exit(__doc__)
