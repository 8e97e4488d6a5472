"""Where pictures come from: folders, archives, arrays, datasets, and whatever makes them on the fly."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final, runtime_checkable

import numpy as np

from arzhang import images
from arzhang.evidence import _archives, _arrays
from arzhang.images import Picture
from arzhang.types import ArzhangError, Dataset, MisuseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One picture that has yet to be decoded.

    Args:
        name: What people call it.
        load: Decodes it, in any thread; an `ArzhangError` says that it is damaged.
    """

    name: str
    load: Callable[[], Picture]


@runtime_checkable
class Source(Protocol):
    """Pictures that can be gone through, again and again, in one order."""

    @property
    def name(self) -> str:
        """What they are called in the provenance of a figure."""

    @property
    def count(self) -> int | None:
        """How many there are; None where that is not known before the end."""

    def items(self, share: slice) -> Iterator[Item]:
        """Yield the pictures of a share: ``slice(part, None, parts)`` of all."""

    def fingerprint(self) -> str | None:
        """Return what changes whenever a picture or a name does, at less cost than looking at them; None if nothing."""


@final
class Folder:
    """The pictures in a folder and below it, of any sizes.

    Raises:
        ArzhangError: There are none, or the folder cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._paths = root, images.find(root)
        self.name, self.count = _archives.shown(str(root)), len(self._paths)
        if not self._paths:
            raise ArzhangError(
                f"{root} holds no pictures; expected files ending in {', '.join(sorted(images.SUFFIXES))}."
            )

    def items(self, share: slice) -> Iterator[Item]:
        for path in self._paths[share]:
            yield Item(name=self._name(path), load=lambda path=path: images.read(path))  # type: ignore[misc]

    def fingerprint(self) -> str | None:
        digest = hashlib.blake2b(digest_size=32)
        for path in self._paths:
            content = _digest(path)
            if content is None:
                return None
            digest.update(f"{self._name(path)}\0{content}\0".encode())
        return digest.hexdigest()

    def _name(self, path: Path) -> str:
        return _archives.shown(path.relative_to(self._root).as_posix())


@final
class Archive:
    """The pictures in a zip or tar file, which is not trusted and never unpacked to the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name, self.count = _archives.shown(str(path)), _archives.count(path)

    def items(self, share: slice) -> Iterator[Item]:
        for name, load in _archives.pictures(self._path, share):
            yield Item(name=name, load=load)

    def fingerprint(self) -> str | None:
        return _digest(self._path)


@final
class Arrays:
    """The pictures in a numpy file: one array, N x H x W, N x H x W x C or N x C x H x W."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pictures, self._levels = _arrays.read(path)
        self.name, self.count = _archives.shown(str(path)), len(self._pictures)

    def items(self, share: slice) -> Iterator[Item]:
        for index in range(self.count)[share]:
            yield Item(name=str(index), load=lambda index=index: self._load(index))  # type: ignore[misc]

    def fingerprint(self) -> str | None:
        return _digest(self._path)

    def _load(self, index: int) -> Picture:
        pixels = self._levels(np.array(self._pictures[index]))
        colours = 1 if pixels.shape[2] == 1 else 3
        return Picture(pixels=pixels[..., :colours], alpha=pixels[..., 3] if pixels.shape[2] == 4 else None)


@final
class Examples:
    """One tensor of each example of a dataset, in its plain and fixed view, rounded to 8 bits.

    Args:
        dataset: Its examples are made in several threads at once.
        tensor: Which of an example's tensors to look at, such as ``target``; a fourth channel is opacity.
        name: What to call the set.

    Raises:
        MisuseError: An example has no such tensor.
        ArzhangError: There are no examples.
    """

    def __init__(self, dataset: Dataset, tensor: str, *, name: str) -> None:
        self._dataset, self._tensor = dataset, tensor
        self.name, self.count = name, len(dataset)
        if not self.count:
            raise ArzhangError(f"{name} has no examples, and at least one picture was expected.")
        if tensor not in (known := dataset.example(0, None)):
            raise MisuseError(f"The examples of {name} have no {tensor!r}; they have {', '.join(known)}.")

    def items(self, share: slice) -> Iterator[Item]:
        for index in range(self.count)[share]:
            yield Item(name=self._dataset.name(index), load=lambda index=index: self._load(index))  # type: ignore[misc]

    def fingerprint(self) -> str | None:
        digest = hashlib.blake2b(digest_size=32)
        for item in self.items(slice(None)):
            try:
                picture = item.load()
            except ArzhangError:  # whoever looks at it will say so
                return None
            for samples in (picture.pixels, picture.alpha):
                digest.update(f"{item.name!r}{None if samples is None else samples.shape}\0".encode())
                digest.update(b"" if samples is None else samples.tobytes())
        return digest.hexdigest()

    def _load(self, index: int) -> Picture:
        image = self._dataset.example(index, None)[self._tensor]
        return images.from_tensor(image[:3], alpha=image[3] if len(image) == 4 else None)


@final
class Made:
    """Pictures that are made on the fly, such as a run's translations or samples; their features are never cached.

    Args:
        make: Yields name and picture for each of a share, so that of many processes each makes its own:
            ``lambda share: ((path.name, translate(path)) for path in paths[share])``.
        name: What to call the set.
        count: How many there are in all, if that is known.
        facts: What else a figure of them rests on.
    """

    def __init__(
        self,
        make: Callable[[slice], Iterable[tuple[str, Picture]]],
        *,
        name: str,
        count: int | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self._make = make
        self.name, self.count, self.facts = name, count, facts or {}

    def items(self, share: slice) -> Iterator[Item]:
        for name, picture in self._make(share):
            yield Item(name=name, load=lambda picture=picture: picture)  # type: ignore[misc]

    def fingerprint(self) -> str | None:
        return None


def source(path: Path) -> Source:
    """Return the pictures of a folder, an archive (zip, tar, tar.gz, tar.bz2, tar.xz) or a numpy file (npy, npz).

    Raises:
        MisuseError: The path is none of these, or holds statistics.
        ArzhangError: It is absent, damaged, hostile or empty.
    """
    kinds = "a folder of pictures, an archive (zip, tar, tar.gz) or a numpy file (npy, npz)"
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        found = "is a device or a pipe" if path.exists() else "does not exist"
        raise ArzhangError(f"{path} {found}; give {kinds}.")
    if statistics_in(path):
        raise MisuseError(
            f"{path} holds statistics (mu and sigma), not pictures; only a Fréchet distance is computed from them."
        )
    if path.suffix.lower() in {".npy", ".npz"}:
        return Arrays(path)
    if _archives.is_archive(path):
        return Archive(path)
    raise MisuseError(f"{path} is none of what can be looked at; give {kinds}.")


def statistics_in(path: Path) -> bool:
    """Tell whether a file is statistics of features, an .npz of ``mu`` and ``sigma``, and not pictures.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder, "faces.npz"), mu=np.zeros(2), sigma=np.eye(2))
        ...     statistics_in(Path(folder, "faces.npz"))
        True
    """
    return path.suffix.lower() == ".npz" and path.is_file() and {"mu", "sigma"} <= set(_arrays.keys(path))


def _digest(path: Path) -> str | None:
    try:
        if not path.is_file():  # opening a pipe would wait
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError:  # whoever reads it will say so
        return None
