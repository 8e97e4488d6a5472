"""The variational objective: likelihood, divergence, weight and estimator, parts that swap by a word."""

import inspect
import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from arzhang.divergences import kl
from arzhang.estimators import pathwise
from arzhang.objectives._latents import Decoder, check_parts, check_samples, log_p_x, log_ratio
from arzhang.objectives._report import Report
from arzhang.objectives._sweep import CHUNK, sweep
from arzhang.types import Estimated, Estimator, MisuseError

Divergence = Callable[..., Tensor | Estimated]
"""What everything in ``arzhang.divergences`` is: ``(p, q)``, most with ``estimator`` and ``samples``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """The parts of a variational objective for each x, in nats.

    Args:
        reconstruction: E_q log p(x|z).
        divergence: Of q from the prior.
        weight: Of the divergence.
    """

    reconstruction: Float[Tensor, "B"]
    divergence: Float[Tensor, "B"]
    weight: float

    @property
    def objective(self) -> Float[Tensor, "B"]:
        """What is maximised."""
        return self.reconstruction - self.weight * self.divergence if self.weight else self.reconstruction


@dataclass(frozen=True, slots=True)
class Variational:
    """The variational objective of a model with latents, in nats, to be maximised.

        L(x) = E_q(z|x)[log p(x|z)] - weight * D(q(z|x), p(z))

    With KL and a weight of 1 it is the evidence bound, which log p(x) is never below. With another divergence or a
    smaller weight it is no bound: Cauchy-Schwarz has a closed form where the prior is a mixture, and near the prior it
    is about half of KL or less, so that a weight of 2 is comparable. Log-probabilities are summed over all that x is
    made of, and nothing is averaged: ``-objective(...).mean()`` is the loss of a batch.

    Args:
        divergence: Of q from the prior: in closed form where there is one, else through the estimator.
        weight: Of the divergence (beta or lambda).
        estimator: Of the gradient of what is sampled.
        samples: Of z for each x; so many again for a divergence without a closed form, which but for KL needs 4.

    Raises:
        MisuseError: The weight is negative or not finite, or there is no sample.

    References:
        Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014, equations 3 and 7.
        Higgins et al., "beta-VAE", ICLR 2017, equation 4.
        Tran, Pantic and Deisenroth, "Cauchy-Schwarz regularized autoencoder", JMLR 23(115), 2022, equation 9.

    Example:
        >>> from torch.distributions import Independent, Normal
        >>> def normal(mean, scale):
        ...     return Independent(Normal(mean, scale), 1)
        >>> x, one = torch.ones(4, 3), torch.ones(2)
        >>> q, prior = normal(torch.zeros(4, 2), one), normal(0 * one, one)
        >>> elbo = Variational()
        >>> elbo(x, q, prior, lambda z: normal(0 * z.sum(-1, keepdim=True) + x, 1.0)).shape
        torch.Size([4])
    """

    divergence: Divergence = kl
    _: KW_ONLY
    weight: float = 1.0
    estimator: Estimator = pathwise
    samples: int = 1

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if not 0 <= self.weight < math.inf:
            raise MisuseError(f"The divergence has a weight of {self.weight}: give a finite one, 0 or more.")

    def __call__(
        self, x: Float[Tensor, "B *event"], q: Distribution, prior: Distribution, decoder: Decoder
    ) -> Float[Tensor, "B"]:
        """Return the objective for each x; see ``terms``."""
        return self.terms(x, q, prior, decoder).objective

    def terms(self, x: Float[Tensor, "B *event"], q: Distribution, prior: Distribution, decoder: Decoder) -> Terms:
        """Return the parts of the objective for each x.

        Args:
            x: What was seen.
            q: The encoder's distribution over latents, one for each x.
            prior: Of the latents: one for all, or one for each x.
            decoder: From latents, ``(N, B, *latent)``, to a distribution over x.

        Raises:
            MisuseError: The parts do not fit one another, x is impossible, or the estimator cannot take this q.
        """
        check_parts(x, q, prior)
        look = x.is_cpu
        reconstruction = self.estimator(lambda z: log_p_x(x, z, q, decoder, look=look), q, samples=self.samples)
        if self.divergence is not kl:
            divergence = self._measured(q, prior, samples=self.samples).value
        elif (closed := _closed_kl(q, prior)) is not None:
            divergence = closed.expand(q.batch_shape)
        else:  # a mean, for which one sample is enough
            divergence = self.estimator(lambda z: log_ratio(z, q, prior, look=look), q, samples=self.samples)
        return Terms(reconstruction=reconstruction, divergence=divergence, weight=self.weight)

    @torch.no_grad()
    def report(
        self,
        x: Float[Tensor, "B *event"],
        q: Distribution,
        prior: Distribution,
        decoder: Decoder,
        *,
        samples: int = 5000,
        chunk: int = CHUNK,
    ) -> Report:
        """Return the objective with all of its terms, and log p(x), for each x.

        All is estimated from the same samples, so that the identities of ``Report`` hold to the last digits. A KL in
        closed form is used where there is one, also for the reconstruction, as a control variate.

        Args:
            x: What was seen.
            q: The encoder's distribution over latents, one for each x.
            prior: Of the latents: one for all, or one for each x.
            decoder: From latents, ``(N, B, *latent)``, to a distribution over x.
            samples: For each x, two at least.
            chunk: Latents that are decoded together.

        Raises:
            MisuseError: The parts do not fit one another, there are fewer than two samples, or x is impossible.
        """
        found = sweep(x, q, prior, decoder, samples=samples, chunk=chunk)
        bound, closed = found.combined(1, 0, 0), _closed_kl(q, prior)
        if closed is None:
            prior_kl, reconstruction = found.combined(0, 1, 0), found.combined(1, 1, 0)
        else:
            prior_kl = _exact(closed, len(x))
            reconstruction = Estimated(value=bound.value + closed, standard_error=bound.standard_error)
        divergence = prior_kl if self.divergence is kl else self._measured(q, prior, samples=samples)
        if divergence is prior_kl and closed is None:  # from the same samples
            error = found.combined(1, 1 - self.weight, 0).standard_error
        elif self.weight:
            error = torch.hypot(reconstruction.standard_error, self.weight * divergence.standard_error)
        else:
            error = reconstruction.standard_error
        terms = Terms(reconstruction=reconstruction.value, divergence=divergence.value, weight=self.weight)
        return Report(
            objective=Estimated(value=terms.objective, standard_error=error),
            reconstruction=reconstruction,
            divergence=divergence,
            weight=self.weight,
            evidence_bound=bound,
            prior_kl=prior_kl,
            posterior_kl=found.combined(-1, 0, 1),
            log_likelihood=found.combined(0, 0, 1),
            effective_samples=found.effective_samples,
        )

    def _measured(self, q: Distribution, prior: Distribution, *, samples: int) -> Estimated:
        """Return the divergence, in closed form where there is one."""
        try:
            found = self.divergence(q, prior)
        except MisuseError:
            if "estimator" not in inspect.signature(self.divergence).parameters:
                raise
            found = self.divergence(q, prior, estimator=self.estimator, samples=samples)
        return found if isinstance(found, Estimated) else _exact(found, *q.batch_shape)


def _closed_kl(q: Distribution, prior: Distribution) -> Float[Tensor, "B"] | None:
    try:
        return kl(q, prior)
    except MisuseError:
        return None


def _exact(value: Tensor, count: int) -> Estimated:
    return Estimated(value=value.expand(count), standard_error=torch.zeros_like(value).expand(count))
