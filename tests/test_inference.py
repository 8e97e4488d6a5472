"""Norms and dropout when nothing is learnt."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from arzhang import inference
from arzhang.networks import _layers, unet
from arzhang.rng import generator


def pictures(*shape, seed=0):
    return 3 * torch.randn(*shape, generator=generator(seed, "pictures")) + 1


@pytest.fixture(params=["batch", "instance", "none"])
def network(request):
    """A network in training mode that has seen a few batches."""
    torch.manual_seed(0)
    made = unet.Config(depth=5, width=4, norm=request.param).build(inputs=3, outputs=3)
    with torch.no_grad():
        for seed in range(3):
            made(pictures(4, 3, 32, 32, seed=seed))
    return made


@pytest.fixture
def untouched(network):
    """Hold that a test leaves the network and the global generator as they were."""
    before = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    modes = [module.training for module in network.modules()]
    yield
    assert [module.training for module in network.modules()] == modes
    assert not any("forward" in vars(module) for module in network.modules())
    assert torch.equal(torch.get_rng_state(), before[1])
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[0][name])


@pytest.fixture(params=[True, False], ids=["train", "eval"])
def mode(request, network):
    network.train(request.param)


def run(network, x, *, seed=None):
    with torch.no_grad(), inference.dropout(network, seed=seed):
        return network(x)


@pytest.mark.parametrize(("precision", "kind"), [("float32", "ieee"), ("tf32", "tf32")])
def test_a_precision_is_that_of_products_on_gpus_while_it_lasts(precision, kind):
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [each.fp32_precision for each in kinds]
    with inference.computing(precision, torch.device("cuda")):
        assert [each.fp32_precision for each in kinds] == [kind, kind]
    assert [each.fp32_precision for each in kinds] == before
    with inference.computing(precision, torch.device("cpu")):
        assert [each.fp32_precision for each in kinds] == before


@pytest.mark.usefixtures("mode", "untouched")
def test_a_picture_does_not_depend_on_those_beside_it(network):
    x = pictures(3, 3, 32, 64)
    with inference.own_statistics(network):
        together = run(network, x)
        alone = torch.cat([run(network, picture) for picture in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("untouched")
def test_own_statistics_are_those_of_training_at_batch_one(network):
    x = pictures(1, 3, 32, 32)
    twin = copy.deepcopy(network)
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad(), inference.own_statistics(network):
        torch.testing.assert_close(run(network, x), twin(x), rtol=1e-5, atol=1e-5)


def test_own_statistics_normalise_each_channel_of_each_picture():
    norm = nn.BatchNorm2d(2).eval()
    nn.init.constant_(norm.weight, 2.0)
    nn.init.constant_(norm.bias, 1.0)
    x = pictures(3, 2, 16, 16)
    with inference.own_statistics(norm):
        y = norm(x)
    mean, std = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True).add(norm.eps).sqrt()
    torch.testing.assert_close(y, 2 * (x - mean) / std + 1)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_tiles_that_share_the_statistics_of_the_whole_make_up_the_whole(norm):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), norm(4), nn.ReLU(), nn.Conv2d(4, 3, 1), norm(3)).eval()
    x = pictures(1, 3, 32, 32)
    with torch.no_grad():
        with inference.own_statistics(network):
            whole = network(x)
        tiles = torch.cat([x[..., :16, :16], x[..., :16, 16:], x[..., 16:, :16], x[..., 16:, 16:]])
        with inference.shared_statistics(network):
            network(tiles)
            upper_left, upper_right, lower_left, lower_right = (network(tile) for tile in tiles.split(1))
    halves = torch.cat([upper_left, upper_right], 3), torch.cat([lower_left, lower_right], 3)
    torch.testing.assert_close(torch.cat(halves, 2), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("mode", "untouched")
def test_shared_statistics_are_those_of_the_first_batch(network):
    first, later = pictures(2, 3, 32, 32), pictures(1, 3, 32, 32, seed=1)
    with inference.shared_statistics(network):
        together = run(network, first)
        torch.testing.assert_close(run(network, first[1:]), together[1:], rtol=1e-5, atol=1e-5)
        once = run(network, later)
        assert torch.equal(run(network, later), once)
    with inference.shared_statistics(network):
        afresh = run(network, later)
    normalised = any(isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d) for module in network.modules())
    assert torch.equal(once, afresh) != normalised


@pytest.mark.usefixtures("untouched")
def test_the_outer_statistics_hold_inside_others(network):
    x, y = pictures(2, 3, 32, 32), pictures(1, 3, 32, 32, seed=1)
    with inference.shared_statistics(network):
        run(network, x)
        shared = run(network, y)
        with inference.own_statistics(network):
            assert torch.equal(run(network, y), shared)
        assert torch.equal(run(network, y), shared)
    with inference.own_statistics(network):
        own = run(network, y)
        with inference.shared_statistics(network):
            assert torch.equal(run(network, y), own)
        assert torch.equal(run(network, y), own)


@pytest.mark.usefixtures("mode", "untouched")
def test_noise_is_a_function_of_its_seed(network):
    x = pictures(1, 3, 32, 32)
    with inference.own_statistics(network):
        outputs = [run(network, x, seed=seed) for seed in (1, 1, 2, None, None)]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[3])
    assert torch.equal(outputs[3], outputs[4])


def test_noise_drops_what_it_is_asked_to():
    layer = nn.Dropout(0.25).eval()
    with inference.dropout(layer, seed=0):
        kept = (layer(torch.ones(100_000)) > 0).float().mean()
    assert abs(kept - 0.75) < 5 * (0.25 * 0.75 / 100_000) ** 0.5
    with inference.dropout(layer.train(), seed=None):
        assert torch.equal(layer(torch.ones(100)), torch.ones(100))


@pytest.mark.usefixtures("mode", "untouched")
@pytest.mark.parametrize(
    "context", [inference.own_statistics, inference.shared_statistics, lambda n: inference.dropout(n, seed=1)]
)
def test_everything_is_as_before_after_an_error(network, context):
    def fail():
        with inference.own_statistics(network):
            run(network, pictures(1, 3, 32, 32))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), context(network):
        fail()


@pytest.mark.parametrize(("channels", "side"), [(4, 16), (64, 4)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_own_statistics_are_instance_norm_whatever_the_layout(channels, side, layout):
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight)
    x = pictures(3, channels, side, side)
    with torch.no_grad(), inference.own_statistics(norm):
        made = norm(x.contiguous(memory_format=layout))
    expected = F.instance_norm(x, weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


def test_statistics_of_bfloat16_are_taken_in_float32():
    x = pictures(2, 4, 64, 64).bfloat16() + 100  # where neighbours in bfloat16 are half a unit apart
    norm = nn.BatchNorm2d(4)
    for context in (inference.own_statistics, inference.shared_statistics):
        with torch.no_grad(), context(norm):
            made, exact = norm(x), norm(x.float())
        torch.testing.assert_close(made.float(), exact, rtol=0.01, atol=0.05)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_that_are_held_for_inference_say_the_same(network, precision, monkeypatch):
    monkeypatch.setattr(_layers, "MANY", 1)
    x = pictures(2, 3, 64, 64)
    with inference.own_statistics(network):
        expected = run(network, x)
        inference.hold_weights(network, precision=precision)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            made = run(network, x)
    tolerance = 1e-5 if precision == "float32" else 0.1
    torch.testing.assert_close(made.float(), expected, rtol=tolerance, atol=tolerance)


def test_buffers_never_say_what_a_picture_looks_like():
    norm = nn.BatchNorm2d(1).eval()
    norm.running_mean.fill_(100)
    x = pictures(1, 1, 8, 8)
    for context in (inference.own_statistics, inference.shared_statistics):
        with context(norm):
            torch.testing.assert_close(norm(x), F.instance_norm(x))
