"""A network that predicts f from the parameters of q."""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from arzhang.baselines._numbers import numbers_of
from arzhang.distributions import described, parameters_of
from arzhang.types import Drawn, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A prediction of f for each element of the batch, from q's parameters there, which know nothing of the sample.

        b = network(theta),    the network descends mean of (f(z) - b)^2

    Where elements of a batch differ, as those of an encoder do, this follows them, which one average cannot. Whenever
    the estimate is differentiated, the network's parameters are given the gradient of their own loss, whatever the sign
    and the weight of the estimate: any optimiser that descends teaches it, beside whatever else it moves. In evaluation
    mode nothing is learnt.

    Raises:
        MisuseError: The width or the number of layers is not positive.

    References:
        Mnih and Gregor, "Neural Variational Inference and Learning in Belief Networks", ICML 2014, section 2.3.

    Example:
        >>> q, values = torch.distributions.Normal(torch.zeros(5), torch.ones(5)), torch.ones(1, 5)
        >>> baseline = Config(width=8).build(inputs=2)  # a loc and a scale
        >>> baseline(Drawn(q=q, values=values, apart=values[:0], apart_values=values[:0])).shape
        torch.Size([5])
    """

    width: int = 64
    """Units of a hidden layer."""
    layers: int = 2
    """How many hidden layers."""

    def build(self, *, inputs: int) -> "Neural":
        """Make the network, for so many numbers in the parameters of an element of the batch."""
        if self.width < 1 or self.layers < 1:
            raise MisuseError(
                f"The baseline has {self.layers} layers of width {self.width}, and should have at least one of each."
            )
        return Neural(inputs, self.width, self.layers)


@final
class Neural(nn.Module):
    """The baseline."""

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        self.inputs = inputs
        widths = [inputs, *[width] * layers]
        hidden = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.SiLU())]
        self.network = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, drawn: Drawn) -> Float[Tensor, "*batch"]:
        """Return the prediction, which requires a gradient while the network is trained."""
        theta = _theta(drawn.q)
        weight = next(self.network.parameters())
        predicted: Tensor = self.network(theta.to(weight)).squeeze(-1).to(drawn.values)
        return predicted if self.training else predicted.detach()

    def check(self, q: Distribution, samples: int) -> None:  # noqa: ARG002
        """Refuse a q whose parameters have another number of numbers."""
        theta = _theta(q)
        if theta.shape[-1] != self.inputs:
            raise MisuseError(
                f"{described(q)} has {theta.shape[-1]} numbers in the parameters of an element of the batch, and "
                f"the baseline was built for {self.inputs}: build it with inputs={theta.shape[-1]}."
            )


def _theta(q: Distribution) -> Tensor:
    """Return all numbers in the parameters of each element of the batch."""
    batch = len(q.batch_shape)
    return torch.cat([numbers_of(each.detach(), batch) for each in parameters_of(q).values()], -1)
