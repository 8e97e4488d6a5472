"""What a game that explains pictures is worth on some it has never seen: a judgement, and the report of it."""

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
from arzhang.report._parts import Curve, Figure, Panel, Report, Row
from arzhang.report.latents import Encoding, Latents
from arzhang.types import Estimate, MisuseError, Splits

MOST = 500
"""Held-out pictures that are judged."""
TOGETHER = 100
"""Of which so many at a time."""
DRAWS = 50
"""Samples of the latents for the log-likelihood of each."""
SHOWN = 8
"""Pictures in a row."""
EVIDENCE = ("nll", "bound", "distortion", "rate")
"""What is measured of each picture, in nats."""
L1 = "of the range [-1, 1]"


@runtime_checkable
class Autoencoding(Protocol):
    """A game that explains pictures by latents, and makes pictures from them."""

    def reconstruct(self, picture: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Encode and decode, with nothing drawn."""

    def sample(self, count: int, *, seed: int = 0) -> Float[Tensor, "B C H W"]:
        """Make pictures from latents of the prior."""

    def evidence(
        self, picture: Float[Tensor, "B C H W"], *, samples: int, seed: int = 0
    ) -> Mapping[str, Float[Tensor, " B"]]:
        """Return what `EVIDENCE` names, in nats: ``bound`` is less than log p(x), and -rate - distortion.

        ``nll``, which is -log p(x), is found by importance sampling with so many samples.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Held-out pictures, and how far off the answer is that needs no model.

    Args:
        pictures: The held-out pictures.
        names: What people call them.
        classes: What each picture is of; none where that is not known, or is no single label.
        baseline: Mean absolute error of the mean training picture, for each of them.
        of_all: How many are held out, of which these are an even selection.
    """

    pictures: Float[Tensor, "N C H W"]
    names: Sequence[str]
    classes: Sequence[str]
    baseline: Float[Tensor, " N"]
    of_all: int
    kind: str = "pictures"
    own: Sequence[str] = ("nll", "bound")
    paired: bool = True

    @classmethod
    def of(cls, splits: Splits) -> "Judge":
        """Collect the pictures and measure the baseline.

        Raises:
            MisuseError: The examples have no picture by itself.
        """
        found = splits.held_out.example(0, None)
        if "image" not in found:
            raise MisuseError(
                f"The examples of this data have {' and '.join(found)}, and to explain pictures is learnt from image: "
                "choose data of single pictures, such as --data mnist, digits or images."
            )
        held_out, train = splits.held_out, splits.train
        chosen = _evenly(len(held_out))
        examples = [held_out.example(index, None) for index in chosen]
        pictures = torch.stack([example["image"] for example in examples])
        mean = torch.stack([train.example(index, None)["image"] for index in _evenly(len(train))]).mean(0)
        return cls(
            pictures=pictures,
            names=[held_out.name(index) for index in chosen],
            classes=[
                str(label.item()) for each in examples if (label := each.get("label")) is not None and not label.dim()
            ],
            baseline=_errors(pictures, mean),
            of_all=len(held_out),
        )

    @property
    def targets(self) -> list[Float[Tensor, "1 C H W"]]:
        """The pictures, each as a batch of one."""
        return list(self.pictures.split(1))

    def __call__(self, game: Autoencoding, device: torch.device) -> "Judgement":
        """Reconstruct every picture and measure how well it is explained; many processes share the pictures."""
        outputs = torch.zeros_like(self.pictures)
        evidence = {name: torch.zeros(len(outputs), dtype=torch.float64) for name in EVIDENCE}
        for part, rows in enumerate(torch.arange(len(outputs)).split(TOGETHER)):
            if part % processes.size() != processes.rank():
                continue
            pictures = self.pictures[rows].to(device)
            outputs[rows] = game.reconstruct(pictures).cpu()
            found = game.evidence(pictures, samples=DRAWS, seed=part)
            for name, values in evidence.items():
                values[rows] = found[name].double().cpu()
        batches = [batch.to(device) for batch in self.pictures.split(TOGETHER)]
        return Judgement(
            judge=self,
            game=game,
            device=device,
            latents=Latents.of(game, batches, self.classes) if isinstance(game, Encoding) else None,
            outputs=processes.total(outputs).split(1),
            evidence={name: processes.total(values) for name, values in evidence.items()},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """How a game explains the held-out pictures.

    Args:
        judge: The pictures.
        game: What explains them.
        device: Where it is.
        latents: Those of the pictures, where the game encodes.
        outputs: The reconstructions, each as a batch of one.
        evidence: In nats, of each picture: ``bound``, ``rate``, ``distortion``, ``nll``.
    """

    judge: Judge
    game: Autoencoding
    device: torch.device
    latents: Latents | None
    outputs: Sequence[Float[Tensor, "1 C H W"]]
    evidence: Mapping[str, Float[Tensor, " N"]]

    @property
    def logged(self) -> dict[str, float]:
        """The mean absolute error of the reconstructions, and the means of the evidence."""
        return {
            "l1": _errors(self.judge.pictures, torch.cat(list(self.outputs))).mean().item(),
            **{name: values.mean().item() for name, values in self.evidence.items()},
        }

    @property
    def figures(self) -> dict[str, Estimate]:
        """The negative log-likelihood and its bound."""
        return {name: self._estimate(name) for name in self.judge.own}

    def save_samples(self, path: Path) -> None:
        """Write one picture: held-out ones, their reconstructions, and two rows of samples."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = self._drawn()
        pictures = [self.judge.pictures[shown], torch.cat([self.outputs[index] for index in shown])]
        made = self.game.sample(2 * len(shown)).cpu().split(len(shown))
        rows = [torch.cat(list(_rgb(row)), 2) for row in (*pictures, *made)]
        images.write(images.from_tensor(torch.cat(rows, 1)), path)

    def report(
        self, *, run: Mapping[str, Any], log: Path, step: int, best: Mapping[str, Any], provenance: Mapping[str, str]
    ) -> Report:
        """Collect what there is to say; ``run`` is the Run written down, ``log`` its log.jsonl."""
        records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
        errors = _errors(self.judge.pictures, torch.cat(list(self.outputs)))
        nll, count = self._estimate("nll"), len(errors)
        return Report(
            title=f"{provenance['run']} after {step:,} steps",
            summary=(
                f"{count} held-out pictures are explained at {nll.value:.2f} nats each (negative log-likelihood, by "
                f"{DRAWS} importance samples), and reconstructed to within {errors.mean():.3f} on average (L1, {L1}), "
                f"where the mean picture is off by {self.judge.baseline.mean():.3f}."
            ),
            date=dt.datetime.now(tz=dt.UTC).date(),
            figures=(
                *(_figure(name, self._estimate(name)) for name in EVIDENCE),
                Figure(name="L1 of reconstructions", value=errors.mean().item(), unit=L1, better="lower"),
                *((self.latents.figure(),) if self.latents else ()),
                Figure(
                    name=f"Best {best['name']} so far",
                    value=best["value"],
                    note=f"at step {best['step']:,}; its checkpoint is kept",
                    better="higher" if best["higher_is_better"] else "lower",
                ),
            ),
            panels=tuple(self._panels()),
            maps=tuple(self.latents.map()) if self.latents else (),
            curves=tuple(_curves(records)),
            config=run,
            provenance={**provenance, "held-out pictures": f"{count} of {self.judge.of_all}"},
        )

    def _estimate(self, name: str) -> Estimate:
        values = self.evidence[name]
        mean, half = (
            values.mean().item(),
            1.96 * values.std(correction=min(1, len(values) - 1)).item() / math.sqrt(len(values)),
        )
        return Estimate(
            name=name,
            value=mean,
            interval=(mean - half, mean + half),
            method="normal, over the pictures",
            n={"pictures": len(values), "samples": DRAWS},
            higher_is_better=name == "bound" if name in self.judge.own else None,
            unit="nats",
        )

    def _drawn(self) -> list[int]:
        order: list[int] = torch.randperm(len(self.outputs), generator=rng.generator(0, "shown")).tolist()
        return order[:SHOWN]

    def _panels(self) -> Iterator[Panel]:
        order = self.evidence["nll"].argsort().tolist()
        for title, caption, chosen in (
            ("At random", "Held-out pictures that were drawn once, not chosen by their looks.", self._drawn()),
            ("The best explained", "The pictures with the greatest likelihood.", order[:SHOWN]),
            ("The worst explained", "The pictures with the least likelihood.", order[::-1][:SHOWN]),
        ):
            rows = {
                "pictures": self.judge.pictures[chosen],
                "reconstructions": torch.cat([self.outputs[index] for index in chosen]),
            }
            yield grid(title, caption, rows)
        made = self.game.sample(4 * SHOWN).cpu().split(SHOWN)
        yield grid(
            "Samples",
            "Latents drawn from the prior, and what the decoder makes of them (its mean).",
            {f"seed 0, from {SHOWN * row}": pictures for row, pictures in enumerate(made)},
        )
        if self.latents and isinstance(self.game, Encoding):
            yield self.latents.traversal(self.game, self._drawn()[0], self.device)


def grid(title: str, caption: str, rows: Mapping[str, Float[Tensor, "N C H W"]]) -> Panel:
    """Lay rows of as many pictures out, each under its name."""
    made = tuple(Row(name=name, pictures=tuple(map(_rgb, pictures))) for name, pictures in rows.items())
    return Panel(title=title, caption=caption, columns=("",) * len(made[0].pictures), rows=made)


def _curves(records: Sequence[Mapping[str, Any]]) -> Iterator[Curve]:
    for title, caption, signs in (
        (
            "Held out, by pictures",
            "-log p(x), and the bound's negative above it.",
            {"held_out_nll": 1, "held_out_bound": -1},
        ),
        (
            "Training",
            "What the loss is made of, on average over the batch.",
            {"distortion": 1, "divergence": 1, "bound": -1},
        ),
    ):
        series = {
            f"{'-' if sign < 0 else ''}{name}": points
            for name, sign in signs.items()
            if len(points := [(record["step"], sign * record[name]) for record in records if name in record]) > 1
        }
        if series:
            yield Curve(title=title, caption=caption, unit="nats", series=series)


def _figure(name: str, estimate: Estimate) -> Figure:
    words = {"nll": "Negative log-likelihood", "bound": "Evidence bound", "distortion": "Distortion", "rate": "Rate"}
    better: Any = {None: None, True: "higher", False: "lower"}[estimate.higher_is_better]
    return Figure(
        name=words[name],
        value=estimate.value,
        unit="nats",
        note=f"mean of {estimate.n['pictures']} pictures, samples of the latents: {estimate.n['samples']}",
        interval=estimate.interval,
        better=better,
    )


def _errors(pictures: Float[Tensor, "N C H W"], answers: Float[Tensor, "*N C H W"]) -> Float[Tensor, " N"]:
    return (pictures - answers).abs().mean((1, 2, 3))


def _evenly(length: int) -> list[int]:
    count = min(MOST, length)
    return [index * length // count for index in range(count)]


def _rgb(image: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N 3 H W"]:
    channels = image.shape[-3]
    return image[..., :3, :, :] if channels >= 3 else image[..., :1, :, :].expand(*image.shape[:-3], 3, -1, -1)
