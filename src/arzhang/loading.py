"""Batches in an order that is a pure function of (seed, step), whatever the number of workers."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from arzhang import rng
from arzhang.types import ArzhangError, Batch, Dataset

_Key = tuple[int, int]  # epoch, index


def batches(dataset: Dataset, *, size: int, seed: int, steps: range, workers: int = 0) -> Iterator[Batch]:
    """Yield the batches of these steps.

    Every epoch passes once through the data in an order of its own; a batch may span two epochs. An example's
    augmentation is drawn from (seed, epoch, index).

    Args:
        dataset: What to draw from.
        size: Examples in a batch.
        seed: The run's.
        steps: Which batches; training that resumes asks for the rest of the range.
        workers: Processes that load ahead; 0 loads in this one.
    """
    loader = DataLoader(
        _Keyed(dataset, seed),
        batch_sampler=_Order(len(dataset), size, seed, steps),
        num_workers=workers,
        collate_fn=_join,
        worker_init_fn=_quiet,
        prefetch_factor=4 if workers else None,
        generator=rng.generator(seed, "workers"),  # or the loader would draw from the global one
    )
    for batch in loader:
        if isinstance(batch, ArzhangError):
            raise batch
        yield batch


@contextmanager
def no_lost_workers() -> Iterator[None]:
    """Say it in a sentence when a worker dies, at whatever instant torch finds out.

    Raises:
        ArzhangError: A worker died.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ArzhangError(
            f"A process that loads data died, which most often means that memory, or the shared memory of a container, "
            f"ran out ({error}). Start the same command again with fewer --workers; 0 needs no shared memory."
        ) from error


class _Order:
    """The keys of each batch."""

    def __init__(self, examples: int, size: int, seed: int, steps: range) -> None:
        self.examples, self.size, self.seed, self.steps = examples, size, seed, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[_Key]]:
        shuffled: tuple[int, list[int]] = (-1, [])
        for step in self.steps:
            keys = []
            for draw in range(step * self.size, (step + 1) * self.size):
                epoch, position = divmod(draw, self.examples)
                if shuffled[0] != epoch:
                    order = torch.randperm(self.examples, generator=rng.generator(self.seed, "order", epoch))
                    shuffled = epoch, order.tolist()
                keys.append((epoch, shuffled[1][position]))
            yield keys


class _Keyed(torch.utils.data.Dataset[Mapping[str, Tensor] | ArzhangError]):
    """Examples by epoch and index. An error is handed on, since a worker would bury it in a traceback."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: _Key) -> Mapping[str, Tensor] | ArzhangError:
        try:
            return self.dataset.example(key[1], rng.generator(self.seed, "augment", *key))
        except ArzhangError as error:
            return error


def _join(examples: list[Mapping[str, Tensor] | ArzhangError]) -> Batch | ArzhangError:
    for example in examples:
        if isinstance(example, ArzhangError):
            return example
    return Batch.stack(example for example in examples if not isinstance(example, ArzhangError))


def _quiet(_: int) -> None:
    """Leave to the parent what a terminal or a scheduler sends to the whole group.

    The first SIGTERM is taken for the scheduler's; the next is the parent's own, who ends a worker that is stuck.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
