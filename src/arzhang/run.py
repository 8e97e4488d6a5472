"""A Run is a Config of Configs: everything that decides what a training run becomes."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from arzhang import config, layout, plugins
from arzhang.inference import Precision
from arzhang.types import DataConfig, MisuseError, ModelConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Adam:
    """How every player's networks are moved.

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2,
        with the rate in both terms, as PyTorch has it.
    """

    rate: float = 2e-4
    """Learning rate before its schedule."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Decay of the first and of the second moment."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the rate goes down."""
    decay_from: float = 0.5
    """Share of the training after which the linear schedule starts to go down."""
    weight_decay: float = 0.0
    """Share by which all that learns, biases and a prior too, shrinks in each step: this times the rate (AdamW)."""

    def rate_at(self, now: int, total: int) -> float:
        """Return the rate in the unit ``now`` (a step or an epoch, from 0) of ``total``; it is never 0 before the end.

        Example:
            >>> adam = Adam(rate=1.0, schedule="linear")
            >>> [round(101 * adam.rate_at(epoch, 200)) for epoch in (0, 99, 100, 199)]
            [101, 101, 100, 1]
        """
        if self.schedule == "linear":
            constant = round(self.decay_from * total)
            return self.rate * (1 - max(0, now + 1 - constant) / (total - constant + 1))
        if self.schedule == "cosine":
            return self.rate * 0.5 * (1 + math.cos(math.pi * now / total))
        return self.rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One training run."""

    model: ModelConfig
    """What is trained."""
    data: DataConfig
    """What it is trained on."""
    optimiser: Adam = Adam()
    """How it is moved."""
    steps: int | None = None
    """Length of the training in batches; give this or epochs."""
    epochs: int | None = None
    """Length of the training in passes through the data; the learning rate then changes once an epoch."""
    batch: int = 1
    """Examples in a batch."""
    accumulate: int = 1
    """Parts of a process's batch that are learnt one after another, to save memory; for one player with one move."""
    seed: int = 0
    """What all randomness is a function of."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, such as .999; 0 keeps none."""
    precision: Precision = "float32"
    """What networks compute in: float32, tf32 (NVIDIA GPUs), bfloat16 or float16; weights stay float32."""
    compile: bool = False
    """Whether to compile the networks, which takes a minute at each start."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    workers: int = 0
    """Processes that load data beside the training; they change nothing but the speed."""
    log_every: int = 20
    """Steps between lines of log.jsonl."""
    judge_every: int = 1000
    """Steps between renderings of the held-out examples, with their figures, a checkpoint and the report."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints that are kept, besides the best."""
    best: str = "l1"
    """The held-out figure by which the best is chosen: l1, or any metric of pairs or sets, such as psnr or kid."""
    features: str = "inception"
    """What that metric looks through, if it does."""
    weights: Path | None = None
    """Its weights, if they are not to be downloaded."""

    def check(self) -> None:
        """Refuse what contradicts itself, before anything is built.

        Raises:
            MisuseError: Not exactly one of steps and epochs is given, or a number is out of its range.
        """
        if (self.steps is None) == (self.epochs is None):
            raise MisuseError(f"A run needs either steps or epochs; found steps {self.steps} and epochs {self.epochs}.")
        counts = "steps epochs batch accumulate workers log_every judge_every checkpoint_every keep"
        for name in counts.split():
            value, least = getattr(self, name), int(name != "workers")
            if value is not None and value < least:
                raise MisuseError(f"{name} is {value}; it should be at least {least}.")
        adam = self.optimiser
        if not 0 <= adam.rate < math.inf:
            raise MisuseError(f"optimiser.rate is {adam.rate}; it should be a number of at least 0.")
        for name, share in (("ema", self.ema), *(("optimiser.betas", beta) for beta in adam.betas)):
            if not 0 <= share < 1:
                raise MisuseError(f"{name} holds {share}; it should be at least 0 and below 1.")
        if not 0 <= adam.weight_decay < math.inf:
            raise MisuseError(f"optimiser.weight_decay is {adam.weight_decay}; it should be a number of at least 0.")
        if not 0 <= adam.decay_from <= 1:
            raise MisuseError(f"optimiser.decay_from is {adam.decay_from}; it should be a share, from 0 to 1.")

    def length(self, examples: int) -> int:
        """Return the number of steps, for an epoch of so many examples."""
        return self.steps if self.steps is not None else math.ceil((self.epochs or 0) * examples / self.batch)

    def rate_at(self, step: int, examples: int) -> float:
        """Return the learning rate of a step (from 0), for an epoch of so many examples."""
        if self.epochs is not None:
            return self.optimiser.rate_at(step * self.batch // examples, self.epochs)
        return self.optimiser.rate_at(step, self.length(examples))


def from_recipe(name: str) -> Run:
    """Return the Run of a recipe.

    Example:
        >>> from_recipe("pix2pix").epochs
        200
    """
    made: Run = plugins.find("recipes", name)()
    return made


def changed(run: Run, changes: Mapping[Any, Any]) -> Run:
    """Return a Run with other values, nested as in a file.

    Steps given replace epochs, and the other way round. A root of data without its kind is read as what it holds.

    Example:
        >>> changed(from_recipe("pix2pix"), {"steps": 10, "model": {"l1": 50}}).model.l1
        50.0
    """
    data = changes.get("data")
    if isinstance(data, Mapping) and "kind" not in data and isinstance(data.get("root"), str | Path):
        run = on_folder(run, Path(data["root"]))
        changes = {**changes, "data": {key: value for key, value in data.items() if key != "root"}}
    return config.from_dict(Run, changes, base=length_from(run, changes))


def on_folder(run: Run, root: Path) -> Run:
    """Return a Run on a folder of pictures, as the dataset that stands for its own or else reads the folder's layout.

    Raises:
        ArzhangError: The folder cannot be read, or holds no pictures.
    """
    if "root" not in {field.name for field in fields(run.data)}:  # type: ignore[arg-type]
        run = config.select(run, "data", getattr(run.data, "from_folder", None) or layout.dataset_of(root))
    return replace(run, data=replace(run.data, root=root))  # type: ignore[type-var]


def length_from(run: Run, given: Collection[object]) -> Run:
    """Return a Run without the length, ``steps`` or ``epochs``, that the other one, if given, replaces."""
    if "steps" in given and "epochs" not in given:
        return replace(run, epochs=None)
    if "epochs" in given and "steps" not in given:
        return replace(run, steps=None)
    return run
