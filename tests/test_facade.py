from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from arzhang import rng
from arzhang.data import facade
from arzhang.types import MisuseError

CLASSES = list(facade.PALETTE)
COLOURS = torch.tensor(list(facade.PALETTE.values()))


def drawn(index, size=64):
    """Return one house as class indices and brightness."""
    example = facade.Config(size=size).build(seed=0).train.example(index, None)
    levels = ((example["source"] + 1) * 127.5).round().long()
    matches = (levels[None] == COLOURS[:, :, None, None]).all(dim=1)
    assert (matches.sum(dim=0) == 1).all(), "a pixel's colour is not in the palette"
    return matches.int().argmax(dim=0), example["target"].mean(dim=0)


@pytest.fixture(scope="module")
def houses():
    return [drawn(index) for index in range(40)]


def explained(classes, brightness):
    """Return the share of the photo's variance that lies between the classes."""
    means = torch.stack([brightness[classes == label].mean() for label in classes.unique()])
    sizes = torch.stack([(classes == label).sum() for label in classes.unique()])
    return (sizes * (means - brightness.mean()) ** 2).sum() / (brightness.numel() * brightness.var(correction=0))


def test_a_generator_decides_every_byte():
    train = facade.Config(size=48).build(seed=0).train
    first, again, other = (train.example(0, rng.generator(seed)) for seed in (1, 1, 2))
    for name in ("source", "target"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_a_house_without_a_generator_is_fixed_by_seed_split_and_index():
    splits, twin, stranger = (facade.Config(size=32).build(seed=seed) for seed in (3, 3, 4))
    pictures = [
        split.example(index, None)["target"]
        for split in (splits.train, splits.held_out, stranger.train, stranger.held_out)
        for index in range(5)
    ]
    assert len({picture.numpy().tobytes() for picture in pictures}) == len(pictures)
    assert torch.equal(twin.held_out.example(2, None)["target"], pictures[7])


@pytest.mark.parametrize("size", [32, 75, 128, 300])
def test_any_size_gives_pictures_in_range(size):
    example = facade.Config(size=size).build(seed=0).train.example(0, None)
    for picture in example.values():
        assert picture.shape == (3, size, size)
        assert picture.dtype == torch.float32
        assert picture.abs().max() <= 1


def test_every_class_of_the_palette_is_drawn_and_no_other_colour(houses):
    seen = torch.stack([classes for classes, _ in houses]).unique()
    assert seen.tolist() == list(range(len(CLASSES)))


def test_windows_are_darker_than_their_walls(houses):
    walls, windows = (
        torch.stack([brightness[classes == CLASSES.index(name)].mean() for classes, brightness in houses])
        for name in ("facade", "window")
    )
    assert (walls - windows).mean() > 0.15


@pytest.mark.parametrize(("down", "right"), [(3, 0), (-3, 0), (0, 3), (0, -3)])
def test_the_photo_lies_where_the_labels_say(houses, down, right):
    here = torch.stack([explained(classes, brightness) for classes, brightness in houses])
    beside = torch.stack([explained(classes.roll((down, right), (0, 1)), brightness) for classes, brightness in houses])
    assert (here > beside).float().mean() > 0.9
    assert here.mean() > 0.4


def test_light_comes_from_the_left(houses):
    """The reveal throws its shadow on the left edge of a window, so the right edge is the brighter one."""
    gains = []
    for classes, brightness in houses:
        window = classes == CLASSES.index("window")
        left, right = (brightness[window & ~window.roll(step, 1)].mean() for step in (1, -1))
        gains.append(right - left)
    gain = torch.stack(gains)
    assert gain.mean() > 5 * gain.std() / len(gains) ** 0.5
    assert gain.mean() > 0.05


@pytest.mark.parametrize(
    ("wrong", "named"), [({"size": 31}, "31"), ({"count": 0}, "count"), ({"held_out": 0}, "held_out")]
)
def test_a_configuration_without_pictures_is_refused(wrong, named):
    with pytest.raises(MisuseError, match=named):
        facade.Config(**wrong).build(seed=0)


def test_the_palette_is_that_of_the_cmp_facades():
    folder = Path(__file__).parents[1] / "../shared/data/facades/train"
    if not folder.is_dir():
        pytest.skip("the CMP facades are not on this machine")
    flat = []
    for path in sorted(folder.iterdir())[:40]:
        label = np.asarray(Image.open(path).convert("RGB"), dtype=int)[:, 256:]
        steps = abs(label[1:, 1:] - label[:-1, 1:]) + abs(label[1:, 1:] - label[1:, :-1])
        flat.append(label[1:, 1:][steps.max(axis=-1) < 4])  # JPEG smears the boundaries
    pixels = np.concatenate(flat)
    nearest = abs(pixels[:, None] - COLOURS.numpy()).max(axis=-1).argmin(axis=-1)
    medians = [np.median(pixels[nearest == label], axis=0) for label in range(len(CLASSES))]
    np.testing.assert_allclose(medians, COLOURS.numpy(), atol=2)


def test_a_house_has_a_name_and_a_split_a_length():
    splits = facade.Config(size=32, count=7, held_out=3).build(seed=0)
    assert (len(splits.train), len(splits.held_out)) == (7, 3)
    assert splits.train.name(5) == "facade 5"
