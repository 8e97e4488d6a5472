"""Pictures go once through an extractor, in the order of their source; threads decode and prepare them ahead of it."""

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast, final, get_args

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from arzhang import images, processes
from arzhang.evidence._sources import Item, Source
from arzhang.inference import Precision, check_precision, computing, hold_weights
from arzhang.types import ArzhangError, Extractor, MisuseError

Track: TypeAlias = Callable[[Iterable[Any]], Iterable[Any]]

_WORD = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How pictures are looked at, which changes no figure but for the precision and what is skipped.

    Args:
        device: Where the extractor computes.
        precision: Of convolutions and products; features are float32 all the same.
        batch: Pictures that go through the extractor together.
        threads: How many decode; by default one for each core, at most 16.
        skip_bad: Whether pictures that cannot be read are left out, with a warning and in the provenance's count.
        track: Passes pictures on while it shows progress, such as `rich.progress.track`.
    """

    device: torch.device
    precision: Precision = "float32"
    batch: int = 32
    threads: int | None = None
    skip_bad: bool = False
    track: Track = iter


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A picture that an extractor is about to look at."""

    name: str
    hash: bytes
    has_alpha: bool
    prepared: Float[Tensor, "C h w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """A batch that it has looked at."""

    names: list[str]
    hashes: list[bytes]
    features: Float32[Tensor, "B D"]
    logits: Float32[Tensor, "B K"] | None


@dataclass(kw_only=True, slots=True)
class Tally:
    """How many pictures there were, and which.

    The digest is the sum of all hashes modulo 2^256, so that neither an order nor a division among processes enters.
    """

    pictures: int = 0
    skipped: int = 0
    with_alpha: int = 0
    digest: int = 0

    def add(self, seen: Seen) -> None:
        self.pictures += 1
        self.with_alpha += seen.has_alpha
        self.digest = (self.digest + int.from_bytes(seen.hash)) % (1 << 256)

    def everywhere(self) -> "Tally":
        """Return the tally of all processes; every one has to call this."""
        words = [self.digest // _WORD**i % _WORD for i in range(16)]
        pictures, skipped, with_alpha, *words = processes.total(
            torch.tensor([self.pictures, self.skipped, self.with_alpha, *words])
        ).tolist()
        digest = sum(word * _WORD**i for i, word in enumerate(words)) % (1 << 256)
        return Tally(pictures=pictures, skipped=skipped, with_alpha=with_alpha, digest=digest)

    def provenance(self, source: Source, extractor: Extractor, precision: Precision) -> Mapping[str, str]:
        """Say in words what a figure rests on.

        Raises:
            ArzhangError: There was no picture.
        """
        if not self.pictures:
            skipped = f" {self.skipped} could not be read, and were skipped." if self.skipped else ""
            raise ArzhangError(f"{source.name} holds no pictures, and at least one was expected.{skipped}")
        remarks = {"skipped": self.skipped, "alpha dropped": self.with_alpha}
        return {
            **extractor.provenance,
            "extractor": extractor.name,
            "precision": precision,
            "source": source.name,
            **getattr(source, "facts", {}),
            "pictures": str(self.pictures),
            "digest": f"{self.digest:064x}",
            **{name: str(number) for name, number in remarks.items() if number},
        }


def stream(
    source: Source, extractor: Extractor, options: Options, tally: Tally, *, share: slice = slice(None)
) -> Generator[Looked]:
    """Look at a share of the pictures, batch by batch, and keep a tally of them.

    Raises:
        MisuseError: An option is out of its range.
        ArzhangError: A picture cannot be read, or has features that are not finite.
    """
    if options.batch < 1 or (options.threads is not None and options.threads < 1):
        raise MisuseError(f"The batch is {options.batch}, the threads {options.threads}; both should be at least 1.")
    if options.precision not in get_args(Precision):
        raise MisuseError(f"There is no precision {options.precision!r}; ask for {', '.join(get_args(Precision))}.")
    check_precision(options.precision, options.device)
    network = cast("nn.Module", extractor).to(options.device).eval()
    hold_weights(network, precision=options.precision)
    with _pool(options.threads or min(16, os.cpu_count() or 1)) as pool, images.quiet:
        ahead = _ahead(pool, source.items(share), extractor, most=3 * options.batch)
        pictures: list[Seen] = []
        for found in options.track(ahead if source.count is None else _Counted(ahead, range(source.count)[share])):
            if isinstance(found, Seen):
                tally.add(found)
                pictures.append(found)
            elif options.skip_bad:
                tally.skipped += 1
                warnings.warn(f"Skipped: {found}", stacklevel=2)
            else:
                raise ArzhangError(f"{found} With --skip-bad it is left out and counted.") from found
            if len(pictures) == options.batch:
                yield _look(pictures, extractor, options)
                pictures.clear()
        if pictures:
            yield _look(pictures, extractor, options)


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch.get_num_threads())  # what threads to come begin with, which the pool has changed


def _ahead(
    pool: ThreadPoolExecutor, items: Iterable[Item], extractor: Extractor, *, most: int
) -> Iterator[Seen | ArzhangError]:
    """Yield pictures in their order, while as many as ``most`` that come later are being decoded."""
    coming: deque[Future[Seen | ArzhangError]] = deque()
    for item in items:
        coming.append(pool.submit(_see, item, extractor))
        if len(coming) == most:
            yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()


@final
class _Counted:
    """What is yielded, with how much of it there will be, which a progress bar asks for."""

    def __init__(self, found: Iterator[Seen | ArzhangError], share: range) -> None:
        self._found, self._share = found, share

    def __iter__(self) -> Iterator[Seen | ArzhangError]:
        return self._found

    def __len__(self) -> int:
        return len(self._share)


def _see(item: Item, extractor: Extractor) -> Seen | ArzhangError:
    try:
        picture = item.load()
    except ArzhangError as error:
        return error
    pixels = images.to_rgb(picture)
    return Seen(
        name=item.name,
        hash=_hash(pixels),
        has_alpha=picture.alpha is not None,
        prepared=extractor.prepare(pixels),
    )


def _hash(pixels: UInt8[Tensor, "3 H W"]) -> bytes:
    """Hash what is seen, and not the file, so that neither its name nor its format puts a picture elsewhere."""
    return hashlib.blake2b(f"{tuple(pixels.shape)}".encode() + pixels.numpy().tobytes(), digest_size=32).digest()


def _look(pictures: list[Seen], extractor: Extractor, options: Options) -> Looked:
    with torch.inference_mode(), computing(options.precision, options.device) as autocast, autocast:
        found = extractor(torch.stack([one.prepared for one in pictures]).to(options.device))
        answers = {name: found[name].float().cpu() for name in ("features", "logits") if name in found}
    for name, values in answers.items():
        finite = values.isfinite().flatten(1).all(1).tolist()
        if not all(finite):
            raise ArzhangError(
                f"The {name} that {extractor.name} gives for {pictures[finite.index(False)].name} are not finite "
                f"numbers; look at the picture, and at the weights of {extractor.name}."
            )
    return Looked(
        names=[one.name for one in pictures],
        hashes=[one.hash for one in pictures],
        features=answers["features"],
        logits=answers.get("logits"),
    )
