"""Translation of pictures of any size with what a run has learnt."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from arzhang import checkpoint, images
from arzhang.images import Picture
from arzhang.inference import Precision, check_precision, computing, hold_weights, pick_device, shared_statistics
from arzhang.run import Run
from arzhang.types import ArzhangError, MisuseError

WHOLE = 1024 * 1024
"""Pixels up to which a picture is translated in one piece."""
TILE = 512
"""Side of the tiles of a larger one, in pixels; neighbours share a quarter of it."""
MEASURED = 16
"""Pieces, half a tile wide, from which the statistics that all tiles share are taken."""
BATCH = 8
"""Pictures that are translated together, where they have the same size and no more pixels than `WHOLE` in all."""


@final
class Translator:
    """What a run has learnt, from a picture to a picture.

    Args:
        game: A game with ``translate``, the ``multiple`` that divides the sides of what it takes, ``source_channels``
            and ``target_channels``; with ``least``, if sides may be too small; and, if it translates both ways,
            ``directions``, of which these are the first's.
        run: The run that it was trained in.
        device: Where it computes.
        precision: Of convolutions; 16 bits round the game's weights. Norms take their statistics in float32.
        direction: ``a-to-b`` or ``b-to-a``, where the game has both; the first without it.
        compile: Whether to compile the networks, for the first shape of a batch that comes a second time: one picture
            never waits for the compiler. All other shapes, what is noisy and tiles are computed without.
    """

    def __init__(
        self,
        game: Any,
        run: Run,
        device: torch.device,
        *,
        precision: Precision = "float32",
        direction: str | None = None,
        compile: bool = False,  # noqa: A002
    ) -> None:
        for name in ("translate", "multiple", "source_channels", "target_channels"):
            if not hasattr(game, name):
                raise MisuseError(f"{type(game).__name__} does not translate pictures: it has no {name!r}.")
        if precision not in get_args(Precision):
            raise MisuseError(f"There is no precision {precision!r}; ask for {', '.join(get_args(Precision))}.")
        check_precision(precision, device)
        directions = getattr(game, "directions", ())
        if direction and direction not in directions:
            known = f"choose {' or '.join(directions)}" if directions else "leave --direction out"
            raise MisuseError(f"{type(game).__name__} does not translate {direction}: {known}.")
        direction = direction or next(iter(directions), None)
        self.channels = game.source_channels, game.target_channels
        if direction in directions[1:]:
            self.channels = self.channels[::-1]
        self.towards = {"direction": direction} if direction else {}
        self.game, self.run, self.device, self.precision, self.compile = game, run, device, precision, compile
        self._shapes: set[torch.Size] = set()
        self._compiled: torch.Size | None = None
        hold_weights(game, precision=precision)
        if compile:
            for name in itertools.chain.from_iterable(game.players.values()):
                game.get_submodule(name).compile(dynamic=False)

    def __call__(self, picture: Image.Image, *, noise: int | None = None) -> Image.Image:
        """Translate one picture of any size and mode; its alpha is carried over.

        Args:
            picture: What to translate.
            noise: Seed of what is random in the model (the paper's way is to draw it); without one it is off.
        """
        return images.to_pil(self.translate(images.from_pil(picture), noise=noise))

    def translate(self, picture: Picture, *, noise: int | None = None, whole: int = WHOLE, tile: int = TILE) -> Picture:
        """Translate a picture as `arzhang.images` reads it; above ``whole`` pixels in tiles of side ``tile``."""
        side = _ceil(tile, self.game.multiple)
        source = self._source(picture)
        if source[0].numel() <= max(whole, side * side):
            output = self._whole(source[None], noise)[0]
        else:
            output = self._tiled(source, noise, side)
        return _cut(output, picture)

    def together(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Translate pictures of one `padded` size in one pass, each under its own statistics."""
        outputs = self._whole(torch.stack([self._source(picture) for picture in pictures]), None)
        return [_cut(output, picture) for output, picture in zip(outputs, pictures, strict=True)]

    def padded(self, picture: Picture) -> tuple[int, int]:
        """Return the height and width, in pixels, that the network sees of a picture."""
        height, width, _ = picture.pixels.shape
        least = getattr(self.game, "least", 1)
        return _ceil(max(height, least), self.game.multiple), _ceil(max(width, least), self.game.multiple)

    def _source(self, picture: Picture) -> Float[Tensor, "C H W"]:
        return _pad(images.to_tensor(picture, channels=self.channels[0]), *self.padded(picture))

    def _whole(self, source: Float[Tensor, "B C H W"], noise: int | None) -> Float[Tensor, "B Co H W"]:
        if self._compiled is None and noise is None and source.shape in self._shapes:
            self._compiled = source.shape
        self._shapes.add(source.shape)
        return self._run(source, noise, compiled=noise is None and source.shape == self._compiled)

    def _run(
        self, source: Float[Tensor, "B C H W"], noise: int | None, *, compiled: bool = False
    ) -> Float[Tensor, "B Co H W"]:
        with (
            _compiling(enabled=compiled) if self.compile else nullcontext(),
            computing(self.precision, self.device) as autocast,
            autocast,
        ):
            source = source.to(self.device, memory_format=torch.channels_last)
            translated: Tensor = self.game.translate(source, noise=noise, **self.towards)
        return translated.float().cpu()

    def _tiled(self, source: Float[Tensor, "C H W"], noise: int | None, side: int) -> Float[Tensor, "Co H W"]:
        """Translate overlapping tiles under the same statistics and the same noise, and blend them by feathers."""
        high, wide = (min(side, length) for length in source.shape[1:])
        tops, lefts = _starts(source.shape[1], high), _starts(source.shape[2], wide)
        feather = torch.outer(_feather(high), _feather(wide))
        total = torch.zeros(self.channels[1] + 1, *source.shape[1:])
        with shared_statistics(self.game):
            half = _ceil(side // 2, self.game.multiple)
            self._run(_pieces(source, min(half, high), min(half, wide)), noise)
            for top, left in itertools.product(tops, lefts):
                here = ..., slice(top, top + high), slice(left, left + wide)
                total[here][:-1] += self._run(source[here][None], noise)[0] * feather
                total[here][-1] += feather
        return total[:-1] / total[-1]


def load(
    run: Path | str,
    *,
    which: checkpoint.Which = "newest",
    device: str = "auto",
    precision: Precision = "float32",
    direction: str | None = None,
    compile: bool = False,  # noqa: A002
) -> Translator:
    """Rebuild what a run has learnt: its moving average where it keeps one.

    Args:
        run: A run's folder, or one that holds just a ``config.json`` and a ``model.safetensors``.
        which: The newest checkpoint, or the one with the best held-out figure.
        device: Where it computes: cpu, cuda, or auto.
        precision: float32; tf32 (NVIDIA GPUs), bfloat16 and float16 are faster and round.
        direction: ``a-to-b`` or ``b-to-a``, where the game has both; the first without it.
        compile: Whether to compile the networks; see `Translator`.

    Raises:
        MisuseError: The folder holds no run, or none that has learnt anything yet.
        ArzhangError: The weights are damaged.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        arzhang.types.MisuseError: nowhere holds no run: it has no config.json. Give the folder of a training.
    """
    where = pick_device(device)
    game, made = checkpoint.restored(Path(run), which=which)
    return Translator(game.to(where).eval(), made, where, precision=precision, direction=direction, compile=compile)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of many pictures.

    Args:
        written: The new files.
        kept: Files that existed and were left as they were.
        failed: A sentence for each picture that could not be translated.
    """

    written: Sequence[Path]
    kept: Sequence[Path]
    failed: Sequence[str]


def plan(inputs: Iterable[Path], out: Path) -> list[tuple[Path, Path]]:
    """Return each picture and where it goes: under its own name, a folder's pictures in the folder's sub-folders.

    A single picture may also go to a file: an ``out`` that ends like one.

    Pictures in ``out`` itself are left out of a folder, so that a second run does not translate the translations.

    Raises:
        MisuseError: Two pictures would have the same name, one would replace an input, or nothing writes such a file.
        ArzhangError: An input is absent, or a folder has no pictures.
    """
    inputs = list(inputs)
    targets: dict[Path, Path] = {}
    if len(inputs) == 1 and not inputs[0].is_dir() and is_picture(out):
        targets = {out: inputs[0]}
        inputs = []
    for given in inputs:
        if given.resolve() == out.resolve():
            raise MisuseError(f"{given} is to be translated into itself; give --out another folder.")
        found = images.find(given) if given.is_dir() else [given]
        if given.resolve() in out.resolve().parents:
            found = [path for path in found if out.resolve() not in path.resolve().parents]
        if not found:
            raise ArzhangError(
                f"{given} holds no pictures; expected files ending in {', '.join(sorted(images.SUFFIXES))}."
            )
        for path in found:
            target = out / (path.relative_to(given) if given.is_dir() else path.name)
            if target in targets:
                raise MisuseError(
                    f"{targets[target]} and {path} would both become {target}; translate them into two folders."
                )
            targets[target] = path
    sources = {path.resolve() for path in targets.values()}
    for target, path in targets.items():
        if target.resolve() in sources:
            itself = "itself" if target.resolve() == path.resolve() else f"{target}, which is to be translated"
            raise MisuseError(f"{path} would replace {itself}; give --out another folder.")
    return [(path, target) for target, path in targets.items()]


def translate_files(
    translator: Translator,
    files: Iterable[tuple[Path, Path]],
    *,
    noise: int | None = None,
    overwrite: bool = False,
    batch: int = BATCH,
) -> Outcome:
    """Translate files to files. A picture that fails is named, and the others go on.

    While the network computes, the next pictures are read and the last ones written.

    Args:
        translator: What translates.
        files: Pairs of an input and an output.
        noise: Seed of what is random in the model.
        overwrite: Whether outputs that exist are replaced; they are left alone otherwise.
        batch: Most neighbours of one size that go through the network together; noisy ones go one by one, since the
            draws of a picture would depend on those beside it.

    Raises:
        MisuseError: The batch holds no picture.
    """
    if batch < 1:
        raise MisuseError(f"The batch is {batch}; it should be at least 1.")
    kept: list[Path] = []
    failed: dict[Path, str | None] = {}  # in the order of the files, whenever each is known

    def read() -> Iterator[tuple[Path, Picture]]:
        for path, target in files:
            if target.exists() and not overwrite:
                kept.append(target)
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                picture = images.read(path)
            except ArzhangError as error:
                failed[target] = str(error)
            except OSError as error:
                failed[target] = f"{target} cannot be written ({error.strerror}); give --out a folder that can."
            else:
                failed[target] = None
                yield target, picture

    def write(target: Path, picture: Picture) -> None:
        try:
            images.write(picture, target)
        except ArzhangError as error:
            failed[target] = str(error)

    batches = _batches(translator, read(), batch if noise is None else 1)
    # One thread reads, since `images.read` silences warnings, which Python does for all threads at once.
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor() as writers:
        coming = reader.submit(next, batches, None)
        writing: list[Future[None]] = []
        while here := coming.result():
            coming = reader.submit(next, batches, None)
            targets, pictures = zip(*here, strict=True)
            try:
                if len(pictures) == 1:
                    made = [translator.translate(pictures[0], noise=noise)]
                else:
                    made = translator.together(pictures)
            except ArzhangError as error:
                failed |= dict.fromkeys(targets, str(error))
                continue
            for done in writing:
                done.result()
            writing = [writers.submit(write, *pair) for pair in zip(targets, made, strict=True)]
        for done in writing:
            done.result()
    return Outcome(
        written=[target for target, sentence in failed.items() if sentence is None],
        kept=kept,
        failed=[sentence for sentence in failed.values() if sentence is not None],
    )


def is_picture(out: Path) -> bool:
    """Tell whether a picture is meant, and not a folder, which may be there or have a dot in its name.

    Raises:
        MisuseError: Nothing writes such a picture.
    """
    if out.is_dir():
        return False
    suffix = out.suffix.lower()
    if suffix in Image.registered_extensions() and suffix not in images.SUFFIXES:
        raise MisuseError(f"{out} has the format {suffix!r}; choose one of {', '.join(sorted(images.SUFFIXES))}.")
    return suffix in images.SUFFIXES


def _batches(
    translator: Translator, pictures: Iterable[tuple[Path, Picture]], most: int
) -> Iterator[list[tuple[Path, Picture]]]:
    """Gather neighbours of one padded size, as many as need no more memory than the largest picture in one piece."""
    batch: list[tuple[Path, Picture]] = []
    for target, picture in pictures:
        height, width = translator.padded(picture)
        if batch and translator.padded(batch[0][1]) != (height, width):
            yield batch
            batch = []
        batch.append((target, picture))
        if len(batch) >= min(most, WHOLE // (height * width)):
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _compiling(*, enabled: bool) -> Iterator[None]:
    """Compile what may be compiled, with the weights as constants that are laid out once, or compute it as it is."""
    from torch._inductor import config as inductor  # noqa: PLC0415 - it is heavy

    with torch.compiler.set_stance("default" if enabled else "force_eager"), inductor.patch(freezing=True):
        yield


def _cut(output: Float[Tensor, "Co H W"], picture: Picture) -> Picture:
    """Cut a translation to the size of its picture, and give it the picture's alpha if it has none."""
    height, width, _ = picture.pixels.shape
    output = output[:, :height, :width]
    if len(output) == 4:
        return images.from_tensor(output[:3], alpha=output[3])
    alpha = None if picture.alpha is None else images.to_tensor(picture, channels=4)[3]
    return images.from_tensor(output, alpha=alpha)


def _ceil(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _pad(image: Float[Tensor, "C H W"], height: int, width: int) -> Float[Tensor, "C height width"]:
    """Reflect at the lower and the right border; numpy goes on reflecting where torch would refuse."""
    missing = (0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])
    return torch.from_numpy(np.pad(image.numpy(), missing, mode="reflect"))


def _starts(length: int, side: int) -> list[int]:
    """Return where tiles begin that share at least a quarter with their neighbours and end where the picture does."""
    count = 1 + _ceil(length - side, side * 3 // 4) // (side * 3 // 4)
    return [round(start) for start in np.linspace(0, length - side, count)]


def _pieces(image: Float[Tensor, "C H W"], high: int, wide: int) -> Float[Tensor, "N C {high} {wide}"]:
    """Cut pieces that lie evenly over an image, whatever its proportions: a Fibonacci lattice."""
    _, height, width = image.shape
    places = [((i + 0.5) / MEASURED, i * 0.618034 % 1) for i in range(MEASURED)]
    corners = [(round(y * (height - high)), round(x * (width - wide))) for y, x in places]
    return torch.stack([image[:, top : top + high, left : left + wide] for top, left in corners])


def _feather(side: int) -> Float[Tensor, "{side}"]:
    """Return weights that rise over the quarter that tiles share, and leave what the outermost sixteenth says.

    There the network has seen less of the picture than the neighbour has. It counts only where there is no neighbour.
    """
    margin = side // 16
    rise = ((torch.arange(side) + 1 - margin) / (side // 4 - margin)).clamp(1e-3, 1)
    return rise * rise.flip(0)
