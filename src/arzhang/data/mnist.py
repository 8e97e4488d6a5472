"""MNIST: 60,000 handwritten digits to learn from and 10,000 to be judged on, 28 x 28, white on black, with labels.

The four IDX files are read from a folder, compressed or not, or downloaded once. An IDX file is a magic number (two
zeros, 8 for bytes, the number of dimensions), the dimensions as 32-bit numbers, the most significant byte first, and
then the bytes. Others of these names and this form, such as Fashion-MNIST, are read as well.

References:
    LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
    IEEE 86(11), 1998, section III.A.
"""

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn import functional

from arzhang.data._binarise import Binarise, binarised
from arzhang.data._warp import check_warp, warped
from arzhang.downloads import Published, fetch
from arzhang.types import ArzhangError, MisuseError, Splits

_SERVERS = ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist")


def _published(name: str, sha256: str, size: int) -> Published:
    return Published(name=name, sha256=sha256, size=size, urls=tuple(f"{server}/{name}" for server in _SERVERS))


PUBLISHED = {
    "train-images-idx3-ubyte": _published(
        "train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422
    ),
    "train-labels-idx1-ubyte": _published(
        "train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881
    ),
    "t10k-images-idx3-ubyte": _published(
        "t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877
    ),
    "t10k-labels-idx1-ubyte": _published(
        "t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542
    ),
}
SIDE = 28
_KINDS = {1: "labels", 3: "pictures"}
_MAGIC = {dimensions: bytes([0, 0, 8, dimensions]) for dimensions in _KINDS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Handwritten digits with labels, from the four IDX files of MNIST."""

    root: Path | None = None
    """Folder of the IDX files, ending in .gz or not; by default they are downloaded."""
    size: int = 28
    """Pixels of each side; 28 leaves the digits as they are."""
    binarise: Binarise = "none"
    """Whether pixels are drawn to be black or white: not, once (the same in every run), or anew in each epoch."""
    warp: float = 0.0
    """Most rotation (in radians), shear, and twice the logarithm of the scale, of digits that are learnt from."""

    def build(self, *, seed: int) -> Splits:  # noqa: ARG002 - the split is the published one
        """Read the digits.

        Raises:
            ArzhangError: A file is neither here nor to be had, is truncated, or is another than its name says.
            MisuseError: The size is less than 1, or the warp is out of its range or does not fit.
        """
        if self.size < 1:
            raise MisuseError(f"The size is {self.size}, and at least 1 pixel is needed.")
        check_warp(self.warp, self.binarise)
        train, held_out = (_read_split(self.root, split, config=self) for split in ("train", "t10k"))
        if len(train) < len(held_out):
            raise ArzhangError(
                f"The training files in {self.root} hold {len(train):,} digits and the test files {len(held_out):,}, "
                "where the former should be more; their names have been swapped, so give them back."
            )
        return Splits(train=train, held_out=held_out)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Digits:
    """One split, in which nothing is drawn but warps, and black and white, if they are asked for."""

    pictures: UInt8[Tensor, "N 28 28"]
    labels: Int64[Tensor, " N"]
    config: Config
    split: str

    def __len__(self) -> int:
        return len(self.labels)

    def example(self, index: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Return ``image``, 1 x size x size in [-1, 1], and ``label``."""
        return {name: tensor[0] for name, tensor in self.examples([(index, generator)]).items()}

    def examples(self, drawn: Sequence[tuple[int, torch.Generator | None]]) -> dict[str, Tensor]:
        """Return many examples as a batch: indices, each with its generator."""
        indices, generators = zip(*drawn, strict=True)
        chosen, size = list(indices), self.config.size
        grey = self.pictures[chosen, None].float().div_(127.5).sub_(1)
        if size != SIDE:
            grey = functional.interpolate(grey, (size, size), mode="bicubic", antialias=True).clamp(-1, 1)
        grey = warped(grey, generators, warp=self.config.warp)
        names = (f"{self.name(index)} of mnist" for index in chosen)
        image = binarised(grey, names, generators, how=self.config.binarise)
        return {"image": image, "label": self.labels[chosen]}

    def name(self, index: int) -> str:
        """Return the split and the number."""
        return f"{self.split} {index}"


def _read_split(root: Path | None, split: str, *, config: Config) -> Digits:
    pictures_path, labels_path = (_path(root, f"{split}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    pictures, labels = _read(pictures_path, dimensions=3), _read(labels_path, dimensions=1)
    if pictures.shape[1:] != (SIDE, SIDE):
        raise ArzhangError(
            f"{pictures_path} holds pictures of {pictures.shape[1]} x {pictures.shape[2]} pixels, where "
            f"{SIDE} x {SIDE} are expected; give the files of MNIST, or of a set made like it."
        )
    if len(pictures) != len(labels):
        raise ArzhangError(
            f"{pictures_path} holds {len(pictures):,} pictures and {labels_path} {len(labels):,} labels, where each "
            "picture should have one; give files that belong together."
        )
    return Digits(pictures=pictures, labels=labels.long(), config=config, split=split)


def _path(root: Path | None, name: str) -> Path:
    if root is None:
        return fetch(PUBLISHED[name], instead="--data.root DIR")
    candidates = [root / name, root / f"{name}.gz"]
    for path in candidates:
        if path.is_file():
            return path
    raise ArzhangError(
        f"{root} holds neither {candidates[0].name} nor {candidates[1].name}; give the folder of the four files of "
        "MNIST, or no --data.root, and they are downloaded."
    )


def _read(path: Path, *, dimensions: int) -> UInt8[Tensor, "..."]:
    """Read an IDX file of bytes."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ArzhangError(f"{path} cannot be read ({error}); if it is truncated, fetch it again.") from error
    magic, start = content[:4], 4 + 4 * dimensions
    if magic != _MAGIC[dimensions]:
        found = next((kind for other, kind in _KINDS.items() if magic == _MAGIC[other]), "no IDX file of bytes")
        raise ArzhangError(
            f"{path} begins with {magic.hex(' ') or 'nothing'} ({found}), where {_MAGIC[dimensions].hex(' ')} "
            f"({_KINDS[dimensions]}) is expected; put the file there that belongs to this name."
        )
    shape = np.frombuffer(content[4:start].ljust(start - 4, b"\0"), ">u4").tolist()
    if 0 in shape or len(content) - start != math.prod(shape):
        raise ArzhangError(
            f"{path} announces {' x '.join(map(str, shape))} bytes and {max(len(content) - start, 0):,} follow, where "
            "as many were expected, and more than none; it is truncated or damaged, so fetch it again."
        )
    return torch.from_numpy(np.frombuffer(bytearray(content), np.uint8, offset=start).reshape(shape))
