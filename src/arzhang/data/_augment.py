"""From a picture to the square that a network sees: resize, crop and flip."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8, UInt16
from torch import Tensor

from arzhang import images
from arzhang.images import Picture
from arzhang.types import ArzhangError, MisuseError


def load_for(size: int, load: int | None) -> int:
    """Return the shorter side before the crop: ``load``, or the published proportion 286 to 256.

    Raises:
        MisuseError: The crop does not fit.
    """
    if size < 1:
        raise MisuseError(f"The size is {size} pixels; it should be at least 1.")
    if load is None:
        return round(size * 286 / 256)
    if load < size:
        raise MisuseError(
            f"A crop of {size} pixels does not fit into a shorter side of {load}; make load at least {size}."
        )
    return load


def scaled(path: Path, size: tuple[int, int], *, shorter: int) -> tuple[int, int]:
    """Return the height and width of the same shape whose shorter side is ``shorter``.

    Raises:
        ArzhangError: The picture is such a narrow strip that it would become too large.

    Example:
        >>> scaled(Path("tall.png"), (300, 200), shorter=100)
        (150, 100)
    """
    height, width = (round(length * shorter / min(size)) for length in size)
    if height * width > images.MAX_PIXELS:
        raise ArzhangError(
            f"{path} is {size[1]} x {size[0]} pixels and would be {width} x {height}, longer than can be, with a "
            f"shorter side of {shorter}; crop it, or leave it out."
        )
    return height, width


def levels(
    picture: Picture, *, channels: int, height: int, width: int
) -> UInt8[Tensor, "{channels} {height} {width}"] | UInt16[Tensor, "{channels} {height} {width}"]:
    """Resize a picture and return it at the depth it was stored with."""
    image = images.to_tensor(picture, channels=channels)
    if image.shape[1:] != (height, width):
        image = images.resize(image, height=height, width=width)
    dtype = torch.uint8 if picture.pixels.itemsize == 1 else torch.uint16
    return ((image + 1) * (torch.iinfo(dtype).max / 2)).round().to(dtype)


def views(
    pictures: Sequence[Tensor], *, size: int, flip: bool, generator: torch.Generator | None
) -> list[Float[Tensor, "C {size} {size}"]]:
    """Cut the same square out of pictures of one height and width, and bring it into [-1, 1].

    Args:
        pictures: In 8 or 16 bits, C x H x W.
        size: Of the square.
        flip: Mirror every second example.
        generator: Chooses square and mirroring; without it, the centre as it is.
    """
    free = [length - size for length in pictures[0].shape[1:]]
    if generator is None:
        top, left, mirrored = free[0] // 2, free[1] // 2, False
    else:
        top, left = (int(torch.randint(length + 1, (), generator=generator)) for length in free)
        mirrored = flip and bool(torch.rand((), generator=generator) < 0.5)
    cut = [picture[:, top : top + size, left : left + size] for picture in pictures]
    square = [picture.float() / (torch.iinfo(picture.dtype).max / 2) - 1 for picture in cut]
    return [picture.flip(-1) for picture in square] if mirrored else square
