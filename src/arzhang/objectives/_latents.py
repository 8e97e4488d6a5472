"""A model with latents: whether its parts fit, and the densities of which every objective is made."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.distributions import described
from arzhang.types import MisuseError

Decoder = Callable[[Tensor], Distribution]
"""From latents, (N, B, *latent) or (B, *latent), to the distribution over x of each."""


def check_parts(x: Tensor, q: Distribution, prior: Distribution) -> None:
    """Refuse a q that is not one distribution for each x, and a prior that does not fit it.

    Raises:
        MisuseError: The shapes that were found are named.
    """
    if q.batch_shape != x.shape[:1]:
        raise MisuseError(
            f"q, {described(q)}, is a batch of shape {tuple(q.batch_shape)} and x has {len(x)} elements: q should be "
            "one distribution for each, whose latents are its event, such as Independent(Normal(mean, scale), 1)."
        )
    if prior.event_shape != q.event_shape:
        raise MisuseError(
            f"The prior, {described(prior)}, has events of shape {tuple(prior.event_shape)}, and q, {described(q)}, of "
            f"shape {tuple(q.event_shape)}: give a prior over the same latents (Independent turns a batch into events)."
        )
    if prior.batch_shape not in {torch.Size(()), torch.Size((1,)), q.batch_shape}:
        raise MisuseError(
            f"The prior, {described(prior)}, is a batch of shape {tuple(prior.batch_shape)}, and q of shape "
            f"{tuple(q.batch_shape)}: give one prior for all, or one for each element of q."
        )


def check_samples(samples: int, *, least: int = 1, chunk: int = 1) -> None:
    """Refuse too few samples.

    Raises:
        MisuseError: There are fewer than the least, or none fits into a chunk.
    """
    if samples < least:
        raise MisuseError(f"The number of samples is {samples}, and should be at least {least}.")
    if chunk < 1:
        raise MisuseError(f"Chunks of {chunk} latents cannot be decoded: give at least 1.")


def log_p_x(x: Tensor, z: Tensor, q: Distribution, decoder: Decoder, *, look: bool) -> Float[Tensor, "*N B"]:
    """Return log p(x | z) in nats, summed over all that x is made of.

    Args:
        x: What was seen.
        z: Latents, ``(*N, B, *latent)``.
        q: Whose latents they are.
        decoder: From them to distributions over x.
        look: Whether to look at the values of x, for which a GPU would be waited for.

    Raises:
        MisuseError: The decoder's distributions are not over such x, or not one for each z.
    """
    made: Any = decoder(z)
    if not isinstance(made, Distribution):
        raise MisuseError(
            f"The decoder returned a {type(made).__name__}, and should return a torch Distribution over x."
        )
    points = z.shape[: z.ndim - len(q.event_shape)]
    found, expected = made.batch_shape + made.event_shape, points + x.shape[1:]
    if found != expected:
        raise MisuseError(
            f"The decoder made {described(made)} of shape {tuple(found)} from latents of shape {tuple(z.shape)}, and "
            f"should make one of shape {tuple(expected)}: an x of shape {tuple(x.shape[1:])} for each."
        )
    if look:
        _check_support(made, x, "x has values that are impossible under the decoder's {}: it is {}")
    log_p: Tensor = made.log_prob(x)
    if look and bool(log_p.isnan().any()):
        raise MisuseError(
            f"The decoder's {described(made)} gave x a probability that is NaN: look at its parameters; a network that "
            "has diverged wants a lower learning rate."
        )
    return log_p.flatten(len(points)).sum(-1) if log_p.ndim > len(points) else log_p


def log_ratio(z: Tensor, q: Distribution, prior: Distribution, *, look: bool) -> Float[Tensor, "*N B"]:
    """Return log q(z) - log p(z), having looked at the values of z or not.

    Raises:
        MisuseError: Some z is impossible under the prior.
    """
    if look:
        _check_support(prior, z, "q draws latents that are impossible under the prior, {}, which is {}")
    return q.log_prob(z) - prior.log_prob(z)


def _check_support(distribution: Distribution, value: Tensor, sentence: str) -> None:
    try:
        support: Any = distribution.support
        inside = bool(support.check(value).all())
    except NotImplementedError:  # as distributions without a support do
        return
    if not inside:
        raise MisuseError(
            sentence.format(described(distribution), f"over {support}")
            + f", and there are numbers from {value.min().item():.4g} to {value.max().item():.4g}."
        )
