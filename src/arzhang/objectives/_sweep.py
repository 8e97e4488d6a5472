"""What many samples of q say of each x, in memory that does not grow with their number."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.objectives._latents import Decoder, check_parts, check_samples, log_p_x, log_ratio
from arzhang.types import Estimated

CHUNK = 500
"""Latents that are decoded together: enough for fast products, of which more are no faster."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """Estimates of E log w, of E log q(z) - log p(z), and of log E w = log p(x), and how they err together.

    The first two are the evidence bound and KL(q, prior); their sum is E log p(x|z).

    Args:
        estimates: The three.
        covariance: Of the three.
        effective_samples: (sum of w)^2 / sum of w^2.
        dtype: Of what was estimated; sums are in float64.
    """

    estimates: Float[Tensor, "3 B"]
    covariance: Float[Tensor, "3 3 B"]
    effective_samples: Float[Tensor, "B"]
    dtype: torch.dtype

    def combined(self, *coefficients: float) -> Estimated:
        """Return a sum of the three, with its standard error."""
        chosen = [index for index, each in enumerate(coefficients) if each]  # the others may be infinite
        weights = self.estimates.new_tensor(coefficients)[chosen]
        variance = torch.einsum("i,ijb,j->b", weights, self.covariance[chosen][:, chosen], weights)
        value, error = weights @ self.estimates[chosen], variance.clamp_min(0).sqrt()
        error = torch.where(value.isfinite(), error, torch.inf)
        return Estimated(value=value.to(self.dtype), standard_error=error.to(self.dtype))


@torch.no_grad()
def sweep(x: Tensor, q: Distribution, prior: Distribution, decoder: Decoder, *, samples: int, chunk: int) -> Sweep:
    """Draw samples from q and decode them, so many together.

    Weights w = p(x|z) p(z) / q(z) are held relative to the largest so far. The error of log p(x) is that of a
    logarithm, by its derivative.

    Raises:
        MisuseError: The parts do not fit, or there are fewer than two samples.
    """
    check_parts(x, q, prior)
    check_samples(samples, least=2, chunk=chunk)
    largest = torch.full(q.batch_shape, torch.finfo(torch.float64).min, dtype=torch.float64, device=x.device)
    sums, scatter = largest.new_zeros(3, len(x)), largest.new_zeros(3, 3, len(x))
    done, most, dtype = 0, max(chunk // max(len(x), 1), 1), x.dtype
    while done < samples:
        count = min(most, samples - done)
        z = q.sample(torch.Size((count,)))
        log_p, ratio = log_p_x(x, z, q, decoder, look=not done), log_ratio(z, q, prior, look=True)
        dtype, ratio = log_p.dtype, ratio.double()
        log_w = log_p.double() - ratio
        before, largest = largest, torch.maximum(largest, log_w.amax(0))
        rescale = torch.ones_like(sums)
        rescale[2] = (before - largest).exp()
        sums, scatter = sums * rescale, scatter * rescale * rescale.unsqueeze(1)
        values = torch.stack([log_w, ratio, (log_w - largest).exp()])
        total = values.sum(1)
        away = values - total.unsqueeze(1) / count
        scatter += (away.unsqueeze(1) * away).sum(2)  # for so small matrices a fraction of einsum's time
        if done:
            step = total / count - sums / done
            scatter += step * step.unsqueeze(1) * (count * done / (count + done))
        sums, done = sums + total, done + count
    mean_w = sums[2] / samples
    relative = torch.ones_like(sums)
    relative[2] = mean_w.reciprocal()
    covariance = scatter * relative * relative.unsqueeze(1) / (samples * (samples - 1))
    squares = scatter[2, 2] + samples * mean_w.square()
    return Sweep(
        estimates=torch.stack([sums[0] / samples, sums[1] / samples, largest + mean_w.log()]),
        covariance=covariance,
        effective_samples=torch.where(mean_w > 0, sums[2].square() / squares, 0).to(dtype),
        dtype=dtype,
    )
