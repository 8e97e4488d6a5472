"""The measure-valued gradient: the derivative of a density as the difference of two densities to sample from."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Exponential, Normal, Poisson

from arzhang.estimators._contract import at_least_one, average, carried, draw, evaluate, flat, innermost, lacking
from arzhang.estimators._method import method
from arzhang.types import Cost, Integrand

NEEDS = "a q of independent Normals, Poissons, Bernoullis or Exponentials"


def _cost(q: Distribution, *, samples: int = 1, coupled: bool = True) -> Cost:  # noqa: ARG001
    inner = innermost(q)
    moving = _wanted(inner) or _names(inner)
    return Cost(evaluations=samples * (1 + 2 * len(moving) * q.event_shape.numel()))


@method(unbiased=True, needs=NEEDS, cost=_cost)
def measure_valued(f: Integrand, q: Distribution, *, samples: int = 1, coupled: bool = True) -> Float[Tensor, "*batch"]:
    """Return the mean of f, with the gradient by weak derivatives, which evaluates f and never differentiates it.

        dq/dtheta = c (q+ - q-),    gradient = mean of c (f(z+) - f(z-))

        Normal, loc        c = 1 / (s sqrt(2 pi))    mu + s w against mu - s w', w and w' of Rayleigh's distribution
        Normal, scale      c = 1 / s                 mu + s y, y of the double-sided Maxwell's, against mu + s e, normal
        Poisson, rate      c = 1                     k + 1 against k
        Bernoulli, p       c = 1                     1 against 0
        Exponential, rate  c = 1 / rate              Exponential against Gamma(2, rate)

    A q of D dimensions moves them one by one, the others of the sample standing still: 2 D S points for S samples and
    each parameter, evaluated in one call together with the S samples themselves, whose mean is the value. It suits
    functions that step and few dimensions: its variance knows f's differences, not its size.

    Coupling takes the two points from the same numbers (w' = w; e = U y, U uniform). It helps where f is mostly even
    about mu, and hurts where f is mostly odd: of N(mu, 1) and f = m z it doubles the variance, to m^2 (4 - pi) / pi;
    of (m z)^2 it lowers it, to 4 m^4 mu^2 (4 - pi) / pi, while mu^2 < 2.33. That is less than the pathwise 4 m^4 while
    |mu| < 1.913.

    Args:
        f: Any function of points (N, *batch, *event), to values (N, *batch).
        q: Independent Normals, Poissons, Bernoullis or Exponentials, as a batch or as ``Independent``.
        samples: How many, for each element of the batch.
        coupled: Whether the two points of a pair come from the same numbers.

    Raises:
        MisuseError: q is another.

    References:
        Mohamed, Rosca, Figurnov and Mnih, "Monte Carlo Gradient Estimation in Machine Learning", JMLR 21(132), 2020,
        section 6 and table 1.

    Example:
        >>> rate = torch.tensor(3.0, requires_grad=True)
        >>> value = measure_valued(lambda k: 2 * k, Poisson(rate))
        >>> torch.autograd.grad(value, rate)
        (tensor(2.),)
    """
    at_least_one(samples)
    inner = innermost(q)
    if not _names(inner):
        raise lacking("The measure-valued estimator", NEEDS, q, "use pathwise or score_function")
    drawn = draw(q, samples)
    moving = _wanted(inner)
    if not (torch.is_grad_enabled() and moving):
        return average(evaluate(f, drawn, q))

    event = len(q.event_shape)
    standing = flat(drawn, event)
    dimensions = standing.shape[-1]
    moves = torch.eye(dimensions, dtype=torch.bool, device=drawn.device)
    moves = moves.reshape(dimensions, *[1] * (standing.ndim - 1), dimensions)
    weak = [WEAK[type(inner), name](inner, drawn, coupled) for name in moving]
    ends = [torch.where(moves, flat(end, event), standing) for _, *pair in weak for end in pair]
    points = torch.cat([drawn, *(end.reshape(dimensions * samples, *drawn.shape[1:]) for end in ends)])
    values = evaluate(f, points, q)

    value, each = average(values[:samples]), values[samples:].detach()
    plus, minus = each.reshape(len(moving), 2, dimensions, samples, *q.batch_shape).unbind(1)
    slopes = (plus - minus).mean(2).movedim(1, -1)  # parameters, batch, dimensions
    carriers = [
        flat(constant * getattr(inner, name), event) * slope
        for name, (constant, *_), slope in zip(moving, weak, slopes, strict=True)
    ]
    return carried(value, torch.stack(carriers).sum((0, -1)))


def _normal_loc(q: Normal, drawn: Tensor, coupled: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: FBT001
    loc, scale = q.loc.detach(), q.scale.detach()
    up = _rayleigh(drawn)
    down = up if coupled else _rayleigh(drawn)
    return 1 / (scale * math.sqrt(2 * math.pi)), loc + scale * up, loc - scale * down


def _normal_scale(q: Normal, drawn: Tensor, coupled: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: FBT001
    loc, scale = q.loc.detach(), q.scale.detach()
    # The length of a normal in three dimensions, with a sign: a second normal's.
    wide = torch.hypot(torch.randn_like(drawn), _rayleigh(drawn)) * torch.randn_like(drawn).sign()
    narrow = torch.rand_like(drawn) * wide if coupled else torch.randn_like(drawn)
    return 1 / scale, loc + scale * wide, loc + scale * narrow


def _poisson_rate(q: Poisson, drawn: Tensor, coupled: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: FBT001
    return torch.ones_like(q.rate.detach()), (drawn if coupled else _again(q, drawn)) + 1, drawn


def _bernoulli_probs(q: Bernoulli, drawn: Tensor, coupled: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001, FBT001
    return torch.ones_like(q.probs.detach()), torch.ones_like(drawn), torch.zeros_like(drawn)


def _exponential_rate(q: Exponential, drawn: Tensor, coupled: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: FBT001
    once = drawn if coupled else _again(q, drawn)
    return 1 / q.rate.detach(), drawn, once + _again(q, drawn)


def _again(q: Distribution, drawn: Tensor) -> Tensor:
    return q.sample(drawn.shape[:1])


def _rayleigh(like: Tensor) -> Tensor:
    return torch.empty_like(like).exponential_().mul_(2).sqrt_()


WEAK: dict[tuple[type[Distribution], str], Callable[..., tuple[Tensor, Tensor, Tensor]]] = {
    (Normal, "loc"): _normal_loc,
    (Normal, "scale"): _normal_scale,
    (Poisson, "rate"): _poisson_rate,
    (Bernoulli, "probs"): _bernoulli_probs,
    (Exponential, "rate"): _exponential_rate,
}


def _names(inner: Distribution) -> list[str]:
    return [name for kind, name in WEAK if kind is type(inner)]


def _wanted(inner: Distribution) -> list[str]:
    return [name for name in _names(inner) if getattr(inner, name).requires_grad]
