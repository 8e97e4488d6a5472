"""What each metric sees: real digits against digits that lost fidelity, and against digits that lost variety.

    python benchmarks/sensitivity.py --data.root DIR [--json]

The reference is half of MNIST's training digits, or as many as --count says, through the classifier ``lenet``. The
first line is as many other digits: what a metric says of a model without fault, with the range in which chance alone
puts it: the middle 95 % of random divisions of both halves. A figure outside of it is marked.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from arzhang import rng
from arzhang.data import mnist
from arzhang.evaluate import estimates_in, metric
from arzhang.features import lenet
from arzhang.types import Estimate

METRICS = ("fid", "kid", "is", "prd", "pr", "dc")

Change = Callable[[Tensor, Tensor], Tensor]


def blurred(digits: Tensor, _: Tensor) -> Tensor:
    """Return digits under a Gaussian of 1.5 pixels."""
    x = torch.arange(-5.0, 6)
    kernel = torch.exp(-(x**2) / 2 / 1.5**2)
    kernel /= kernel.sum()
    return functional.conv2d(digits, (kernel[:, None] * kernel)[None, None], padding=5)


def noisy(digits: Tensor, _: Tensor) -> Tensor:
    """Return digits with noise of a fifth of their range."""
    return (digits + 0.4 * torch.randn(digits.shape, generator=rng.generator(0, "noise"))).clamp(-1, 1)


CHANGES: Mapping[str, Change] = {
    "other digits": lambda digits, _: digits,
    "blurred": blurred,
    "noisy": noisy,
    "one class missing": lambda digits, labels: digits[labels != 9],
    "a hundred, repeated": lambda digits, _: digits[torch.arange(len(digits)) % 100],
    "five classes only": lambda digits, labels: digits[labels < 5],
}


def seen(digits: Tensor) -> Mapping[str, Tensor]:
    """Look at digits as they would be read from 8 bits."""
    extractor = lenet.Config().build()
    levels = ((digits + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1)
    prepared = torch.stack([extractor.prepare(each) for each in levels])
    parts = [extractor(part) for part in prepared.split(1000)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def told(real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> dict[str, Estimate]:
    """Return all figures."""
    found = {}
    for name in METRICS:
        file = metric(name)
        function = getattr(file, file.__name__.rpartition(".")[2])
        result = function(fake["logits"]) if file.asks == "logits" else function(real["features"], fake["features"])
        found |= {each.name: each for each in estimates_in(result)}
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data.root", type=Path, dest="root")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--divisions", type=int, default=39)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    train = mnist.Config(root=given.root).build(seed=0).train
    order = torch.randperm(len(train), generator=rng.generator(0, "halves"))[: 2 * given.count].tolist()
    examples = [train.example(index, None) for index in order]
    digits, labels = (torch.stack([each[name] for each in examples]) for name in ("image", "label"))
    reference = seen(digits[: given.count])
    halves = seen(digits)
    lines = {
        name: told(reference, seen(change(digits[given.count :], labels[given.count :])))
        for name, change in track(CHANGES.items(), console=Console(stderr=True), transient=True)
    }
    null = []
    for index in track(range(given.divisions), console=Console(stderr=True), transient=True):
        mixed = torch.randperm(2 * given.count, generator=rng.generator(0, "division", index))
        sides = [{name: rows[part] for name, rows in halves.items()} for part in mixed.split(given.count)]
        null.append({name: each.value for name, each in told(*sides).items()})
    ranges = {
        name: torch.tensor([each[name] for each in null]).quantile(torch.tensor([0.025, 0.975])).tolist()
        for name in null[0]
    }
    if given.json:
        values = {line: {name: each.value for name, each in figures.items()} for line, figures in lines.items()}
        print(json.dumps({"figures": values, "chance": ranges}, indent=2))
        return
    table = Table("digits", *ranges, title=f"{given.count:,} against {given.count:,} digits")
    table.add_row("(chance)", *(f"{low:.3g} to {high:.3g}" for low, high in ranges.values()), end_section=True)
    for line, figures in lines.items():
        marks = ("" if ranges[name][0] <= each.value <= ranges[name][1] else " *" for name, each in figures.items())
        table.add_row(line, *(f"{each.value:.3g}{mark}" for each, mark in zip(figures.values(), marks, strict=True)))
    Console().print(table)


if __name__ == "__main__":
    main()
