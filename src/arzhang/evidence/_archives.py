"""Pictures in zip and tar files, which are not trusted: nothing is unpacked to the disk, and what may harm is refused.

Refused is the whole archive, in a sentence that names the member, if one has an absolute path or leads outside, is a
link, a device or encrypted, has an odd name or that of another, or if the archive unpacks to far more than it is.
Folders, hidden files and files that are no pictures are passed over, as in a folder.
"""

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast, final

from arzhang import images
from arzhang.images import Picture
from arzhang.types import ArzhangError

MAX_MEMBERS = 5_000_000
MAX_MEMBER = 1 << 30
"""Bytes that one picture may have; none of `images.MAX_PIXELS` has more."""
MAX_TOTAL = 1 << 42
"""Bytes that all members may have together."""
MAX_RATIO = 200
"""How many times larger an archive may become; pictures, which are compressed already, hardly grow."""
HARMLESS = 1 << 28
"""Bytes up to which the ratio does not matter."""

_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".tar": lambda path: path.open("rb"),
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
}
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # of zipfile: NotImplementedError for a way of compression that it does not know
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that can be read.

    Example:
        >>> is_archive(Path("faces.v2.TAR.gz")), is_archive(Path("faces.rar"))
        (True, False)
    """
    return path.name.lower().endswith((".zip", *_OPENERS))


def shown(name: str) -> str:
    """Return a name as text that can be stored, whatever bytes it has on the disk."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def count(path: Path) -> int | None:
    """Return how many pictures an archive has if it says so at its start, or at its end.

    Raises:
        ArzhangError: The archive is damaged, hostile or holds no pictures.
    """
    if path.suffix.lower() != ".zip":
        return None
    with _reading(path), zipfile.ZipFile(path) as archive:
        return len(_zipped(archive, path))


def pictures(path: Path, share: slice) -> Iterator[tuple[str, Callable[[], Picture]]]:
    """Yield name and decoder of each picture in a share of an archive.

    Raises:
        ArzhangError: The archive is damaged, hostile or holds no pictures.
    """
    members = _of_zip(path, share) if path.suffix.lower() == ".zip" else _of_tar(path, share)
    with _reading(path):
        for name, content in members:
            yield shown(name), _decoder(content, f"{name!r} in {path}")


def _decoder(content: bytes | Exception, name: str) -> Callable[[], Picture]:
    def load() -> Picture:
        if isinstance(content, Exception):
            raise ArzhangError(f"{name} is damaged ({content}); make the archive again, or leave it out.")
        stream = io.BytesIO(content)
        stream.name = name
        return images.read(stream)

    return load


def _of_zip(path: Path, share: slice) -> Iterator[tuple[str, bytes | Exception]]:
    with zipfile.ZipFile(path) as archive:
        for member in _zipped(archive, path)[share]:
            try:
                content: bytes | Exception = archive.read(member)
            except _DAMAGED as error:
                content = error
            yield _plain(member.filename), content


def _zipped(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    found, rules = [], _Rules(path)
    for member in archive.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system == 3 else 0
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            rules.refuse(member.filename, "is a link or a device")
        if member.flag_bits & 1:
            rules.refuse(member.filename, "is encrypted")
        rules.weigh(member.filename, rules.grown + member.file_size)
        if rules.wants(member.orig_filename, member.file_size, folder=member.is_dir()):
            found.append(member)
    rules.end()
    return found


def _of_tar(path: Path, share: slice) -> Iterator[tuple[str, bytes | Exception]]:
    opener = next(opener for suffix, opener in _OPENERS.items() if path.name.lower().endswith(suffix))
    with opener(path) as file:
        rules = _Rules(path)
        guard = _Guard(file, rules)
        with tarfile.open(fileobj=cast("IO[bytes]", guard), mode="r:") as archive:
            while member := archive.next():
                cast("Any", archive).members.clear()  # or it would keep all of them
                if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE} or member.issparse():
                    rules.refuse(member.name, "is a link, a device or no plain file")
                rules.weigh(member.name, guard.tell() + member.size)
                if not rules.wants(member.name, member.size, folder=member.isdir()):
                    continue
                if (rules.pictures - 1) % (share.step or 1) == (share.start or 0):
                    yield _plain(member.name), cast("IO[bytes]", archive.extractfile(member)).read()
        if guard.last.strip(b"\0") or len(guard.last) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"it does not end after {rules.last!r} as it should")
        while guard.read(1 << 16):  # the checksums of what was packed lie behind it
            pass
        rules.end()


@final
class _Rules:
    """What one archive may hold, and how much of it there has been."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, path.stat().st_size
        self._names: set[str] = set()
        self.grown = self.pictures = 0
        self.last = "its start"

    def refuse(self, name: str, why: str) -> None:
        raise ArzhangError(
            f"{self._path} is refused: its member {name!r} {why}. If you trust it, unpack it and give the folder."
        )

    def wants(self, name: str, size: int, *, folder: bool) -> bool:
        """Tell whether a member is a picture, or refuse it."""
        parts = re.split(r"[/\\]", name)
        if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name):
            self.refuse(name, "has an absolute path")
        if ".." in parts:
            self.refuse(name, "has a path that leads out of the archive")
        if re.search(r"[\x00-\x1f\x7f-\x9f]", name):
            self.refuse(name, "has a name with control characters")
        if not folder and _plain(name) in self._names:
            self.refuse(name, "is there twice")
        self._names.add(_plain(name))
        if len(self._names) > MAX_MEMBERS:
            self.refuse(name, f"is one of more than {MAX_MEMBERS:,}")
        hidden = any(part.startswith(".") for part in parts if part != ".")
        if folder or hidden or PurePosixPath(name).suffix.lower() not in images.SUFFIXES:
            return False
        if size > MAX_MEMBER:
            self.refuse(name, f"has more than the {MAX_MEMBER:,} bytes that a picture may have")
        self.pictures += 1
        return True

    def weigh(self, name: str, grown: int) -> None:
        """Refuse a member that brings what was unpacked to more than can be meant well."""
        self.last, self.grown = name, grown
        if grown > MAX_TOTAL or grown > max(HARMLESS, MAX_RATIO * self._size):
            self.refuse(name, f"brings {self._size:,} bytes to {grown:,} or more, as decompression bombs do")

    def end(self) -> None:
        if not self.pictures:
            raise ArzhangError(
                f"{self._path} holds no pictures; expected members ending in {', '.join(sorted(images.SUFFIXES))}."
            )


@final
class _Guard:
    """What tarfile reads from: it goes forwards only, counts what was unpacked, and remembers the last block."""

    def __init__(self, file: Any, rules: _Rules) -> None:
        self._file, self._rules = file, rules
        self._place = 0
        self.last = b""

    def tell(self) -> int:
        return self._place

    def read(self, size: int) -> bytes:
        pieces = []
        while size > 0 and (piece := self._file.read(min(size, 1 << 16))):
            pieces.append(piece)
            size -= len(piece)
            self._place += len(piece)
            self._rules.weigh(self._rules.last, self._place)
        self.last = b"".join(pieces)
        return self.last

    def seek(self, place: int) -> int:
        if place < self._place:
            raise tarfile.ReadError("its members overlap")
        while self._place < place and self.read(min(place - self._place, 1 << 16)):
            pass
        return self._place


def _plain(name: str) -> str:
    return "/".join(part for part in re.split(r"[/\\]", name) if part not in {"", "."})


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say in a sentence that an archive, and not one picture in it, is damaged."""
    try:
        yield
    except _DAMAGED as error:
        raise ArzhangError(
            f"{path} is damaged ({error}), and a whole archive was expected; get it once more."
        ) from error
