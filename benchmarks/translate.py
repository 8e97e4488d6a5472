"""Translation with the U-Net of Pix2Pix at 256 pixels: the network alone, and a folder from files to files.

    BATCH=8 python benchmarks/translate.py [--json]
    FOLDER=200 python benchmarks/translate.py [--json]

The plain way is how such models are usually run: eager float32, contiguous, pictures one after another. In the table of
the folder, the ratios of its parts are their shares of the plain way's time.
"""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _interleave
import torch
from torch import Tensor, nn

from arzhang import images
from arzhang.allocator import keep_memory
from arzhang.data import facade
from arzhang.inference import Precision
from arzhang.networks import _layers
from arzhang.run import from_recipe
from arzhang.translate import Translator, translate_files

BATCH = int(os.environ.get("BATCH", "1"))
FOLDER = int(os.environ.get("FOLDER", "0"))
PASSES = 4
"""Passes through the network in a turn."""


def plain_network() -> nn.Module:
    """Return the network as it is usually run: normalised by its input, convolutions as they come, without dropout."""
    _layers.FEW = _layers.THIN = 0
    torch.manual_seed(0)
    network = from_recipe("pix2pix").model.build().generator.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return network


def translator(*, precision: Precision, compiled: bool) -> Translator:
    """Return the same network as the command translates with it."""
    keep_memory()
    torch.manual_seed(0)
    run = from_recipe("pix2pix")
    return Translator(run.model.build().eval(), run, torch.device("cpu"), precision=precision, compile=compiled)


def timed(work: Callable[[], object], *, times: int = 1) -> Callable[[], float]:
    """Return what does the work and gives the seconds it took."""

    def turn() -> float:
        started = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - started) / times

    return turn


def plain_forward(*, kept: bool = False) -> Callable[[], float]:
    """Prepare the plain way through the network."""
    if kept:
        keep_memory()
    network = plain_network()
    return timed(torch.no_grad()(lambda: network(pictures())), times=PASSES)


def forward(*, precision: Precision = "float32", compiled: bool = False) -> Callable[[], float]:
    """Prepare ours."""
    whole = partial(translator(precision=precision, compiled=compiled)._whole, pictures(), None)  # noqa: SLF001
    whole()
    started = time.perf_counter()
    whole()
    if compiled:
        print(f"{precision} compiled in {time.perf_counter() - started:.0f} s")
    return timed(whole, times=PASSES)


def pictures() -> Tensor:
    """Return a batch of noise."""
    return 2 * torch.rand(BATCH, 3, 256, 256, generator=torch.Generator().manual_seed(0)) - 1


def files() -> list[tuple[Path, Path]]:
    """Draw photos of 256 pixels into a new folder, as JPEGs; return them and where their translations go."""
    folder = Path(tempfile.mkdtemp())
    houses = facade.Config(size=256).build(seed=0).train
    for index in range(FOLDER):
        images.write(images.from_tensor(houses.example(index, None)["target"]), folder / f"{index}.jpg")
    return [(folder / f"{index}.jpg", folder / f"made/{index}.jpg") for index in range(FOLDER)]


def plain_folder(*parts: str) -> Callable[[], float]:
    """Prepare the plain way through a folder, or some parts of it: decode, network, encode."""
    network, names = plain_network(), files()
    decoded = [images.read(path) for path, _ in names]
    names[0][1].parent.mkdir()

    @torch.no_grad()
    def work() -> None:
        for (path, target), picture in zip(names, decoded, strict=True):
            read = images.read(path) if "decode" in parts else picture
            made = read
            if "network" in parts:
                made = images.from_tensor(network(images.to_tensor(read, channels=3)[None])[0])
            if "encode" in parts:
                images.write(made, target)

    return timed(work)


def folder(*, precision: Precision = "float32", compiled: bool = False, batch: int = 8) -> Callable[[], float]:
    """Prepare ours."""
    ours, names = translator(precision=precision, compiled=compiled), files()
    return timed(lambda: translate_files(ours, names, overwrite=True, batch=batch))


FORWARD: dict[str, _interleave.Setup] = {
    "plain": plain_forward,
    "+ memory kept": partial(plain_forward, kept=True),
    "float32": forward,
    "bfloat16": partial(forward, precision="bfloat16"),
    "float32, compiled": partial(forward, compiled=True),
    "bfloat16, compiled": partial(forward, precision="bfloat16", compiled=True),
}
THROUGH: dict[str, _interleave.Setup] = {
    "plain": partial(plain_folder, "decode", "network", "encode"),
    "(decode)": partial(plain_folder, "decode"),
    "(network)": partial(plain_folder, "network"),
    "(encode)": partial(plain_folder, "encode"),
    "float32, one by one": partial(folder, batch=1),
    "float32": folder,
    "bfloat16": partial(folder, precision="bfloat16"),
    "bfloat16, compiled": partial(folder, precision="bfloat16", compiled=True),
}

if __name__ == "__main__":
    if FOLDER:
        _interleave.main(f"A folder of {FOLDER} JPEGs of 256 pixels", THROUGH, rounds=5, warmup=1)
    else:
        _interleave.main(f"The U-Net at 256 pixels, batch {BATCH}", FORWARD, rounds=15)
