"""What a run has learnt is drawn from, reconstructs and leads from picture to picture, whatever is asked and given."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.distributions import Independent, Normal

import arzhang as front_door
from arzhang import config, images, sample
from arzhang.data import digits
from arzhang.distributions import GaussianMixture
from arzhang.features import pixels as features
from arzhang.images import Picture
from arzhang.models import vae
from arzhang.networks import conv_decoder, conv_encoder
from arzhang.rng import generator
from arzhang.run import from_recipe
from arzhang.translate import Translator
from arzhang.types import MisuseError

SIDE = 8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What somebody is sent: the configuration of a run and its weights."""
    folder = tmp_path_factory.mktemp("runs") / "drawing"
    folder.mkdir()
    sampler = sampler_of()
    config.save(sampler.run, folder / "config.json")
    save_file(sampler.game.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def sampler(run):
    return sample.load(run)


def sampler_of(**values):
    """An untrained one, whose pictures differ much all the same."""
    torch.manual_seed(0)
    small = {
        "size": SIDE,
        "latents": 3,
        "components": 4,
        "encoder": conv_encoder.Config(width=2, features=8),
        "decoder": conv_decoder.Config(width=2, features=8),
    }
    run = replace(from_recipe("vae-digits"), model=vae.Config(**{**small, **values}), data=digits.Config(size=SIDE))
    game = run.model.build().eval()
    with torch.no_grad():
        for parameter in game.parameters():
            parameter.mul_(2)
    return sample.Sampler(game, run, torch.device("cpu"))


def drawn(sampler, *numbers, **options):
    return torch.stack(list(sampler.draw(range(*numbers), **options)))


def noise(*shape, depth=8):
    levels = torch.randint(2**depth, shape, generator=generator(0, "noise", *shape))
    return levels.numpy().astype(np.uint8 if depth == 8 else np.uint16)


def save(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(20, 30, 3) if pixels is None else pixels).save(path, **options)
    return path


# Drawing


@pytest.mark.parametrize("prior", ["standard-normal", "mixture", "vamp"])
def test_latents_are_a_function_of_seed_and_number_alone(prior):
    game = sampler_of(prior=prior).game
    every = game.draw(10, seed=3)
    assert torch.equal(game.draw(4, seed=3), every[:4])
    assert torch.equal(game.draw(2, seed=3, first=5, step=3), every[5:10:3])
    assert not torch.isclose(game.draw(10, seed=4), every).any()


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_pictures_do_not_depend_on_how_many_are_made_together(monkeypatch, batch):
    sampler = sampler_of()
    every = drawn(sampler, 100, seed=1)
    monkeypatch.setattr(sample, "BATCH", batch)
    torch.testing.assert_close(drawn(sampler, 100, seed=1), every, rtol=0, atol=1e-5)
    torch.testing.assert_close(drawn(sampler, 3, 100, 9, seed=1), every[3::9], rtol=0, atol=1e-5)
    assert (every[0] - every[1:]).abs().amax((1, 2, 3)).min() > 1e-2


def test_drawing_leaves_the_dice_as_they_were(sampler):
    dice = torch.get_rng_state()
    drawn(sampler, 4, prior=sampler.mixture(2))
    assert torch.equal(torch.get_rng_state(), dice)


def test_a_prior_given_is_drawn_from_with_its_covariances():
    game = sampler_of().game
    tril = torch.tensor([[1.0, 0, 0], [0.9, 0.3, 0], [-0.5, 0.2, 0.4]])
    prior = GaussianMixture(
        weights=torch.tensor([0.25, 0.75]),
        loc=torch.tensor([[9.0, 0, 0], [-3.0, 1, 2]]),
        scale_tril=torch.stack([tril, tril]),
    )
    n = 4000
    made = game.draw(n, prior=prior)
    right = made[:, 0] > 3  # the components lie 12 standard deviations apart
    assert abs(right.float().mean() - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / n)
    for chosen, loc in ((right, prior.loc[0]), (~right, prior.loc[1])):
        part = made[chosen] - loc
        covariance = tril @ tril.T
        assert (part.mean(0).abs() < 4.5 * (covariance.diagonal() / len(part)).sqrt()).all()
        variance = covariance.diagonal()
        error = ((variance[:, None] * variance + covariance.square()) / len(part)).sqrt()
        assert ((part.T @ part / len(part) - covariance).abs() < 4.5 * error).all()


def test_a_mixture_is_fitted_to_latents_drawn_from_what_training_pictures_are_encoded_to(sampler):
    one = sampler.mixture(1)  # the Gaussian of the same moments
    train = sampler.run.data.build(seed=0).train
    q = sampler.game.encode(torch.stack([train.example(index, None)["image"] for index in range(len(train))]))
    mean = q.mean.mean(0)
    centred = q.mean - mean
    covariance = centred.T @ centred / len(train) + q.variance.mean(0).diag()
    error = (covariance.diagonal() / len(train)).sqrt()
    assert one.event_shape == (3,)
    assert ((one.loc[0] - mean).abs() < 4.5 * error).all()
    variance = covariance.diagonal()
    error = ((variance[:, None] * variance + covariance.square()) / len(train)).sqrt()
    assert ((one.covariance_matrix[0] - covariance).abs() < 4.5 * error).all()


def test_a_mixture_is_fitted_to_latents_that_lie_nearly_in_a_plane(sampler, monkeypatch):
    plane = 30 * torch.randn(2, sampler.game.latents, generator=generator(0, "plane"))

    def encode(pictures):
        mean = pictures.flatten(1)[:, 20:22] @ plane
        return Independent(Normal(mean, torch.full_like(mean, 1e-4)), 1)

    monkeypatch.setattr(sampler.game, "encode", encode)
    prior = sampler.mixture(2)  # a covariance whose eigenvalues are as far apart is singular in float32
    assert sampler.game.draw(5, prior=prior).isfinite().all()


def test_a_mixture_is_the_same_every_time_and_of_as_many_components_as_asked_for(sampler):
    one, again = sampler.mixture(3), sampler.mixture(3)
    assert one.weights.shape == (3,)
    torch.testing.assert_close(one.weights, again.weights)
    torch.testing.assert_close(one.loc, again.loc)


def test_a_mixture_that_has_not_settled_says_so(sampler, monkeypatch):
    monkeypatch.setattr(sample, "ROUNDS", 1)
    with pytest.warns(UserWarning, match="The mixture of 20 components still moved after 1 rounds"):
        sampler.mixture(20)


@pytest.mark.parametrize("components", [0, -1, 1439])
def test_a_mixture_of_no_components_or_of_more_than_pictures_is_refused(sampler, components):
    with pytest.raises(MisuseError, match=rf"of {components} components cannot be fitted to 1438 .*from 1 to 1438"):
        sampler.mixture(components)


@pytest.mark.parametrize("count", [0, -3])
def test_no_pictures_are_refused(sampler, count):
    with pytest.raises(MisuseError, match="0 pictures cannot be drawn; ask for 1 or more"):
        sampler(count)


# Reconstructing, and going from one to another


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_pil_image_is_reconstructed_at_the_models_size(mode, channels):
    grey, colour = Image.fromarray(noise(20, 30, depth=16)), Image.fromarray(noise(20, 30, 4))
    made = sampler_of(channels=channels).reconstruct(grey if mode == grey.mode else colour.convert(mode))
    assert (made.size, made.mode) == ((SIDE, SIDE), "L" if channels == 1 else "RGB")


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (3, 200), (8, 8), (33, 31)])
def test_any_size_is_brought_to_the_square_in_the_middle(size):
    sampler = sampler_of()
    picture = Picture(pixels=noise(*size, 1), alpha=None)
    side = min(size)
    top, left = ((length - side) // 2 for length in size)
    middle = Picture(pixels=picture.pixels[top : top + side, left : left + side], alpha=None)
    assert torch.equal(sampler.view(picture), sampler.view(middle))
    assert sampler.view(picture).shape == (1, SIDE, SIDE)


def test_a_picture_of_the_models_size_is_seen_as_it_is():
    picture = Picture(pixels=noise(SIDE, SIDE, 3), alpha=noise(SIDE, SIDE))
    assert torch.equal(sampler_of(channels=3).view(picture), images.to_tensor(picture, channels=3))


def test_a_model_of_channels_that_no_picture_has_is_a_sentence():
    with pytest.raises(MisuseError, match="2 channels were asked for"):
        sampler_of(channels=2).reconstruct(Image.new("RGB", (9, 9)))
    with pytest.raises(MisuseError, match="The image has 2 channels, and a picture has 1 or 3"):
        sampler_of(channels=2)(1)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_way_begins_and_ends_with_the_reconstructions(path):
    sampler = sampler_of()
    ends = torch.stack([sampler.view(Picture(pixels=noise(9, 9, 1) // (1 + k), alpha=None)) for k in range(2)])
    way = sampler.between(*ends, steps=70, path=path)
    torch.testing.assert_close(way[[0, -1]], sampler.reconstructed(ends), rtol=0, atol=1e-5)
    steps = (way[1:] - way[:-1]).abs().amax((1, 2, 3))
    assert steps.max() < (way[0] - way[-1]).abs().max()


def test_an_arc_has_the_angles_of_its_share_and_a_straight_way_the_places():
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    for t in (0.0, 0.25, 0.5, 1.0):
        found = sample._arc(a, b, torch.tensor(t))
        angle = t * math.pi / 2
        torch.testing.assert_close(found, 2 * torch.tensor([math.cos(angle), math.sin(angle), 0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("degrees", [60, 140, 179])
def test_on_an_arc_between_unequal_lengths_no_length_is_beyond_both(degrees):
    angle = math.radians(degrees)
    a, b = torch.tensor([1.0, 0.0, 0.0]), 3 * torch.tensor([math.cos(angle), math.sin(angle), 0.0])
    way = [sample._arc(a, b, torch.tensor(t)) for t in (0.0, 0.25, 0.5, 1.0)]
    assert [each.norm().item() for each in way] == pytest.approx([1, 1.5, 2, 3], rel=1e-4)
    assert math.acos(way[2][0] / way[2].norm()) == pytest.approx(angle / 2, abs=1e-4)


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0, 0.0])
def test_where_there_is_no_arc_the_way_is_straight(factor):
    a = torch.tensor([2.0, 1.0, 0.0])
    found = sample._arc(a, factor * a, torch.tensor(0.25))
    torch.testing.assert_close(found, torch.lerp(a, factor * a, 0.25))


@pytest.mark.parametrize("steps", [1, 0, -2])
def test_a_way_of_fewer_steps_than_ends_is_refused(steps):
    picture = Image.new("L", (8, 8))
    with pytest.raises(MisuseError, match=f"A way of {steps} steps does not lead"):
        sampler_of().interpolate(picture, picture, steps=steps)


# What a game cannot


class Painter(torch.nn.Module):
    """Draws, as a generator does, and no more."""

    size = 4

    def sample(self, count, *, seed=0, first=0, step=1):
        return torch.stack([torch.full((3, 4, 4), (first + index * step) / 100) for index in range(count)])


def test_a_game_that_only_draws_is_drawn_from_and_the_rest_is_refused():
    sampler = sample.Sampler(Painter(), from_recipe("vae-digits"), torch.device("cpu"))
    assert drawn(sampler, 2, 8, 3)[:, 0, 0, 0].tolist() == pytest.approx([0.02, 0.05])
    with pytest.raises(MisuseError, match="Painter does not encode pictures, to whose latents"):
        sampler.mixture()
    with pytest.raises(MisuseError, match="Painter does not reconstruct pictures: it has no 'reconstruct'"):
        sampler.reconstructed(torch.zeros(1, 3, 4, 4))
    with pytest.raises(MisuseError, match="Painter does not encode pictures, between whose latents"):
        sampler.between(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4))


def test_a_run_that_translates_draws_nothing(tiny_run):
    with pytest.raises(MisuseError, match=r"Pix2Pix draws no pictures, .*: use `arzhang translate`"):
        sample.load(tiny_run)


def test_the_front_door_gives_what_a_run_is_for(run, tiny_run):
    assert isinstance(front_door.load(tiny_run, precision="bfloat16"), Translator)
    opened = front_door.load(run)
    assert [picture.size for picture in opened(3, seed=1)] == [(SIDE, SIDE)] * 3
    assert opened(2, seed=1, first=1) == opened(3, seed=1)[1:]
    assert len(opened.interpolate(*opened(2), steps=4)) == 4
    with pytest.raises(MisuseError, match="does not translate, and only what does takes precision and compile"):
        front_door.load(run, precision="bfloat16", compile=True)
    with pytest.raises(MisuseError, match="nowhere holds no run"):
        front_door.load("nowhere")


# For metrics


def pictures_of(source, *share):
    return [(item.name, item.load()) for item in source.items(slice(*share))]


@pytest.mark.parametrize("make", [lambda run: sample.samples_of(run, 11, 5), sample.reconstructions_of])
def test_many_processes_make_what_one_would(run, make):
    source = make(run)
    whole = pictures_of(source, None)
    assert len(whole) == source.count == len({name for name, _ in whole})
    parts = [pictures_of(source, part, None, 3) for part in range(3)]
    for part, shared in enumerate(parts):
        for (name, picture), (other, alone) in zip(shared, whole[part::3], strict=True):
            assert name == other
            assert abs(picture.pixels.astype(int) - alone.pixels).max() <= 1


def test_reconstructions_are_of_what_was_held_out(run, sampler):
    held_out = sample.held_out_of(sampler)
    (name, picture) = pictures_of(sample.reconstructions_of(run), 7, 8)[0]
    assert name == held_out.name(7)
    expected = sampler.reconstructed(held_out.example(7, None)["image"][None])[0]
    assert abs(picture.pixels - images.from_tensor(expected).pixels.astype(int)).max() <= 1


def test_metrics_look_at_samples_and_reconstructions_of_a_run(run):
    names = {}
    for kind in ("samples", "reconstructions"):
        made = front_door.evaluate(
            "data:digits", f"{kind}:{run}", metrics=["fid"], features=features.Config(size=8), cache=False
        )
        names[kind] = made.provenance["fake: source"]
        assert made.estimates[0].n == {"real": 359, "fake": 359}
        assert math.isfinite(made.estimates[0].value)
    assert names == {kind: f"{kind}:{run}" for kind in names}


# Files


def test_samples_go_to_a_sheet_or_to_a_folder(arzhang, run, tmp_path):
    said = arzhang("sample", run, "--count", 5, "--out", tmp_path / "sheet.png")
    assert (said.status, said.out, said.err) == (0, f"5 drawn from the prior into {tmp_path / 'sheet.png'}.\n", "")
    assert images.size_of(tmp_path / "sheet.png") == (2 * 66 + 2, 3 * 66 + 2)
    assert arzhang("sample", run, "--count", 5, "--seed", 7, "--out", tmp_path / "a").status == 0
    assert arzhang("sample", run, "--count", 3, "--seed", 7, "--out", tmp_path / "b").status == 0
    assert [path.name for path in images.find(tmp_path / "a")] == [f"0000{number}.png" for number in range(5)]
    for path in images.find(tmp_path / "b"):
        one, same = (images.read(folder / path.name).pixels.astype(int) for folder in (tmp_path / "a", tmp_path / "b"))
        assert abs(one - same).max() <= 1


def test_samples_are_drawn_from_a_mixture(arzhang, run, tmp_path):
    flags = ["--count", 4, "--from", "mixture", "--components", 2, "--out", tmp_path / "mixture.png"]
    said = arzhang("sample", run, *flags)
    assert (said.status, said.out) == (0, f"4 drawn from the mixture into {tmp_path / 'mixture.png'}.\n")
    arzhang("sample", run, "--count", 4, "--out", tmp_path / "prior.png")
    assert (tmp_path / "mixture.png").read_bytes() != (tmp_path / "prior.png").read_bytes()


def test_a_sheet_shows_its_pictures_enlarged_in_their_order():
    rows = torch.linspace(-1, 1, 5)[:, None, None, None].expand(5, 1, 16, 16).split(3)
    laid = sample.sheet(rows)
    assert laid.shape == (1, 2 * 66 + 2, 3 * 66 + 2)
    assert laid[0, [33, 33, 33, 99, 99, 99], [33, 99, 165, 33, 99, 165]].tolist() == [-1, -0.5, 0, 0.5, 1, 0]
    assert not laid[0, 66:68].any()
    assert sample.sheet([torch.zeros(2, 4, 80, 80)])[3, 0].eq(1).all()


def test_originals_are_above_their_reconstructions_or_beside_them(arzhang, run, sampler, tmp_path):
    path = save(tmp_path / "in/deep/a.png", noise(SIDE, SIDE))
    original = sampler.view(images.read(path))
    expected = images.from_tensor(sampler.reconstructed(original[None])[0]).pixels.astype(int)
    said = arzhang("reconstruct", run, path, "--out", tmp_path / "sheet.png")
    assert (said.status, said.out, said.err) == (0, f"1 reconstructed into {tmp_path / 'sheet.png'}.\n", "")
    said = arzhang("reconstruct", run, tmp_path / "in", 3, "--out", tmp_path / "out")
    assert (said.status, said.out) == (0, f"2 reconstructed into {tmp_path / 'out'}.\n")
    assert {each.relative_to(tmp_path / "out").as_posix() for each in images.find(tmp_path / "out")} == {
        "3.png",
        "deep/a.png",
    }
    for file, (y, x) in ((tmp_path / "sheet.png", (66, 0)), (tmp_path / "out/deep/a.png", (0, 66))):
        pixels = images.read(file).pixels.astype(int)
        assert (pixels[2:66:8, 2:66:8] == noise(SIDE, SIDE)[..., None]).all()
        assert abs(pixels[2 + y : 66 + y : 8, 2 + x : 66 + x : 8] - expected).max() <= 1


def test_what_was_reconstructed_inside_the_input_folder_is_not_again(arzhang, run, tmp_path):
    save(tmp_path / "in/a.png")
    for _ in range(2):
        said = arzhang("reconstruct", run, tmp_path / "in", "--out", tmp_path / "in/kept", "--overwrite")
        assert (said.status, said.out) == (0, f"1 reconstructed into {tmp_path / 'in/kept'}.\n")
    assert [path.name for path in images.find(tmp_path / "in/kept")] == ["a.png"]


def test_a_file_whose_name_is_a_number_is_a_file(sampler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = noise(SIDE, SIDE)
    save(tmp_path / "3", pixels, format="png")
    number, file = sample.given(sampler, ["4"])[0], sample.given(sampler, ["3"])[0]
    assert torch.equal(file.load(), sampler.view(Picture(pixels=pixels[..., None], alpha=None)))
    assert torch.equal(number.load(), sample.held_out_of(sampler).example(4, None)["image"])


def test_without_pictures_held_out_ones_are_reconstructed(arzhang, run, tmp_path):
    said = arzhang("reconstruct", run, "--out", tmp_path / "sheet.png")
    assert said.out.startswith("16 reconstructed")
    assert images.size_of(tmp_path / "sheet.png") == (4 * 66 + 2, 8 * 66 + 2)


def test_a_picture_that_cannot_be_read_is_named_and_the_others_go_on(arzhang, run, tmp_path):
    save(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"")
    said = arzhang("reconstruct", run, tmp_path / "in", tmp_path / "no.png", "--out", tmp_path / "sheet.png")
    assert said.status == 1
    damaged, missing = said.err.splitlines()
    assert damaged.startswith(f"arzhang: {tmp_path / 'in/b.png'} is empty; ")
    assert missing.startswith(f"arzhang: {tmp_path / 'no.png'} cannot be opened ([Errno 2] No such file or directory")
    assert said.out == f"1 reconstructed into {tmp_path / 'sheet.png'}; 2 failed.\n"
    nothing = arzhang("reconstruct", run, tmp_path / "no.png", "--out", tmp_path / "none.png")
    assert (nothing.status, nothing.out) == (1, f"0 reconstructed into {tmp_path / 'none.png'}; 1 failed.\n")
    assert not (tmp_path / "none.png").exists()


def test_a_way_goes_to_a_sheet_between_its_ends_or_to_a_folder(arzhang, run, tmp_path):
    path = save(tmp_path / "a.png")
    flags = [run, path, 0, "--steps", 4, "--path", "spherical"]
    said = arzhang("interpolate", *flags, "--out", tmp_path / "way.png")
    expected = f"4 steps from {path} to 0 drawn into {tmp_path / 'way.png'}.\n"
    assert (said.status, said.out, said.err) == (0, expected, "")
    assert images.size_of(tmp_path / "way.png") == (68, 6 * 66 + 2)
    assert arzhang("interpolate", *flags, "--out", tmp_path / "way").status == 0
    assert [path.name for path in images.find(tmp_path / "way")] == ["00.png", "01.png", "02.png", "03.png"]


# Misuse


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sample", "RUN"], "Say where pictures go: --out FILE.png for a sheet, or --out DIR."),
        (["sample", "RUN", "--count", "0", "--out", "a"], "0 pictures cannot be drawn; ask for 1 or more."),
        (["sample", "RUN", "--components", "3", "--out", "a"], "The prior has its own components: leave --components"),
        (["sample", "RUN", "--from", "mixture", "--components", "0", "--out", "a"], "A mixture of 0 components cannot"),
        (["sample", "RUN", "--out", "a.gif"], "a.gif has the format '.gif'; choose one of"),
        (
            ["sample", "RUN", "--count", "99999999", "--out", "a.png"],
            "a.png would have more than the 100,000,000",
        ),
        (["sample", "nowhere", "--out", "a"], "nowhere holds no run: it has no config.json."),
        (["sample", "RUN", "--out", "there.png"], "there.png exists already; give --out another name, or --overwrite"),
        (["sample", "RUN", "--out", "."], ". holds other pictures already, such as there.png, with which samples"),
        (["reconstruct", "RUN", "there.png", "--out", "there.png", "--overwrite"], "there.png is one of the pictures"),
        (["reconstruct", "RUN", "there.png", "--out", "."], "there.png would replace itself; give --out another"),
        (
            ["reconstruct", "RUN", "359", "--out", "a.png"],
            "There is no picture 359 among those held out; they",
        ),
        (
            ["reconstruct", "RUN", "3", "3", "--out", "a"],
            "Two pictures would become a/3.png; reconstruct",
        ),
        (
            ["interpolate", "RUN", "0", "there.png", "--out", "there.png"],
            "there.png is one of the pictures that are",
        ),
        (["interpolate", "RUN", "0", ".", "--out", "a.png"], ". is a folder, and a way is between two pictures"),
        (["interpolate", "RUN", "0", "1", "--steps", "1", "--out", "a.png"], "A way of 1 steps does not lead from one"),
    ],
)
def test_misuse_is_one_sentence_and_leaves_nothing(arzhang, run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "there.png")
    said = arzhang(*(run if argument == "RUN" else argument for argument in arguments))
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(f"arzhang: {sentence}")
    assert said.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]


def test_a_run_that_translates_is_refused_by_every_command(arzhang, tiny_run, tmp_path):
    for command, *rest in (["sample"], ["reconstruct"], ["interpolate", 0, 1]):
        said = arzhang(command, tiny_run, *rest, "--out", tmp_path / "a.png")
        assert (said.status, said.err.count("\n")) == (2, 1)
        assert "Pix2Pix draws no pictures" in said.err


def test_what_exists_is_replaced_only_when_asked(arzhang, run, tmp_path):
    for out in ("a.png", "a"):
        assert arzhang("sample", run, "--count", 4, "--out", tmp_path / out).status == 0
        assert arzhang("sample", run, "--count", 4, "--out", tmp_path / out).status == 2
        assert arzhang("sample", run, "--count", 4, "--out", tmp_path / out, "--overwrite").status == 0
    said = arzhang("sample", run, "--count", 3, "--out", tmp_path / "a", "--overwrite")
    assert (said.status, "holds other pictures already, such as 00003.png" in said.err) == (2, True)


def test_a_folder_without_pictures_or_that_cannot_be_made_is_named(arzhang, run, tmp_path):
    (tmp_path / "empty").mkdir()
    said = arzhang("reconstruct", run, tmp_path / "empty", "--out", tmp_path / "a.png")
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert f"{tmp_path / 'empty'} holds no pictures; expected files" in said.err
    save(tmp_path / "file.png")
    said = arzhang("sample", run, "--out", tmp_path / "file.png/a.png")
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "cannot be made" in said.err
