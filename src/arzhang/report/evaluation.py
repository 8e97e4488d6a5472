"""The report of an evaluation: figures with their intervals, curves, and the pictures that explain them."""

import datetime as dt
from collections.abc import Mapping, Sequence

from arzhang.report import Curve, Figure, Panel, Report, Table
from arzhang.types import Estimate

COLUMNS = ("metric", "value", "samples", "interval by", "to know")


def figure(estimate: Estimate) -> Figure:
    """Return an estimate as a report shows it.

    Example:
        >>> made = Estimate(name="kid", value=0.1, interval=None, method="none", n={"real": 9}, higher_is_better=False)
        >>> figure(made).better
        'lower'
    """
    return Figure(
        name=estimate.name,
        value=estimate.value,
        unit=estimate.unit,
        note=samples(estimate),
        interval=estimate.interval,
        better=None if estimate.higher_is_better is None else "higher" if estimate.higher_is_better else "lower",
    )


def samples(estimate: Estimate) -> str:
    """Return in words what an estimate rests on.

    Example:
        >>> samples(Estimate(name="", value=0, interval=None, method="", n={"real": 10000}, higher_is_better=None))
        '10,000 real'
    """
    return ", ".join(f"{count:,} {name}" for name, count in estimate.n.items())


def report(
    estimates: Sequence[Estimate],
    *,
    title: str,
    curves: Sequence[Curve],
    panels: Sequence[Panel],
    provenance: Mapping[str, str],
) -> Report:
    """Put an evaluation on a page."""
    rows = [(each.name, figure(each), samples(each), each.method, " ".join(each.remarks)) for each in estimates]
    return Report(
        title=title,
        summary="Every figure with its 95 % interval, where one is known; what it rests on is under Provenance.",
        date=dt.datetime.now(tz=dt.UTC).date(),
        figures=tuple(map(figure, estimates)),
        tables=(Table(title="How each figure was found", columns=COLUMNS, rows=tuple(rows)),),
        panels=tuple(panels),
        curves=tuple(curves),
        provenance=provenance,
    )
