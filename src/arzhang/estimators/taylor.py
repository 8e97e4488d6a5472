"""The score function's gradient with a Taylor series of f, whose mean is known, for a control variate."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Normal

from arzhang.distributions import described
from arzhang.estimators._contract import (
    at_least_one,
    average,
    carried,
    draw,
    evaluate,
    flat,
    innermost,
    lacking,
    reaches_more,
)
from arzhang.estimators._method import method
from arzhang.estimators._support import log_prob
from arzhang.types import Cost, Integrand, MisuseError

NEEDS = "a q of independent Normals"


def _cost(q: Distribution, *, samples: int = 1, order: int = 1) -> Cost:
    dimensions = q.event_shape.numel()
    each = 1 + 2 * dimensions if order == 2 else 1  # a product with the Hessian is two gradients
    return Cost(evaluations=samples + 1, gradients=(samples + 1) * each)


@method(unbiased=True, needs=NEEDS, cost=_cost)
def taylor(f: Integrand, q: Distribution, *, samples: int = 1, order: int = 1) -> Float[Tensor, "*batch"]:
    """Return the mean of f, with the score function's gradient of what a Taylor series h about the mean leaves of f.

        gradient = mean of (f(z) - h(z)) d log q(z) / dtheta + d E_q[h] / dtheta
        h(z) = f(mu) + f'(mu) (z - mu) [+ (z - mu)' f''(mu) (z - mu) / 2]

    Where f is nearly straight (order 1) or a parabola (order 2) at the width of q, little is left, and the gradient is
    nearly exact. A wide q, at whose ends the series is far from f, makes it worse than no series at all. Of f = (m z)^2
    and N(mu, 1) the variance is 15 m^4 by the first order and zero by the second.

    The series is of points that are evaluated with the others in one call, so that its derivatives cost as much as
    everybody's: ``samples`` + 1 gradients, and for the second order the Hessian's D columns, two gradients each.

    Args:
        f: A function of points (N, *batch, *event), to values (N, *batch), differentiable at the mean ``order`` times.
        q: A Normal, ``Independent`` or not.
        samples: How many, for each element of the batch.
        order: Of the series, 1 or 2.

    Raises:
        MisuseError: q is another, or the order is; or, looked for on a CPU, f has no finite derivative at the mean.

    References:
        Paisley, Blei and Jordan, "Variational Bayesian Inference with Stochastic Search", ICML 2012, section 4.
        Gu, Levine, Sutskever and Mnih, "MuProp", ICLR 2016, equation 6.

    Example:
        >>> mu, sigma = torch.tensor(0.7, requires_grad=True), torch.tensor(2.0, requires_grad=True)
        >>> value = taylor(lambda z: z**2, Normal(mu, sigma), order=2)  # E f = mu^2 + sigma^2
        >>> [round(each.item(), 4) for each in torch.autograd.grad(value, (mu, sigma))]
        [1.4, 4.0]
    """
    at_least_one(samples)
    if order not in {1, 2}:
        raise MisuseError(f"The order of the Taylor series is {order}, and should be 1 or 2.")
    inner = innermost(q)
    if not isinstance(inner, Normal):
        raise lacking("The Taylor estimator", NEEDS, q, "use score_function with leave_one_out")
    drawn = draw(q, samples)
    if not (torch.is_grad_enabled() and (inner.loc.requires_grad or inner.scale.requires_grad)):
        return average(evaluate(f, drawn, q))
    about = inner.loc.detach()
    points = torch.cat([about.unsqueeze(0), drawn]).requires_grad_()
    values = evaluate(f, points, q)
    value = values[1:] if reaches_more(values, points) else values[1:].detach()  # f is not differentiated for nobody

    event = len(q.event_shape)
    loc, scale, steps = (flat(each, event) for each in (inner.loc, inner.scale, drawn - about))
    slope, bend = _derivatives(values, points, event, order=order)
    if slope.is_cpu and not (slope.isfinite().all() and (bend is None or bend.isfinite().all())):
        raise MisuseError(
            f"f has no finite derivative at the mean of {described(q)}, about which its series would be: use "
            "score_function with leave_one_out."
        )
    series = values[0].detach() + (slope * steps).sum(-1)
    mean = (slope * loc).sum(-1)
    if bend is not None:
        series = series + ((steps.unsqueeze(-2) @ bend).squeeze(-2) * steps).sum(-1) / 2
        mean = mean + (bend.diagonal(dim1=-2, dim2=-1) * scale.square()).sum(-1) / 2
    left = (values[1:].detach() - series) * log_prob(q, drawn, method="The Taylor estimator")
    return carried(average(value), average(left) + mean)


def _derivatives(values: Tensor, points: Tensor, event: int, *, order: int) -> tuple[Tensor, Tensor | None]:
    """Return the gradient of the first value at the first point (*batch, D) and, by order 2, the Hessian."""
    slope = _gradient(values[0], points, event, again=order == 2)
    if order == 1:
        return slope, None
    columns = [_gradient(each, points, event) for each in slope.unbind(-1)]
    return slope.detach(), torch.stack(columns, -1)


def _gradient(values: Tensor, points: Tensor, event: int, *, again: bool = False) -> Tensor:
    if not values.requires_grad:  # f is constant there, or steps
        return flat(torch.zeros_like(points[0]), event)
    (found,) = torch.autograd.grad(
        values.sum(), points, create_graph=again, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return flat(found[0], event)
