"""The gradient through a continuous relaxation of a discrete q: biased."""

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.estimators._contract import at_least_one, average, differentiable, evaluate
from arzhang.estimators._method import method
from arzhang.estimators._relaxed import NEEDS, check_temperature, relaxable
from arzhang.types import Cost, Integrand


def _cost(q: Distribution, *, samples: int = 1, temperature: float = 0.5) -> Cost:  # noqa: ARG001
    return Cost(evaluations=samples, gradients=samples)


@method(unbiased=False, needs=NEEDS, cost=_cost)
def gumbel_softmax(
    f: Integrand, q: Distribution, *, samples: int = 1, temperature: float = 0.5
) -> Float[Tensor, "*batch"]:
    """Return the mean of f over relaxed samples, with its pathwise gradient: both are biased.

        E f(b)  becomes  E f(s(z)),   s(z) = softmax(z / lambda),   z = log p + Gumbel noise

    and for a Bernoulli s is the sigmoid, of the logit and logistic noise (the Concrete distribution). The gradient is
    the pathwise one of that other mean: value and gradient are right for the relaxed sample, and approach those of the
    discrete one as the temperature lambda goes to 0, while the variance of the gradient grows as 1 / lambda.

    One evaluation, little variance, and a bias that does not average out: for models that are relaxed at test time,
    too, or as a cheap start. ``rebar`` and ``relax`` correct it.

    Args:
        f: A function of points (N, *batch, *event), to values (N, *batch), differentiable between the points of q.
        q: A Bernoulli or OneHotCategorical, or Independent of one.
        samples: How many.
        temperature: What z is divided by; with a lower one, less bias and more variance.

    Raises:
        MisuseError: q is neither, there are no samples, the temperature is not above 0, or f does not depend
            differentiably on its points.

    References:
        Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", ICLR 2017, equation 2.
        Maddison, Mnih and Teh, "The Concrete distribution", ICLR 2017, equations 10 and 14.

    Example:
        >>> import torch
        >>> from torch.distributions import OneHotCategorical
        >>> logits = torch.zeros(3, requires_grad=True)
        >>> value = gumbel_softmax(lambda b: b[..., 0].square(), OneHotCategorical(logits=logits), samples=10_000)
        >>> bool(value < 0.3)  # where the mean of b^2 is 1/3
        True
    """
    at_least_one(samples)
    check_temperature(temperature, "gumbel_softmax")
    kind = relaxable(q, "gumbel_softmax")
    points = kind.soft(kind.free(kind.logits.expand(samples, *kind.logits.shape)), temperature)
    values = evaluate(f, points, q)
    differentiable(values, points, method="gumbel_softmax")
    return average(values)
