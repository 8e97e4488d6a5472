"""Pictures turned, slanted and stretched a little at random, so that a few stand for many."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from arzhang.types import MisuseError


def check_warp(warp: float) -> None:
    """Refuse what is no strength.

    Raises:
        MisuseError: It is negative, or above 1.
    """
    if not 0 <= warp <= 1:
        raise MisuseError(f"The warp is {warp}; give a number from 0, which changes nothing, to 1, such as 0.1.")


def warped(
    pictures: Float[Tensor, "B C H W"], generators: Sequence[torch.Generator | None], *, warp: float
) -> Float[Tensor, "B C H W"]:
    """Turn, slant and stretch each picture about its centre, bicubically; the edge goes on outside.

    Args:
        pictures: In [-1, 1].
        generators: What is drawn from for each; without one, as for held-out pictures, all stay as they are.
        warp: Most radians that it is turned, most of a height that its top is moved along against its bottom, and twice
            the logarithm of the most that each side is stretched or shrunk.

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
    if not warp or not drawing:
        return pictures
    drawn = torch.stack([torch.rand(4, generator=generator) for generator in drawing])
    turn, slant, width, height = (warp * (2 * drawn - 1)).unbind(1)
    zero, cos, sin, wide, high = torch.zeros_like(turn), turn.cos(), turn.sin(), (width / 2).exp(), (height / 2).exp()
    across = torch.stack([cos * wide, cos * slant - sin * high, zero], dim=1)
    down = torch.stack([sin * wide, sin * slant + cos * high, zero], dim=1)
    grid = functional.affine_grid(torch.stack([across, down], dim=1), list(pictures.shape), align_corners=False)
    made = functional.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return made.clamp(-1, 1)
