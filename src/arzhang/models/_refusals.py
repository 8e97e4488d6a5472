"""What several models refuse alike: weights, losses, and pictures of other channels than their networks'."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from arzhang import plugins
from arzhang.losses._adversarial import Adversarial
from arzhang.types import MisuseError


def check_weights(**weights: float) -> None:
    """Refuse weights of terms that would turn a term round, or drown the others.

    Raises:
        MisuseError: One is negative, infinite or no number.

    Example:
        >>> check_weights(l1=100.0, l2=-1.0)
        Traceback (most recent call last):
        arzhang.types.MisuseError: model.l2 is -1.0; it should be a finite weight of at least 0.
    """
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise MisuseError(f"model.{name} is {weight}; it should be a finite weight of at least 0.")


def adversarial_loss(name: str) -> Adversarial:
    """Find an adversarial loss.

    Raises:
        MisuseError: There is none of this name, or it compares pictures.
    """
    found: Adversarial = plugins.find("losses", name)
    if not hasattr(found, "discriminator"):
        raise MisuseError(
            f"{name} compares pictures and does not judge logits: "
            "choose --model.adversarial vanilla, minimax, lsgan, hinge or wgan-gp (of Pix2Pix also none)."
        )
    return found


def check_penalty(discriminator: nn.Module, *, name: str) -> None:
    """Refuse a discriminator that sees a batch as a whole, where its slope at each picture is penalised.

    Raises:
        MisuseError: It has batch norm.
    """
    if not apart(discriminator):
        raise MisuseError(
            f"The gradient penalty of {name} is of each picture by itself; batch norm mixes them: "
            "choose --model.discriminator.norm instance (or none)."
        )


def apart(network: nn.Module) -> bool:
    """Whether each picture of a batch is seen by itself."""
    return not any(isinstance(each, nn.BatchNorm2d) for each in network.modules())


def check_channels(*channels: int) -> None:
    """Refuse pictures without a channel.

    Raises:
        MisuseError: There are fewer than 1.
    """
    if min(channels) < 1:
        raise MisuseError(f"Pictures of {' and '.join(map(str, channels))} channels do not exist; give 1 or more.")


def check_pictures(pictures: Mapping[str, Tensor], *, channels: Mapping[str, int]) -> None:
    """Refuse pictures, by the names they have in a batch, of other channels than a model was built for.

    Raises:
        MisuseError: Some are.
    """
    for name, expected in channels.items():
        if (found := pictures[name].shape[1]) != expected:
            raise MisuseError(
                f"The pictures of {name} have {found} channels and the model expects {expected}: "
                f"set --model.{name}-channels {found}, or choose data with {expected}."
            )


def check_shape(picture: Tensor, *, channels: int, size: int) -> None:
    """Refuse a batch of pictures of other channels or sides than a model that was built for one size.

    Raises:
        MisuseError: They are.
    """
    found, expected = tuple(picture.shape[1:]), (channels, size, size)
    if found != expected:
        raise MisuseError(
            f"The pictures are {' x '.join(map(str, found))} (channels x high x wide) and the model expects "
            f"{' x '.join(map(str, expected))}: set --model.channels and --model.size, or --data.size."
        )
