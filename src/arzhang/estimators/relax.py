"""The score function with a neural network for a control variate: unbiased, for discrete q and any f.

A Bernoulli or one-hot b is what a continuous z is rounded to; z' is z drawn once more, given b. The gradient of one
sample is

    g = (f(b) - c(z')) grad log q(b) + grad c(z) - grad c(z')        c(z) = eta f(s(z)) + r(z)

with s the sigmoid or softmax at temperature lambda, and r a network with one hidden layer that begins at zero, where
this is ``rebar``. It also sees q's logits, so that one network serves every element of a batch; and eta, which is 1 as
published, is learnt besides. g is unbiased for every r, eta and lambda. They learn as the parameters of ``rebar`` do:
in training mode the gradient of g^2 for them, which is that of the variance, comes with the gradient of the estimate.
Of two samples or more, each has the mean of the others for its baseline.

With relaxed=False it is c(z) = r(z), and f is called at its own points only: the choice for an f that makes no sense
between them, as of a simulator. Otherwise it takes the evaluations of ``rebar``, and the network's on top; where f is
dear and nearly linear, ``rebar`` does as well.

References:
    Grathwohl et al., "Backpropagation through the Void", ICLR 2018, section 3.

Example:
    >>> import torch
    >>> from torch.distributions import Bernoulli, Independent
    >>> control = Config(dimensions=3, relaxed=False).build()
    >>> q = Independent(Bernoulli(logits=torch.zeros(3, requires_grad=True)), 1)
    >>> control(lambda b: (b.sum(-1) > 1).float(), q).backward()
    >>> q.base_dist.logits.grad.shape, control.out.weight.grad is not None
    (torch.Size([3]), True)
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from arzhang.distributions import described
from arzhang.estimators import _controlled
from arzhang.estimators._relaxed import NEEDS, check_temperature, relaxable
from arzhang.types import Cost, Integrand, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """RELAX: the relaxation of f and a network as a control variate, both learnt."""

    dimensions: int = 1
    """How many numbers an event of q has."""
    width: int = 32
    """Units of the network's hidden layer."""
    temperature: float = 0.5
    """Where the temperature (lambda) starts."""
    relaxed: bool = True
    """Whether f is evaluated between its points as well."""

    def build(self) -> "Relax":
        """Make the estimator, with a fresh network.

        Raises:
            MisuseError: The temperature is not above 0, or a size is less than 1.
        """
        return Relax(self)


@final
class Relax(nn.Module):
    """The estimator, with the network and the temperature to learn."""

    unbiased = True
    needs = NEEDS

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_temperature(config.temperature, "relax")
        if min(config.dimensions, config.width) < 1:
            raise MisuseError(
                f"A network of relax for {config.dimensions} dimensions, {config.width} units wide, cannot be made: "
                "both should be at least 1."
            )
        self.config = config
        self.hidden, self.out = nn.Linear(2 * config.dimensions, config.width), nn.Linear(config.width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        if config.relaxed:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
            self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, f: Integrand, q: Distribution, *, samples: int = 1) -> Float[Tensor, "*batch"]:
        """Return the mean of f over samples, with the gradient of RELAX.

        Raises:
            MisuseError: q is neither Bernoulli nor one-hot, its events are of another size than the network's, there
                are no samples, or f should be relaxed and does not depend differentiably on its points.
        """
        return _controlled.estimate(f, q, self._control(q), samples=samples, learning=self.training)

    def variance(self, f: Integrand, q: Distribution, *, samples: int = 1) -> Float[Tensor, ""]:
        """Return what the network and the temperature lower.

        It is the mean, over samples and batch, of the squared gradient for q's logits. Its own gradient is for the
        network and the temperature alone, the same that comes with an estimate in training mode.

        Raises:
            MisuseError: As for the estimate, or gradients are turned off.
        """
        return _controlled.variance(f, q, self._control(q), samples=samples)

    def cost(self, q: Distribution, *, samples: int = 1) -> Cost:
        """Return what an estimate costs: f at b alone, or also at s(z) and s(z'), differentiated there."""
        return _controlled.cost(self._control(q), samples)

    def _control(self, q: Distribution) -> _controlled.Control:
        relaxable(q, "relax")  # what it is comes before what size it has
        found = q.event_shape.numel()
        if found != self.config.dimensions:
            raise MisuseError(
                f"The network of relax was made for events of {self.config.dimensions} numbers, and those of "
                f"{described(q)} have {found}: build it with dimensions={found}."
            )
        return _controlled.Control(
            name="relax",
            temperature=self.log_temperature.exp() if self.config.relaxed else None,
            scale=self.scale if self.config.relaxed else 1.0,
            surrogate=lambda z, logits: self._see(z, logits, len(q.event_shape)),
            parameters=tuple(self.parameters()),
        )

    def _see(self, z: Tensor, logits: Tensor, event_dims: int) -> Tensor:
        seen = torch.stack([z, logits], z.ndim - event_dims).flatten(z.ndim - event_dims)
        answer: Tensor = self.out(torch.tanh(self.hidden(seen.to(self.out.weight.dtype))))
        return answer.squeeze(-1).to(z.dtype)
