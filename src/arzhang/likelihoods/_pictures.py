"""The one range that pictures have, and the precision that their probabilities need."""

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang.types import MisuseError


def check(name: str, pictures: Float[Tensor, "..."]) -> None:
    """Refuse pictures with numbers outside [-1, 1], or with what is no number.

    Raises:
        MisuseError: The range that was found is named.
    """
    least, most = (end.item() for end in pictures.aminmax())
    if not (least >= -1 and most <= 1):  # nan is neither
        raise MisuseError(
            f"The {name} likelihood is of pictures from -1 (black) to 1 (white) and was given numbers from {least:.4g} "
            f"to {most:.4g}: bring them into that range; 0 to 255 becomes it by x / 127.5 - 1."
        )


def check_channels(name: str, channels: int) -> None:
    """Refuse pictures without channels.

    Raises:
        MisuseError: There are none.
    """
    if channels < 1:
        raise MisuseError(f"The {name} likelihood was asked for pictures of {channels} channels; give at least 1.")


def wide(decoded: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return what a decoder gives in float32 at least: sums over a picture need more than 16 bits.

    Example:
        >>> wide(torch.zeros(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return decoded.to(torch.promote_types(decoded.dtype, torch.float32))
