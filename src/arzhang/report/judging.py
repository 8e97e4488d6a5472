"""By what a game is judged: targets, cycles, what it explains, or what it draws when it is asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang.report import asking, autoencoding, exchange, translation
from arzhang.report._parts import Report
from arzhang.types import Estimate, MisuseError, Splits


@runtime_checkable
class Judgement(Protocol):
    """What a game was found to be worth on what it has never seen."""

    @property
    def outputs(self) -> Sequence[Float[Tensor, "1 C H W"]]:
        """What it made of the held-out pictures."""

    @property
    def figures(self) -> Mapping[str, Estimate]:
        """Figures of its kind, with which no metric of pictures can serve."""

    @property
    def logged(self) -> Mapping[str, float]:
        """What goes into the log; where one is not finite, the run has failed."""

    def save_samples(self, path: Path) -> None:
        """Write one picture of a few held-out examples."""

    def report(
        self, *, run: Mapping[str, Any], log: Path, step: int, best: Mapping[str, Any], provenance: Mapping[str, str]
    ) -> Report:
        """Collect what there is to say."""


@runtime_checkable
class Judge(Protocol):
    """Held-out pictures, and how games of a kind are judged by them."""

    @property
    def kind(self) -> str:
        """What is judged, as words that follow "the held-out"."""

    @property
    def own(self) -> Sequence[str]:
        """Names of the figures that a judgement brings with it, by which the best may be chosen."""

    @property
    def paired(self) -> bool:
        """Whether each output has a target of its own, and not only as one of a set."""

    @property
    def targets(self) -> Sequence[Float[Tensor, "1 C H W"]]:
        """What the outputs should be."""

    def __call__(self, game: Any, device: torch.device) -> Judgement:
        """Look at what a game makes of the held-out pictures; many processes share them."""


def judge(game: Any, splits: Splits) -> Judge:
    """Return what judges a game by what is held out.

    Raises:
        MisuseError: The game is for nothing that can be judged, or the examples are not what it learns from.
    """
    if hasattr(game, "directions"):
        return exchange.Judge.of(splits)
    if hasattr(game, "translate"):
        return translation.Judge.of(splits)
    if hasattr(game, "reconstruct"):
        return autoencoding.Judge.of(splits)
    if hasattr(game, "conditions"):
        return asking.Judge.of(game, splits)
    raise MisuseError(
        f"{type(game).__name__} cannot be judged: it has neither translate(source), nor reconstruct(picture), nor "
        "conditions(label); give it the one that it is for."
    )
