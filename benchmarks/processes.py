"""A step of Pix2Pix by two processes of one thread each, against one process of two threads, at the same global batch.

    python benchmarks/processes.py [--json]

Two processes that do not exchange gradients show what the exchange costs; nobody would train that way. How long the
exchange takes by itself, and the agreement of a few numbers before and after each step, is printed by --alone.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import _interleave
import torch

from arzhang import processes
from arzhang.allocator import keep_memory
from arzhang.rng import generator
from arzhang.run import from_recipe
from arzhang.train import begin, play, twin
from arzhang.types import Batch, Game

BATCH, SIZE = int(os.environ.get("BATCH", "2")), int(os.environ.get("SIZE", "256"))
PRECISION = os.environ.get("PRECISION", "float32")
CPU = torch.device("cpu")


def prepared(pictures: int, *, exchange: bool = True) -> Callable[[], None]:
    """Prepare a step of this process on so many pictures."""
    keep_memory()
    torch.manual_seed(0)
    state = begin(from_recipe("pix2pix"), CPU)
    game = cast("Game", twin(state.game) if exchange else state.game)
    source, target = 2 * torch.rand(2, pictures, 3, SIZE, SIZE, generator=generator(0, "pictures")) - 1
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=PRECISION == "bfloat16")

    def step() -> None:
        processes.wait()
        batch = Batch({"source": source, "target": target})
        for _ in play(game, batch, state.optimisers, rate=2e-4, autocast=autocast):
            pass
        processes.wait()

    return step


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def one(*, threads: int, pictures: int = BATCH) -> Callable[[], float]:
    """Prepare a step of one process."""
    torch.set_num_threads(threads)
    return partial(timed, prepared(pictures))


def two(*, exchange: bool) -> Callable[[], float]:
    """Prepare a step of this process and of another, which waits while it is not their turn."""
    join(f"step {exchange}")
    return partial(timed, prepared(BATCH // 2, exchange=exchange))


def join(role: str) -> None:
    """Start the other process and join it."""
    torch.set_num_threads(1)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(door.getsockname()[1]), "WORLD_SIZE": "2"}
    os.environ.update(address, RANK="0")
    subprocess.Popen([sys.executable, __file__, role], env={**os.environ, "RANK": "1"})
    torch.distributed.init_process_group("gloo")


def other(role: str) -> None:
    """Be the other process, until the first one ends."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    work = exchanges() if role == "alone" else prepared(BATCH // 2, exchange=role == "step True")
    while True:
        try:
            work()
        except RuntimeError:  # the first process has ended
            return


def exchanges() -> Callable[[], list[tuple[int, float]]]:
    """Prepare to add up tensors of rising size."""
    sizes = [1, 2**14, 2**18, 2**22, 2**24, 57_183_616]  # the last is Pix2Pix: both networks

    def work() -> list[tuple[int, float]]:
        found = []
        for size in sizes:
            tensor, taken = torch.zeros(size), []
            for _ in range(9):
                processes.wait()
                taken.append(timed(partial(processes.total, tensor)))
            found.append((4 * size, statistics.median(taken)))
        return found

    return work


VARIANTS = {
    "one process, two threads": partial(one, threads=2),
    "two processes": partial(two, exchange=True),
    "two without exchange": partial(two, exchange=False),
    "one, one thread, its half": partial(one, threads=1, pictures=BATCH // 2),
}

if __name__ == "__main__":
    if sys.argv[1:] == ["--alone"]:
        join("alone")
        for size, seconds in exchanges()():
            print(f"{size:>11,} bytes  {1e3 * seconds:9.3f} ms  {size / seconds / 1e9:6.3f} GB/s")
        torch.distributed.destroy_process_group()
    elif sys.argv[1:2] in (["alone"], ["step True"], ["step False"]):
        other(sys.argv[1])
    else:
        _interleave.main(f"A step of Pix2Pix, {SIZE} pixels, batch {BATCH}, {PRECISION}", VARIANTS, rounds=9)
