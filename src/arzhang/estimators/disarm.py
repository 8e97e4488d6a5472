"""The score function's gradient from a pair of antithetic Bernoulli samples."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import described
from arzhang.estimators._contract import at_least_one, average, carried, evaluate
from arzhang.estimators._method import method
from arzhang.estimators._relaxed import Coins, event_sum, expanded, relaxable
from arzhang.types import Cost, Integrand, MisuseError


def _cost(q: Distribution, *, samples: int = 1) -> Cost:  # noqa: ARG001
    return Cost(evaluations=2 * samples)


@method(unbiased=True, needs="a q that is Bernoulli, or Independent of one", cost=_cost)
def disarm(f: Integrand, q: Distribution, *, samples: int = 1) -> Float[Tensor, "*batch"]:
    """Return the mean of f over pairs of points, with the gradient of DisARM.

    For u uniform, b = [1 - u < p] and b' = [u < p]; the gradient of one pair, for the logits, is

        g_i = 1/2 (f(b) - f(b')) (-1)^{b'_i} [b_i /= b'_i] max(p_i, 1 - p_i)

    All elements of an event share the two evaluations of f. It is ARM with what u says beyond b and b' integrated out,
    and so never has more variance; found twice, also as U2G.

    f is called at its own points only, and nothing is to be tuned: what to begin with for Bernoulli variables. It does
    best where f is nearly odd about the mean of b, as what is nearly linear; with many samples leave-one-out gains on
    it, since pairs do not learn from one another.

    Args:
        f: Any function of points (N, *batch, *event), to values (N, *batch).
        q: A Bernoulli, or Independent of one.
        samples: How many pairs, for each element of the batch.

    Raises:
        MisuseError: q is not Bernoulli, or there are no samples.

    References:
        Dong, Mnih and Tucker, "DisARM: An antithetic gradient estimator for binary latent variables", NeurIPS 2020,
        section 3.
        Yin, Ho, Yan, Qian and Zhou, "Probabilistic best subset selection via gradient-based optimization",
        arXiv:2006.06448 (U2G).

    Example:
        >>> from torch.distributions import Bernoulli, Independent
        >>> logits = torch.zeros(3, requires_grad=True)
        >>> value = disarm(lambda b: b.sum(-1), Independent(Bernoulli(logits=logits), 1), samples=50_000)
        >>> bool((torch.autograd.grad(value, logits)[0] - 1 / 4).abs().max() < 0.01)
        True
    """
    at_least_one(samples)
    kind = relaxable(q, "disarm")
    if not isinstance(kind, Coins):
        raise MisuseError(
            f"disarm cannot take a {described(q)}: it needs a Bernoulli, or Independent of one. "
            "For OneHotCategorical, rebar, relax and score_function are unbiased."
        )
    with torch.no_grad():
        p = kind.mean(kind.logits)
        u = torch.rand(samples, *p.shape, dtype=p.dtype, device=p.device)
        first, second = (1 - u < p).to(p.dtype), (u < p).to(p.dtype)
    values = evaluate(f, torch.cat([first, second]), q)
    if not (torch.is_grad_enabled() and kind.logits.requires_grad):
        return average(values)
    at_first, at_second = values.detach().chunk(2)
    half = expanded((at_first - at_second) / 2, kind.event_dims)
    gradient = half * (first - second) * torch.maximum(p, 1 - p)
    return carried(average(values), average(event_sum(gradient * kind.logits, kind.event_dims)))
