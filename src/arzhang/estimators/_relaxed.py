"""Discrete samples as what a continuous one is rounded to, and that continuous one given the discrete."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, OneHotCategorical
from torch.distributions.utils import clamp_probs
from torch.nn import functional as F

from arzhang.distributions import described
from arzhang.types import MisuseError

NEEDS = "a q that is Bernoulli or OneHotCategorical, or Independent of one"


@final
@dataclass(frozen=True, slots=True)
class Coins:
    """Of a Bernoulli: b = [z >= 0], z = logit + a logistic number."""

    logits: Float[Tensor, "*shape"]
    event_dims: int

    @staticmethod
    def free(logits: Tensor) -> Tensor:
        """Draw z; its gradient is for the logits."""
        return logits + _logistic(logits)

    @staticmethod
    def given(logits: Tensor, hard: Tensor) -> Tensor:
        """Draw z given b, from the logistic beyond or below zero: s softplus(logit v + softplus(s logit))."""
        sign = 2 * hard - 1
        return sign * F.softplus(_logistic(logits) + F.softplus(sign * logits))

    @staticmethod
    def hard(z: Tensor) -> Tensor:
        """Round z to b."""
        return (z >= 0).to(z.dtype)

    @staticmethod
    def soft(z: Tensor, temperature: Tensor | float) -> Tensor:
        """Return what lies between the values of b, nearer to them the colder."""
        return torch.sigmoid(z / temperature)

    @staticmethod
    def mean(logits: Tensor) -> Tensor:
        """Return E b."""
        return torch.sigmoid(logits)

    @staticmethod
    def score(logits: Tensor, hard: Tensor) -> Tensor:
        """Return the gradient of log q(b) for the logits."""
        return hard - torch.sigmoid(logits)

    @staticmethod
    def along(gradient: Tensor, logits: Tensor) -> Tensor:  # noqa: ARG004 - the other kind needs them
        """Return the gradient for logits that are free."""
        return gradient


@final
@dataclass(frozen=True, slots=True)
class Choices:
    """Of a one-hot categorical: b is one where z is largest, z = log p + a Gumbel number."""

    logits: Float[Tensor, "*shape K"]
    event_dims: int

    @staticmethod
    def free(logits: Tensor) -> Tensor:
        """Draw z; its gradient is for the normalised logits."""
        return logits - _log_exponential(logits)

    @staticmethod
    def given(logits: Tensor, hard: Tensor) -> Tensor:
        """Draw z given b: the largest, then each of the others below it."""
        waiting = _log_exponential(logits)
        first = (waiting * hard).sum(-1, keepdim=True)
        return torch.where(hard > 0, -first, -torch.logaddexp(waiting - logits, first))

    @staticmethod
    def hard(z: Tensor) -> Tensor:
        """Round z to b."""
        return F.one_hot(z.argmax(-1), z.shape[-1]).to(z.dtype)

    @staticmethod
    def soft(z: Tensor, temperature: Tensor | float) -> Tensor:
        """Return what lies between the values of b, nearer to them the colder."""
        return torch.softmax(z / temperature, -1)

    @staticmethod
    def mean(logits: Tensor) -> Tensor:
        """Return E b."""
        return logits.exp()

    @staticmethod
    def score(logits: Tensor, hard: Tensor) -> Tensor:  # noqa: ARG004 - the other kind needs them
        """Return the gradient of log q(b) for the normalised logits."""
        return hard

    @staticmethod
    def along(gradient: Tensor, logits: Tensor) -> Tensor:
        """Return the gradient for logits that are free, of which these are the normalised."""
        return gradient - logits.exp() * gradient.sum(-1, keepdim=True)


def relaxable(q: Distribution, name: str) -> Coins | Choices:
    """Return how q is rounded.

    Raises:
        MisuseError: It is neither Bernoulli nor one-hot.
    """
    base = q
    while isinstance(base, Independent):
        base = base.base_dist
    if isinstance(base, Bernoulli):
        return Coins(base.logits, len(q.event_shape))
    if isinstance(base, OneHotCategorical):
        return Choices(base.logits, len(q.event_shape))
    raise MisuseError(
        f"{name} cannot take a {described(q)}: it needs a Bernoulli or a OneHotCategorical, or Independent of one. "
        "For a Categorical use OneHotCategorical; for other discrete distributions, score_function."
    )


def check_temperature(temperature: float, name: str) -> None:
    """Refuse a temperature that is not above zero."""
    if not 0 < temperature < float("inf"):
        raise MisuseError(f"{name} was given a temperature of {temperature:g}; it should be a number above 0.")


def event_sum(each: Float[Tensor, "..."], dims: int) -> Float[Tensor, "..."]:
    """Return the sum over the last dimensions, so many of them."""
    return each.flatten(each.ndim - dims).sum(-1) if dims else each


def expanded(each: Float[Tensor, "..."], dims: int) -> Float[Tensor, "..."]:
    """Return the same with so many dimensions of one more, to stand before an event."""
    return each.reshape(*each.shape, *[1] * dims)


def _logistic(like: Tensor) -> Tensor:
    return torch.logit(clamp_probs(torch.rand_like(like)))


def _log_exponential(like: Tensor) -> Tensor:
    return torch.empty_like(like).exponential_().clamp_min(torch.finfo(like.dtype).tiny).log()
