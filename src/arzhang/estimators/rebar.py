"""The score function with f's own continuous relaxation for a control variate: unbiased, for discrete q.

A Bernoulli or one-hot b is what a continuous z is rounded to; z' is z drawn once more, given b. The gradient of one
sample is

    g = (f(b) - eta f(s(z'))) grad log q(b) + eta grad f(s(z)) - eta grad f(s(z'))

with s the sigmoid or softmax at temperature lambda, which rounds as lambda goes to 0. The last two terms return what
the first takes away, so that g is unbiased for every eta and lambda. These are learnt: the mean of g does not depend on
them, so that the gradient of g^2 is that of the variance. In training mode it comes with the gradient of the estimate,
whatever the sign and weight of that, and whichever optimiser holds the two parameters moves them; in evaluation mode
they are left alone, which saves differentiating f twice. A scale of 0 is the plain score function, and learns on.

Of two samples or more, each takes the mean of f(b) - eta f(s(z')) over the others for its baseline. A single sample has
none, and a scale that has to stay near 1, if f is far from zero on average: give it two where you can.

f has to make sense, and be differentiable, between its points: where it does not, take ``disarm``, a score function
with a leave-one-out baseline, or ``relax`` with relaxed=False.

References:
    Tucker et al., "REBAR: Low-variance, unbiased gradient estimates for discrete latent variable models", NeurIPS 2017,
    sections 3.1 to 3.3.

Example:
    >>> import torch
    >>> from torch.distributions import Bernoulli, Independent
    >>> control = Config().build()
    >>> q = Independent(Bernoulli(logits=torch.zeros(3, requires_grad=True)), 1)
    >>> control(lambda b: (b.sum(-1) - 0.4).square(), q).backward()
    >>> q.base_dist.logits.grad.shape, control.log_temperature.grad is not None
    (torch.Size([3]), True)
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from arzhang.estimators import _controlled
from arzhang.estimators._relaxed import NEEDS, check_temperature
from arzhang.types import Cost, Integrand, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """REBAR: the relaxation of f as a control variate, whose scale and temperature are learnt."""

    temperature: float = 0.5
    """Where the temperature (lambda) starts."""
    scale: float = 1.0
    """Where the scale (eta) starts; 0 is the plain score function."""

    def build(self) -> "Rebar":
        """Make the estimator.

        Raises:
            MisuseError: The temperature is not above 0, or the scale not finite.
        """
        return Rebar(self)


@final
class Rebar(nn.Module):
    """The estimator, with the scale and the temperature to learn."""

    unbiased = True
    needs = NEEDS

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_temperature(config.temperature, "rebar")
        if not math.isfinite(config.scale):
            raise MisuseError(f"rebar was given a scale of {config.scale:g}; it should be a finite number.")
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        self.scale = nn.Parameter(torch.tensor(float(config.scale)))

    def forward(self, f: Integrand, q: Distribution, *, samples: int = 1) -> Float[Tensor, "*batch"]:
        """Return the mean of f over samples, with the gradient of REBAR.

        Raises:
            MisuseError: q is neither Bernoulli nor one-hot, there are no samples, or f does not depend differentiably
                on its points.
        """
        return _controlled.estimate(f, q, self._control(), samples=samples, learning=self.training)

    def variance(self, f: Integrand, q: Distribution, *, samples: int = 1) -> Float[Tensor, ""]:
        """Return what the scale and the temperature lower.

        It is the mean, over samples and batch, of the squared gradient for q's logits. Its own gradient is for the
        scale and the temperature alone, the same that comes with an estimate in training mode.

        Raises:
            MisuseError: As for the estimate, or gradients are turned off.
        """
        return _controlled.variance(f, q, self._control(), samples=samples)

    def cost(self, q: Distribution, *, samples: int = 1) -> Cost:  # noqa: ARG002 - as the contract says
        """Return what an estimate costs: f at b, s(z) and s(z'), differentiated at the latter two."""
        return _controlled.cost(self._control(), samples)

    def _control(self) -> _controlled.Control:
        return _controlled.Control(
            name="rebar",
            temperature=self.log_temperature.exp(),
            scale=self.scale,
            surrogate=None,
            parameters=tuple(self.parameters()),
        )
