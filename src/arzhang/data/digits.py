"""Digits: 1797 handwritten digits of 8 x 8 pixels and 17 levels, with labels, which come with scikit-learn.

Nothing has to be downloaded, and everything about pictures with labels can be tried in a minute. They are too small and
too easy for more: what a model scores on them says little about MNIST.

References:
    Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998, of which
    scikit-learn has the test set.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from arzhang import images, rng
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

    def build(self, *, seed: int) -> Splits:
        """Open the digits.

        Args:
            seed: Decides which fifth is held out.

        Raises:
            MisuseError: The size is less than 1.
        """
        from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import

        if self.size < 1:
            raise MisuseError(f"The size is {self.size}, and at least 1 pixel is needed.")
        bundled = load_digits()
        small = torch.from_numpy(bundled.images).float() / (LEVELS / 2) - 1
        labels = torch.from_numpy(bundled.target).long()
        order = torch.randperm(len(labels), generator=rng.generator(seed, "digits"))
        held_out = len(labels) // HELD_OUT
        train, held = (
            Digits(pictures=small[chosen], labels=labels[chosen], numbers=chosen, size=self.size)
            for chosen in (order[held_out:].sort().values, order[:held_out].sort().values)
        )
        return Splits(train=train, held_out=held)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Digits:
    """One split, with nothing drawn: an example is the same with a generator and without."""

    pictures: Float[Tensor, "N 8 8"]
    labels: Int64[Tensor, " N"]
    numbers: Int64[Tensor, " N"]
    size: int

    def __len__(self) -> int:
        return len(self.labels)

    def example(self, index: int, generator: torch.Generator | None) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``image``, 1 x size x size in [-1, 1], and ``label``."""
        image = images.resize(self.pictures[index, None], height=self.size, width=self.size)
        return {"image": image, "label": self.labels[index]}

    def name(self, index: int) -> str:
        """Return the number that it has in scikit-learn."""
        return f"digit {self.numbers[index]}"
