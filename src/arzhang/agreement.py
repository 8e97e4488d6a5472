"""Judging a run that draws what it is asked for: by whether a classifier agrees, and beside real pictures."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from arzhang import evidence, images
from arzhang.evaluate import OF_SETS, How, estimates_in, features_for, gathered, measured, metric, provenance_of
from arzhang.inference import computing, pick_device
from arzhang.report import Panel, Report, Row, evaluation
from arzhang.sample import Sampler, load, samples_of
from arzhang.types import Dataset, Estimate, Extractor, MisuseError

METRICS = ("fid", "is", "pr")
"""What is told of the pictures, unless other metrics are asked for."""
COUNT = 10_000
"""Pictures that are drawn, where no other number is asked for and as many are held out."""
Z = 1.96
"""Standard deviations of a normal to either side that hold 95 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """What a run is worth that draws what it is asked for.

    Args:
        asked: How often the classifier agrees: over all; of the label with which it does least; and with the labels of
            real pictures, above which nothing is to be expected.
        reference: What metrics say of real pictures of the training, beside held-out ones.
        samples: What they say of as many that were drawn, beside the same.
        remarks: Sentences that a reader has to know.
        provenance: What the figures are not comparable without.
        shown: Pictures of each label.
    """

    asked: tuple[Estimate, ...]
    reference: tuple[Estimate, ...]
    samples: tuple[Estimate, ...]
    remarks: tuple[str, ...]
    provenance: Mapping[str, str]
    shown: Panel

    def report(self, *, title: str) -> Report:
        """Put it on a page."""
        real = tuple(replace(each, name=f"{each.name} of real pictures") for each in self.reference)
        return evaluation.report(
            (*self.asked, *self.samples, *real),
            title=f"{title}, judged",
            curves=(),
            panels=(self.shown,),
            provenance=self.provenance,
        )


def agreement(run: Path | str, *, metrics: Sequence[str] = METRICS, count: int | None = None, **how: Any) -> Agreement:
    """Judge a run by whether a classifier that has not seen it agrees with what it was asked for, and by metrics.

    As many pictures are drawn as are held out, at most 10,000, each label as often as any other. Metrics compare them
    with what is held out; and, as what could be reached at best, as many training pictures with the same.

    Args:
        run: The folder of a run.
        metrics: Of sets of pictures, their names long or short.
        count: How many are drawn.
        how: What differs from the defaults of `arzhang.evaluate.How`; features are LeNet's, where pictures are grey.

    Raises:
        MisuseError: The run is not asked, a metric is unknown or not of sets, or there are too few real pictures.
        ArzhangError: Pictures or weights cannot be read.

    Example:
        >>> agreement("nowhere")
        Traceback (most recent call last):
        arzhang.types.MisuseError: nowhere holds no run: it has no config.json. Give the folder of a training.
    """
    options = How(**{"features": features_for(run), **how})
    sampler = load(run, device=options.device)
    sampler.needs("conditions", "draw what it is asked for")
    files = [metric(name, asks=OF_SETS) for name in metrics]
    splits = sampler.run.data.build(seed=sampler.run.seed)
    most = min(len(splits.held_out), len(splits.train))
    count = min(COUNT, most) if count is None else count
    if not 2 <= count <= most:
        raise MisuseError(
            f"{count:,} pictures cannot be judged beside real ones: the run has {most:,} of these; give --images from 2"
            " to that."
        )
    extractor = options.features.build()
    sets = {
        name: gathered(source, extractor, options)
        for name, source in (
            ("real", evidence.Examples(_Some(splits.held_out, count), "image", name=f"what {run} held out")),
            ("training", evidence.Examples(_Some(splits.train, count), "image", name=f"what {run} learnt from")),
            ("samples", samples_of(run, count, options.seed, device=options.device)),
        )
    }
    told = {
        name: tuple(
            figure
            for result in measured(files, sets["real"], sets[name], extractor, options).values()
            for figure in estimates_in(result)
        )
        for name in ("training", "samples")
    }
    asked, remarks = _agreed(sampler, extractor, _Some(splits.held_out, count), options)
    return Agreement(
        asked=asked,
        reference=told["training"],
        samples=told["samples"],
        remarks=remarks,
        provenance={"run": str(run), **provenance_of(sets, options.seed)},
        shown=_shown(sampler),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Some:
    """An even selection of a dataset."""

    dataset: Dataset
    count: int

    def __len__(self) -> int:
        return self.count

    def example(self, index: int, generator: torch.Generator | None) -> Mapping[str, Tensor]:
        return self.dataset.example(self._place(index), generator)

    def name(self, index: int) -> str:
        return self.dataset.name(self._place(index))

    def _place(self, index: int) -> int:
        return index * len(self.dataset) // self.count


def _agreed(
    sampler: Sampler, extractor: Extractor, held_out: Dataset, how: How
) -> tuple[tuple[Estimate, ...], tuple[str, ...]]:
    """Return how often the classifier sees what was asked for, and what to know of that."""
    labels, count = sampler.labels(), len(held_out)
    if sampler.game.config.condition != "label":
        return (), ("What was asked for is not one label each, so that no classifier can agree.",)
    known = {"count": count, "labels": len(labels)}
    others = tuple(getattr(extractor, "label_names", labels)) != tuple(labels)
    if others or not len(seen := _classified(sampler.draw(range(count), seed=how.seed), extractor, how, **known)):
        return (), (f"{extractor.name} is no classifier of the run's {len(labels)} labels, and cannot agree.",)
    asked = torch.arange(count) % len(labels)
    right = (seen == asked).double()
    of_each = [(right[asked == label].mean().item(), label) for label in range(min(len(labels), count))]
    worst = labels[min(of_each)[1]]
    missing = [labels[label] for label in range(len(labels)) if not (seen == label).any()]
    real = _classified((held_out.example(index, None)["image"] for index in range(count)), extractor, how, **known)
    truth = torch.stack([held_out.example(index, None)["label"] for index in range(count)])
    figures = (
        _share("agreement", right),
        _share(f"agreement, of {worst}, the least", right[asked == min(of_each)[1]]),
        _share("agreement of real pictures", (real == truth).double()),
    )
    remarks = (
        f"Agreement is how often {extractor.name}, which has learnt from real pictures, sees what was asked for.",
        f"No picture was taken for {', '.join(missing)}." if missing else "Every label was seen among the pictures.",
    )
    return figures, remarks


def _classified(
    pictures: Iterator[Float[Tensor, "C H W"]], extractor: Extractor, how: How, *, count: int, labels: int
) -> Int64[Tensor, " N"]:
    """Return the labels that the classifier sees; none where it has others."""
    device = pick_device(how.device)
    network: Any = extractor
    network.to(device)
    found: list[Tensor] = []
    for _ in how.track(range(0, count, how.batch)):
        rgb = [images.to_rgb(images.from_tensor(each[:3])) for each in itertools.islice(pictures, how.batch)]
        prepared = torch.stack([extractor.prepare(each) for each in rgb]).to(device)
        with torch.no_grad(), computing(how.precision, device) as autocast, autocast:
            told = extractor(prepared)
        if "logits" not in told or told["logits"].shape[1] != labels:
            return torch.empty(0, dtype=torch.int64)
        found.append(told["logits"].argmax(1).cpu())
    return torch.cat(found)


def _share(name: str, right: Tensor) -> Estimate:
    """Return a share with Wilson's interval (JASA 22, 1927), which is within [0, 1] at its ends, too."""
    count, share = len(right), right.mean().item()
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return Estimate(
        name=name,
        value=share,
        interval=(max(centre - half, 0.0), min(centre + half, 1.0)),
        method="Wilson, over the pictures",
        n={"pictures": count},
        higher_is_better=True,
    )


def _shown(sampler: Sampler) -> Panel:
    labels = sampler.labels()[:12] if sampler.game.config.condition == "label" else [None]
    return Panel(
        title="What is asked for, against what is drawn",
        caption="A row is a label, a column a latent.",
        columns=("",) * 8,
        rows=tuple(
            Row(name=label or "as held out", pictures=tuple(sampler.draw(range(8), label=label))) for label in labels
        ),
    )
