"""Features on the disk: what was once computed is mapped into memory, and computed again if a byte of it changed."""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

MAX_BYTES = 20_000_000_000
"""What all entries may take together; the one that has not been used for longest goes first."""

Arrays: TypeAlias = Mapping[str, Float32[Tensor, "N _"]]

_VERSION = 1  # of the entries, and of how pictures become what extractors are given
_SUM = "blake2b"


def key(*parts: Any) -> str:
    """Return the name of what depends on these parts and on nothing else."""
    return hashlib.blake2b(json.dumps([_VERSION, *parts], sort_keys=True).encode(), digest_size=20).hexdigest()


def read(name: str) -> tuple[dict[str, Any], Arrays] | None:
    """Map an entry; None if there is none, or none that is as it was written."""
    entry = _folder() / name
    try:
        if (entry / _SUM).read_text() != _checksum(entry):
            return None
        os.utime(entry)
        return json.loads((entry / "about.json").read_bytes()), _mapped(entry)
    except (OSError, ValueError):
        return None


def write(name: str, about: Mapping[str, Any], arrays: Arrays) -> Arrays:
    """Keep an entry, whole or not at all, and return its arrays: mapped, or as they are where the disk is full."""
    folder = _folder()
    partial = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".", dir=folder))
        for label, array in arrays.items():
            np.save(partial / f"{label}.npy", array.numpy())
        (partial / "about.json").write_text(json.dumps(about))
        (partial / _SUM).write_text(_checksum(partial))
        mapped = _mapped(partial)
        shutil.rmtree(folder / name, ignore_errors=True)  # a damaged one
        with suppress(OSError):  # another process was faster
            partial.rename(folder / name)
    except OSError as error:
        warnings.warn(
            f"Features are not kept, since {folder} refuses them ({error}); they will be computed again the next time. "
            "Make room, or let ARZHANG_CACHE name another folder.",
            stacklevel=3,
        )
        return arrays
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    with suppress(OSError):  # another process is at it
        _make_room(folder, keep=name)
    return mapped


def _folder() -> Path:
    return Path(os.environ.get("ARZHANG_CACHE", "~/.cache/arzhang")).expanduser() / "features"


def _mapped(entry: Path) -> Arrays:
    # Copied where it is written to, which torch wants to be allowed, and nobody does.
    return {path.stem: torch.from_numpy(np.load(path, mmap_mode="c")) for path in sorted(entry.glob("*.npy"))}


def _checksum(entry: Path) -> str:
    digest = hashlib.blake2b()
    for path in sorted(entry.iterdir()):
        if path.name != _SUM:
            with path.open("rb") as file:
                digest.update(f"{path.name}\0{hashlib.file_digest(file, 'blake2b').hexdigest()}\0".encode())
    return digest.hexdigest()


def _make_room(folder: Path, *, keep: str) -> None:
    entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime)
    sizes = {entry: sum(file.stat().st_size for file in entry.iterdir()) for entry in entries}
    for entry in entries:
        if sum(sizes.values()) > MAX_BYTES and entry.name != keep:
            shutil.rmtree(entry, ignore_errors=True)
            del sizes[entry]
