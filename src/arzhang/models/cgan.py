r"""The conditional GAN: pictures of what was asked for (Mirza and Osindero, 2014).

From pictures x with conditions y the generator learns to make G(z, y) from noise z, while the discriminator learns to
tell (x, y) from (G(z, y), y):

    min_G max_D  E log D(x, y) + E log(1 - D(G(z, y), y))        (eq. 2)

A condition is a row of K numbers: of one label, a 1 among zeros; of several, as many 1; or any vector, such as the
embedding of a text. A made picture is shown with the condition of a real one of the batch, so that the discriminator
cannot tell them apart by how often conditions come.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arzhang import rng
from arzhang.losses._augmentation import Augmentation, augmented
from arzhang.losses._r1 import r1
from arzhang.models._refusals import adversarial_loss, apart, check_penalty, check_shape, check_weights
from arzhang.networks import conditional_discriminator, conditional_generator
from arzhang.types import (
    Batch,
    ConditionalDiscriminatorConfig,
    ConditionalGeneratorConfig,
    MisuseError,
    Move,
)

Condition = Literal["label", "labels", "vector"]
"""One label of K, some of K, or any K numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What a conditional GAN is made of, and what its players lower; the defaults are of 28 x 28 pixels."""

    generator: ConditionalGeneratorConfig = conditional_generator.Config()
    """The network from noise and condition to a picture."""
    discriminator: ConditionalDiscriminatorConfig = conditional_discriminator.Config()
    """The network from picture and condition to a logit."""
    condition: Condition = "label"
    """What pictures come with: label, one of so many; labels, some of them; or vector, any numbers."""
    labels: int = 10
    """How many labels there are, or numbers in the vector (K)."""
    latents: int = 64
    """How many numbers the noise is."""
    channels: int = 1
    """Channels of the pictures."""
    size: int = 28
    """Pixels of each side of the pictures."""
    adversarial: str = "hinge"
    """The adversarial loss: hinge, vanilla, minimax, lsgan or wgan-gp."""
    penalty: float = 10.0
    """Weight of the gradient penalty, where the adversarial loss has one."""
    r1: float = 0.0
    """Weight of half the discriminator's squared slope at real pictures (gamma); it costs second derivatives."""
    augment: tuple[Augmentation, ...] = ()
    """How all that the discriminator sees is changed: colour, translation, cutout. For a few thousand pictures."""

    def build(self) -> "ConditionalGAN":
        """Make the game, with fresh networks."""
        return ConditionalGAN(self)


@final
class ConditionalGAN(nn.Module):
    """The game of a generator and a discriminator over pictures with conditions, ``image`` and ``label``."""

    players: Mapping[str, tuple[str, ...]] = {"discriminator": ("discriminator",), "generator": ("generator",)}

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.channels, self.size, self.labels = config.channels, config.size, config.labels
        self.adversarial = adversarial_loss(config.adversarial)
        check_weights(penalty=config.penalty, r1=config.r1)
        if min(config.channels, config.labels, config.latents) < 1:
            raise MisuseError(
                f"A model with {config.latents} latents and {config.labels} labels, of pictures of {config.channels} "
                "channels, cannot be: give at least 1 of each."
            )
        parts = {"labels": config.labels, "size": config.size}
        self.generator = config.generator.build(latents=config.latents, outputs=config.channels, **parts)
        self.discriminator = config.discriminator.build(inputs=config.channels, **parts)
        if self.adversarial.penalty or config.r1:
            check_penalty(self.discriminator, name=config.adversarial if self.adversarial.penalty else "R1")
        self._looked = False

    def play(self, batch: Batch) -> Iterator[Move]:
        """Yield the discriminator's moves, then the generator's.

        Raises:
            MisuseError: Pictures or labels are missing, or are others than the model's.
        """
        real, condition = self._check(batch)
        for _ in range(self.adversarial.critic_moves):
            latents = torch.randn(len(real), self.config.latents, device=real.device)
            fake = self.generator(latents, condition)
            yield self._discriminate(real, fake.detach(), condition)
        loss = self.adversarial.generator(self._judge(fake, condition))
        yield Move(player="generator", loss=loss, terms={"g": loss.detach()})

    @torch.no_grad()
    def draw(
        self, count: int, *, seed: int = 0, first: int = 0, step: int = 1, truncation: float | None = None
    ) -> Float[Tensor, "{count} D"]:
        """Draw latents, each a function of the seed and of its number alone.

        Args:
            count: How many.
            seed: Of all of them.
            first: The number of the first.
            step: From one number to the next; so many processes draw what one would.
            truncation: Bound of every number, to which N(0, 1) is cut by quantiles: pictures become more typical and
                less various (Brock, Donahue and Simonyan, ICLR 2019, section 3.1). None for none.

        Raises:
            MisuseError: The count is negative, or the bound is not positive.
        """
        if count < 0 or (truncation is not None and not truncation > 0):
            raise MisuseError(
                f"{count} latents within {truncation} cannot be drawn; give a number of 0 or more, and a bound above 0."
            )
        noise = torch.empty(count, self.config.latents)
        for index in range(count):
            torch.randn(
                self.config.latents, generator=rng.generator(seed, "latents", first + index * step), out=noise[index]
            )
        if truncation is not None:
            tail = torch.special.ndtr(torch.tensor(-truncation, dtype=torch.float64))
            noise = torch.special.ndtri(tail + (1 - 2 * tail) * torch.special.ndtr(noise.double())).to(noise)
        return noise.to(next(self.generator.parameters()).device)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        first: int = 0,
        step: int = 1,
        condition: Float[Tensor, "{count} {self.labels}"] | None = None,
        truncation: float | None = None,
    ) -> Float[Tensor, "{count} C H W"]:
        """Make pictures of conditions; without any, picture number i is of label i modulo their number.

        Args:
            count: How many.
            seed: Of the noise.
            first: The number of the first.
            step: From one number to the next.
            condition: What each is to be of; see ``one_hot``.
            truncation: See ``draw``.

        Raises:
            MisuseError: There is no condition, and the model's are not one label each.
        """
        latents = self.draw(count, seed=seed, first=first, step=step, truncation=truncation)
        if not count:
            return latents.new_zeros(0, self.channels, self.size, self.size)
        if condition is None:
            if self.config.condition != "label":
                raise MisuseError(
                    f"What a picture is of is {self.config.condition} of {self.labels} numbers, which nobody draws: "
                    "give --label."
                )
            condition = self.one_hot(first + step * torch.arange(count))
        training = self.generator.training
        self.generator.eval()  # norms as they were learnt, whatever else is drawn
        try:
            made: Tensor = self.generator(latents, condition.to(latents))
        finally:
            self.generator.train(training)
        return made

    def one_hot(self, label: Tensor) -> Float[Tensor, "N {self.labels}"]:
        """Return the conditions of numbers of labels, modulo how many there are."""
        return (label[:, None] % self.labels == torch.arange(self.labels, device=label.device)).float()

    @torch.no_grad()
    def verdict(
        self, picture: Float[Tensor, "B C H W"], condition: Float[Tensor, "B {self.labels}"]
    ) -> Float[Tensor, " B"]:
        """Return the discriminator's logits: positive for real, and what was asked for."""
        training = self.discriminator.training
        self.discriminator.eval()  # or a spectral norm would go on
        try:
            return self._logits(picture, condition).flatten()
        finally:
            self.discriminator.train(training)

    def conditions(self, label: Tensor, *, look: bool = True) -> Float[Tensor, "B {self.labels}"]:
        """Return the conditions of a batch's labels.

        Args:
            label: Their numbers; or, where the model's are some labels or a vector, rows of numbers.
            look: Whether their range is checked.

        Raises:
            MisuseError: There are others than the model's.
        """
        if self.config.condition == "label" and label.dim() == 1:
            if look and ((label < 0) | (label >= self.labels)).any():
                raise MisuseError(
                    f"A label is {int(label.max()) if (label >= self.labels).any() else int(label.min())}, and the "
                    f"model knows {self.labels}, from 0 to {self.labels - 1}: set --model.labels to what the data has."
                )
            return self.one_hot(label)
        if self.config.condition == "label" or label.shape[1:] != (self.labels,):
            found = "one label" if label.dim() == 1 else f"{' x '.join(map(str, label.shape[1:]))} numbers"
            expected = "one label" if self.config.condition == "label" else f"{self.labels} numbers"
            raise MisuseError(
                f"Each picture comes with {found} and the model expects {expected}: set --model.condition to label, "
                "labels or vector, and --model.labels to how many there are."
            )
        if look and not (label.isfinite() if self.config.condition == "vector" else (label == 0) | (label == 1)).all():
            raise MisuseError(
                f"What a picture is of is {self.config.condition}, which holds "
                f"{'numbers that are not finite' if self.config.condition == 'vector' else 'others than 0 and 1'}: "
                "mend the data, or set --model.condition vector for any finite numbers."
            )
        return label.to(torch.promote_types(label.dtype, torch.float32))

    def _discriminate(self, real: Tensor, fake: Tensor, condition: Tensor) -> Move:
        if apart(self.discriminator):
            both = self._judge(torch.cat([real, fake]), torch.cat([condition, condition])).chunk(2)
        else:
            both = self._judge(real, condition), self._judge(fake, condition)
        loss = self.adversarial.discriminator(*both)
        terms = {"d": loss.detach() / 2}
        critic = partial(self._logits, condition=condition)
        if self.adversarial.penalty:
            penalty = self.adversarial.penalty(critic, real, fake, torch.default_generator)
            loss = loss + self.config.penalty * penalty
            terms["d_penalty"] = penalty.detach()
        if self.config.r1:
            penalty = r1(critic, real)
            loss = loss + self.config.r1 / 2 * penalty
            terms["d_r1"] = penalty.detach()
        return Move(player="discriminator", loss=loss, terms=terms)

    def _judge(self, picture: Tensor, condition: Tensor) -> Tensor:
        """Return what the discriminator says of pictures as it is shown them."""
        return self._logits(augmented(picture, self.config.augment), condition)

    def _logits(self, picture: Tensor, condition: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(picture, condition)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))  # as losses are under autocast, too

    def _check(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if not {"image", "label"} <= batch.keys():
            raise MisuseError(
                f"A batch of {' and '.join(batch)} lacks an image or its label, from which this model learns: choose "
                "--data mnist, digits or labelled."
            )
        check_shape(batch.image, channels=self.channels, size=self.size)
        # On a GPU only the first time, since to look is to wait.
        look = batch.label.is_cpu or (batch.label.is_cuda and not self._looked)
        self._looked = True
        return batch.image, self.conditions(batch.label, look=look)
