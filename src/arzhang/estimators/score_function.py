"""The score function's gradient, also known as REINFORCE: f is only evaluated."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.estimators._contract import at_least_one, average, carried, draw, evaluate, taught
from arzhang.estimators._method import method
from arzhang.estimators._support import log_prob
from arzhang.types import Baseline, Cost, Drawn, Integrand, MisuseError

NEEDS = "a q with log_prob, whose support does not move"


def _cost(q: Distribution, *, samples: int = 1, baseline: Tensor | Baseline | None = None) -> Cost:  # noqa: ARG001
    return Cost(evaluations=samples + _apart(baseline))


@method(unbiased=True, needs=NEEDS, cost=_cost)
def score_function(
    f: Integrand, q: Distribution, *, samples: int = 1, baseline: Tensor | Baseline | None = None
) -> Float[Tensor, "*batch"]:
    """Return the mean of f, with the gradient of the log-probability weighed by f.

        gradient = mean of (f(z) - b) d log q(z) / dtheta

    It asks nothing of f, which may step or leave torch, and of q no more than a density; its variance grows with the
    size of f, which is what the baseline b takes off. Of f = m z, N(mu, 1) and a single sample it is
    m^2 (mu^2 + 2) without a baseline and 2 m^2 with the best constant.

    The gradient is for the tensors that q was made from: a Categorical normalises its ``probs``, and the gradient goes
    through that.

    Args:
        f: Any function of points (N, *batch, *event), to values (N, *batch).
        q: Any distribution with log_prob.
        samples: How many, for each element of the batch.
        baseline: None; a tensor that fits the values (N, *batch), no gradient going into it; or one of
            ``arzhang.baselines``, built.

    Raises:
        MisuseError: q has no log_prob; its support moves with its parameters (as Uniform's), so that the gradient would
            miss what happens at the border; or the baseline is none or does not fit.

    References:
        Mohamed, Rosca, Figurnov and Mnih, "Monte Carlo Gradient Estimation in Machine Learning", JMLR 21(132), 2020,
        equations 13 and 14.

    Example:
        >>> p = torch.tensor(0.3, requires_grad=True)
        >>> value = score_function(lambda z: 5.0 * z, torch.distributions.Bernoulli(p), samples=100_000)
        >>> bool((torch.autograd.grad(value, p)[0] - 5).abs() < 0.2)
        True
    """
    at_least_one(samples)
    if not (baseline is None or isinstance(baseline, Tensor) or callable(baseline)):
        raise MisuseError(
            f"The baseline is a {type(baseline).__name__}, and should be a tensor, leave_one_out, or what "
            "Config().build() makes of another of arzhang.baselines."
        )
    apart = _apart(baseline)
    points = draw(q, samples + apart)
    log_density = log_prob(q, points[:samples], method="The score function")
    if not log_density.requires_grad:
        return average(evaluate(f, points[:samples], q))
    if isinstance(baseline, Tensor):
        _fits(baseline, log_density.shape)
    elif check := getattr(baseline, "check", None):
        check(q, samples)
    values = evaluate(f, points, q)
    known = values.detach()
    value = average(values[:samples])
    weights = known[:samples]
    if baseline is None:
        pass
    elif isinstance(baseline, Tensor):
        weights = weights - baseline.detach()
    else:
        drawn = Drawn(q=q, values=weights, apart=points[samples:], apart_values=known[samples:])
        subtracted = baseline(drawn)
        _fits(subtracted, weights.shape)
        weights = weights - subtracted.detach()
        if subtracted.requires_grad:
            missed = drawn.values - subtracted
            value = taught(value, torch.where(missed.isfinite(), missed, 0.0).square().mean())
    return carried(value, average(weights * log_density))


def _apart(baseline: Tensor | Baseline | None) -> int:
    return 0 if isinstance(baseline, Tensor) else int(getattr(baseline, "apart", 0))


def _fits(baseline: Tensor, shape: torch.Size) -> None:
    try:
        fits = torch.broadcast_shapes(baseline.shape, shape) == shape
    except RuntimeError:
        fits = False
    if not fits:
        raise MisuseError(
            f"The baseline has the shape {tuple(baseline.shape)}, and should fit the values, {tuple(shape)}: a number, "
            "one for each element of the batch, or one for each sample besides."
        )
