"""Pictures on disk as examples: pairs, and sources derived from plain pictures."""

import shutil
import signal
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from arzhang import images
from arzhang.data import _cache, derived, paired
from arzhang.loading import batches
from arzhang.rng import generator
from arzhang.types import ArzhangError, MisuseError

SHARED = Path(__file__).parents[1] / "../shared/data"
KINDS = ["edges", "grey", "low-resolution", "masked", "noisy"]


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(*, height=24, width=24, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def coordinates(*, height=24, width=24, **_):
    """Red says the row, green the column, blue nothing."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def eight_bits(image):
    return ((image + 1) * 127.5).round().to(torch.uint8)


def two_folders(root, *, count=4, a=noise, b=noise, **options):
    for index in range(count):
        save(root / "A" / f"{index}.png", a(seed=index, **options))
        save(root / "B" / f"{index}.png", b(seed=100 + index, **options))


def pairs(root, **options):
    return paired.Config(root=root, **{"size": 16, **options}).build(seed=0)


def pictures(root, **options):
    return derived.Config(root=root, **{"size": 16, **options}).build(seed=0)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(params=["paired", *KINDS])
def build(request, tmp_path):
    """A way to open one small data set, again and again, with options."""
    if request.param == "paired":
        two_folders(tmp_path, count=10, height=20, width=30)
        return lambda **options: pairs(tmp_path, **options)
    for index in range(10):
        save(tmp_path / f"{index}.png", noise(height=20, width=30, seed=index))
    return lambda **options: pictures(tmp_path, source=request.param, **options)


# What holds for every data set


def test_examples_are_squares_in_range(build):
    splits = build()
    assert (len(splits.train), len(splits.held_out)) == (9, 1)
    for dataset, draw in ((splits.train, generator(0)), (splits.train, None), (splits.held_out, None)):
        example = dataset.example(0, draw)
        assert list(example) == ["source", "target"]
        for image in example.values():
            assert image.shape == (3, 16, 16)
            assert image.dtype == torch.float32
            assert -1 <= image.min() < image.max() <= 1


def test_order_does_not_matter(build):
    forwards, backwards = build().train, build().train
    first = [forwards.example(index, generator(0, index)) for index in range(9)]
    second = [backwards.example(index, generator(0, index)) for index in reversed(range(9))]
    assert all(equal(one, other) for one, other in zip(first, reversed(second), strict=True))


def test_the_generator_alone_decides(build):
    train = build().train
    assert equal(train.example(1, generator(5)), train.example(1, generator(5)))
    assert len({train.example(1, generator(draw))["target"].sum().item() for draw in range(8)}) > 4


def test_the_view_without_a_generator_is_fixed(build):
    one, other = build(), build()
    for first, second in ((one.train, other.train), (one.held_out, other.held_out)):
        assert equal(first.example(0, None), second.example(0, None))


def test_the_cache_changes_no_bit(build, monkeypatch, tmp_path):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path / "cache"))
    fresh, memory, disk = (build(cache=cache).train for cache in (0, 10**9, 1))
    for _ in ("filled", "read"):
        for index in range(9):
            expected = fresh.example(index, generator(index))
            assert equal(memory.example(index, generator(index)), expected)
            assert equal(disk.example(index, generator(index)), expected)
    assert list((tmp_path / "cache").iterdir()) == []


def test_workers_share_what_they_decoded(build):
    train = build().train
    list(batches(train, size=1, seed=0, steps=range(9), workers=2))
    expected = [build(cache=0).train.example(index, None) for index in range(9)]
    forbid_decoding(train)
    assert all(equal(train.example(index, None), expected[index]) for index in range(9))


def test_a_cache_for_which_the_disk_has_no_room_is_none(build, largest_file, tmp_path, monkeypatch):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path / "cache"))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with largest_file(100):
        train = build(cache=1).train
    assert equal(train.example(0, None), build(cache=0).train.example(0, None))
    forbid_decoding(train)
    with pytest.raises(AssertionError):
        train.example(0, None)


def test_a_strip_that_would_become_too_large_is_refused(tmp_path):
    save(tmp_path / "strip.png", noise(height=2, width=30_000))
    save(tmp_path / "other.png", noise())
    with pytest.raises(ArzhangError, match=r"strip\.png is 30000 x 2 pixels .* longer than .* leave it out"):
        pictures(tmp_path, size=256)


@pytest.mark.parametrize("cache", [10**9, 1, 0])
def test_a_data_set_can_be_sent_to_a_process_that_is_not_forked(build, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path / "cache"))
    train = build(cache=cache).train
    sent = ForkingPickler.loads(ForkingPickler.dumps(train))
    assert equal(sent.example(3, None), train.example(3, None))


def forbid_decoding(dataset):
    def refuse(_):
        raise AssertionError("decoded once more")

    dataset._cache._decode = refuse


def test_the_name_is_the_file(build):
    splits = build()
    found = [dataset.name(index) for dataset in (splits.train, splits.held_out) for index in range(len(dataset))]
    assert sorted(found) == [f"{index}.png" for index in range(10)]


def test_a_crop_larger_than_the_picture_is_refused(build):
    with pytest.raises(MisuseError, match="crop of 16 pixels does not fit into a shorter side of 15"):
        build(load=15)


def test_small_pictures_are_enlarged(build):
    assert build(size=64).train.example(0, None)["target"].shape == (3, 64, 64)


# Pairs


def test_the_direction_exchanges_source_and_target(tmp_path):
    two_folders(tmp_path)
    forth, back = (pairs(tmp_path, direction=direction).held_out.example(0, None) for direction in ("a-to-b", "b-to-a"))
    assert torch.equal(forth["source"], back["target"])
    assert torch.equal(forth["target"], back["source"])


@pytest.mark.parametrize("direction", ["a-to-b", "b-to-a"])
def test_the_left_half_is_a(tmp_path, direction):
    for index in range(2):
        save(
            tmp_path / f"{index}.png",
            np.hstack([noise(seed=0, height=16, width=16), noise(seed=1, height=16, width=16)]),
        )
    example = pairs(tmp_path, direction=direction).held_out.example(0, None)
    a, b = (
        eight_bits(example[name]).permute(1, 2, 0).numpy()
        for name in ("source", "target")[:: 1 if direction[0] == "a" else -1]
    )
    assert (a == noise(seed=0, height=16, width=16)).all()
    assert (b == noise(seed=1, height=16, width=16)).all()


def test_both_of_a_pair_are_cut_and_mirrored_alike(tmp_path):
    for index in range(2):
        save(tmp_path / f"train/A/{index}.png", coordinates())
        save(tmp_path / f"train/B/{index}.png", coordinates())
        save(tmp_path / f"val/A/{index}.png", coordinates())
        save(tmp_path / f"val/B/{index}.png", coordinates())
    train = pairs(tmp_path, load=24).train
    seen = set()
    for draw in range(200):
        example = train.example(0, generator(draw))
        assert torch.equal(example["source"], example["target"])
        rows, columns, _ = eight_bits(example["source"]).int()
        top, mirrored = int(rows[0, 0]), bool(columns[0, 0] > columns[0, -1])
        left = int(columns.min())
        straight = columns.flip(-1) if mirrored else columns
        assert (rows == torch.arange(top, top + 16)[:, None]).all()
        assert (straight == torch.arange(left, left + 16)).all()
        seen.add((top, left, mirrored))
    tops, lefts, mirrored = map(set, zip(*seen, strict=True))
    assert tops == lefts == set(range(9))
    assert mirrored == {False, True}


def test_without_flip_nothing_is_mirrored(tmp_path):
    two_folders(tmp_path, a=lambda **_: coordinates(), b=lambda **_: coordinates())
    train = pairs(tmp_path, load=24, flip=False).train
    for draw in range(30):
        _, columns, _ = eight_bits(train.example(0, generator(draw))["source"]).int()
        assert columns[0, 0] < columns[0, -1]


def test_held_out_is_the_centre_of_the_picture_resized_to_the_size(tmp_path):
    two_folders(tmp_path, height=32, width=48, a=coordinates)
    rows, columns, _ = eight_bits(pairs(tmp_path, size=32).held_out.example(0, None)["source"]).int()
    assert rows[:, 0].tolist() == [*range(32)]
    assert columns[0].tolist() == [*range(8, 40)]


def test_training_pictures_are_loaded_in_the_published_proportion(tmp_path):
    for index in range(4):
        save(tmp_path / "A" / f"{index}.png", coordinates(height=143, width=200))
        save(tmp_path / "B" / f"{index}.png", coordinates(height=143, width=200))
    rows, columns, _ = eight_bits(pairs(tmp_path, size=128).train.example(0, None)["source"]).int()
    assert rows[:, 0].tolist() == [*range(7, 135)]
    assert columns[0].tolist() == [*range(36, 164)]


def test_a_partner_of_another_resolution_is_brought_to_the_size_of_the_first(tmp_path):
    two_folders(tmp_path, height=32, width=48, b=lambda **_: coordinates(height=16, width=24))
    example = pairs(tmp_path).train.example(0, None)
    assert example["source"].shape == example["target"].shape


def test_a_partner_of_another_shape_is_refused_with_both_sizes(tmp_path):
    two_folders(tmp_path, a=lambda **_: noise(width=40), b=lambda **_: noise(width=44))
    with pytest.raises(ArzhangError, match=r"A/\d\.png is 40 x 24 .*B/\d\.png is 44 x 24"):
        pairs(tmp_path)


@pytest.mark.parametrize(("height", "width"), [(8, 17), (8, 8), (16, 8)])
def test_pictures_that_cannot_be_two_are_refused(tmp_path, height, width):
    for index in range(3):
        save(tmp_path / f"{index}.png", noise(height=height, width=width))
    with pytest.raises(ArzhangError, match=rf"\.png is {width} x {height} pixels, which cannot be two"):
        pairs(tmp_path)


def test_sixteen_bits_stay_sixteen_bits(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16), np.uint16)
    for index in range(4):
        save(tmp_path / "A" / f"{index}.png", deep)
        save(tmp_path / "B" / f"{index}.png", noise(height=16, width=16, channels=3))
    for cache in (0, 10**6):
        held_out = pairs(tmp_path, source_channels=1, cache=cache).held_out
        for _ in ("decoded", "kept"):
            levels = ((held_out.example(0, None)["source"].double() + 1) * 32767.5).round()
            assert (levels[0].numpy() == deep).all()
    forbid_decoding(held_out)
    assert held_out.example(0, None)["source"].shape == (1, 16, 16)


def test_depths_may_mix(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16), np.uint16)
    for index, shallow in enumerate([True, False, True, False]):
        save(tmp_path / f"train/A/{index}.png", noise(height=16, width=16) if shallow else deep)
        save(tmp_path / f"train/B/{index}.png", noise(height=16, width=16))
    train, fresh = (pairs(tmp_path, load=16, cache=cache).train for cache in (10**6, 0))
    for _ in ("decoded", "kept"):
        assert all(equal(train.example(index, None), fresh.example(index, None)) for index in range(len(train)))


def test_channels_are_as_asked(tmp_path):
    two_folders(
        tmp_path,
        a=lambda **_: noise(channels=4, height=16, width=16),
        b=lambda **_: noise(height=16, width=16)[..., 0],
    )
    example = pairs(tmp_path, source_channels=4, target_channels=3).held_out.example(0, None)
    assert (eight_bits(example["source"]).permute(1, 2, 0).numpy() == noise(channels=4, height=16, width=16)).all()
    assert torch.equal(example["target"][0], example["target"][2])
    assert pairs(tmp_path, target_channels=1).held_out.example(0, None)["target"].shape == (1, 16, 16)
    example = pairs(tmp_path, direction="b-to-a", source_channels=1, target_channels=4).held_out.example(0, None)
    assert [len(image) for image in example.values()] == [1, 4]


def test_folders_of_other_names_are_named(tmp_path):
    two_folders(tmp_path)
    (tmp_path / "A").rename(tmp_path / "depth maps")
    (tmp_path / "B").rename(tmp_path / "renders")
    assert len(pairs(tmp_path, a="renders", b="depth maps").train) == 3


def test_a_picture_torn_in_the_middle_is_named(tmp_path):
    two_folders(tmp_path)
    torn = tmp_path / "A" / "2.png"
    torn.write_bytes(torn.read_bytes()[:-300])
    with pytest.raises(ArzhangError, match=r"A/2\.png"):
        [pairs(tmp_path).train.example(index, None) for index in range(3)]


def test_strange_names_are_kept(tmp_path):
    strange = {"two words.png", 'o\'clock "quoted".png', "<script>.png", "باغ ارژنگ.png"}
    for name in strange:
        save(tmp_path / "A" / name, noise())
        save(tmp_path / "B" / name, noise())
    splits = pairs(tmp_path)
    found = {dataset.name(index) for dataset in (splits.train, splits.held_out) for index in range(len(dataset))}
    assert found == strange


@pytest.mark.skipif(not (SHARED / "facades").is_dir(), reason="the shared data is not on this machine")
def test_facades_go_from_labels_to_photos():
    splits = paired.Config(root=SHARED / "facades", direction="b-to-a", size=64).build(seed=0)
    assert (len(splits.train), len(splits.held_out)) == (400, 100)
    assert splits.train.name(1) == "2.jpg"

    def colours(name):
        image = splits.held_out.example(0, None)[name]
        return (image[2] - image[0]).mean()

    assert colours("source") > colours("target") + 0.3  # label maps are blue


# The cache


def cache_of(pictures, *, budget):
    return _cache.Cache(
        lambda index: pictures[index], [[tuple(p.shape) for p in pair] for pair in pictures], budget=budget
    )


def test_pictures_of_odd_sizes_and_two_depths_lie_side_by_side():
    draw = generator(0)
    pictures = [
        [
            torch.randint(256, (3, 5, size), generator=draw, dtype=torch.uint8),
            torch.randint(9, (1, size, 3)).to(torch.uint16),
        ]
        for size in (1, 3, 5)
    ]
    cache = cache_of(pictures, budget=10**6)
    for _ in ("filled", "read"):
        for index, expected in enumerate(pictures):
            assert all(torch.equal(one.int(), other.int()) for one, other in zip(cache[index], expected, strict=True))


def test_a_full_disk_means_no_cache(tmp_path, monkeypatch):
    pictures = [[torch.zeros(1, 1 << 20, 1 << 20, dtype=torch.uint8, device="meta")]]
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path))
    assert shutil.disk_usage(tmp_path).free < 1 << 40
    assert cache_of(pictures, budget=1)[0] is pictures[0]


def test_a_folder_that_cannot_be_made_means_no_cache(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path / "file"))
    pictures = [[torch.zeros(1, 2, 2, dtype=torch.uint8)]]
    assert cache_of(pictures, budget=1)[0] is pictures[0]


# Derived sources


def save_pictures(root, *, count=3, **options):
    for index in range(count):
        save(root / f"{index}.png", noise(seed=index, **options))


def test_grey_is_luma(tmp_path):
    save_pictures(tmp_path, height=16, width=16)
    example = pictures(tmp_path, source="grey").held_out.example(0, None)
    path = tmp_path / pictures(tmp_path).held_out.name(0)
    expected = images.to_tensor(images.read(path), channels=1).expand(3, -1, -1)
    torch.testing.assert_close(example["source"], expected)


def test_low_resolution_is_what_a_small_picture_shows(tmp_path):
    for index in range(2):
        save(tmp_path / f"{index}.png", np.kron(noise(height=4, width=4), np.ones((4, 4, 1), np.uint8)))
    example = pictures(tmp_path, source="low-resolution", factor=4).held_out.example(0, None)
    small = images.resize(example["target"], height=4, width=4)
    torch.testing.assert_close(example["source"], images.resize(small, height=16, width=16))
    assert (example["source"] - example["target"]).abs().mean() > 0.01


def test_a_mask_hides_its_share_and_nothing_else(tmp_path):
    save_pictures(tmp_path, height=64, width=64)
    train = pictures(tmp_path, source="masked", size=64, hidden=0.4).train
    masks = []
    for draw in range(100):
        example = train.example(0, generator(draw))
        mask = (example["source"] == 0).all(0)
        assert torch.equal(example["source"][:, ~mask], example["target"][:, ~mask])
        assert 0.4 <= mask.float().mean() < 0.65
        masks.append(mask)
    assert torch.stack(masks).any(0).all()


def test_noise_has_the_deviation_it_is_given(tmp_path):
    for index in range(2):
        save(tmp_path / f"{index}.png", np.full((128, 128, 3), 128, np.uint8))
    example = pictures(tmp_path, source="noisy", size=128, noise=0.1).held_out.example(0, None)
    error = (example["source"] - example["target"]).flatten()
    count = len(error)
    assert abs(error.std() - 0.1) < 5 * 0.1 / (2 * count) ** 0.5
    assert abs(error.mean()) < 5 * 0.1 / count**0.5


def test_fixed_noise_differs_between_pictures_and_seeds(tmp_path):
    for index in range(4):
        save(tmp_path / f"train/{index}.png", np.full((16, 16, 3), 128, np.uint8))
    save(tmp_path / "val/0.png", np.full((16, 16, 3), 128, np.uint8))
    config = derived.Config(root=tmp_path, source="noisy", size=16, load=16)
    one, other = config.build(seed=0).train, config.build(seed=1).train
    assert not torch.equal(one.example(0, None)["source"], one.example(1, None)["source"])
    assert not torch.equal(one.example(0, None)["source"], other.example(0, None)["source"])


def test_a_border_is_drawn_as_a_dark_line_on_white(tmp_path):
    halves = np.full((64, 64, 3), 230, np.uint8)
    halves[:, 32:] = 30
    for index in range(2):
        save(tmp_path / f"{index}.png", halves)
    source = pictures(tmp_path, source="edges", size=64).held_out.example(0, None)["source"]
    assert source[:, :, 30:36].amin(2).max() < -0.9
    assert source[:, :, :24].min() > 0.99
    assert source[:, :, 40:].min() > 0.99


def test_a_thicker_line_covers_more(tmp_path):
    halves = np.full((64, 64, 3), 230, np.uint8)
    halves[:, 32:] = 30
    for index in range(2):
        save(tmp_path / f"{index}.png", halves)
    thin, thick = (
        pictures(tmp_path, size=64, line=line).held_out.example(0, None)["source"].mean() for line in (1.0, 3.0)
    )
    assert thick < thin


def test_edges_move_with_the_flip(tmp_path):
    save_pictures(tmp_path, height=32, width=32)
    train = pictures(tmp_path, size=32, load=32).train
    plain = train.example(0, None)
    mirrored = next(e for e in (train.example(0, generator(i)) for i in range(20)) if not equal(e, plain))
    assert torch.equal(mirrored["target"], plain["target"].flip(-1))
    torch.testing.assert_close(mirrored["source"], plain["source"].flip(-1), rtol=0, atol=1e-4)


def test_plain_folders_may_be_split_and_deep(tmp_path):
    for name in ("train/x/1.png", "train/y/1.png", "val/z/1.png", "test/2.png"):
        save(tmp_path / name, noise())
    splits = pictures(tmp_path)
    assert [splits.train.name(index) for index in range(2)] == ["x/1.png", "y/1.png"]
    assert [splits.held_out.name(0), len(splits.held_out)] == ["z/1.png", 1]


def test_two_folders_are_not_plain_pictures(tmp_path):
    two_folders(tmp_path)
    with pytest.raises(MisuseError, match="--data paired"):
        pictures(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "low-resolution", "factor": 3}, "16 pixels do not divide by a factor of 3"),
        ({"source": "low-resolution", "factor": 0}, "factor of 0"),
        ({"hidden": 1.0}, "hidden=1.0"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"line": 0.0}, "line=0.0"),
    ],
)
def test_an_option_out_of_range_is_refused(tmp_path, options, message):
    save_pictures(tmp_path)
    with pytest.raises(MisuseError, match=message):
        pictures(tmp_path, **options)
