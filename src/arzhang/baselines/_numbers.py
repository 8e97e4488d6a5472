"""The numbers that a parameter has for each element of a batch."""

from jaxtyping import Float
from torch import Tensor


def numbers_of(parameter: Float[Tensor, "..."], batch: int) -> Float[Tensor, "... P"]:
    """Return a parameter whose first ``batch`` dimensions are the batch with all others, or none, made one."""
    return parameter.flatten(batch) if parameter.ndim > batch else parameter.unsqueeze(-1)
