"""An autoencoder of MNIST's size: its training step, and the log-likelihood by 5000 importance samples.

    [BATCH=512] python -m benchmarks.vae [nll] [--json]

The plain way is how a script trains the same networks: eager float32, N(0, 1) as the prior, a DataLoader that draws,
example by example, which pixels are white, Adam as it comes, and the loss written out. Each variant adds one measure to
the one before it; `arzhang train` is all of them with what a run does besides: the moving average, the terms for the
log, randomness that is a function of seed and step. Those in brackets stand alone. A turn is 1280 examples, and its
figure one step.

With `nll`, a turn explains 4 pictures (`PICTURES`), and its figure is scaled to 1000. The pictures are noise of MNIST's
size and number, which takes as long. Names in capitals are read from the environment.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal
from torch.nn import functional
from torch.utils.data import DataLoader

from arzhang import rng
from arzhang.allocator import keep_memory
from arzhang.data import mnist
from arzhang.loading import batches
from arzhang.models._autoencoder import Autoencoder
from arzhang.networks import _layers, conv_decoder
from arzhang.objectives import log_likelihood
from arzhang.run import Run, from_recipe
from arzhang.train import Terms, _follow, begin, play, twin

try:
    import _interleave
except ModuleNotFoundError:  # as python -m benchmarks.vae
    from benchmarks import _interleave

BATCH = int(os.environ.get("BATCH", "128"))
STEPS = max(1280 // BATCH, 1)
PICTURES, OF, IMPORTANCE = int(os.environ.get("PICTURES", "4")), 1000, 5000
PART = "nll" if sys.argv[1:2] == ["nll"] else os.environ.get("PART", "")
os.environ["PART"] = PART  # for the processes of the variants
sys.argv[1:] = sys.argv[1 + (sys.argv[1:2] == ["nll"]) :]


def recipe() -> Run:
    """Return `vae-mnist`, with the prior that scripts have."""
    run = from_recipe("vae-mnist")
    model: Any = run.model
    return replace(run, model=replace(model, prior="standard-normal"))


def digits(*, count: int = 60_000) -> mnist.Digits:
    """Return noise in the form of MNIST, mostly black."""
    drawn = torch.randint(256, (count, 28, 28), dtype=torch.uint8, generator=rng.generator(0, "pictures"))
    labels = torch.zeros(count, dtype=torch.int64)
    return mnist.Digits(
        pictures=drawn * (drawn > 200), labels=labels, config=mnist.Config(binarise="dynamic"), split="train"
    )


class Examples:
    """A dataset as a script has it: tensors, of which each example is drawn by itself."""

    def __init__(self, data: mnist.Digits) -> None:
        self.pictures, self.labels = data.pictures, data.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return 2 * torch.bernoulli(self.pictures[index, None] / 255) - 1, self.labels[index]


def written_out(game: Autoencoder, image: Tensor) -> Tensor:
    """Return the loss as a script has it."""
    mean, log_variance = game.encoder(image).chunk(2, dim=1)
    logits = game.decoder(mean + (log_variance / 2).exp() * torch.randn_like(mean))
    distortion = functional.binary_cross_entropy_with_logits(logits, (image + 1) / 2, reduction="sum")
    rate = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
    return (distortion + rate) / len(image)


def slow() -> None:
    """Leave all layers to the kernels, as they come."""
    _layers.FEW = _layers.THIN = 0
    _layers.ConvTranspose2d.forward = nn.ConvTranspose2d.forward  # type: ignore[method-assign]
    conv_decoder.LAYOUT = torch.contiguous_format


def by_script(
    *, kept: bool = False, fused: bool | None = None, whole: bool = False, fast: bool = False
) -> Callable[[], float]:
    """Prepare the training of a script, with some of the measures."""
    if kept:
        keep_memory()
    if not fast:
        slow()
    torch.manual_seed(0)
    data, game = digits(), recipe().model.build()
    optimiser = torch.optim.Adam(game.parameters(), lr=1e-3, fused=fused)

    def one_by_one() -> Iterator[Tensor]:
        while True:
            yield from (image for image, _ in DataLoader(Examples(data), BATCH, shuffle=True, drop_last=True))

    def at_once() -> Iterator[Tensor]:
        return (each.image for each in batches(data, size=BATCH, seed=0, steps=range(10**9)))

    source = at_once() if whole else one_by_one()

    def steps() -> float:
        started = time.perf_counter()
        for image in itertools.islice(source, STEPS):
            optimiser.zero_grad()
            written_out(game, image).backward()
            optimiser.step()
        return (time.perf_counter() - started) / STEPS

    return steps


def by_arzhang(*, precision: str = "float32", compiled: bool = False) -> Callable[[], float]:
    """Prepare the training as the command does it."""
    keep_memory()
    run = recipe()
    torch.manual_seed(0)
    state = begin(run, torch.device("cpu"))
    assert state.average
    game, terms = twin(state.game, compile=compiled), Terms(Path())
    source = batches(digits(), size=BATCH, seed=0, steps=range(10**9))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def steps() -> float:
        started = time.perf_counter()
        for batch in itertools.islice(source, STEPS):
            torch.manual_seed(rng.seed_of(0, "step", state.step))
            terms.add(play(game, batch, state.optimisers, rate=1e-3, autocast=autocast), state.step)
            _follow(state.average, state.game, decay=run.ema, step=state.step)
            state.step += 1
        terms.tell(None)
        return (time.perf_counter() - started) / STEPS

    return steps


def explaining(*, plain: bool = False, precision: str = "float32") -> Callable[[], float]:
    """Prepare the log-likelihood, as a script or as this package has it."""
    if plain:
        slow()
    else:
        keep_memory()
    torch.manual_seed(0)
    game = recipe().model.build()
    image = torch.stack([digits(count=PICTURES).example(index, None)["image"] for index in range(PICTURES)])

    def scripted() -> Tensor:
        mean, log_variance = game.encoder(image).chunk(2, dim=1)
        q, prior = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
        white, log_w = (image + 1) / 2, []
        for _ in range(IMPORTANCE // 100):
            z = q.sample((100,))
            p = Independent(Bernoulli(logits=game.decoder(z.flatten(0, 1)).unflatten(0, (100, -1))), 3)
            log_w.append(p.log_prob(white) + (prior.log_prob(z) - q.log_prob(z)).sum(-1))
        return torch.cat(log_w).logsumexp(0)

    def explain() -> float:
        started = time.perf_counter()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            if plain:
                scripted()
            else:
                log_likelihood(image, game.encode(image), game.prior(), game.given, samples=IMPORTANCE)
        return (time.perf_counter() - started) * OF / PICTURES

    return explain


MEASURES = {
    "plain": {},
    "+ whole batches": {"whole": True},
    "+ memory kept": {"kept": True},
    "+ fused Adam": {"fused": True},
    "+ channels last, few channels by products, bias apart": {"fast": True},
}
STEP = {
    **{
        name: partial(
            by_script, **{key: value for each in [*MEASURES][: place + 1] for key, value in MEASURES[each].items()}
        )
        for place, name in enumerate(MEASURES)
    },
    "arzhang train": by_arzhang,
    "(arzhang train, bfloat16)": partial(by_arzhang, precision="bfloat16"),
    "(arzhang train, compiled)": partial(by_arzhang, compiled=True),
}
NLL = {
    "plain": partial(explaining, plain=True),
    "log_likelihood": explaining,
    "(log_likelihood, bfloat16)": partial(explaining, precision="bfloat16"),
}

if __name__ == "__main__":
    if PART == "nll":
        title = f"-log p(x) of {OF:,} pictures by {IMPORTANCE:,} samples, measured on {PICTURES}"
        _interleave.main(title, NLL, rounds=5, warmup=1)
    else:
        _interleave.main(f"A step of vae-mnist with N(0, 1), batch {BATCH}", STEP, rounds=15)
