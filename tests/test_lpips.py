"""LPIPS against a second implementation, on random networks and on SqueezeNet with the published heads."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from scipy import stats

from arzhang import images
from arzhang.downloads import sha256
from arzhang.metrics import _mean
from arzhang.metrics.lpips import AS_NPZ, HEADS, Lpips, _of_npz, each, load, lpips, told
from arzhang.rng import generator
from arzhang.types import ArzhangError, MisuseError
from arzhang.weights import Weights

SHARED = Path(os.environ.get("ARZHANG_DATA", Path(__file__).parents[1] / "../shared/data"))
with_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not on this machine")
CHANNELS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}


class Painted(torch.nn.Module):
    """A network whose layers are a few random mixtures of the picture's channels, at falling sizes."""

    smallest = 8

    def __init__(self, channels, name="painted"):
        super().__init__()
        self.name, self.provenance = name, {"weights": "painted", "sha256": "0"}
        self.mixtures = [torch.randn(count, 3, generator=generator(0, count, i)) for i, count in enumerate(channels)]

    def taps(self, image):
        shrunk = [image[..., :: 1 + i, :: 1 + i] for i in range(len(self.mixtures))]
        return [torch.einsum("oc,bchw->bohw", *two).relu() for two in zip(self.mixtures, shrunk, strict=True)]


def heads(net, *, published=True):
    tensors = {
        f"lin{layer}.model.1.weight": torch.rand(1, count, 1, 1, generator=generator(0, "head", layer))
        for layer, count in enumerate(CHANNELS[net])
    }
    return Weights(tensors=tensors, path=Path("heads"), sha256="1", published=published)


def reference(taps, weights, one, other):
    """The formula, pixel by pixel in numpy."""
    total = 0
    for first, second, weight in zip(taps(one), taps(other), weights, strict=True):
        f, g, w = (np.asarray(array, np.float64) for array in (first[0], second[0], weight.ravel()))
        f, g = (array / (np.sqrt((array**2).sum(0)) + 1e-10) for array in (f, g))
        total += np.tensordot(w, (f - g) ** 2, 1).mean()
    return total


def pictures(count, side, seed=0):
    return torch.rand(count, 3, side, side, generator=generator(seed, "pictures")) * 2 - 1


@pytest.mark.parametrize("net", CHANNELS)
def test_the_distance_is_the_formula(net):
    network, weights = Painted(CHANNELS[net]), heads(net)
    distance = Lpips(net, network, weights)
    one, other = pictures(2, 12), pictures(2, 12, seed=1)
    found = each(one, other, distance=distance)
    assert found.dtype == torch.float64
    wanted = [
        reference(network.taps, weights.tensors.values(), *two)
        for two in zip(one[:, None], other[:, None], strict=True)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_same_picture_is_at_distance_zero_and_both_ways_are_as_far():
    distance = Lpips("alex", Painted(CHANNELS["alex"]), heads("alex"))
    one, other = pictures(3, 16), pictures(3, 16, seed=1)
    assert torch.equal(each(one, one, distance=distance), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(each(one, other, distance=distance), each(other, one, distance=distance))
    grey = one[:, :1]
    assert torch.equal(
        each(grey, other[:, :1], distance=distance),
        each(grey.expand(-1, 3, -1, -1), other[:, :1].expand(-1, 3, -1, -1), distance=distance),
    )


def test_black_pixels_without_features_are_no_division_by_zero():
    distance = Lpips("alex", Painted(CHANNELS["alex"]), heads("alex"))
    assert each(torch.zeros(1, 3, 8, 8), pictures(1, 8), distance=distance).isfinite().all()


def test_pictures_that_cannot_be_compared_are_refused():
    distance = Lpips("alex", Painted(CHANNELS["alex"]), heads("alex"))
    with pytest.raises(MisuseError, match="should have one size; found 1 x 3 x 8 x 8 and 1 x 3 x 8 x 9"):
        each(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9), distance=distance)
    with pytest.raises(MisuseError, match="takes pictures of 8 pixels or more; found 7 x 9"):
        each(torch.zeros(1, 3, 7, 9), torch.zeros(1, 3, 7, 9), distance=distance)


def test_a_distance_is_named_after_what_it_rests_on():
    for network, published, name in (
        ("alexnet", True, "lpips-alex"),
        ("alexnet-unpublished", True, "lpips-alex-unpublished"),
        ("alexnet", False, "lpips-alex-unpublished"),
        ("squeezenet", True, "lpips-squeeze-caffe"),
        ("squeezenet-torchvision", True, "lpips-squeeze"),
    ):
        net = name.split("-")[1]
        distance = Lpips(net, Painted(CHANNELS[net], name=network), heads(net, published=published))
        assert distance.name == name
        assert distance.provenance["version"] == "0.1"


def test_alexnet_and_heads_are_read_from_files_that_the_user_names(tmp_path, monkeypatch):
    draw = generator(0, "alexnet")
    shapes = {"features.0": (64, 3, 11, 11), "features.3": (192, 64, 5, 5), "features.6": (384, 192, 3, 3)}
    shapes |= {"features.8": (256, 384, 3, 3), "features.10": (256, 256, 3, 3)}
    shapes |= {"classifier.1": (4096, 9216), "classifier.4": (4096, 4096), "classifier.6": (1000, 4096)}
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = (
            torch.zeros(shape) if "classifier" in name else torch.randn(shape, generator=draw) / 50
        )
        state[f"{name}.bias"] = torch.zeros(shape[0])
    save_file(state, tmp_path / "alexnet.safetensors")
    torch.save(dict(heads("alex").tensors), tmp_path / "heads.pth")
    monkeypatch.setitem(HEADS, "alex", replace(HEADS["alex"], sha256=sha256(tmp_path / "heads.pth")))
    distance = load("alex", network=tmp_path / "alexnet.safetensors", heads=tmp_path / "heads.pth")
    assert distance.name == "lpips-alex-unpublished"
    assert distance.provenance["heads_weights"] == "heads.pth"
    one, other = pictures(1, 40), pictures(1, 40, seed=1)
    wanted = reference(distance.network.taps, heads("alex").tensors.values(), one, other)
    assert each(one, other, distance=distance).item() == pytest.approx(wanted, rel=1e-6)


def test_without_heads_and_network_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path))
    monkeypatch.setitem(HEADS, "vgg", replace(HEADS["vgg"], urls=("http://127.0.0.1:9/vgg.pth",)))
    with pytest.raises(ArzhangError, match=r"lpips-v0.1-vgg.pth \(7,289 bytes, SHA-256 a78928a0.* with --heads FILE"):
        load("vgg")


def test_heads_that_are_not_there_or_do_not_fit_are_sentences(tmp_path):
    with pytest.raises(ArzhangError, match=r"lin_alex.npz cannot be read \(No such file"):
        load("alex", heads=tmp_path)
    (tmp_path / "lin_alex.npz").write_bytes(b"PK")
    with pytest.raises(ArzhangError, match=r"lin_alex.npz holds no heads that can be read"):
        load("alex", heads=tmp_path)
    with pytest.raises(ArzhangError, match=r"heads does not fit _Heads, which has 7 tensors: it lacks lin5"):
        Lpips("squeeze", Painted(CHANNELS["squeeze"]), heads("alex"))


@pytest.fixture(scope="module")
def caffe():
    return load("squeeze", network=SHARED / "squeezenet", heads=SHARED / "lpips")


@with_shared_data
def test_on_squeezenet_noise_is_the_further_the_stronger_and_blur_is_seen(caffe):
    assert caffe.name == "lpips-squeeze-caffe"
    shown = images.to_tensor(images.read(SHARED / "sr/Set5/butterfly.png"), channels=3)[None]
    noise = torch.randn(shown.shape, generator=generator(0, "noise"))
    found = [
        each((shown + amount * noise).clamp(-1, 1), shown, distance=caffe).item() for amount in (0, 0.02, 0.1, 0.4)
    ]
    assert found[0] == 0
    assert found == sorted(found)
    assert 0.005 < found[1] < found[3] < 1.5
    small = images.resize(shown[0], height=shown.shape[2] // 4, width=shown.shape[3] // 4)
    blurred = images.resize(small, height=shown.shape[2], width=shown.shape[3])[None]
    assert each(blurred, shown, distance=caffe) > 0.1


@with_shared_data
def test_the_published_heads_on_squeezenet_are_the_formula_and_the_estimate_their_mean(caffe):
    one, other = pictures(3, 64), pictures(3, 64, seed=1)
    weights = [parameter.numpy() for parameter in caffe.heads.parameters()]
    assert all((weight >= 0).all() for weight in weights)
    wanted = [reference(caffe.network.taps, weights, *two) for two in zip(one[:, None], other[:, None], strict=True)]
    estimate = lpips(one, other, distance=caffe)
    assert estimate.name == "lpips-squeeze-caffe"
    assert estimate.value == pytest.approx(np.mean(wanted), rel=1e-6)
    assert not estimate.higher_is_better
    assert estimate.n == {"pairs": 3}
    wide = stats.t.interval(0.95, 2, np.mean(wanted), stats.sem(wanted))
    assert estimate.interval == pytest.approx(wide, rel=1e-6)


@pytest.mark.parametrize("net", CHANNELS)
@with_shared_data
def test_the_heads_as_npz_are_known_and_fit(net):
    network = Painted(CHANNELS[net], name="painted")
    found = _of_npz(SHARED / "lpips" / f"lin_{net}.npz", AS_NPZ[net])
    assert Lpips(net, network, found).name == f"lpips-{net}"


# The mean of pairs


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 11, 51, 1001])
def test_the_interval_of_a_mean_is_students(n):
    assert _mean.student(n - 1) == pytest.approx(stats.t.ppf(0.975, n - 1), rel=4e-4)
    values = torch.randn(n, generator=generator(0, n), dtype=torch.float64)
    estimate = told(values)
    wanted = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert estimate.interval == pytest.approx(wanted, rel=1e-3)
    assert estimate.name == "lpips-alex"


def test_the_interval_of_a_mean_covers_the_expectation_as_often_as_it_says():
    draws = torch.rand(2000, 6, generator=generator(0, "cover"), dtype=torch.float64)
    covered = [low <= 0.5 <= high for low, high in (told(values).interval for values in draws)]
    assert 0.93 < np.mean(covered) < 0.97


def test_a_mean_of_one_pair_has_no_interval_and_of_none_is_refused():
    assert told(torch.ones(1)).interval is None
    with pytest.raises(ArzhangError, match="There are no pairs of pictures"):
        told(torch.ones(0))
    with pytest.raises(ArzhangError, match="The lpips-alex of pair 1 is not finite"):
        told(torch.tensor([1.0, torch.nan]))


@with_shared_data
def test_pairs_are_looked_at_through_the_network_that_is_named(tmp_path, arzhang, monkeypatch):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path / "cache"))
    given = ("--features", "squeezenet", "--weights", SHARED / "squeezenet", "--heads", SHARED / "lpips")
    for index, name in enumerate(("butterfly", "baby")):
        wanted = Image.open(SHARED / f"sr/Set5/{name}.png").convert("RGB").crop((0, 0, 64, 64))
        for folder, picture in (("made", ImageOps.mirror(wanted) if index else wanted), ("wanted", wanted)):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture.save(tmp_path / folder / f"{name}.png")
    asked = ("evaluate", "--pairs", tmp_path / "made", tmp_path / "wanted", "--json")
    told = json.loads(arzhang(*asked, "--metrics", "lpips", *given).out)
    (figure,) = told["estimates"]
    assert figure["name"] == "lpips-squeeze-caffe"
    assert 0.05 < figure["value"] < 0.5
    assert told["provenance"]["lpips_heads_weights"] == "lin_squeeze.npz"
    assert "for which there are heads" in arzhang(*asked, "--metrics", "lpips", "--features", "pixels").err
    assert "only lpips looks through a network" in arzhang(*asked, "--heads", SHARED / "lpips").err
