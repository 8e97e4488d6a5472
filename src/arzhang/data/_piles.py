"""Examples of two domains that do not belong together."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from arzhang.types import Dataset


@final
class TwoPiles:
    """A picture of A and one of B.

    The larger pile is gone through once in an epoch. What stands beside it is drawn, and so are the views of both, each
    by itself; without a generator the smaller pile begins anew whenever it ends.

    Args:
        a: Pictures, ``image``, of the first domain.
        b: Of the second.
    """

    def __init__(self, a: Dataset, b: Dataset) -> None:
        self.domains: Mapping[str, Dataset] = {"a": a, "b": b}

    def __len__(self) -> int:
        return max(map(len, self.domains.values()))

    def name(self, index: int) -> str:
        """Return the names of the two pictures of the plain view."""
        return " and ".join(pile.name(index % len(pile)) for pile in self.domains.values())

    def example(self, index: int, generator: torch.Generator | None) -> Mapping[str, Tensor]:
        """Return ``a`` and ``b``."""
        pictures = {}
        larger = max(self.domains, key=lambda name: len(self.domains[name]))
        for name, pile in self.domains.items():
            drawn = generator is not None and name != larger
            place = int(torch.randint(len(pile), (), generator=generator)) if drawn else index % len(pile)
            pictures[name] = pile.example(place, generator)["image"]
        return pictures
