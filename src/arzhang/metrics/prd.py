"""Precision and recall of distributions: the curve of all trades between them, and its ends F_8 and F_1/8.

Real and fake samples together are clustered, and histograms over the clusters compared, q of fakes and p of the real:

    precision(a) = sum_c min(tan(a) p_c, q_c)    recall(a) = precision(a) / tan(a)    0 < a < pi/2

at 1001 angles. The clusters are 20, by mini-batch k-means (the best of 10 starts), and the curves of 10 clusterings are
averaged. F_b = (1 + b^2) precision recall / (b^2 precision + recall), its maximum along the curve: F_8 weighs recall,
F_1/8 precision. Equal distributions stay a little below 1, for histograms of samples differ. The curve shows what one
figure hides, but twenty clusters see no finer than twenty clusters: details are for the Frechet distance.

Sets are cut to equal size, at random by the seed. Intervals are of the expectation at that size, and are Wilson's: of
the samples, given the clusterings, by halves and quarters (``_parts``), and of the clusterings by what they differ
beyond that.

References:
    Sajjadi et al., "Assessing Generative Models via Precision and Recall", NeurIPS 2018,
    definition 1, theorem 2 and section 4.

Example:
    >>> import torch
    >>> precision, recall = curve(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.4, 0.3, 0.2, 0.1]))
    >>> f"{precision[500]:.4f} {recall[500]:.4f} {_best(precision, recall, 8):.7f}"
    '0.6000 0.6000 0.9557915'
"""

import math
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from arzhang import rng
from arzhang.metrics._parts import CELLS, METHOD, PARTITIONS, Parts, deal
from arzhang.metrics._sets import check
from arzhang.types import Estimate, MisuseError

short = "prd"
asks = "features"


@dataclass(frozen=True, kw_only=True, slots=True)
class PRD:
    """The curve, from the angle of recall to that of precision, and its two ends."""

    precision: Float[Tensor, " A"]
    recall: Float[Tensor, " A"]
    f8: Estimate
    f1_8: Estimate


def curve(
    evaluated: Float[Tensor, "*P K"], reference: Float[Tensor, "*P K"], *, angles: int = 1001
) -> tuple[Float[Tensor, "*P A"], Float[Tensor, "*P A"]]:
    """Return precision and recall at evenly spaced angles, in float64.

    Args:
        evaluated: Histogram of fakes, which sums to 1; or a stack of them.
        reference: Histogram of the real.
        angles: How many angles, at the least 1e-10 away from 0 and pi/2.
    """
    slopes = torch.linspace(1e-10, math.pi / 2 - 1e-10, angles, dtype=torch.float64).tan()
    scaled = slopes[:, None] * reference.double()[..., None, :]
    precision = torch.minimum(scaled, evaluated.double()[..., None, :]).sum(dim=-1)
    return precision.clamp(0, 1), (precision / slopes).clamp(0, 1)


def prd(
    real: Float[Tensor, "N D"],
    fake: Float[Tensor, "M E"],
    *,
    clusters: int = 20,
    clusterings: int = 10,
    angles: int = 1001,
    seed: int = 0,
) -> PRD:
    """Return the curve of precision and recall, F_8 and F_1/8.

    Args:
        real: Features of real samples.
        fake: Features of samples made.
        clusters: Bars of the histograms.
        clusterings: How many clusterings are averaged.
        angles: Points of the curve.
        seed: Of the clusterings, of the samples kept, and of the parts from which the intervals come.

    Raises:
        MisuseError: There are fewer samples than clusters, or less than two clusterings.
        ArzhangError: A feature is not finite, or the dimensions differ.
    """
    n = min(len(real), len(fake))
    if clusterings < 2:
        raise MisuseError(f"{clusterings} clustering says nothing of how far another would differ; take 2 or more.")
    if 2 * n < clusters:
        raise MisuseError(f"There are {2 * n} samples for {clusters} clusters; give more pictures, or ask for fewer.")
    check({"real": real, "fake": fake})
    most = max(len(real), len(fake))
    cut = f"The larger set was cut from {most} to {n} samples, as the metric asks for equal numbers."
    real, fake = (_cut(features, n, seed, name) for features, name in ((real, "real"), (fake, "fake")))
    cells = deal(n, seed)
    union = torch.cat([real, fake]).detach().cpu()
    labels = [_cluster(union.numpy(), clusters, rng.seed_of(seed, "clusters", i)) for i in range(clusterings)]
    bars = np.stack([_histograms(each, cells, clusters) for each in labels])

    @cache
    def curves(partition: int, part: int) -> tuple[Float[Tensor, "R A"], Float[Tensor, "R A"]]:
        counts = bars[:, :, PARTITIONS[partition] == part].sum(axis=2)
        p, q = torch.from_numpy(counts / counts.sum(axis=2, keepdims=True)).unbind(dim=1)
        return curve(q, p, angles=angles)

    def each(beta: float, partition: int, part: int) -> Float[ndarray, " R"]:
        return np.array([_best(*pair, beta) for pair in zip(*curves(partition, part), strict=True)])

    def figure(beta: float, partition: int, part: int) -> float:
        precision, recall = curves(partition, part)
        return _best(precision.mean(dim=0), recall.mean(dim=0), beta)

    def estimate(name: str, beta: float) -> Estimate:
        parts = Parts.of(partial(figure, beta), divide=n >= 4 * clusters)
        interval = None
        if parts.halves is not None:
            apart = np.stack([each(beta, p, 0) - each(beta, p, 1) for p in range(1, CELLS)])
            # Clusterings see the same samples through other bars, which is in the variance of their mean already.
            spread = float(each(beta, 0, 0).var(ddof=1) - apart.var(axis=1, ddof=1).mean() / 4)
            interval = parts.proportion(least=n, besides=max(0.0, spread) / clusterings)
        return Estimate(
            name=name,
            value=parts.whole,
            interval=interval,
            method=f"{METHOD}, and the spread of {clusterings} clusterings" if interval else parts.why_not,
            n={"real": n, "fake": n},
            higher_is_better=True,
            seed=seed,
            remarks=(cut,) if most > n else (),
        )

    precision, recall = (each.mean(dim=0) for each in curves(0, 0))
    return PRD(precision=precision, recall=recall, f8=estimate("f8", 8), f1_8=estimate("f1/8", 1 / 8))


def _best(precision: Float[Tensor, " A"], recall: Float[Tensor, " A"], beta: float) -> float:
    return float(((1 + beta**2) * precision * recall / (beta**2 * precision + recall + 1e-10)).max())


def _cut(features: Float[Tensor, "N D"], n: int, seed: int, name: str) -> Float[Tensor, "n D"]:
    if len(features) == n:
        return features
    kept = torch.randperm(len(features), generator=rng.generator(seed, "kept", name))[:n]
    return features[kept.sort().values.to(features.device)]


def _cluster(features: Float[ndarray, "N D"], clusters: int, seed: int) -> Int[ndarray, " N"]:
    from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus  # noqa: PLC0415 - slow to import

    def start(points: ndarray, clusters: int, random_state: np.random.RandomState) -> ndarray:
        # The same start as "k-means++", which widens its points again for every centre: this takes half the time.
        centres, _ = kmeans_plusplus(points.astype(np.float64), clusters, random_state=random_state)
        return np.asarray(centres)

    model = MiniBatchKMeans(clusters, init=start, n_init=10, random_state=seed % 2**32)
    labels: Int[ndarray, " N"] = model.fit_predict(features)
    return labels


def _histograms(labels: Int[ndarray, " N"], cells: Int[ndarray, " n"], clusters: int) -> Int[ndarray, "2 16 K"]:
    """Count the labels of the real, and of the fakes, cell by cell."""
    sides = np.repeat([0, 1], len(cells))
    bars = np.zeros((2, CELLS, clusters), int)
    np.add.at(bars, (sides, np.tile(cells, 2), labels), 1)
    return bars
