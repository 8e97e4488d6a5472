"""What a game that translates pictures is worth on pairs it has never seen: a judgement, and the report of it."""

import datetime as dt
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import images, processes, rng
from arzhang.report import Curve, Figure, Panel, Report, Row, Table, overlay
from arzhang.types import Batch, Dataset, Estimate, MisuseError, Splits

MOST_PAIRS = 200
NOISES = 8
UNIT = "of the range [-1, 1]"


@runtime_checkable
class Translating(Protocol):
    """A game that turns a source into a target. One that has a ``verdict`` too shows it."""

    def translate(self, source: Float[Tensor, "B C H W"], *, noise: int | None = None) -> Float[Tensor, "B Co H W"]:
        """Translate; ``noise`` is the seed of what is random, None for nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Held-out pairs, and how far off the two answers are that need no model.

    Args:
        pairs: The held-out pairs.
        names: What people call them.
        baselines: Mean absolute error of each pair, under the name of what was answered.
        of_all: How many pairs are held out, of which these are an even selection.
    """

    pairs: Sequence[Batch]
    names: Sequence[str]
    baselines: Mapping[str, Float[Tensor, " N"]]
    of_all: int
    kind: str = "pairs"
    own: Sequence[str] = ()
    paired: bool = True

    @property
    def targets(self) -> list[Float[Tensor, "1 C H W"]]:
        """What the translations should be."""
        return [pair.target for pair in self.pairs]

    @classmethod
    def of(cls, splits: Splits) -> "Judge":
        """Collect the pairs and measure the baselines: the mean training picture, and the source as it is.

        Raises:
            MisuseError: The examples are no pairs.
        """
        found = splits.held_out.example(0, None)
        if not {"source", "target"} <= found.keys():
            raise MisuseError(
                f"The examples of this data have {' and '.join(found)}, and to translate is learnt from source and "
                "target: choose data of pairs, such as --data paired, derived or facade."
            )
        chosen = _evenly(splits.held_out)
        pairs = [Batch.stack([splits.held_out.example(index, None)]) for index in chosen]
        seen = _evenly(splits.train)
        mean = torch.zeros_like(pairs[0].target[0])
        for index in seen:
            mean += splits.train.example(index, None)["target"] / len(seen)
        baselines = {"the mean photo": _errors(pairs, itertools.repeat(mean))}
        if pairs[0].source.shape == pairs[0].target.shape:
            baselines["the input itself"] = _errors(pairs, (pair.source for pair in pairs))
        return cls(
            pairs=pairs,
            names=[splits.held_out.name(index) for index in chosen],
            baselines=baselines,
            of_all=len(splits.held_out),
        )

    def __call__(self, game: Translating, device: torch.device) -> "Judgement":
        """Translate every pair, without noise, and measure the errors; many processes share the pairs."""
        outputs = [
            game.translate(pair.source.to(device))
            if index % processes.size() == processes.rank()
            else torch.zeros_like(pair.target, device=device)
            for index, pair in enumerate(self.pairs)
        ]
        outputs = [processes.total(output).cpu() for output in outputs]
        return Judgement(judge=self, game=game, device=device, outputs=outputs, errors=_errors(self.pairs, outputs))


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What a game made of the held-out pairs.

    Args:
        judge: The pairs.
        game: What translated them.
        device: Where it is.
        outputs: A batch of one for each pair.
        errors: Mean absolute error of each pair, images in [-1, 1].
    """

    judge: Judge
    game: Translating
    device: torch.device
    outputs: Sequence[Float[Tensor, "1 C H W"]]
    errors: Float[Tensor, " N"]

    @property
    def value(self) -> float:
        """The mean error."""
        return self.errors.mean().item()

    @property
    def logged(self) -> dict[str, float]:
        """The mean error, by its name."""
        return {"l1": self.value}

    @property
    def figures(self) -> dict[str, Estimate]:
        """None: metrics of pictures say all there is."""
        return {}

    def save_samples(self, path: Path) -> None:
        """Write one picture of up to six pairs, two beside each other: input, output and target."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = range(min(6, len(self.errors)) // 2 * 2 or 1)
        triptychs = [torch.cat([_rgb(picture) for picture in self._triptych(index)], 2) for index in shown]
        lines = [torch.cat(triptychs[row : row + 2], 2) for row in range(0, len(shown), 2)]
        images.write(images.from_tensor(torch.cat(lines, 1)), path)

    def report(
        self, *, run: Mapping[str, Any], log: Path, step: int, best: Mapping[str, Any], provenance: Mapping[str, str]
    ) -> Report:
        """Collect what there is to say; ``run`` is the Run written down, ``log`` its log.jsonl."""
        ours = _figure("L1, held out", self.errors)
        records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
        answers = {"this model": self.errors, **self.judge.baselines}
        beside = ", ".join(f"{name} {self._rank(errors)}" for name, errors in self.judge.baselines.items())
        return Report(
            title=f"{provenance['run']} after {step:,} steps",
            summary=(
                f"On {len(self.errors)} held-out pairs the translation is off by {self.value:.3f} on average "
                f"(L1, {UNIT}). Of the answers that need no model, {beside}."
            ),
            date=dt.datetime.now(tz=dt.UTC).date(),
            figures=(
                ours,
                *(_figure(f"L1 of {name}", errors) for name, errors in self.judge.baselines.items()),
                Figure(
                    name=f"Best {best['name']} so far".replace("l1", "L1"),
                    value=best["value"],
                    unit=UNIT if best["name"] == "l1" else "",
                    note=f"at step {best['step']:,}; its checkpoint is kept",
                    better="higher" if best["higher_is_better"] else "lower",
                ),
            ),
            tables=(
                Table(
                    title="Against answers that need no model",
                    caption="The mean photo is the average of the training targets. Both are judged on the same pairs; "
                    "the last column is on how many of them the model is nearer to the target.",
                    columns=("answer", "L1", "standard error", "model nearer on"),
                    rows=tuple(
                        (
                            name,
                            errors.mean().item(),
                            _standard_error(errors),
                            "" if errors is self.errors else f"{int((self.errors < errors).sum())} of {len(errors)}",
                        )
                        for name, errors in answers.items()
                    ),
                ),
            ),
            panels=tuple(self._panels()),
            curves=tuple(_curves(records)),
            config=run,
            provenance={**provenance, "held-out pairs": f"{len(self.errors)} of {self.judge.of_all}"},
        )

    def _rank(self, errors: Float[Tensor, " N"]) -> str:
        """Say how an answer compares, by the 95 % interval of its mean difference from the model's error."""
        difference = errors - self.errors
        far = abs(difference.mean().item()) > 1.96 * _standard_error(difference)
        return f"is {'worse' if difference.mean() > 0 else 'better'}" if far else "cannot be told from it"

    def _triptych(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        pair = self.judge.pairs[index]
        return pair.source[0], self.outputs[index][0], pair.target[0]

    def _row(self, index: int) -> Row:
        return Row(name=self.judge.names[index], note=f"L1 {self.errors[index]:.3f}", pictures=self._triptych(index))

    def _panels(self) -> Iterator[Panel]:
        order = self.errors.argsort().tolist()
        middle = len(order) // 2
        shown = min(3, len(order))
        columns = ("input", "output", "target")
        for title, caption, chosen in (
            ("At random", "Held-out pairs that were drawn once, not chosen by their looks.", self._drawn(6)),
            ("The best", "The pairs with the least error.", order[:shown]),
            (
                "The median",
                "Half of the pairs are better than these, half are worse.",
                order[max(0, middle - 1) :][:shown],
            ),
            ("The worst", "The pairs with the greatest error.", order[::-1][:shown]),
        ):
            yield Panel(title=title, caption=caption, columns=columns, rows=tuple(map(self._row, chosen)))
        if getattr(self.game, "verdict", None):  # which a game without a discriminator has not
            yield self._verdicts([order[0], order[middle], order[-1]])
        yield from self._noises(order[middle])

    def _drawn(self, count: int) -> list[int]:
        order: list[int] = torch.randperm(len(self.errors), generator=rng.generator(0, "shown")).tolist()
        return order[:count]

    def _verdicts(self, chosen: Sequence[int]) -> Panel:
        rows = []
        for index in dict.fromkeys(chosen):
            source, output, target = (picture[None].to(self.device) for picture in self._triptych(index))
            heats = [self.game.verdict(source, picture)[0, 0].cpu() for picture in (output, target)]  # type: ignore[attr-defined]
            rows.append(
                Row(
                    name=self.judge.names[index],
                    note=f"judged real: output {heats[0].mean():.0%}, target {heats[1].mean():.0%}",
                    pictures=tuple(
                        overlay(_rgb(picture[0].cpu()), heat)
                        for picture, heat in zip((output, target), heats, strict=True)
                    ),
                )
            )
        return Panel(
            title="What the discriminator believes, patch by patch",
            caption="Blue: taken for real; gold: taken for made; grey: undecided. The best, median and worst pair.",
            columns=("output", "target"),
            rows=tuple(rows),
        )

    def _noises(self, index: int) -> Iterator[Panel]:
        source = self.judge.pairs[index].source
        made = [self.game.translate(source.to(self.device), noise=seed)[0].cpu() for seed in range(NOISES)]
        distances = torch.stack([(one - other).abs().mean() for one, other in itertools.combinations(made, 2)])
        if not distances.any():  # nothing in it is random
            return
        rows = [
            Row(name=f"noise {first} to {first + 3}", pictures=tuple(made[first : first + 4]))
            for first in range(0, NOISES, 4)
        ]
        yield Panel(
            title="One input under eight noise seeds",
            caption=f"{self.judge.names[index]}, its noise drawn from eight seeds. Mean pairwise distance: "
            f"{distances.mean():.4f} (L1, {UNIT}); 0 would mean that the noise is ignored.",
            columns=("", "", "", ""),
            rows=tuple(rows),
        )


def _curves(records: Sequence[Mapping[str, Any]]) -> Iterator[Curve]:
    for title, caption, unit, names in (
        ("Held-out error", "L1 on the held-out pairs.", UNIT, ("held_out_l1",)),
        (
            "Losses of the adversaries",
            "Neither should win: a discriminator near 0 leaves the generator nothing to learn from.",
            "",  # nats under vanilla and minimax only
            ("d", "g"),
        ),
        ("Training error", "L1 on the training pairs, with dropout.", UNIT, ("l1",)),
    ):
        series = {name: [(record["step"], record[name]) for record in records if name in record] for name in names}
        if any(len(points) > 1 for points in series.values()):
            yield Curve(title=title, caption=caption, unit=unit, series=series)


def _figure(name: str, errors: Float[Tensor, " N"]) -> Figure:
    mean, half = errors.mean().item(), 1.96 * _standard_error(errors)
    return Figure(
        name=name,
        value=mean,
        unit=UNIT,
        note=f"mean of {len(errors)} pairs",
        interval=(mean - half, mean + half),
        better="lower",
    )


def _standard_error(errors: Float[Tensor, " N"]) -> float:
    return (errors.std() / math.sqrt(len(errors))).item() if len(errors) > 1 else math.nan


def _errors(pairs: Sequence[Batch], answers: Any) -> Float[Tensor, " N"]:
    return torch.stack([(answer - pair.target).abs().mean() for pair, answer in zip(pairs, answers, strict=False)])


def _evenly(dataset: Dataset) -> list[int]:
    count = min(MOST_PAIRS, len(dataset))
    return [index * len(dataset) // count for index in range(count)]


def _rgb(image: Float[Tensor, "C H W"]) -> Float[Tensor, "3 H W"]:
    return image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
