"""Extractors against second implementations: plain functions of the state dict, and index formulas in numpy."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from arzhang import config, images, plugins
from arzhang.downloads import sha256
from arzhang.features import alexnet, inception, lenet, pixels, squeezenet, vgg16
from arzhang.features.lenet import __main__ as command, training
from arzhang.inference import hold_weights
from arzhang.rng import generator
from arzhang.types import ArzhangError, Extractor, MisuseError
from arzhang.weights import Weights

SHARED = Path(os.environ.get("ARZHANG_DATA", Path(__file__).parents[1] / "../shared/data"))
with_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not on this machine")
RESIZES = ["clean", "tf1", "pytorch"]


def like(network, seed=0):
    """Random weights in the layout of a network, with which signals neither grow nor fade."""
    draw = generator(seed, "weights")
    state = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
        elif tensor.ndim > 1:
            scale = (6 / tensor[0].numel()) ** 0.5
            state[name] = torch.empty(tensor.shape).uniform_(-scale, scale, generator=draw)
        else:
            around = 1.0 if name.endswith(("bn.weight", "running_var")) else 0.0
            state[name] = torch.empty(tensor.shape).uniform_(around - 0.3, around + 0.3, generator=draw)
    return state


def loaded(state, **values):
    return Weights(**{"tensors": state, "path": Path("random"), "sha256": "0" * 64, "published": False, **values})


def picture(height, width, seed=0):
    return torch.randint(256, (3, height, width), generator=generator(seed, "picture"), dtype=torch.uint8)


def smooth(count, side, seed=0):
    small = torch.rand(count, 3, 6, 6, generator=generator(seed, "smooth")) * 2 - 1
    return F.interpolate(small, (side, side), mode="bicubic").clamp(-1, 1)


# FID-Inception


def inception_reference(state, x):
    """The published graph, layer by layer, in functions."""

    def layer(x, name, **options):
        get = {key: state[f"{name}.{key}"] for key in ("conv.weight", *(f"bn.{part}" for part in BN))}
        x = F.conv2d(x, get["conv.weight"], **options)
        return F.relu(F.batch_norm(x, *(get[f"bn.{part}"] for part in BN), eps=0.001))

    def average(x):
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    def five(x, name):
        one = layer(x, f"{name}.branch1x1")
        five = layer(layer(x, f"{name}.branch5x5_1"), f"{name}.branch5x5_2", padding=2)
        three = layer(layer(x, f"{name}.branch3x3dbl_1"), f"{name}.branch3x3dbl_2", padding=1)
        three = layer(three, f"{name}.branch3x3dbl_3", padding=1)
        return torch.cat([one, five, three, layer(average(x), f"{name}.branch_pool")], 1)

    def six(x, name):
        wide, tall = {"padding": (0, 3)}, {"padding": (3, 0)}
        once = layer(layer(x, f"{name}.branch7x7_1"), f"{name}.branch7x7_2", **wide)
        once = layer(once, f"{name}.branch7x7_3", **tall)
        twice = layer(layer(x, f"{name}.branch7x7dbl_1"), f"{name}.branch7x7dbl_2", **tall)
        twice = layer(layer(twice, f"{name}.branch7x7dbl_3", **wide), f"{name}.branch7x7dbl_4", **tall)
        twice = layer(twice, f"{name}.branch7x7dbl_5", **wide)
        return torch.cat([layer(x, f"{name}.branch1x1"), once, twice, layer(average(x), f"{name}.branch_pool")], 1)

    def seven(x, name, pool):
        def fork(x, stem):
            wide = layer(x, f"{name}.{stem}a", padding=(0, 1))
            return torch.cat([wide, layer(x, f"{name}.{stem}b", padding=(1, 0))], 1)

        three = fork(layer(x, f"{name}.branch3x3_1"), "branch3x3_2")
        twice = fork(layer(layer(x, f"{name}.branch3x3dbl_1"), f"{name}.branch3x3dbl_2", padding=1), "branch3x3dbl_3")
        return torch.cat([layer(x, f"{name}.branch1x1"), three, twice, layer(pool(x), f"{name}.branch_pool")], 1)

    taps = []
    x = layer(layer(layer(x, "Conv2d_1a_3x3", stride=2), "Conv2d_2a_3x3"), "Conv2d_2b_3x3", padding=1)
    taps.append(x := F.max_pool2d(x, 3, 2))
    taps.append(x := F.max_pool2d(layer(layer(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2))
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = five(x, name)
    halved = layer(layer(x, "Mixed_6a.branch3x3dbl_1"), "Mixed_6a.branch3x3dbl_2", padding=1)
    halved = layer(halved, "Mixed_6a.branch3x3dbl_3", stride=2)
    x = torch.cat([layer(x, "Mixed_6a.branch3x3", stride=2), halved, F.max_pool2d(x, 3, 2)], 1)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = six(x, name)
    taps.append(x)
    three = layer(layer(x, "Mixed_7a.branch3x3_1"), "Mixed_7a.branch3x3_2", stride=2)
    halved = layer(layer(x, "Mixed_7a.branch7x7x3_1"), "Mixed_7a.branch7x7x3_2", padding=(0, 3))
    halved = layer(layer(halved, "Mixed_7a.branch7x7x3_3", padding=(3, 0)), "Mixed_7a.branch7x7x3_4", stride=2)
    x = torch.cat([three, halved, F.max_pool2d(x, 3, 2)], 1)
    x = seven(x, "Mixed_7b", average)
    taps.append(seven(x, "Mixed_7c", lambda x: F.max_pool2d(x, 3, 1, 1)))
    taps = [tap.mean((2, 3)) for tap in taps]
    return {str(tap.shape[1]): tap for tap in taps} | {"logits": taps[-1] @ state["fc.weight"].T}


BN = ("running_mean", "running_var", "weight", "bias")


@pytest.fixture(scope="module")
def state():
    with torch.device("meta"):
        network = inception.Network()
    return like(network)


@pytest.fixture(scope="module")
def expected(state):
    """Two pictures, and what the second implementation sees in them."""
    pictures = smooth(2, 299)
    return pictures, inception_reference(state, pictures)


def relative(found, wanted):
    return ((found - wanted).norm() / wanted.norm()).item()


def test_inception_has_the_published_layout(state):
    assert len(state) == 566
    assert sum(tensor.numel() for name, tensor in state.items() if "tracked" not in name) == 23_885_392
    assert state["Mixed_6b.branch7x7dbl_4.conv.weight"].shape == (128, 128, 7, 1)
    assert state["fc.weight"].shape == (1008, 2048)


def test_inception_sees_at_all_layers_what_a_second_implementation_sees(state, expected):
    pictures, wanted = expected
    network = inception.Inception(loaded(state), config=inception.Config()).network
    found = network(pictures.contiguous(memory_format=torch.channels_last))
    assert list(found) == ["64", "192", "768", "2048", "logits"]
    for name, tensor in found.items():
        assert 0.1 < wanted[name].std() < 10
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [64, 192, 768, 2048])
def test_inception_gives_the_layer_that_is_asked_for_and_names_figures_after_it(state, expected, layer):
    published = loaded(state, published=True)
    extractor = inception.Inception(published, config=inception.Config(layer=layer))
    found = extractor(expected[0][:1])
    torch.testing.assert_close(found["features"], expected[1][str(layer)][:1], rtol=1e-5, atol=1e-5)
    assert extractor.name == ("inception" if layer == 2048 else f"inception-{layer}")


def test_bfloat16_features_differ_by_less_than_one_percent(state, expected):
    pictures, wanted = expected
    extractor = inception.Inception(loaded(state), config=inception.Config())
    hold_weights(extractor, precision="bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        found = {name: values.float() for name, values in extractor(pictures).items()}
    assert 1e-4 < relative(found["features"], wanted["2048"]) < 0.01
    assert 1e-4 < relative(found["logits"], wanted["logits"]) < 0.01


def lerp(image, axis, place):
    """Interpolate between the two pixels next to the places that are given."""
    image = np.moveaxis(image.astype(np.float64), axis, 0)
    place = place.clip(0, len(image) - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, len(image) - 1)
    share = (place - low).reshape(-1, 1, 1)
    return np.moveaxis((1 - share) * image[low] + share * image[high], 0, axis)


def bicubic(image, size, axis):
    """Convolve with Keys' kernel (a = -1/2), widened where the picture gets smaller; in float64."""
    image = np.moveaxis(image.astype(np.float64), axis, 0)
    scale = len(image) / size
    widened = max(scale, 1)
    centre = (np.arange(size) + 0.5) * scale
    x = np.abs(np.arange(len(image)) + 0.5 - centre[:, None]) / widened
    kernel = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
    return np.moveaxis(np.einsum("ij,jkl->ikl", kernel / kernel.sum(1, keepdims=True), image), 0, axis)


def prepared_reference(image, rule):
    steps = np.arange(299, dtype=np.float32)  # both TensorFlow 1 and torch compute places in float32
    for axis in (1, 2):
        length = np.float32(image.shape[axis])
        if rule == "clean":
            image = bicubic(image, 299, axis)
        else:
            scale = length / np.float32(299)
            place = steps * scale if rule == "tf1" else (steps + np.float32(0.5)) * scale - np.float32(0.5)
            image = lerp(image, axis, place)
    return 2 * image / 255 - 1 if rule == "pytorch" else (image.clip(0, 255) - 128) / 128


@pytest.mark.parametrize("size", [(40, 57), (299, 299), (320, 701), (1, 1)], ids=str)
@pytest.mark.parametrize("rule", RESIZES)
def test_the_three_rules_of_resizing_follow_their_formulas(state, rule, size):
    extractor = inception.Inception(loaded(state), config=inception.Config(resize=rule))
    image = picture(*size)
    found = extractor.prepare(image)
    assert found.dtype == torch.float32
    # torch fuses two roundings of a place into one, which noise, two apart from pixel to pixel, makes the most of.
    bound = max(2e-5, 2 * max(size) * 2**-23) if rule == "pytorch" else 2e-5
    np.testing.assert_allclose(found.numpy(), prepared_reference(image.numpy(), rule), rtol=0, atol=bound)
    assert extractor.provenance["resize"] == rule


def test_the_rules_of_resizing_are_not_one_another(state):
    image = picture(400, 500)
    one, two, three = (prepared_reference(image.numpy(), rule) for rule in RESIZES)
    assert min(np.abs(one - two).max(), np.abs(one - three).max(), np.abs(two - three).max()) > 0.1


def test_inception_is_read_from_the_published_pickle_and_from_safetensors(state, expected, tmp_path, monkeypatch):
    torch.save(state, tmp_path / "copy.pth")
    save_file(state, tmp_path / "own.safetensors")
    with pytest.raises(ArzhangError, match=r"copy.pth has SHA-256 .*6726825d0af5.*as a .safetensors file"):
        inception.Config(weights=tmp_path / "copy.pth").build()
    pretended = replace(inception.PUBLISHED, sha256=sha256(tmp_path / "copy.pth"))
    monkeypatch.setattr(inception, "PUBLISHED", pretended)
    published, own = (inception.Config(weights=tmp_path / name).build() for name in ("copy.pth", "own.safetensors"))
    assert (published.name, own.name) == ("inception", "inception-unpublished")
    assert own.provenance["sha256"] == sha256(tmp_path / "own.safetensors")
    found = [extractor(expected[0][:1])["features"] for extractor in (published, own)]
    assert torch.equal(*found)


# The classifiers of ImageNet

TAPS = {vgg16: (64, 128, 256, 512, 512), alexnet: (64, 192, 384, 256, 256)}
SQUEEZED = (64, 128, 256, 384, 384, 512, 512)


def torchvision_reference(state, module, image):
    """Taps, features and logits, with torchvision's numbers of layers written out."""

    def convolution(x, number, **options):
        return F.relu(F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], **options))

    def linear(x, number):
        return F.linear(x, state[f"classifier.{number}.weight"], state[f"classifier.{number}.bias"])

    x = ((image + 1) / 2 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    taps = []
    if module is vgg16:
        for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
            for number in block:
                x = convolution(x, number, padding=1)
            taps.append(x)
            x = F.max_pool2d(x, 2)
        x = F.relu(linear(F.relu(linear(F.adaptive_avg_pool2d(x, 7).flatten(1), 0)), 3))
    else:
        taps.append(convolution(x, 0, stride=4, padding=2))
        taps.append(convolution(F.max_pool2d(taps[-1], 3, 2), 3, padding=2))
        taps.append(convolution(F.max_pool2d(taps[-1], 3, 2), 6, padding=1))
        taps.append(convolution(taps[-1], 8, padding=1))
        taps.append(convolution(taps[-1], 10, padding=1))
        x = F.adaptive_avg_pool2d(F.max_pool2d(taps[-1], 3, 2), 6).flatten(1)
        x = F.relu(linear(F.relu(linear(x, 1)), 4))
    return taps, x, linear(x, 6)


def layout_of(module):
    """The published shapes, by torchvision's names."""
    if module is vgg16:
        channels = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
        numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
        kernels, hidden, linear = [3] * 13, 512 * 49, (0, 3, 6)
    else:
        channels, numbers, kernels = (3, 64, 192, 384, 256, 256), (0, 3, 6, 8, 10), (11, 5, 3, 3, 3)
        hidden, linear = 256 * 36, (1, 4, 6)
    for number, kernel, inputs, outputs in zip(numbers, kernels, channels[:-1], channels[1:], strict=True):
        yield f"features.{number}", (outputs, inputs, kernel, kernel)
    for number, inputs, outputs in zip(linear, (hidden, 4096, 4096), (4096, 4096, 1000), strict=True):
        yield f"classifier.{number}", (outputs, inputs)


@pytest.mark.parametrize(("module", "parameters"), [(vgg16, 138_357_544), (alexnet, 61_100_840)])
def test_a_classifier_of_torchvision_sees_what_a_second_implementation_sees(module, parameters):
    draw = generator(0, "weights")
    state = {}
    for name, shape in layout_of(module):
        scale = (6 / np.prod(shape[1:])) ** 0.5
        state[f"{name}.weight"] = torch.empty(shape).uniform_(-scale, scale, generator=draw)
        state[f"{name}.bias"] = torch.empty(shape[0]).uniform_(-0.1, 0.1, generator=draw)
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    extractor = module.network(loaded(state))
    prepared = extractor.prepare(picture(300, 260))[None]
    taps, features, logits = torchvision_reference(state, module, prepared)
    found = extractor(prepared)
    torch.testing.assert_close(found["features"], features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["logits"], logits, rtol=1e-4, atol=1e-5)
    for tap, wanted in zip(extractor.taps(prepared), taps, strict=True):
        torch.testing.assert_close(tap, wanted, rtol=1e-4, atol=1e-5)
    assert tuple(tap.shape[1] for tap in taps) == TAPS[module]
    smallest = smooth(1, extractor.smallest)
    assert all(tap.numel() for tap in extractor.taps(smallest))
    with pytest.raises(RuntimeError):
        extractor.taps(smallest[..., 1:])


def squeezenet_reference(convolution, image, *, ceil):
    """Taps and logits; ``convolution`` is of an image, a layer's name in Caffe, and options."""

    def fire(x, name):
        squeezed = convolution(x, f"{name}/squeeze1x1")
        wide = convolution(squeezed, f"{name}/expand3x3", padding=1)
        return torch.cat([convolution(squeezed, f"{name}/expand1x1"), wide], 1)

    def pool(x):
        return F.max_pool2d(x, 3, 2, ceil_mode=ceil)

    one = convolution(image, "conv1", stride=2)
    two = fire(fire(pool(one), "fire2"), "fire3")
    three = fire(fire(pool(two), "fire4"), "fire5")
    taps = [one, two, three, fire(pool(three), "fire6")]
    for name in ("fire7", "fire8", "fire9"):
        taps.append(fire(taps[-1], name))
    return taps, convolution(taps[-1], "conv10").mean((2, 3))


NUMBERS = dict(zip(["conv1", *(f"fire{i}" for i in range(2, 10))], (0, 3, 4, 6, 7, 9, 10, 11, 12), strict=True))


@pytest.fixture
def squeezed():
    """Random weights in torchvision's layout, and a convolution with them."""
    convolutions = {"features.0": (64, 3, 3), "classifier.1": (1000, 512, 1)}
    widths = [(64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128), (256, 48, 192), (384, 48, 192)]
    for number, (inputs, few, many) in zip(
        (3, 4, 6, 7, 9, 10, 11, 12), [*widths, (384, 64, 256), (512, 64, 256)], strict=True
    ):
        name = f"features.{number}"
        convolutions |= {f"{name}.squeeze": (few, inputs, 1), f"{name}.expand1x1": (many, few, 1)}
        convolutions |= {f"{name}.expand3x3": (many, few, 3)}
    state = {}
    for name, (outputs, inputs, side) in convolutions.items():
        scale = (6 / (inputs * side**2)) ** 0.5
        shape = (outputs, inputs, side, side)
        state[f"{name}.weight"] = torch.empty(shape).uniform_(-scale, scale, generator=generator(0, name))
        state[f"{name}.bias"] = torch.empty(outputs).uniform_(-0.1, 0.1, generator=generator(1, name))
    assert sum(tensor.numel() for tensor in state.values()) == 1_235_496

    def convolution(x, layer, **options):
        name, _, part = layer.partition("/")
        name = "classifier.1" if name == "conv10" else f"features.{NUMBERS[name]}"
        name = f"{name}.{part.removesuffix('1x1') if part.startswith('squeeze') else part}".removesuffix(".")
        return F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options))

    return state, convolution


def test_torchvisions_squeezenet_sees_what_a_second_implementation_sees(squeezed):
    state, convolution = squeezed
    extractor = squeezenet.SqueezeNet(loaded(state, published=True), caffe=False)
    prepared = extractor.prepare(picture(300, 260))[None]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = ((prepared + 1) / 2 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    taps, logits = squeezenet_reference(convolution, normalised, ceil=True)
    found = extractor(prepared)
    torch.testing.assert_close(found["logits"], logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["features"], taps[-1].mean((2, 3)), rtol=1e-4, atol=1e-5)
    for tap, wanted in zip(extractor.taps(prepared), taps, strict=True):
        torch.testing.assert_close(tap, wanted, rtol=1e-4, atol=1e-5)
    assert tuple(tap.shape[1] for tap in taps) == SQUEEZED
    assert extractor.name == "squeezenet-torchvision"
    smallest = smooth(1, extractor.smallest)
    assert all(tap.numel() for tap in extractor.taps(smallest))
    with pytest.raises(RuntimeError):
        extractor.taps(smallest[..., 1:])


@pytest.fixture(scope="module")
def caffe():
    return squeezenet.Config(weights=SHARED / "squeezenet").build()


@with_shared_data
@pytest.mark.parametrize(
    ("name", "answer", "least"), [("zebra", 340, 0.995), ("monarch", 323, 0.995), ("pepper", 945, 0.96)]
)
def test_squeezenet_knows_what_it_sees(caffe, name, answer, least):
    shown = images.to_tensor(images.read(SHARED / f"sr/Set14/{name}.png"), channels=3)
    prepared = caffe.prepare(((shown + 1) * 127.5).round().to(torch.uint8))
    assert prepared.shape == (3, 227, 227)
    probability, found = caffe(prepared[None])["logits"].softmax(1).max(1)
    assert found.item() == answer
    assert probability.item() > least


@with_shared_data
def test_the_authors_squeezenet_sees_what_a_second_implementation_sees(caffe):
    with np.load(SHARED / "squeezenet" / squeezenet.CAFFE[0]) as arrays:
        weights = {name: torch.tensor(arrays[name]) for name in arrays.files}
    with np.load(SHARED / "squeezenet" / squeezenet.CAFFE[1]) as arrays:
        for name, part in (("W", "kernel"), ("b", "bias")):
            least, most = arrays[f"{part}_minmax"]
            weights[f"conv10.{name}"] = torch.tensor(least + arrays[f"{part}_u8"] * (most - least) / 255).float()

    def convolution(x, layer, **options):
        return F.relu(F.conv2d(x, weights[f"{layer}.W"].permute(3, 2, 0, 1), weights[f"{layer}.b"], **options))

    pixels = picture(227, 227).float()
    bgr = torch.stack([pixels[2] - 103.939, pixels[1] - 116.779, pixels[0] - 123.68])[None]
    taps, logits = squeezenet_reference(convolution, bgr, ceil=False)
    prepared = caffe.prepare(pixels.to(torch.uint8))[None]
    found = caffe(prepared)
    torch.testing.assert_close(found["logits"], logits, rtol=1e-4, atol=1e-4)
    for tap, wanted in zip(caffe.taps(prepared), taps, strict=True):
        torch.testing.assert_close(tap, wanted, rtol=1e-4, atol=1e-3)
    assert caffe.name == "squeezenet"
    smallest = smooth(1, caffe.smallest)
    assert all(tap.numel() for tap in caffe.taps(smallest))
    with pytest.raises(RuntimeError):
        caffe.taps(smallest[..., 1:])


def test_a_folder_without_squeezenet_is_a_sentence(tmp_path):
    with pytest.raises(ArzhangError, match=r"does not hold SqueezeNet's weights .*two files are expected there"):
        squeezenet.Config(weights=tmp_path).build()
    (tmp_path / squeezenet.CAFFE[0]).write_bytes(b"PK")
    with pytest.raises(ArzhangError, match="does not hold SqueezeNet's weights"):
        squeezenet.Config(weights=tmp_path).build()


def test_pictures_for_torchvisions_classifiers_are_cut_out_of_the_middle():
    black = torch.zeros(3, 512, 1024, dtype=torch.uint8)
    black[:, :, 512:] = 255
    prepared = alexnet.network(loaded(like_alexnet())).prepare(black)
    assert prepared.shape == (3, 224, 224)
    assert torch.equal(prepared[:, :, :110], -torch.ones(3, 224, 110))
    assert torch.equal(prepared[:, :, 114:], torch.ones(3, 224, 110))


def like_alexnet():
    shapes = dict(layout_of(alexnet))
    biases = {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    return {f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()} | biases


# LeNet


@pytest.fixture(scope="module")
def judge():
    return lenet.Config().build()


def test_lenet_comes_with_the_package_and_with_the_record_of_its_training(judge):
    assert judge.name == "lenet"
    assert lenet.WEIGHTS.stat().st_size == lenet.RECORD["bytes"] < 1e6
    assert judge.provenance["sha256"] == lenet.RECORD["sha256"]
    assert lenet.RECORD["test_accuracy"] > 0.993
    assert lenet.RECORD["seconds"] < 120
    assert lenet.RECORD.keys() == {
        *("data", "epochs", "seed", "trained_on", "tested_on"),
        *("test_accuracy", "versions", "seconds", "bytes", "sha256"),
    }


@with_shared_data
def test_lenet_is_as_good_as_its_record_says(judge):
    mnist = plugins.find("data", "mnist").Config(root=SHARED / "mnist").build(seed=0).held_out
    found = [judge(shown / 127.5 - 1)["logits"].argmax(1) for shown in mnist.pictures[:, None].split(500)]
    right = (torch.cat(found) == mnist.labels).double().mean().item()
    assert right == pytest.approx(lenet.RECORD["test_accuracy"], abs=2e-4)  # roundings may tip two digits


def test_lenet_sees_grey_pictures_of_28_pixels_as_they_are_and_makes_others_so(judge):
    grey = picture(28, 28)[:1].expand(3, -1, -1)
    torch.testing.assert_close(judge.prepare(grey), grey[:1] / 127.5 - 1, rtol=0, atol=1e-6)
    large = grey.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert judge.prepare(large).shape == (1, 28, 28)
    found = judge(torch.stack([judge.prepare(each) for each in (grey, large)]))
    assert found["features"].shape == (2, 128)
    assert found["logits"].shape == (2, 10)
    assert (found["features"] >= 0).all()


def test_the_training_of_lenet_learns_and_leaves_weights_and_a_record(tmp_path, capsys):
    assert command.main(["--data", "digits", "--epochs", "6", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "lenet.json").read_text())
    assert record["test_accuracy"] > 0.9
    assert record["data"] == "data.digits"
    assert str(record["test_accuracy"]) in capsys.readouterr().out
    extractor = lenet.Config(weights=tmp_path / "lenet.safetensors").build()
    assert extractor.name == "lenet-unpublished"
    assert extractor.provenance["sha256"] == record["sha256"]


def test_the_training_of_lenet_is_a_function_of_its_seed():
    data = plugins.find("data", "digits").Config()
    before = torch.get_rng_state()
    one, other, third = (training.Training(data=data, epochs=1, seed=seed).run()[0].state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], third["classifier.weight"])


FEW = ["--data.size", "32", "--data.count", "1", "--data.held-out", "1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "0"], "epochs is 0; it should be at least 1"),
        (["--data", "facade", *FEW], "An example has source 3 x 32 x 32, target 3 x 32 x 32, where image"),
        (["--data", "digits", "--data.size", "32"], "An example has image 1 x 32 x 32, label , where image"),
        (["--data", "digit"], "did you mean digits?"),
        (["--data", "mnist", "--data.root", "nowhere"], "nowhere holds neither train-images-idx3-ubyte nor"),
        (["--data", "digits", "--epochs", "1", "--out", "/proc/lenet"], "/proc/lenet cannot be written"),
    ],
)
def test_a_training_of_lenet_that_cannot_be_is_a_sentence(arguments, said, capsys):
    assert command.main(arguments) in {1, 2}
    assert said in capsys.readouterr().err


# What holds for all


@pytest.fixture(scope="module")
def extractors(state, judge):
    kinds = [inception.Inception(loaded(state), config=inception.Config(resize=rule)) for rule in RESIZES]
    return [*kinds, judge, pixels.Config().build(), alexnet.network(loaded(like_alexnet()))]


def test_an_extractor_keeps_its_promises(extractors):
    for extractor in extractors:
        assert isinstance(extractor, Extractor)
        assert extractor.provenance["resize"]
        assert not extractor.training
        assert not any(parameter.requires_grad for parameter in extractor.parameters())
        prepared = [extractor.prepare(picture(*size, seed)) for seed, size in enumerate([(28, 28), (5, 9), (70, 50)])]
        assert len({each.shape for each in prepared}) == 1
        together = extractor(torch.stack(prepared))
        apart = [extractor(each[None]) for each in prepared]
        for name, tensor in together.items():
            assert not tensor.requires_grad
            assert tensor.dtype == torch.float32
            assert tensor.isfinite().all()
            torch.testing.assert_close(tensor, torch.cat([each[name] for each in apart]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", plugins.names("features"))
def test_a_config_of_an_extractor_survives_being_written_down(name, tmp_path):
    kind = plugins.find("features", name).Config
    options = {"weights": tmp_path / "a.safetensors"} if "weights" in kind.__slots__ else {"size": 3}
    for made in (kind(), kind(**options)):
        assert config.from_dict(kind, json.loads(json.dumps(config.to_dict(made), default=str))) == made


@pytest.mark.parametrize("module", [inception, vgg16, alexnet, squeezenet])
def test_without_weights_and_network_one_sentence_says_what_to_do(module, tmp_path, monkeypatch):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "PUBLISHED", replace(module.PUBLISHED, urls=("http://127.0.0.1:9/weights.pth",)))
    with pytest.raises(ArzhangError) as caught:
        module.Config().build()
    said = str(caught.value)
    for part in (module.PUBLISHED.name, module.PUBLISHED.sha256, str(tmp_path), "--weights FILE", "127.0.0.1:9"):
        assert part in said


@pytest.mark.parametrize("module", [inception, vgg16, alexnet, squeezenet])
def test_the_published_hashes_begin_as_the_names_of_the_files_say(module):
    file = module.PUBLISHED
    assert file.name.removesuffix(".pth").endswith(f"-{file.sha256[:8]}")
    assert len(file.sha256) == 64
    assert all(url.startswith("https://") and url.endswith(file.name) for url in file.urls)


def test_pixels_of_no_size_are_refused():
    with pytest.raises(MisuseError, match="The size is 0, and at least 1 pixel is needed"):
        pixels.Config(size=0).build()
