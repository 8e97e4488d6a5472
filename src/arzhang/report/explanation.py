"""The report of how a run explains pictures: in nats, and by reconstructions beside samples."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from arzhang.report import Curve, Report, Table
from arzhang.report.autoencoding import SHOWN, grid
from arzhang.report.evaluation import COLUMNS, figure, samples as rests_on
from arzhang.types import Estimate

__all__ = ["SHOWN", "Shown", "report"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """Pictures to look at.

    Args:
        pairs: Held-out pictures and their reconstructions, under what they have in common.
        samples: Pictures that were drawn, in rows of `SHOWN`.
    """

    pairs: Mapping[str, tuple[Float[Tensor, "N C H W"], Float[Tensor, "N C H W"]]]
    samples: Float[Tensor, "M C H W"]


def report(
    *,
    title: str,
    nats: Sequence[Estimate],
    terms: Sequence[Estimate],
    formula: str,
    pictures: Mapping[str, Sequence[Estimate]],
    latents: Sequence[Estimate],
    remarks: Sequence[str],
    shown: Shown,
    curves: Sequence[Curve],
    provenance: Mapping[str, str],
) -> Report:
    """Put what was found on a page.

    Args:
        title: Of the page.
        nats: How well pictures are explained.
        terms: What was maximised, and its terms, where it is not the bound.
        formula: How it is their sum.
        pictures: The same figures of each kind of pictures.
        latents: Figures of the latents.
        remarks: Sentences that a reader has to know.
        shown: Pictures to look at.
        curves: Curves.
        provenance: What figures are not comparable without.
    """
    every = {"": [*nats, *terms, *latents], **{f", {kind}": figures for kind, figures in pictures.items()}}
    found = [
        (each.name + kind, figure(each), rests_on(each), each.method, " ".join(each.remarks))
        for kind, figures in every.items()
        for each in figures
    ]
    tables = [
        Table(title="In nats", columns=("term", "mean"), rows=tuple((each.name, figure(each)) for each in nats)),
        Table(
            title="What was maximised",
            caption=formula,
            columns=("term", "mean"),
            rows=tuple((each.name, figure(each)) for each in terms),
        ),
        Table(
            title="In pictures",
            columns=("metric", *pictures),
            rows=tuple((pair[0].name, *map(figure, pair)) for pair in zip(*pictures.values(), strict=True)),
        ),
        Table(title="How each figure was found", columns=COLUMNS, rows=tuple(found)),
    ]
    rows = {f"from {SHOWN * row}": part for row, part in enumerate(shown.samples.split(SHOWN))}
    return Report(
        title=title,
        summary=" ".join(remarks),
        date=dt.datetime.now(tz=dt.UTC).date(),
        figures=tuple(map(figure, (*nats, *latents))),
        panels=(
            *(
                grid(
                    name,
                    "Held-out pictures above what is left of them.",
                    dict(zip(("pictures", "reconstructions"), pair, strict=True)),
                )
                for name, pair in shown.pairs.items()
            ),
            grid("Samples", "Latents drawn from the prior, and what the decoder makes of them (its mean).", rows),
        ),
        curves=tuple(curves),
        tables=tuple(table for table in tables if table.rows),
        provenance=provenance,
    )
