"""What lies in a folder, and how it is divided."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arzhang import layout
from arzhang.types import ArzhangError, MisuseError

SHARED = Path(__file__).parents[1] / "../shared/data"
STRANGE = ["two words", 'o\'clock "quoted"', "<script>alert(1)<", "باغ ارژنگ", "[red]bold", "dots.in.it"]


def save(path, *, height=8, width=8, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def names(items):
    return [item.name for item in items]


@pytest.mark.parametrize(
    ("train_a", "train_b", "val_a", "val_b"),
    [
        ("train/A", "train/B", "val/A", "val/B"),
        ("Training/a", "Training/b", "VALID/a", "VALID/b"),
        ("train/source", "train/target", "validation/source", "validation/target"),
        ("train/input", "train/output", "val/input", "val/output"),
        ("train/Input", "train/Target", "val/Input", "val/Target"),
        ("train/labels", "train/photos", "val/labels", "val/photos"),
        ("train/label", "train/photo", "val/label", "val/photo"),
        ("A/train", "B/train", "A/val", "B/val"),
        ("trainA", "trainB", "valA", "valB"),
        ("train_a", "train_b", "val_a", "val_b"),
    ],
)
def test_two_folders_are_matched_in_every_arrangement(tmp_path, train_a, train_b, val_a, val_b):
    for folder, stems in ((train_a, "12"), (train_b, "12"), (val_a, "3"), (val_b, "3")):
        for stem in stems:
            save(tmp_path / folder / "deep" / f"{stem}.{'png' if folder.lower().endswith('a') else 'bmp'}")
    found = layout.survey(tmp_path)
    assert found.kind == "two-folders"
    assert list(found.splits) == ["train", "val"]
    parts = layout.divide(found, seed=0)
    for items, stems, a, b in ((parts.train, "12", train_a, train_b), (parts.held_out, "3", val_a, val_b)):
        assert [Path(item.name).with_suffix("").as_posix() for item in items] == [f"deep/{stem}" for stem in stems]
        for item in items:
            assert [path.parent for path in item.files] == [tmp_path / a / "deep", tmp_path / b / "deep"]
            assert item.files[0].stem == item.files[1].stem
    assert layout.dataset_of(tmp_path) == "paired"


def test_two_folders_without_splits_keep_a_tenth_back(tmp_path):
    for index in range(20):
        save(tmp_path / "A" / f"{index}.png")
        save(tmp_path / "B" / f"{index}.png")
    parts = layout.divide(layout.survey(tmp_path), seed=0)
    assert (len(parts.train), len(parts.held_out)) == (18, 2)
    assert set(names(parts.train)) | set(names(parts.held_out)) == {f"{index}.png" for index in range(20)}


def test_folders_can_be_named_by_the_user(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "depth maps" / "1.png")
        save(tmp_path / split / "renders" / "1.png")
    found = layout.survey(tmp_path, a="depth maps", b="renders")
    assert [path.parent.name for path in found.splits["test"].items[0].files] == ["depth maps", "renders"]


def test_named_folders_that_are_absent_are_reported_with_those_that_are_there(tmp_path):
    save(tmp_path / "depth" / "1.png")
    with pytest.raises(MisuseError, match=r"'depht' and 'renders'.*: depth"):
        layout.survey(tmp_path, a="depht", b="renders")


def test_one_named_folder_is_not_enough(tmp_path):
    with pytest.raises(MisuseError, match="name both"):
        layout.survey(tmp_path, a="depth")


@pytest.mark.parametrize("folders", [("",), ("train", "val"), ("train", "val", "test")])
def test_side_by_side_is_known_by_exact_proportion(tmp_path, folders):
    for folder in folders:
        for index in range(3):
            save(tmp_path / folder / f"{index}.png", width=16)
    assert layout.survey(tmp_path).kind == "side-by-side"
    assert layout.dataset_of(tmp_path) == "paired"
    save(tmp_path / folders[0] / "other.png", width=17)
    assert layout.survey(tmp_path).kind == "plain"
    assert layout.dataset_of(tmp_path) == "derived"


def test_a_broken_header_does_not_hide_the_proportion(tmp_path):
    save(tmp_path / "1.png", width=16)
    (tmp_path / "0.png").write_bytes(b"no picture")
    assert layout.survey(tmp_path).kind == "side-by-side"


def test_a_folder_of_nothing_but_broken_pictures_is_plain(tmp_path):
    (tmp_path / "0.png").write_bytes(b"no picture")
    assert layout.survey(tmp_path).kind == "plain"


@pytest.mark.parametrize(
    ("splits", "train", "held_out"),
    [
        (("train", "val", "test"), "train", "val"),
        (("train", "val"), "train", "val"),
        (("train", "test"), "train", "test"),
    ],
)
def test_held_out_is_val_and_else_test(tmp_path, splits, train, held_out):
    for split in splits:
        save(tmp_path / split / f"{split}.png")
    parts = layout.divide(layout.survey(tmp_path), seed=0)
    assert names(parts.train) == [f"{train}.png"]
    assert names(parts.held_out) == [f"{held_out}.png"]


def test_the_drawn_split_is_stable_disjoint_and_moves_with_the_seed(tmp_path):
    for index in range(40):
        save(tmp_path / f"{index}.png")
    first, again, other = (layout.divide(layout.survey(tmp_path), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert names(first.held_out) != names(other.held_out)
    assert not set(names(first.train)) & set(names(first.held_out))
    assert len(first.held_out) == 4
    save(tmp_path / "new.png")
    grown = layout.divide(layout.survey(tmp_path), seed=0)
    assert len(set(names(grown.held_out)) & set(names(first.held_out))) >= 3


def test_the_drawn_split_is_never_larger_than_a_hundred(tmp_path):
    items = tuple(layout.Item(name=str(index), files=(tmp_path,)) for index in range(2000))
    found = layout.Layout(root=tmp_path, kind="plain", splits={"all": layout.Split(items=items)})
    assert len(layout.divide(found, seed=0).held_out) == 100


def test_one_example_cannot_be_divided(tmp_path):
    save(tmp_path / "1.png")
    with pytest.raises(ArzhangError, match="at least two"):
        layout.divide(layout.survey(tmp_path), seed=0)


def test_pictures_without_a_partner_are_counted_and_named(tmp_path):
    for index in range(6):
        save(tmp_path / "A" / f"{index}.png")
    for index in (0, 7):
        save(tmp_path / "B" / f"{index}.png")
    found = layout.survey(tmp_path)
    assert [path.name for path in found.splits["all"].lone_a] == [f"{index}.png" for index in (1, 2, 3, 4, 5)]
    assert [path.name for path in found.splits["all"].lone_b] == ["7.png"]
    with pytest.raises(
        ArzhangError,
        match=r"1 pair up.*5 in the first folder \(A/1\.png, A/2\.png, A/3\.png, \.\.\.\).*1 in .*\(B/7\.png\)",
    ):
        layout.divide(found, seed=0)


def test_names_that_differ_only_by_suffix_are_ambiguous(tmp_path):
    for name in ("A/1.png", "A/1.bmp", "B/1.png"):
        save(tmp_path / name)
    with pytest.raises(ArzhangError, match=r"1\.bmp and .*1\.png.*ambiguous"):
        layout.divide(layout.survey(tmp_path), seed=0)


def test_strange_names_pair_up(tmp_path):
    for name in STRANGE:
        save(tmp_path / "A" / f"{name}.png")
        save(tmp_path / "B" / f"{name}.bmp")
    parts = layout.divide(layout.survey(tmp_path), seed=0)
    assert sorted(names(parts.train + parts.held_out)) == sorted(f"{name}.png" for name in STRANGE)


def test_names_composed_differently_pair_up(tmp_path):
    save(tmp_path / "A" / "caf\u00e9.png")
    save(tmp_path / "B" / "cafe\u0301.png")
    assert len(layout.survey(tmp_path).splits["all"].items) == 1


def test_an_empty_folder_is_refused_with_the_suffixes_that_were_expected(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ArzhangError, match=r"holds no pictures.*\.png"):
        layout.survey(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ArzhangError, match="No such file"):
        layout.survey(tmp_path / "absent")


def test_a_file_is_no_folder(tmp_path):
    save(tmp_path / "1.png")
    with pytest.raises(ArzhangError, match="Not a directory"):
        layout.survey(tmp_path / "1.png")


@pytest.mark.parametrize("folders", [["test"], ["val/A", "val/B"], ["testA", "testB"]])
def test_a_folder_without_training_pictures_is_refused(tmp_path, folders):
    for folder in folders:
        save(tmp_path / folder / "1.png")
    with pytest.raises(ArzhangError, match="none for training"):
        layout.survey(tmp_path)


def test_a_split_without_its_two_folders_is_refused(tmp_path):
    for name in ("train/A/1.png", "train/B/1.png", "val/1.png"):
        save(tmp_path / name)
    with pytest.raises(ArzhangError, match="val lacks the two folders"):
        layout.survey(tmp_path)


def test_two_folders_that_are_split_differently_are_refused(tmp_path):
    for name in ("A/train/1.png", "B/train/1.png", "A/val/1.png"):
        save(tmp_path / name)
    with pytest.raises(ArzhangError, match="split differently"):
        layout.survey(tmp_path)


@pytest.mark.parametrize(
    "folders", [("train", "trainA", "trainB"), ("train/A", "train/B", "test_a"), ("val", "trainA")]
)
def test_two_arrangements_of_one_folder_are_refused(tmp_path, folders):
    for folder in folders:
        save(tmp_path / folder / "1.png")
    for read in (layout.survey, layout.apart):
        with pytest.raises(ArzhangError, match=r"(train|val) lies beside (trainA|test_a), .* move one away"):
            read(tmp_path)


@pytest.mark.parametrize(
    "folders",
    [
        ("A", "a", "B"),
        ("train_A", "trainA", "trainB"),
        ("train/A", "train/B", "train/b"),
        ("val", "validation", "train"),
        ("trainA", "trainB", "valA", "valB", "validA", "validB"),
    ],
)
def test_folders_whose_names_mean_the_same_are_refused(tmp_path, folders):
    for folder in folders:
        save(tmp_path / folder / "1.png")
    with pytest.raises(ArzhangError, match=r"beside it have names that mean the same; keep one"):
        layout.survey(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not on this machine")
@pytest.mark.parametrize(
    ("folder", "kind", "counts"),
    [
        ("facades", "side-by-side", {"train": 400, "val": 100}),
        ("yosemite", "two-folders", {"train": 0, "test": 0}),
        ("yosemite/trainA", "plain", {"all": 99}),
        ("bsds500", "plain", {"train": 200}),
        ("sr", "plain", {"all": 18}),
    ],
)
def test_published_data_is_recognised(folder, kind, counts):
    found = layout.survey(SHARED / folder)
    assert found.kind == kind
    assert {name: len(split.items) for name, split in found.splits.items()} == counts
