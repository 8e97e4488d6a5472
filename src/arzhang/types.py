"""The words that every room shares: Batch, Move, Dataset, Splits, Game, the kinds of Config and of error.

Dimension letters in shape annotations, everywhere: B batch, C channels, H height, W width, N samples, D features or
latents, K classes. Images inside the package are float32 NCHW RGB in [-1, 1].
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn
from torch.distributions import Distribution


class ArzhangError(Exception):
    """A sentence for the user: what was found, what was expected, what to do. Ends a command with status 1."""

    status: ClassVar[int] = 1


class MisuseError(ArzhangError):
    """The command or the configuration asks for what cannot be. Ends a command with status 2."""

    status: ClassVar[int] = 2


class Batch(Mapping[str, Tensor]):
    """Named tensors whose first dimension is the batch, read as attributes.

    Example:
        >>> batch = Batch.stack([{"source": torch.zeros(3, 4, 4)}, {"source": torch.ones(3, 4, 4)}])
        >>> batch.source.shape, len(batch)
        (torch.Size([2, 3, 4, 4]), 1)
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)

    @classmethod
    def stack(cls, examples: Iterable[Mapping[str, Tensor]]) -> "Batch":
        """Join examples, which have no batch dimension, into one batch."""
        examples = list(examples)
        return cls({name: torch.stack([example[name] for example in examples]) for name in examples[0]})

    def to(self, device: torch.device) -> "Batch":
        """Return the same batch on another device; nobody waits until it has come to a GPU."""
        if device.type != "cuda":
            return Batch({name: tensor.to(device) for name, tensor in self.items()})
        return Batch({name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in self.items()})

    def split(self, parts: int) -> list["Batch"]:
        """Return equal parts, one after another.

        Example:
            >>> [part.source for part in Batch({"source": torch.arange(4)}).split(2)]
            [tensor([0, 1]), tensor([2, 3])]
        """
        split = [tensor.chunk(parts) for tensor in self.values()]
        return [Batch(dict(zip(self, part, strict=True))) for part in zip(*split, strict=True)]

    def __getattr__(self, name: str) -> Tensor:
        tensors: dict[str, Tensor] = self.__dict__.get("_tensors", {})
        if name not in tensors:
            raise AttributeError(f"This batch has no tensor {name!r}; it has {', '.join(tensors)}.")
        return tensors[name]

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One player's turn.

    Args:
        player: Whose networks the loss moves.
        loss: What that player lowers.
        terms: Detached parts of the loss, to log under their names.
    """

    player: str
    loss: Float[Tensor, ""]
    terms: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)


@runtime_checkable
class Game(Protocol):
    """Networks and the objectives that train them; an ``nn.Module`` that also has these two.

    ``players`` maps each player to the submodules that it moves. ``play`` is a generator: it yields a Move and is
    resumed after that player has moved. A game whose objective follows a schedule has ``step``, a number that it is
    given before each round, and which is no state: how far a run is, is known outside.
    """

    players: Mapping[str, tuple[str, ...]]

    def play(self, batch: Batch) -> Iterator[Move]:
        """Yield the moves of one round on one batch."""


@runtime_checkable
class Dataset(Protocol):
    """Examples by index; ``len`` of them make an epoch.

    One that is faster together also has ``examples``, from pairs of an index and a generator to what stacking their
    examples would give.
    """

    def __len__(self) -> int: ...

    def example(self, index: int, generator: torch.Generator | None) -> Mapping[str, Tensor]:
        """Return example ``index``: drawn and augmented from the generator, or, without one, plain and fixed."""

    def name(self, index: int) -> str:
        """Return what people call this example, such as its file's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """What a model learns from, and what it never sees."""

    train: Dataset
    held_out: Dataset


@runtime_checkable
class Extractor(Protocol):
    """Looks at pictures and says in numbers what it sees; an ``nn.Module`` in evaluation mode that learns no more.

    ``prepare`` is of one picture of any size, so that pictures of many sizes are resized each by itself, in parallel.
    What it returns is stacked and given to the call, which answers by name: ``features``, and ``logits`` where it is a
    classifier.
    """

    name: str
    """The name of its file, and with it what its figures are called."""
    provenance: Mapping[str, str]
    """What a figure is not comparable without: the SHA-256 of the weights, the rule of resizing, the layer."""

    def prepare(self, picture: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "C h w"]:
        """Resize and normalise one RGB picture."""

    def __call__(self, prepared: Float[Tensor, "B C h w"]) -> Mapping[str, Float[Tensor, "B D"]]:
        """Return features (B x D), and logits (B x K) if it classifies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure, as it should be told: with an interval, how that was found, and what it rests on.

    Args:
        name: What the figure is called, such as ``fid``, ``fd-squeezenet`` or ``precision``.
        value: The figure.
        interval: Where it lies with a certainty of 95 %; None where that is not known.
        method: How the interval was found, or why there is none.
        n: How many of what, such as ``{"real": 10000, "fake": 5000}``.
        higher_is_better: None where neither is.
        unit: Its unit, empty for none.
        seed: Of what was drawn, if anything was.
        remarks: Sentences that a reader has to know, such as that there are fewer samples than dimensions.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    method: str
    n: Mapping[str, int]
    higher_is_better: bool | None
    unit: str = ""
    seed: int | None = None
    remarks: tuple[str, ...] = ()


Integrand = Callable[[Tensor], Tensor]
"""A function f of points, (N, *batch, *event) of a distribution, to values, (N, *batch): each point by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one estimate costs: how often f is evaluated at a point, and how often differentiated there."""

    evaluations: int
    gradients: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimated:
    """A quantity that was estimated from samples, for each element of a batch.

    Args:
        value: The estimate, which has the estimator's gradient.
        standard_error: Of the value, detached.
    """

    value: Float[Tensor, "*batch"]
    standard_error: Float[Tensor, "*batch"]


@runtime_checkable
class Estimator(Protocol):
    """Estimates E_q[f] and its gradient: the value is a mean of f, the gradient is the estimator's own.

    The gradient reaches every parameter of q that requires one, and f's own parameters. All evaluations of f go in one
    call. What the estimator cannot do is refused before f is called.
    """

    unbiased: bool
    """Whether the gradient is right on average."""
    needs: str
    """What it needs of q, as words that end "it needs ...", such as "a q with rsample"."""

    def __call__(self, f: Integrand, q: Distribution, *, samples: int = 1) -> Float[Tensor, "*batch"]:
        """Return the mean of f over samples of q."""

    def cost(self, q: Distribution, *, samples: int = 1) -> Cost:
        """Return what one call costs, for each element of the batch."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """What a score function has drawn, for a baseline to look at; nothing of it has a gradient.

    Args:
        q: What it was drawn from.
        values: f at the points from which the gradient comes.
        apart: Points drawn besides, independent of those, as many as the baseline has asked for.
        apart_values: f there.
    """

    q: Distribution
    values: Float[Tensor, "N *batch"]
    apart: Shaped[Tensor, "M ..."]
    apart_values: Float[Tensor, "M *batch"]


@runtime_checkable
class Baseline(Protocol):
    """What a score function subtracts from f: any number that is independent of the point it is subtracted at.

    An attribute ``apart``, where it has one, says how many points it wants besides, evaluated with the others, and
    ``check(q, samples)`` refuses what it cannot do before f is called. What it returns may need a gradient: then
    whatever learns in it is given that of the squared distance to f, whenever the estimate is differentiated.
    """

    def __call__(self, drawn: Drawn) -> Float[Tensor, "..."]:
        """Return what to subtract from ``drawn.values``, of a shape that fits them."""


# A Config is a frozen dataclass that says everything about one thing and builds it. It is called ``Config`` in that
# thing's file, whose name is the thing's: ``arzhang.networks.unet.Config().build(inputs=3, outputs=3)``. The kinds:


@runtime_checkable
class DataConfig(Protocol):
    """Builds the two splits of a dataset."""

    def build(self, *, seed: int) -> Splits:
        """Open the data; ``seed`` decides a split that the folder does not name."""


@runtime_checkable
class ModelConfig(Protocol):
    """Builds a game."""

    def build(self) -> nn.Module:
        """Make the networks, freshly initialised from the global generator."""


@runtime_checkable
class GeneratorConfig(Protocol):
    """Builds a network from images to images.

    Its ``multiple`` (or 1) divides the sides of what it takes, which are at least its ``least`` (or 1).
    """

    def build(self, *, inputs: int, outputs: int) -> nn.Module:
        """Make the network for these numbers of channels."""


@runtime_checkable
class ExtractorConfig(Protocol):
    """Builds an extractor, with its weights."""

    def build(self) -> Extractor:
        """Load the weights and make the network."""


@runtime_checkable
class DiscriminatorConfig(Protocol):
    """Builds a network from images to logits, positive for real."""

    def build(self, *, inputs: int) -> nn.Module:
        """Make the network for this number of channels."""


@runtime_checkable
class ConditionalGeneratorConfig(Protocol):
    """Builds a network from latents (B x D) and a condition (B x K) to pictures in [-1, 1]."""

    def build(self, *, latents: int, labels: int, outputs: int, size: int) -> nn.Module:
        """Make the network for these numbers of latents, of the condition, of channels, and pixels of each side."""


@runtime_checkable
class ConditionalDiscriminatorConfig(Protocol):
    """Builds a network from pictures and a condition (B x K) to one logit each, positive for real and fitting."""

    def build(self, *, inputs: int, labels: int, size: int) -> nn.Module:
        """Make the network for these numbers of channels and of the condition, and pixels of each side."""


@runtime_checkable
class EncoderConfig(Protocol):
    """Builds a network from pictures (B x C x H x W) to features (B x D), which says how many: ``features``."""

    def build(self, *, inputs: int, size: int) -> nn.Module:
        """Make the network for this number of channels and pixels of each side."""


@runtime_checkable
class DecoderConfig(Protocol):
    """Builds a network from latents (B x D) to what a likelihood makes pictures of (B x C x H x W), unbounded."""

    def build(self, *, latents: int, outputs: int, size: int) -> nn.Module:
        """Make the network for these numbers of latents, channels and pixels of each side."""


@runtime_checkable
class Likelihood(Protocol):
    """What a decoder's output says of pictures in [-1, 1]: a distribution over them, whose event is a picture."""

    @property
    def outputs(self) -> int:
        """Channels that the decoder has to give."""

    def distribution(self, decoded: Float[Tensor, "*N outputs H W"]) -> Distribution:
        """Return the distribution over pictures, C x H x W; its log-density is in nats, summed over the picture."""

    def picture(self, decoded: Float[Tensor, "*N outputs H W"]) -> Float[Tensor, "*N C H W"]:
        """Return what to show: the mean, in [-1, 1]."""

    def check(self, pictures: Float[Tensor, "*N C H W"]) -> None:
        """Refuse pictures that the likelihood is not of.

        Raises:
            MisuseError: They are out of its range; both are named.
        """


@runtime_checkable
class LikelihoodConfig(Protocol):
    """Builds a likelihood."""

    def build(self, *, channels: int) -> Likelihood:
        """Make the likelihood of pictures of this number of channels."""
