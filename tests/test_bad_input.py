"""Whatever lies on the disk, training ends in a run or in one sentence, and nothing is lost."""

import html
import json
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from arzhang import images
from arzhang.data import paired


@pytest.fixture
def train(arzhang, tiny, tmp_path):
    """Train on tmp_path / "data"."""
    where = ["--data.root", tmp_path / "data", "--out", tmp_path / "run"]
    return lambda *more: arzhang("train", "demo", *tiny, *where, *more)


def noise(*shape, high=256):
    return np.random.default_rng(shape).integers(0, high, shape, np.uint8 if high == 256 else np.uint16)


def save(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = noise(40, 48, 3) if image is None else image
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def pairs(root, names=("0.png", "1.png", "2.png")):
    for name in names:
        save(root / "A" / name)
        save(root / "B" / name)


def refused(said, *words, status=1):
    """One sentence on the standard error, with these words, and nothing else anywhere."""
    assert (said.status, said.out) == (status, "")
    *progress, sentence = said.err.splitlines()
    assert not any(line for line in progress if not line.startswith("Training"))
    assert sentence.startswith("arzhang: ")
    assert sentence.endswith(".")
    assert all(word in sentence for word in words), sentence


def trained(said, tmp_path):
    assert (said.status, said.out) == (0, f"{tmp_path / 'run/report.html'}\n")
    return (tmp_path / "run/report.html").read_text()


def bomb(path):
    """Write a white PNG of 400 million pixels of one bit."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * (20000 * 2501), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


# Folders


def test_a_missing_folder_is_named(train, tmp_path):
    refused(train(), str(tmp_path / "data"), "No such file or directory", "Give a folder of pictures")


def test_an_empty_folder_is_named_with_what_was_expected(train, tmp_path):
    (tmp_path / "data").mkdir()
    refused(train(), str(tmp_path / "data"), "holds no pictures", ".png")


def test_a_first_folder_without_the_second_is_named(train, tmp_path):
    pairs(tmp_path / "data")
    for path in (tmp_path / "data/B").iterdir():
        path.unlink()
    refused(train(), str(tmp_path / "data/B"), "holds no pictures")


def test_a_picture_without_a_partner_is_named(train, tmp_path):
    pairs(tmp_path / "data")
    (tmp_path / "data/B/1.png").unlink()
    refused(train(), "no partner", "A/1.png", "Give both pictures of a pair the same name")


def test_a_single_picture_is_not_enough(train, tmp_path):
    save(tmp_path / "data/a.png")
    refused(train(), "holds one example; at least two are needed")


def test_a_folder_below_a_file_is_a_sentence(train, tmp_path):
    save(tmp_path / "data/file/a.png")
    refused(train("--data.root", tmp_path / "data/file/a.png/deep"), "cannot be read (Not a directory)")


@pytest.mark.skipif(os.geteuid() == 0, reason="Root reads everything.")
def test_an_unreadable_folder_is_named(train, tmp_path):
    pairs(tmp_path / "data")
    (tmp_path / "data/A").chmod(0)
    refused(train(), str(tmp_path / "data/A"), "Permission denied")
    (tmp_path / "data/A").chmod(0o700)


def test_pairs_read_as_plain_pictures_are_misuse(train, tmp_path):
    pairs(tmp_path / "data")
    refused(train("--data", "derived"), "holds two folders of pairs; use --data paired", status=2)


# Files


def test_pictures_of_a_pair_in_two_sizes_train(train, tmp_path):
    pairs(tmp_path / "data")
    save(tmp_path / "data/B/1.png", noise(80, 96, 3))
    trained(train(), tmp_path)


def test_pictures_of_a_pair_in_two_shapes_are_named_with_both_sizes(train, tmp_path):
    pairs(tmp_path / "data")
    save(tmp_path / "data/B/1.png", noise(48, 40, 3))
    refused(train(), "A/1.png is 48 x 40 pixels", "B/1.png is 40 x 48", "Crop one of them")


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("1.jpg", lambda _: b"", "is empty; give a PNG, JPEG, WebP, TIFF or BMP file"),
        ("1.jpg", lambda content: content[: len(content) // 2], "is damaged"),
        ("1.png", lambda _: b"Dear Sir or Madam", "begins with b'Dear Sir', which is no picture"),
    ],
    ids=["empty", "truncated", "text"],
)
@pytest.mark.parametrize("layout", ["plain", "pairs"])
def test_a_file_that_is_no_picture_is_named(train, tmp_path, layout, name, spoil, words):
    if layout == "pairs":
        pairs(tmp_path / "data", ("0.png", name, "2.png"))
    path = save(tmp_path / "data" / ("A" if layout == "pairs" else "") / name)
    save(path.with_name("0.png"))
    path.write_bytes(spoil(path.read_bytes()))
    refused(train(), str(path), words)


def test_a_bomb_is_refused_before_it_goes_off(train, tmp_path):
    bomb(tmp_path / "data/bomb.png")
    save(tmp_path / "data/a.png")
    refused(train(), "bomb.png has more than the 100,000,000 pixels that a picture may have; make it smaller.")


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("1.tif", noise(40, 48)),
        ("1.tif", noise(40, 48, high=65536)),
        ("1.png", noise(40, 48, high=65536)),
        ("1.jpg", Image.fromarray(noise(40, 48, 3)).convert("CMYK")),
        ("1.png", noise(40, 48, 4)),
        ("1.png", Image.fromarray(noise(40, 48)).convert("P")),
    ],
    ids=["grey", "16 bits", "16 bits png", "cmyk", "alpha", "palette"],
)
@pytest.mark.parametrize("layout", ["plain", "pairs"])
def test_every_mode_trains(train, tmp_path, layout, name, image):
    if layout == "pairs":
        pairs(tmp_path / "data", ("0.png", name, "2.png"))
    path = save(tmp_path / "data" / ("B" if layout == "pairs" else "") / name, image)
    save(path.with_name("0.png"))
    trained(train(), tmp_path)


def test_a_picture_that_lies_on_its_side_trains_upright(train, tmp_path):
    pairs(tmp_path / "data", ("0.jpg", "1.jpg"))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    upright = np.linspace(0, 255, 48)[:, None, None].repeat(40, axis=1).repeat(3, axis=2).astype(np.uint8)
    for index in range(2):
        save(tmp_path / f"data/A/{index}.jpg", np.rot90(upright), exif=exif)
        save(tmp_path / f"data/B/{index}.jpg", upright)
    trained(train(), tmp_path)
    example = paired.Config(root=tmp_path / "data", size=32).build(seed=0).held_out.example(0, None)
    assert (example["source"] - example["target"]).abs().max() < 0.05
    assert torch.equal(example["source"].mean((0, 2)).sort().values, example["source"].mean((0, 2)))


def test_strange_names_train_and_are_escaped_in_the_report(train, tmp_path):
    names = ["two words.png", 'it\'s "so".png', "<script>alert(1)<.png", "تصویر.png", "[red]a[.png", "&amp;.png"]
    pairs(tmp_path / "data/train", names)
    pairs(tmp_path / "data/val", names)
    page = trained(train(), tmp_path)
    assert "<script>alert" not in page
    assert [name for name in names if html.escape(name) not in page] == []


# Runs


def test_a_run_folder_below_a_file_is_a_sentence(train, tmp_path):
    pairs(tmp_path / "data")
    refused(
        train("--out", tmp_path / "data/A/0.png/run"), "cannot be written (Not a directory)", "--out another folder"
    )


def test_a_run_of_another_configuration_is_left_as_it_is(arzhang, tiny, tiny_run):
    before = {path: path.read_bytes() for path in tiny_run.rglob("*") if path.is_file()}
    flags = ["--data.count", 8, "--data.held-out", 2, "--out", tiny_run]
    refused(
        arzhang("train", "demo", *tiny, *flags, "--model.l1", 50),
        f"{tiny_run} holds a run of another configuration: its model.l1 is 100.0, not 50.0",
        f"--init {tiny_run}",
        status=2,
    )
    assert {path: path.read_bytes() for path in tiny_run.rglob("*") if path.is_file()} == before


def test_what_was_learnt_is_kept_when_a_picture_breaks_later(train, tmp_path):
    for index in range(4):
        save(tmp_path / f"data/{index}.png", noise(40, 48, 3))
    trained(train(), tmp_path)
    (tmp_path / "data/2.png").write_bytes(b"")
    refused(train("--steps", 9), "2.png is empty")
    assert json.loads((tmp_path / "run/checkpoints/00000002/state.json").read_text())["step"] == 2


def test_no_dataset_is_touched_by_training_on_it(train, tmp_path):
    pairs(tmp_path / "data")
    before = {path: path.read_bytes() for path in images.find(tmp_path / "data")}
    trained(train(), tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()} == before
