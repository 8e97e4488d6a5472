"""Where networks compute, and what they do when nothing is learnt: the statistics of norms, the draws of dropout.

A network trained with batch norm at batch 1 has learnt to be normalised by the picture in front of it. Its running
averages describe no picture, so they are never used here: each picture is normalised by its own statistics (the
published way), or the tiles of a large one by statistics that they share.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from arzhang.rng import seed_of
from arzhang.types import MisuseError

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
"""What convolutions and products compute in: IEEE float32, its factors rounded to 11 bits, or 16 bits by autocast."""
HALVES: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
Norm = Callable[[Float[Tensor, "B C H W"]], Float[Tensor, "B C H W"]]


def pick_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is a GPU where there is one.

    Raises:
        MisuseError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros((), device=device).item()  # which the meta device has not
    except (RuntimeError, AssertionError) as error:
        raise MisuseError(f"The device {name!r} cannot be used here ({error}); give cpu, or auto.") from error
    return device


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse what a device does not know.

    Raises:
        MisuseError: tf32 is asked of something else than an NVIDIA GPU.
    """
    if precision == "tf32" and device.type != "cuda":
        raise MisuseError(f"tf32 is of NVIDIA GPUs, and this computes on {device}: give another --precision.")


@contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[torch.autocast]:
    """Make products on NVIDIA GPUs, in all threads, what a precision says; give the autocast for forward passes.

    Example:
        >>> with computing("bfloat16", torch.device("cpu")) as autocast, autocast:
        ...     nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 1, 1)).dtype
        torch.bfloat16
    """
    backends: Any = torch.backends
    kinds = (backends.cuda.matmul, backends.cudnn.conv) if device.type == "cuda" else ()
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield torch.autocast(device.type, HALVES.get(precision), enabled=precision in HALVES)
    finally:
        for kind, earlier in zip(kinds, before, strict=True):
            kind.fp32_precision = earlier


def hold_weights(network: nn.Module, *, precision: Precision) -> None:
    """Hold the weights of a network that learns no more as it reads them fastest.

    Args:
        network: Changed in place.
        precision: In 16 bits, convolutions and linear layers are rounded once and not, by autocast, at every call.

    Example:
        >>> layer = nn.Conv2d(3, 3, 1)
        >>> hold_weights(layer, precision="bfloat16")
        >>> layer.weight.dtype
        torch.bfloat16
    """
    for module in network.modules():
        if precision in HALVES and isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.to(HALVES[precision])
        if callable(hold := getattr(module, "hold_for_inference", None)):
            hold()


@contextmanager
def own_statistics(network: nn.Module) -> Iterator[None]:
    """Normalise each picture by its own mean and variance, or, inside ``shared_statistics``, by those.

    Example:
        >>> norm, pictures = nn.BatchNorm2d(2), torch.randn(4, 2, 8, 8)
        >>> with own_statistics(norm):
        ...     torch.allclose(norm(pictures)[:1], norm(pictures[:1]))
        True
    """
    with _replaced(network, lambda norm: lambda x: _alone(norm, x)):
        yield


@contextmanager
def shared_statistics(network: nn.Module) -> Iterator[None]:
    """Normalise the first batch by its joint mean and variance, and everything after it by the same."""
    known: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    with _replaced(network, lambda norm: lambda x: _alike(norm, x, known)):
        yield


def _alone(norm: Any, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    # Instance norm by another name, which keeps the layout that convolutions of many pixels are fastest in.
    channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
    layout = torch.channels_last if pixels > channels else torch.contiguous_format
    return F.group_norm(x.contiguous(memory_format=layout), channels, norm.weight, norm.bias, norm.eps)


def _alike(
    norm: Any, x: Float[Tensor, "B C H W"], known: dict[nn.Module, tuple[Tensor, Tensor]]
) -> Float[Tensor, "B C H W"]:
    if norm not in known:
        known[norm] = x.float().mean((0, 2, 3)), x.float().var((0, 2, 3), unbiased=False)
    return F.batch_norm(x, *known[norm], norm.weight, norm.bias, eps=norm.eps)


@contextmanager
def dropout(network: nn.Module, *, seed: int | None) -> Iterator[None]:
    """Let dropout draw from ``seed``, the same at every entry, or switch it off; global generators stay as found."""
    drops = [module for module in network.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]  # noqa: SLF001
    before = [module.training for module in drops]
    devices = {parameter.device for parameter in network.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed_of(seed, "noise"))
        for module in drops:
            module.train(seed is not None)
        try:
            yield
        finally:
            for module, training in zip(drops, before, strict=True):
                module.train(training)


@contextmanager
def _replaced(network: nn.Module, make: Callable[[Any], Norm]) -> Iterator[None]:
    """Give every norm that is not yet replaced another forward, for a while."""
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d) and "forward" not in vars(module)
    ]
    for norm in norms:
        norm.forward = make(norm)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
