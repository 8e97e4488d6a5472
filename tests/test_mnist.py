"""MNIST from IDX files that are whole, compressed, truncated, swapped or others; scikit-learn's digits beside it."""

import gzip
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from arzhang import rng
from arzhang.data import digits, mnist
from arzhang.data._warp import warped
from arzhang.downloads import sha256
from arzhang.types import ArzhangError, MisuseError

SHARED = Path(os.environ.get("ARZHANG_DATA", Path(__file__).parents[1] / "../shared/data"))
NAMES = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def idx(array, magic=None):
    header = np.array([magic or 0x0800 + array.ndim, *array.shape], ">u4")
    return header.tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """Six digits to learn from and three to be judged on."""
    for split, count in (("train", 6), ("t10k", 3)):
        draw = np.random.default_rng(count)
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(idx(draw.integers(0, 256, (count, 28, 28))))
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(count)))
    return tmp_path


def build(folder, **values):
    return mnist.Config(root=folder, **values).build(seed=0)


def test_digits_come_with_their_labels(folder):
    train = build(folder).train
    drawn = np.random.default_rng(6).integers(0, 256, (6, 28, 28))
    example = train.example(4, None)
    assert example["image"].shape == (1, 28, 28)
    np.testing.assert_allclose(example["image"][0], drawn[4] / 127.5 - 1, atol=1e-6)
    assert example["label"].item() == 4
    assert [train.name(0), build(folder).held_out.name(2)] == ["train 0", "t10k 2"]
    assert build(folder, size=40).train.example(4, None)["image"].shape == (1, 40, 40)


def test_compressed_and_plain_files_are_the_same(folder):
    plain = build(folder).train
    for name in NAMES[:2]:
        path = folder / name
        (folder / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert torch.equal(build(folder).train.pictures, plain.pictures)


def test_a_warp_moves_a_blobs_covariance_as_its_matrix_says_and_its_centre_not_at_all():
    place = torch.arange(101.0) - 50
    offsets = torch.stack(torch.meshgrid(place, place, indexing="xy"))
    blob = torch.diag(torch.tensor([90.0, 30.0]))
    density = torch.exp(-torch.einsum("ihw,ij,jhw->hw", offsets, blob.inverse(), offsets) / 2)
    many = 6
    made = warped(2 * density.repeat(many, 1, 1, 1) - 1, [rng.generator(seed) for seed in range(many)], warp=0.4)
    for seed, picture in enumerate(made):
        turn, shear, width, height = (0.4 * (2 * torch.rand(4, generator=rng.generator(seed)) - 1)).tolist()
        turned = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        back = turned @ torch.tensor([[math.exp(width / 2), shear], [0.0, math.exp(height / 2)]])
        share = (picture[0] + 1) / (picture[0] + 1).sum()
        centre = torch.einsum("ihw,hw->i", offsets, share)
        covariance = torch.einsum("ihw,jhw,hw->ij", offsets, offsets, share)
        torch.testing.assert_close(centre, torch.zeros(2), rtol=0, atol=1e-3)
        torch.testing.assert_close(covariance, back.inverse() @ blob @ back.inverse().T, rtol=0.002, atol=0.1)


@pytest.mark.parametrize("data", [mnist, digits])
def test_digits_are_warped_where_they_are_learnt_from_and_nowhere_else(folder, data):
    config = mnist.Config(root=folder) if data is mnist else digits.Config()
    plain, bent = (replace(config, warp=warp).build(seed=0) for warp in (0.0, 0.3))
    assert torch.equal(plain.held_out.example(1, None)["image"], bent.held_out.example(1, None)["image"])
    assert torch.equal(plain.train.example(1, None)["image"], bent.train.example(1, None)["image"])
    one = bent.train.example(1, rng.generator(7))["image"]
    assert (one - plain.train.example(1, rng.generator(7))["image"]).abs().mean() > 0.02
    assert torch.equal(one, bent.train.examples([(0, rng.generator(6)), (1, rng.generator(7))])["image"][1])
    assert -1 <= one.min() < one.max() <= 1
    drawn = replace(bent.train, config=replace(bent.train.config, binarise="dynamic")).example(1, rng.generator(7))
    assert set(drawn["image"].unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("warp", [-0.1, 1.5, math.nan])
@pytest.mark.parametrize("data", [mnist, digits])
def test_a_warp_that_is_none_is_refused(folder, data, warp):
    config = mnist.Config(root=folder, warp=warp) if data is mnist else digits.Config(warp=warp)
    with pytest.raises(MisuseError, match=f"The warp is {warp}; give a number from 0"):
        config.build(seed=0)


@pytest.mark.parametrize("data", [mnist, digits])
def test_digits_that_are_drawn_once_are_not_warped(folder, data):
    values = {"warp": 0.1, "binarise": "static"}
    with pytest.raises(MisuseError, match=r"drawn black and white once .* give --data.warp 0"):
        (mnist.Config(root=folder, **values) if data is mnist else digits.Config(**values)).build(seed=0)


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="the shared data is not on this machine")
def test_the_real_files_are_the_published_ones_and_hold_what_they_should():
    splits = build(SHARED / "mnist")
    assert (len(splits.train), len(splits.held_out)) == (60_000, 10_000)
    assert splits.train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert splits.train.pictures.double().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)
    for file in mnist.PUBLISHED.values():
        path = SHARED / "mnist" / file.name
        assert (sha256(path), path.stat().st_size) == (file.sha256, file.size)


def change(name, alter):
    def damage(folder):
        path = folder / name
        path.write_bytes(alter(path.read_bytes()))

    return damage


def swap(one, other):
    def damage(folder):
        contents = (folder / one).read_bytes(), (folder / other).read_bytes()
        (folder / other).write_bytes(contents[0])
        (folder / one).write_bytes(contents[1])

    return damage


def swap_splits(folder):
    for train, test in zip(NAMES[:2], NAMES[2:], strict=True):
        swap(train, test)(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            change(NAMES[0], lambda b: b[:-1]),
            r"train-images\S+ announces 6 x 28 x 28 bytes and 4,703 follow.* truncated",
        ),
        (change(NAMES[0], lambda b: b + b"x"), "announces 6 x 28 x 28 bytes and 4,705 follow"),
        (change(NAMES[0], lambda b: b[:10]), r"announces 6 x 0 x 0 bytes and 0 follow"),
        (change(NAMES[0], lambda _: idx(np.zeros((0, 28, 28)))), "announces 0 x 28 x 28 .* more than none"),
        (
            change(NAMES[1], lambda _: b""),
            r"train-labels\S+ begins with nothing \(no IDX file of bytes\), where 00 00 08 01",
        ),
        (
            change(NAMES[2], lambda b: b"\x89PNG" + b),
            r"t10k-images\S+ begins with 89 50 4e 47 \(no IDX file of bytes\)",
        ),
        (change(NAMES[3], lambda b: gzip.compress(b)[:-12]), r"t10k-labels\S+ cannot be read .*truncated"),
        (change(NAMES[3], lambda b: gzip.compress(b)[:20] + b"xxxx"), r"t10k-labels\S+ cannot be read"),
        (change(NAMES[1], lambda _: idx(np.arange(5))), r"holds 6 pictures and \S+ 5 labels"),
        (change(NAMES[0], lambda _: idx(np.zeros((6, 32, 32)))), "holds pictures of 32 x 32 pixels, where 28 x 28"),
        (
            swap(NAMES[0], NAMES[1]),
            r"train-images\S+ begins with 00 00 08 01 \(labels\), where 00 00 08 03 \(pictures\)",
        ),
        (swap(NAMES[0], NAMES[2]), r"holds 3 pictures and \S+ 6 labels, .* belong together"),
        (swap_splits, "hold 3 digits and the test files 6, .* their names have been swapped"),
        (
            lambda folder: (folder / NAMES[2]).unlink(),
            "holds neither t10k-images-idx3-ubyte nor t10k-images-idx3-ubyte.gz",
        ),
    ],
)
def test_files_that_are_not_what_they_should_be_are_named(folder, damage, said):
    damage(folder)
    with pytest.raises(ArzhangError, match=said):
        build(folder)


def test_without_a_folder_the_published_files_are_fetched(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("ARZHANG_CACHE", str(cache))
    files = {}
    for name in NAMES:
        path = cache / f"{name}.gz"
        path.write_bytes(gzip.compress((folder / name).read_bytes()))
        files[name] = replace(mnist.PUBLISHED[name], sha256=sha256(path), urls=("http://127.0.0.1:9/",))
    monkeypatch.setattr(mnist, "PUBLISHED", files)
    assert len(build(None).train) == 6
    (cache / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ArzhangError, match=r"t10k-labels-idx1-ubyte.gz \(4,542 bytes, .* with --data.root DIR"):
        build(None)


def test_scikit_learns_digits_are_all_there_and_a_fifth_is_held_out():
    splits = digits.Config(size=8).build(seed=0)
    assert (len(splits.train), len(splits.held_out)) == (1438, 359)
    both = [*splits.train.numbers.tolist(), *splits.held_out.numbers.tolist()]
    assert sorted(both) == list(range(1797))
    bundled = load_digits()
    for index in (0, 7):
        number = int(splits.held_out.name(index).removeprefix("digit "))
        example = splits.held_out.example(index, None)
        assert example["label"] == bundled.target[number]
        np.testing.assert_allclose(example["image"][0], bundled.images[number] / 8 - 1, atol=1e-6)
    again, other = (digits.Config().build(seed=seed).held_out.numbers for seed in (0, 1))
    assert torch.equal(again, splits.held_out.numbers)
    assert not torch.equal(other, again)


@pytest.mark.parametrize("kind", [mnist.Config, digits.Config])
def test_digits_of_no_size_are_refused(kind):
    with pytest.raises(MisuseError, match="The size is 0, and at least 1 pixel is needed"):
        kind(size=0).build(seed=0)
