"""The mean squared error."""

from jaxtyping import Float
from torch import Tensor, nn


def l2(output: Float[Tensor, "..."], target: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the mean squared error E (y - t)^2 over everything, in squared units of the pictures.

    Its optimum is the mean of what could be: the best peak signal-to-noise ratio, and the most blur.

    Args:
        output: The pictures made.
        target: The pictures wanted.

    Example:
        >>> import torch
        >>> l2(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 0.0]))
        tensor(0.6250)
    """
    return nn.functional.mse_loss(output, target)
