"""Pictures of two values, black and white, drawn from grey ones: a grey level is the chance of white."""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import rng

Binarise = Literal["none", "static", "dynamic"]
"""Whether pictures are drawn to be black and white: never, once and for all, or anew whenever they are learnt from."""


def binarised(
    pictures: Float[Tensor, "B C H W"],
    names: Iterable[str],
    generators: Iterable[torch.Generator | None],
    *,
    how: Binarise,
) -> Float[Tensor, "B C H W"]:
    """Draw pictures of -1 and 1 from grey ones.

    Args:
        pictures: In [-1, 1].
        names: What the fixed drawing of each is a function of, and of nothing else, so that it is that of every run.
        generators: What a dynamic drawing is drawn from; without one it is the fixed one.
        how: Which drawing.
    """
    if how == "none":
        return pictures
    chance = torch.empty_like(pictures)
    for row, name, generator in zip(chance, names, generators, strict=True):
        drawn = generator if how == "dynamic" and generator else rng.generator(0, "binarise", name)
        row.uniform_(generator=drawn)
    return (2 * chance - 1 < pictures).to(pictures.dtype).mul_(2).sub_(1)
