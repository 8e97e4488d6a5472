"""Batches are a pure function of (seed, step)."""

import multiprocessing
import os
import random
import signal
import threading
import time

import pytest
import torch

from arzhang import rng
from arzhang.loading import batches
from arzhang.types import ArzhangError, Dataset, MisuseError


class Numbers:
    """Each example says which it is, and what was drawn for it."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def example(self, index, generator):
        return {"index": torch.tensor(index), "drawn": torch.rand(2, generator=generator)}

    def name(self, index):
        return str(index)


class Damaged(Numbers):
    """The third example cannot be read."""

    error = ArzhangError

    def example(self, index, generator):
        if index == 2:
            raise self.error("The picture 2.png is cut off; copy it again.")
        return super().example(index, generator)


class Misused(Damaged):
    error = MisuseError


def load(dataset, steps, *, size=4, seed=0, workers=0):
    return list(batches(dataset, size=size, seed=seed, steps=steps, workers=workers))


def indices(loaded):
    return torch.cat([batch.index for batch in loaded]).tolist()


def same(some, others):
    return all(
        torch.equal(one.index, other.index) and torch.equal(one.drawn, other.drawn)
        for one, other in zip(some, others, strict=True)
    )


def test_numbers_are_a_dataset():
    assert isinstance(Numbers(1), Dataset)


@pytest.mark.parametrize(("count", "size"), [(7, 3), (10, 4), (8, 4), (3, 8), (1, 2)])
def test_training_that_resumes_sees_what_it_would_have_seen(count, size):
    whole = load(Numbers(count), range(9), size=size)
    assert same(load(Numbers(count), range(5, 9), size=size), whole[5:])
    assert [len(batch.index) for batch in whole] == 9 * [size]


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_every_epoch_passes_once_through_the_data_in_an_order_of_its_own(size):
    order = indices(load(Numbers(7), range(21), size=size))
    epochs = [tuple(order[start : start + 7]) for start in range(0, 21 * size, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(epochs)) == len(epochs)


def test_the_order_is_the_seeds():
    assert indices(load(Numbers(50), range(10), seed=1)) != indices(load(Numbers(50), range(10), seed=2))


def test_what_is_drawn_for_an_example_is_a_function_of_seed_epoch_and_index():
    for number, batch in enumerate(load(Numbers(6), range(4), size=3, seed=5)):
        for index, drawn in zip(batch.index.tolist(), batch.drawn, strict=True):
            assert torch.equal(drawn, torch.rand(2, generator=rng.generator(5, "augment", number // 2, index)))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    assert same(load(Numbers(10), range(3, 9), workers=workers), load(Numbers(10), range(3, 9)))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generator_is_neither_used_nor_moved(workers):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    some = load(Numbers(10), range(2), workers=workers)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(some, load(Numbers(10), range(2), workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dataset", [Damaged, Misused])
def test_an_error_arrives_as_the_sentence_it_is_after_the_batches_before_it(workers, dataset):
    loaded = batches(dataset(5), size=1, seed=0, steps=range(5), workers=workers)
    seen = []
    with pytest.raises(dataset.error) as error:
        seen.extend(loaded)
    assert type(error.value) is dataset.error
    assert str(error.value) == "The picture 2.png is cut off; copy it again."
    order = indices(load(Numbers(5), range(5), size=1))
    assert indices(seen) == order[: order.index(2)]


def test_no_steps_are_no_batches():
    assert load(Numbers(5), range(3, 3)) == []


DIED = r"^A process that loads data died or failed .* fewer --workers"


@pytest.mark.parametrize("seed", range(20))
def test_a_worker_that_is_killed_at_any_instant_is_a_sentence(seed):
    loaded = batches(Numbers(8), size=1, seed=0, steps=range(10**9), workers=2)
    next(loaded)
    worker = random.Random(seed).choice(multiprocessing.active_children())
    threading.Timer(random.Random(seed).uniform(0, 0.02), os.kill, (worker.pid, signal.SIGKILL)).start()
    with pytest.raises(ArzhangError, match=DIED):
        for _ in loaded:
            pass
    assert multiprocessing.active_children() == []


def slowly(batch):
    time.sleep(0.01)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_while_it_waits_is_a_sentence_under_any_signal_handler(victim):
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # which the workers are born with
    try:
        loaded = batches(Numbers(8), size=1, seed=0, steps=range(10**9), workers=2)
        next(loaded)
        time.sleep(0.3)  # until all that may be loaded ahead is
        os.kill(sorted(worker.pid for worker in multiprocessing.active_children())[victim], signal.SIGKILL)
        with pytest.raises(ArzhangError, match=DIED):
            list(map(slowly, loaded))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert multiprocessing.active_children() == []


class Slow(Numbers):
    """An example takes long."""

    def example(self, index, generator):
        time.sleep(60)
        return super().example(index, generator)


def test_nobody_waits_for_what_is_no_longer_wanted():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
    try:
        loaded = batches(Slow(9), size=1, seed=3, steps=range(9), workers=2)
        started = time.monotonic()
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            list(loaded)
        assert multiprocessing.active_children() == []
        assert time.monotonic() - started < 30
    finally:
        signal.signal(signal.SIGINT, before)


class Unshareable(Numbers):
    """What torch raises where a container has no shared memory left."""

    def example(self, index, generator):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def test_shared_memory_that_runs_out_is_a_sentence():
    with pytest.raises(ArzhangError, match=r"No space left on device .* 0 needs neither"):
        load(Unshareable(8), range(3), workers=1)


def test_a_loader_that_is_left_ends_its_workers():
    loaded = batches(Numbers(8), size=1, seed=0, steps=range(10**9), workers=2)
    next(loaded)
    assert len(multiprocessing.active_children()) == 2
    loaded.close()
    assert multiprocessing.active_children() == []
