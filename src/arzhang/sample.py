"""Pictures from what a run has learnt: drawn, reconstructed, and on the way from one to another."""

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from arzhang import checkpoint, evidence, images, plugins, rng
from arzhang.checkpoint import Which
from arzhang.distributions import GaussianMixture
from arzhang.images import Picture
from arzhang.inference import computing, pick_device
from arzhang.run import Run
from arzhang.translate import is_picture, plan
from arzhang.types import ArzhangError, Dataset, MisuseError

BATCH = 64
"""Pictures that are made together."""
MOST = 10_000
"""Training pictures to whose latents a mixture is fitted."""
COMPONENTS = 10
"""Of that mixture, unless others are asked for."""
ROUNDS = 200
"""In which its fit has to settle."""
STEPS = 9
"""Pictures on the way from one to another, both ends among them."""
HELD_OUT = 16
"""Held-out pictures that are reconstructed where none are named."""
SMALLEST = 64
"""Pixels to a side that a picture in a sheet should have; smaller ones are enlarged by a whole number."""
WAYS = 4
"""Latents from which a sheet goes from one label to another."""
GAP = 2
"""Pixels between the pictures of a sheet."""
Way = Literal["linear", "spherical"]
"""How to go through the latents: straight, or on an arc, on which they stay as long as latents are."""
Track = Callable[[Iterable[Any]], Iterable[Any]]


@final
class Sampler:
    """What a run has learnt, from noise to pictures, and from pictures by way of their latents to pictures.

    Args:
        game: A game with ``sample``, or with ``reconstruct`` of pictures of its ``channels`` and ``size``, or both. One
            that encodes, with ``encode`` and ``decode``, also goes from one picture to another, and its ``sample``
            takes a ``prior``.
        run: The run that it was trained in.
        device: Where it computes.
    """

    def __init__(self, game: Any, run: Run, device: torch.device) -> None:
        if not any(hasattr(game, name) for name in ("sample", "reconstruct")):
            way_out = ": use `arzhang translate`" if hasattr(game, "translate") else ", and nothing to show"
            raise MisuseError(
                f"{type(game).__name__} draws no pictures, having neither 'sample' nor 'reconstruct'{way_out}."
            )
        self.game, self.run, self.device = game, run, device

    def __call__(self, count: int = 1, *, seed: int = 0, first: int = 0, **how: Any) -> list[Image.Image]:
        """Draw pictures, each a function of the seed and its number alone; ``how`` is as in ``draw``."""
        return [images.to_pil(to_picture(one)) for one in self.draw(range(first, first + count), seed=seed, **how)]

    def draw(
        self,
        numbers: range,
        *,
        seed: int = 0,
        prior: GaussianMixture | None = None,
        label: str | int | Sequence[float] | Float[Tensor, " K"] | None = None,
        truncation: float | None = None,
    ) -> Iterator[Float[Tensor, "C H W"]]:
        """Draw the pictures of some numbers; how many there are, and in which batches they are made, changes nothing.

        Args:
            numbers: Which of all the pictures of a seed.
            seed: Of all of them.
            prior: What latents are drawn from in the place of the model's own, such as ``mixture()``.
            label: What is asked for, where the game draws what it is asked for; see ``condition``.
            truncation: Bound of the latents of such a game; see its ``draw``.

        Raises:
            MisuseError: There are none, or the game does not draw, or not what it is asked for.
        """
        if not numbers:
            raise MisuseError(f"{max(0, len(numbers))} pictures cannot be drawn; ask for 1 or more.")
        self.needs("sample", "draw pictures")
        given: dict[str, Any] = {} if prior is None else {"prior": prior}
        if truncation is not None:
            self.needs("conditions", "bound its latents")
            given["truncation"] = truncation
            self.game.draw(0, truncation=truncation)
        if prior is not None:
            self.needs("encode", "encode pictures, so that its latents could come from elsewhere")
        asked = self._asked(label)
        return itertools.chain.from_iterable(
            self._computed(
                self.game.sample,
                len(part),
                seed=seed,
                first=part.start,
                step=part.step,
                **given,
                **asked(part),
            )
            for part in (numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH))
        )

    def _asked(self, label: Any) -> Callable[[range], dict[str, Any]]:
        """Return what gives the conditions of some numbers; what nobody draws is taken of held-out pictures in turn."""
        if label is not None:
            condition = self.condition(label)
            return lambda numbers: {"condition": condition.expand(len(numbers), -1)}
        if getattr(getattr(self.game, "config", None), "condition", "label") == "label":
            return lambda _: {}
        held_out = held_out_of(self)

        def conditions(numbers: range) -> dict[str, Any]:
            given = [held_out.example(number % len(held_out), None)["label"] for number in numbers]
            return {"condition": self.game.conditions(torch.stack(given))}

        return conditions

    def labels(self) -> Sequence[str]:
        """Return what labels are called: as the run's data calls them, or else by their numbers.

        Raises:
            MisuseError: The game does not draw what it is asked for.
        """
        self.needs("conditions", "draw what it is asked for")
        return self._labels

    @functools.cached_property
    def _labels(self) -> Sequence[str]:
        numbers = tuple(map(str, range(self.game.labels)))
        try:
            found: Sequence[str] = getattr(held_out_of(self), "label_names", numbers)
        except ArzhangError:  # a run may have gone where its data has not
            return numbers
        return found if len(found) == len(numbers) else numbers

    def condition(self, label: str | int | Sequence[float] | Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """Return what a label stands for.

        Args:
            label: A name, or a number where names are none; several with + between; or K numbers, in words with commas
                between.

        Raises:
            MisuseError: There is no such label, there are several where pictures have one, or numbers are not finite.
        """
        self.needs("conditions", "draw what it is asked for")
        known = self.labels()
        if not isinstance(label, str | int):
            numbers = torch.as_tensor(label, dtype=torch.float32)
        elif "," in (word := str(label)) and word not in known:
            numbers = torch.tensor([_number(each) for each in word.split(",")])
        else:
            words = [word] if word in known else word.split("+")
            if len(words) > 1 and self.game.config.condition == "label":
                raise MisuseError(f"Pictures of this run have one label each, and {label} is {len(words)}: name one.")
            places = [known.index(word) if word in known else _place(word, known) for word in words]
            numbers = torch.zeros(len(known)).index_fill(0, torch.tensor(places), 1)
        if numbers.shape != (self.game.labels,):
            raise MisuseError(
                f"{label} is {numbers.numel()} numbers, and what this run is asked for has {self.game.labels}."
            )
        if not numbers.isfinite().all():
            raise MisuseError(f"{label} holds numbers that are not finite, of which nothing can be drawn.")
        return numbers

    def mixture(self, components: int = COMPONENTS) -> GaussianMixture:
        """Fit a mixture of full Gaussians to the latents of the training pictures, the aggregate posterior.

        One latent is drawn for each of at most `MOST` pictures. Where these latents are not distributed as the prior
        says, samples of the mixture look better than the prior's. They say less of the model: the mixture was not part
        of what it learnt, and no likelihood comes with it.

        Args:
            components: How many Gaussians.

        Raises:
            MisuseError: There are none, or more than training pictures, or the game does not encode.

        References:
            Ghosh et al., "From Variational to Deterministic Autoencoders", ICLR 2020, section 4.
        """
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow to import
        from sklearn.mixture import GaussianMixture as Fit  # noqa: PLC0415

        self.needs("encode", "encode pictures, to whose latents a mixture could be fitted")
        seed, train = self.run.seed, self.run.data.build(seed=self.run.seed).train
        count = min(MOST, len(train))
        if not 1 <= components <= count:
            raise MisuseError(
                f"A mixture of {components} components cannot be fitted to {count} training pictures; give from 1 to "
                f"{count} --components."
            )
        chosen = [index * len(train) // count for index in range(count)]
        latents = []
        for part in (chosen[start : start + BATCH] for start in range(0, count, BATCH)):
            q = self._computed(self.game.encode, _stacked(train, part), to_cpu=False)
            draws = [torch.randn(q.mean.shape[1:], generator=rng.generator(seed, "posterior", index)) for index in part]
            latents.append((q.mean.cpu() + q.stddev.cpu() * torch.stack(draws)).double())
        fit = Fit(components, max_iter=ROUNDS, random_state=rng.seed_of(seed, "mixture") % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in a sentence
            fit.fit(torch.cat(latents).numpy())
        if not fit.converged_:
            warnings.warn(
                f"The mixture of {components} components still moved after {ROUNDS} rounds; fewer --components settle.",
                stacklevel=2,
            )
        spread = torch.linalg.cholesky(torch.from_numpy(fit.covariances_))  # in float64: latents may lie in a plane
        weights, loc, scale_tril = (
            each.float().to(self.device) for each in (*map(torch.from_numpy, (fit.weights_, fit.means_)), spread)
        )
        return GaussianMixture(weights=weights / weights.sum(), loc=loc, scale_tril=scale_tril)

    def reconstruct(self, picture: Image.Image) -> Image.Image:
        """Return what is left of a picture of any size and mode when all that is kept are its latents."""
        return images.to_pil(to_picture(self.reconstructed(self.view(images.from_pil(picture))[None])[0]))

    def interpolate(
        self, start: Image.Image, end: Image.Image, *, steps: int = STEPS, path: Way = "linear"
    ) -> list[Image.Image]:
        """Go from one picture to another through their latents; see ``between``."""
        ends = [self.view(images.from_pil(picture)) for picture in (start, end)]
        return [images.to_pil(to_picture(one)) for one in self.between(*ends, steps=steps, path=path)]

    def view(self, picture: Picture) -> Float[Tensor, "C H W"]:
        """Return what the model sees of a picture: the square in its middle, at the model's size and channels."""
        pixels, alpha, side = picture.pixels, picture.alpha, min(picture.pixels.shape[:2])
        top, left = ((length - side) // 2 for length in pixels.shape[:2])
        cut = slice(top, top + side), slice(left, left + side)
        square = Picture(pixels=pixels[cut], alpha=None if alpha is None else alpha[cut])
        image = images.to_tensor(square, channels=self.game.channels)
        size = self.game.size
        return image if side == size else images.resize(image, height=size, width=size)

    def reconstructed(self, pictures: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """Return what is left of pictures after their latents' mean.

        Raises:
            MisuseError: The game does not reconstruct, or pictures are others than the model's.
        """
        self.needs("reconstruct", "reconstruct pictures")
        return torch.cat([self._computed(self.game.reconstruct, part) for part in pictures.split(BATCH)])

    def between(
        self, start: Float[Tensor, "C H W"], end: Float[Tensor, "C H W"], *, steps: int = STEPS, path: Way = "linear"
    ) -> Float[Tensor, "{steps} C H W"]:
        """Return pictures on the way between the latents of two, which are its ends.

        Args:
            start: Where the way begins.
            end: Where it ends.
            steps: How many pictures, both ends among them.
            path: ``linear``, or ``spherical``: latents of many dimensions lie near a sphere, through whose empty inside
                a straight way goes.

        Raises:
            MisuseError: There are fewer than two steps, the path is unknown, or the game does not encode.

        References:
            White, "Sampling Generative Networks", arXiv:1609.04468, section 2.
        """
        self.needs("encode", "encode pictures, between whose latents there could be a way")
        if steps < 2:
            raise MisuseError(f"A way of {steps} steps does not lead from one picture to another; give at least 2.")
        ways: dict[Way, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"linear": torch.lerp, "spherical": _arc}
        if path not in ways:
            raise MisuseError(f"There is no path {path!r}; choose linear or spherical.")
        a, b = self._computed(self.game.encode, torch.stack([start, end]), to_cpu=False).mean
        latents = torch.stack([ways[path](a, b, t) for t in torch.linspace(0, 1, steps).to(a)])
        return torch.cat([self._computed(self.game.decode, part) for part in latents.split(BATCH)])

    def between_labels(
        self, start: str, end: str, *, steps: int = STEPS, rows: int = 1, seed: int = 0
    ) -> Float[Tensor, "{rows} {steps} C H W"]:
        """Return pictures on the straight way from one condition to another, a row for each of some latents.

        Args:
            start: A label.
            end: Another.
            steps: How many pictures, both ends among them.
            rows: How many latents, each of which stays the same on its way.
            seed: Of the latents.

        Raises:
            MisuseError: There are fewer than two steps, there is no such label, or the game takes none.
        """
        a, b = self.condition(start), self.condition(end)
        if steps < 2:
            raise MisuseError(f"A way of {steps} steps does not lead from one label to another; give at least 2.")
        way = [torch.lerp(a, b, t).expand(rows, -1) for t in torch.linspace(0, 1, steps)]
        return torch.stack(
            [self._computed(self.game.sample, rows, seed=seed, condition=condition) for condition in way], dim=1
        )

    def needs(self, name: str, what: str) -> None:
        """Refuse a game that lacks a method, with which it would do ``what``.

        Raises:
            MisuseError: It does.
        """
        if not hasattr(self.game, name):
            raise MisuseError(
                f"{type(self.game).__name__} does not {what}: it has no {name!r}. Give the run of a model that does, "
                f"such as a {'cgan' if name == 'conditions' else 'vae'}."
            )

    @torch.no_grad()
    def _computed(self, function: Callable[..., Any], *given: Any, to_cpu: bool = True, **options: Any) -> Any:
        with computing("float32", self.device) as autocast, autocast:
            made = function(*(each.to(self.device) if isinstance(each, Tensor) else each for each in given), **options)
        return made.cpu() if to_cpu else made


def load(run: Path | str, *, which: Which = "newest", device: str = "auto") -> Sampler:
    """Rebuild what a run that makes pictures has learnt: its moving average where it keeps one.

    Args:
        run: A run's folder, or one that holds just a ``config.json`` and a ``model.safetensors``.
        which: The newest checkpoint, or the one with the best held-out figure.
        device: Where it computes: cpu, cuda, or auto.

    Raises:
        MisuseError: The folder holds no run, none that has learnt anything yet, or one of a model that only translates.
        ArzhangError: The weights are damaged.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        arzhang.types.MisuseError: nowhere holds no run: it has no config.json. Give the folder of a training.
    """
    where = pick_device(device)
    game, made = checkpoint.restored(Path(run), which=which)
    return Sampler(game.to(where).eval(), made, where)


def samples_of(run: Path | str, count: int | None = None, seed: int = 0, *, device: str = "auto") -> evidence.Made:
    """Return what a run draws, for metrics to look at; each of many processes draws its share.

    Args:
        run: The folder of a run.
        count: How many pictures; as many as it has held out by default.
        seed: Of all of them.
        device: Where they are made.

    Raises:
        MisuseError: There are none, or the run does not draw.
    """
    sampler = load(run, device=device)
    count = len(held_out_of(sampler)) if count is None else count
    sampler.draw(range(count))

    def make(share: slice) -> Iterator[tuple[str, Picture]]:
        if numbers := range(count)[share]:
            for number, image in zip(numbers, sampler.draw(numbers, seed=seed), strict=True):
                yield f"sample {number} of seed {seed}", to_picture(image)

    return evidence.Made(make, name=f"samples:{run}", count=count)


def reconstructions_of(run: Path | str, *, device: str = "auto") -> evidence.Made:
    """Return what a run makes of its held-out pictures, under their names, for metrics to look at.

    Args:
        run: The folder of a run.
        device: Where they are made.

    Raises:
        MisuseError: The run does not reconstruct.
    """
    sampler = load(run, device=device)
    sampler.needs("reconstruct", "reconstruct pictures")
    held_out = held_out_of(sampler)

    def make(share: slice) -> Iterator[tuple[str, Picture]]:
        numbers = range(len(held_out))[share]
        for part in (numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)):
            for number, image in zip(part, sampler.reconstructed(_stacked(held_out, part)), strict=True):
                yield held_out.name(number), to_picture(image)

    return evidence.Made(make, name=f"reconstructions:{run}", count=len(held_out))


def held_out_of(sampler: Sampler) -> Dataset:
    """Return the pictures that a run has never seen."""
    return sampler.run.data.build(seed=sampler.run.seed).held_out


def draw_files(
    sampler: Sampler,
    count: int,
    out: Path,
    *,
    seed: int = 0,
    labels: Sequence[str] = (),
    truncation: float | None = None,
    components: int | None = None,
    overwrite: bool = False,
    track: Track = iter,
) -> list[Path]:
    """Draw pictures into files: a sheet of all, or a folder of as many.

    Args:
        sampler: What draws.
        count: How many; with labels, of each.
        out: A file, for a sheet, in which each of several labels is a row and each column has the same latents; or a
            folder, in which pictures are named after their labels, if any, and numbers.
        seed: Of all of them.
        labels: What is asked for; ``all`` is every label.
        truncation: Bound of the latents.
        components: Of the mixture that latents are drawn from, see `Sampler.mixture`; none for the model's prior.
        overwrite: Whether files that exist are replaced; it is refused otherwise.
        track: Hands items on while it shows progress.

    Returns:
        The files.

    Raises:
        MisuseError: There is nothing to draw, a file exists, or the folder holds other pictures.
        ArzhangError: They cannot be written.
    """
    asked: Sequence[str | None] = [*sampler.labels()] if "all" in labels else [*labels] or [None]
    for label in asked:
        sampler.draw(range(count), label=label, truncation=truncation)
    width = count if len(asked) > 1 else math.ceil(math.sqrt(count))
    if as_sheet := is_picture(out):
        _check_sheet(sampler, width, math.ceil(count * len(asked) / width), out)
    digits = max(5, len(str(count - 1)))
    names = [
        f"{'' if label is None else f'{label}-'}{number:0{digits}d}.png" for label in asked for number in range(count)
    ]
    targets = [out] if as_sheet else [out / name.replace("/", "_") for name in names]
    if out.is_dir() and (others := set(images.find(out)) - set(targets)):
        raise MisuseError(
            f"{out} holds other pictures already, such as {min(others).name}, with which samples would be mixed; give "
            "--out a new folder."
        )
    _claim(targets, overwrite=overwrite)
    prior = None if components is None else sampler.mixture(components)
    drawn = track(
        itertools.chain.from_iterable(
            sampler.draw(range(count), seed=seed, prior=prior, label=label, truncation=truncation) for label in asked
        )
    )
    if as_sheet:
        _write(sheet(torch.stack(list(drawn)).split(width)), out)
    else:
        for target, image in zip(targets, drawn, strict=True):
            _write(image, target)
    return targets


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A picture that somebody named.

    Args:
        name: What it is called.
        load: Brings it to what the model sees.
        path: Its file; none for what the run has held out.
    """

    name: str
    load: Callable[[], Float[Tensor, "C H W"]]
    path: Path | None


def given(sampler: Sampler, names: Sequence[str]) -> list[Given]:
    """Return the pictures of paths of files and folders, and of numbers of held-out pictures.

    Raises:
        MisuseError: There is no picture of such a number.
        ArzhangError: A folder has no pictures, or cannot be listed.
    """
    return _found(sampler, *_told_apart(names))


def reconstruct_files(
    sampler: Sampler, names: Sequence[str], out: Path, *, overwrite: bool = False, track: Track = iter
) -> tuple[int, list[str]]:
    """Reconstruct pictures into files, the originals, as the model sees them, beside what is left of them.

    Args:
        sampler: What reconstructs.
        names: Files, folders, and numbers of held-out pictures; the first `HELD_OUT` of these where there are none.
        out: A file, for a sheet with originals above reconstructions, or a folder, in which each picture keeps its name
            and has its original on the left.
        overwrite: Whether files that exist are replaced; it is refused otherwise.
        track: Hands items on while it shows progress.

    Returns:
        How many were, and a sentence for each picture that could not be read.

    Raises:
        MisuseError: The run does not reconstruct, two pictures have one name, or a file exists.
        ArzhangError: Files cannot be written.
    """
    sampler.needs("reconstruct", "reconstruct pictures")
    numbers, paths = _told_apart(names)
    if not names:
        numbers = list(range(min(HELD_OUT, len(held_out_of(sampler)))))
    if as_sheet := is_picture(out):
        pictures, targets = _found(sampler, numbers, paths), [out]
        width = min(len(pictures), HELD_OUT // 2)
        _check_sheet(sampler, width, 2 * math.ceil(len(pictures) / width), out)
    else:
        pictures, targets = _planned(sampler, numbers, paths, out)
    _claim(targets, overwrite=overwrite, inputs=pictures)
    seen: list[Tensor] = []
    failed: list[str] = []
    for index, picture in enumerate(track(pictures)):
        try:
            image = picture.load()
        except ArzhangError as error:
            failed.append(str(error))
            continue
        if as_sheet:
            seen.append(image)
        else:
            _write(sheet([torch.stack([image, sampler.reconstructed(image[None])[0]])]), targets[index])
    if seen:
        originals = torch.stack(seen)
        rows = zip(originals.split(width), sampler.reconstructed(originals).split(width), strict=True)
        _write(sheet([row for pair in rows for row in pair]), out)
    return len(pictures) - len(failed), failed


def interpolate_files(
    sampler: Sampler,
    start: str,
    end: str,
    out: Path,
    *,
    steps: int = STEPS,
    path: Way = "linear",
    overwrite: bool = False,
) -> list[Path]:
    """Write the way from one picture to another: a sheet, between the two originals, or a folder of the steps.

    Where the run draws what it is asked for, the way is from one label to another: a sheet has a row for each of some
    latents, a folder the steps of the first.

    Args:
        sampler: What goes.
        start: A file, or the number of a held-out picture; or a label.
        end: Another.
        out: A file, or a folder, in which pictures are named after their step.
        steps: How many pictures, both ends among them.
        path: How to go; see `Sampler.between`.
        overwrite: Whether files that exist are replaced; it is refused otherwise.

    Returns:
        The files.

    Raises:
        MisuseError: The run does not encode, there are fewer than two steps, or a file exists.
        ArzhangError: A picture cannot be read, or files cannot be written.
    """
    if hasattr(sampler.game, "conditions"):
        if path != "linear":
            raise MisuseError(f"Between labels the way is straight, and not {path}: leave --path out.")
        ends: list[Given] = []
        rows = [*sampler.between_labels(start, end, steps=steps, rows=WAYS if is_picture(out) else 1)]
        way = rows[0]
    else:
        ends = [_one(sampler, name) for name in (start, end)]
        first, last = (each.load() for each in ends)
        way = sampler.between(first, last, steps=steps, path=path)
        rows = [torch.cat([first[None], way, last[None]])]
    if is_picture(out):
        _claim([out], overwrite=overwrite, inputs=ends)
        _check_sheet(sampler, len(rows[0]), len(rows), out)
        _write(sheet(rows), out)
        return [out]
    targets = [out / f"{step:0{max(2, len(str(steps - 1)))}d}.png" for step in range(steps)]
    _claim(targets, overwrite=overwrite, inputs=ends)
    for target, image in zip(targets, way, strict=True):
        _write(image, target)
    return targets


def sheet(rows: Sequence[Float[Tensor, "_ C H W"]]) -> Float[Tensor, "C h w"]:
    """Lay rows of pictures out on grey, enlarged by a whole number if they are smaller than `SMALLEST` pixels.

    Example:
        >>> sheet([torch.ones(2, 1, 32, 32), torch.ones(1, 1, 32, 32)]).shape
        torch.Size([1, 134, 134])
    """
    _, channels, high, wide = rows[0].shape
    scale = max(1, SMALLEST // max(high, wide))
    high, wide = high * scale + GAP, wide * scale + GAP
    laid = torch.zeros(channels, len(rows) * high + GAP, max(map(len, rows)) * wide + GAP)
    laid[3:] = 1  # grey that is opaque
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            large = image.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
            laid[:, y * high + GAP : (y + 1) * high, x * wide + GAP : (x + 1) * wide] = large
    return laid


def to_picture(image: Float[Tensor, "C H W"]) -> Picture:
    """Bring an image to 8 bits; a fourth channel is opacity.

    Raises:
        MisuseError: It has neither 1, 3 nor 4 channels.
    """
    return images.from_tensor(image[:3], alpha=image[3]) if len(image) == 4 else images.from_tensor(image)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise MisuseError(f"{word!r} is no number, where a label is told in numbers with commas between.") from error


def _place(word: str, known: Sequence[str]) -> int:
    """Return the number of a label that is named by it; where names are numbers, these are meant and no others."""
    if word.isdecimal() and int(word) < len(known) and not any(each.isdecimal() for each in known):
        return int(word)
    raise MisuseError(f"There is no label {word!r}{plugins.nearest(word, [*known])}")


def _stacked(dataset: Dataset, indices: Iterable[int]) -> Float[Tensor, "N C H W"]:
    """Return pictures of a dataset in their plain and fixed view."""
    return torch.stack([dataset.example(index, None)["image"] for index in indices])


def _found(sampler: Sampler, numbers: Sequence[int], paths: Sequence[Path]) -> list[Given]:
    found: list[Given] = []
    for path in paths:
        below = images.find(path) if path.is_dir() else [path]
        if not below:
            raise ArzhangError(
                f"{path} holds no pictures; expected files ending in {', '.join(sorted(images.SUFFIXES))}."
            )
        found += [_of_file(sampler, each) for each in below]
    return found + _of_numbers(sampler, numbers)


def _told_apart(names: Sequence[str]) -> tuple[list[int], list[Path]]:
    """Return the numbers and the paths among names; a file whose name is a number is a file."""
    numbers = [int(name) for name in names if name.isdecimal() and not Path(name).exists()]
    return numbers, [Path(name) for name in names if not name.isdecimal() or Path(name).exists()]


def _of_file(sampler: Sampler, path: Path) -> Given:
    return Given(name=str(path), load=lambda: sampler.view(images.read(path)), path=path)


def _of_numbers(sampler: Sampler, numbers: Sequence[int]) -> list[Given]:
    if not numbers:
        return []
    held_out = held_out_of(sampler)
    if max(numbers) >= len(held_out):
        raise MisuseError(
            f"There is no picture {max(numbers)} among those held out; they go from 0 to {len(held_out) - 1}. For a "
            "file, give its path."
        )
    return [
        Given(name=str(number), load=lambda number=number: held_out.example(number, None)["image"], path=None)  # type: ignore[misc]
        for number in numbers
    ]


def _one(sampler: Sampler, name: str) -> Given:
    if Path(name).is_dir():
        raise MisuseError(f"{name} is a folder, and a way is between two pictures: name one of them.")
    return given(sampler, [name])[0]


def _planned(
    sampler: Sampler, numbers: Sequence[int], paths: Sequence[Path], out: Path
) -> tuple[list[Given], list[Path]]:
    """Return pictures, and where each goes in a folder: files as in translation, numbers under their own names."""
    planned = plan(paths, out) if paths else []
    pictures = [_of_file(sampler, path) for path, _ in planned] + _of_numbers(sampler, numbers)
    targets = [target for _, target in planned] + [out / f"{number}.png" for number in numbers]
    for index, target in enumerate(targets):
        if target in targets[:index]:
            raise MisuseError(f"Two pictures would become {target}; reconstruct them into two folders.")
    return pictures, targets


def _claim(targets: Sequence[Path], *, overwrite: bool, inputs: Sequence[Given] = ()) -> None:
    """Refuse to lose what is there."""
    read = {each.path.resolve() for each in inputs if each.path}
    for target in targets:
        if target.resolve() in read:
            raise MisuseError(f"{target} is one of the pictures that are read; give --out another name.")
        if target.exists() and not overwrite:
            raise MisuseError(f"{target} exists already; give --out another name, or --overwrite to replace it.")


def _check_sheet(sampler: Sampler, wide: int, high: int, out: Path) -> None:
    side = getattr(sampler.game, "size", SMALLEST)
    side = side * max(1, SMALLEST // side) + GAP
    if wide * high * side**2 > images.MAX_PIXELS:
        raise MisuseError(
            f"{out} would have more than the {images.MAX_PIXELS:,} pixels that a picture may have; give --out a folder."
        )


def _write(image: Float[Tensor, "C H W"], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArzhangError(f"{target.parent} cannot be made ({error.strerror}); give --out another folder.") from error
    images.write(to_picture(image), target)


def _arc(first: Float[Tensor, " D"], last: Float[Tensor, " D"], t: Float[Tensor, ""]) -> Float[Tensor, " D"]:
    """Go on an arc, the length going from the one's to the other's; straight where there is no arc, or no one arc.

    Directions go on the arc and lengths straight: where ends of unequal length are nearly opposite, the sum of
    both goes far beyond either.
    """
    angle = functional.cosine_similarity(first.double(), last.double(), dim=0).clamp(-1, 1).acos()
    if angle.sin() < 1e-4 or not (first.any() and last.any()):
        return torch.lerp(first, last, t)
    length = torch.lerp(first.norm(), last.norm(), t)
    weights = [((side * angle).sin() / angle.sin()).to(first) for side in (1 - t, t)]
    return length * (weights[0] * functional.normalize(first, dim=0) + weights[1] * functional.normalize(last, dim=0))
