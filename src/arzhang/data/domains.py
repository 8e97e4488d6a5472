"""Two domains of city houses, by day and by night or plain and striped, whose true pairs are known and held back.

A house of one domain is never shown to training in the other. Of held-out houses both looks are known, so that an error
can be measured where there usually is none. The houses are those of ``facade``; their sun is the same in both domains.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from arzhang import rng
from arzhang.data import _augment, facade
from arzhang.data._cache import Cache
from arzhang.data._facade_looks import NIGHT, NOON
from arzhang.data._piles import TwoPiles
from arzhang.types import MisuseError, Splits

Change = Literal["night", "stripes"]
STRIPE = 2
"""Height of a stripe in pixels; stripes keep their rows in every view, which a network that halves twice can tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Houses in two domains, offline: A by day or plain, B by night or striped.

    Night changes all colours and lights every window; stripes darken every second row of the walls, which have to be
    found.

    Example:
        >>> splits = Config(size=32, count=2, held_out=2).build(seed=0)
        >>> sorted(splits.train.example(0, None)), sorted(splits.held_out.domains["a"].example(0, None))
        (['a', 'b'], ['image', 'truth'])
    """

    change: Change = "night"
    """What B is: the same street by night, or with striped walls."""
    size: int = 128
    """Pixels of each side, at least 32."""
    count: int = 200
    """Houses of each domain to learn from."""
    held_out: int = 40
    """Houses of each domain that are kept for judging."""
    flip: bool = True
    """Mirror every second training picture."""
    cache: int = 2_000_000_000
    """Bytes of memory for drawn pictures, for each pile; more goes to a temporary file, 0 draws every time."""

    from_folder: ClassVar[str] = "unpaired"
    """The dataset that takes its place where a folder is given."""

    def build(self, *, seed: int) -> Splits:
        """Name the houses; they are drawn when they are asked for.

        Args:
            seed: Decides every house.

        Raises:
            MisuseError: The pictures are too small for a house, or a pile is empty.
        """
        facade.Config(size=self.size, count=self.count, held_out=self.held_out).build(seed=seed)  # which refuses these
        if self.count < 2:
            raise MisuseError(f"A domain is learnt from at least two pictures, and count is {self.count}.")
        return Splits(
            train=TwoPiles(*(_Houses(self, seed, "train", domain, count=self.count) for domain in ("a", "b"))),
            held_out=TwoPiles(*(_Houses(self, seed, "held out", domain, count=self.held_out) for domain in ("a", "b"))),
        )


@final
class _Houses:
    """One pile of one split."""

    def __init__(self, config: Config, seed: int, split: str, domain: str, *, count: int) -> None:
        self._config, self._count, self._path = config, count, (seed, "domains", split, domain)
        self._domain, self._open = domain, split == "held out"
        looks = 2 if self._open else 1
        self._load = _augment.load_for(config.size, None)
        shapes = [[(3, self._load, self._load)] * looks] * count
        self._cache = Cache(self._decode, shapes, budget=config.cache)

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"house {self._domain}{index}"

    def example(self, index: int, generator: torch.Generator | None) -> Mapping[str, Float[Tensor, "3 H W"]]:
        """Return ``image``, and of a held-out house how it truly looks in the other domain, ``truth``."""
        size, flip, free = self._config.size, self._config.flip, self._load - self._config.size
        top, left = free // 2, free // 2
        if generator is not None:
            top, left = (int(torch.randint(free + 1, (), generator=generator)) for _ in range(2))
        top -= top % (2 * STRIPE)
        squares = [look[:, top : top + size, left : left + size] for look in self._cache[index]]
        looks = _augment.views(squares, size=size, flip=flip, generator=generator)
        return dict(zip(("image", "truth"), looks, strict=False))

    def _decode(self, index: int) -> list[Tensor]:
        seed, *path = self._path
        house = rng.seed_of(int(seed), *path, index)
        domains = self._domain + "ab".replace(self._domain, "") if self._open else self._domain
        return [_picture(house, domain, self._load, self._config.change) for domain in domains]


def _picture(house: int, domain: str, size: int, change: Change) -> UInt8[Tensor, "3 {size} {size}"]:
    drawn = partial(facade.draw, np.random.default_rng(house), size)
    if change == "night":
        _, photo = drawn(weather=NOON if domain == "a" else NIGHT)
    else:
        classes, photo = drawn(weather=NOON)
        photo = photo if domain == "a" else _striped(photo, classes)
    return torch.from_numpy(photo.round().astype(np.uint8)).permute(2, 0, 1).contiguous()


def _striped(photo: Any, classes: Any) -> Any:
    dark = np.arange(len(photo))[:, None] // STRIPE % 2 == 1
    wall = classes == list(facade.PALETTE).index("facade")
    return photo * np.where(dark & wall, 0.55, 1)[..., None]
