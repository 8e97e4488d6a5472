r"""Pix2Pix: image-to-image translation with a conditional adversarial network (Isola, Zhu, Zhou and Efros, CVPR 2017).

From pairs (x, y) the generator learns y from x while the discriminator learns to tell (x, y) from (x, G(x, z)):

    G* = arg min_G max_D  E log D(x, y) + E log(1 - D(x, G(x, z))) + lambda E |y - G(x, z)|_1        (eq. 4)

L1 fixes what the picture shows, and alone leaves it blurred where several answers are right; the discriminator, which
sees patches, makes it commit itself. The noise z is the dropout inside the generator, drawn at test time as well; on
request also Gaussian planes beside the source, which the authors found to be ignored (section 3.2.1).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arzhang import inference
from arzhang.losses import l1, l2
from arzhang.models._refusals import adversarial_loss, check_channels, check_penalty, check_pictures, check_weights
from arzhang.networks import patchgan, unet
from arzhang.types import Batch, DiscriminatorConfig, GeneratorConfig, MisuseError, Move


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What a Pix2Pix is made of, and what its players lower; the defaults are the paper's."""

    generator: GeneratorConfig = unet.Config()
    """The network from source to target."""
    discriminator: DiscriminatorConfig = patchgan.Config()
    """The network from (source and) picture to logits."""
    source_channels: int = 3
    """Channels of what is translated."""
    target_channels: int = 3
    """Channels of what it is translated into."""
    adversarial: str = "vanilla"
    """The adversarial loss: vanilla, minimax, lsgan, hinge or wgan-gp; none, and there is no discriminator."""
    l1: float = 100.0
    """Weight of the mean absolute error (lambda)."""
    l2: float = 0.0
    """Weight of the mean squared error."""
    penalty: float = 10.0
    """Weight of the gradient penalty, where the adversarial loss has one."""
    conditional: bool = True
    """Whether the discriminator sees the source as well."""
    noise: int = 0
    """Planes of Gaussian noise that the generator sees beside the source; the paper has none, and dropout instead."""

    def build(self) -> "Pix2Pix":
        """Make the game, with fresh networks."""
        return Pix2Pix(self)


@final
class Pix2Pix(nn.Module):
    """The game of a generator and a discriminator over pairs, batches with ``source`` and ``target``."""

    players: Mapping[str, tuple[str, ...]] = {"discriminator": ("discriminator",), "generator": ("generator",)}

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        check_weights(l1=config.l1, l2=config.l2, penalty=config.penalty)
        check_channels(config.source_channels, config.target_channels)
        self.adversarial = None if config.adversarial == "none" else adversarial_loss(config.adversarial)
        if not (self.adversarial or config.l1 or config.l2):
            raise MisuseError(
                "Without an adversary, l1 and l2 there is nothing to learn from: give one of --model.l1 and --model.l2."
            )
        if config.noise < 0:
            raise MisuseError(f"There are {config.noise} planes of noise: give --model.noise 0 or more.")
        if config.noise and getattr(config.generator, "global_skip", False):
            raise MisuseError("The generator would add its pictures to noise: leave --model.noise out, or global_skip.")
        inputs = config.source_channels + config.noise
        self.generator = config.generator.build(inputs=inputs, outputs=config.target_channels)
        self.source_channels, self.target_channels = config.source_channels, config.target_channels
        self.multiple: int = getattr(self.generator, "multiple", 1)
        self.least: int = getattr(self.generator, "least", 1)
        if not self.adversarial:
            self.players = {"generator": ("generator",)}
            self.verdict = None  # type: ignore[method-assign, assignment]
            return
        seen = config.target_channels + (config.source_channels if config.conditional else 0)
        self.discriminator = config.discriminator.build(inputs=seen)
        if self.adversarial.penalty:
            check_penalty(self.discriminator, name=config.adversarial)

    def play(self, batch: Batch) -> Iterator[Move]:
        """Yield the discriminator's moves, if there is one, then the generator's.

        Raises:
            MisuseError: The pictures have other numbers of channels than the networks.
        """
        check_pictures(batch, channels={"source": self.source_channels, "target": self.target_channels})
        fake = self._generated(batch.source, noisy=True)
        if self.adversarial:
            for _ in range(self.adversarial.critic_moves):
                yield self._discriminate(batch, fake.detach())
        yield self._generate(batch, fake)

    @torch.no_grad()
    def translate(
        self, source: Float[Tensor, "B C H W"], *, noise: int | None = None
    ) -> Float[Tensor, "B {self.config.target_channels} H W"]:
        """Translate pictures whose sides are multiples of the generator's, each by its own statistics.

        Args:
            source: The pictures.
            noise: Seed of the dropout, which is the z of the paper, and of the planes of noise; without one dropout
                is off, and the planes are their mean, 0.
        """
        with inference.own_statistics(self.generator), inference.dropout(self.generator, seed=noise):
            return self._generated(source, noisy=noise is not None)

    @torch.no_grad()
    def verdict(self, source: Float[Tensor, "B C H W"], picture: Float[Tensor, "B Co H W"]) -> Float[Tensor, "B 1 h w"]:
        """Return what the discriminator thinks of each patch: 1 real, 0 made."""
        with inference.own_statistics(self.discriminator):
            return torch.sigmoid(self._judge(source, picture))

    def _generated(self, source: Tensor, *, noisy: bool) -> Tensor:
        if self.config.noise:
            planes = source.new_zeros(len(source), self.config.noise, *source.shape[2:])
            source = torch.cat([source, planes.normal_() if noisy else planes], 1)
        generated: Tensor = self.generator(source)
        return generated

    def _judge(self, source: Tensor, picture: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(torch.cat([source, picture], 1) if self.config.conditional else picture)
        return logits.float()  # losses are float32 under autocast, too

    def _discriminate(self, batch: Batch, fake: Tensor) -> Move:
        assert self.adversarial
        loss = self.adversarial.discriminator(self._judge(batch.source, batch.target), self._judge(batch.source, fake))
        terms = {"d": loss.detach() / 2}
        if self.adversarial.penalty:
            penalty = self.adversarial.penalty(
                lambda picture: self._judge(batch.source, picture), batch.target, fake, torch.default_generator
            )
            loss = loss + self.config.penalty * penalty
            terms["d_penalty"] = penalty.detach()
        loss = loss / 2  # "we divide the objective by 2 while optimizing D" (section 3.3)
        return Move(player="discriminator", loss=loss, terms=terms)

    def _generate(self, batch: Batch, fake: Tensor) -> Move:
        absolute, squared = l1(fake, batch.target), l2(fake, batch.target)
        loss = self.config.l1 * absolute + self.config.l2 * squared
        terms = {"l1": absolute.detach()} | ({"l2": squared.detach()} if self.config.l2 else {})
        if self.adversarial:
            adversarial = self.adversarial.generator(self._judge(batch.source, fake))
            loss, terms = adversarial + loss, {"g": adversarial.detach(), **terms}
        return Move(player="generator", loss=loss, terms=terms)
