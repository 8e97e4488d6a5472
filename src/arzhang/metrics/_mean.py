"""The mean of one value a pair, with Student's interval, which is for the mean over all such pairs.

m +- t s / sqrt(n),    t Student's quantile of 97.5 % for n - 1 degrees of freedom
"""

import math

from jaxtyping import Float
from torch import Tensor

from arzhang.metrics._intervals import student
from arzhang.types import ArzhangError, Estimate


def mean(values: Float[Tensor, " N"], *, name: str, higher_is_better: bool, unit: str = "") -> Estimate:
    """Return the mean of independent values with its interval.

    Raises:
        ArzhangError: There are none, or one is not finite.

    Example:
        >>> import torch
        >>> mean(torch.tensor([1.0, 2.0, 3.0]), name="l1", higher_is_better=False).value
        2.0
    """
    values = values.double()
    n = len(values)
    if not n:
        raise ArzhangError(f"There are no pairs of pictures to take the {name} of; give one or more.")
    if not values.isfinite().all():
        raise ArzhangError(f"The {name} of pair {int(values.isfinite().long().argmin())} is not finite; look at it.")
    value = values.mean().item()
    half = student(n - 1) * values.std().item() / math.sqrt(n) if n > 1 else math.inf
    return Estimate(
        name=name,
        value=value,
        interval=(value - half, value + half) if n > 1 else None,
        method="Student's t of the pairs" if n > 1 else "one pair says nothing about others",
        n={"pairs": n},
        higher_is_better=higher_is_better,
        unit=unit,
    )
