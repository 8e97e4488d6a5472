"""The weight of the divergence: what a larger lambda does to the latents of a VAE, and what it costs.

The same autoencoder learns the same pictures under every weight of KL and of Cauchy-Schwarz, from several seeds, which
also decide how weights begin, in which order pictures come and, of the digits, which are held out. All is measured on
these: the rate is KL(q(z|x), p(z)) whichever divergence was minimised, the distortion -E log p(x|z), both in nats.

References:
    Higgins et al., "beta-VAE", ICLR 2017, equation 4.
    Alemi et al., "Fixing a Broken ELBO", ICML 2018, section 2.2, on rate and distortion.
    Tran, Pantic and Deisenroth, "Cauchy-Schwarz Regularized Autoencoder", JMLR 23(115), 2022, equation 9.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from arzhang import images, rng
from arzhang.data import mnist
from arzhang.explain import originals
from arzhang.features import lenet
from arzhang.inference import computing, pick_device
from arzhang.loading import batches
from arzhang.metrics import fid
from arzhang.moments import Moments
from arzhang.report.latents import active
from arzhang.run import Run, from_recipe
from arzhang.study._drawing import BLUE, VERMILLION, drawing
from arzhang.train import begin, play
from arzhang.types import Dataset, Extractor, MisuseError

LOOKS = {"kl": (BLUE, "o"), "cauchy-schwarz": (VERMILLION, "s")}
"""Each divergence's colour and marker."""
QUANTITIES = {
    "rate": "rate: KL from the prior, nats",
    "distortion": "distortion, nats",
    "fd_reconstructions": "fd-lenet of reconstructions",
    "fd_samples": "fd-lenet of samples",
    "active_units": "active units",
}
"""What is measured of each run, and the title of its table."""
CLAIM = {"rate": -1, "distortion": 1}
"""What a larger weight is said to do: tighten the latents, and cost reconstruction."""
DRAWS = 50
"""Samples of the latents of each picture, for the distortion."""
TOGETHER = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Sweep the weight of the divergence in a VAE, for KL and for Cauchy-Schwarz, and ask what a larger one does.

    By default on scikit-learn's digits, as `vae-digits` has them; with --data.root on binarised MNIST, as `vae-mnist`.
    The prior is N(0, 1).

    Example: arzhang study lambda --weights 0.5 1 2 4 --seeds 3
    """

    weights: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """Lambda, of which there are two at least."""
    divergence: Literal["both", "kl", "cauchy-schwarz"] = "both"
    """What is weighted."""
    data_root: Annotated[Path | None, tyro.conf.arg(name="data.root")] = None
    """Folder of the files of MNIST, which is then learnt in the place of the digits."""
    latents: int = 10
    """How many latents explain a picture."""
    steps: int = 1000
    """Of each training."""
    seeds: int = 3
    """Trainings of each kind."""
    seed: int = 0
    """The first of their seeds."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""

    def check(self) -> None:
        """Refuse numbers out of their range.

        Raises:
            MisuseError: There are such.
        """
        if len(set(self.weights)) < 2:
            raise MisuseError("To see what a larger weight does takes two weights at least: give --weights 0.5 2.")
        for weight in self.weights:
            if not 0 <= weight < math.inf:
                raise MisuseError(f"A weight is {weight:g}; it should be finite, and at least 0.")
        for name in ("latents", "steps", "seeds"):
            if getattr(self, name) < 1:
                raise MisuseError(f"{name} is {getattr(self, name)}, and should be at least 1.")

    def run(self, divergence: str, weight: float, seed: int) -> Run:
        """Return what is trained: a recipe, with another divergence, weight, number of latents, length and seed."""
        recipe = from_recipe("vae-mnist" if self.data_root else "vae-digits")
        model: Any = recipe.model
        return replace(
            recipe,
            model=replace(model, divergence=divergence, weight=weight, latents=self.latents, prior="standard-normal"),
            data=mnist.Config(root=self.data_root, binarise="dynamic") if self.data_root else recipe.data,
            steps=self.steps,
            seed=seed,
            ema=0.0,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The tables and the figure.

    Args:
        config: What was asked.
        weights: From the least on.
        found: Of each divergence, each of `QUANTITIES`, for every weight and seed.
    """

    config: Config
    weights: tuple[float, ...]
    found: Mapping[str, Mapping[str, Float[Tensor, "weights seeds"]]]

    def rows(self) -> list[dict[str, Any]]:
        """Return a table of each quantity against the weight, and one of what goes up and down with it."""
        made: list[dict[str, Any]] = []
        for quantity, title in QUANTITIES.items():
            for index, weight in enumerate(self.weights):
                row: dict[str, Any] = {"table": title, "weight": weight}
                for divergence, of in self.found.items():
                    name = divergence.replace("-", "_")
                    mean, half = _interval(of[quantity][index])
                    row |= {
                        name: mean,
                        f"{name}_low": None if half is None else mean - half,
                        f"{name}_high": None if half is None else mean + half,
                    }
                made.append(row)
        for divergence in self.found:
            for quantity in QUANTITIES:
                change, half = self._change(divergence, quantity)
                made.append(
                    {
                        "table": f"change from weight {self.weights[0]:g} to {self.weights[-1]:g}, seed by seed",
                        "divergence": divergence,
                        "of": quantity,
                        "change": change,
                        "low": None if half is None else change - half,
                        "high": None if half is None else change + half,
                        "verdict": self.verdict(divergence, quantity),
                        "at_every_step": "yes" if self._steady(divergence, quantity) else "no",
                    }
                )
        return made

    def verdict(self, divergence: str, quantity: str) -> Literal["rises", "falls", "open"]:
        """Say which way a quantity goes with the weight, where the interval of its change tells."""
        change, half = self._change(divergence, quantity)
        if half is None or abs(change) <= half:
            return "open"
        return "rises" if change > 0 else "falls"

    @property
    def caption(self) -> str:
        """What a reader of the tables has to know, and whether the claim holds."""
        seeds = f"{self.config.seeds} seeds" if self.config.seeds > 1 else "one seed, which gives no interval"
        said = [f"{divergence}: {self._claimed(divergence)}" for divergence in self.found]
        return (
            f"Held-out pictures; means over {seeds}, and 95 % intervals by Student's t. \"A larger weight tightens the "
            f'latents and costs reconstruction", from {self.weights[0]:g} to {self.weights[-1]:g}: '
            f"{'; '.join(said)}."
        )

    def figures(self) -> dict[str, Any]:
        """Draw distortion against rate, and Fréchet distances against the weight."""
        with drawing(11, 4.6, columns=2) as (figure, ((left, right),)):
            for divergence, of in self.found.items():
                colour, marker = LOOKS[divergence]
                rate, rate_error = _intervals(of["rate"])
                distortion, distortion_error = _intervals(of["distortion"])
                left.errorbar(
                    *(rate, distortion, distortion_error, rate_error),
                    color=colour,
                    marker=marker,
                    capsize=2,
                    elinewidth=1,
                    label=divergence,
                )
                for weight, x, y in zip(self.weights, rate, distortion, strict=True):
                    left.annotate(f"{weight:g}", (x, y), (4, 4), textcoords="offset points", color=colour, fontsize=10)
                for kind, dash in (("reconstructions", "-"), ("samples", (0, (4, 2)))):
                    value, error = _intervals(of[f"fd_{kind}"])
                    right.errorbar(
                        *(self.weights, value, error),
                        color=colour,
                        marker=marker,
                        linestyle=dash,
                        capsize=2,
                        elinewidth=1,
                        label=f"{kind}, {divergence}",
                    )
            left.set(xlabel="rate (nats)", ylabel="distortion (nats)", title="Numbers are weights")
            right.set(xlabel="weight", ylabel="fd-lenet", title="Fréchet distance to held-out pictures")
            right.set_xscale("symlog", base=2, linthresh=min(weight for weight in self.weights if weight))
            right.set_xticks(self.weights, [f"{weight:g}" for weight in self.weights])
            right.minorticks_off()
            right.set_ylim(bottom=0)
            left.legend()
            right.legend(fontsize=10)
        return {"lambda": figure}

    def _change(self, divergence: str, quantity: str) -> tuple[float, float | None]:
        found = self.found[divergence][quantity]
        return _interval(found[-1] - found[0])

    def _steady(self, divergence: str, quantity: str) -> bool:
        steps = self.found[divergence][quantity].mean(1).diff()
        return bool((steps > 0).all() or (steps < 0).all())

    def _claimed(self, divergence: str) -> str:
        verdicts = {quantity: self.verdict(divergence, quantity) for quantity in CLAIM}
        told = " and ".join(
            f"the {quantity} {'is left open' if verdict == 'open' else verdict}"
            for quantity, verdict in verdicts.items()
        )
        signs = {"rises": 1, "falls": -1, "open": 0}
        agreed = [signs[verdicts[quantity]] * sign for quantity, sign in CLAIM.items()]
        return f"{'shown' if min(agreed) > 0 else 'denied' if min(agreed) < 0 else 'left open'}, as {told}"


def run(config: Config, *, track: Callable[[Sequence[Any]], Iterable[Any]] = iter) -> Result:
    """Train, and measure what came of it.

    Args:
        config: What is asked.
        track: Hands trainings on while it shows progress.

    Raises:
        MisuseError: A number of the configuration is out of its range.
        ArzhangError: The data cannot be read.
    """
    config.check()
    weights, divergences = tuple(sorted(set(config.weights))), _divergences(config)
    extractor = lenet.Config().build()
    found = {
        divergence: {quantity: torch.zeros(len(weights), config.seeds) for quantity in QUANTITIES}
        for divergence in divergences
    }
    plan = [
        (divergence, index, seed)
        for seed in range(config.seeds)
        for divergence in divergences
        for index in range(len(weights))
    ]
    for divergence, index, seed in track(plan):
        made = config.run(divergence, weights[index], config.seed + seed)
        for quantity, value in _measured(made, extractor, pick_device(config.device)):
            found[divergence][quantity][index, seed] = value
    return Result(config=config, weights=weights, found=found)


def _divergences(config: Config) -> tuple[str, ...]:
    return tuple(LOOKS) if config.divergence == "both" else (config.divergence,)


def _measured(made: Run, extractor: Extractor, device: torch.device) -> Iterator[tuple[str, float]]:
    """Train one autoencoder, and yield what `QUANTITIES` names."""
    splits = made.data.build(seed=made.seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        game = _trained(made, splits.train, device)
    pictures = _pictures(splits.held_out)
    parts = [part.to(device) for part in pictures.split(TOGETHER)]
    evidence = [game.evidence(part, samples=DRAWS, seed=made.seed) for part in parts]
    for name in ("rate", "distortion"):
        yield name, float(torch.cat([each[name] for each in evidence]).mean())
    with torch.no_grad():
        yield "active_units", float(active(torch.cat([game.encode(part).mean for part in parts])).sum())
    real = _seen(extractor, _pictures(originals(made)))
    kept = torch.cat([game.reconstruct(part).cpu() for part in parts])
    drawn = torch.cat(
        [game.sample(len(part), seed=made.seed, first=TOGETHER * number).cpu() for number, part in enumerate(parts)]
    )
    for name, made_of_it in (("fd_reconstructions", kept), ("fd_samples", drawn)):
        yield name, fid(real, _seen(extractor, made_of_it)).value


def _trained(made: Run, train: Dataset, device: torch.device) -> Any:
    torch.manual_seed(rng.seed_of(made.seed, "study", "lambda"))
    state = begin(made, device)
    game: Any = state.game
    with computing("float32", device) as autocast:
        for step, batch in enumerate(
            batches(train, size=made.batch, seed=made.seed, steps=range(made.length(len(train))))
        ):
            rate = made.rate_at(step, len(train))
            for _ in play(game, batch.to(device), state.optimisers, rate=rate, autocast=autocast):
                pass
    return game.eval()


def _pictures(dataset: Dataset) -> Float[Tensor, "N C H W"]:
    return torch.stack([dataset.example(index, None)["image"] for index in range(len(dataset))])


def _seen(extractor: Extractor, pictures: Float[Tensor, "N C H W"]) -> Moments:
    prepared = [extractor.prepare(images.to_rgb(images.from_tensor(picture))) for picture in pictures]
    parts = torch.stack(prepared).split(TOGETHER)
    return Moments.of(torch.cat([extractor(part)["features"] for part in parts]))


def _interval(values: Float[Tensor, " seeds"]) -> tuple[float, float | None]:
    """Return the mean over seeds and half of its 95 % interval, by Student's t; one seed has none."""
    from scipy.special import stdtrit  # noqa: PLC0415

    n = len(values)
    half = None if n < 2 else float(stdtrit(n - 1, 0.975)) * float(values.double().std()) / math.sqrt(n)
    return float(values.double().mean()), half


def _intervals(values: Float[Tensor, "weights seeds"]) -> tuple[list[float], list[float] | None]:
    """Return means and halves of intervals, for a figure."""
    found = [_interval(each) for each in values]
    halves = [half for _, half in found if half is not None]
    return [mean for mean, _ in found], halves or None
