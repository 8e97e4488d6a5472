r"""CycleGAN: translation between two piles of pictures, without pairs (Zhu, Park, Isola and Efros, ICCV 2017).

G draws B from A, F draws A from B; D_B and D_A tell what is real of each:

    adversarial   E (D_B(G(a)) - 1)^2 + E (D_A(F(b)) - 1)^2
    cycle         10 (E |F(G(a)) - a|_1 + E |G(F(b)) - b|_1)               (eq. 2)
    identity       5 (E |G(b) - b|_1 + E |F(a) - a|_1)                     (section 5.2)

The adversaries alone would be content with any picture of the other pile. The cycle makes a translation keep what it
takes to come back, and the identity keeps the colours of what needs no change. The discriminators lower half of
E (D(x) - 1)^2 + E D(x')^2, where x' is a translation of now or of the past.

Four of the six passes through generators are two: where no statistic is taken over the batch, G(a) and G(b) are one
pass of a batch of both, and so are the real and the made picture for a discriminator.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arzhang import inference
from arzhang.losses import l1
from arzhang.models._refusals import (
    adversarial_loss,
    apart,
    check_channels,
    check_penalty,
    check_pictures,
    check_weights,
)
from arzhang.networks import patchgan, resnet
from arzhang.types import Batch, DiscriminatorConfig, GeneratorConfig, MisuseError, Move

Direction = Literal["a-to-b", "b-to-a"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What a CycleGAN is made of, and what its players lower; the defaults are the paper's."""

    generator: GeneratorConfig = resnet.Config()
    """Both networks from one domain to the other."""
    discriminator: DiscriminatorConfig = patchgan.Config(norm="instance")
    """Both networks from a picture to logits."""
    a_channels: int = 3
    """Channels of the pictures of A."""
    b_channels: int = 3
    """Channels of the pictures of B."""
    adversarial: str = "lsgan"
    """The adversarial loss: lsgan, vanilla, minimax, hinge or wgan-gp."""
    cycle: float = 10.0
    """Weight of the mean absolute error of a picture that was translated there and back (lambda)."""
    identity: float = 5.0
    """Weight of the mean absolute error of a picture that is of the target's domain already; published is cycle / 2."""
    penalty: float = 10.0
    """Weight of the gradient penalty, where the adversarial loss has one."""
    pool: int = 50
    """Past translations that are kept of each domain; every second made picture shown is one of them. 0 for none."""

    def build(self) -> "CycleGAN":
        """Make the game, with fresh networks."""
        return CycleGAN(self)


@final
class Pool(nn.Module):
    """Past translations, so that a discriminator does not forget what it has seen through (Shrivastava et al., 2017).

    It is filled first. From then on, one of two pictures changes places with one of the pool, and the others pass. What
    is drawn comes from the global generator. The pictures are no weights: they are each process's own.

    Args:
        size: Most pictures in it.
    """

    pictures: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("pictures", torch.empty(0), persistent=False)

    @torch.no_grad()
    def forward(self, made: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Put pictures in, and return as many to look at.

        Example:
            >>> pool, pictures = Pool(2), torch.arange(4.0).reshape(4, 1, 1, 1)
            >>> pool(pictures[:2]).flatten().tolist(), pool.pictures.flatten().tolist()
            ([0.0, 1.0], [0.0, 1.0])
        """
        made = made.flatten(1).unflatten(
            1, made.shape[1:]
        )  # in one layout, or a run that goes on would round otherwise
        shown = []
        for picture in made.split(1):
            if len(self.pictures) < self.size:
                self.pictures = torch.cat([self.pictures, picture]) if len(self.pictures) else picture.clone()
            elif self.size and torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                shown.append(self.pictures[place : place + 1].clone())
                self.pictures[place] = picture[0]
                continue
            shown.append(picture)
        return torch.cat(shown)


@final
class CycleGAN(nn.Module):
    """The game of two generators and two discriminators, over batches with ``a`` and ``b`` that do not belong together.

    A is the ``source`` and B the ``target`` of what looks at one direction only.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "generators": ("a_to_b", "b_to_a"),
        "discriminators": ("discriminator_a", "discriminator_b"),
    }
    directions: tuple[Direction, ...] = ("a-to-b", "b-to-a")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        check_weights(cycle=config.cycle, identity=config.identity, penalty=config.penalty)
        a, b = self.source_channels, self.target_channels = config.a_channels, config.b_channels
        check_channels(a, b)
        self.adversarial = adversarial_loss(config.adversarial)
        if config.identity and a != b:
            raise MisuseError(
                f"The identity asks a generator to leave pictures of its target as they are, and here it takes {a} and "
                f"{b} channels: give --model.identity 0, or both domains the same --model.a-channels and "
                "--model.b-channels."
            )
        if config.pool < 0:
            raise MisuseError(f"A pool of {config.pool} pictures does not exist; give --model.pool 0 for none.")
        self.a_to_b = config.generator.build(inputs=a, outputs=b)
        self.b_to_a = config.generator.build(inputs=b, outputs=a)
        self.discriminator_a = config.discriminator.build(inputs=a)
        self.discriminator_b = config.discriminator.build(inputs=b)
        self.pool_a, self.pool_b = Pool(config.pool), Pool(config.pool)
        self.multiple: int = getattr(self.a_to_b, "multiple", 1)
        self.least: int = getattr(self.a_to_b, "least", 1)
        if self.adversarial.penalty:
            check_penalty(self.discriminator_a, name=config.adversarial)

    def play(self, batch: Batch) -> Iterator[Move]:
        """Yield the generators' move, then the discriminators'.

        Raises:
            MisuseError: The batch is of pairs, its pictures of A and B differ in number or size, or they have other
                numbers of channels than the networks.
        """
        self._check(batch)
        a, b = batch.a, batch.b
        if self.config.identity:
            fake_b, same_b = _both(self.a_to_b, a, b)
            fake_a, same_a = _both(self.b_to_a, b, a)
            unchanged = {"identity_a": l1(same_a, a), "identity_b": l1(same_b, b)}
        else:
            fake_b, fake_a, unchanged = _wide(self.a_to_b(a)), _wide(self.b_to_a(b)), {}
        terms = {
            "g_a": self.adversarial.generator(_wide(self.discriminator_a(fake_a))),
            "g_b": self.adversarial.generator(_wide(self.discriminator_b(fake_b))),
            "cycle_a": l1(_wide(self.b_to_a(fake_b)), a),
            "cycle_b": l1(_wide(self.a_to_b(fake_a)), b),
            **unchanged,
        }
        weights = {"g": 1.0, "cycle": self.config.cycle, "identity": self.config.identity}
        yield _move("generators", terms, weights)
        shown = (a, self.pool_a(fake_a.detach())), (b, self.pool_b(fake_b.detach()))
        for _ in range(self.adversarial.critic_moves):
            yield self._discriminate(*shown)

    @torch.no_grad()
    def translate(
        self, source: Float[Tensor, "B C H W"], *, direction: Direction = "a-to-b", noise: int | None = None
    ) -> Float[Tensor, "B Co H W"]:
        """Translate pictures whose sides are multiples of the generator's, each by its own statistics.

        Args:
            source: The pictures.
            direction: From which domain to which.
            noise: Seed of the dropout, if the generators have any; without one it is off.

        Raises:
            MisuseError: There is no such direction.
        """
        if direction not in self.directions:
            raise MisuseError(f"A CycleGAN does not translate {direction}: choose {' or '.join(self.directions)}.")
        generator = self.a_to_b if direction == "a-to-b" else self.b_to_a
        with inference.own_statistics(generator), inference.dropout(generator, seed=noise):
            translated: Tensor = generator(source)
        return translated

    def _discriminate(self, of_a: tuple[Tensor, Tensor], of_b: tuple[Tensor, Tensor]) -> Move:
        terms = {}
        for name, discriminator, (real, fake) in (
            ("a", self.discriminator_a, of_a),
            ("b", self.discriminator_b, of_b),
        ):
            terms[f"d_{name}"] = self.adversarial.discriminator(*_both(discriminator, real, fake)) / 2
            if self.adversarial.penalty:
                terms[f"penalty_{name}"] = self.adversarial.penalty(
                    lambda picture, judge=discriminator: _wide(judge(picture)), real, fake, torch.default_generator
                )
        return _move("discriminators", terms, {"d": 1.0, "penalty": self.config.penalty / 2})

    def _check(self, batch: Batch) -> None:
        if not {"a", "b"} <= batch.keys():
            raise MisuseError(
                f"The examples of this data have {' and '.join(batch)}, and a CycleGAN learns from a and b, which do "
                "not belong together: choose --data unpaired or domains."
            )
        many, sizes = zip(*((len(batch[name]), tuple(batch[name].shape[2:])) for name in ("a", "b")), strict=True)
        if many[0] != many[1] or sizes[0] != sizes[1]:
            raise MisuseError(
                f"The batch has {many[0]} pictures of A of {sizes[0]} pixels and {many[1]} of B of {sizes[1]}; a "
                "CycleGAN takes as many of each, of one size."
            )
        check_pictures(batch, channels={"a": self.source_channels, "b": self.target_channels})


def _both(network: nn.Module, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a network makes of two batches, in one pass where that is the same."""
    if apart(network):
        made, answer = _wide(network(torch.cat([one, other]))).chunk(2)
        return made, answer
    return _wide(network(one)), _wide(network(other))


def _wide(tensor: Tensor) -> Tensor:
    """Return at least float32, in which losses are under autocast, too."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _move(player: str, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Move:
    """Add terms up, each with the weight of its first word."""
    loss = torch.stack([weights[name.partition("_")[0]] * value for name, value in terms.items()]).sum()
    return Move(player=player, loss=loss, terms={name: value.detach() for name, value in terms.items()})
