"""The Frechet distance at endlessly many generated pictures, which takes the bias of N away: FID-infinity.

    FD_N = FD_infinity + c / N,    by least squares over 15 numbers N from a tenth of the generated pictures to all

Each FD_N is of a random subset of the generated pictures, without repetition, and all real ones. The real set's own
bias stays, the same for all who compare with it. The line is straight where all N lie well above the number of
dimensions. The interval is for the intercept's expectation for these numbers of pictures; it follows from the
weights of the samples, and of pairs of them, in all 15 (which are not independent, so that the regression's own
error would not do).

References:
    Chong and Forsyth, "Effectively Unbiased FID and Inception Score and where to find them", CVPR 2020, section 4.

Example:
    >>> import torch
    >>> real, fake = torch.randn(2, 1000, 4, generator=torch.Generator().manual_seed(0))
    >>> found = fid_infinity(real, fake)
    >>> found.points[0][0], round(found.points[0][1], 3), round(found.intercept.value, 3)
    (100, 0.156, -0.007)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from arzhang import rng
from arzhang.metrics._frechet import Side, decompose, distance
from arzhang.metrics._intervals import normal
from arzhang.metrics._sets import check, same_dimensions
from arzhang.moments import Moments
from arzhang.types import Estimate

asks = "features"
COUNT = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class FidInfinity:
    """The figure, and what it was drawn from: numbers of generated pictures, each with a Frechet distance."""

    intercept: Estimate
    points: tuple[tuple[int, float], ...]


def fid_infinity(
    real: Float[Tensor, "N D"] | Moments, fake: Float[Tensor, "M d"], *, name: str = "fid-infinity", seed: int = 0
) -> FidInfinity:
    """Return the Frechet distance at endlessly many generated pictures.

    Args:
        real: The reference, as features or as their moments, for which the interval then is.
        fake: What is judged.
        name: What to call it, which is ``fid-infinity`` only on features of FID-Inception.
        seed: Of the subsets.

    Raises:
        ArzhangError: There are fewer than two real or twenty generated pictures, a number is not finite, or the
            features differ in dimensions.
    """
    check({"fake": fake} if isinstance(real, Moments) else {"real": real, "fake": fake})
    check({"fake": fake}, least=20)
    reference = Side.of(real)
    same_dimensions(real=len(reference.mean), fake=fake.shape[1])
    subsets = _subsets(len(fake), seed)
    sizes = [int(subset.sum()) for subset in subsets]
    distances = [distance(reference, Side.of(fake[subset.to(fake.device)])) for subset in subsets]
    # The figure is a sum of the distances, and what a sample or a pair does is weighted by the subsets it is in.
    n, member = torch.tensor(sizes).double(), subsets.double()
    weights = torch.linalg.pinv(torch.stack([torch.ones_like(n), 1 / n], dim=1))[0]
    common = member @ member.T
    variance = decompose(reference, Side.of(fake)).variance(
        once=float(weights / n @ common @ (weights / n)),
        pairs=float(weights / n**2 @ common.square() @ (weights / n**2)),
    )
    bent = (
        f"The smallest subset has no more samples ({sizes[0]}) than dimensions ({fake.shape[1]}), and distances of "
        "such do not lie on a line: take more samples."
    )
    value = float(weights @ torch.tensor(distances, dtype=torch.float64))
    intercept = Estimate(
        name=name,
        value=value,
        interval=normal(value, variance),
        method="influence functions to the second order, weighted as the subsets are, normal",
        n={"real": reference.n, "fake": len(fake)} if reference.n else {"fake": len(fake)},
        higher_is_better=False,
        seed=seed,
        remarks=(bent,) if sizes[0] <= fake.shape[1] else (),
    )
    return FidInfinity(intercept=intercept, points=tuple(zip(sizes, distances, strict=True)))


def _subsets(n: int, seed: int) -> Bool[Tensor, "S n"]:
    """Return which samples are in which subset, from the smallest to all."""
    subsets = torch.zeros(COUNT, n, dtype=torch.bool)
    for index, size in enumerate(torch.linspace(n / 10, n, COUNT).round().long().tolist()):
        subsets[index, torch.randperm(n, generator=rng.generator(seed, "fid-infinity", index))[:size]] = True
    return subsets
