"""Digits: 1797 handwritten digits of 8 x 8 pixels and 17 levels, with labels, which come with scikit-learn.

Nothing has to be downloaded, and everything about pictures with labels can be tried in a minute. They are too small and
too easy for more: what a model scores on them says little about MNIST.

References:
    Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998, of which
    scikit-learn has the test set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from arzhang import rng
from arzhang.data._binarise import Binarise, binarised
from arzhang.data._warp import check_warp, warped
from arzhang.types import MisuseError, Splits

LEVELS = 16
HELD_OUT = 5
"""One in so many is held out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Small handwritten digits with labels, offline.

    Example:
        >>> splits = Config(size=16).build(seed=0)
        >>> len(splits.train), len(splits.held_out), splits.train.example(0, None)["image"].shape
        (1438, 359, torch.Size([1, 16, 16]))
    """

    size: int = 28
    """Pixels of each side, to which the 8 are enlarged (bicubic)."""
    binarise: Binarise = "none"
    """Whether pixels are drawn to be black or white: not, once (the same in every run), or anew in each epoch."""
    warp: float = 0.0
    """Most rotation (in radians), shear, and twice the logarithm of the scale, of digits that are learnt from."""

    def build(self, *, seed: int) -> Splits:
        """Open the digits.

        Args:
            seed: Decides which fifth is held out.

        Raises:
            MisuseError: The size is less than 1, or the warp is out of its range or does not fit.
        """
        from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import

        if self.size < 1:
            raise MisuseError(f"The size is {self.size}, and at least 1 pixel is needed.")
        check_warp(self.warp, self.binarise)
        bundled = load_digits()
        small = torch.from_numpy(bundled.images).float() / (LEVELS / 2) - 1
        labels = torch.from_numpy(bundled.target).long()
        order = torch.randperm(len(labels), generator=rng.generator(seed, "digits"))
        held_out = len(labels) // HELD_OUT
        train, held = (
            Digits(pictures=small[chosen], labels=labels[chosen], numbers=chosen, config=self)
            for chosen in (order[held_out:].sort().values, order[:held_out].sort().values)
        )
        return Splits(train=train, held_out=held)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Digits:
    """One split, in which nothing is drawn but warps, and black and white, if they are asked for."""

    pictures: Float[Tensor, "N 8 8"]
    labels: Int64[Tensor, " N"]
    numbers: Int64[Tensor, " N"]
    config: Config

    def __len__(self) -> int:
        return len(self.labels)

    def example(self, index: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Return ``image``, 1 x size x size in [-1, 1], and ``label``."""
        return {name: tensor[0] for name, tensor in self.examples([(index, generator)]).items()}

    def examples(self, drawn: Sequence[tuple[int, torch.Generator | None]]) -> dict[str, Tensor]:
        """Return many examples as a batch: indices, each with its generator."""
        indices, generators = zip(*drawn, strict=True)
        chosen, side = list(indices), (self.config.size, self.config.size)
        grey = functional.interpolate(self.pictures[chosen, None], side, mode="bicubic", antialias=True).clamp(-1, 1)
        grey = warped(grey, generators, warp=self.config.warp)
        image = binarised(grey, map(self.name, chosen), generators, how=self.config.binarise)
        return {"image": image, "label": self.labels[chosen]}

    def name(self, index: int) -> str:
        """Return the number that it has in scikit-learn."""
        return f"digit {self.numbers[index]}"
