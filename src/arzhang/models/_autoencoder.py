"""What models that explain pictures by latents have in common: encoder, decoder, prior, likelihood, and their uses."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from arzhang import rng
from arzhang.distributions import GaussianMixture
from arzhang.models._refusals import check_shape
from arzhang.objectives import Variational, log_likelihood
from arzhang.types import Batch, DecoderConfig, EncoderConfig, Estimated, LikelihoodConfig, MisuseError, Move

Prior = Literal["standard-normal", "mixture", "vamp"]
"""N(0, 1); a mixture of Gaussians that learns; or one of what the encoder makes of pictures that learn (VampPrior)."""
WIDEST = 20.0
"""Bound of a log-variance, beyond which float32 has no use for it."""


@runtime_checkable
class Parts(Protocol):
    """What a Config of such a model says."""

    @property
    def encoder(self) -> EncoderConfig:
        """From pictures to features."""

    @property
    def decoder(self) -> DecoderConfig:
        """From latents to what the likelihood makes pictures of."""

    @property
    def likelihood(self) -> LikelihoodConfig:
        """What that says of pictures."""

    @property
    def prior(self) -> Prior:
        """Of the latents."""

    @property
    def components(self) -> int:
        """Of a prior that is a mixture."""

    @property
    def latents(self) -> int:
        """How many there are."""

    @property
    def channels(self) -> int:
        """Of the pictures."""

    @property
    def size(self) -> int:
        """Pixels of each side."""


Objective = Callable[["Autoencoder", Tensor], tuple[Tensor, dict[str, Tensor]]]
"""From a game and pictures to the loss, and its terms."""


@final
class Autoencoder(nn.Module):
    """The game of one player over single pictures, batches with ``image``: it explains them by latents.

    Args:
        config: What it is made of.
        objective: What the player lowers.
    """

    def __init__(self, config: Parts, objective: Objective) -> None:
        super().__init__()
        if min(config.latents, config.channels, config.size) < 1:
            raise MisuseError(
                f"A model with {config.latents} latents, of pictures of {config.channels} channels and {config.size} "
                "pixels a side, cannot be: give at least 1 of each."
            )
        self.config, self.objective = config, objective
        self.channels, self.size, self.latents = config.channels, config.size, config.latents
        self.likelihood = config.likelihood.build(channels=config.channels)
        features = config.encoder.build(inputs=config.channels, size=config.size)
        heads = nn.Linear(features.features, 2 * config.latents)  # type: ignore[arg-type]  # means and log-variances
        self.encoder = nn.Sequential(features, heads)
        self.decoder = config.decoder.build(latents=config.latents, outputs=self.likelihood.outputs, size=config.size)
        networks = ["encoder", "decoder"]
        if config.prior != "standard-normal":
            self.learned_prior = _Learned(config)
            networks.append("learned_prior")
        self.players: Mapping[str, tuple[str, ...]] = {"autoencoder": tuple(networks)}
        self.step = 0
        self._looked = False

    def play(self, batch: Batch) -> Iterator[Move]:
        """Yield the one move.

        Raises:
            MisuseError: There are no pictures, or others than the model's.
        """
        if "image" not in batch:
            raise MisuseError(
                f"A batch of {' and '.join(batch)} has no image, from which this model learns: choose data of single "
                "pictures, such as --data mnist, digits or images."
            )
        # On a GPU only the first time, since to look is to wait.
        self._check(batch.image, look=batch.image.is_cpu or (batch.image.is_cuda and not self._looked))
        self._looked = True
        loss, terms = self.objective(self, batch.image)
        yield Move(player="autoencoder", loss=loss, terms={name: term.detach() for name, term in terms.items()})

    def encode(self, picture: Float[Tensor, "B C H W"]) -> Distribution:
        """Return the distribution over latents of each picture."""
        return Independent(Normal(*self._heads(picture), validate_args=False), 1)

    def given(self, latents: Float[Tensor, "*N D"]) -> Distribution:
        """Return the distribution over pictures that latents stand for."""
        return self.likelihood.distribution(self._decoded(latents))

    def prior(self) -> Distribution:
        """Return the distribution of latents before anything is seen."""
        if self.config.prior == "standard-normal":
            zero = next(self.encoder.parameters()).new_zeros(self.latents)
            return Independent(Normal(zero, zero + 1, validate_args=False), 1)
        learned = self.learned_prior()
        if self.config.prior == "mixture":
            logits, loc, log_scale = learned.split([1, self.latents, self.latents], dim=1)
            scale = log_scale.clamp(-WIDEST / 2, WIDEST / 2).exp()
            return GaussianMixture(logits=logits[:, 0], loc=loc, scale=scale, validate_args=False)
        loc, scale = self._heads(learned.tanh())
        return GaussianMixture(logits=loc.new_zeros(len(loc)), loc=loc, scale=scale, validate_args=False)

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "*N D"]) -> Float[Tensor, "*N C H W"]:
        """Return the mean picture that latents stand for."""
        return self.likelihood.picture(self._decoded(latents))

    @torch.no_grad()
    def reconstruct(self, picture: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return what is left of pictures after their latents' mean; nothing is drawn.

        Raises:
            MisuseError: They are others than the model's.
        """
        self._check(picture)
        return self.decode(self.encode(picture).mean)

    @torch.no_grad()
    def draw(
        self, count: int, *, seed: int = 0, first: int = 0, step: int = 1, prior: GaussianMixture | None = None
    ) -> Float[Tensor, "{count} D"]:
        """Draw latents from the prior, each a function of the seed and of its number alone.

        Args:
            count: How many.
            seed: Of all of them.
            first: The number of the first.
            step: From one number to the next; so many processes draw what one would.
            prior: What is drawn from in the place of the model's own, such as a mixture fitted to what it encodes.

        Raises:
            MisuseError: The count is negative.
        """
        if count < 0:
            raise MisuseError(f"{count} latents cannot be drawn; ask for a number of 0 or more.")
        source = self.prior() if prior is None else prior
        uniform, noise = torch.empty(count), torch.empty(count, self.latents)
        for index in range(count):
            generator = rng.generator(seed, "latents", first + index * step)
            torch.rand((), generator=generator, out=uniform[index])
            torch.randn(self.latents, generator=generator, out=noise[index])
        uniform, noise = uniform.to(source.mean), noise.to(source.mean)
        if not isinstance(source, GaussianMixture):
            return noise
        chosen = torch.searchsorted(source.weights.cumsum(0), uniform).clamp(max=len(source.weights) - 1)
        if source.diagonal:
            return source.loc[chosen] + source.scale[chosen] * noise
        return source.loc[chosen] + torch.einsum("nij,nj->ni", source.scale_tril[chosen], noise)

    @torch.no_grad()
    def sample(
        self, count: int, *, seed: int = 0, first: int = 0, step: int = 1, prior: GaussianMixture | None = None
    ) -> Float[Tensor, "{count} C H W"]:
        """Make pictures from latents of the prior: the decoder's means; see ``draw``."""
        return self.decode(self.draw(count, seed=seed, first=first, step=step, prior=prior))

    @torch.no_grad()
    def log_likelihood(self, picture: Float[Tensor, "B C H W"], *, k: int = 5000, seed: int = 0) -> Estimated:
        """Return log p(x) of each picture, in nats, by importance sampling; memory does not grow with ``k``.

        Args:
            picture: What is explained.
            k: Samples of the latents, two at least; published figures have 5000.
            seed: Of what is drawn.

        Raises:
            MisuseError: ``k`` is too small, or the pictures are others than the model's.
        """
        self._check(picture)
        with _seeded(seed, picture.device):
            return log_likelihood(picture, self.encode(picture), self.prior(), self.given, samples=k)

    @torch.no_grad()
    def evidence(
        self, picture: Float[Tensor, "B C H W"], *, samples: int, seed: int = 0
    ) -> dict[str, Float[Tensor, " B"]]:
        """Return, in nats, of each picture: ``bound``, and ``distortion`` and ``rate``, its two parts; ``nll``.

        The bound is the evidence bound whatever was minimised, so that models compare: -distortion - rate, with the
        rate KL(q(z|x), p(z)). ``nll`` is -log p(x) by importance sampling.

        Args:
            picture: What is explained.
            samples: Of the latents, two at least.
            seed: Of what is drawn.

        Raises:
            MisuseError: There are too few samples, or the pictures are others than the model's.
        """
        self._check(picture)
        with _seeded(seed, picture.device):
            found = Variational().report(picture, self.encode(picture), self.prior(), self.given, samples=samples)
        return {
            "bound": found.evidence_bound.value,
            "distortion": -found.reconstruction.value,
            "rate": found.prior_kl.value,
            "nll": -found.log_likelihood.value,
        }

    def _heads(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means and the deviations of latents, in float32 at least."""
        features = self.encoder(picture)
        mean, log_variance = features.to(torch.promote_types(features.dtype, torch.float32)).chunk(2, dim=1)
        return mean, (log_variance.clamp(-WIDEST, WIDEST) / 2).exp()

    def _decoded(self, latents: Float[Tensor, "*N D"]) -> Float[Tensor, "*N outputs H W"]:
        decoded: Tensor = self.decoder(latents.reshape(-1, self.latents))
        return decoded.reshape(*latents.shape[:-1], *decoded.shape[1:])

    def _check(self, picture: Tensor, *, look: bool = True) -> None:
        check_shape(picture, channels=self.channels, size=self.size)
        if not len(picture):
            raise MisuseError("There are no pictures to explain: give 1 or more.")
        if look:
            self.likelihood.check(picture)


@final
class _Learned(nn.Module):
    """The table of a prior that learns: a row a component, its logit, means and log-scales; or a picture, before tanh.

    Raises:
        MisuseError: It has no component.
    """

    def __init__(self, config: Parts) -> None:
        super().__init__()
        if config.components < 1:
            raise MisuseError(
                f"A {config.prior} prior of {config.components} components cannot be: give --model.components at least "
                "1, or --model.prior standard-normal."
            )
        if config.prior == "vamp":
            start = torch.randn(config.components, config.channels, config.size, config.size)
        else:
            zero = torch.zeros(config.components, config.latents)
            start = torch.cat([zero[:, :1], torch.randn_like(zero), zero], dim=1)
        self.table = nn.Parameter(start)

    def forward(self) -> Float[Tensor, "K *row"]:
        """Return the table."""
        return self.table


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed, and leave the global generators as they are."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(rng.seed_of(seed, "latents"))
        yield
