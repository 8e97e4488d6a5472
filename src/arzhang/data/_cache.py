"""Decoded pictures, kept once for all workers of a loader."""

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import final

import torch
from torch import Tensor

from arzhang import downloads


@final
class Cache:
    """Examples by index, decoded at first use and shared with every process that is given this object.

    They lie in memory, in a temporary file if they are larger than the budget, and nowhere if there is no room: then
    they are decoded every time. Examples of another depth than the first are not kept.

    Args:
        decode: Gives the pictures of an example, of 8 or 16 bits.
        shapes: The shapes that these have.
        budget: Bytes of memory; 0 keeps nothing.
    """

    def __init__(
        self,
        decode: Callable[[int], Sequence[Tensor]],
        shapes: Sequence[Sequence[tuple[int, int, int]]],
        *,
        budget: int,
    ) -> None:
        self._decode = decode
        self._shapes = shapes
        self._dtypes = [picture.dtype for picture in decode(0)]
        sizes = [sum(self._bytes(index)) for index in range(len(shapes))]
        self._starts = [0, *accumulate(sizes)]
        self._in_memory = self._starts[-1] <= budget
        self._store = _reserve(self._starts[-1], in_memory=self._in_memory) if budget else None
        self._ready = torch.zeros(len(shapes), dtype=torch.bool).share_memory_()

    def __getitem__(self, index: int) -> Sequence[Tensor]:
        if self._store is None:
            return self._decode(index)
        rooms = list(self._rooms(self._store, index))
        if self._ready[index]:
            return rooms
        pictures = self._decode(index)
        if [picture.dtype for picture in pictures] == self._dtypes:
            for room, picture in zip(rooms, pictures, strict=True):
                room.copy_(picture)
            self._ready[index] = True
        return pictures

    def __getstate__(self) -> dict[str, object]:
        # A mapped file reaches forked processes only; others decode for themselves.
        return {**self.__dict__, "_store": self._store if self._in_memory else None}

    def _bytes(self, index: int) -> Iterator[int]:
        for shape, dtype in zip(self._shapes[index], self._dtypes, strict=True):
            size = math.prod(shape) * dtype.itemsize
            yield size + size % 2  # 16-bit pictures start at even addresses

    def _rooms(self, store: Tensor, index: int) -> Iterator[Tensor]:
        rooms = store[self._starts[index] : self._starts[index + 1]].split(list(self._bytes(index)))
        for room, shape, dtype in zip(rooms, self._shapes[index], self._dtypes, strict=True):
            yield room[: math.prod(shape) * dtype.itemsize].view(dtype).view(shape)


def _reserve(size: int, *, in_memory: bool) -> Tensor | None:
    try:
        if in_memory:
            store = torch.empty(size, dtype=torch.uint8)
            store.share_memory_()
            return store
        folder = downloads.cache()
        folder.mkdir(parents=True, exist_ok=True)
        if size > shutil.disk_usage(folder).free:
            return None
        # Mapped and at once removed: the space is freed with the last process, however that ends.
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            if sys.platform != "darwin":
                os.posix_fallocate(file.fileno(), 0, size)  # or a disk that fills later would be a bus error
            mapped: Tensor = torch.from_file(file.name, shared=True, size=size, dtype=torch.uint8)
            return mapped
    except (OSError, RuntimeError):  # no room
        return None
