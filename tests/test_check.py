"""The audit of a folder."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from rich.console import Console

from arzhang.check import Audit, Finding, audit, table
from arzhang.data import paired
from arzhang.types import ArzhangError

SHARED = Path(__file__).parents[1] / "../shared/data"


def noise(*, height=8, width=8, seed=0, channels=3, dtype=np.uint8):
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype)
    return pixels.squeeze(2) if channels == 1 else pixels


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def found(findings):
    return sorted((finding.kind, *finding.files) for finding in findings)


def printed(audit, **options):
    console = Console(file=io.StringIO(), width=160)
    console.print(table(audit, **options))
    return console.file.getvalue()


@pytest.fixture
def faulty(tmp_path):
    """Every fault at once."""
    for index in range(3):
        for side in "AB":
            save(tmp_path / f"train/{side}/{index}.png", noise(seed=10 * index + ord(side)))
            save(tmp_path / f"val/{side}/{index}.png", noise(seed=1000 + 10 * index + ord(side)))
    save(tmp_path / "train/A/lone a.png", noise(seed=1))
    save(tmp_path / "val/B/<b>.png", noise(seed=2))
    save(tmp_path / "train/A/0.bmp", noise(seed=3))
    save(tmp_path / "val/A/shape.png", noise(seed=4, width=12))
    save(tmp_path / "val/B/shape.png", noise(seed=5))
    for side in "AB":
        torn = tmp_path / f"train/{side}/torn.png"
        save(torn, noise(seed=6))
        save(tmp_path / f"val/{side}/copy.bmp", noise(seed=10 + ord(side)))
        save(tmp_path / f"train/{side}/again.png", noise(seed=20 + ord(side)))
    torn.write_bytes(torn.read_bytes()[:-40])
    (tmp_path / "train/A/text.png").write_text("no picture")
    save(tmp_path / "train/B/text.png", noise(seed=7))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    save(tmp_path / "train/A/turned.jpg", noise(seed=8, height=8, width=6), exif=exif)
    save(tmp_path / "train/B/turned.png", noise(seed=9, height=6, width=8))
    save(tmp_path / "old/x.png", noise())
    return tmp_path


def test_every_fault_is_found_at_once(faulty):
    report = audit(faulty)
    assert report.kind == "two-folders"
    assert report.examples == {"train": 7, "val": 5}
    assert found(report.problems) == [
        ("damaged", "train/A/text.png"),
        ("damaged", "train/B/torn.png"),
        ("no pair of one shape", "val/A/shape.png", "val/B/shape.png"),
        ("no partner", "train/A/lone a.png"),
        ("no partner", "val/B/<b>.png"),
        ("repeated", "train/A/2.png", "train/A/again.png"),
        ("repeated in another split", "train/A/1.png", "val/A/copy.bmp"),
        ("same name", "train/A/0.bmp", "train/A/0.png"),
    ]
    assert found(report.notes) == [
        ("turned upright by its EXIF tag", "train/A/turned.jpg"),
        ("used by no split", "old/x.png"),
    ]


def test_a_finding_says_why(faulty):
    reasons = {finding.files[0]: finding.reason for finding in audit(faulty).problems}
    assert "text.png" in reasons["train/A/text.png"]
    assert "truncated" in reasons["train/B/torn.png"]
    assert "12 x 8" in reasons["val/A/shape.png"]


def test_an_audit_survives_json(faulty):
    report = audit(faulty)
    read = json.loads(report.to_json())
    assert read["examples"] == {"train": 7, "val": 5}
    assert [Finding(**{**problem, "files": tuple(problem["files"])}) for problem in read["problems"]] == [
        *report.problems
    ]


def test_the_table_names_files_as_they_are(faulty):
    text = printed(audit(faulty))
    for piece in ("train 7, val 5", "train/A/lone a.png", "val/B/<b>.png", "train/A/1.png = val/A/copy.bmp", "8 x 8"):
        assert piece in text


def test_the_table_counts_what_it_does_not_name(tmp_path):
    for index in range(5):
        save(tmp_path / f"A/{index}.png", noise(seed=index))
    for path in ("A/x.png", "B/x.png", "B/y.png"):
        save(tmp_path / path, noise(seed=ord(path[-5])))
    text = printed(audit(tmp_path), most=2)
    assert "no partner (6)" in text
    assert "... and 4 more" in text


def test_two_folders_whose_names_have_no_partners_are_two_piles(tmp_path):
    for place, path in enumerate(("trainA/1.png", "trainA/1.bmp", "trainB/x y.png", "testA/2.png", "testB/3.png")):
        save(tmp_path / path, noise(seed=place))
    report = audit(tmp_path)
    assert report.kind == "two-piles"
    assert report.examples == {"train A": 2, "train B": 1, "test A": 1, "test B": 1}
    assert found(report.problems) == [("a single picture of a domain, where at least two are needed", "trainB/x y.png")]
    assert found(report.notes) == [("no pairs",)]
    save(tmp_path / "trainB/z.png", noise(seed=0))
    assert found(audit(tmp_path).problems) == [("repeated in another split", "trainA/1.png", "trainB/z.png")]


def test_names_in_the_table_are_neither_markup_nor_escapes(tmp_path):
    for name in ("[bold]a.png", "\x1b[2J.png", "نمی\u200cبینم.png"):
        (tmp_path / name).write_text("no picture")
    text = printed(audit(tmp_path))
    assert "[bold]a.png" in text
    assert "\x1b" not in text
    assert "نمی\u200cبینم.png" in text


def test_a_sound_folder_has_no_problems(tmp_path):
    for index in range(3):
        save(tmp_path / f"{index}.png", noise(seed=index, width=16))
    report = audit(tmp_path)
    assert report.problems == report.notes == ()
    assert report == Audit(
        root=str(tmp_path),
        kind="side-by-side",
        examples={"all": 3},
        formats={"PNG, colour, 8 bits": 3},
        sizes=((8, 16),) * 3,
        common=(((8, 16), 3),),
        problems=(),
        notes=(),
    )


def test_sizes_and_formats_are_counted(tmp_path):
    save(tmp_path / "1.png", noise(height=4, width=6, channels=1))
    save(tmp_path / "2.jpg", noise(height=9, width=7, seed=1))
    save(tmp_path / "3.png", noise(height=9, width=7, seed=2, channels=4))
    save(tmp_path / "4.png", noise(height=20, width=30, channels=1, dtype=np.uint16))
    save(tmp_path / "5.png", noise(height=9, width=7, seed=3, channels=1))
    report = audit(tmp_path)
    assert report.sizes == ((4, 6), (9, 7), (20, 30))
    assert report.common[0] == ((9, 7), 3)
    assert report.formats == {
        "PNG, grey, 8 bits": 2,
        "JPEG, colour, 8 bits": 1,
        "PNG, colour and alpha, 8 bits": 1,
        "PNG, grey, 16 bits": 1,
    }


def test_a_picture_that_is_not_two_is_found_among_pairs(tmp_path):
    for index in range(20):
        save(tmp_path / f"{index}.png", noise(width=16, seed=index))
    save(tmp_path / "20.png", noise(width=12))
    (tmp_path / "21.png").write_bytes(b"")
    problems = [finding for finding in audit(tmp_path).problems if finding.kind != "damaged"]
    assert found(problems) == [("no pair of one shape", "20.png")]
    (tmp_path / "21.png").unlink()
    with pytest.raises(ArzhangError, match=r"20\.png is 12 x 8 pixels, where others are exactly twice as wide as high"):
        paired.Config(root=tmp_path, size=8).build(seed=0)


def test_pictures_of_which_some_are_wide_are_plain(tmp_path):
    for index in range(120):
        save(tmp_path / f"{index}.png", noise(width=12 + 4 * (index % 2), seed=index))
    assert audit(tmp_path).kind == "plain"


def test_a_single_example_is_a_problem(tmp_path):
    save(tmp_path / "1.png", noise())
    assert found(audit(tmp_path).problems) == [("a single example, where at least two are needed", "1.png")]


def test_a_folder_of_nothing_but_damage_is_reported(tmp_path):
    (tmp_path / "1.png").write_bytes(b"")
    report = audit(tmp_path)
    assert found(report.problems) == [("damaged", "1.png")]
    assert report.sizes == report.common == ()
    assert "damaged (1)" in printed(report)


def test_progress_sees_every_example(faulty):
    seen = []

    def track(examples):
        for example in examples:
            seen.append(example)
            yield example

    audit(faulty, track=track)
    assert len(seen) == 12 + 3  # pairs; the two without a partner and the second of the same name


def test_folders_may_be_named(tmp_path):
    for side in ("depth", "render"):
        save(tmp_path / side / "1.png", noise(seed=len(side)))
    assert audit(tmp_path, a="depth", b="render").kind == "two-folders"


@pytest.mark.parametrize("name", ["absent", ""])
def test_a_folder_without_pictures_is_refused(tmp_path, name):
    with pytest.raises(ArzhangError):
        audit(tmp_path / name)


@pytest.mark.skipif(not (SHARED / "sr").is_dir(), reason="the shared data is not on this machine")
def test_published_data_is_sound():
    report = audit(SHARED / "sr")
    assert report.examples == {"all": 18}
    assert report.formats == {"PNG, colour, 8 bits": 17, "PNG, grey, 8 bits": 1}
    assert report.problems == ()
