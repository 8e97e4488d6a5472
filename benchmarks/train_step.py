"""One training step of Pix2Pix at 256 pixels, and what each measure that makes it faster is worth.

    [BATCH=4] python benchmarks/train_step.py [--json]

The plain way is how such models are usually trained: eager float32, Adam in a loop over the tensors, memory given back
to the system at every step. Each variant adds one measure to the one before it; those in brackets stand alone.
"""

import os
import time
from collections.abc import Callable
from functools import partial

import _interleave
import torch

from arzhang.allocator import keep_memory
from arzhang.networks import _layers
from arzhang.rng import generator
from arzhang.run import from_recipe
from arzhang.train import begin, play, twin
from arzhang.types import Batch

BATCH = int(os.environ.get("BATCH", "1"))


def variant(
    *,
    kept: bool = False,
    fused: bool = False,
    products: bool = False,
    precision: str = "float32",
    channels_last: bool = False,
    compiled: bool = False,
) -> Callable[[], float]:
    """Prepare a step with some of the measures."""
    if kept:
        keep_memory()
    if not products:
        _layers.FEW = 0
    torch.manual_seed(0)
    state = begin(from_recipe("pix2pix"), torch.device("cpu"))
    if not fused:
        state.optimisers = {
            player: torch.optim.Adam(optimiser.param_groups[0]["params"], lr=2e-4, betas=(0.5, 0.999), foreach=False)
            for player, optimiser in state.optimisers.items()
        }
    layout = torch.channels_last if channels_last else torch.contiguous_format
    state.game.to(memory_format=layout)
    game = twin(state.game, compile=compiled)
    pictures = 2 * torch.rand(2, BATCH, 3, 256, 256, generator=generator(0, "pictures")) - 1
    batch = Batch({"source": pictures[0].contiguous(memory_format=layout), "target": pictures[1]})
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def step() -> float:
        started = time.perf_counter()
        for _ in play(game, batch, state.optimisers, rate=2e-4, autocast=autocast):
            pass
        return time.perf_counter() - started

    return step


VARIANTS = {
    "plain": partial(variant),
    "+ memory kept": partial(variant, kept=True),
    "+ fused Adam": partial(variant, kept=True, fused=True),
    "+ products (float32)": partial(variant, kept=True, fused=True, products=True),
    "+ bfloat16": partial(variant, kept=True, fused=True, products=True, precision="bfloat16"),
    "(+ channels last)": partial(
        variant, kept=True, fused=True, products=True, precision="bfloat16", channels_last=True
    ),
    "(+ compile)": partial(variant, kept=True, fused=True, products=True, precision="bfloat16", compiled=True),
}

if __name__ == "__main__":
    _interleave.main(f"A step of Pix2Pix, 256 pixels, batch {BATCH}", VARIANTS, rounds=15)
