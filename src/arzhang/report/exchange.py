"""What a game that exchanges two domains is worth on pictures it has never seen: a judgement, and the report of it."""

import datetime as dt
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
from arzhang.report._parts import Curve, Figure, Panel, Report, Row, Table
from arzhang.types import Dataset, Estimate, MisuseError, Splits

MOST = 100
"""Held-out pictures of each domain that are judged."""
SHOWN = 6
"""Pictures of each domain that are shown at random."""
UNIT = "of the range [-1, 1]"
DIRECTIONS = {"a-to-b": ("a", "b"), "b-to-a": ("b", "a")}
UNDECIDED = {"vanilla": "0.69", "minimax": "0.69", "lsgan": "0.25", "hinge": "1", "wgan-gp": "0"}
"""Half the loss of the discriminator that does best where both piles look alike to it, by the adversarial loss."""


@runtime_checkable
class Exchanging(Protocol):
    """A game that translates both ways."""

    directions: Sequence[str]
    """``a-to-b`` and ``b-to-a``."""

    def translate(
        self, source: Float[Tensor, "B C H W"], *, direction: Any = "a-to-b", noise: int | None = None
    ) -> Float[Tensor, "B Co H W"]:
        """Translate; ``noise`` is the seed of what is random, None for nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pile:
    """Held-out pictures of one domain.

    Args:
        pictures: Each as a batch of one.
        names: What people call them.
        truths: What their translations should be, where that is known.
        of_all: How many are held out, of which these are an even selection.
    """

    pictures: Sequence[Float[Tensor, "1 C H W"]]
    names: Sequence[str]
    truths: Sequence[Float[Tensor, "1 Co H W"]]
    of_all: int

    @classmethod
    def of(cls, dataset: Dataset) -> "Pile":
        """Collect the pictures."""
        chosen = _evenly(dataset)
        examples = [dataset.example(index, None) for index in chosen]
        return cls(
            pictures=[example["image"][None] for example in examples],
            names=[dataset.name(index) for index in chosen],
            truths=[example["truth"][None] for example in examples if "truth" in example],
            of_all=len(dataset),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Held-out pictures of both domains.

    Args:
        piles: By the name of the domain.
        means: The mean training picture of each, where the truth is known.
    """

    piles: Mapping[str, Pile]
    means: Mapping[str, Float[Tensor, "_ _ _"]]
    kind: str = "pictures"

    @classmethod
    def of(cls, splits: Splits) -> "Judge":
        """Collect the pictures.

        Raises:
            MisuseError: The examples are not of two domains.
        """
        domains = getattr(splits.held_out, "domains", None)
        if domains is None:
            raise MisuseError(
                f"The examples of this data have {' and '.join(splits.held_out.example(0, None))}, and to exchange two "
                "domains is learnt from a and b, which do not belong together: choose --data unpaired or domains."
            )
        piles = {name: Pile.of(dataset) for name, dataset in domains.items()}
        learnt: Mapping[str, Dataset] = getattr(splits.train, "domains", {}) if piles["a"].truths else {}
        return cls(
            piles=piles,
            means={
                name: torch.stack([dataset.example(index, None)["image"] for index in _evenly(dataset)]).mean(0)
                for name, dataset in learnt.items()
            },
        )

    @property
    def own(self) -> Sequence[str]:
        """The error of the cycle, and where the truth is known, that of the translation."""
        return ("cycle", "l1") if self.paired else ("cycle",)

    @property
    def paired(self) -> bool:
        """Whether it is known what translations should be."""
        return bool(self.piles["a"].truths)

    @property
    def targets(self) -> Sequence[Float[Tensor, "1 C H W"]]:
        """What the translations of A should be, or else held-out pictures of B."""
        return self.piles["a"].truths or self.piles["b"].pictures

    def __call__(self, game: Exchanging, device: torch.device) -> "Judgement":
        """Translate every picture there and back, without noise; many processes share them."""
        there: dict[str, list[Tensor]] = {domain: [] for domain in self.piles}
        back: dict[str, list[Tensor]] = {domain: [] for domain in self.piles}
        for direction, (source, target) in DIRECTIONS.items():
            home = next(other for other in DIRECTIONS if other != direction)
            pictures = self.piles[source].pictures
            like = self.piles[target].pictures[0]
            for index, picture in enumerate(pictures):
                mine = index % processes.size() == processes.rank()
                made = game.translate(picture.to(device), direction=direction) if mine else like.new_zeros(like.shape)
                again = game.translate(made, direction=home) if mine else picture.new_zeros(picture.shape)
                there[source].append(processes.total(made.to(device)).cpu())
                back[source].append(processes.total(again.to(device)).cpu())
        return Judgement(judge=self, there=there, back=back)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What a game made of the held-out pictures.

    Args:
        judge: The pictures.
        there: Their translations, by the domain they come from.
        back: The translations of those.
    """

    judge: Judge
    there: Mapping[str, Sequence[Float[Tensor, "1 _ _ _"]]]
    back: Mapping[str, Sequence[Float[Tensor, "1 _ _ _"]]]

    @property
    def outputs(self) -> Sequence[Float[Tensor, "1 C H W"]]:
        """The translations of A."""
        return self.there["a"]

    @property
    def figures(self) -> dict[str, Estimate]:
        """The mean errors over both directions."""
        return {
            name: _estimate(name, torch.cat([self._errors(name, domain) for domain in self.there]))
            for name in self.judge.own
        }

    @property
    def logged(self) -> dict[str, float]:
        """The mean errors, over both directions and of each."""
        return {
            key: value
            for name, figure in self.figures.items()
            for key, value in (
                (name, figure.value),
                *((f"{name}_{domain}", self._errors(name, domain).mean().item()) for domain in self.there),
            )
        }

    def save_samples(self, path: Path) -> None:
        """Write one picture of up to three pictures of each domain, A left and B right: input, translated, back."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = range(min(3, *(len(made) for made in self.there.values())))
        rows = [
            torch.cat([_rgb(picture) for domain in self.there for picture in self._row(domain, index).pictures[:3]], 2)
            for index in shown
        ]
        images.write(images.from_tensor(torch.cat(rows, 1)), path)

    def report(
        self, *, run: Mapping[str, Any], log: Path, step: int, best: Mapping[str, Any], provenance: Mapping[str, str]
    ) -> Report:
        """Collect what there is to say; ``run`` is the Run written down, ``log`` its log.jsonl."""
        records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
        figures, counts = self.figures, {name: len(pile.pictures) for name, pile in self.judge.piles.items()}
        return Report(
            title=f"{provenance['run']} after {step:,} steps",
            summary=f"{self._summary()} Held out are {counts['a']} pictures of A and {counts['b']} of B.",
            date=dt.datetime.now(tz=dt.UTC).date(),
            figures=(
                *(_figure(name, estimate) for name, estimate in figures.items()),
                Figure(
                    name=f"Best {best['name']} so far".replace("l1", "L1"),
                    value=best["value"],
                    unit=UNIT if best["name"] in figures else "",
                    note=f"at step {best['step']:,}; its checkpoint is kept",
                    better="higher" if best["higher_is_better"] else "lower",
                ),
            ),
            tables=(
                Table(
                    title="In both directions",
                    caption="L1, means over the pictures with standard errors. Changed: how far translations are from "
                    "their inputs; what only copies has 0, and a cycle without error."
                    + (
                        " Copying: how far the input itself is from the truth; mean picture: how far that of the other "
                        "domain's training pictures is."
                        if self.judge.paired
                        else ""
                    ),
                    columns=("direction", *self._measured("a")),
                    rows=tuple(
                        (direction, *self._measured(source).values()) for direction, (source, _) in DIRECTIONS.items()
                    ),
                ),
            ),
            panels=tuple(self._panels()),
            curves=tuple(_curves(records, adversarial=run.get("model", {}).get("adversarial", ""))),
            config=run,
            provenance={
                **provenance,
                **{
                    f"held-out pictures of {name.upper()}": f"{counts[name]} of {pile.of_all}"
                    for name, pile in self.judge.piles.items()
                },
            },
        )

    def _summary(self) -> str:
        cycle = (
            f"A picture that was translated there and back is off by {self.figures['cycle'].value:.3f} (L1, {UNIT})."
        )
        if not self.judge.paired:
            return f"{cycle} Whether translations look like their domain is for the eye, or a metric of sets, to say."
        copying = torch.cat([self._copying(domain) for domain in self.there])
        error = self.figures["l1"].value
        return (
            f"Translations are off the truth, which training never saw, by {error:.3f} on average (L1, {UNIT}), "
            f"{error / copying.mean():.0%} of what the input itself is off. {cycle}"
        )

    def _measured(self, domain: str) -> dict[str, str]:
        pile = self.judge.piles[domain]
        found = {}
        if pile.truths:
            found = {"L1 to the truth": self._errors("l1", domain), "copying": self._copying(domain)}
            (mean,) = (mean for other, mean in self.judge.means.items() if other != domain)
            found["mean picture"] = _errors([mean[None]] * len(pile.truths), pile.truths)
        found["cycle"] = self._errors("cycle", domain)
        if pile.pictures[0].shape == self.there[domain][0].shape:
            found["changed"] = _errors(self.there[domain], pile.pictures)
        return {
            name: f"{errors.mean():.3f}" + (f" ± {_standard_error(errors):.3f}" if len(errors) > 1 else "")
            for name, errors in found.items()
        }

    def _errors(self, name: str, domain: str) -> Float[Tensor, " N"]:
        pile = self.judge.piles[domain]
        return (
            _errors(self.back[domain], pile.pictures) if name == "cycle" else _errors(self.there[domain], pile.truths)
        )

    def _copying(self, domain: str) -> Float[Tensor, " N"]:
        return _errors(self.judge.piles[domain].pictures, self.judge.piles[domain].truths)

    def _row(self, domain: str, index: int) -> Row:
        pile = self.judge.piles[domain]
        made = [pile.pictures[index], self.there[domain][index], self.back[domain][index]]
        names = ("l1", "cycle") if pile.truths else ("cycle",)
        return Row(
            name=pile.names[index],
            note=", ".join(f"{name} {self._errors(name, domain)[index]:.3f}" for name in names).replace("l1", "L1"),
            pictures=tuple(picture[0] for picture in (*made, *pile.truths[index : index + 1])),
        )

    def _panels(self) -> Iterator[Panel]:
        columns = ("input", "translated", "cycled back", *(["truth"] if self.judge.paired else []))
        for direction, (source, _) in DIRECTIONS.items():
            errors = self._errors(self.judge.own[-1], source)
            order, middle = errors.argsort().tolist(), len(errors) // 2
            drawn = torch.randperm(len(order), generator=rng.generator(0, "shown")).tolist()[:SHOWN]
            extremes = list(dict.fromkeys([order[0], order[middle], order[-1]]))
            what = "to the truth" if self.judge.paired else "of the cycle"
            for title, caption, chosen in (
                (f"{direction}, at random", "Held-out pictures that were drawn once, not by their looks.", drawn),
                (f"{direction}, best, median and worst", f"By the L1 {what}.", extremes),
            ):
                rows = tuple(self._row(source, index) for index in chosen)
                yield Panel(title=title, caption=caption, columns=columns, rows=rows)


def _curves(records: Sequence[Mapping[str, Any]], *, adversarial: str) -> Iterator[Curve]:
    undecided = UNDECIDED.get(adversarial.replace("_", "-"))
    for title, caption, unit, names in (
        ("Held-out error", "L1 to the truth, which training never saw.", UNIT, ("held_out_l1_a", "held_out_l1_b")),
        (
            "Held-out cycle",
            "L1 of a picture that was translated there and back.",
            UNIT,
            ("held_out_cycle_a", "held_out_cycle_b"),
        ),
        (
            "Losses of the discriminators",
            f"Halved. Under {adversarial}, undecided is {undecided}." if undecided else "Halved.",
            "",
            ("d_a", "d_b"),
        ),
        ("Adversarial losses of the generators", "Which rise as the discriminators win.", "", ("g_a", "g_b")),
        ("Training error of the cycle", "L1 on the training pictures.", UNIT, ("cycle_a", "cycle_b")),
        ("Training error of the identity", "L1 on the training pictures.", UNIT, ("identity_a", "identity_b")),
    ):
        series = {name: [(record["step"], record[name]) for record in records if name in record] for name in names}
        if any(len(points) > 1 for points in series.values()):
            yield Curve(title=title, caption=caption, unit=unit, series=series)


def _evenly(dataset: Dataset) -> list[int]:
    count = min(MOST, len(dataset))
    return [index * len(dataset) // count for index in range(count)]


def _estimate(name: str, errors: Float[Tensor, " N"]) -> Estimate:
    mean, half = errors.mean().item(), 1.96 * _standard_error(errors)
    return Estimate(
        name=name,
        value=mean,
        interval=(mean - half, mean + half),
        method="normal, over the pictures",
        n={"pictures": len(errors)},
        higher_is_better=False,
        unit=UNIT,
    )


def _figure(name: str, estimate: Estimate) -> Figure:
    return Figure(
        name={"cycle": "L1 of the cycle, held out", "l1": "L1 to the truth, held out"}[name],
        value=estimate.value,
        unit=UNIT,
        note=f"mean of {estimate.n['pictures']} pictures, in both directions",
        interval=estimate.interval,
        better="lower",
    )


def _standard_error(errors: Float[Tensor, " N"]) -> float:
    return (errors.std() / math.sqrt(len(errors))).item() if len(errors) > 1 else math.nan


def _errors(answers: Sequence[Tensor], wanted: Sequence[Tensor]) -> Float[Tensor, " N"]:
    return torch.stack([(one - other).abs().mean() for one, other in zip(answers, wanted, strict=True)])


def _rgb(image: Float[Tensor, "C H W"]) -> Float[Tensor, "3 H W"]:
    return image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
