"""One training step at 256 pixels, and what each measure that makes it faster is worth.

    [BATCH=4] [SIZE=128] python benchmarks/train_step.py [--model cyclegan | cgan] [--json]

A conditional GAN is that of MNIST: 28 pixels, batch 64. The plain way is how such models are usually trained: eager
float32, Adam in a loop over the tensors, memory given back to the system at every step, and, of a CycleGAN or a
conditional GAN, a pass for each picture or kind of picture. Of a conditional GAN the generator's move goes back to the
discriminator's weights as well, as in PyTorch's own example of a GAN and many that followed it; the authors' programs
of Pix2Pix and CycleGAN spare that. Each variant adds one measure to the one before it; those in brackets stand alone.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from arzhang import plugins
from arzhang.allocator import keep_memory
from arzhang.models import cgan, cyclegan
from arzhang.networks import _layers, conditional_discriminator, conditional_generator, resnet
from arzhang.rng import generator
from arzhang.run import from_recipe
from arzhang.train import begin, play, twin
from arzhang.types import Batch

try:
    import _interleave
except ModuleNotFoundError:  # as python -m benchmarks.train_step
    from benchmarks import _interleave

CHOICE = argparse.ArgumentParser(add_help=False)
CHOICE.add_argument("--model", choices=("pix2pix", "cyclegan", "cgan"), default=os.environ.get("MODEL", "pix2pix"))
GIVEN, sys.argv[1:] = CHOICE.parse_known_args()
os.environ["MODEL"] = GIVEN.model  # for the processes of the variants
NAMES = {"pix2pix": ("source", "target"), "cyclegan": ("a", "b"), "cgan": ("image",)}[GIVEN.model]
RECIPE = {"cgan": "cgan-mnist"}.get(GIVEN.model, GIVEN.model)
DEFAULTS = {"cgan": (64, 28)}.get(GIVEN.model, (1, 256))
STEPS = {"cgan": 10}.get(GIVEN.model, 1)
"""Steps in a turn: the first of them starts with what others left in the caches, so that alone it would time those."""
BATCH, SIZE = (int(os.environ.get(name, value)) for name, value in zip(("BATCH", "SIZE"), DEFAULTS, strict=True))


def variant(
    *,
    own: bool = GIVEN.model != "cgan",
    kept: bool = False,
    fused: bool = False,
    products: bool = False,
    shared: bool = False,
    ordered: bool = False,
    precision: str = "float32",
    channels_last: bool = False,
    compiled: bool = False,
) -> Callable[[], float]:
    """Prepare a step with some of the measures."""
    if not own:
        Tensor.backward = lambda loss, **_: torch.autograd.backward(loss)  # type: ignore[method-assign, assignment]
    if kept:
        keep_memory()
    if not products:
        _layers.FEW = _layers.THIN = 0
        _layers.ConvTranspose2d.forward = nn.ConvTranspose2d.forward  # type: ignore[method-assign]
    if not shared:
        cyclegan.apart = cgan.apart = lambda _: False
    if not ordered:
        resnet.LAYOUT = conditional_generator.LAYOUT = torch.contiguous_format
        conditional_discriminator.channels_last = torch.Tensor.contiguous  # type: ignore[assignment]
    torch.manual_seed(0)
    state = begin(from_recipe(RECIPE), torch.device("cpu"))
    if not fused:
        state.optimisers = {
            player: torch.optim.Adam(optimiser.param_groups[0]["params"], lr=2e-4, betas=(0.5, 0.999), foreach=False)
            for player, optimiser in state.optimisers.items()
        }
    layout = torch.channels_last if channels_last else torch.contiguous_format
    state.game.to(memory_format=layout)
    game = twin(state.game, compile=compiled)
    shape = len(NAMES), BATCH, 1 if GIVEN.model == "cgan" else 3, SIZE, SIZE
    pictures = 2 * torch.rand(shape, generator=generator(0, "pictures")) - 1
    named = {name: each.contiguous(memory_format=layout) for name, each in zip(NAMES, pictures, strict=True)}
    batch = Batch({**named, "label": torch.arange(BATCH) % 10} if GIVEN.model == "cgan" else named)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def step() -> float:
        started = time.perf_counter()
        for _ in range(STEPS):
            for _ in play(game, batch, state.optimisers, rate=2e-4, autocast=autocast):
                pass
            for optimiser in state.optimisers.values():
                optimiser.zero_grad()
        return (time.perf_counter() - started) / STEPS

    return step


OF_SEVERAL = {"+ shared passes": {"shared": True}, "+ channels last, few by products": {"ordered": True}}
OF_CGAN = {"+ gradients of who moves": {"own": True}}
MEASURES = {
    "plain": {},
    **(OF_CGAN if GIVEN.model == "cgan" else {}),
    "+ memory kept": {"kept": True},
    "+ fused Adam": {"fused": True},
    "+ products of few pixels, bias apart": {"products": True},
    **({} if GIVEN.model == "pix2pix" else OF_SEVERAL),
    "+ bfloat16": {"precision": "bfloat16"},
}
SO_FAR = {
    name: {key: value for each in [*MEASURES][: place + 1] for key, value in MEASURES[each].items()}
    for place, name in enumerate(MEASURES)
}
VARIANTS = {
    **{name: partial(variant, **values) for name, values in SO_FAR.items()},
    "(+ channels last everywhere)": partial(variant, **SO_FAR["+ bfloat16"], channels_last=True),
    "(+ compile)": partial(variant, **SO_FAR["+ bfloat16"], compiled=True),
}

if __name__ == "__main__":
    model = plugins.about("models", GIVEN.model).partition(":")[0]
    _interleave.main(f"A step of {model}, {SIZE} pixels, batch {BATCH}", VARIANTS, rounds=15)
