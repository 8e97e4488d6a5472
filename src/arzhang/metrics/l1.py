"""The mean absolute error of pictures, in their own unit.

    L1 = mean |y - t|

over the pixels and channels of a picture, and over pictures: 2 is the most for pictures in [-1, 1]. It is what most
translations are trained on, and for that the first figure to look at; as PSNR, it prefers a blur to a sharp guess.

The interval is Student's, of independent pairs; the mean has no bias.

Example:
    >>> import torch
    >>> l1(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)).value
    0.5
"""

from jaxtyping import Float
from torch import Tensor

from arzhang.metrics import _mean, _pairs
from arzhang.types import Estimate

asks = "pairs"


def each(output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, " B"]:
    """Return the mean absolute error of each pair, in float64.

    Args:
        output: The pictures made.
        target: The pictures wanted.

    Raises:
        MisuseError: The two differ in size.
    """
    _pairs.check(output, target)
    return (output.double() - target.double()).abs().mean(dim=(1, 2, 3))


def l1(output: Float[Tensor, "B C H W"], target: Float[Tensor, "b c h w"]) -> Estimate:
    """Return the mean absolute error.

    Args:
        output: The pictures made.
        target: The pictures wanted.

    Raises:
        MisuseError: The two differ in size.
    """
    return told(each(output, target))


def told(values: Float[Tensor, " N"]) -> Estimate:
    """Return the mean of what each pair has."""
    return _mean.mean(values, name="l1", higher_is_better=False)
