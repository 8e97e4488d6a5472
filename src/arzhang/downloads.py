"""Published files: fetched once, checked always, resumed where they broke off.

A file is known by its SHA-256, whichever server it comes from. It lies in the folder that the environment variable
``ARZHANG_CACHE`` names (``~/.cache/arzhang`` by default), where it may as well be put by hand. What has come so far is
``NAME.part`` beside it, with which this server or the next goes on; what turns out to be another file is kept aside as
``NAME.wrong``.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from arzhang.types import ArzhangError

PATIENCE = 2.0
"""Seconds after which a download shows how far it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A file that somebody has published.

    Args:
        name: What it is called in the cache.
        sha256: Of its bytes, in hexadecimal.
        size: How many bytes it has.
        urls: Where it can be had; they are tried in this order.
    """

    name: str
    sha256: str
    size: int
    urls: tuple[str, ...]


def cache() -> Path:
    """Return the folder that published files are kept in."""
    return Path(os.environ.get("ARZHANG_CACHE", "~/.cache/arzhang")).expanduser()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        ArzhangError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArzhangError(f"{path} cannot be read ({error.strerror}); give a file that exists.") from error


def fetch(file: Published, *, instead: str) -> Path:
    """Return where a published file lies, checked, after downloading what is missing of it.

    Args:
        file: What is wanted.
        instead: How else the user can give it, such as "--weights FILE".

    Raises:
        ArzhangError: The file is not here and cannot be had, its bytes are others, or the disk is full. What has come
            so far is kept.
    """
    path = cache() / file.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArzhangError(
            f"The cache {path.parent} cannot be made ({error.strerror}); set ARZHANG_CACHE to a folder that can, or "
            f"give {file.name} with {instead}."
        ) from error
    with _alone(path.parent):
        found = []
        if path.exists():
            if not (wrong := _wrong(path, file)):
                return path
            found.append(f"what lay in the cache {wrong}")
        part = path.with_name(f"{file.name}.part")
        for url in file.urls:
            try:
                _download(url, part, file)
            except ConnectionError as error:
                found.append(f"{url} {error}")
                continue
            if not (wrong := _wrong(part, file)):
                return part.replace(path)
            found.append(f"what came from {url} {wrong}")
        have = part.stat().st_size if part.exists() else 0
    again = f"run the same command again, which goes on from the {have:,} bytes that have come" if have else "try again"
    raise ArzhangError(
        f"{file.name} ({file.size:,} bytes, SHA-256 {file.sha256}) is not on this machine and could not be downloaded "
        f"({'; '.join(found)}): {again}, or get it from {' or '.join(file.urls)} and put it into {path.parent}, or "
        f"give it with {instead}."
    )


def _wrong(path: Path, file: Published) -> str:
    """Say what is wrong with a file, which is then kept aside, or nothing."""
    found = sha256(path)
    if found == file.sha256:
        return ""
    aside = path.with_name(f"{file.name}.wrong")
    size = path.stat().st_size
    path.replace(aside)
    return f"has {size:,} bytes and SHA-256 {found}, and is kept aside as {aside}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time download, so that the others then find the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network's file system may know no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _download(url: str, path: Path, file: Published) -> None:
    """Append to a file what is missing of it.

    Raises:
        ConnectionError: The server cannot be reached, refuses, or breaks off.
        ArzhangError: The disk is full.
    """
    from pooch import HTTPDownloader  # noqa: PLC0415 - slow to import

    with _Part(path, file) as part, ExitStack() as answers:
        if part.size >= file.size:
            return

        def begin(response: Any, **_: Any) -> None:
            answers.callback(response.close)  # or its socket stays open where writing fails
            if response.status_code == 200:  # all of it, and not 206, the part that was asked for
                part.empty()

        headers = {"Range": f"bytes={part.size}-", "Accept-Encoding": "identity"}
        transfer = HTTPDownloader(chunk_size=2**16, headers=headers, hooks={"response": begin})
        try:
            transfer(url, part, None)
        except OSError as error:  # as all are that requests raises
            answer = getattr(error, "response", None)
            reason = "cannot be reached or broke off" if answer is None else f"answers {answer.status_code}"
            raise ConnectionError(reason) from error
        if part.size < file.size:
            raise ConnectionError("broke off")


@final
class _Part:
    """A file that grows, and that shows how far it is if that takes long."""

    def __init__(self, path: Path, file: Published) -> None:
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        console = Console(stderr=True)
        columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(file.name, total=file.size, visible=False)
        self._shown_from = time.monotonic() + PATIENCE
        self._path = path

    def __enter__(self) -> "_Part":
        try:
            self._file = self._path.open("ab")
        except OSError as error:
            raise self._refusal(error) from error
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        with suppress(OSError):  # what the disk had no room for was told already
            self._file.close()

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._file.tell()

    def empty(self) -> None:
        """Start again."""
        self._file.truncate(self._file.seek(0))

    def write(self, chunk: bytes) -> None:
        """Append what has come."""
        try:
            self._file.write(chunk)
        except OSError as error:
            raise self._refusal(error) from error
        shown = time.monotonic() > self._shown_from
        self._progress.update(self._task, completed=self.size, visible=shown)

    def flush(self) -> None:
        """Hand over to the system what was written."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> ArzhangError:
        return ArzhangError(
            f"{self._path} cannot be written ({error.strerror}); make room, and the same command goes on from what has "
            "come, or set ARZHANG_CACHE to a folder on another disk."
        )
