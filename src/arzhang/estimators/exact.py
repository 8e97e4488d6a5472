"""The exact expectation of a discrete q, by enumeration of all there is."""

from typing import TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributions import Bernoulli, Binomial, Categorical, Distribution, OneHotCategorical

from arzhang.distributions import described
from arzhang.estimators._contract import at_least_one, evaluate, innermost, lacking
from arzhang.estimators._method import method
from arzhang.types import Cost, Integrand, MisuseError

NEEDS = "a q with finitely many values: Bernoulli, Categorical, OneHotCategorical or Binomial"
Enumerable: TypeAlias = Bernoulli | Categorical | OneHotCategorical | Binomial
MOST = 2**24  # values that are enumerated, for each element of the batch


def _cost(q: Distribution, *, samples: int = 1) -> Cost:  # noqa: ARG001
    return Cost(evaluations=_count(q))


@method(unbiased=True, needs=NEEDS, cost=_cost)
def exact(f: Integrand, q: Distribution, *, samples: int = 1) -> Float[Tensor, "*batch"]:
    """Return the expectation of f itself, and with it the exact gradient.

        E f = sum over z of q(z) f(z)

    What every other estimator can be held against, and the best there is while K^D evaluations, of D independent
    variables with K values each, are few. A Categorical normalises its ``probs``: the gradient is for those given,
    through that.

    Args:
        f: Any function of points (N, *batch, *event), to values (N, *batch).
        q: A Bernoulli, Categorical, OneHotCategorical or Binomial, ``Independent`` or not.
        samples: Nothing is drawn, and all there is is evaluated, whatever this says.

    Raises:
        MisuseError: q has infinitely many values or too many, or Binomials of different counts.

    Example:
        >>> p = torch.tensor(0.3, requires_grad=True)
        >>> value = exact(lambda z: 5 * z, Bernoulli(p))
        >>> round(value.item(), 6), torch.autograd.grad(value, p)
        (1.5, (tensor(5.),))
    """
    at_least_one(samples)
    inner = _enumerable(q)
    event, batch = q.event_shape, q.batch_shape
    each, count = inner.batch_shape[len(batch) :].numel(), _count(q)
    if count > MOST:
        raise MisuseError(
            f"{described(q)} has {_values(inner)}^{each} values, too many to enumerate: use score_function with "
            "leave_one_out, or for Bernoulli disarm."
        )
    support = _support(inner)  # values, *inner event
    variables = len(inner.batch_shape) - len(batch)  # dimensions of them
    rows = torch.cartesian_prod(*[torch.arange(len(support), device=support.device)] * each).reshape(count, each)
    standing = [1] * len(batch)
    of_all = support[rows].reshape(count, *standing, *event)
    points = of_all.expand(count, *batch, *event)
    probability = _probability(inner, points)  # before f, which may write into its points
    if variables:
        probability = probability.flatten(-variables).prod(-1)
    values = evaluate(f, points, q)
    impossible = (probability == 0) & values.isinf()  # f may be a log-probability
    return (probability * values.masked_fill(impossible, 0.0)).sum(0)


def _enumerable(q: Distribution) -> Enumerable:
    inner = innermost(q)
    if not isinstance(inner, Enumerable):
        raise lacking("Enumeration", NEEDS, q, "use score_function")
    return inner


def _count(q: Distribution) -> int:
    inner = _enumerable(q)
    variables = inner.batch_shape[len(q.batch_shape) :].numel()
    return int(_values(inner) ** variables)


def _values(inner: Enumerable) -> int:
    """Return how many values one variable has."""
    if isinstance(inner, Categorical | OneHotCategorical):
        return int(inner.param_shape[-1])
    if isinstance(inner, Binomial):
        total = inner.total_count.unique()
        if len(total) > 1:
            raise MisuseError(f"Binomials of {total.min():g} to {total.max():g} trials cannot be enumerated together.")
        return int(total.max()) + 1 if len(total) else 1
    return 2


def _support(inner: Enumerable) -> Shaped[Tensor, "K ..."]:
    size = _values(inner)
    probs: Tensor = inner.probs
    if isinstance(inner, OneHotCategorical):
        return torch.eye(size, dtype=probs.dtype, device=probs.device)
    dtype = torch.int64 if isinstance(inner, Categorical) else probs.dtype
    return torch.arange(size, dtype=dtype, device=probs.device)


def _probability(inner: Enumerable, points: Tensor) -> Tensor:
    """Return the probability of points, with a gradient that holds where it is zero or one, too."""
    probs: Tensor = inner.probs
    if isinstance(inner, Bernoulli):
        return torch.where(points == 1, probs, 1 - probs)
    if isinstance(inner, Categorical):
        return probs.expand(*points.shape, -1).gather(-1, points.unsqueeze(-1)).squeeze(-1)
    if isinstance(inner, OneHotCategorical):
        return (probs * points).sum(-1)
    k, rest, wide = points.double(), (inner.total_count - points).double(), probs.double()
    ways = (torch.lgamma(k + rest + 1) - torch.lgamma(k + 1) - torch.lgamma(rest + 1)).exp()
    return (ways * wide**k * (1 - wide) ** rest).to(probs.dtype)
