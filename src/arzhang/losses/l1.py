"""The mean absolute error."""

from jaxtyping import Float
from torch import Tensor, nn


def l1(output: Float[Tensor, "..."], target: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the mean absolute error E |y - t| over everything, in units of the pictures.

    Its optimum is the median of what could be: where the input leaves several answers, it blurs less than ``l2``.

    Args:
        output: The pictures made.
        target: The pictures wanted.

    Example:
        >>> import torch
        >>> l1(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 0.0]))
        tensor(0.7500)
    """
    return nn.functional.l1_loss(output, target)
