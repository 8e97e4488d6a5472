from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from arzhang.networks import _layers, _products, imagegan, patchgan, pixelgan, unet
from arzhang.types import MisuseError

torch.set_num_threads(1)

SMALL = {
    "unet": unet.Config(depth=5, width=2),
    "patchgan": patchgan.Config(width=2),
    "pixelgan": pixelgan.Config(width=2),
    "imagegan": imagegan.Config(layers=3, width=2),
}
DISCRIMINATORS = [name for name in SMALL if name != "unet"]
NORMS = ["batch", "instance", "none"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def parameters(network):
    return sum(weights.numel() for weights in network.parameters())


def unet_of(*, inputs=3, outputs=3, **options):
    return unet.Config(**options).build(inputs=inputs, outputs=outputs)


def small(name, norm="batch"):
    return replace(SMALL[name], norm=norm).build(inputs=3, **({"outputs": 3} if name == "unet" else {}))


# The published tables


@pytest.mark.parametrize(
    ("depth", "inputs", "outputs", "count"), [(8, 3, 3, 54_413_955), (7, 3, 3, 41_828_995), (8, 1, 2, 54_409_858)]
)
def test_the_unet_has_the_published_number_of_parameters(depth, inputs, outputs, count):
    with torch.device("meta"):
        assert parameters(unet_of(depth=depth, inputs=inputs, outputs=outputs)) == count


def test_every_layer_of_the_unet_has_the_published_number_of_parameters_and_size():
    with torch.device("meta"):
        network = unet_of()
    counts = [parameters(layer) for layer in [*network.down, *network.up]]
    assert counts == [
        *(3_072, 131_328, 524_800, 2_098_176, 4_195_328, 4_195_328, 4_195_328, 4_194_304),
        *(4_195_328, 8_389_632, 8_389_632, 8_389_632, 4_194_816, 1_048_832, 262_272, 6_147),
    ]
    sizes = []
    for layer in [*network.down, *network.up]:
        layer.register_forward_hook(lambda _layer, _inputs, output: sizes.append(output.shape[-1]))
    assert network(torch.zeros(1, 3, 256, 256, device="meta")).shape == (1, 3, 256, 256)
    assert sizes == [128, 64, 32, 16, 8, 4, 2, 1, 2, 4, 8, 16, 32, 64, 128, 256]


@pytest.mark.parametrize(
    ("layers", "count", "field"),
    [
        (1, 139_585, 16),
        (2, 666_433, 34),
        (3, 2_768_705, 70),
        (4, 6_964_033, 142),
        (5, 11_159_361, 286),
        (6, 15_354_689, 574),
    ],
)
def test_a_patchgan_has_the_published_size(layers, count, field):
    with torch.device("meta"):
        network = patchgan.Config(layers=layers).build(inputs=6)
    assert (parameters(network), network.receptive_field) == (count, field)


def test_every_layer_of_the_patchgan_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = patchgan.Config().build(inputs=6)
    counts, total = [], 0
    for layer in reversed(network.layers):
        total += parameters(layer)
        if isinstance(layer, nn.Conv2d):
            counts.insert(0, total)
            total = 0
    assert counts == [6_208, 131_328, 524_800, 2_098_176, 8_193]
    assert network(torch.zeros(1, 6, 256, 256, device="meta")).shape == (1, 1, 30, 30)


def test_the_discriminators_of_cyclegan_and_of_pixels_have_the_published_number_of_parameters():
    with torch.device("meta"):
        assert parameters(patchgan.Config(norm="instance").build(inputs=3)) == 2_764_737
        assert parameters(pixelgan.Config().build(inputs=6)) == 9_024


# The U-Net


def nested(network: unet.UNet, picture: Tensor, i: int = 0) -> Tensor:
    """What level i and those inside it make of a picture, as the port's nested blocks do, with batch norm."""
    weights = dict(network.named_parameters())
    innermost = len(network.down) - 1
    down = F.conv2d(picture if i == 0 else F.leaky_relu(picture, 0.2), weights[f"down.{i}.1.weight"], None, 2, 1)
    if 0 < i < innermost:
        down = F.batch_norm(down, None, None, weights[f"down.{i}.2.weight"], weights[f"down.{i}.2.bias"], training=True)
    inside = down if i == innermost else nested(network, down, i + 1)
    j = innermost - i
    up = F.conv_transpose2d(F.relu(inside), weights[f"up.{j}.1.weight"], weights.get(f"up.{j}.1.bias"), 2, 1)
    if i == 0:
        return up.tanh()
    up = F.batch_norm(up, None, None, weights[f"up.{j}.2.weight"], weights[f"up.{j}.2.bias"], training=True)
    return torch.cat([picture, up], 1) if network.skips else up


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_the_loop_equals_the_nested_blocks_of_the_port(depth, skips):
    network = unet_of(depth=depth, width=2, dropout=0.0, skips=skips).double()
    for weights in network.parameters():
        nn.init.normal_(weights)
    picture = torch.randn(2, 3, 64, 128, dtype=torch.float64, requires_grad=True)
    got, expected = network(picture), nested(network, picture)
    torch.testing.assert_close(got, expected)
    (gradient,) = torch.autograd.grad(got.square().sum(), picture)
    (expected_gradient,) = torch.autograd.grad(expected.square().sum(), picture)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize(
    ("depth", "where", "layers"),
    [
        (8, "paper", [8, 7, 6]),
        (8, "port", [7, 6, 5]),
        (9, "paper", [9, 8, 7]),
        (9, "port", [8, 7, 6, 5]),
        (7, "paper", [7, 6, 5]),
        (7, "port", [6, 5]),
        (5, "paper", [5]),
        (5, "port", []),
        (4, "paper", []),
    ],
)
def test_dropout_lies_where_the_paper_or_the_port_has_it(depth, where, layers):
    network = unet_of(depth=depth, width=1, dropout=0.3, dropout_at=where)
    rates = {depth - i: [each.p for each in up if isinstance(each, nn.Dropout)] for i, up in enumerate(network.up)}
    assert [layer for layer, rate in rates.items() if rate] == layers
    assert all(rate in ([], [0.3]) for rate in rates.values())


def test_dropout_is_the_only_variety():
    picture = torch.randn(1, 3, 32, 32)
    for dropout, same in ((0.0, True), (0.5, False)):
        network = unet_of(depth=5, width=4, dropout=dropout)
        assert torch.equal(network(picture), network(picture)) is same


@pytest.mark.parametrize("skips", [True, False])
def test_only_skips_lead_past_the_bottleneck(skips):
    network = unet_of(depth=4, width=2, skips=skips)
    nn.init.zeros_(network.down[-1][1].weight)
    one, other = network(torch.randn(1, 3, 32, 32)), network(torch.randn(1, 3, 32, 32))
    assert torch.equal(one, other) is not skips


@pytest.mark.parametrize(("upsample", "even"), [("transposed", False), ("resize", True)])
def test_a_resize_convolution_leaves_no_checkerboard(upsample, even):
    outermost = unet_of(depth=3, width=4, upsample=upsample).up[-1]
    inside = outermost(torch.ones(1, 8, 8, 8))[..., 2:-2, 2:-2]
    assert torch.allclose(inside, inside.mean(dim=(2, 3), keepdim=True)) is even


def test_a_resize_convolution_enlarges_by_repeating_pixels():
    outermost = unet_of(depth=3, width=4, upsample="resize").up[-1]
    picture = torch.randn(1, 8, 5, 6)
    weights = dict(outermost.named_parameters())
    enlarged = picture.relu().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(
        outermost(picture), F.conv2d(enlarged, weights["1.1.weight"], weights["1.1.bias"], padding=1)
    )


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("norm", NORMS)
def test_the_unet_has_biases_where_no_norm_follows_but_not_at_the_ends_of_the_way_down(norm, upsample):
    network = unet_of(depth=4, width=1, norm=norm, upsample=upsample)
    convolutions = [each for each in network.modules() if isinstance(each, (nn.Conv2d, nn.ConvTranspose2d))]
    biases = [each.bias is not None for each in convolutions]
    assert biases == [False, *[norm == "none"] * 2, False, *[norm == "none"] * 3, True]


def test_the_unet_takes_any_multiples_and_names_other_sizes():
    network = unet_of(depth=4, width=1)
    assert network.multiple == 16
    assert network(torch.zeros(2, 3, 16, 48)).shape == (2, 3, 16, 48)
    for height, width in ((24, 32), (32, 24)):
        with pytest.raises(MisuseError, match=f"{height} x {width} pixels.*multiples of 16"):
            network(torch.zeros(1, 3, height, width))


def test_the_unet_returns_pictures_between_minus_one_and_one():
    network = unet_of(depth=3, width=2, norm="none")
    for weights in network.parameters():
        nn.init.normal_(weights)
    output = network(torch.randn(1, 3, 16, 16))
    assert output.abs().max() == 1
    assert output.abs().min() < 1


def test_a_unet_without_depth_is_refused():
    with pytest.raises(MisuseError, match="depth of 0"):
        unet_of(depth=0)


# The discriminators


@pytest.mark.parametrize(
    ("config", "size"),
    [
        *((patchgan.Config(layers=layers, width=1, norm="none"), 128) for layers in range(4)),
        (pixelgan.Config(width=1, norm="none"), 9),
    ],
)
def test_a_logit_sees_exactly_its_receptive_field(config, size):
    network = config.build(inputs=1).double()
    for weights in network.parameters():
        nn.init.uniform_(weights, 0.1, 1)
    picture = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    logits = network(picture)[0, 0]
    logits[logits.shape[0] // 2, logits.shape[1] // 2].backward()
    rows, columns = picture.grad[0, 0].nonzero(as_tuple=True)
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == network.receptive_field


@pytest.mark.parametrize(
    ("config", "kernel", "strides"),
    [
        (patchgan.Config(width=2), 4, (2, 2, 2, 1, 1)),
        (imagegan.Config(layers=3, width=2), 4, (2, 2, 2)),
        (pixelgan.Config(width=2), 1, (1, 1, 1)),
    ],
    ids=["patchgan", "imagegan", "pixelgan"],
)
def test_discriminators_compute_what_is_published(config, kernel, strides):
    network = config.build(inputs=3).double()
    for weights in network.parameters():
        nn.init.normal_(weights)
    picture = torch.randn(2, 3, 32, 40, dtype=torch.float64)
    weights = [each for each in network.parameters() if each.ndim == 4]
    vectors = iter([each for each in network.parameters() if each.ndim == 1])
    expected = F.conv2d(picture, weights[0], next(vectors), strides[0], kernel // 4)
    for i, stride in enumerate(strides[1:], start=1):
        expected = F.conv2d(F.leaky_relu(expected, 0.2), weights[i], None, stride, kernel // 4)
        if i + 1 < len(weights):
            expected = F.batch_norm(expected, None, None, next(vectors), next(vectors), training=True)
    if len(weights) > len(strides):
        expected = F.conv2d(F.leaky_relu(expected, 0.2).mean(dim=(2, 3), keepdim=True), weights[-1])
    torch.testing.assert_close(network(picture), expected + next(vectors, torch.zeros(1)))
    assert next(vectors, None) is None


@pytest.mark.parametrize("size", [(16, 16), (16, 90), (50, 33)])
def test_the_imagegan_judges_the_whole_picture_by_one_logit(size):
    network = small("imagegan", norm="none")
    picture = torch.randn(2, 3, *size, requires_grad=True)
    logits = network(picture)
    assert logits.shape == (2, 1, 1, 1)
    assert network.receptive_field is None
    logits[0].sum().backward()
    corners = picture.grad[..., [0, 0, -2, -2], [0, -2, 0, -2]].abs().sum(1)
    assert corners[0].min() > 0
    assert corners[1].max() == 0


def test_the_pixelgan_gives_every_pixel_a_logit():
    assert small("pixelgan")(torch.zeros(2, 3, 5, 7)).shape == (2, 1, 5, 7)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "config",
    [
        *(patchgan.Config(layers=layers, width=1) for layers in range(7)),
        *(imagegan.Config(layers=layers, width=1) for layers in range(2, 7)),
        pixelgan.Config(width=1),
    ],
    ids=repr,
)
def test_the_smallest_picture_is_taken_and_a_smaller_one_named(config, norm):
    network = replace(config, norm=norm).build(inputs=3)
    side = network.smallest
    network(torch.zeros(1, 3, side, side))
    for height, width in ((side - 1, side), (side, side - 1)):
        with pytest.raises(MisuseError, match=f"{height} x {width} pixels.*at least {side} x {side}"):
            network(torch.zeros(1, 3, height, width))
    if norm != "none":
        with pytest.raises((RuntimeError, ValueError)):
            network.layers(torch.zeros(1, 3, side - 1, side - 1))


def test_a_discriminator_without_layers_is_refused():
    for config in (patchgan.Config(layers=-1), imagegan.Config(layers=0)):
        with pytest.raises(MisuseError, match="at least one layer"):
            config.build(inputs=3)


# All networks


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter_but_biases_that_instance_norm_undoes(name, norm):
    network = small(name, norm).double()
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.3)
    network(torch.randn(2, 3, 64, 64, dtype=torch.float64)).square().mean().backward()
    flat = {where for where, weights in network.named_parameters() if weights.grad.abs().max() < 1e-9}
    layers = network.layers if name in DISCRIMINATORS else []
    undone = {f"layers.{i - 1}.bias" for i, layer in enumerate(layers) if isinstance(layer, nn.InstanceNorm2d)}
    assert flat == undone


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", SMALL)
def test_the_norm_is_the_one_asked_for(name, norm):
    kinds = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
    found = {
        kind for kind, layer in kinds.items() if any(isinstance(each, layer) for each in small(name, norm).modules())
    }
    assert found == {norm} - {"none"}


@pytest.mark.parametrize("name", SMALL)
def test_networks_leave_their_input_alone(name):
    picture = torch.randn(1, 3, 64, 64)
    before = picture.clone()
    small(name)(picture)
    assert torch.equal(picture, before)


def test_initial_weights_are_the_papers():
    network = unet_of(depth=6, width=16)
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            mean, std = 0.0, 0.02
        elif isinstance(layer, nn.BatchNorm2d):
            mean, std = 1.0, 0.02
        else:
            continue
        n = layer.weight.numel()
        assert abs(layer.weight.mean() - mean) < 5 * std / n**0.5
        assert abs(layer.weight.std() - std) < 5 * std / (2 * n) ** 0.5
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("name", SMALL)
def test_the_global_seed_decides_the_weights(name):
    def weights(seed):
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(small(name).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


# Small layers as products of matrices


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(4, 2, 1), (3, 1, 1), (1, 1, 0), (4, 1, 1)])
@pytest.mark.parametrize("kind", [_layers.Conv2d, _layers.ConvTranspose2d])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 4, 4), (3, 4, 2), (2, 6, 3)])
def test_a_product_of_matrices_is_the_convolution(monkeypatch, kind, kernel, stride, pad, batch, height, width):
    layer = kind(3, 5, kernel, stride, padding=pad).double()
    image = torch.randn(batch, 3, height, width, dtype=torch.float64, requires_grad=True)

    def run(few):
        monkeypatch.setattr(_layers, "FEW", few)
        output = layer(image)
        first = torch.autograd.grad(output.square().sum(), [image, *layer.parameters()], create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), layer.parameters())
        return [output, *first, *second]

    for one, other in zip(run(0), run(10**6), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_a_product_of_matrices_has_the_rows_that_output_padding_adds(monkeypatch):
    layer = _layers.ConvTranspose2d(3, 5, 3, stride=2, padding=1, output_padding=1).double()
    image = torch.randn(2, 3, 4, 3, dtype=torch.float64)
    monkeypatch.setattr(_layers, "FEW", 0)
    expected = layer(image)
    monkeypatch.setattr(_layers, "FEW", 10**6)
    assert expected.shape == (2, 5, 8, 6)
    torch.testing.assert_close(layer(image), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "more", "channels"),
    [(4, 2, 1, 0, 1), (4, 2, 1, 1, 3), (6, 2, 2, 1, 2), (6, 3, 1, 0, 1), (4, 4, 0, 0, 1), (3, 1, 2, 0, 1)],
)
def test_few_channels_are_a_product_and_a_sum_of_its_parts(monkeypatch, kernel, stride, pad, more, channels):
    layer = _layers.ConvTranspose2d(5, channels, kernel, stride, padding=pad, output_padding=more).double()
    image = torch.randn(3, 5, 6, 4, dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr(_layers, "FEW", 0)

    def run(thin):
        monkeypatch.setattr(_layers, "THIN", thin)
        assert layer._thin(image) == bool(thin)
        output = layer(image)
        first = torch.autograd.grad(output.square().sum(), [image, *layer.parameters()], create_graph=True)
        return [output, *first, *torch.autograd.grad(first[0].square().sum(), layer.parameters())]

    for one, other in zip(run(0), run(3), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("more", [0, 1])
def test_a_bias_that_is_added_by_itself_is_pytorchs(bias, more):
    layer = _layers.ConvTranspose2d(5, 4, 3, 2, padding=1, output_padding=more, bias=bias).double()
    image = torch.randn(3, 5, 9, 8, dtype=torch.float64, requires_grad=True)
    outputs = layer(image), nn.ConvTranspose2d.forward(layer, image)
    assert ("Add" in outputs[0].grad_fn.name()) == bias
    results = [
        [output, *torch.autograd.grad(output.square().sum(), [image, *layer.parameters()])] for output in outputs
    ]
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        assert torch.equal(layer(image), nn.ConvTranspose2d.forward(layer, image))
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(image.float()).dtype == torch.bfloat16


def test_few_channels_are_left_to_the_kernels_where_blocks_do_not_fit():
    image = torch.randn(1, 5, 9, 9)
    assert not _layers.ConvTranspose2d(5, 1, 3, stride=2, padding=1)._thin(image)
    assert not _layers.ConvTranspose2d(5, 1, 4, stride=2, output_padding=1)._thin(image)
    assert not _layers.ConvTranspose2d(5, 4, 4, stride=2)._thin(image)


def check_rounding(exact, kernel, product):
    """Check that a product is about as near to what float32 gives as the kernels of 16 bits are."""
    errors = [(each - exact).square().mean().sqrt() for each in (kernel, product)]
    assert 0 < errors[0] < 0.02 * exact.square().mean().sqrt()
    assert 0 < errors[1] < max(2 * errors[0], 0.01 * exact.square().mean().sqrt())


def test_few_channels_under_autocast_round_like_the_kernels_forward_and_backward(monkeypatch):
    layer = _layers.ConvTranspose2d(32, 1, 4, stride=2, padding=1)
    image = torch.randn(8, 32, 14, 14, requires_grad=True)

    def run(thin, precision=torch.bfloat16):
        monkeypatch.setattr(_layers, "THIN", thin)
        assert layer._thin(image) == bool(thin)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            output = layer(image)
        assert output.dtype == precision
        return [output.float(), *torch.autograd.grad(output.float().square().sum(), [image, *layer.parameters()])]

    for exact, kernel, blocks in zip(run(0, torch.float32), run(0), run(3), strict=True):
        check_rounding(exact, kernel, blocks)


def test_few_channels_in_weights_that_are_held_in_16_bits_are_left_to_the_kernels():
    layer = _layers.ConvTranspose2d(5, 1, 4, stride=2).bfloat16()
    image = torch.randn(1, 5, 9, 9).bfloat16()
    assert not layer._thin(image)
    assert layer(image).dtype == torch.bfloat16


def derivatives(function, *inputs):
    """Return what a function gives, its gradients, and the gradients of those by all but the first input."""
    output = function()
    first = torch.autograd.grad(output.square().sum(), inputs, create_graph=True)
    return [output, *first, *torch.autograd.grad(first[0].square().sum(), inputs[1:2])]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 9)])
@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "stride", "pad"),
    [
        (1, 5, 4, 2, 1),
        (3, 5, 4, 2, 0),
        (2, 5, 6, 2, 2),
        (1, 5, 3, 3, 1),
        (5, 1, 3, 1, 1),
        (5, 3, 3, 1, 0),
        (5, 2, 2, 1, 1),
    ],
)
def test_a_convolution_of_few_channels_is_a_product_where_channels_are_last(
    monkeypatch, channels, outputs, kernel, stride, pad, height, width, bias
):
    monkeypatch.setattr(_layers, "FEW", 0)
    layer = _layers.Conv2d(channels, outputs, kernel, stride, padding=pad, bias=bias).double()
    image = torch.randn(3, channels, height, width, dtype=torch.float64, requires_grad=True)
    inputs = image, *layer.parameters()
    expected = derivatives(lambda: nn.Conv2d.forward(layer, image), *inputs)
    monkeypatch.setattr(nn.Conv2d, "forward", None)
    found = derivatives(lambda: layer(_layers.channels_last(image)), *inputs)
    assert found[0].stride(1) == 1 or outputs < channels
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("most", [1, 2**25])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("more", [None, 0, 1])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(4, 2, 1), (3, 2, 1), (3, 2, 0), (2, 3, 0), (5, 1, 2)])
def test_the_gradient_of_strided_weights_as_a_product_is_the_gradient(
    monkeypatch, kernel, stride, pad, more, bias, most
):
    monkeypatch.setattr(_products, "MOST", most)
    if more and more >= stride:
        pytest.skip("PyTorch refuses it.")
    image = torch.randn(2, 3, 9, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(*((4, 3) if more is None else (3, 4)), kernel, kernel, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(4, dtype=torch.float64, requires_grad=True) if bias else None
    inputs = [each for each in (image, weight, offset) if each is not None]

    def theirs():
        if more is None:
            return nn.functional.conv2d(image, weight, offset, stride, pad)
        return nn.functional.conv_transpose2d(image, weight, offset, stride, pad, more)

    def mine():
        return _products.strided(image, weight, offset, stride=stride, pad=pad, more=more)

    for one, other in zip(derivatives(mine, *inputs), derivatives(theirs, *inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("more", [None, 0])
def test_of_a_strided_convolution_only_those_gradients_are_computed_that_are_asked_for(more):
    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made.append(function.overloadpacket)
            return function(*args, **kwargs or {})

    image, weight = torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(4, 4, 4, 4, requires_grad=True)
    for asked, expected in ((image, (1, 0)), (weight, (0, 1))):
        made = []
        loss = _products.strided(image, weight, None, stride=2, pad=1, more=more).sum()
        with Calls():
            loss.backward(inputs=[asked])
        assert (made.count(torch.ops.aten.convolution), made.count(torch.ops.aten.mm)) == expected
    assert image.grad.shape == image.shape
    assert weight.grad.shape == weight.shape


@pytest.mark.parametrize("sizes", [(1, 8, 4, 2), (8, 1, 3, 1)])
def test_products_of_few_channels_under_autocast_round_like_the_kernels(monkeypatch, sizes):
    layer = _layers.Conv2d(*sizes, padding=1)
    image = torch.randn(8, sizes[0], 14, 14, requires_grad=True)

    def run(thin, precision=torch.bfloat16):
        monkeypatch.setattr(_layers, "THIN", thin)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            output = layer(_layers.channels_last(image))
        assert output.dtype == precision
        return [output.float(), *torch.autograd.grad(output.float().square().sum(), [image, *layer.parameters()])]

    for exact, kernel, product in zip(run(0, torch.float32), run(0), run(3), strict=True):
        check_rounding(exact, kernel, product)


def test_what_autocast_leaves_alone_is_left_in_64_bits():
    image = torch.randn(2, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    layers = nn.Sequential(_layers.Conv2d(1, 8, 4, 2, padding=1), _layers.Conv2d(8, 8, 4, 2, padding=1)).double()
    with torch.autocast("cpu", torch.bfloat16):
        assert layers(_layers.channels_last(image)).dtype == torch.float64


@pytest.mark.parametrize("kind", [_layers.Conv2d, _layers.ConvTranspose2d])
def test_a_strided_convolution_in_16_bits_rounds_like_the_kernels(monkeypatch, kind):
    layer = kind(8, 12, 4, 2, padding=1)
    image = torch.randn(8, 8, 14, 14).contiguous(memory_format=torch.channels_last).requires_grad_()

    def run(*, ours, precision=torch.bfloat16):
        forward = layer if ours else partial(type(layer).__base__.forward, layer)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            output = forward(image)
        assert (output.grad_fn.name() == "_StridedBackward") == ours
        return [output.float(), *torch.autograd.grad(output.float().square().sum(), [image, *layer.parameters()])]

    for exact, kernel, product in zip(
        run(ours=False, precision=torch.float32), run(ours=False), run(ours=True), strict=True
    ):
        check_rounding(exact, kernel, product)


@pytest.mark.parametrize("kind", [_layers.Conv2d, _layers.ConvTranspose2d])
def test_a_strided_convolution_is_left_to_the_kernels_where_a_product_is_no_faster(kind):
    layer, image = kind(8, 12, 4, 2, padding=1), torch.randn(8, 8, 14, 14)
    last = image.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(image).grad_fn.name() != "_StridedBackward"
        assert layer(last).grad_fn.name() == "_StridedBackward"
        with torch.no_grad():
            assert layer(last).grad_fn is None
    assert layer(last).grad_fn.name() != "_StridedBackward"


def test_flattening_hands_back_a_gradient_that_lies_as_the_features_do():
    features = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen = []
    flat = _layers.Flatten()(features)
    features.register_hook(seen.append)
    assert torch.equal(flat, nn.Flatten()(features))
    weight = torch.randn_like(flat)
    (flat * weight).sum().backward()
    assert torch.equal(features.grad, weight.view(2, 3, 4, 5))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_with_channels_last_are_the_same_pictures(channels):
    image = torch.randn(2, channels, 4, 5)
    last = _layers.channels_last(image)
    assert torch.equal(last, image)
    assert last.stride() == (20 * channels, 1, 5 * channels, channels)


def test_a_layer_of_few_pixels_looks_at_its_weights_once():
    layer = nn.utils.parametrizations.spectral_norm(_layers.Conv2d(3, 5, 3, padding=1))
    looked = []
    layer.parametrizations.weight[0].register_forward_hook(lambda *_: looked.append(1))
    layer(torch.randn(1, 3, 4, 4))
    assert len(looked) == 1


def test_reflected_padding_can_be_looked_at_without_a_device():
    with torch.device("meta"):
        assert _layers.ReflectionPad2d(2)(torch.empty(1, 3, 6, 5)).shape == (1, 3, 10, 9)


def test_reflected_padding_keeps_16_bits_under_autocast():
    picture = torch.randn(2, 3, 6, 5).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        padded = _layers.ReflectionPad2d(2)(picture)
    expected = nn.functional.pad(picture.detach().float(), (2, 2, 2, 2), mode="reflect")
    assert padded.dtype == torch.bfloat16
    assert padded.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(padded.float(), expected)
    padded.sum().backward()
    assert picture.grad.sum() == padded.numel()


@pytest.mark.parametrize("count", [1, 3])
def test_instance_norm_leaves_channels_last_where_they_are(count):
    mine, theirs = _layers.InstanceNorm2d(4), nn.InstanceNorm2d(4)
    picture = 5 + torch.randn(count, 4, 6, 5, dtype=torch.float64)
    last = picture.contiguous(memory_format=torch.channels_last).requires_grad_()
    plain = picture.clone().requires_grad_()
    one, other = mine(last), theirs(plain)
    assert one.is_contiguous(memory_format=torch.channels_last)
    weight = torch.randn_like(picture)
    (one * weight).sum().backward()
    (other * weight).sum().backward()
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(last.grad, plain.grad, rtol=1e-10, atol=1e-10)


def test_small_layers_are_products_in_float32_even_under_autocast():
    layer, small, large = _layers.Conv2d(2, 3, 4, 2, padding=1), torch.ones(1, 2, 8, 8), torch.ones(1, 2, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(small).dtype == torch.float32
        assert layer(large).dtype == torch.bfloat16
