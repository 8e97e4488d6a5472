"""Pictures in numpy files, where nothing is guessed: what could be meant in two ways is refused."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Shaped

from arzhang.types import ArzhangError

Pixels: TypeAlias = Shaped[np.ndarray, "H W C"]
Levels: TypeAlias = Callable[[Pixels], Pixels]

MAX_BYTES = 1 << 36
"""What an .npz may become in memory."""

_EXPECTED = "N x H x W, N x H x W x C or N x C x H x W, where C is 1, 3 or 4"


def keys(path: Path) -> list[str]:
    """Return the names of the arrays in an .npz; of a damaged one there are none."""
    try:
        with zipfile.ZipFile(path) as file:
            return [name.removesuffix(".npy") for name in file.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile):
        return []


def read(path: Path) -> tuple[Shaped[np.ndarray, "N H W C"], Levels]:
    """Open pictures, an .npy without reading it, and say how one of them becomes 8 or 16 bits.

    Raises:
        ArzhangError: The file is damaged, holds objects, or can be understood in no way or in two.
    """
    with _reading(path):
        array = _only(path) if path.suffix.lower() == ".npz" else np.lib.format.open_memmap(path, mode="r")
        pictures = _channels_last(array, path)
        return pictures, _levels(pictures, path)


def _only(path: Path) -> Shaped[np.ndarray, "..."]:
    """Return the one array of an .npz that may be pictures; beside it may lie labels."""
    with zipfile.ZipFile(path) as file:
        if sum(member.file_size for member in file.infolist()) > MAX_BYTES:
            raise ArzhangError(f"{path} becomes more than {MAX_BYTES:,} bytes; save its pictures as .npy instead.")
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: array for name, array in arrays.items() if array.ndim >= 3}
    if len(found) != 1:
        raise ArzhangError(
            f"{path} has {len(found)} arrays that may be pictures ({', '.join(found) or 'none has three dimensions'}), "
            f"and one was expected; save that one alone as .npy."
        )
    return next(iter(found.values()))


def _channels_last(array: Shaped[np.ndarray, "..."], path: Path) -> Shaped[np.ndarray, "N H W C"]:
    shape, channels = array.shape, {1, 3, 4}
    found = f"{path} has the shape {' x '.join(map(str, shape)) or 'of one number'}"
    if 0 in shape:
        raise ArzhangError(f"{found}, which is no picture; expected {_EXPECTED}.")
    if len(shape) == 3 and {shape[0], shape[2]} & {3, 4}:
        raise ArzhangError(f"{found}, which may be one picture in colour or many in grey; save it as N x H x W x C.")
    if len(shape) == 3:
        return array[..., None]
    if len(shape) != 4 or not {shape[1], shape[3]} & channels:
        raise ArzhangError(f"{found}; expected {_EXPECTED}.")
    if {shape[1], shape[3]} <= channels and not shape[1] == shape[2] == shape[3] == 1:
        raise ArzhangError(f"{found}, in which the channels may come first or last; expected larger pictures.")
    return array if shape[3] in channels else array.transpose(0, 2, 3, 1)


def _levels(pictures: Shaped[np.ndarray, "N H W C"], path: Path) -> Levels:
    if pictures.dtype.kind == "u" and pictures.dtype.itemsize <= 2:
        return lambda pixels: pixels.astype(pixels.dtype.newbyteorder("="))
    if pictures.dtype.kind != "f":
        raise ArzhangError(
            f"{path} has numbers of the type {pictures.dtype}; expected uint8 from 0 to 255 (or uint16 to 65535)."
        )
    least, most, whole = np.inf, -np.inf, True
    for index, picture in enumerate(pictures):
        if not np.isfinite(picture).all():
            raise ArzhangError(f"{path} has numbers in picture {index} that are not finite; leave it out.")
        least, most = min(least, picture.min()), max(most, picture.max())
        whole = whole and not np.mod(picture, 1).any()
    if -1 <= least < 0 < most <= 1:
        return lambda pixels: _rounded((pixels.astype(np.float64) + 1) * 127.5)
    if least >= 0 and most <= 1 and not whole:
        return lambda pixels: _rounded(pixels.astype(np.float64) * 255)
    if least >= 0 and 1 < most <= 255 and whole:
        return _rounded
    raise ArzhangError(
        f"{path} has the type {pictures.dtype} and numbers from {least:.6g} to {most:.6g}, which can be understood in "
        "several ways; save it as uint8, from 0 for black to 255 for white."
    )


def _rounded(pixels: Pixels) -> Pixels:
    levels: Pixels = np.rint(pixels).astype(np.uint8)
    return levels


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ArzhangError(
            f"{path} cannot be read ({error}); expected a whole numpy file of numbers, {_EXPECTED}."
        ) from error
