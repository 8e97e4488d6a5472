"""Density and coverage: how crowded with the real the places of fakes are, and how much of the real has a fake near.

Balls are open, about real samples only, and reach to the k-th neighbour among the real:

    density = 1/(k M) #{ i, j : |y_j - x_i| < r_k(x_i) }    coverage = 1/N #{ i : |y_j - x_i| < r_k(x_i) for some j }

for N real x, M fake y and k = 5. Density is 1 for equal distributions and may exceed it where fakes keep to the crowded
places; coverage tends to 1 - 2^-k for equal distributions and equal N and M. Density sees fidelity, coverage diversity,
and an outlier has little to say in either: prefer them to precision and recall, except to compare with published ones.

Intervals are of the expectation at these N and M. They come from halves and quarters of the samples (``_parts``); that
of coverage is Wilson's, so that it reaches to one side only where coverage is 0 or 1.

References:
    Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020, equations 3 to 5.

Example:
    >>> import torch
    >>> real, fake = torch.tensor([[0.0], [1.0], [2.0], [10.0]]), torch.tensor([[0.5], [1.5], [30.0], [31.0]])
    >>> found = density_coverage(real, fake, k=1)
    >>> found.density.value, found.coverage.value
    (1.0, 0.75)
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from arzhang.metrics._neighbours import Survey, survey
from arzhang.types import Estimate

short = "dc"
asks = "features"
shares = survey  # what evaluate computes once for all metrics that share it


@dataclass(frozen=True, kw_only=True, slots=True)
class DensityCoverage:
    """The two figures."""

    density: Estimate
    coverage: Estimate


def density_coverage(
    real: Float[Tensor, "N D"],
    fake: Float[Tensor, "M E"],
    *,
    k: int = 5,
    seed: int = 0,
    shared: Survey | None = None,
) -> DensityCoverage:
    """Return density and coverage.

    Args:
        real: Features of real samples.
        fake: Features of samples made.
        k: How many neighbours far a ball reaches.
        seed: Of the halves and quarters, on which the intervals depend.
        shared: The pass over the distances, if it was made already.

    Raises:
        MisuseError: ``k`` is less than 1.
        ArzhangError: A set has no more than ``k`` samples, a feature is not finite, or the dimensions differ.
    """
    seen = shared or survey(real, fake, manifold_k=k, density_k=k, seed=seed)
    return DensityCoverage(density=seen.amount("density"), coverage=seen.proportion("coverage", of="real"))
