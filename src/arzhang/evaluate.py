"""Judging: what metrics say of pictures beside real ones, of pairs, and of two candidates beside a reference.

Pictures are looked at once, whatever the number of metrics. A set of them is a folder, an archive, a numpy file,
statistics that were saved, a run (what it makes of its held-out pictures), or a dataset: ``data:NAME`` for what it
holds out, ``data:NAME/train`` for what is learnt from. ``targets:RUN`` is what a run should have made. Of a run that
makes pictures, ``samples:RUN`` are as many as it has held out, and ``reconstructions:RUN`` what is left of those.
"""

import inspect
import itertools
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from arzhang import config, evidence, images, moments, plugins, rng
from arzhang.evidence import Evidence
from arzhang.features import inception, lenet
from arzhang.images import Picture
from arzhang.inference import Precision, pick_device
from arzhang.moments import Moments
from arzhang.report import Curve, Panel, Report, Row, evaluation
from arzhang.sample import load as drawing, reconstructions_of, samples_of
from arzhang.translate import Translator, load
from arzhang.types import ArzhangError, Dataset, Estimate, Extractor, ExtractorConfig, MisuseError

SETS = ("fid", "kid", "is", "prd", "pr", "dc")
"""Metrics of two sets of pictures that are told unless others are asked for."""
PAIRS = ("l1", "psnr", "ssim")
"""Metrics of pairs that are told unless others are asked for."""
LEAST = 20
"""Permutations without which no chance below .05 can be told."""
BLOCKS = 20
"""Parts of each set, of which one at a time is left out for the interval of a difference."""

OF_SETS = {"features", "logits", "moments"}
"""What metrics of sets ask for."""
ANY = {*OF_SETS, "pairs", "generator"}
"""What any metric asks for."""
Track: TypeAlias = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class How:
    """How pictures are looked at.

    Args:
        features: The network that is looked through.
        device: cpu, cuda, or auto.
        precision: What the network computes in.
        batch: Pictures that are looked at together.
        seed: Of what metrics draw.
        skip_bad: Whether a picture that cannot be read is left out and counted, instead of ending it all.
        cache: Whether features are kept under ``ARZHANG_CACHE``.
        data: Values of the Config of a dataset, such as its root.
        heads: What LPIPS puts on a network: a file, or a folder of them; they are downloaded otherwise.
        direction: Of a run that translates both ways, ``a-to-b`` or ``b-to-a``; the first without it.
        track: Hands items on while it shows progress.
    """

    features: ExtractorConfig = inception.Config()
    device: str = "auto"
    precision: Precision = "float32"
    batch: int = 32
    seed: int = 0
    skip_bad: bool = False
    cache: bool = True
    data: Mapping[str, Any] = field(default_factory=dict)
    heads: Path | None = None
    direction: str | None = None
    track: Track = iter


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Moments of features without the pictures."""

    moments: Moments
    provenance: Mapping[str, str]


Seen: TypeAlias = Evidence | Statistics


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What metrics say.

    Args:
        estimates: The figures, in the order asked for.
        results: What each metric returned, by its name, curves included.
        provenance: What the figures are not comparable without.
        sets: What was seen, of two sets the reference first.
    """

    estimates: tuple[Estimate, ...]
    results: Mapping[str, Any]
    provenance: Mapping[str, str]
    sets: tuple[Seen, Seen] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How two candidates differ by one figure.

    Args:
        first: The figure of the first.
        second: That of the second.
        difference: First less second, with its interval.
        chance: Share of random divisions of both candidates' pictures that differ at least as much (the p-value).
        provenance: What the figures are not comparable without.
    """

    first: Estimate
    second: Estimate
    difference: Estimate
    chance: float
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_is_better(self) -> bool | None:
        """Whether the first is; None where chance makes such a difference one time in twenty, or neither way is up."""
        if self.chance >= 0.05 or self.difference.higher_is_better is None:
            return None
        return (self.difference.value > 0) == self.difference.higher_is_better


def evaluate(
    real: Path | str, fake: Path | str | None = None, *, metrics: Sequence[str] = SETS, **how: Any
) -> Evaluation:
    """Judge a set of pictures by another.

    Args:
        real: The reference; or, alone, a run, which is judged by the targets that it held out.
        fake: What is judged.
        metrics: Their names, long or short.
        how: What differs from the defaults of `How`, such as ``features=squeezenet.Config(weights=folder)``.

    Raises:
        MisuseError: A metric is unknown, is not of sets, or needs pictures where there are only statistics.
        ArzhangError: Pictures or weights cannot be read.

    Example:
        >>> evaluate("real/", "fake/", metrics=["fit"])
        Traceback (most recent call last):
        arzhang.types.MisuseError: There is no metric 'fit'; did you mean fid?
    """
    options = How(**how)
    chosen = [metric(name, asks=OF_SETS) for name in metrics]
    extractor = options.features.build()
    if fake is None:
        real, fake = f"targets:{real}", real
    sets = look(str(real), extractor, options), look(str(fake), extractor, options)
    results = measured(chosen, *sets, extractor, options)
    return Evaluation(
        estimates=tuple(estimate for result in results.values() for estimate in estimates_in(result)),
        results=results,
        provenance=provenance_of(dict(zip(("real", "fake"), sets, strict=True)), options.seed),
        sets=sets,
    )


def measured(chosen: Sequence[ModuleType], real: Seen, fake: Seen, extractor: Extractor, how: How) -> dict[str, Any]:
    """Return what each of some metrics of sets makes of what was seen, by their names.

    Raises:
        MisuseError: A metric needs pictures where there are only statistics, or a classifier.
    """
    shared: dict[Any, Any] = {}
    return {_name(module): _measured(module, real, fake, extractor, how.seed, shared) for module in how.track(chosen)}


def evaluate_pairs(
    output: Path | str, target: Path | str | None = None, *, metrics: Sequence[str] = PAIRS, **how: Any
) -> Evaluation:
    """Judge pictures by what each of them should be.

    Args:
        output: A folder, or a run, whose held-out pictures are translated.
        target: A folder with the same names; a run has its own targets.
        metrics: Their names, long or short.
        how: What differs from the defaults of `How`.

    Raises:
        MisuseError: A metric is unknown or not of pairs, or a picture has no partner or one of another size.
        ArzhangError: A picture cannot be read.
    """
    options = How(**how)
    chosen = [metric(name, asks={"pairs"}) for name in metrics]
    pairs, facts = _of_run(Path(output), options) if target is None else (_of_folders(Path(output), Path(target)), {})
    looks = {_name(module): Look.of(module, options.features, heads=options.heads) for module in chosen}
    values: dict[str, list[Tensor]] = {name: [] for name in looks}
    skipped = 0
    for name, load_pair in options.track(pairs):
        try:
            made, wanted = load_pair()
        except ArzhangError as error:
            if not options.skip_bad:
                raise
            skipped += 1
            warnings.warn(f"Skipped: {error}", stacklevel=2)
            continue
        if made.shape != wanted.shape:
            found = " and ".join(" x ".join(map(str, image.shape[1:])) for image in (made, wanted))
            raise MisuseError(f"The two pictures of {name} are {found} pixels (high x wide); pairs have one size.")
        for key, look in looks.items():
            values[key].append(look.each(made[None], wanted[None]))
    results = {key: look.told(torch.cat(values[key])) for key, look in looks.items()}
    return Evaluation(
        estimates=tuple(results.values()),
        results=results,
        provenance={
            "output": str(output),
            **({"target": str(target)} if target else {}),
            **facts,
            "pairs": str(len(pairs) - skipped),
            **({"skipped": str(skipped)} if skipped else {}),
            **{f"{key}_{name}": value for key, look in looks.items() for name, value in look.provenance.items()},
        },
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a metric of pairs looks at them.

    Args:
        each: From pictures in [-1, 1] and what they should be to a value a pair.
        told: From all values to the figure.
        provenance: What the figure is not comparable without.
    """

    each: Callable[[Tensor, Tensor], Tensor]
    told: Callable[[Tensor], Estimate]
    provenance: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, file: ModuleType, features: ExtractorConfig, *, heads: Path | None = None) -> "Look":
        """Load what the metric looks through, if it does.

        Raises:
            MisuseError: It cannot look through these features.
            ArzhangError: Weights are not to be had.
        """
        if not hasattr(file, "through"):
            return cls(each=file.each, told=file.told)
        seen = file.through(features, heads=heads)
        return cls(
            each=partial(file.each, distance=seen),
            told=partial(file.told, name=seen.name),
            provenance=seen.provenance,
        )


def compare(
    first: Path | str,
    second: Path | str,
    *,
    reference: Path | str,
    metrics: Sequence[str] = ("fid", "kid"),
    permutations: int = 99,
    **how: Any,
) -> tuple[Comparison, ...]:
    """Judge two candidates by one reference: which is better, and could chance alone make such a difference?

    The interval is found by leaving out one of 20 parts of each set at a time, so that no picture is repeated. Chance
    is found by dividing the pictures of both candidates anew, at random, as if one model had made them all. Of the
    larger candidate only as many pictures are used as the smaller has, since figures depend on how many there are.

    Args:
        first: A set of pictures.
        second: Another.
        reference: The real pictures.
        metrics: Their names, long or short; none that clusters or draws subsets, whose drawing would count as a
            difference.
        permutations: Random divisions; with 99 no chance below .01 can be told.
        how: What differs from the defaults of `How`.

    Raises:
        MisuseError: A metric is unknown or not of sets, or there are only statistics of a set.
        ArzhangError: Pictures or weights cannot be read.
    """
    if permutations < LEAST:
        raise MisuseError(f"With {permutations} permutations no chance below .05 can be told; give at least {LEAST}.")
    options = How(**how)
    chosen = [metric(name, asks=OF_SETS) for name in metrics]
    for module in chosen:
        if _name(module) in {"prd", "fid_infinity"}:
            raise MisuseError(
                f"{_name(module)} draws by itself, which would count as a difference: take fid, kid or pr."
            )
    extractor = options.features.build()
    sets = [look(str(place), extractor, options) for place in (first, second, reference)]
    compared: list[Comparison] = []
    for module in chosen:
        a, b, real = (_rows(each, module) for each in sets)
        fewest = min(len(a), len(b))
        told = partial(_told, module, extractor, options.seed)
        compared += compare_features(told, (a[:fewest], b[:fewest], real), permutations=permutations, options=options)
    provenance = provenance_of(dict(zip(("first", "second", "reference"), sets, strict=True)), options.seed)
    return tuple(replace(each, provenance=provenance) for each in compared)


def compare_features(
    told: Callable[[Tensor, Tensor], Sequence[Estimate]],
    sets: tuple[Float[Tensor, "_ D"], ...],
    *,
    permutations: int,
    options: How,
) -> Iterator[Comparison]:
    """Yield a comparison for every figure of one metric, of features.

    Args:
        told: The metric, from the reference and a candidate.
        sets: Two candidates, of equally many samples, and the reference.
        permutations: Random divisions.
        options: Where the seed is, and the progress.
    """
    a, b, real = sets

    def differences(a: Tensor, b: Tensor, real: Tensor) -> Float[Tensor, " F"]:
        values = [[each.value for each in told(real, fake)] for fake in (a, b)]
        return torch.tensor(values, dtype=torch.float64).diff(dim=0)[0].neg()

    def without(left_out: tuple[int, int]) -> Float[Tensor, " F"]:
        place, block = left_out
        kept = [
            rows[torch.arange(len(rows)) % BLOCKS != block] if index == place else rows
            for index, rows in enumerate(sets)
        ]
        return differences(*kept)

    def divided(index: int) -> Float[Tensor, " F"]:
        order = torch.randperm(len(pool), generator=rng.generator(options.seed, "permutation", index))
        return differences(pool[order[: len(a)]], pool[order[len(a) :]], real)

    pool = torch.cat([a, b])
    tasks = [partial(without, each) for each in itertools.product(range(3), range(BLOCKS))]
    tasks += [partial(divided, index) for index in range(permutations)]
    found = torch.stack([task() for task in options.track(tasks)])
    jackknifed, null = found[: 3 * BLOCKS].unflatten(0, (3, BLOCKS)), found[3 * BLOCKS :]
    errors = ((BLOCKS - 1) * jackknifed.var(dim=1, correction=0).sum(0)).sqrt()
    observed = differences(a, b, real)
    beyond = (null.abs() >= observed.abs()).sum(0)
    for index, (one, other) in enumerate(zip(told(real, a), told(real, b), strict=True)):
        value, half = observed[index].item(), 1.96 * errors[index].item()
        yield Comparison(
            first=one,
            second=other,
            difference=replace(
                one,
                value=value,
                interval=(value - half, value + half),
                method=f"delete-block jackknife, {BLOCKS} blocks of each set",
                n={"first": len(a), "second": len(b), "reference": len(real)},
                seed=options.seed,
            ),
            chance=(1 + int(beyond[index])) / (1 + permutations),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The one figure by which a training chooses its best checkpoint.

    Args:
        file: The metric.
        look: How it looks at pairs, if it does.
        extractor: What it looks at sets through, if it does.
        device: Where that is.
    """

    file: ModuleType
    look: Look | None
    extractor: Extractor | None
    device: torch.device

    @classmethod
    def of(cls, name: str, *, features: str, weights: Path | None, device: torch.device) -> "Score":
        """Find a metric and load what it looks through.

        Raises:
            MisuseError: There is none, or it is not of pictures.
            ArzhangError: The weights are not to be had.
        """
        file = metric(name, asks={"pairs", *OF_SETS})
        given = {"weights": weights} if weights else {}
        made = plugins.find("features", features).Config(**given)
        if file.asks == "pairs":
            return cls(file=file, look=Look.of(file, made), extractor=None, device=device)
        return cls(file=file, look=None, extractor=made.build().to(device), device=device)

    def __call__(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Estimate:
        """Return the figure of pictures, batches of one in [-1, 1], beside what they should be."""
        if self.look:
            return self.look.told(torch.cat([self.look.each(*pair) for pair in zip(outputs, targets, strict=True)]))
        assert self.extractor is not None
        real, fake = (self._rows(pictures) for pictures in (targets, outputs))
        return estimates_in(_called(self.file, self.extractor, 0, real, fake))[0]

    @staticmethod
    def better(one: Estimate, other: float) -> bool:
        """Whether a figure is better than what was best."""
        return one.value > other if one.higher_is_better else one.value < other

    def _rows(self, pictures: Sequence[Tensor]) -> Float[Tensor, "N D"]:
        assert self.extractor is not None
        rgb = [images.to_rgb(images.from_tensor(picture[0, :3])) for picture in pictures]
        rows = []
        for part in range(0, len(rgb), 16):
            prepared = torch.stack([self.extractor.prepare(each) for each in rgb[part : part + 16]])
            rows.append(self.extractor(prepared.to(self.device)))
        name = "logits" if self.file.asks == "logits" else "features"
        if name not in rows[0]:
            raise MisuseError(f"{_name(self.file)} needs a classifier, and {self.extractor.name} is none.")
        return torch.cat([each[name].float().cpu() for each in rows])


def report_of(made: Evaluation, *, title: str, how: Mapping[str, Any]) -> Report:
    """Return the page of an evaluation: figures, curves, nearest neighbours, the best and the worst by realism."""
    return evaluation.report(
        made.estimates,
        title=f"{title}, judged",
        curves=tuple(_curves(made.results)),
        panels=tuple(_panels(made, How(**how))),
        provenance=made.provenance,
    )


def _curves(results: Mapping[str, Any]) -> Iterator[Curve]:
    if prd := results.get("prd"):
        yield Curve(
            title="Precision and recall for distributions",
            caption="Up: what is made looks real. Right: what is real is made.",
            unit="precision",
            x_label="recall",
            series={"PRD": list(zip(prd.recall.tolist(), prd.precision.tolist(), strict=True))},
        )
    if extrapolated := results.get("fid_infinity"):
        yield Curve(
            title="The Fréchet distance of subsets",
            caption="A straight line meets the left border at the distance of endlessly many.",
            x_label="1 / pictures",
            series={extrapolated.intercept.name: [(1 / n, value) for n, value in extrapolated.points]},
        )


def _panels(made: Evaluation, how: How) -> Iterator[Panel]:
    """Yield what is made beside the real pictures that are nearest to it in features, ordered by realism."""
    real, fake = made.sets or (None, None)
    if not isinstance(real, Evidence) or not isinstance(fake, Evidence):
        return
    try:
        found = metric("pr").shares(real.features, fake.features, seed=how.seed)
    except ArzhangError:  # too few have no neighbours to show
        return
    order = found.realism.argsort(descending=True, stable=True).tolist()
    remembered = found.distance.argsort(stable=True).tolist()
    drawn = torch.randperm(len(order), generator=rng.generator(how.seed, "shown")).tolist()
    chosen = (
        ("Nearest real pictures", "Made pictures that were drawn once, each beside the nearest real one.", drawn[:6]),
        ("Nearest of all", "Where a model remembers, the two are the same.", remembered[:3]),
        ("The best", "By realism: nearest to real pictures, in units of how far these lie apart.", order[:3]),
        ("The worst", "By realism.", order[::-1][:3]),
    )
    shown = {index for *_, rows in chosen for index in rows}
    pictures = [
        _pictures(seen, {int(row) for row in rows}, how)
        for seen, rows in ((real, found.nearest[[*shown]]), (fake, shown))
    ]
    for title, caption, rows in chosen:
        yield Panel(
            title=title,
            caption=caption,
            columns=("made", "the nearest real one"),
            rows=tuple(
                Row(
                    name=fake.names[index],
                    note=f"realism {found.realism[index]:.2f}; nearest: {real.names[found.nearest[index]]}",
                    pictures=(pictures[1][index], pictures[0][int(found.nearest[index])]),
                )
                for index in rows
                if index in pictures[1] and int(found.nearest[index]) in pictures[0]  # names may repeat
            ),
        )


def _pictures(seen: Evidence, rows: Collection[int], how: How) -> dict[int, Float[Tensor, "3 H W"]]:
    """Fetch the pictures of some rows again, from where they came."""
    wanted = {seen.names[row]: row for row in rows}
    items = _source(seen.provenance["source"], how).items(slice(None))
    found = {wanted[item.name]: images.to_rgb(item.load()) for item in items if item.name in wanted}
    return {row: pixels / 127.5 - 1 for row, pixels in found.items()}


def metric(name: str, *, asks: Collection[str] = ANY) -> ModuleType:
    """Return the file of a metric, by its long or its short name.

    Raises:
        MisuseError: There is none, or it asks for something else.
    """
    files = {each: sys.modules[plugins.find("metrics", each).__module__] for each in plugins.names("metrics")}
    by_name = {getattr(file, "short", long): file for long, file in files.items()} | files
    key = name.replace("-", "_")
    if key not in by_name:
        known = sorted({each.replace("_", "-") for each, file in by_name.items() if file.asks in asks})
        raise MisuseError(f"There is no metric {name!r}{plugins.nearest(name, known)}")
    file = by_name[key]
    if file.asks not in asks:
        what = {"pairs": "of pairs: give --pairs", "generator": "of a generator: call arzhang.metrics.ppl in Python"}
        raise MisuseError(f"{name} is {what.get(file.asks, 'of two sets of pictures: leave --pairs out')}.")
    return file


def estimates_in(result: Any) -> list[Estimate]:
    """Return the figures of what a metric returned: itself, or some of its fields."""
    if isinstance(result, Estimate):
        return [result]
    return [value for each in fields(result) if isinstance(value := getattr(result, each.name), Estimate)]


def features_for(run: Path | str) -> ExtractorConfig:
    """Return what pictures of a run are looked at through, unless others are asked for: LeNet where they are grey."""
    return lenet.Config() if getattr(drawing(run, device="cpu").game, "channels", 3) == 1 else inception.Config()


def look(place: str, extractor: Extractor, how: How) -> Seen:
    """Look at what a place holds.

    Raises:
        MisuseError: It holds nothing that can be looked at, or statistics of other features.
        ArzhangError: Pictures cannot be read.
    """
    path = Path(place)
    if evidence.statistics_in(path):
        found, provenance = moments.load(path)
        for key, value in {**extractor.provenance, "extractor": extractor.name, "precision": how.precision}.items():
            if provenance.get(key, value) != value:
                raise MisuseError(
                    f"The statistics in {path} have the {key} {provenance[key]}, and the pictures here are looked at "
                    f"with {value}: choose the same for both."
                )
        made_from = provenance.pop("source", "not known")
        if not provenance:
            provenance["extractor"] = "not known"  # nobody can tell whether it is the same
        return Statistics(moments=found, provenance={**provenance, "source": place, "made from": made_from})
    return gathered(_source(place, how), extractor, how)


def save_statistics(seen: Seen, path: Path) -> None:
    """Write the moments of features, with their provenance, for later use as a reference.

    Raises:
        ArzhangError: The file cannot be written.
    """
    found = seen.moments if isinstance(seen, Statistics) else Moments.of(seen.features)
    found.save(path, seen.provenance)


def gathered(source: evidence.Source, extractor: Extractor, how: How) -> Evidence:
    """Look at pictures, or take what was seen of them before.

    Raises:
        ArzhangError: There are none, or one cannot be read.
    """
    options = evidence.Options(
        device=pick_device(how.device),
        precision=how.precision,
        batch=how.batch,
        skip_bad=how.skip_bad,
        track=how.track,
    )
    return evidence.gather(source, extractor, options, cache=how.cache)


def _source(place: str, how: How) -> evidence.Source:
    if place.startswith("targets:"):
        _, _, held_out = _run(Path(place.removeprefix("targets:")), how)
        return evidence.Examples(held_out, _pictures_of(held_out), name=place)
    name, _, part = place.removeprefix("data:").partition("/")
    if place.startswith("data:"):
        kind = plugins.find("data", name).Config
        splits = config.from_dict(kind, how.data).build(seed=how.seed)
        if part not in {"", "train", "held-out"}:
            raise MisuseError(f"{place} asks for {part!r} of {name}; there are train and held-out.")
        dataset = splits.train if part == "train" else splits.held_out
        dataset = getattr(dataset, "domains", {"b": dataset})["b"]  # each picture once, whatever the other pile has
        return evidence.Examples(dataset, _pictures_of(dataset), name=place)
    kind, _, folder = place.partition(":")
    if kind == "samples":
        return samples_of(folder, seed=how.seed, device=how.device)
    if kind == "reconstructions":
        return reconstructions_of(folder, device=how.device)
    if not is_run(Path(place)):
        return evidence.source(Path(place))
    translator, held_out, _ = _run(Path(place), how)

    def make(share: slice) -> Iterator[tuple[str, Picture]]:
        for index in range(len(held_out))[share]:
            yield held_out.name(index), images.from_tensor(_translated(translator, held_out, index))

    return evidence.Made(make, name=place, count=len(held_out), facts=translator.towards)


def is_run(path: Path) -> bool:
    """Tell whether a folder is a training's."""
    return (path / "config.json").is_file()


def _run(folder: Path, how: How) -> tuple[Translator, Dataset, Dataset]:
    """Return what a run has learnt, what it has held out to translate, and what that should look like."""
    if not is_run(folder):
        raise MisuseError(f"{folder} is no run; name two sets of pictures, the real ones first.")
    translator = load(folder, device=how.device, direction=how.direction)
    held_out = translator.run.data.build(seed=translator.run.seed).held_out
    domains = getattr(held_out, "domains", {"a": held_out, "b": held_out})
    source, _, target = translator.towards.get("direction", "a-to-b").partition("-to-")
    return translator, domains[source], domains[target]


def _translated(translator: Translator, held_out: Dataset, index: int) -> Float[Tensor, "C H W"]:
    example = held_out.example(index, None)
    source = example["source" if "source" in example else "image"][None].to(translator.device)
    made: Tensor = translator.game.translate(source, **translator.towards)[0].cpu()
    return made


def _pictures_of(dataset: Dataset) -> str:
    """Return which of a dataset's tensors its pictures are: what is to be made."""
    example = dataset.example(0, None)
    return next(name for name in ("target", "image") if name in example)


_Pair: TypeAlias = tuple[str, Callable[[], tuple[Float[Tensor, "C H W"], Float[Tensor, "c h w"]]]]


def _of_run(folder: Path, how: How) -> tuple[list[_Pair], Mapping[str, str]]:
    """Return each held-out picture: a name, and what makes the translation and fetches the target; and a direction."""
    translator, held_out, _ = _run(folder, how)
    wanted = next((name for name in ("target", "truth") if name in held_out.example(0, None)), None)
    if wanted is None:
        raise MisuseError(f"Nobody knows what {folder} should have made: choose --metrics of sets, such as kid.")

    def pair(index: int) -> tuple[Tensor, Tensor]:
        return _translated(translator, held_out, index), held_out.example(index, None)[wanted]

    return [(held_out.name(index), partial(pair, index)) for index in range(len(held_out))], translator.towards


def _of_folders(output: Path, target: Path) -> list[_Pair]:
    """Return pictures that lie under the same name, whatever their suffix: the name, and what reads both."""
    made, wanted = _by_name(output), _by_name(target)
    alone = sorted(made.keys() ^ wanted.keys())
    if alone or not made:
        what = f"{alone[0]} and {len(alone) - 1} more have" if len(alone) > 1 else f"{(alone or ['A folder'])[0]} has"
        raise MisuseError(f"{what} no partner: pairs are pictures of the same name in {output} and {target}.")

    def pair(name: str) -> tuple[Tensor, Tensor]:
        pictures = [images.read(folder[name]) for folder in (made, wanted)]
        channels = max(picture.pixels.shape[2] for picture in pictures)
        one, other = (images.to_tensor(picture, channels=channels) for picture in pictures)
        return one, other

    return [(name, partial(pair, name)) for name in made]


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in images.find(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise MisuseError(f"{found[name]} and {path} have one name, and pairs go by names: rename one of them.")
        found[name] = path
    return found


def _told(
    file: ModuleType, extractor: Extractor, seed: int, real: Float[Tensor, "N D"], fake: Float[Tensor, "M D"]
) -> list[Estimate]:
    """Return the figures of a metric as a function of the samples alone; where moments suffice, without intervals."""
    if file.asks == "moments":
        return estimates_in(_called(file, extractor, seed, Moments.of(real), Moments.of(fake)))
    all_of_them = {"subsets": 1} if _name(file) == "kid" else {}  # drawn ones would differ by the drawing, too
    return estimates_in(_called(file, extractor, seed, real, fake, **all_of_them))


def _measured(  # noqa: PLR0917
    file: ModuleType, real: Seen, fake: Seen, extractor: Extractor, seed: int, shared: dict[Any, Any]
) -> Any:
    if file.asks == "moments":
        sets = [each.moments if isinstance(each, Statistics) else each.features for each in (real, fake)]
        return _called(file, extractor, seed, *sets)
    rows = _rows(real, file), _rows(fake, file)
    if share := getattr(file, "shares", None):  # what other metrics need as well
        shared[share] = shared[share] if share in shared else share(*rows, seed=seed)
        return _called(file, extractor, seed, *rows, shared=shared[share])
    return _called(file, extractor, seed, *rows)


def _called(file: ModuleType, extractor: Extractor, seed: int, real: Any, fake: Any, **more: Any) -> Any:
    function = getattr(file, _name(file))
    if "seed" in inspect.signature(function).parameters:
        more["seed"] = seed
    result = function(fake, **more) if file.asks == "logits" else function(real, fake, **more)
    return result if extractor.name == "inception" else _renamed(result, extractor.name)


def _renamed(result: Any, features: str) -> Any:
    """Name figures after what they were looked at through: there is no FID without its own network."""
    if isinstance(result, Estimate):
        return replace(result, name=f"{result.name.replace('fid', 'fd')}-{features}")
    return replace(
        result,
        **{
            each.name: _renamed(value, features)
            for each in fields(result)
            if isinstance(value := getattr(result, each.name), Estimate)
        },
    )


def _rows(seen: Seen, file: ModuleType) -> Float[Tensor, "N D"]:
    name = _name(file).replace("_", "-")
    if isinstance(seen, Statistics):
        raise MisuseError(f"{name} needs the pictures, and {seen.provenance['source']} holds only statistics.")
    if file.asks == "logits" and seen.logits is None:
        raise MisuseError(f"{name} needs a classifier, and {seen.provenance['extractor']} is none: choose --features.")
    return seen.logits if file.asks == "logits" and seen.logits is not None else seen.features


def _name(file: ModuleType) -> str:
    return file.__name__.rpartition(".")[2]


def provenance_of(sets: Mapping[str, Seen], seed: int) -> dict[str, str]:
    """Return what all sets have in common once, and what is of one set under its name."""
    told = [each.provenance for each in sets.values()]
    shared = {key: value for key, value in told[0].items() if all(other.get(key) == value for other in told)}
    own = {
        f"{name}: {key}": each.provenance[key]
        for name, each in sets.items()
        for key in each.provenance
        if key not in shared
    }
    return {**shared, **own, "seed": str(seed)}
