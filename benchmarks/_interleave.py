"""Variants of one piece of work, each in a process of its own, that take turns.

A machine's speed drifts; turns make it drift for all of them. What is compared are ratios of rounds that were timed
right after one another, and the table says how far they spread.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

Setup = Callable[[], Callable[[], float]]
"""Prepares a variant, and returns what does the work once and gives the seconds it took."""


def main(title: str, variants: Mapping[str, Setup], *, rounds: int, warmup: int = 2) -> None:
    """Run a benchmark, or, in one of its processes, a variant.

    Args:
        title: Of the table.
        variants: By name; the first is the denominator.
        rounds: How often each variant has its turn.
        warmup: Turns before those, which are not counted.
    """
    parser = argparse.ArgumentParser(description=title, epilog=f"variants: {', '.join(variants)}")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--only", nargs="+", choices=variants, help="these variants, beside the first")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--variant", choices=variants, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.variant:
        _serve(variants[given.variant])
        return
    chosen = [name for index, name in enumerate(variants) if not (given.only and index) or name in given.only]
    script = Path(sys.argv[0]).resolve()
    workers = {name: _start(script, name) for name in chosen}
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    turns = [(turn, name) for turn in range(-warmup, given.rounds) for name in chosen]
    for turn, name in track(turns, description=title, console=Console(stderr=True), transient=True):
        taken = float(_ask(workers[name], "go"))
        if turn >= 0:
            seconds[name].append(taken)
    peaks = {name: int(_ask(worker, "end")) for name, worker in workers.items()}
    _show(title, seconds, peaks, as_json=given.json)


def _start(script: Path, name: str) -> subprocess.Popen[str]:
    # As in a training: threads wait awake for a moment, then sleep, so that the turns of others are their own. Did they
    # sleep at once, all that is short would pay for waking them; did they never, others would.
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    return subprocess.Popen(
        [sys.executable, str(script), "--variant", name], stdin=-1, stdout=-1, text=True, env=environment
    )


def _ask(worker: subprocess.Popen[str], word: str) -> str:
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(word, file=worker.stdin, flush=True)
    answer = worker.stdout.readline()
    if not answer:
        sys.exit(f"A variant ended: {worker.args}")
    return answer


def _serve(setup: Setup) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    work = None
    for line in sys.stdin:
        if line.strip() == "end":
            print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=answers, flush=True)
            return
        work = work or setup()
        print(work(), file=answers, flush=True)


def _show(title: str, seconds: Mapping[str, list[float]], peaks: Mapping[str, int], *, as_json: bool) -> None:
    first = next(iter(seconds.values()))
    ratios = {name: [mine / base for mine, base in zip(taken, first, strict=True)] for name, taken in seconds.items()}
    if as_json:
        medians = {f"{name} ratio": round(statistics.median(each), 4) for name, each in ratios.items()}
        print(json.dumps({**medians, **{f"{name} peak bytes": peak for name, peak in peaks.items()}}, indent=2))
        return
    table = Table(*("variant", "median", "ratio", "least", "most", "peak memory"), title=title)
    for name, taken in seconds.items():
        each = ratios[name]
        table.add_row(
            name,
            f"{1000 * statistics.median(taken):.0f} ms",
            f"{statistics.median(each):.3f}",
            f"{min(each):.3f}",
            f"{max(each):.3f}",
            f"{peaks[name] / 1e9:.2f} GB",
        )
    Console().print(table)
