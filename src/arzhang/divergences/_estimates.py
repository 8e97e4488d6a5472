"""Divergences through an estimator: expectations in independent groups of samples, whose spread tells the error."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, constraints

from arzhang.distributions import common_batch, described
from arzhang.types import Estimated, Estimator, Integrand, MisuseError

GROUPS = 100
PILOT = 100  # samples that tell how large an exponent gets


class Sampled:
    """Two distributions of which groups of samples are drawn.

    Every group is an estimate by itself, with an estimator that may need several samples, so that the spread of the
    groups is the error of their mean whatever the estimator does.
    """

    def __init__(self, p: Distribution, q: Distribution, estimator: Estimator, samples: int) -> None:
        if samples < 4:
            raise MisuseError(f"An estimate with its error needs at least 4 samples, and {samples} were asked for.")
        if _support(p).is_discrete != _support(q).is_discrete:
            raise MisuseError(
                f"{described(p)} and {described(q)} have no divergence: one is discrete, the other has a density."
            )
        self.batch = common_batch(p, q)
        self.size = max(-(-samples // GROUPS), 2)
        self.groups = samples // self.size
        self.pilot = -(-PILOT // self.groups)
        self.p, self.q = (self._grouped(each) for each in (p, q))
        self.estimator = estimator

    def mean(self, f: Integrand, under: Distribution) -> Float[Tensor, "groups *batch"]:
        """Return the mean of f in each group of samples of one of the two."""
        return self.estimator(f, under, samples=self.size)

    def log_ratio(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return log p - log q, infinite outside of a support."""
        return log_prob(self.p, x) - log_prob(self.q, x)

    def log_mean(self, g: Integrand, under: Distribution) -> tuple[Float[Tensor, "groups *batch"], Tensor]:
        """Return the mean of exp(g - c) in each group, and c, without which it might overflow or vanish."""
        with torch.no_grad():
            largest = g(under.sample((self.pilot,))).amax((0, 1))
            c = torch.where(largest.isfinite(), largest, 0.0)
        return self.mean(lambda x: (g(x) - c).exp(), under), c

    def _grouped(self, q: Distribution) -> Distribution:
        try:
            grouped: Distribution = q.expand((self.groups, *self.batch))
        except NotImplementedError as error:
            raise MisuseError(
                f"An estimate draws groups of samples from {described(q)}, for which it needs expand(batch_shape), and "
                "that is not implemented: implement it, as the distributions of torch do."
            ) from error
        return grouped


def estimated(combine: Callable[..., Tensor], *means: Float[Tensor, "groups *batch"]) -> Estimated:
    """Return a function of means, with its error by leaving out a group after the other."""
    value = combine(*(each.mean(0) for each in means))
    with torch.no_grad():
        n = len(means[0])
        without = combine(*((each.sum(0) - each) / (n - 1) for each in means))
        error = ((n - 1) * (without - without.mean(0)).square().mean(0)).sqrt()
        known = value.isfinite() & ~error.isnan()  # which it is not where all rests on one group
        return Estimated(value=value, standard_error=torch.where(known, error, torch.inf))


def log_prob(q: Distribution, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the log-density, minus infinity outside of the support.

    Raises:
        MisuseError: Points outside move with the parameters, so that a gradient would miss what crosses the border.
    """
    inside: Tensor = _support(q).check(x)
    if bool(inside.all()):
        return q.log_prob(x)
    if x.requires_grad:
        raise MisuseError(
            f"Samples lie outside of the support of {described(q)}, and their gradient does not see its border: use "
            "the estimator score_function."
        )
    somewhere = q.sample(x.shape[: x.dim() - len(q.batch_shape) - len(q.event_shape)])
    inner = inside.reshape(*inside.shape, *(1 for _ in q.event_shape))
    return torch.where(inside, q.log_prob(torch.where(inner, x, somewhere)), -torch.inf)


def _support(q: Distribution) -> constraints.Constraint:
    anywhere = constraints.independent(constraints.real, len(q.event_shape))
    try:
        return q.support or anywhere
    except NotImplementedError:  # of a distribution that does not say
        return anywhere


def no_closed_form(name: str, p: Distribution, q: Distribution, *, remark: str = "") -> MisuseError:
    """Return the error for a pair without a closed form, with the way out."""
    way = "pathwise" if p.has_rsample and q.has_rsample else "score_function"
    return MisuseError(
        f"The {name} of {described(p)} and {described(q)} has no closed form{remark}. Ask for an estimate: give an "
        f"estimator, such as estimator={way} of arzhang.estimators."
    )
