"""The gradient of f at discrete samples, as if there were no rounding: biased."""

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.estimators._contract import at_least_one, average, carried, differentiable, evaluate
from arzhang.estimators._method import method
from arzhang.estimators._relaxed import NEEDS, check_temperature, relaxable
from arzhang.types import Cost, Integrand


def _cost(q: Distribution, *, samples: int = 1, temperature: float | None = None) -> Cost:  # noqa: ARG001
    return Cost(evaluations=samples, gradients=samples)


@method(unbiased=False, needs=NEEDS, cost=_cost)
def straight_through(
    f: Integrand, q: Distribution, *, samples: int = 1, temperature: float | None = None
) -> Float[Tensor, "*batch"]:
    """Return the mean of f over samples, whose gradient takes the rounding for the identity: it is biased.

        value  E f(b)       gradient  df/db . d(soft)/dp

    where soft is the mean of b, p itself, or, given a temperature lambda, the relaxed sample s(z) that b is rounded
    from (straight-through Gumbel-softmax). The value is right. The gradient through p is right for an f that is linear
    in each variable, and for others is off by what a slope misses of a step; that through s(z) is off for those, too.

    f sees proper samples, as at test time, for one evaluation: the usual choice for large networks with discrete parts,
    where its bias does less harm than variance. A low temperature makes gradients rare and large.

    Args:
        f: A function of points (N, *batch, *event), to values (N, *batch), differentiable there.
        q: A Bernoulli or OneHotCategorical, or Independent of one.
        samples: How many.
        temperature: Of the relaxed sample that the gradient goes through; None for the mean of b.

    Raises:
        MisuseError: q is neither, there are no samples, the temperature is not above 0, or f does not depend
            differentiably on its points.

    References:
        Bengio, Leonard and Courville, "Estimating or propagating gradients through stochastic neurons for conditional
        computation", arXiv:1308.3432, section 4.
        Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", ICLR 2017, section 2.2.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli
        >>> probs = torch.tensor(0.3, requires_grad=True)
        >>> straight_through(lambda b: 2 * b, Bernoulli(probs=probs)).backward()
        >>> probs.grad
        tensor(2.)
    """
    at_least_one(samples)
    if temperature is not None:
        check_temperature(temperature, "straight_through")
    kind = relaxable(q, "straight_through")
    logits = kind.logits.expand(samples, *kind.logits.shape)
    z = kind.free(logits)
    hard = kind.hard(z.detach())
    soft = kind.mean(logits) if temperature is None else kind.soft(z, temperature)
    points = carried(hard, soft)
    values = evaluate(f, points, q)
    differentiable(values, points, method="straight_through")
    return average(values)
