"""The score function less a control variate that sees through the rounding, and what the variate learns from.

With b the rounded z, and z' drawn given b, the gradient of one sample is (Grathwohl et al. 2018, equation 8)

    g = (f(b) - c(z')) grad log q(b) + grad c(z) - grad c(z')

unbiased for every c that is continuous. Of two samples or more, each weight (the brackets) is less the mean of the
others'. The mean of g does not depend on c, so that the gradient of |g|^2 for what c is made of is that of the
variance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.estimators._contract import at_least_one, average, carried, differentiable, evaluate, reaches_more, taught
from arzhang.estimators._relaxed import Choices, Coins, event_sum, expanded, relaxable
from arzhang.types import Cost, Integrand, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """The control variate c(z) = scale f(soft(z)) + surrogate(z, logits).

    Args:
        name: Of the estimator.
        temperature: Of the softening; None leaves f out.
        scale: Of f.
        surrogate: None leaves it out.
        parameters: What it learns.
    """

    name: str
    temperature: Float[Tensor, ""] | None
    scale: Float[Tensor, ""] | float
    surrogate: Callable[[Tensor, Tensor], Tensor] | None
    parameters: Sequence[Tensor]


def cost(control: Control, samples: int) -> Cost:
    """Return what an estimate costs."""
    if control.temperature is None:
        return Cost(evaluations=samples)
    return Cost(evaluations=3 * samples, gradients=2 * samples)


def estimate(f: Integrand, q: Distribution, control: Control, *, samples: int, learning: bool) -> Tensor:
    """Return the estimate; where it learns, the lesson comes with its gradient."""
    at_least_one(samples)
    kind = relaxable(q, control.name)
    if not (torch.is_grad_enabled() and kind.logits.requires_grad):
        wide = kind.logits.detach().expand(samples, *kind.logits.shape)
        return average(evaluate(f, kind.hard(kind.free(wide)), q))
    at_hard, gradient = _gradients(f, q, kind, control, samples=samples, learning=learning)
    carrier = event_sum(gradient.detach() * kind.logits, kind.event_dims)
    value = carried(average(at_hard), average(carrier))
    return taught(value, _square(gradient, kind, control)) if learning else value


def variance(f: Integrand, q: Distribution, control: Control, *, samples: int) -> Tensor:
    """Return the mean square of the gradient for the logits, whose own gradient is for the control's parameters."""
    at_least_one(samples)
    kind = relaxable(q, control.name)
    if not torch.is_grad_enabled():
        raise MisuseError(
            f"The control variate of {control.name} learns from gradients, and torch.no_grad turns them off: ask for "
            "the variance outside of it."
        )
    _, gradient = _gradients(f, q, kind, control, samples=samples, learning=True)
    return _square(gradient, kind, control)


def _square(gradient: Tensor, kind: Coins | Choices, control: Control) -> Tensor:
    free = kind.along(gradient, kind.logits.detach())
    square = event_sum(average(free).square(), kind.event_dims)
    mean = square.sum() / max(1, square.numel())
    learnt = [each for each in control.parameters if each.requires_grad]
    found = torch.autograd.grad(mean, learnt, retain_graph=True, allow_unused=True) if learnt else ()
    carrier = sum(
        ((each * slope).sum() for each, slope in zip(learnt, found, strict=True) if slope is not None),
        0 * mean.detach(),
    )
    return carried(mean.detach(), carrier)


def _gradients(
    f: Integrand, q: Distribution, kind: Coins | Choices, control: Control, *, samples: int, learning: bool
) -> tuple[Tensor, Tensor]:
    """Return f at the samples, and for each the gradient for the logits."""
    logits = kind.logits.detach().expand(samples, *kind.logits.shape).clone().requires_grad_()
    fixed = logits.detach()
    free = kind.free(logits)
    hard = kind.hard(free.detach())
    z = torch.cat([free, kind.given(logits, hard)])
    below = z.new_zeros(samples, *q.batch_shape)
    direct = torch.zeros_like(fixed)
    if control.temperature is None:
        at_hard = evaluate(f, hard, q)
    else:
        soft = kind.soft(z, control.temperature)
        points = torch.cat([hard, soft])
        values = evaluate(f, points, q)
        at_hard, at_soft = values[:samples], values[samples:]
        if not reaches_more(values, points):
            at_hard = at_hard.detach()  # so that f is not differentiated once more, for nobody
        differentiable(at_soft, soft, method=control.name)
        (slope,) = torch.autograd.grad(_difference(at_soft), soft, retain_graph=True, create_graph=learning)
        (through,) = torch.autograd.grad(soft, logits, slope, retain_graph=True, create_graph=learning)
        below = control.scale * at_soft[samples:]
        direct = control.scale * through
    if control.surrogate is not None:
        there = control.surrogate(z, torch.cat([fixed, fixed]))
        (through,) = torch.autograd.grad(_difference(there), logits, retain_graph=True, create_graph=learning)
        below = below + there[samples:]
        direct = direct + through
    weight = at_hard.detach() - below
    if samples > 1:
        weight = (weight - weight.mean(0)) * (samples / (samples - 1))
    gradient = expanded(weight, kind.event_dims) * kind.score(fixed, hard) + direct
    return at_hard, gradient if learning else gradient.detach()


def _difference(values: Tensor) -> Tensor:
    """Return the sum at z less that at z'."""
    free, given = values.chunk(2)
    return (free - given).sum()
