"""An audit of a folder before training: what lies in it, and what is wrong with it."""

import hashlib
import itertools
import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import ExifTags, Image
from rich.table import Table
from rich.text import Text

from arzhang import images, layout
from arzhang.data import paired
from arzhang.images import Picture
from arzhang.types import ArzhangError

Size = tuple[int, int]
_Example = tuple[str, tuple[Path, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something about some files.

    Args:
        kind: In a few words.
        files: Their paths below the audited folder.
        reason: A sentence where the kind does not say it all.
    """

    kind: str
    files: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """What was found in a folder.

    Args:
        root: The folder.
        kind: How its pictures belong together.
        examples: How many examples each split holds.
        formats: How many pictures have which format, colours and depth.
        sizes: Height and width of the smallest, median and largest picture, by area.
        common: The most common heights and widths, and how many pictures have them.
        problems: What to mend: damaged files, missing partners, pairs of different shape, repeated examples.
        notes: What is worth knowing: pictures that a reader must turn, and pictures that no split uses.
    """

    root: str
    kind: layout.Kind
    examples: Mapping[str, int]
    formats: Mapping[str, int]
    sizes: tuple[Size, ...]
    common: tuple[tuple[Size, int], ...]
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(asdict(self), indent=2)


def audit(
    root: Path,
    *,
    a: str | None = None,
    b: str | None = None,
    track: Callable[[Sequence[_Example]], Iterable[_Example]] = iter,
) -> Audit:
    """Decode every picture of a folder and report what would get in the way of training.

    Two examples are the same if all their pixels are, whatever their names and formats.

    Args:
        root: The folder.
        a: The name of the first folder of pairs, if it is not a usual one.
        b: The name of the second.
        track: Passes the examples on while it shows progress, such as `rich.progress.track`.

    Raises:
        ArzhangError: There is no picture in the folder, or no way to read it.
    """
    found = layout.survey(root, a=a, b=b)
    problems: list[Finding] = []
    notes: list[Finding] = []
    if found.kind == "two-folders" and not layout.belong_together(found):
        found = layout.apart(root, a=a, b=b)
        sentence = "Hardly a name has a partner in the other folder, so these are two piles, which a CycleGAN takes."
        notes.append(Finding(kind="no pairs", files=(), reason=sentence))

    def finding(kind: str, *paths: Path, reason: str = "") -> Finding:
        return Finding(kind=kind, files=tuple(path.relative_to(root).as_posix() for path in paths), reason=reason)

    examples = [(name, item.files) for name, split in found.splits.items() for item in split.items]
    for name, split in found.splits.items():
        lone = [*split.lone_a, *split.lone_b]
        problems += [finding("no partner", path) for path in lone]
        problems += [finding("same name", *paths) for paths in split.ambiguous]
        paired_up = {path for item in split.items for path in item.files}
        left = dict.fromkeys([*lone, *itertools.chain(*split.ambiguous)])
        examples += [(name, (path,)) for path in left if path not in paired_up]
    used = {path for _, files in examples for path in files}
    notes += [finding("used by no split", path) for path in images.find(root) if path not in used]

    formats: Counter[str] = Counter()
    sizes: list[Size] = []
    same: defaultdict[bytes, list[_Example]] = defaultdict(list)
    for name, files in track(examples):
        pictures = []
        for path in files:
            try:
                picture = images.read(path)
            except ArzhangError as error:
                problems.append(finding("damaged", path, reason=str(error)))
                continue
            pictures.append(picture)
            height, width, _ = picture.pixels.shape
            sizes.append((height, width))
            encoding, turned = _header(path)
            formats[f"{encoding}, {_depth(picture)}"] += 1
            if turned:
                notes.append(finding("turned upright by its EXIF tag", path))
        if len(pictures) < len(files):
            continue
        same[_digest(pictures)].append((name, files))
        if len(files) == {"side-by-side": 1, "two-folders": 2}.get(found.kind):
            try:
                paired.size_of(files, kind=found.kind)
            except ArzhangError as error:
                problems.append(finding("no pair of one shape", *files, reason=str(error)))

    if len(examples) == 1 and not problems:
        problems.append(finding("a single example, where at least two are needed", *examples[0][1]))
    if found.kind == "two-piles":
        learnt = [split for name, split in found.splits.items() if name.split()[0] in {"train", "all"}]
        lonely = [split.items[0].files for split in learnt if len(split.items) == 1]
        problems += [finding("a single picture of a domain, where at least two are needed", *files) for files in lonely]
    for group in same.values():
        if len(group) > 1:
            splits = {name for name, _ in group}
            kind = "repeated in another split" if len(splits) > 1 else "repeated"
            problems.append(finding(kind, *(files[0] for _, files in group)))

    sizes.sort(key=lambda size: (size[0] * size[1], size))
    return Audit(
        root=str(root),
        kind=found.kind,
        examples={name: len(split.items) for name, split in found.splits.items()},
        formats=dict(formats.most_common()),
        sizes=tuple(sizes[place] for place in (0, len(sizes) // 2, -1)) if sizes else (),
        common=tuple(Counter(sizes).most_common(5)),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def table(audit: Audit, *, most: int = 10) -> Table:
    """Lay an audit out for a terminal.

    Args:
        audit: What to show.
        most: How many findings of one kind to name; the rest is counted.
    """
    rows = Table(title=_shown(audit.root), show_header=False, title_justify="left")
    rows.add_row("layout", audit.kind)
    rows.add_row("examples", ", ".join(f"{name} {count}" for name, count in audit.examples.items()))
    rows.add_row("formats", "\n".join(f"{count} x {name}" for name, count in audit.formats.items()))
    if audit.sizes:
        smallest, median, largest = (f"{width} x {height}" for height, width in audit.sizes)
        rows.add_row("width x height", f"smallest {smallest}, median {median}, largest {largest}")
        rows.add_row(
            "most common", ", ".join(f"{width} x {height} ({count})" for (height, width), count in audit.common)
        )
    for style, findings in (("red", audit.problems), ("yellow", audit.notes)):
        kinds: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            kinds[finding.kind].append(finding)
        for kind, group in kinds.items():
            lines = [finding.reason or " = ".join(finding.files) for finding in group[:most]]
            more = [f"... and {len(group) - most} more; --json names them all"] if len(group) > most else []
            rows.add_row(Text(f"{kind} ({len(group)})", style=style), _shown("\n".join(lines + more)))
    rows.add_row("problems", Text(str(len(audit.problems)), style="red" if audit.problems else "green"))
    return rows


def _header(path: Path) -> tuple[str, bool]:
    """Return the format of a picture that has been read before, and whether it lies on its side or is mirrored."""
    with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
        return image.format or "", image.getexif().get(ExifTags.Base.Orientation, 1) != 1


def _depth(picture: Picture) -> str:
    colours = "grey" if picture.pixels.shape[2] == 1 else "colour"
    return f"{colours}{'' if picture.alpha is None else ' and alpha'}, {8 * picture.pixels.itemsize} bits"


def _digest(pictures: Iterable[Picture]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for picture in pictures:
        for samples in (picture.pixels, picture.alpha):
            if samples is not None:
                digest.update(repr((samples.shape, samples.dtype)).encode())
                digest.update(samples.tobytes())
    return digest.digest()


def _shown(text: str) -> Text:
    """Keep file names from moving the cursor, or from being no text at all."""
    return Text(re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", text))
