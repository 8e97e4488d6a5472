"""Judging a run that explains pictures by latents: in nats, and by the pictures that it reconstructs and draws."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from arzhang import evidence, plugins, processes, rng
from arzhang.allocator import keep_memory
from arzhang.evaluate import How, Seen, estimates_in, features_for, gathered, measured, metric, provenance_of
from arzhang.inference import computing
from arzhang.objectives import Report as Taken, Variational, importance_weighted
from arzhang.report import Curve, Report, explanation
from arzhang.run import Run
from arzhang.sample import Sampler, load, reconstructions_of, samples_of
from arzhang.types import Dataset, Estimate, Estimated, Extractor, MisuseError

METRICS = ("fid", "is", "prd", "pr", "dc", "ppl")
"""What is told of the pictures, unless other metrics are asked for."""
IMAGES = 1000
"""Held-out pictures that are explained in nats, where there are as many and no other number is asked for."""
IMPORTANCE = 5000
"""Samples of the latents of each, as in published figures."""
TOGETHER = 20
"""Pictures whose latents are drawn together: a divergence without a closed form holds all samples of so many."""
DRAWINGS = 20
"""Estimates of each picture's importance-weighted bound, where a run maximised that."""
FEW = 100
"""Samples of the posterior that those of the encoder should be worth."""
WAYS = 1000
"""Between pairs of latents, for the perceptual path length."""


@runtime_checkable
class Explaining(Protocol):
    """A game with an encoder, a decoder and a prior, which are distributions."""

    def encode(self, picture: Float[Tensor, "B C H W"]) -> Distribution:
        """Return the distribution over latents of each picture, q(z|x)."""

    def given(self, latents: Float[Tensor, "*N D"]) -> Distribution:
        """Return the distribution over pictures that latents stand for, p(x|z)."""

    def prior(self) -> Distribution:
        """Return the distribution of latents before anything is seen, p(z)."""

    def decode(self, latents: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        """Return the mean picture that latents stand for."""

    def draw(self, count: int, *, seed: int = 0, first: int = 0) -> Float[Tensor, "_ D"]:
        """Draw latents from the prior, each a function of the seed and of its number alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What a run is worth that explains pictures.

    Args:
        nats: How well held-out pictures are explained: nll, bound, and the bound's two terms.
        terms: What the run maximised, where that is not the bound, and the four terms that it is the sum of, if it is.
        formula: How it is their sum, or what it is.
        reconstructions: What metrics say of the held-out pictures' reconstructions.
        samples: What they say of as many pictures that were drawn.
        latents: The perceptual path length, where there is a distance for it.
        remarks: Sentences that a reader has to know.
        provenance: What the figures are not comparable without.
        shown: Pictures for the report.
        curves: Curves for it.
    """

    nats: tuple[Estimate, ...]
    terms: tuple[Estimate, ...]
    formula: str
    reconstructions: tuple[Estimate, ...]
    samples: tuple[Estimate, ...]
    latents: tuple[Estimate, ...]
    remarks: tuple[str, ...]
    provenance: Mapping[str, str]
    shown: explanation.Shown
    curves: tuple[Curve, ...]

    def report(self, *, title: str) -> Report:
        """Put it on a page."""
        return explanation.report(
            title=f"{title}, judged",
            nats=self.nats,
            terms=self.terms,
            formula=self.formula,
            pictures={"reconstructions": self.reconstructions, "samples": self.samples},
            latents=self.latents,
            remarks=self.remarks,
            shown=self.shown,
            curves=self.curves,
            provenance=self.provenance,
        )


def explain(
    run: Path | str,
    *,
    metrics: Sequence[str] = METRICS,
    importance: int = IMPORTANCE,
    images: int | None = None,
    **how: Any,
) -> Explanation:
    """Judge a run by how it explains the pictures that it held out.

    In nats: the evidence bound, -distortion - rate, whatever the run maximised, so that runs compare; and -log p(x), by
    importance sampling in chunks, so that memory does not grow with the samples. In pictures: reconstructions of all
    held-out pictures, and as many samples, both beside the originals. The decoder's means are shades of grey, also
    where it learnt from black and white: the originals are then those before they were made black and white.

    Args:
        run: The folder of a run.
        metrics: Of sets of pictures, their names long or short, and ppl.
        importance: Samples of the latents for log p(x) of each picture.
        images: How many held-out pictures are explained in nats, an even selection; 1000, or all of fewer, by default.
        how: What differs from the defaults of `arzhang.evaluate.How`; features are LeNet's, where pictures are grey.

    Raises:
        MisuseError: The run does not explain pictures, a metric is unknown or not of sets, or there are fewer held-out
            pictures than asked for, or too few samples.
        ArzhangError: Pictures or weights cannot be read.

    Example:
        >>> explain("nowhere")
        Traceback (most recent call last):
        arzhang.types.MisuseError: nowhere holds no run: it has no config.json. Give the folder of a training.
    """
    keep_memory()
    options = How(**{"features": features_for(run), **how})
    sampler = load(run, device=options.device)
    game = sampler.game
    if not isinstance(game, Explaining):
        raise MisuseError(
            f"{type(game).__name__}, the model of {run}, does not explain pictures by latents: judge what it draws "
            f"by `arzhang evaluate REAL samples:{run}`."
        )
    files = [metric(name) for name in metrics]
    if pairs := [name for name, file in zip(metrics, files, strict=True) if file.asks == "pairs"]:
        raise MisuseError(
            f"{' and '.join(pairs)} would be of pairs, and here sets are judged: reconstruct into a folder, and judge "
            "that by `arzhang evaluate --pairs`; or ask for fid, is, prd, pr, dc, kid or ppl."
        )
    of_sets = [file for file in files if file.asks != "generator"]
    splits = sampler.run.data.build(seed=sampler.run.seed)
    chosen = _chosen(len(splits.held_out), images)
    if importance < 2:
        raise MisuseError(
            f"With {importance} importance samples there is no error to tell: give --importance at least 2."
        )
    extractor = options.features.build()
    distance = _distance(options, extractor) if len(files) > len(of_sets) else None
    nats = _explained(sampler, splits.held_out, chosen, samples=importance, how=options)
    sets, results = _looked(run, sampler, of_sets, extractor, options) if of_sets else ({}, {})
    told = {
        name: tuple(figure for result in found.values() for figure in estimates_in(result))
        for name, found in results.items()
    }
    remarks = [*nats.remarks(), *([_why(told["reconstructions"], told["samples"])] if told else [])]
    if len(files) > len(of_sets) and distance is None:
        remarks.append(f"There is no ppl: {extractor.name} has no distance between pictures, as lenet and LPIPS have.")
    return Explanation(
        nats=nats.bound(),
        terms=nats.terms(),
        formula=nats.formula,
        reconstructions=told.get("reconstructions", ()),
        samples=told.get("samples", ()),
        latents=(_path_length(sampler, *distance, seed=options.seed),) if distance else (),
        remarks=tuple(remarks),
        provenance={
            "run": str(run),
            "explained": f"{len(chosen):,} of {len(splits.held_out):,} held-out pictures",
            "importance samples": f"{importance:,} of each",
            "precision": options.precision,
            **(provenance_of(sets, options.seed) if sets else {"seed": str(options.seed)}),
        },
        shown=_shown(sampler, nats, seed=options.seed),
        curves=tuple(_curves(results)),
    )


def _chosen(held_out: int, images: int | None) -> list[int]:
    count = min(IMAGES, held_out) if images is None else images
    if not 2 <= count <= held_out:
        raise MisuseError(
            f"{count:,} pictures cannot be explained: the run has held out {held_out:,}; give --images from 2 to that."
        )
    return [index * held_out // count for index in range(count)]


# In nats


@dataclass(frozen=True, kw_only=True, slots=True)
class _Nats:
    """What is known of each picture in nats, and how far off sampling may have left it.

    Args:
        pictures: The pictures.
        names: What people call them.
        values: Of each picture, what `arzhang.objectives.Report` names.
        errors: Standard errors of these.
        effective: How many samples of the posterior those of the encoder are worth.
        samples: Of the latents of each.
        objective: What the run maximised, where that is told.
        divergence: The name of its divergence.
        unsaid: Why there are no terms, if there should be.
        k: Samples of the importance-weighted bound, if the run maximised that, or 1.
    """

    pictures: Float[Tensor, "N C H W"]
    names: Sequence[str]
    values: Mapping[str, Float[Tensor, " N"]]
    errors: Mapping[str, Float[Tensor, " N"]]
    effective: Float[Tensor, " N"]
    samples: int
    objective: Variational | None
    divergence: str
    unsaid: str
    k: int

    @property
    def formula(self) -> str:
        """What the objective is the sum of, or what it is."""
        if self.k > 1:
            values, errors = self.values["weighted"], self.errors["weighted"]
            count = math.sqrt(len(values))
            return (
                f"bound-{self.k} is what was maximised, the mean of log 1/{self.k} of the sum of {self.k} weights. It "
                f"lies between bound and -nll, and its standard error is {values.std().item() / count:.2g} nats, of "
                f"which sampling leaves {errors.square().mean().sqrt().item() / count:.2g}. Compare runs by nll."
            )
        if self.objective is None:
            return ""
        looser = self.divergence == "kl" and self.objective.weight > 1
        return (
            f"objective = -nll - posterior-kl + rate - {self.objective.weight:g} x {self.divergence}. It is what was "
            f"maximised, {'a looser bound than the evidence bound' if looser else 'no bound on log p(x)'}, and no "
            "likelihood: compare runs by nll."
        )

    def bound(self) -> tuple[Estimate, ...]:
        """Return the likelihood, the evidence bound and the two parts of that."""
        return (
            self._mean("nll", "log_likelihood", sign=-1, higher_is_better=False),
            self._mean("bound", "evidence_bound", higher_is_better=True),
            self._mean("distortion", "reconstruction", sign=-1),
            self._mean("rate", "prior_kl"),
        )

    def terms(self) -> tuple[Estimate, ...]:
        """Return the importance-weighted bound; or the objective, and what is not told already of its four terms."""
        if self.k > 1:
            return (self._mean(f"bound-{self.k}", "weighted", samples=DRAWINGS * self.k),)
        if self.objective is None:
            return ()
        return (
            self._mean("objective", "objective"),
            self._mean("posterior-kl", "posterior_kl"),
            self._mean(self.divergence, "divergence"),
        )

    def remarks(self) -> list[str]:
        """Say what the figures are, and what is to be doubted."""
        error = float(self.errors["log_likelihood"].square().mean().sqrt())
        said = (
            f"nll is -log p(x) by k = {self.samples:,} importance samples, whose standard error is {error:.2g} nats "
            f"for a picture and {error / math.sqrt(len(self.effective)):.2g} for the mean; it is too high by about "
            "half of the former's square."
        )
        doubt = ""
        if few := int((self.effective < FEW).sum()):
            doubt = (
                f"The samples of {few} of {len(self.effective)} pictures are worth fewer than {FEW} of the posterior: "
                "give more --importance before you trust nll and its error."
            )
        return [each for each in (said, doubt, self.unsaid) if each]

    def _mean(
        self, name: str, term: str, *, sign: int = 1, higher_is_better: bool | None = None, samples: int | None = None
    ) -> Estimate:
        values = sign * self.values[term]
        mean, half = values.mean().item(), 1.96 * values.std().item() / math.sqrt(len(values))
        return Estimate(
            name=name,
            value=mean,
            interval=(mean - half, mean + half),
            method="normal, over the pictures",
            n={"pictures": len(values), "samples of each": samples or self.samples},
            higher_is_better=higher_is_better,
            unit="nats",
        )


TERMS = tuple(each.name for each in fields(Taken) if each.name not in {"weight", "effective_samples"})
"""Of a report of an objective, what is estimated of each picture."""


def _explained(sampler: Sampler, held_out: Dataset, chosen: Sequence[int], *, samples: int, how: How) -> _Nats:
    """Explain pictures, a few at a time; many processes share them, and in the end each knows all."""
    model: Any = sampler.run.model
    divergence, weight = getattr(model, "divergence", "kl"), getattr(model, "weight", 1.0)
    each = getattr(model, "of", "each") == "each"
    bound, k = divergence == "kl" and weight == 1, getattr(model, "k", 1)
    names = (*TERMS, "weighted") if k > 1 else TERMS
    objective = Variational(plugins.find("divergences", divergence), weight=weight) if each else Variational()
    pictures = torch.stack([held_out.example(index, None)["image"] for index in chosen])
    found = torch.zeros(2 * len(names) + 1, len(chosen), dtype=torch.float64)
    game, device = sampler.game, sampler.device
    gpus = [device] if device.type == "cuda" else []
    for number, rows in enumerate(how.track(torch.arange(len(chosen)).split(TOGETHER))):
        if number % processes.size() != processes.rank():
            continue
        x = pictures[rows].to(device)
        dice = torch.random.fork_rng(devices=gpus)
        with torch.no_grad(), dice, computing(how.precision, device) as autocast, autocast:
            torch.manual_seed(rng.seed_of(how.seed, "explain", number))
            parts = (x, game.encode(x), game.prior(), game.given)
            report = objective.report(*parts, samples=samples)
            told = [getattr(report, name) for name in TERMS]
            if k > 1:
                drawn = torch.stack([importance_weighted(*parts, samples=k) for _ in range(DRAWINGS)])
                error = drawn.std(0) / math.sqrt(DRAWINGS)
                told.append(Estimated(value=drawn.mean(0), standard_error=error))
        columns = [*(one.value for one in told), *(one.standard_error for one in told), report.effective_samples]
        found[:, rows] = torch.stack([column.double().cpu() for column in columns])
    found = processes.total(found)
    return _Nats(
        pictures=pictures,
        names=[held_out.name(index) for index in chosen],
        values=dict(zip(names, found, strict=False)),
        errors=dict(zip(names, found[len(names) :], strict=False)),
        effective=found[-1],
        samples=samples,
        objective=objective if each and not bound else None,
        divergence=divergence,
        unsaid=""
        if each
        else f"The {divergence} that the run minimised is of all latents of a batch, so that no picture has its terms.",
        k=k,
    )


# In pictures


def _looked(
    run: Path | str,
    sampler: Sampler,
    metrics: Sequence[ModuleType],
    extractor: Extractor,
    how: How,
) -> tuple[dict[str, Seen], dict[str, dict[str, Any]]]:
    """Return what was seen of originals, reconstructions and samples, and what metrics say of the last two."""
    sets: dict[str, Seen] = {
        name: gathered(source, extractor, how)
        for name, source in (
            ("real", evidence.Examples(originals(sampler.run), "image", name=f"what {run} held out, in its shades")),
            ("reconstructions", reconstructions_of(run, device=how.device)),
            ("samples", samples_of(run, seed=how.seed, device=how.device)),
        )
    }
    made = ("reconstructions", "samples")
    return sets, {name: measured(metrics, sets["real"], sets[name], extractor, how) for name in made}


def originals(run: Run) -> Dataset:
    """Return what a run has held out in all its shades, as which a decoder's means are, whatever it learnt from."""
    data: Any = run.data
    shaded = data if getattr(data, "binarise", "none") == "none" else replace(data, binarise="none")
    held_out: Dataset = shaded.build(seed=run.seed).held_out
    return held_out


def _why(reconstructions: Sequence[Estimate], samples: Sequence[Estimate]) -> str:
    """Say which of the two are better, and why that should be the reconstructions."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for one, other in zip(reconstructions, samples, strict=True):
        if one.higher_is_better is None:
            continue
        better = "better" if (one.value > other.value) == one.higher_is_better else "worse"
        found[better if _apart(one, other) else "open"].append(one.name)
    told = ". ".join(
        f"{words} {', '.join(found[kind])}"
        for kind, words in (
            ("better", "Here they are better by"),
            ("worse", "Here they are worse by"),
            ("open", "Intervals that overlap leave it open by"),
        )
        if found[kind]
    )
    return (
        "Reconstructions should be better than samples: their latents come from the very pictures that they are judged "
        "by, and only what the latents leave out is lost. Those of samples come from the prior, which also lies where "
        f"no picture is encoded, and what the decoder makes there counts against samples alone. {told}."
    )


def _apart(one: Estimate, other: Estimate) -> bool:
    """Tell whether both intervals are known and have nothing in common."""
    if not one.interval or not other.interval:
        return False
    return max(one.interval[0], other.interval[0]) > min(one.interval[1], other.interval[1])


Distance: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def _distance(how: How, extractor: Extractor) -> tuple[Distance, str] | None:
    """Return a distance between pictures that are not rounded, and its name; none where there is none."""
    if hasattr(extractor, "distance"):
        return extractor.distance, extractor.name
    if extractor.name == "inception":
        return None
    try:
        seen = metric("lpips").through(how.features, heads=how.heads)
    except MisuseError:
        return None
    return seen, "" if seen.name == "lpips-vgg" else seen.name


def _path_length(sampler: Sampler, distance: Any, name: str, *, seed: int) -> Estimate:
    """Return the mean of ways that are straight between latents of the prior, which need not lie on a sphere."""
    game = sampler.game
    if isinstance(distance, nn.Module):
        distance.to(sampler.device)
    start, end = (game.draw(WAYS, seed=rng.seed_of(seed, "ways"), first=first) for first in (0, WAYS))
    found: Estimate = metric("ppl").ppl(game.decode, distance, start, end, space="w", seed=seed)
    remark = "Here w are the latents: ways are straight, between two that the prior drew."
    return replace(found, name=f"ppl-{name}" if name else found.name, remarks=(*found.remarks, remark))


# For the report


def _shown(sampler: Sampler, nats: _Nats, *, seed: int) -> explanation.Shown:
    order = nats.values["log_likelihood"].argsort(descending=True, stable=True).tolist()
    drawn = torch.randperm(len(order), generator=rng.generator(seed, "shown")).tolist()
    rows = {
        "At random": drawn[: explanation.SHOWN],
        "The best explained": order[: explanation.SHOWN],
        "The worst explained": order[::-1][: explanation.SHOWN],
    }
    return explanation.Shown(
        pairs={
            name: (nats.pictures[chosen], sampler.reconstructed(nats.pictures[chosen])) for name, chosen in rows.items()
        },
        samples=torch.stack(list(sampler.draw(range(4 * explanation.SHOWN), seed=seed))),
    )


def _curves(results: Mapping[str, Mapping[str, Any]]) -> Iterator[Curve]:
    series = {
        name: list(zip(found["prd"].recall.tolist(), found["prd"].precision.tolist(), strict=True))
        for name, found in results.items()
        if "prd" in found
    }
    if series:
        yield Curve(
            title="Precision and recall for distributions",
            caption="Up: what is made looks real. Right: what is real is made.",
            unit="precision",
            x_label="recall",
            series=series,
        )
