"""What folding, storing channels last and bfloat16 save in FID-Inception's features: batches of 32 pictures.

    python benchmarks/inception.py [--json]

The denominator is the plain network, eager, in float32 and contiguous, with weights drawn at random. The work gives the
seconds for one picture, of the network only: resizing is the same for all.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _interleave
import torch
from torch import Tensor

from arzhang.features import inception
from arzhang.inference import Precision, hold_weights
from arzhang.weights import Weights

BATCH = 32


def features(*, precision: Precision | None) -> Callable[[], float]:
    """Prepare to look at a batch: with the extractor, or without a precision with the plain network."""
    torch.manual_seed(0)
    plain = inception.Network().eval().requires_grad_(requires_grad=False)
    pictures = torch.rand(BATCH, 3, inception.SIDE, inception.SIDE) * 2 - 1
    look: Callable[[Tensor], object] = plain
    if precision:
        drawn = Weights(tensors=plain.state_dict(), path=Path("random"), sha256="", published=False)
        look = inception.Inception(drawn, config=inception.Config())
        hold_weights(look, precision=precision)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def work() -> float:
        started = time.perf_counter()
        with torch.no_grad(), half:
            look(pictures)
        return (time.perf_counter() - started) / BATCH

    return work


VARIANTS = {
    "plain": partial(features, precision=None),
    "float32": partial(features, precision="float32"),
    "bfloat16": partial(features, precision="bfloat16"),
}

if __name__ == "__main__":
    _interleave.main("FID-Inception's features", VARIANTS, rounds=5, warmup=1)
