"""What a game is worth that draws what is asked for, beside pictures it has never seen: a judgement, and its report."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import images, processes
from arzhang.report._parts import Curve, Figure, Panel, Report, Row
from arzhang.types import Estimate, MisuseError, Splits

MOST = 500
"""Held-out pictures that are judged."""
TOGETHER = 100
"""Of which so many at a time."""
SHOWN = 8
"""Pictures of a condition that are shown."""
ROWS = 12
"""Conditions that are shown."""


@runtime_checkable
class Asked(Protocol):
    """A game that draws what it is asked for."""

    def conditions(self, label: Tensor) -> Float[Tensor, "B K"]:
        """Return the conditions of labels."""

    def sample(
        self, count: int, *, seed: int = 0, first: int = 0, condition: Float[Tensor, "{count} K"] | None = None
    ) -> Float[Tensor, "{count} C H W"]:
        """Draw pictures of conditions."""

    def verdict(self, picture: Float[Tensor, "B C H W"], condition: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        """Return logits: positive for real, and what was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Held-out pictures with their conditions, of which as many are drawn.

    Args:
        pictures: The held-out pictures.
        labels: Theirs.
        names: What labels, or numbers, are called.
        of_all: How many are held out, of which these are an even selection.
    """

    pictures: Float[Tensor, "N C H W"]
    labels: Tensor
    names: Sequence[str]
    of_all: int
    kind: str = "pictures"
    own: Sequence[str] = ()
    paired: bool = False

    @classmethod
    def of(cls, game: Asked, splits: Splits) -> "Judge":
        """Collect the pictures.

        Raises:
            MisuseError: The examples have no picture with a label, others than the model's, or one alone is held out.
        """
        held_out = splits.held_out
        count = min(MOST, len(held_out))
        examples = [held_out.example(index * len(held_out) // count, None) for index in range(count)]
        if not {"image", "label"} <= examples[0].keys():
            raise MisuseError(
                f"The examples of this data have {' and '.join(examples[0])}, and to draw what is asked for is learnt "
                "from image and label: choose data with labels, such as --data mnist, digits or labelled."
            )
        if count < 2:
            raise MisuseError(
                "One picture is held out, and what is drawn is compared with at least 2: give 20 pictures or more, of "
                "which a tenth is held out, or put two into a folder val beside train."
            )
        labels = torch.stack([example["label"] for example in examples])
        known = game.conditions(labels).shape[1]
        names = list(getattr(held_out, "label_names", ()))
        if names and len(names) != known:
            raise MisuseError(
                f"The data has {len(names)} labels, and the model knows {known}: set --model.labels {len(names)}."
            )
        return cls(
            pictures=torch.stack([example["image"] for example in examples]),
            labels=labels,
            names=names or [str(number) for number in range(known)],
            of_all=len(held_out),
        )

    @property
    def targets(self) -> list[Float[Tensor, "1 C H W"]]:
        """The pictures, each as a batch of one."""
        return list(self.pictures.split(1))

    def __call__(self, game: Asked, device: torch.device) -> "Judgement":
        """Draw a picture of every held-out condition, and ask the discriminator; many processes share them."""
        outputs = torch.zeros_like(self.pictures)
        verdicts = torch.zeros(2, len(outputs), dtype=torch.float64)
        for part, rows in enumerate(torch.arange(len(outputs)).split(TOGETHER)):
            if part % processes.size() != processes.rank():
                continue
            condition = game.conditions(self.labels[rows].to(device))
            made = game.sample(len(rows), first=int(rows[0]), condition=condition)
            outputs[rows] = made.cpu()
            for number, pictures in enumerate((self.pictures[rows].to(device), made)):
                verdicts[number, rows] = game.verdict(pictures, condition).double().cpu()
        return Judgement(
            judge=self,
            game=game,
            device=device,
            outputs=processes.total(outputs).split(1),
            verdicts=processes.total(verdicts),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What a game drew.

    Args:
        judge: What it was asked for.
        game: What draws.
        device: Where it is.
        outputs: A picture of each held-out condition.
        verdicts: The discriminator's logits, of the held-out pictures and of these.
    """

    judge: Judge
    game: Asked
    device: torch.device
    outputs: Sequence[Float[Tensor, "1 C H W"]]
    verdicts: Float[Tensor, "2 N"]

    @property
    def figures(self) -> dict[str, Estimate]:
        """None: which checkpoint is best is for a metric of sets to say."""
        return {}

    @property
    def logged(self) -> dict[str, float]:
        """What the discriminator says on average of what it has not seen, and of what was made."""
        real, made = self.verdicts.mean(1).tolist()
        return {"logit_real": real, "logit_made": made}

    def save_samples(self, path: Path) -> None:
        """Write one picture: a row for each condition, a column for each latent."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [torch.cat(list(_rgb(pictures)), 2) for _, pictures in self._grid()]
        images.write(images.from_tensor(torch.cat(rows, 1)), path)

    def report(
        self, *, run: Mapping[str, Any], log: Path, step: int, best: Mapping[str, Any], provenance: Mapping[str, str]
    ) -> Report:
        """Collect what there is to say; ``run`` is the Run written down, ``log`` its log.jsonl."""
        records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
        found = [record[f"held_out_{best['name']}"] for record in records if f"held_out_{best['name']}" in record]
        count = len(self.outputs)
        better: Literal["lower", "higher"] = "higher" if best["higher_is_better"] else "lower"
        return Report(
            title=f"{provenance['run']} after {step:,} steps",
            summary=(
                f"Asked for what {count} held-out pictures are of, it draws as many, whose {best['name']} to those is "
                f"{found[-1]:.3g}. A figure of so few is for comparing steps of one run; arzhang evaluate judges it."
            ),
            date=dt.datetime.now(tz=dt.UTC).date(),
            figures=(
                Figure(name=best["name"], value=found[-1], note=f"{count} drawn, {count} held out", better=better),
                Figure(
                    name=f"Best {best['name']} so far",
                    value=best["value"],
                    note=f"at step {best['step']:,}; its checkpoint is kept",
                    better=better,
                ),
            ),
            panels=tuple(self._panels()),
            curves=tuple(_curves(records, best["name"])),
            config=run,
            provenance={**provenance, "held-out pictures": f"{count} of {self.judge.of_all}"},
        )

    def _grid(self) -> Iterator[tuple[str, Float[Tensor, "N C H W"]]]:
        """Yield up to `ROWS` conditions, in order where they have one, and pictures of each from the same latents."""
        known = self.judge.labels.unique(dim=0)[:ROWS]
        for label, condition in zip(known, self.game.conditions(known.to(self.device)), strict=True):
            made = self.game.sample(SHOWN, seed=1, condition=condition.expand(SHOWN, -1))
            yield _name(label, self.judge.names), made.cpu()

    def _panels(self) -> Iterator[Panel]:
        rows = tuple(Row(name=name, pictures=tuple(map(_rgb, pictures))) for name, pictures in self._grid())
        yield Panel(
            title="What is asked for, against what is drawn",
            caption="A row is a condition, a column a latent: what stays the same down a column is what the noise is.",
            columns=("",) * SHOWN,
            rows=rows,
        )
        count = min(SHOWN, len(self.outputs))
        chosen = [index * len(self.outputs) // count for index in range(count)]
        pairs = {"held out": self.judge.targets, "drawn": self.outputs}
        yield Panel(
            title="Held out, and drawn with the same condition",
            caption="They should look alike in kind, not in detail.",
            columns=tuple(_name(self.judge.labels[index], self.judge.names) for index in chosen),
            rows=tuple(
                Row(name=name, pictures=tuple(_rgb(made[i][0]) for i in chosen)) for name, made in pairs.items()
            ),
        )


def _curves(records: Sequence[Mapping[str, Any]], best: str) -> Iterator[Curve]:
    for title, caption, names in (
        ("Held out", f"{best} of what is drawn, to what is held out.", (f"held_out_{best}",)),
        (
            "What the discriminator says of what it has not learnt from",
            "Logits. If those of held-out pictures fall, training pictures are being learnt by heart.",
            ("held_out_logit_real", "held_out_logit_made"),
        ),
        ("Losses", "Of the discriminator (half) and the generator.", ("d", "g")),
    ):
        series = {
            name.removeprefix("held_out_"): points
            for name in names
            if len(points := [(record["step"], record[name]) for record in records if name in record]) > 1
        }
        if series:
            yield Curve(title=title, caption=caption, series=series)


def _name(label: Tensor, names: Sequence[str]) -> str:
    """Return the name of a label, those of several, or the first numbers of a vector."""
    if not label.dim():
        return names[int(label)]
    if label.dtype == torch.int64:
        return " + ".join(name for name, has in zip(names, label.tolist(), strict=True) if has) or "none"
    return ", ".join(f"{each:.2g}" for each in label[:3].tolist()) + ("..." if len(label) > 3 else "")


def _rgb(image: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N 3 H W"]:
    channels = image.shape[-3]
    return image[..., :3, :, :] if channels >= 3 else image[..., :1, :, :].expand(*image.shape[:-3], 3, -1, -1)
