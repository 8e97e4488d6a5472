r"""The variational autoencoder: latents that explain pictures, and pictures from latents (Kingma and Welling, 2014).

An encoder q(z|x), a decoder p(x|z) and a prior p(z) maximise, on average over the pictures,

    L(x) = E_q(z|x) [log p(x|z)] - weight D(q(z|x), p(z))

With D = KL and a weight of 1 it is a bound on log p(x). Its relatives are other values, not other models:

- beta-VAE: ``weight`` above 1 buys latents nearer to the prior with worse reconstructions;
- the Cauchy-Schwarz autoencoder: ``divergence="cauchy-schwarz"``, in closed form with a mixture prior, too; no bound;
- MMD-VAE (InfoVAE, WAE): ``divergence="mmd"``, ``of="aggregate"``: only all latents of a batch together are to look
  like the prior, so that each may keep what it knows of its picture;
- VampPrior: ``prior="vamp"``.

References:
    Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, equations 3 and 7.
    Higgins et al., "beta-VAE", ICLR 2017, equation 4.
    Tran, Pantic and Deisenroth, "Cauchy-Schwarz Regularized Autoencoder", JMLR 23(115), 2022, equation 9.
    Zhao, Song and Ermon, "InfoVAE", AAAI 2019, equation 6.
    Tomczak and Welling, "VAE with a VampPrior", AISTATS 2018, equation 9.
"""

import inspect
from dataclasses import dataclass
from typing import Any, Literal, cast, final

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from arzhang import plugins
from arzhang.baselines import leave_one_out
from arzhang.distributions import GaussianMixture
from arzhang.divergences import kl
from arzhang.likelihoods import bernoulli
from arzhang.models._autoencoder import Autoencoder, Prior
from arzhang.models._refusals import check_weights
from arzhang.networks import conv_decoder, conv_encoder
from arzhang.objectives import Variational
from arzhang.types import DecoderConfig, EncoderConfig, Estimator, LikelihoodConfig, MisuseError

LEAST = 4
"""Samples from which a divergence without a closed form can be estimated; KL, which is a mean, needs one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A variational autoencoder; the defaults are the plain one of 28 x 28 pixels and 10 latents."""

    encoder: EncoderConfig = conv_encoder.Config()
    """The network from pictures to features, on which linear heads of means and log-variances stand."""
    decoder: DecoderConfig = conv_decoder.Config()
    """The network from latents to what the likelihood makes pictures of."""
    likelihood: LikelihoodConfig = bernoulli.Config()
    """What that says of pictures."""
    prior: Prior = "standard-normal"
    """Of the latents: N(0, 1), or a mixture that learns, of Gaussians, or of what learnt pictures are encoded to."""
    components: int = 50
    """Of a prior that is a mixture."""
    latents: int = 10
    """How many latents explain a picture."""
    channels: int = 1
    """Channels of the pictures."""
    size: int = 28
    """Pixels of each side of the pictures."""
    divergence: str = "kl"
    """What holds the latents near the prior: kl, cauchy-schwarz, mmd, or any other divergence."""
    of: Literal["each", "aggregate"] = "each"
    """Of what it is: of each picture's latents, or of the mixture of those of all that is computed together: a batch,
    or its part for one of many processes, or where gradients are accumulated."""
    weight: float = 1.0
    """Its weight (beta or lambda)."""
    warmup: int = 0
    """Steps in which the weight rises from 0, in a straight line."""
    estimator: str = "pathwise"
    """How the gradient goes through the latents: pathwise, score-function, measure-valued, or any other estimator."""
    baseline: Literal["none", "leave-one-out"] = "none"
    """What the score function takes off what it weighs: nothing, or the mean of the other samples of the picture."""
    samples: int = 1
    """Latents that are drawn for each picture."""

    def build(self) -> Autoencoder:
        """Make the game, with fresh networks.

        Raises:
            MisuseError: A part does not exist or cannot be, or a number is out of its range.
        """
        check_weights(weight=self.weight)
        if self.samples < 1 or self.warmup < 0:
            raise MisuseError(
                f"The model has samples={self.samples} and warmup={self.warmup}; give at least 1 sample, and no "
                "negative number of steps."
            )
        if not self.weight and self.prior != "standard-normal":
            raise MisuseError(
                f"A {self.prior} prior learns through the divergence, and with a weight of 0 would stay as it began: "
                "give a --model.weight above 0, or --model.prior standard-normal and sample --from mixture."
            )
        estimator = plugins.find("estimators", self.estimator)
        if hasattr(estimator, "Config"):
            estimator = estimator.Config().build()
        if self.baseline == "leave-one-out":
            if "baseline" not in inspect.signature(estimator).parameters:
                raise MisuseError(
                    f"A baseline is of the score function, and {self.estimator} takes none: give --model.estimator "
                    "score-function, or --model.baseline none."
                )
            estimator = estimator.given(baseline=leave_one_out)
        objective = _Objective(
            config=self, divergence=plugins.find("divergences", self.divergence), estimator=estimator
        )
        game = Autoencoder(self, objective)
        objective.check()
        return game


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Objective:
    """What the player lowers: distortion, and the weighted divergence."""

    config: Config
    divergence: Any
    estimator: Estimator

    def check(self) -> None:
        """Refuse a divergence that cannot be had of such latents and such a prior.

        Raises:
            MisuseError: It has no closed form, and cannot be estimated, or not by so few samples.
        """
        config, zero = self.config, torch.zeros(self.config.latents, device="cpu")
        q: Distribution = Independent(Normal(zero + torch.tensor([[0.1], [-0.2]], device="cpu"), zero + 0.5), 1)
        prior: Distribution = Independent(Normal(zero, zero + 1), 1)
        if config.prior != "standard-normal":
            loc = zero.expand(config.components, -1)
            prior = GaussianMixture(logits=loc[:, 0], loc=loc, scale=loc + 1)
        try:
            self.divergence(q if config.of == "each" else _aggregate(q), prior)
        except MisuseError as error:
            sampled = "estimator" in inspect.signature(self.divergence).parameters and config.of == "each"
            least = 1 if self.divergence is kl else LEAST
            if not sampled:
                raise MisuseError(
                    f"The divergence {config.divergence} does not fit {config.of} of the latents and a {config.prior} "
                    f"prior: {error} With mixtures --model.divergence cauchy-schwarz, mmd and l2 have a closed form."
                ) from error
            if config.samples < least:
                raise MisuseError(
                    f"The divergence {config.divergence} has no closed form with a {config.prior} prior, and is "
                    f"estimated from at least {least} samples: give --model.samples {least} or more, or "
                    "--model.divergence kl, cauchy-schwarz or mmd."
                ) from error

    def __call__(self, game: Autoencoder, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config, q, prior = self.config, game.encode(image), game.prior()
        weight = config.weight * (min(1, (game.step + 1) / config.warmup) if config.warmup else 1)
        if config.of == "each":
            terms = Variational(self.divergence, weight=weight, estimator=self.estimator, samples=config.samples).terms(
                image, q, prior, game.given
            )
            distortion, divergence = -terms.reconstruction.mean(), terms.divergence.mean()
        else:
            log_p = self.estimator(lambda z: game.given(z).log_prob(image), q, samples=config.samples)
            distortion, divergence = -log_p.mean(), cast("Tensor", self.divergence(_aggregate(q), prior))
        loss = distortion + weight * divergence if weight else distortion
        return loss, {"distortion": distortion, "divergence": divergence} | (
            {"weight": distortion.new_tensor(weight)} if config.warmup else {}
        )


def _aggregate(q: Any) -> GaussianMixture:
    """Return the mixture of a batch of diagonal Gaussians."""
    return GaussianMixture(logits=q.mean.new_zeros(len(q.mean)), loc=q.mean, scale=q.stddev, validate_args=False)
