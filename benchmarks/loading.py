"""What loading takes of a training step: pairs of 256 pixels from JPEGs, decoded and from the cache.

    python benchmarks/loading.py [--json]

The denominator is the fastest step of Pix2Pix at batch 1; a ratio of .2 means that loading is five times as fast as the
step. The workers have nothing else beside them here, as they have while a GPU computes.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _interleave
import torch
from train_step import variant

from arzhang import images
from arzhang.data import facade, paired
from arzhang.loading import batches

PAIRS = 32


def loading(*, cache: int, workers: int = 0) -> Callable[[], float]:
    """Prepare to load an epoch; the work gives the seconds for one pair."""
    folder = tempfile.TemporaryDirectory()
    drawn = facade.Config(size=256, count=PAIRS, held_out=1).build(seed=0).train
    for index in range(PAIRS):
        pair = torch.cat([*drawn.example(index, None).values()], dim=2)
        images.write(images.from_tensor(pair), Path(folder.name, f"{index}.jpg"))
    data = paired.Config(root=Path(folder.name), cache=cache).build(seed=0).train
    if cache:
        list(batches(data, size=1, seed=0, steps=range(PAIRS)))

    def epoch() -> float:
        folder.name  # noqa: B018 - the pictures live as long as this function
        started = time.perf_counter()
        for _ in batches(data, size=1, seed=0, steps=range(PAIRS), workers=workers):
            pass
        return (time.perf_counter() - started) / PAIRS

    return epoch


VARIANTS = {
    "a step": partial(variant, kept=True, fused=True, products=True, precision="bfloat16"),
    "decoded in the same process": partial(loading, cache=0),
    "decoded by two workers, with their start": partial(loading, cache=0, workers=2),
    "from the cache": partial(loading, cache=10**9),
}

if __name__ == "__main__":
    _interleave.main("Loading a pair, beside a step of Pix2Pix", VARIANTS, rounds=10)
