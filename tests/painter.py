"""A plug-in for the tests: a game of one player, who learns the target from the source by the mean squared error."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from arzhang.types import Batch, Move

room = "models"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A painter."""

    moves: int = 1
    """How often it moves in a round."""

    def build(self):
        return Painter(self.moves)


class Painter(nn.Module):
    players: Mapping[str, tuple[str, ...]] = {"painter": ("network",)}

    def __init__(self, moves: int) -> None:
        super().__init__()
        self.moves = moves
        self.network = nn.Conv2d(3, 3, 3, padding=1)

    def play(self, batch: Batch) -> Iterator[Move]:
        for _ in range(self.moves):
            loss = (self.network(batch.source) - batch.target).square().mean()
            yield Move(player="painter", loss=loss, terms={"error": loss.detach()})

    @torch.no_grad()
    def translate(self, source, *, noise=None):
        return self.network(source).clamp(-1, 1)
