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

    def build(self):
        return Painter()


class Painter(nn.Module):
    players: Mapping[str, tuple[str, ...]] = {"painter": ("network",)}

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(3, 3, 3, padding=1)

    def play(self, batch: Batch) -> Iterator[Move]:
        loss = (self.network(batch.source) - batch.target).square().mean()
        yield Move(player="painter", loss=loss, terms={"error": loss.detach()})

    @torch.no_grad()
    def translate(self, source, *, noise=None):
        return self.network(source).clamp(-1, 1)
