"""A picture of any size, mode and depth is translated, alone, in folders and in tiles, and nothing is lost."""

import contextlib
import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import ExifTags, Image
from safetensors.torch import load_file, save_file
from torch import nn

import arzhang
from arzhang import checkpoint, images, translate
from arzhang.data import facade
from arzhang.images import Picture
from arzhang.models import pix2pix
from arzhang.networks import patchgan, unet
from arzhang.rng import generator
from arzhang.run import Run, from_recipe
from arzhang.types import ArzhangError, MisuseError

SHARED = Path(__file__).parents[1] / "../shared/data"


@pytest.fixture(scope="module")
def translator(tiny_run):
    return arzhang.load(tiny_run)


@pytest.fixture
def run(tiny_run, tmp_path):
    """A run that a test may spoil."""
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture
def sent(tiny_run, tmp_path):
    """What somebody is sent: the configuration and the weights."""
    (tmp_path / "sent").mkdir()
    shutil.copy(tiny_run / "config.json", tmp_path / "sent")
    shutil.copy(tiny_run / "checkpoints/00000002/ema.safetensors", tmp_path / "sent/model.safetensors")
    return tmp_path / "sent"


def noise(*shape, depth=8):
    levels = torch.randint(2**depth, shape, generator=generator(0, "noise", *shape))
    return levels.numpy().astype(np.uint8 if depth == 8 else np.uint16)


def save(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(20, 30, 3) if pixels is None else pixels).save(path, **options)
    return path


def written(translator, inputs, out, **options):
    return translate.translate_files(translator, translate.plan(inputs, out), **options)


# One picture


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 200), (32, 32), (33, 31), (100, 64)])
def test_any_size_is_kept(translator, size):
    assert translator.translate(Picture(pixels=noise(*size, 3), alpha=None)).pixels.shape == (*size, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_any_pil_image_becomes_a_pil_image_of_its_size(translator, mode):
    grey, colour = Image.fromarray(noise(20, 30, depth=16)), Image.fromarray(noise(20, 30, 4))
    image = grey if mode == grey.mode else colour.convert(mode)
    made = translator(image)
    assert (made.size, made.mode) == (image.size, "RGBA" if image.has_transparency_data else "RGB")


def test_grey_and_16_bits_are_translated_like_the_same_colours_in_8(translator):
    grey = noise(20, 30, 1)
    expected = translator.translate(Picture(pixels=grey.repeat(3, axis=2), alpha=None)).pixels
    for same in (grey, grey.astype(np.uint16) * 257, grey.repeat(3, axis=2).astype(np.uint16) * 257):
        assert (translator.translate(Picture(pixels=same, alpha=None)).pixels == expected).all()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_carried_over(translator, tmp_path, suffix):
    pixels = noise(20, 30, 4)
    path = save(tmp_path / f"a{suffix}", pixels, **({"lossless": True} if suffix == ".webp" else {}))
    (target,) = written(translator, [path], tmp_path / "out").written
    assert (images.read(target).alpha == pixels[..., 3]).all()


def test_alpha_of_16_bits_is_carried_over_in_8(translator):
    alpha = noise(20, 30, depth=16)
    made = translator.translate(Picture(pixels=noise(20, 30, 3, depth=16), alpha=alpha))
    assert abs(made.alpha - alpha / 257).max() <= 0.5


def test_a_rotated_jpeg_comes_out_upright_as_a_jpeg(translator, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = save(tmp_path / "a.jpg", exif=exif)
    upright = translator.translate(images.read(path))
    assert upright.pixels.shape == (30, 20, 3)
    (target,) = written(translator, [path], tmp_path / "out").written
    with Image.open(target) as image:
        assert (image.format, image.size, image.getexif()) == ("JPEG", (20, 30), {})


# What is random


def test_without_noise_the_answer_is_always_the_same(translator):
    picture = Picture(pixels=noise(40, 30, 3), alpha=None)
    assert (translator.translate(picture).pixels == translator.translate(picture).pixels).all()


@pytest.mark.parametrize("whole", [translate.WHOLE, 1], ids=["whole", "tiled"])
def test_noise_is_a_function_of_its_seed(translator, whole):
    picture = Picture(pixels=noise(70, 50, 3), alpha=None)
    off, one, again, other = (
        translator.translate(picture, noise=seed, whole=whole, tile=32).pixels for seed in (None, 1, 1, 2)
    )
    assert (one == again).all()
    assert (one != other).any()
    assert (one != off).any()


@pytest.mark.parametrize("whole", [translate.WHOLE, 1], ids=["whole", "tiled"])
def test_translating_leaves_the_dice_and_the_network_as_they_were(translator, whole):
    before = {name: tensor.clone() for name, tensor in translator.game.state_dict().items()}
    dice = torch.get_rng_state()
    translator.translate(Picture(pixels=noise(70, 50, 3), alpha=None), noise=3, whole=whole, tile=32)
    assert torch.equal(torch.get_rng_state(), dice)
    assert all(torch.equal(tensor, before[name]) for name, tensor in translator.game.state_dict().items())
    assert not any(module.training or "forward" in vars(module) for module in translator.game.modules())


def test_loading_leaves_the_dice_as_they_were(tiny_run):
    dice = torch.get_rng_state()
    arzhang.load(tiny_run)
    assert torch.equal(torch.get_rng_state(), dice)


def test_a_picture_does_not_depend_on_its_neighbours(translator, tmp_path):
    for index in range(3):
        save(tmp_path / f"in/{index}.png", noise(20 + index, 30, 3))
    written(translator, [tmp_path / "in"], tmp_path / "all", noise=5)
    written(translator, [tmp_path / "in/2.png"], tmp_path / "alone", noise=5)
    assert (tmp_path / "all/2.png").read_bytes() == (tmp_path / "alone/2.png").read_bytes()


# Files


def test_a_tree_of_strange_names_is_kept(translator, tmp_path):
    names = ["a.png", "پوشه/تصویر.png", 'two words/"so".jpg', "<script>/it's.webp", "deep/er/a.png"]
    for name in names:
        save(tmp_path / "in" / name)
    outcome = written(translator, [tmp_path / "in"], tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in outcome.written) == sorted(names)
    assert all(images.size_of(path) == (20, 30) for path in outcome.written)


def test_what_is_there_is_left_alone_until_overwriting_is_asked_for(translator, tmp_path):
    save(tmp_path / "in/a.png")
    save(tmp_path / "in/b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(b"mine")
    outcome = written(translator, [tmp_path / "in"], tmp_path / "out")
    assert (outcome.kept, outcome.written) == ([tmp_path / "out/a.png"], [tmp_path / "out/b.png"])
    assert (tmp_path / "out/a.png").read_bytes() == b"mine"
    assert len(written(translator, [tmp_path / "in"], tmp_path / "out", overwrite=True).written) == 2
    assert images.size_of(tmp_path / "out/a.png") == (20, 30)


def test_translations_inside_the_input_folder_are_not_translated_again(translator, tmp_path):
    save(tmp_path / "a.png")
    for _ in range(2):
        assert [path for path, _ in translate.plan([tmp_path], tmp_path / "made")] == [tmp_path / "a.png"]
        written(translator, [tmp_path], tmp_path / "made")


@pytest.mark.parametrize("out", ["in", "in/../in", "link"])
def test_a_folder_is_not_translated_into_itself(tmp_path, out):
    save(tmp_path / "in/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(MisuseError, match="into itself"):
        translate.plan([tmp_path / "in"], tmp_path / out)


@pytest.mark.parametrize("out", [".", "a.png", "b/../a.png"])
def test_a_picture_does_not_replace_itself(tmp_path, out):
    (tmp_path / "b").mkdir()
    with pytest.raises(MisuseError, match=r"a.png would replace itself"):
        translate.plan([save(tmp_path / "a.png")], tmp_path / out)


def test_a_picture_does_not_replace_another_that_is_to_be_translated(tmp_path):
    save(tmp_path / "photos/labels/x.png")
    save(tmp_path / "photos/labels/labels/x.png")
    with pytest.raises(MisuseError, match=r"labels/labels/x.png would replace .*photos/labels/x.png, which is to be"):
        translate.plan([tmp_path / "photos/labels"], tmp_path / "photos")


def test_translations_may_go_to_the_folder_that_holds_their_sources(tmp_path):
    path = save(tmp_path / "photos/labels/x.png")
    assert translate.plan([path.parent], tmp_path / "photos") == [(path, tmp_path / "photos/x.png")]


def test_a_format_that_cannot_be_written_is_no_folder(tmp_path):
    with pytest.raises(MisuseError, match=r"a.gif has the format '.gif'; choose one of"):
        translate.plan([save(tmp_path / "a.png")], tmp_path / "a.gif")
    path = save(tmp_path / "a.png")
    assert translate.plan([path], tmp_path / "made.v2") == [(path, tmp_path / "made.v2/a.png")]


def test_two_pictures_of_one_name_are_refused(tmp_path):
    first, second = save(tmp_path / "1/a.png"), save(tmp_path / "2/a.png")
    with pytest.raises(MisuseError) as caught:
        translate.plan([first, second], tmp_path / "out")
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


def test_a_picture_that_is_given_alone_and_in_its_folder_is_made_twice(tmp_path):
    path = save(tmp_path / "in/deep/a.png")
    out = tmp_path / "out"
    assert translate.plan([path, tmp_path / "in"], out) == [(path, out / "a.png"), (path, out / "deep/a.png")]


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(ArzhangError, match=r"in holds no pictures; expected files ending in .*png"):
        translate.plan([tmp_path / "in"], tmp_path / "out")


def test_a_damaged_picture_is_named_and_the_others_go_on(translator, tmp_path):
    save(tmp_path / "in/a.png")
    save(tmp_path / "in/c.png")
    (tmp_path / "in/b.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:200])
    outcome = written(translator, [tmp_path / "in", tmp_path / "nowhere.png"], tmp_path / "out")
    assert [path.name for path in outcome.written] == ["a.png", "c.png"]
    damaged, missing = outcome.failed
    assert "b.png is damaged" in damaged
    assert "nowhere.png cannot be opened" in missing
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


def test_a_target_that_is_in_the_way_fails_alone(translator, tmp_path):
    save(tmp_path / "in/a/1.png")
    save(tmp_path / "in/b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").touch()
    outcome = written(translator, [tmp_path / "in"], tmp_path / "out")
    assert [path.name for path in outcome.written] == ["b.png"]
    assert "cannot be written" in outcome.failed[0]


# Batches


def folder_of(path, *sizes):
    for index, size in enumerate(sizes):
        save(path / f"{index}.png", noise(*size, 3))
    return path


def watched(translator, monkeypatch):
    """The shapes that the network is given from now on."""
    shapes, plain = [], translator.game.translate
    monkeypatch.setattr(
        translator.game,
        "translate",
        lambda source, **options: [shapes.append(source.shape), plain(source, **options)][1],
    )
    return shapes


def test_a_picture_of_a_batch_is_translated_as_alone(translator, tmp_path):
    inputs = folder_of(tmp_path / "in", *[(20 + index, 30) for index in range(5)])
    together = written(translator, [inputs], tmp_path / "together", batch=3).written
    alone = written(translator, [inputs], tmp_path / "alone", batch=1).written
    assert [path.name for path in together] == [path.name for path in alone] == [f"{index}.png" for index in range(5)]
    for one, other in zip(together, alone, strict=True):
        difference = images.read(one).pixels.astype(int) - images.read(other).pixels
        assert difference.shape == (20 + int(one.stem), 30, 3)
        assert abs(difference).max() <= 1  # where the last bit of a float decides how a number is rounded


def test_batches_are_of_neighbours_of_one_padded_size(translator, tmp_path, monkeypatch):
    shapes = watched(translator, monkeypatch)
    inputs = folder_of(tmp_path / "in", (20, 30), (32, 32), (31, 31), (32, 32), (40, 30), (20, 30))
    written(translator, [inputs], tmp_path / "out", batch=3)
    assert [tuple(shape) for shape in shapes] == [(3, 3, 32, 32), (1, 3, 32, 32), (1, 3, 64, 32), (1, 3, 32, 32)]


def test_a_batch_has_no_more_pixels_than_the_largest_picture_in_one_piece(translator, tmp_path, monkeypatch):
    monkeypatch.setattr(translate, "WHOLE", 32 * 64)
    shapes = watched(translator, monkeypatch)
    written(translator, [folder_of(tmp_path / "in", *[(20, 30)] * 5)], tmp_path / "out", batch=4)
    assert [shape[0] for shape in shapes] == [2, 2, 1]


def test_noisy_pictures_go_one_by_one(translator, tmp_path, monkeypatch):
    shapes = watched(translator, monkeypatch)
    written(translator, [folder_of(tmp_path / "in", *[(20, 30)] * 3)], tmp_path / "out", noise=1)
    assert [shape[0] for shape in shapes] == [1, 1, 1]


def test_what_fails_is_told_in_the_order_of_the_files(translator, tmp_path):
    inputs = folder_of(tmp_path / "in", *[(20, 30)] * 6)
    save(inputs / "1.png", noise(20, 30, 4)).rename(inputs / "1.jpg")  # whose alpha JPEG does not carry
    for index in (0, 4):
        (inputs / f"{index}.png").write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/3.png").touch()
    outcome = written(translator, [inputs], tmp_path / "out")
    assert [path.name for path in outcome.written] == ["2.png", "5.png"]
    assert [path.name for path in outcome.kept] == ["3.png"]
    expected = ["0.png is empty", "1.jpg would lose its alpha", "4.png is empty"]
    assert all(part in sentence for part, sentence in zip(expected, outcome.failed, strict=True))


def test_a_game_that_refuses_a_batch_fails_all_its_pictures(tmp_path):
    class Refusing(Same):
        def translate(self, source, *, noise):
            raise ArzhangError("Not these.")

    refusing = translate.Translator(Refusing(), from_recipe("demo"), torch.device("cpu"))
    outcome = written(refusing, [folder_of(tmp_path / "in", (20, 30), (20, 30), (40, 40))], tmp_path / "out")
    assert (outcome.written, outcome.failed) == ([], ["Not these."] * 3)


def test_a_batch_of_nothing_is_misuse(translator):
    with pytest.raises(MisuseError, match="The batch is 0; it should be at least 1"):
        translate.translate_files(translator, [], batch=0)


# Precision


@pytest.mark.parametrize("size", [(20, 30), (70, 50)], ids=["whole", "tiled"])
def test_bfloat16_is_near_float32_and_not_the_same(translator, tiny_run, size):
    rounding = arzhang.load(tiny_run, precision="bfloat16")
    picture = Picture(pixels=noise(*size, 3), alpha=None)
    exact, rounded = (each.translate(picture, whole=32 * 32, tile=32).pixels for each in (translator, rounding))
    difference = abs(exact.astype(int) - rounded)
    assert 0 < difference.mean() < 1
    assert difference.max() <= 12


def test_in_bfloat16_only_norms_stay_in_float32(tiny_run):
    for module in arzhang.load(tiny_run, precision="bfloat16").game.modules():
        for tensor in module.parameters(recurse=False):
            assert tensor.dtype == (torch.float32 if isinstance(module, nn.BatchNorm2d) else torch.bfloat16)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_a_compiled_network_answers_like_the_plain_one_and_is_compiled_once(tiny_run, precision):
    script = f"""
        import numpy as np, torch
        from torch._dynamo.utils import counters
        import arzhang
        from arzhang.images import Picture

        torch.set_num_threads(1)
        plain, compiled = (arzhang.load({str(tiny_run)!r}, precision={precision!r}, compile=c) for c in (False, True))
        dice = np.random.default_rng(0)
        pictures = [Picture(pixels=dice.integers(256, size=(20, 30, 3), dtype=np.uint8), alpha=None) for _ in range(2)]
        large = Picture(pixels=dice.integers(256, size=(70, 50, 3), dtype=np.uint8), alpha=None)
        tiles = {{"whole": 32 * 32, "tile": 32}}

        def graphs():
            return counters["stats"]["unique_graphs"]

        def same(left, right, *, levels):
            difference = abs(left.pixels.astype(int) - right.pixels).max()
            assert difference <= levels, difference

        for _ in range(2):
            same(compiled.translate(large, **tiles), plain.translate(large, **tiles), levels=0)
            same(compiled.translate(pictures[0], noise=1), plain.translate(pictures[0], noise=1), levels=0)
        for left, right in zip(compiled.together(pictures), plain.together(pictures)):
            same(left, right, levels=0)
        assert graphs() == 0, "Tiles, noise and the first batch are computed without compiling."
        for left, right in zip(compiled.together(pictures), plain.together(pictures)):
            same(left, right, levels=1 if {precision!r} == "float32" else 12)
        assert graphs() == 1, "The second batch of the same shape compiles."
        for _ in range(2):
            same(compiled.translate(pictures[0]), plain.translate(pictures[0]), levels=0)
        compiled.together(pictures)
        assert graphs() == 1, "Nothing else compiles again."
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


# Runs


def equal(translator, tensors):
    state = translator.game.state_dict()
    return all(torch.equal(state[name], tensor) for name, tensor in tensors.items())


def test_the_moving_average_is_used_where_there_is_one(run):
    folder = run / "checkpoints/00000002"
    average, raw = load_file(folder / "ema.safetensors"), load_file(folder / "model.safetensors")
    assert equal(arzhang.load(run), average)
    assert not equal(arzhang.load(run), raw)


def test_the_newest_and_the_best_are_told_apart(run):
    best = load_file(run / "checkpoints/00000002/ema.safetensors")
    newest = {name: tensor * 0 for name, tensor in best.items()}
    state = {"best": {"step": 2, "value": 0.1}}
    checkpoint.save(run / "checkpoints", step=3, parts={"model": newest}, state=state)
    assert equal(arzhang.load(run), newest)
    assert equal(translate.load(run, which="best"), best)


def test_two_files_are_enough(sent, tiny_run):
    picture = Picture(pixels=noise(20, 30, 3), alpha=None)
    expected = arzhang.load(tiny_run).translate(picture)
    assert (arzhang.load(str(sent)).translate(picture).pixels == expected.pixels).all()


def not_finite(path):
    weights = load_file(path)
    weights["generator.up.0.1.weight"][0, 0, 0, 0] = torch.nan
    save_file(weights, path)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: path.write_bytes(b"\xff" * 500), "are damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-10]), "are damaged"),
        (lambda path: path.write_bytes(b""), "are damaged"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "do not fit"),
        (lambda path: save_file({name: t.flatten() for name, t in load_file(path).items()}, path), "do not fit"),
        (not_finite, "not finite"),
        (lambda path: path.unlink(), "train it first"),
    ],
    ids=["noise", "cut", "empty", "other", "flat", "nan", "missing"],
)
def test_weights_that_are_no_use_are_a_sentence(sent, spoil, sentence):
    spoil(sent / "model.safetensors")
    with pytest.raises(ArzhangError, match=sentence) as caught:
        arzhang.load(sent)
    assert str(sent) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_refused(sent):
    made = json.loads((sent / "config.json").read_text())
    made["model"]["generator"]["width"] = 8
    (sent / "config.json").write_text(json.dumps(made))
    with pytest.raises(ArzhangError, match="do not fit"):
        arzhang.load(sent)


def test_a_folder_that_holds_no_run_is_misuse(tmp_path):
    with pytest.raises(MisuseError, match=r"holds no run: it has no config.json"):
        arzhang.load(tmp_path)


# Tiles


class Same(nn.Module):
    """A game that gives every picture back."""

    def __init__(self):
        super().__init__()
        self.multiple, self.source_channels, self.target_channels = 4, 3, 3

    def translate(self, source, *, noise):
        return source


@given(length=st.integers(1, 3000), side=st.integers(1, 200).map(lambda n: 4 * n))
def test_tiles_cover_a_length_and_share_at_least_a_quarter(length, side):
    length = max(length, side)
    starts = translate._starts(length, side)
    assert (starts[0], starts[-1] + side) == (0, length)
    assert all(0 < step <= side * 3 // 4 for step in np.diff(starts))


@given(height=st.integers(1, 90), width=st.integers(1, 90), tile=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_tiles_of_what_is_given_back_are_the_picture(height, width, tile):
    picture = Picture(pixels=noise(height, width, 3), alpha=None)
    same = translate.Translator(Same(), from_recipe("demo"), torch.device("cpu"))
    assert (same.translate(picture, whole=0, tile=tile).pixels == picture.pixels).all()


@pytest.mark.parametrize(("height", "width"), [(3, 400_000), (400_000, 3)])
def test_a_strip_is_tiled_although_it_has_few_pixels(height, width):
    seen = []

    class Watching(Same):
        def translate(self, source, *, noise):
            seen.append(source.shape[2] * source.shape[3])
            return super().translate(source, noise=noise)

    picture = Picture(pixels=noise(height, width, 3), alpha=None)
    made = translate.Translator(Watching(), from_recipe("demo"), torch.device("cpu")).translate(picture)
    assert (made.pixels == picture.pixels).all()
    assert max(seen) <= translate.WHOLE


def test_one_picture_may_go_to_a_file(translator, tmp_path):
    save(tmp_path / "in.jpg", noise(20, 20, 3))
    assert translate.plan([tmp_path / "in.jpg"], tmp_path / "made.png") == [
        (tmp_path / "in.jpg", tmp_path / "made.png")
    ]
    save(tmp_path / "more/in.png")
    assert translate.plan([tmp_path / "more"], tmp_path / "x.png")[0][1] == tmp_path / "x.png/in.png"


def test_older_weights_are_taken_with_a_warning(run):
    newest = run / "checkpoints/00000099"
    shutil.copytree(max((run / "checkpoints").iterdir()), newest)
    (newest / "model.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged.*Taking the one before"):
        arzhang.load(run)


@pytest.mark.parametrize(("height", "width"), [(900, 300), (300, 900), (150, 3000), (128, 128)])
def test_pieces_lie_evenly_over_a_picture_of_any_proportions(height, width):
    position = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).float()
    pieces = translate._pieces(position, 64, 64)
    assert pieces.shape == (translate.MEASURED, 2, 64, 64)
    for axis, length in enumerate((height, width)):
        starts = pieces[:, axis, 0, 0].sort().values
        assert starts.diff().max() <= (length - 64) / 8 + 1
        assert abs(starts.mean() - (length - 64) / 2) <= (length - 64) / 16 + 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A generator whose answers have structure, and batch norms that matter."""
    networks = {"generator": unet.Config(depth=5, width=8), "discriminator": patchgan.Config(layers=1, width=4)}
    run = Run(
        model=pix2pix.Config(**networks),
        data=facade.Config(size=64, count=8, held_out=2),
        steps=100,
        judge_every=100,
        log_every=100,
        device="cpu",
    )
    return arzhang.load(arzhang.train(run, out=tmp_path_factory.mktemp("trained") / "run"))


@pytest.fixture(scope="module", params=["drawn", "photo"])
def scene(request):
    """1000 x 700 pixels: noise as rough as that of photos, with discs that have edges; or a photo."""
    if request.param == "photo":
        photos = sorted((SHARED / "bsds500").rglob("*.jpg"))
        if not photos:
            pytest.skip("The photos of BSDS500 are not here.")
        photo = images.to_tensor(images.read(photos[30]), channels=3)
        return images.from_tensor(images.resize(photo, height=700, width=1000))
    dice = generator(0, "scene")
    scene = torch.zeros(3, 700, 1000)
    for scale in (4, 8, 16, 32, 64, 128, 256):
        coarse = 2 * torch.rand(3, 700 // scale + 2, 1000 // scale + 2, generator=dice) - 1
        scene += images.resize(coarse, height=700, width=1000) * scale / 128
    rows, columns = torch.meshgrid(torch.arange(700), torch.arange(1000), indexing="ij")
    for _ in range(40):
        y, x, radius, *colour = torch.rand(6, generator=dice).tolist()
        disc = (rows - 700 * y) ** 2 + (columns - 1000 * x) ** 2 < (20 + 80 * radius) ** 2
        scene = torch.where(disc, 2 * torch.tensor(colour)[:, None, None] - 1 + 0.3 * scene, scene)
    return images.from_tensor(scene)


def border_contrast(picture, side, multiple):
    """How steep a picture is where tiles, their margins or their feathers begin or end, over how steep elsewhere."""
    grey = picture.pixels.mean(axis=2)
    for axis in (0, 1):
        steepness = abs(np.diff(grey, axis=axis)).mean(axis=1 - axis)
        starts = translate._starts(translate._ceil(grey.shape[axis], multiple), side)
        for margin in (0, side // 16, side // 4):
            borders = {start + margin for start in starts[1:]} | {start + side - margin for start in starts[:-1]}
            near = np.isin(np.arange(len(steepness)), [at - 1 + beside for at in borders for beside in (-1, 0, 1)])
            yield steepness[near].mean() / steepness[~near].mean()


def seams(translator, scene, *, seed=None, side=256):
    """The border contrast of tiles over that of the picture in one piece, which may itself be steep there."""
    whole = translator.translate(scene, noise=seed)
    tiled = translator.translate(scene, noise=seed, whole=0, tile=side)
    contrasts = (border_contrast(picture, side, translator.game.multiple) for picture in (tiled, whole))
    return [a / b for a, b in zip(*contrasts, strict=True)]


def departure(translator, scene, *, seed=None, side=256):
    """The mean absolute difference of tiles from the picture in one piece, over that picture's mean deviation."""
    whole, tiled = (
        translator.translate(scene, noise=seed, whole=limit, tile=side).pixels.astype(float)
        for limit in (translate.WHOLE, 0)
    )
    return abs(tiled - whole).mean() / abs(whole - whole.mean(axis=(0, 1))).mean()


@pytest.mark.parametrize("seed", [None, 1], ids=["plain", "noisy"])
def test_tiles_leave_no_seams_and_are_near_the_whole(trained, scene, seed):
    assert max(seams(trained, scene, seed=seed)) <= 1.1
    assert departure(trained, scene, seed=seed) <= 0.5


def test_seams_would_be_seen_without_feathers(trained, scene, monkeypatch):
    monkeypatch.setattr(translate, "_feather", torch.ones)
    assert max(seams(trained, scene)) > 1.2


def test_tiles_would_be_further_from_the_whole_with_their_own_statistics(trained, scene, monkeypatch):
    shared = departure(trained, scene)
    monkeypatch.setattr(translate, "shared_statistics", lambda _: contextlib.nullcontext())
    assert departure(trained, scene) > 1.3 * shared


@pytest.mark.slow
def test_twelve_megapixels_of_the_published_network_need_less_than_two_gigabytes(tmp_path):
    save(tmp_path / "in.png", np.tile(noise(300, 400, 3), (10, 10, 1)))
    script = """
        import resource, sys, torch
        from pathlib import Path
        from arzhang import translate
        from arzhang.run import from_recipe

        torch.set_num_threads(2)
        run = from_recipe("pix2pix")
        translator = translate.Translator(run.model.build().eval(), run, torch.device("cpu"))
        outcome = translate.translate_files(translator, [(Path("in.png"), Path("out.png"))])
        assert outcome.written, outcome.failed
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(peak if sys.platform == "darwin" else 1024 * peak)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert images.size_of(tmp_path / "out.png") == (3000, 4000)
    assert int(done.stdout) < 2e9
