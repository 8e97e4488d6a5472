"""Gradients of estimates, a sample at a time: all at once, without a loop and without vmap.

The parameters are made n times as wide, one estimate is made for each, and one backward pass gives all n gradients.

Example:
    >>> from torch.distributions import Normal
    >>> from arzhang.estimators import pathwise
    >>> gradients = gradient_samples(pathwise, lambda z: (2 * z) ** 2, Normal(0.7, 1.0), n=100_000)
    >>> summary = summarize(gradients, pathwise.cost(Normal(0.7, 1.0)))["loc"]  # exactly 2 m^2 mu and 4 m^4
    >>> bool((summary.mean - 5.6).abs() < 5 * summary.standard_error), round(summary.variance.item(), -1)
    (True, 60.0)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import described, parameters_of, with_parameters
from arzhang.types import Cost, Estimator, Integrand, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Summary:
    """What is known of one parameter's gradient from n independent estimates.

    Args:
        mean: Of the estimates.
        standard_error: Of that mean.
        variance: Of a single estimate, without bias.
        work: The variance times the cost of an estimate, counting a gradient of f as one more evaluation: of two
            estimators, the one with less gives the better gradient in the same time.
    """

    mean: Float[Tensor, "..."]
    standard_error: Float[Tensor, "..."]
    variance: Float[Tensor, "..."]
    work: Float[Tensor, "..."]


def gradient_samples(
    estimator: Estimator,
    f: Integrand,
    q: Distribution,
    *,
    n: int,
    samples: int = 1,
    of: Iterable[str] | None = None,
) -> dict[str, Float[Tensor, "n ..."]]:
    """Return n independent estimates of d E_q[f] / dtheta, for each parameter of q by name.

    They are those of the tensors that ``parameters_of(q)`` names, whether or not these require a gradient, and need
    n times the memory of one estimate. f is given points (N, *batch, *event) as ever, n times as many.

    Args:
        estimator: One of ``arzhang.estimators``; ``taylor.given(order=2)`` sets its options.
        f: The function.
        q: The distribution.
        n: How many estimates.
        samples: How many samples are in each.
        of: Names of parameters, where not all are wanted; the others are held still, which is quicker.

    Raises:
        MisuseError: n is not positive, q has no such parameter, ``of`` names none, or the estimator gives one no
            gradient.

    Example:
        >>> from torch.distributions import Normal
        >>> from arzhang.estimators import pathwise
        >>> gradient_samples(pathwise, lambda z: 3 * z, Normal(0.0, 1.0), n=2, of=["loc"])
        {'loc': tensor([3., 3.])}
    """
    if n < 1:
        raise MisuseError(f"n is {n}, and should be at least 1: it is how many gradients are returned.")
    still = {name: each.detach() for name, each in parameters_of(q).items()}
    names = list(still) if of is None else list(of)
    if not names:
        raise MisuseError(f"No parameter of {described(q)} is asked for; it has {', '.join(still) or 'none'}.")
    for name in names:
        if name not in still:
            raise MisuseError(f"{described(q)} has no parameter {name!r}; it has {', '.join(still)}.")
    with torch.enable_grad():
        wide = {name: each.expand(n, *each.shape) for name, each in still.items()}
        leaves = {name: wide[name].requires_grad_() for name in names}
        many = with_parameters(q, {**wide, **leaves})
        value = estimator(_flattened(f, n), many, samples=samples)
        if not value.requires_grad:
            raise MisuseError(f"The estimator gives no gradient of {', '.join(names)}: f or q has no use of them.")
        found = torch.autograd.grad(value.sum(), list(leaves.values()), allow_unused=True)
    for name, gradient in zip(names, found, strict=True):
        if gradient is None:
            raise MisuseError(f"The estimator gives {name} no gradient: name the others in of.")
    return dict(zip(names, found, strict=True))


def summarize(gradients: Mapping[str, Float[Tensor, "n ..."]], cost: Cost) -> dict[str, Summary]:
    """Return mean, standard error, variance, and variance times cost of each parameter's gradients.

    Args:
        gradients: What ``gradient_samples`` returned, at least two of each.
        cost: What one of them cost: ``estimator.cost(q, samples=...)``, with a q whose parameters require a gradient
            where theirs was wanted, or none does where all were, since some estimators pay for each.

    Raises:
        MisuseError: There are fewer than two, which have no variance.

    Example:
        >>> summarize({"loc": torch.tensor([1.0, 2.0, 3.0])}, Cost(evaluations=2))["loc"].work
        tensor(2.)
    """
    return {name: _summary(name, each, cost) for name, each in gradients.items()}


def _summary(name: str, gradients: Tensor, cost: Cost) -> Summary:
    n = len(gradients)
    if n < 2:
        raise MisuseError(f"There are {n} gradients of {name}, and a variance needs at least 2.")
    variance, mean = torch.var_mean(gradients, 0)
    work = variance * (cost.evaluations + cost.gradients)
    return Summary(mean=mean, standard_error=(variance / n).sqrt(), variance=variance, work=work)


def _flattened(f: Integrand, n: int) -> Integrand:
    """Let f see the n estimates as more points."""

    def of(points: Tensor) -> Tensor:
        values: Tensor = f(points.flatten(0, 1))
        if getattr(values, "shape", ())[:1] != (points.shape[0] * n,):
            return values  # which the estimator refuses
        many: Tensor = values.unflatten(0, (-1, n))
        return many

    return of
