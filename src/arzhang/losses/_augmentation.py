"""Differentiable augmentation: the discriminator sees real and made pictures changed alike, and the gradient passes.

With few pictures a discriminator learns them by heart. To augment only the real ones would teach the generator to make
augmented pictures; here both are, and what the generator makes stays unchanged.

References:
    Zhao, Liu, Lin, Zhu and Han, "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020, equations
    4 to 6, and the ranges of its published code.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Augmentation = Literal["colour", "translation", "cutout"]


def augmented(pictures: Float[Tensor, "B C H W"], policy: Sequence[Augmentation]) -> Float[Tensor, "B C H W"]:
    """Return pictures, each changed by what it draws from the global generator.

    Args:
        pictures: In [-1, 1]; what comes out may leave that range.
        policy: ``colour`` changes brightness, saturation and contrast; ``translation`` moves by up to an eighth of a
            side, ``cutout`` blanks a square of half the sides, both leaving grey.

    Example:
        >>> augmented(torch.ones(1, 1, 4, 4), ["cutout"]).sum() < 16
        tensor(True)
    """
    for each in policy:
        pictures = {"colour": _colour, "translation": _translation, "cutout": _cutout}[each](pictures)
    return pictures


def _colour(pictures: Tensor) -> Tensor:
    brightness, saturation, contrast = torch.rand(3, len(pictures), 1, 1, 1, device=pictures.device)
    pictures = pictures + (brightness - 0.5)
    grey = pictures.mean(1, keepdim=True)
    pictures = torch.lerp(grey, pictures, 2 * saturation)
    mean = pictures.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, pictures, contrast + 0.5)


def _translation(pictures: Tensor) -> Tensor:
    rows, columns = (_places(pictures, -((side + 4) // 8), (side + 4) // 8) for side in pictures.shape[2:])
    height, width = pictures.shape[2:]
    padded = functional.pad(pictures, (1, 1, 1, 1))
    y = (_range(pictures, height) + rows + 1).clamp(0, height + 1)
    x = (_range(pictures, width) + columns + 1).clamp(0, width + 1)
    moved = padded[torch.arange(len(pictures), device=pictures.device)[:, None, None], :, y[:, :, None], x[:, None]]
    return moved.movedim(-1, 1)


def _cutout(pictures: Tensor) -> Tensor:
    inside = []
    for side in pictures.shape[2:]:
        length = (side + 1) // 2
        first = _places(pictures, 0, side - length % 2) - length // 2
        place = _range(pictures, side)
        inside.append((place >= first) & (place < first + length))
    blank = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return pictures * ~blank


def _places(pictures: Tensor, low: int, high: int) -> Tensor:
    return torch.randint(low, high + 1, (len(pictures), 1), device=pictures.device)


def _range(pictures: Tensor, side: int) -> Tensor:
    return torch.arange(side, device=pictures.device)[None]
