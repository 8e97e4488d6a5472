"""Central differences: the parameters are moved a step to either side, with the same random numbers."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily, TransformedDistribution, constraints

from arzhang.distributions import described, parameters_of, with_parameters
from arzhang.estimators._contract import at_least_one, average, carried, evaluate
from arzhang.estimators._method import method
from arzhang.types import Cost, Integrand, MisuseError


def _cost(q: Distribution, *, samples: int = 1, step: float = 0.01, common: bool = True) -> Cost:  # noqa: ARG001
    parameters = parameters_of(q)
    wanted = [name for name, each in parameters.items() if each.requires_grad] or list(parameters)
    return Cost(evaluations=2 * samples * sum(len(_entries(q, name, parameters[name])) for name in wanted))


@method(unbiased=False, needs="a q to sample from, whose parameters can be moved", cost=_cost)
def finite_difference(
    f: Integrand, q: Distribution, *, samples: int = 1, step: float = 0.01, common: bool = True
) -> Float[Tensor, "*batch"]:
    """Return the mean of f, with the gradient by central differences.

        gradient = mean of (f(z+) - f(z-)) / (2 h),    z+ ~ q(theta + h), z- ~ q(theta - h)

    It asks nothing of q but samples, which makes it a check of the others rather than their rival: each of the P
    numbers that q's parameters have is moved in turn, 2 P evaluations a sample, and the gradient is off by h^2 / 6
    times the third derivative of the expectation. The value is the mean of all evaluations, off by about h^2.

    With common random numbers f differs as little as the samples do, and the variance is about that of the pathwise
    gradient, 4 m^4 for (m z)^2 and N(mu, 1). With independent draws it is m^4 (2 h^2 + 2 mu^2 + 1) / h^2: for h = 0.01
    it is ten thousand times as much. Something of this is left where z is discrete, and where torch rejects samples
    (Gamma, Beta, Dirichlet), since there the numbers of the two sides part ways.

    Args:
        f: Any function of points (N, *batch, *event), to values (N, *batch).
        q: Any distribution that can be made anew from its parameters.
        samples: How many on each side, for each element of the batch and each number moved.
        step: h, in units of the parameter.
        common: Whether both sides are drawn from the same random numbers.

    Raises:
        MisuseError: The step is not positive, is too small for the parameters' precision, or leads out of a parameter's
            domain; a covariance cannot be moved an entry at a time, nor a total_count or a temperature at all.

    References:
        Glasserman, "Monte Carlo Methods in Financial Engineering", 2003, section 7.1.

    Example:
        >>> from torch.distributions import Normal
        >>> mu = torch.tensor(0.7, requires_grad=True)
        >>> value = finite_difference(lambda z: 3 * z, Normal(mu, 1.0))
        >>> round(torch.autograd.grad(value, mu)[0].item(), 3)
        3.0
    """
    at_least_one(samples)
    if not 0 < step < math.inf:
        raise MisuseError(f"The step is {step}, and should be a number above 0.")
    parameters = parameters_of(q)
    wanted = [name for name, each in parameters.items() if each.requires_grad]
    if torch.is_grad_enabled() and (held := _held(q)):
        raise MisuseError(
            f"{held} of {described(q)} requires a gradient, and cannot be moved: detach it, or use score_function."
        )
    if not (torch.is_grad_enabled() and wanted):
        return average(evaluate(f, q.sample((samples,)), q))
    moves = [move for name in wanted for move in _moves(q, name, parameters, step)]
    device = moves[0].entry.device
    state = _state(device)
    drawn = []
    for move in moves:
        for side in (move.up, move.down):
            if common:
                _restore(state, device)
            drawn.append(side.sample((samples,)))
    values = evaluate(f, torch.cat(drawn), q)
    up, down = values.detach().reshape(len(moves), 2, samples, *q.batch_shape).mean(2).unbind(1)
    carriers = [move.entry * (up[i] - down[i]) / move.taken for i, move in enumerate(moves)]
    return carried(average(values), torch.stack(carriers).sum(0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Move:
    """One number of a parameter, for each element of the batch, and q with it a step to either side."""

    entry: Tensor
    taken: Tensor
    up: Distribution
    down: Distribution


def _moves(q: Distribution, name: str, parameters: dict[str, Tensor], step: float) -> Iterator[_Move]:
    parameter = parameters[name]
    rows = (*q.batch_shape, parameter.shape[len(q.batch_shape) :].numel())
    still = {other: each.detach() for other, each in parameters.items()}
    for index in _entries(q, name, parameter):
        ends, sides = [], []
        for sign in (1, -1):
            moved = still[name].clone().reshape(rows)
            moved[..., index] += sign * step
            ends.append(moved[..., index])
            moved = moved.reshape(parameter.shape)
            _stay(q, name, moved, step)
            sides.append(with_parameters(q, {**still, name: moved}))
        taken = ends[0] - ends[1]  # which is not 2 h to the last digit
        if (taken == 0).any():
            raise MisuseError(
                f"A step of {step} is lost in the rounding of {name}, which is {parameter.dtype}: take a larger step, "
                "or float64."
            )
        yield _Move(entry=parameter.reshape(rows)[..., index], taken=taken, up=sides[0], down=sides[1])


def _entries(q: Distribution, name: str, parameter: Tensor) -> list[int]:
    """Return which numbers of a parameter can be moved, by their place in an element of the batch."""
    shape = parameter.shape[len(q.batch_shape) :]
    places = torch.arange(shape.numel()).reshape(shape)
    if _domain(q, name) is constraints.lower_cholesky:
        rows, columns = torch.tril_indices(*shape)
        places = places[rows, columns]
    found: list[int] = places.flatten().tolist()
    return found


def _stay(q: Distribution, name: str, moved: Tensor, step: float) -> None:
    domain = _domain(q, name)
    if domain is constraints.simplex:  # which the distribution normalises
        domain = constraints.nonnegative
    if not constraints.is_dependent(domain) and not domain.check(moved).all():
        raise MisuseError(
            f"A step of {step} leads {name} of {described(q)} out of its domain, {domain}: take a smaller step, "
            "or parameters that can take any value, such as logits, or scale_tril for a covariance."
        )


def _domain(q: Distribution, name: str) -> Any:
    if isinstance(q, MixtureSameFamily):
        part, _, inner = name.partition(".")
        return _domain(q.mixture_distribution if part == "mixture" else q.component_distribution, inner)
    if isinstance(q, Independent) or type(q) is TransformedDistribution:
        return _domain(q.base_dist, name)
    return q.arg_constraints[name]


def _held(q: Distribution) -> str | None:
    """Return the name of what requires a gradient and is no parameter, such as a total_count or a temperature."""
    if isinstance(q, MixtureSameFamily):
        return _held(q.mixture_distribution) or _held(q.component_distribution)
    if isinstance(q, Independent) or type(q) is TransformedDistribution:
        return _held(q.base_dist)
    for name in inspect.signature(type(q)).parameters:
        if name == "total_count" or name not in q.arg_constraints:
            value = getattr(q, name, None)
            if isinstance(value, Tensor) and value.requires_grad:
                return name
    return None


def _state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _restore(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
