r"""The parts of Pix2Pix: which loss, which generator, which patch and which noise make its pictures what they are.

Every combination is an ordinary run: the same pairs, steps and seeds, judged on the same held-out pairs, which are
translated with noise drawn, as in the paper. Of a picture y in [-1, 1] with C channels, H rows and W columns the
gradient energy is

    E(y) = 1 / (C (H - 1) W) sum (y[c, i + 1, j] - y[c, i, j])^2 + 1 / (C H (W - 1)) sum (y[c, i, j + 1] - y[c, i, j])^2

and what is told is sum_n E(G(x_n, z_n)) / sum_n E(y_n): below 1 pictures are smoother than they should be, above 1 they
have detail, or noise, that the truth has not. Diversity is the mean of |G(x, z) - G(x, z')|_1 over pairs of draws, 0
where noise changes nothing.

References:
    Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", arXiv:1611.07004, sections 4.2 to
    4.4 (losses, generators, patches) and 3.2.1 (noise).
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import torch
import tyro
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from arzhang import checkpoint, images, layout, plugins, rng
from arzhang.metrics import fid
from arzhang.models import pix2pix as model
from arzhang.networks import imagegan, patchgan, pixelgan, unet
from arzhang.run import Run, changed, from_recipe
from arzhang.study._drawing import drawing
from arzhang.train import train
from arzhang.translate import load
from arzhang.types import Dataset, DiscriminatorConfig, Estimate, Extractor, MisuseError

Loss: TypeAlias = Literal["l1", "l2", "gan", "cgan", "l1+gan", "l1+cgan", "l2+cgan"]
Generator: TypeAlias = Literal["unet", "encoder-decoder"]
Patch: TypeAlias = Literal["1", "16", "34", "70", "whole"]
Noise: TypeAlias = Literal["dropout", "none", "z"]

ORDER: Mapping[str, tuple[str, ...]] = {
    "loss": ("l1", "l2", "gan", "cgan", "l1+gan", "l1+cgan", "l2+cgan"),
    "generator": ("unet", "encoder-decoder"),
    "patch": ("1", "16", "34", "70", "whole"),
    "noise": ("none", "dropout", "z"),
}
"""The parts, and in which order each of them is told."""
QUANTITIES = {
    "l1": "l1",
    "fd": "fd",
    "energy": "|energy - 1|",
    "diversity": "-diversity",
}
"""What is measured, and of what the best has least."""
WEIGHT = 100.0
"""Of L1 and of L2, where there is one."""
DRAWS = 4
"""Times that each held-out picture is translated, for its diversity; the other figures are of the first."""
SHOWN = 3
"""Held-out pairs in the figures."""
RESAMPLED = 1000
"""Times that the held-out pairs are drawn again, with repetition, for an interval."""
KEPT_EVERY = 500
"""Steps between checkpoints, which is what a power cut can cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One combination of the parts; without an adversary there is no patch."""

    loss: str
    generator: str
    patch: str | None
    noise: str

    def __str__(self) -> str:
        return "_".join(getattr(self, field.name) or "no-adversary" for field in fields(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Compare the parts of Pix2Pix: losses, generators, patches and noise, each as a run of its own.

    By default one part at a time differs from the first of each list (patches, from the first loss with an adversary);
    with --cross every part meets every other. Runs are kept below --out, so that the same command goes on where it was
    stopped. Give --data.root for your own pairs.

    Example: arzhang study pix2pix --losses l1+cgan l1 l2 --patches 16 1 --generators unet --noise dropout --steps 500
    """

    losses: tuple[Loss, ...] = ("l1+cgan", "l1", "l2", "gan", "cgan", "l1+gan", "l2+cgan")
    """What the generator lowers; gan judges the picture alone, cgan beside its source."""
    generators: tuple[Generator, ...] = ("unet", "encoder-decoder")
    """With skips, or without."""
    patches: tuple[Patch, ...] = ("16", "1", "34", "70", "whole")
    """Side in pixels of what the discriminator judges by itself; what is larger than the picture is left out."""
    noise: tuple[Noise, ...] = ("dropout", "none", "z")
    """Where chance enters: by dropout, nowhere, or by a Gaussian plane z that the generator sees beside the source."""
    cross: tyro.conf.FlagCreatePairsOff[bool] = False
    """Train every combination, and not only those that differ from the first ones by one part."""
    data_root: Annotated[Path | None, tyro.conf.arg(name="data.root")] = None
    """Folder of pairs, which are then learnt in the place of procedural facades."""
    data_direction: Annotated[Literal["a-to-b", "b-to-a"], tyro.conf.arg(name="data.direction")] = "a-to-b"
    """Of such pairs, what is drawn from what."""
    size: int = 64
    """Side of the pictures in pixels: a power of 2, of 32 at least."""
    width: int = 32
    """Channels of the outermost layers."""
    steps: int = 2000
    """Of each training, at batch 1."""
    seeds: int = 1
    """Trainings of each combination."""
    seed: int = 0
    """The first of their seeds."""
    features: str = "pixels"
    """What the Fréchet distance looks through, such as squeezenet; pixels need no weights, and tell of colours only."""
    weights: Path | None = None
    """Its weights, if they are not to be downloaded."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""

    def check(self) -> None:
        """Refuse what cannot be compared.

        Raises:
            MisuseError: A part has no value, nothing differs, a number is out of its range, or pictures are no pairs.
            ArzhangError: The pairs cannot be read.
        """
        if self.size < 32 or self.size & (self.size - 1):
            raise MisuseError(f"size is {self.size}, and should be a power of 2, such as 32, 64 or 128.")
        for name in ("width", "steps", "seeds"):
            if getattr(self, name) < 1:
                raise MisuseError(f"{name} is {getattr(self, name)}, and should be at least 1.")
        if not all(self.parts().values()):
            raise MisuseError(
                "Every part needs a value that fits: give at least one of --losses, --generators, --patches (no larger "
                f"than the pictures, {self.size}) and --noise."
            )
        if len(self.cells()) < 2:
            raise MisuseError("There is one combination only, and nothing to compare: give --losses l1 l1+cgan.")
        if self.data_root and layout.dataset_of(self.data_root) != "paired":
            raise MisuseError(
                f"{self.data_root} holds single pictures, and Pix2Pix learns from pairs: give --data.root a folder of "
                "pairs."
            )

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return the values of each part, those first from which the others differ."""
        fitting = tuple(patch for patch in self.patches if patch == "whole" or int(patch) <= self.size)
        return {"loss": self.losses, "generator": self.generators, "patch": fitting, "noise": self.noise}

    def groups(self) -> dict[str, tuple[Cell, ...]]:
        """Return what differs by one part from the first value of each, for every part that has several.

        Patches meet the first loss that has an adversary, without which none is judged.
        """
        parts = self.parts()
        first = {part: values[0] for part, values in parts.items()}
        judged = {"loss": next((loss for loss in self.losses if "gan" in loss), self.losses[0])}
        made = {
            part: tuple(
                dict.fromkeys(
                    _cell(first | (judged if part == "patch" else {}) | {part: value})
                    for value in ORDER[part]
                    if value in values
                )
            )
            for part, values in parts.items()
        }
        return {part: cells for part, cells in made.items() if len(cells) > 1}

    def cells(self) -> tuple[Cell, ...]:
        """Return all that is trained, each once."""
        parts = self.parts()
        if not self.cross:
            return tuple(dict.fromkeys(itertools.chain.from_iterable(self.groups().values())))
        ordered = [[value for value in ORDER[part] if value in values] for part, values in parts.items()]
        return tuple(dict.fromkeys(_cell(dict(zip(parts, each, strict=True))) for each in itertools.product(*ordered)))

    def run(self, cell: Cell, seed: int) -> Run:
        """Return what is trained for a combination."""
        recipe = replace(from_recipe("pix2pix-small"), model=self._model(cell))
        data: dict[str, Any] = {"size": self.size}
        if self.data_root:
            data |= {"root": str(self.data_root), "direction": self.data_direction}
        return replace(
            changed(recipe, {"data": data}),
            steps=self.steps,
            seed=seed,
            ema=0.0,
            judge_every=self.steps,
            checkpoint_every=KEPT_EVERY,
            keep=1,
            device=self.device,
        )

    def _model(self, cell: Cell) -> model.Config:
        return model.Config(
            generator=unet.Config(
                depth=self.size.bit_length() - 1,
                width=self.width,
                dropout=0.5 if cell.noise == "dropout" else 0.0,
                skips=cell.generator == "unet",
            ),
            discriminator=self._discriminator(cell.patch),
            adversarial="none" if cell.patch is None else "vanilla",
            l1=WEIGHT if "l1" in cell.loss else 0.0,
            l2=WEIGHT if "l2" in cell.loss else 0.0,
            conditional="cgan" in cell.loss,
            noise=int(cell.noise == "z"),
        )

    def _discriminator(self, patch: str | None) -> DiscriminatorConfig:
        layers = {None: 3, "16": 1, "34": 2, "70": 3}
        if patch == "1":
            return pixelgan.Config(width=self.width)
        if patch == "whole":  # down to 2 x 2 features, each of which sees all of the picture's sides
            return imagegan.Config(layers=self.size.bit_length() - 2, width=self.width)
        return patchgan.Config(layers=layers[patch], width=self.width)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What one training is worth.

    Args:
        ratios: Of each quantity but fd what each held-out pair adds above and below a line: the figure is the ratio of
            the sums.
        fd: The Fréchet distance.
        shown: Of the first held-out pairs, two draws.
    """

    ratios: Mapping[str, Float[Tensor, "2 N"]]
    fd: Estimate
    shown: Float[Tensor, "pairs 2 C H W"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The tables and the figures.

    Args:
        config: What was asked.
        found: What each combination was found to be worth, once for every seed.
        pairs: Source and target of the pairs that are shown.
    """

    config: Config
    found: Mapping[Cell, Sequence[Measured]]
    pairs: Sequence[tuple[Float[Tensor, "C H W"], Float[Tensor, "c H W"]]]

    def rows(self) -> list[dict[str, Any]]:
        """Return a table for every part (with `cross`, one of all), and one of who is best by what."""
        groups = {f"the {part}": cells for part, cells in self.config.groups().items()}
        if self.config.cross:
            groups = {"all combinations": self.config.cells()}
        made = [row for title, cells in groups.items() for row in self._table(title, cells)]
        return made + [self._winner(title, cells, name) for title, cells in groups.items() for name in QUANTITIES]

    @property
    def caption(self) -> str:
        """What a reader of the tables has to know."""
        config = self.config
        said = [
            f"Held-out pairs at {config.size} pixels after {config.steps:,} steps; every picture with its noise drawn, "
            f"fd is {self._any.fd.name}, energy the gradient energy as a share of the truth's. "
            + (
                f"Means over {config.seeds} seeds, and 95 % intervals by Student's t over them."
                if config.seeds > 1
                else "Intervals of 95 % are over held-out pairs, of one training each: another seed may differ by more."
            )
        ]
        if any(cell.patch is None for cell in self.found):
            said.append("Without an adversary no patch is judged (-): such a combination is trained once.")
        if left := [patch for patch in config.patches if patch not in config.parts()["patch"]]:
            said.append(f"Patches of {' and '.join(left)} pixels do not fit into {config.size} and are left out.")
        return " ".join(said)

    def figures(self) -> dict[str, Any]:
        """Draw, for every part, a few held-out pairs: the input, what each combination makes of it, and the truth."""
        return {part: self._drawn(part, cells) for part, cells in self.config.groups().items()}

    @property
    def _any(self) -> Measured:
        return next(iter(self.found.values()))[0]

    def _table(self, title: str, cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
        differing = _differing(cells)
        alike = {part: getattr(cells[0], part) for part in ORDER if part not in differing}
        same = ", ".join(f"{part} {value}" for part, value in alike.items() if value)
        for cell in cells:
            row: dict[str, Any] = {"table": f"{title}, with {same}" if same else title}
            row |= {part: getattr(cell, part) for part in differing}
            for name in QUANTITIES:
                value, interval = self._figure(cell, name)
                low, high = interval or (None, None)
                row |= {name: value, f"{name}_low": low, f"{name}_high": high}
            yield row

    def _figure(self, cell: Cell, name: str) -> tuple[float, tuple[float, float] | None]:
        """Return a quantity of a combination with its interval: over seeds, or of the one training over pairs."""
        found = self.found[cell]
        values = torch.tensor([_value(each, name) for each in found], dtype=torch.float64)
        if len(found) > 1:
            return _over_seeds(values)
        if name == "fd":
            return found[0].fd.value, found[0].fd.interval
        return float(values[0]), _percentiles(_resampled(found[0].ratios[name], self.config.seed))

    def _winner(self, title: str, cells: Sequence[Cell], name: str) -> dict[str, Any]:
        """Return the best by one quantity, the next, and whether the interval of their difference leaves out 0."""
        first, second = sorted(cells, key=lambda cell: sum(_loss(name, _value(a, name)) for a in self.found[cell]))[:2]
        difference, interval = self._difference(first, second, name)
        low, high = interval or (None, None)
        names = [", ".join(str(getattr(cell, part) or "-") for part in _differing(cells)) for cell in (first, second)]
        return {
            "table": "the best, the next, and by how much the best is less",
            "of": title,
            "by": QUANTITIES[name],
            "best": names[0],
            "next": names[1],
            "difference": difference,
            "low": low,
            "high": high,
            "told_apart": "yes" if interval and (interval[0] > 0 or interval[1] < 0) else "open",
        }

    def _difference(self, one: Cell, other: Cell, name: str) -> tuple[float, tuple[float, float] | None]:
        """Return how much more one combination loses by a quantity than another, with the interval."""
        found = list(zip(self.found[one], self.found[other], strict=True))
        values = [_loss(name, _value(a, name)) - _loss(name, _value(b, name)) for a, b in found]
        if len(found) > 1:
            return _over_seeds(torch.tensor(values, dtype=torch.float64))
        ((first, second),) = found
        if name == "fd":
            if not (first.fd.interval and second.fd.interval):
                return values[0], None
            (low, high), (other_low, other_high) = first.fd.interval, second.fd.interval
            return values[0], (low - other_high, high - other_low)  # wider than need be: the two share the truth
        draws = [_loss(name, _resampled(each.ratios[name], self.config.seed)) for each in (first, second)]
        return values[0], _percentiles(draws[0] - draws[1])

    def _drawn(self, part: str, cells: Sequence[Cell]) -> Any:
        columns: list[tuple[str, list[Tensor]]] = [("input", [source for source, _ in self.pairs])]
        for cell in cells:
            shown = self.found[cell][0].shown
            columns.append((str(getattr(cell, part)), list(shown[:, 0])))
            if part == "noise":
                columns.append(("drawn again", list(shown[:, 1])))
                columns.append(("4 x difference", list(4 * (shown[:, 1] - shown[:, 0]).abs() - 1)))
        columns.append(("truth", [target for _, target in self.pairs]))
        height, width, inch = len(self.pairs), len(columns), 1.5
        settings: Any = {"gridspec_kw": {"wspace": 0.02, "hspace": 0.02}}
        with drawing(inch * width, inch * height + 0.3, rows=height, columns=width, **settings) as (figure, axes):
            for column, (title, pictures) in enumerate(columns):
                axes[0][column].set_title(title, fontsize=11)
                for row, picture in enumerate(pictures):
                    rgb = images.to_rgb(images.from_tensor(picture.clamp(-1, 1)))
                    axes[row][column].imshow(rgb.permute(1, 2, 0).numpy(), interpolation="nearest")
                    axes[row][column].set_axis_off()
        return figure


def run(config: Config, *, folder: Path, track: Callable[[Sequence[Any]], Iterable[Any]] = iter) -> Result:
    """Train every combination, or go on, and measure what came of it.

    Args:
        config: What is asked.
        folder: Where the runs are kept, in ``runs/``.
        track: Hands trainings on while it shows progress.

    Raises:
        MisuseError: The configuration cannot be, or the folder holds runs of another.
        ArzhangError: The data or the weights of features cannot be read.
    """
    config.check()
    features = plugins.find("features", config.features).Config()
    if config.weights:
        if not hasattr(features, "weights"):
            raise MisuseError(f"{config.features} has no weights: leave --weights out.")
        features = replace(features, weights=config.weights)
    extractor: Extractor = features.build()
    seeds = range(config.seed, config.seed + config.seeds)
    held_out = {seed: config.run(config.cells()[0], seed).data.build(seed=seed).held_out for seed in seeds}
    truths = {seed: _Truth.of(dataset, extractor) for seed, dataset in held_out.items()}
    found: dict[Cell, list[Measured]] = {cell: [] for cell in config.cells()}
    for seed, cell in track([(seed, cell) for seed in seeds for cell in found]):
        made = config.run(cell, seed)
        place = train(made, out=folder / "runs" / f"{cell}_{seed}", console=Console(quiet=True))
        reached = checkpoint.steps(place / "checkpoints")[-1]
        if reached != config.steps:
            raise MisuseError(
                f"{place} has learnt for {reached} steps, and {config.steps} are asked for: give --steps {reached} or "
                "more, or --out another folder."
            )
        found[cell].append(_measured(load(place, device=config.device).game, truths[seed], extractor, made))
    truth = truths[config.seed]
    return Result(config=config, found=found, pairs=list(zip(truth.sources, truth.targets, strict=True))[:SHOWN])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Truth:
    """The held-out pairs, and what is the same for all combinations."""

    sources: Float[Tensor, "N C H W"]
    targets: Float[Tensor, "N c H W"]
    features: Float[Tensor, "N D"]

    @classmethod
    def of(cls, dataset: Dataset, extractor: Extractor) -> "_Truth":
        examples = [dataset.example(index, None) for index in range(len(dataset))]
        if len(examples) < 2:
            raise MisuseError(
                f"{len(examples)} pair is held out, and a Fréchet distance is between two at least: put more into val, "
                "or give 20 pairs or more, of which a tenth is held out."
            )
        sources, targets = (torch.stack([each[name] for each in examples]) for name in ("source", "target"))
        return cls(sources=sources, targets=targets, features=_features(targets, extractor))


def _measured(game: Any, truth: _Truth, extractor: Extractor, made: Run) -> Measured:
    device = next(game.parameters()).device
    drawn = torch.stack(
        [
            torch.cat(
                [
                    game.translate(source[None].to(device), noise=rng.seed_of(made.seed, "draw", draw, index)).cpu()
                    for draw in range(DRAWS)
                ]
            )
            for index, source in enumerate(truth.sources)
        ]
    )
    first, ones = drawn[:, 0], torch.ones(len(drawn), dtype=torch.float64)
    apart = [(drawn[:, i] - drawn[:, j]).abs() for i, j in itertools.combinations(range(DRAWS), 2)]
    return Measured(
        ratios={
            "l1": torch.stack([(first - truth.targets).abs().double().mean((1, 2, 3)), ones]),
            "energy": torch.stack([gradient_energy(first), gradient_energy(truth.targets)]),
            "diversity": torch.stack([torch.stack(apart).double().mean((0, 2, 3, 4)), ones]),
        },
        fd=fid(truth.features, _features(first, extractor), name=f"fd-{extractor.name}"),
        shown=drawn[:SHOWN, :2],
    )


def gradient_energy(pictures: Float[Tensor, "N C H W"]) -> Float[Tensor, " N"]:
    """Return the mean squared difference of neighbours below each other plus that of neighbours side by side.

    Example:
        >>> stripes = torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(1, 1, 4, 4)
        >>> gradient_energy(stripes).item(), gradient_energy(stripes / 2).item()
        (1.0, 0.25)
    """
    wide = pictures.double()
    return wide.diff(dim=2).square().mean((1, 2, 3)) + wide.diff(dim=3).square().mean((1, 2, 3))


def _loss(name: str, value: Any) -> Any:
    """Return what the best has least of."""
    match name:
        case "energy":
            return abs(value - 1)
        case "diversity":
            return -value
    return value


def _differing(cells: Sequence[Cell]) -> list[str]:
    return [part for part in ORDER if len({getattr(cell, part) for cell in cells}) > 1]


def _cell(values: Mapping[str, str]) -> Cell:
    patch = values["patch"] if "gan" in values["loss"] else None
    return Cell(loss=values["loss"], generator=values["generator"], patch=patch, noise=values["noise"])


def _features(pictures: Float[Tensor, "N C H W"], extractor: Extractor) -> Float[Tensor, "N D"]:
    def seen() -> Iterator[Tensor]:
        for part in pictures.split(16):
            prepared = [extractor.prepare(images.to_rgb(images.from_tensor(picture))) for picture in part]
            yield extractor(torch.stack(prepared))["features"].float()

    return torch.cat(list(seen()))


def _value(measured: Measured, name: str) -> float:
    if name == "fd":
        return measured.fd.value
    above, below = measured.ratios[name]
    return float(above.sum() / below.sum())


def _resampled(ratio: Float[Tensor, "2 N"], seed: int) -> Float[Tensor, " R"]:
    """Return the ratio of sums over pairs that are drawn again, for all combinations the same."""
    n = ratio.shape[1]
    drawn = torch.randint(n, (RESAMPLED, n), generator=rng.generator(seed, "study", "resampled"))
    above, below = ratio[:, drawn].sum(2).unbind()
    return above / below


def _percentiles(values: Float[Tensor, " R"]) -> tuple[float, float]:
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high


def _over_seeds(values: Float[Tensor, " seeds"]) -> tuple[float, tuple[float, float]]:
    """Return the mean over seeds and its 95 % interval, by Student's t."""
    from scipy.special import stdtrit  # noqa: PLC0415

    n, mean = len(values), float(values.mean())
    half = float(stdtrit(n - 1, 0.975)) * float(values.std()) / math.sqrt(n)
    return mean, (mean - half, mean + half)
