"""Random affine maps of pictures (rotation, shear and scale), so that a few stand for many."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from arzhang.data._binarise import Binarise
from arzhang.types import MisuseError


def check_warp(warp: float, binarise: Binarise) -> None:
    """Refuse what is no strength, and what would move digits that are drawn once.

    Raises:
        MisuseError: It is negative, or above 1, or black and white are drawn once and for all.
    """
    if not 0 <= warp <= 1:
        raise MisuseError(f"The warp is {warp}; give a number from 0, which changes nothing, to 1, such as 0.1.")
    if warp and binarise == "static":
        raise MisuseError(
            "Digits that are drawn black and white once (binarise static) are not warped anew each time: give "
            "--data.warp 0, or --data.binarise dynamic."
        )


def warped(
    pictures: Float[Tensor, "B C H W"], generators: Sequence[torch.Generator | None], *, warp: float
) -> Float[Tensor, "B C H W"]:
    """Rotate, shear and scale each picture about its centre, bicubically; the edge goes on outside.

    Args:
        pictures: In [-1, 1], square.
        generators: What is drawn from for each; where one has none, as held-out pictures, all stay as they are.
        warp: The most radians of rotation, and the most shear; sides are scaled by up to exp(warp / 2) or its inverse.

    References:
        Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to Visual Document
        Analysis", ICDAR 2003, section 2.

    Example:
        >>> stroke = torch.nn.functional.pad(torch.ones(1, 1, 1, 7), (1, 1, 4, 4), value=-1)
        >>> for row in warped(stroke, [torch.Generator().manual_seed(1)], warp=1.0)[0, 0, 2:7] > 0:
        ...     print("".join("-#"[white] for white in row.int()))
        ---------
        -----##--
        ---###---
        --##-----
        ---------
    """
    drawing = [generator for generator in generators if generator is not None]
    if not warp or len(drawing) < len(pictures):
        return pictures
    drawn = torch.stack([torch.rand(4, generator=generator) for generator in drawing]).to(pictures.dtype)
    turn, shear, width, height = (warp * (2 * drawn - 1)).unbind(1)
    zero, cos, sin, wide, high = torch.zeros_like(turn), turn.cos(), turn.sin(), (width / 2).exp(), (height / 2).exp()
    across = torch.stack([cos * wide, cos * shear - sin * high, zero], dim=1)
    down = torch.stack([sin * wide, sin * shear + cos * high, zero], dim=1)
    grid = functional.affine_grid(torch.stack([across, down], dim=1), list(pictures.shape), align_corners=False)
    made = functional.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return made.clamp(-1, 1)
