"""The mean of f over earlier calls."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arzhang.types import Drawn, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A number that follows the mean of f from call to call.

        b_t = a_(t-1),    a_t = decay a_(t-1) + (1 - decay) mean of f

    It is read before it is updated. The other order lets the baseline depend on the samples that it is subtracted at,
    and multiplies the gradient by the decay: a slip of two well-known libraries. At first, while fewer than
    1 / (1 - decay) calls have been made, a is their plain mean.

    It costs nothing and needs no second sample; it is one number for the whole batch, and late where f moves.

    Raises:
        MisuseError: The decay is not from 0 to 1.

    References:
        Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", 1992,
        section 8.

    Example:
        >>> q, values = torch.distributions.Normal(0.0, 1.0), torch.tensor([1.0, 3.0])
        >>> baseline = Config(decay=0.9).build()
        >>> [baseline(Drawn(q=q, values=each, apart=each[:0], apart_values=each[:0])) for each in (values, values)]
        [tensor(0.), tensor(2.)]
    """

    decay: float = 0.95
    """How much of the average is kept from call to call."""

    def build(self) -> "MovingAverage":
        """Make the baseline, which has seen nothing."""
        if not 0 <= self.decay < 1:
            raise MisuseError(f"The decay is {self.decay}, and should be from 0 to below 1: how much is kept.")
        return MovingAverage(self.decay)


@final
class MovingAverage(nn.Module):
    """The baseline; it learns in training mode only, and passes over means that are not finite."""

    average: Tensor
    seen: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, drawn: Drawn) -> Float[Tensor, ""]:
        """Return the average of earlier calls, and then update it."""
        before = self.average.to(drawn.values)
        if self.training and torch.is_grad_enabled() and drawn.values.numel():
            mean = drawn.values.mean().to(self.average)
            counts = mean.isfinite()
            weight = (1 / (self.seen + 1)).clamp(min=1 - self.decay)
            # Made anew, not in place: what was read stays as it was.
            self.average = torch.where(counts, self.average + weight * (mean - self.average), self.average)
            self.seen = self.seen + counts
        return before
