"""Many processes that train as one: each learns from its part of a batch, and all move by the mean of the gradients.

``torchrun`` starts them and tells each its number. Without it there is one process, and nothing here does anything.
"""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from arzhang.types import ArzhangError, MisuseError


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun has started, on gloo and for GPUs nccl, and give this one its device.

    Raises:
        MisuseError: There are more processes on this machine than GPUs.
        ArzhangError: Another process ended.

    Example:
        >>> with joined(torch.device("cpu")) as device:
        ...     device, rank(), size(), total(torch.ones(2))
        (device(type='cpu'), 0, 1, tensor([1., 1.]))
    """
    many = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if many and device.type == "cuda":
        device, found = torch.device("cuda", int(os.environ["LOCAL_RANK"])), torch.cuda.device_count()
        if device.index >= found:
            raise MisuseError(
                f"Each process needs a GPU of its own, and here are {found}: give --nproc-per-node={found}."
            )
        torch.cuda.set_device(device)
    if not many or distributed.is_initialized():
        yield device
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    settling = 0.2
    try:
        yield device
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        settling = 0.0  # torchrun ends this one, too, and it has yet to say why
        raise another_ended() from error
    finally:
        # The group's threads need Python's lock to let go of the last tensor, and it waits for them while it holds it.
        time.sleep(settling)
        distributed.destroy_process_group()


def rank() -> int:
    """Return which process this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """Return how many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def total(tensor: Tensor) -> Tensor:
    """Return the sum over all processes, which takes the tensor's place; every process has to call this."""
    if size() > 1:
        distributed.all_reduce(tensor)
    return tensor


def gathered(rows: Tensor) -> Tensor:
    """Return the rows of all processes, those of the first one first; every process has to call this.

    Example:
        >>> gathered(torch.ones(2, 1)).shape
        torch.Size([2, 1])
    """
    if size() == 1:
        return rows
    counts = torch.zeros(size(), dtype=torch.long)
    counts[rank()] = len(rows)
    ends = total(counts).cumsum(0).tolist()
    whole = rows.new_zeros(ends[-1], *rows.shape[1:])
    whole[ends[rank()] - len(rows) : ends[rank()]] = rows
    return total(whole)


def wait() -> None:
    """Return when every process has come here."""
    total(torch.zeros(()))


def another_ended() -> ArzhangError:
    """Return what a process says that cannot go on alone."""
    return ArzhangError(
        "Another process of this command failed or was ended; if it could, it says why. What was saved is intact, "
        "and the same command goes on from there."
    )


def averaging(network: nn.Module) -> nn.Module:
    """Return what to call so that gradients become their means over all processes: the network, if there is one.

    Every parameter has to have a gradient whenever its player moves.
    """
    if size() == 1:
        return network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 has another word, which 2.11 does not know
        # What broadcasts of buffers would even out, the running averages of batch norm, is used by nobody.
        wrapped = DistributedDataParallel(network, broadcast_buffers=False, gradient_as_bucket_view=True)
    if size() > 2 and next(network.parameters()).is_cpu:  # the sum of two has one order
        wrapped.register_comm_hook(None, _mean_in_order)
    return wrapped


@contextmanager
def apart(game: nn.Module) -> Iterator[None]:
    """Leave gradients as they are in each process; what comes after then also sends these."""
    with ExitStack() as stack:
        for module in game.modules():
            if isinstance(module, DistributedDataParallel):
                stack.enter_context(module.no_sync())
        yield


def _mean_in_order(_: None, bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """Add gradients in the order of the processes, whatever their places in a bucket, as gloo by itself does not.

    Buckets are laid out anew after the first step of a process, so that a run that goes on would round otherwise.
    """
    gradients = bucket.buffer()
    padded = nn.functional.pad(gradients, (0, -len(gradients) % size()))
    parts = torch.empty_like(padded)
    distributed.all_to_all_single(parts, padded)
    distributed.all_gather(list(padded.chunk(size())), sum(parts.chunk(size())) / size())
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(padded[: len(gradients)])
    return done
