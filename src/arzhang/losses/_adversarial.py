"""What an adversarial loss is, and the parts that several of them share."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

Logits = Float[Tensor, "B 1 h w"]
Scalar = Float[Tensor, ""]


@dataclass(frozen=True, kw_only=True, slots=True)
class Adversarial:
    """What the two players lower: means, over pictures and patches, of functions of logits that are positive for real.

    Args:
        discriminator: The discriminator's loss, of the logits of real and of generated pictures: the plain sum of the
            two sides. A game that wants a slower discriminator halves it.
        generator: The generator's loss, of the logits of generated pictures.
        penalty: What the discriminator lowers besides, unweighted: a function of the critic (from pictures to logits),
            real pictures, generated pictures and the generator of its randomness.
        critic_moves: Moves of the discriminator for each of the generator.
    """

    discriminator: Callable[[Logits, Logits], Scalar]
    generator: Callable[[Logits], Scalar]
    penalty: Callable[..., Scalar] | None = None
    critic_moves: int = 1


def cross_entropy(real: Logits, fake: Logits) -> Scalar:
    """Return -E log D(x) - E log(1 - D(G(z))), in nats, where D is the sigmoid of the logit."""
    return -nn.functional.logsigmoid(real).mean() - nn.functional.logsigmoid(-fake).mean()


def negative_mean(fake: Logits) -> Scalar:
    """Return -E D(G(z)), where D is the logit itself."""
    return -fake.mean()
