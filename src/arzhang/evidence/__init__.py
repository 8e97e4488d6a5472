"""Evidence: what metrics look at. Pictures from anywhere go once through an extractor and become features.

Rows lie in the order of the pictures' hashes, so that no figure depends on the order on the disk, on names, on the size
of a batch or on the number of threads. A hash is that of the RGB pixels that the extractor is given: the same picture
has the same place whether it is a PNG, lies in an archive or has just been made. A set's digest is the sum of its
hashes.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> class Colour(torch.nn.Module):
    ...     name, provenance = "colour", {"layer": "mean"}
    ...     def prepare(self, picture):
    ...         return picture.float()
    ...     def forward(self, prepared):
    ...         return {"features": prepared.mean((2, 3))}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/grey.npy", np.full((2, 8, 8), 7, np.uint8))
    ...     pictures = source(Path(folder, "grey.npy"))
    ...     found = gather(pictures, Colour(), Options(device=torch.device("cpu")), cache=False)
    >>> found.features
    tensor([[7., 7., 7.],
            [7., 7., 7.]])
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from arzhang import processes
from arzhang.evidence import _store
from arzhang.evidence._sources import Archive, Arrays, Examples, Folder, Item, Made, Source, source, statistics_in
from arzhang.evidence._stream import Options, Tally, stream
from arzhang.moments import Moments
from arzhang.types import Extractor, MisuseError

__all__ = [
    "Archive",
    "Arrays",
    "Evidence",
    "Examples",
    "Folder",
    "Item",
    "Made",
    "Options",
    "Source",
    "gather",
    "moments_of",
    "source",
    "statistics_in",
]

ROWS = 1024  # of a block whose moments are taken together


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What an extractor sees in a set of pictures.

    Args:
        names: What people call the pictures, row by row.
        hashes: Of their pixels, in hexadecimal digits; the order of the rows, names deciding between equal ones.
        features: Mapped from the disk where they are cached.
        logits: None if the extractor is no classifier.
        provenance: What a figure rests on: the extractor with its weights, resize and precision, the source, how many
            pictures it has and had to skip, and the digest of the set.
    """

    names: tuple[str, ...]
    hashes: tuple[str, ...]
    features: Float32[Tensor, "N D"]
    logits: Float32[Tensor, "N K"] | None
    provenance: Mapping[str, str]

    @property
    def moments(self) -> Moments:
        """The mean and scatter of the features."""
        return Moments.of(self.features)


def gather(source: Source, extractor: Extractor, options: Options, *, cache: bool = True) -> Evidence:
    """Look once at all pictures, or read what was seen when these were last looked at in the same way.

    Of many processes each looks at its share; all return the whole, and so every one has to call this.

    Args:
        source: The pictures.
        extractor: Moved to the device of the options.
        options: How to look.
        cache: Whether features are kept in, and taken from, ``ARZHANG_CACHE``.

    Raises:
        ArzhangError: There are no pictures, one cannot be read, or one has features that are not finite.
        MisuseError: An option is out of its range, or there are more processes than pictures.
    """
    fingerprint = source.fingerprint() if cache else None
    key, kept = None, None
    if fingerprint:
        how = version("arzhang"), extractor.name, dict(extractor.provenance), options.precision, options.skip_bad
        key = _store.key(fingerprint, *how)
        kept = _store.read(key)
    if processes.total(torch.tensor(int(kept is not None))) == processes.size() and kept:
        return _evidence(*kept, source=source)
    about, arrays = _look(source, extractor, options)
    return _evidence(about, _store.write(key, about, arrays) if key else arrays, source=source)


def moments_of(source: Source, extractor: Extractor, options: Options) -> tuple[Moments, Mapping[str, str]]:
    """Look once at all pictures and keep only the moments of their features, in memory that does not grow with them.

    Of many processes each looks at its share; all return the moments and the provenance of the whole, and so every one
    has to call this.

    Args:
        source: The pictures.
        extractor: Moved to the device of the options.
        options: How to look.

    Raises:
        ArzhangError: There are no pictures, one cannot be read, or one has features that are not finite.
        MisuseError: An option is out of its range.
    """
    tally = Tally()
    share = slice(processes.rank(), None, processes.size())
    blocks = _blocks(looked.features for looked in stream(source, extractor, options, tally, share=share))
    first = next(blocks, None)
    here = None if first is None else Moments.of(itertools.chain([first], blocks))
    provenance = tally.everywhere().provenance(source, extractor, options.precision)
    # A process without a picture has to learn from the others how many dimensions there are.
    dimensions, processes_with = processes.total(torch.tensor([len(here.mean), 1] if here else [0, 0])).tolist()
    return (here or Moments.of_none(dimensions // processes_with)).all_reduced(), provenance


def _blocks(batches: Iterable[Float32[Tensor, "B D"]]) -> Iterator[Float32[Tensor, "N D"]]:
    """Gather small batches, since every block of moments costs a pass over their scatter."""
    waiting: list[Tensor] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= ROWS:
            yield torch.cat(waiting)
            waiting.clear()
    if waiting:
        yield torch.cat(waiting)


def _look(source: Source, extractor: Extractor, options: Options) -> tuple[dict[str, Any], _store.Arrays]:
    """Return what is kept of pictures: words and numbers, the rows of both in order."""
    tally = Tally()
    names: list[str] = []
    hashes: list[str] = []
    rows: dict[str, list[Tensor]] = {}
    share = slice(processes.rank(), None, processes.size())
    for looked in stream(source, extractor, options, tally, share=share):
        names += looked.names
        hashes += [one.hex() for one in looked.hashes]
        rows.setdefault("features", []).append(looked.features)
        if looked.logits is not None:
            rows.setdefault("logits", []).append(looked.logits)
    provenance = tally.everywhere().provenance(source, extractor, options.precision)
    least = processes.gathered(torch.tensor([len(names)])).min()
    if not least:
        raise MisuseError(f"{source.name} has fewer pictures than there are processes; start fewer.")
    line = bytearray(json.dumps([names, hashes]) + "\n", "ascii")
    lines = processes.gathered(torch.frombuffer(line, dtype=torch.uint8)).numpy().tobytes()
    told = [json.loads(each) for each in lines.splitlines()]
    names, hashes = ([each for part in told for each in part[place]] for place in (0, 1))
    order = sorted(range(len(names)), key=lambda row: (hashes[row], names[row]))
    about = {
        "names": [names[row] for row in order],
        "hashes": [hashes[row] for row in order],
        "provenance": provenance,
    }
    return about, {label: processes.gathered(torch.cat(parts))[order] for label, parts in rows.items()}


def _evidence(about: Mapping[str, Any], arrays: _store.Arrays, *, source: Source) -> Evidence:
    return Evidence(
        names=tuple(about["names"]),
        hashes=tuple(about["hashes"]),
        features=arrays["features"],
        logits=arrays.get("logits"),
        provenance={**about["provenance"], "source": source.name},  # which may have moved since
    )
