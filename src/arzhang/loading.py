"""Batches in an order that is a pure function of (seed, step), whatever the number of workers."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import ClassVar

import torch

from arzhang import rng
from arzhang.types import ArzhangError, Batch, Dataset, MisuseError

AHEAD = 4
"""Batches that each worker loads ahead."""

_Key = tuple[int, int]  # epoch, index


def batches(
    dataset: Dataset,
    *,
    size: int,
    seed: int,
    steps: range,
    workers: int = 0,
    part: int = 0,
    parts: int = 1,
) -> Generator[Batch]:
    """Yield the batches of these steps, or one of the equal parts of each.

    Every epoch passes once through the data in an order of its own; a batch may span two epochs. An example's
    augmentation is drawn from (seed, epoch, index).

    Args:
        dataset: What to draw from.
        size: Examples in a batch.
        seed: The run's.
        steps: Which batches; training that resumes asks for the rest of the range.
        workers: Processes that load ahead; 0 loads in this one.
        part: Which part of each batch, from 0: the number of the process, where many train as one.
        parts: How many parts there are.

    Raises:
        MisuseError: A batch cannot be divided into so many parts.
        ArzhangError: An example cannot be read, or a worker died.
    """
    if size % parts:
        raise MisuseError(f"A batch of {size} cannot be divided among {parts} processes: give --batch a multiple.")
    share = slice(part * size // parts, (part + 1) * size // parts)
    order = (keys[share] for keys in _order(len(dataset), size=size, seed=seed, steps=steps))
    if not workers:
        yield from (_load(dataset, seed, keys) for keys in order)
        return
    # torch's own loader may wait for ever for a worker that was killed while it held a lock.
    pool = ProcessPoolExecutor(workers, initializer=_Worker.begin, initargs=(dataset, seed))
    coming: deque[Future[Batch]] = deque()
    try:
        for keys in order:
            coming.append(pool.submit(_Worker.load, keys))
            if len(coming) == AHEAD * workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    except (OSError, RuntimeError) as error:  # the second is what torch, and a pool that lost a process, raise
        raise ArzhangError(
            f"A process that loads data died or failed ({error}), which most often means that memory, or the shared "
            "memory of a container, ran out. Start the same command again with fewer --workers; 0 needs neither."
        ) from error
    finally:
        processes = list(pool._processes.values())  # noqa: SLF001 - public, terminate_workers, from Python 3.14 on
        for process in processes:
            process.terminate()  # what it is loading is of no use any more, and may take long
        pool.shutdown(cancel_futures=True)
        for process in processes:
            process.join(10)  # which a pool that was interrupted while it began does not


def _order(examples: int, *, size: int, seed: int, steps: range) -> Iterator[list[_Key]]:
    """Yield the keys of each batch."""
    shuffled: tuple[int, list[int]] = (-1, [])
    for step in steps:
        keys = []
        for draw in range(step * size, (step + 1) * size):
            epoch, position = divmod(draw, examples)
            if shuffled[0] != epoch:
                order = torch.randperm(examples, generator=rng.generator(seed, "order", epoch))
                shuffled = epoch, order.tolist()
            keys.append((epoch, shuffled[1][position]))
        yield keys


def _load(dataset: Dataset, seed: int, keys: Sequence[_Key]) -> Batch:
    drawn = [(index, rng.generator(seed, "augment", epoch, index)) for epoch, index in keys]
    if hasattr(dataset, "examples"):
        return Batch(dataset.examples(drawn))
    return Batch.stack(dataset.example(*each) for each in drawn)


class _Worker:
    """A process that loads: what it was given once, and what it does for each batch."""

    dataset: ClassVar[Dataset]
    seed: ClassVar[int]

    @classmethod
    def begin(cls, dataset: Dataset, seed: int) -> None:
        cls.dataset, cls.seed = dataset, seed
        torch.set_num_threads(1)
        os.setpgid(0, 0)  # what a terminal sends to the whole group is left to the parent, which then ends this process
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what the parent does with it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with_parent, daemon=True).start()

    @classmethod
    def load(cls, keys: Sequence[_Key]) -> Batch:
        return _load(cls.dataset, cls.seed, keys)


def _end_with_parent() -> None:
    """Outlive no parent, even one that was killed and could not say goodbye."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
