"""What a run would be made of, without making it: players, layers, sizes, memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final
from weakref import WeakSet

import torch
from torch import Tensor, nn

from arzhang.run import Run
from arzhang.types import Batch, Game

BYTES_PER_PARAMETER = 16
"""float32: the weight, its gradient and the two moments of Adam; a moving average is another 4."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer that has parameters, or one call of it.

    Args:
        name: Its place in the network.
        kind: Its class.
        output: Shape of what it gives.
        parameters: How many it has.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """One network that a player moves.

    Args:
        player: Who moves it.
        name: Which submodule of the game it is.
        parameters: How many it has.
        output: Shape of what it gives for a batch.
        receptive_field: Side of the square of pixels that one output sees, where that is defined.
        layers: Its layers in the order of their calls.
    """

    player: str
    name: str
    parameters: int
    output: tuple[int, ...]
    receptive_field: int | None
    layers: Sequence[Layer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a run is made of.

    Args:
        batch: Shapes of what it is trained on.
        networks: What its players move.
        memory: Estimate in bytes for a training step: weights, gradients, moments, and what is kept to go backward.
    """

    batch: Mapping[str, tuple[int, ...]]
    networks: Sequence[Network]
    memory: int


def summarise(run: Run, *, sizes: Mapping[str, tuple[int, ...]]) -> Summary:
    """Play a round of a run on the meta device, where nothing is computed or stored, and write down what is called.

    Args:
        run: What to look at.
        sizes: Shapes of a batch, by name.

    Raises:
        MisuseError: The networks cannot take such a batch.
    """
    with torch.device("meta"):
        game = run.model.build()
        batch = Batch({name: torch.empty(shape) for name, shape in sizes.items()})
    networks = {name: player for player, names in cast("Game", game).players.items() for name in names}
    seen: dict[str, list[Layer]] = {name: [] for name in networks}
    outputs: dict[str, tuple[int, ...]] = {}
    kept: WeakSet[_Kept] = WeakSet()
    most = 0

    def watch(name: str, module: nn.Module) -> None:
        network, _, inside = name.partition(".")
        if network not in networks:
            return

        def note(module: nn.Module, _: Any, output: Tensor) -> None:
            if not inside:
                outputs.setdefault(network, tuple(output.shape))
            elif network not in outputs and _is_layer(module) and (count := _count(module)):
                kind = type(module).__name__.removeprefix("Parametrized")
                seen[network].append(Layer(name=inside, kind=kind, output=tuple(output.shape), parameters=count))

        module.register_forward_hook(note)

    for name, module in game.named_modules():
        watch(name, module)

    def keep(tensor: Tensor) -> _Kept:
        one = _Kept(tensor.detach())  # or the graph would hold itself
        kept.add(one)
        return one

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one.tensor):
        for move in cast("Game", game).play(batch):
            most = max(most, _bytes((one.tensor for one in kept), but=(*game.parameters(), *batch.values())))
            del move  # and what was kept for it, as going backward does
    return Summary(
        batch=sizes,
        networks=[
            Network(
                player=player,
                name=name,
                parameters=_count(game.get_submodule(name)),
                output=outputs[name],
                receptive_field=getattr(game.get_submodule(name), "receptive_field", None),
                layers=seen[name],
            )
            for name, player in networks.items()
        ],
        memory=most + (BYTES_PER_PARAMETER + (4 if run.ema else 0)) * _count(game),
    )


@final
class _Kept:
    """A tensor that autograd keeps to go backward, for as long as it does."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _bytes(tensors: Iterable[Tensor], *, but: Iterable[Tensor]) -> int:
    """Return the bytes behind all tensors, but those also behind others, each once."""
    given = {tensor.untyped_storage()._cdata for tensor in but}  # noqa: SLF001
    sizes = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}  # noqa: SLF001
    return sum(size for storage, size in sizes.items() if storage not in given)


def _is_layer(module: nn.Module) -> bool:
    return {name for name, _ in module.named_children()} <= {"parametrizations"}  # such as a spectral norm


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
