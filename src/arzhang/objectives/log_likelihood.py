"""The log-likelihood log p(x), by importance sampling."""

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.objectives._latents import Decoder
from arzhang.objectives._sweep import CHUNK, sweep
from arzhang.types import Estimated


def log_likelihood(
    x: Float[Tensor, "B *event"],
    q: Distribution,
    prior: Distribution,
    decoder: Decoder,
    *,
    samples: int = 5000,
    chunk: int = CHUNK,
) -> Estimated:
    """Return log p(x) for each x, in nats, without a gradient.

        log p(x) = log E_q[w],    w = p(x|z) p(z) / q(z),    estimated by the logarithm of the mean of w

    It is low by half of its squared standard error, on average: choose so many samples that this is nothing, or a q
    nearer to the posterior. Memory is that of the chunk (or of one sample of each x), whatever their number.

    Args:
        x: What was seen.
        q: The encoder's distribution over latents, one for each x.
        prior: Of the latents: one for all, or one for each x.
        decoder: From latents, ``(N, B, *latent)``, to a distribution over x.
        samples: For each x, two at least; published figures have 5000.
        chunk: Latents that are decoded together.

    Raises:
        MisuseError: The parts do not fit one another, there are fewer than two samples, or x is impossible.

    References:
        Rezende, Mohamed and Wierstra, ICML 2014, appendix E; Burda et al., ICLR 2016, equation 8.

    Example:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> def normal(mean, scale):
        ...     return Independent(Normal(mean, scale), 1)
        >>> x, one = torch.ones(1, 1), torch.ones(1)
        >>> posterior = normal(0.4 * x, 0.2**0.5 * one)
        >>> found = log_likelihood(x, posterior, normal(0 * one, one), lambda z: normal(2 * z, one), samples=2)
        >>> found.value, found.standard_error < 1e-6  # from the exact posterior any sample says all
        (tensor([-1.8237]), tensor([True]))
    """
    return sweep(x, q, prior, decoder, samples=samples, chunk=chunk).combined(0, 0, 1)
