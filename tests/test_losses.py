import math
from operator import attrgetter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from arzhang import losses
from arzhang.losses import hinge, l1, l2, lsgan, minimax, vanilla, wgan_gp
from arzhang.networks import imagegan, patchgan, pixelgan
from arzhang.rng import generator

ADVERSARIAL = ["hinge", "lsgan", "minimax", "vanilla", "wgan_gp"]
BY_NAME = pytest.mark.parametrize("loss", [getattr(losses, name) for name in ADVERSARIAL], ids=ADVERSARIAL)


def logits(seed, scale=3.0):
    return scale * torch.randn(4, 1, 5, 6, generator=generator(seed), dtype=torch.float64)


def pictures(seed, *shape):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def mean(function, *tensors):
    """The mean over everything of a function of plain numbers."""
    rows = list(zip(*(tensor.flatten().tolist() for tensor in tensors), strict=True))
    return math.fsum(function(*row) for row in rows) / len(rows)


def cross_entropy(x, label):
    return F.binary_cross_entropy(x.sigmoid(), torch.full_like(x, label)).item()


# Closed forms


@pytest.mark.parametrize("loss", [vanilla, minimax], ids=["vanilla", "minimax"])
def test_the_discriminator_of_the_original_game_lowers_the_cross_entropy(loss):
    real, fake = logits(0), logits(1)
    expected = cross_entropy(real, 1) + cross_entropy(fake, 0)
    assert loss.discriminator(real, fake).item() == pytest.approx(expected, rel=1e-12)


def test_the_vanilla_generator_lowers_the_cross_entropy_of_real():
    assert vanilla.generator(logits(1)).item() == pytest.approx(cross_entropy(logits(1), 1), rel=1e-12)


def test_the_minimax_generator_raises_the_cross_entropy_of_fake():
    assert minimax.generator(logits(1)).item() == pytest.approx(-cross_entropy(logits(1), 0), rel=1e-12)


def test_lsgan_is_the_squared_distance_to_its_labels():
    real, fake = logits(0), logits(1)
    expected = mean(lambda r, f: (r - 1) ** 2 + f**2, real, fake)
    assert lsgan.discriminator(real, fake).item() == pytest.approx(expected, rel=1e-12)
    assert lsgan.generator(fake).item() == pytest.approx(mean(lambda f: (f - 1) ** 2, fake), rel=1e-12)


def test_hinge_counts_what_falls_short_of_the_margin():
    real, fake = logits(0), logits(1)
    expected = mean(lambda r, f: max(0, 1 - r) + max(0, 1 + f), real, fake)
    assert hinge.discriminator(real, fake).item() == pytest.approx(expected, rel=1e-12)
    assert hinge.generator(fake).item() == pytest.approx(mean(lambda f: -f, fake), rel=1e-12)


def test_wgan_is_the_difference_of_the_mean_logits():
    real, fake = logits(0), logits(1)
    assert wgan_gp.discriminator(real, fake).item() == pytest.approx(mean(lambda r, f: f - r, real, fake), rel=1e-12)
    assert wgan_gp.generator(fake).item() == pytest.approx(mean(lambda f: -f, fake), rel=1e-12)


def test_l1_and_l2_are_means_over_everything():
    output, target = pictures(0, 2, 3, 4, 5), pictures(1, 2, 3, 4, 5)
    assert l1(output, target).item() == pytest.approx(mean(lambda y, t: abs(y - t), output, target), rel=1e-12)
    assert l2(output, target).item() == pytest.approx(mean(lambda y, t: (y - t) ** 2, output, target), rel=1e-12)


# What all adversarial losses have in common


@BY_NAME
def test_losses_do_not_depend_on_the_number_of_patches(loss):
    real, fake = logits(0), logits(1)
    once = loss.discriminator(real, fake), loss.generator(fake)
    real, fake = real.repeat(1, 1, 2, 3), fake.repeat(1, 1, 2, 3)
    torch.testing.assert_close((loss.discriminator(real, fake), loss.generator(fake)), once)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@BY_NAME
def test_losses_and_gradients_are_finite_for_sure_discriminators(loss, dtype):
    for sign in (1, -1):
        real, fake = (torch.full((1, 1, 2, 2), s * 100.0, dtype=dtype, requires_grad=True) for s in (sign, -sign))
        values = loss.discriminator(real, fake), loss.generator(fake)
        sum(values).backward()
        assert all(value.isfinite() and value.dtype == dtype for value in values)
        assert real.grad.isfinite().all()
        assert fake.grad.isfinite().all()


def test_cross_entropies_are_exact_where_sigmoids_round_to_one():
    sure = torch.full((1, 1, 1, 1), 40.0, dtype=torch.float64)
    rest = math.log1p(math.exp(-40))
    assert vanilla.generator(sure).item() == pytest.approx(rest, rel=1e-14)
    assert minimax.generator(-sure).item() == pytest.approx(-rest, rel=1e-14)
    assert vanilla.discriminator(sure, -sure).item() == pytest.approx(2 * rest, rel=1e-14)


def test_minimax_saturates_where_vanilla_does_not():
    found_out = torch.full((1, 1, 1, 1), -20.0, dtype=torch.float64, requires_grad=True)
    (strong,) = torch.autograd.grad(vanilla.generator(found_out), found_out)
    (weak,) = torch.autograd.grad(minimax.generator(found_out), found_out)
    assert strong.item() == pytest.approx(-1 / (1 + math.exp(-20)), rel=1e-12)
    assert weak.item() == pytest.approx(-1 / (1 + math.exp(20)), rel=1e-12)


# The gradient penalty


def linear(weights, size=1):
    return lambda picture: (picture * weights).sum(dim=(1, 2, 3), keepdim=True).expand(-1, 1, size, size)


@pytest.mark.parametrize("size", [1, 4])
def test_the_penalty_of_a_linear_critic_is_its_distance_from_slope_one(size):
    weights = pictures(0, 3, 4, 5).requires_grad_()
    real, fake = pictures(1, 2, 3, 4, 5), pictures(2, 2, 3, 4, 5)
    penalty = wgan_gp.penalty(linear(weights, size), real, fake, generator(0))
    norm = weights.detach().norm()
    torch.testing.assert_close(penalty.detach(), (norm - 1) ** 2)
    penalty.backward()
    torch.testing.assert_close(weights.grad, 2 * (norm - 1) * weights.detach() / norm)


def test_the_penalty_is_taken_between_real_and_fake_at_one_place_for_each_picture():
    real, fake = pictures(1, 5, 3, 4, 4), pictures(2, 5, 3, 4, 4)
    places = []

    def bowl(picture):  # its slope at x is x
        places.append(picture.detach())
        return picture.square().sum(dim=(1, 2, 3), keepdim=True) / 2

    penalty = wgan_gp.penalty(bowl, real, fake, generator(0))
    shares = (places[0] - real) / (fake - real)
    each = shares.flatten(1).mean(1)
    torch.testing.assert_close(shares, each[:, None, None, None].expand_as(shares), rtol=0, atol=1e-9)
    assert 0 <= each.min() < each.max() < 1
    torch.testing.assert_close(penalty.detach(), (places[0].flatten(1).norm(dim=1) - 1).square().mean())
    assert torch.equal(penalty, wgan_gp.penalty(bowl, real, fake, generator(0)))
    assert not torch.equal(penalty, wgan_gp.penalty(bowl, real, fake, generator(1)))


def test_the_second_derivatives_of_the_penalty_are_right():
    real, fake = pictures(1, 2, 2, 3, 3), pictures(2, 2, 2, 3, 3)

    def penalty(inner, outer):
        return wgan_gp.penalty(lambda x: F.conv2d(F.conv2d(x, inner).tanh(), outer), real, fake, generator(0))

    inner, outer = pictures(3, 3, 2, 2, 2).requires_grad_(), pictures(4, 1, 3, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(penalty, (inner, outer))


def test_the_penalty_moves_only_the_critic():
    weights, real, fake = (pictures(i, 1, 3, 4, 4).requires_grad_() for i in range(3))
    wgan_gp.penalty(lambda picture: linear(weights)(picture.square()), real, fake, generator(0)).backward()
    assert real.grad is fake.grad is None
    assert weights.grad.any()


@pytest.mark.parametrize("norm", ["none", "instance"])
@pytest.mark.parametrize(
    "config", [imagegan.Config, patchgan.Config, pixelgan.Config], ids=["imagegan", "patchgan", "pixelgan"]
)
def test_the_penalty_reaches_the_weights_of_every_discriminator(config, norm):
    torch.manual_seed(0)
    network = config(width=2, norm=norm).build(inputs=3).double()
    wgan_gp.penalty(network, pictures(0, 2, 3, 64, 64), pictures(1, 2, 3, 64, 64), generator(0)).backward()
    convolutions = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    assert all(map(torch.any, map(attrgetter("weight.grad"), convolutions)))


def test_the_penalty_is_in_full_precision_under_autocast():
    torch.manual_seed(0)
    network = patchgan.Config(width=4, norm="none").build(inputs=3)
    real, fake = pictures(0, 2, 3, 64, 64).float(), pictures(1, 2, 3, 64, 64).bfloat16()
    plain = wgan_gp.penalty(network, real, fake, generator(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert network(real).dtype == torch.bfloat16
        assert torch.equal(wgan_gp.penalty(network, real, fake, generator(0)), plain)


def test_training_against_the_penalty_draws_the_slope_to_one():
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(1, 8, 3), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 2))
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-2)
    real, fake = (pictures(i, 16, 1, 4, 4).float() for i in range(2))

    def penalty(step):
        return wgan_gp.penalty(critic, real, fake, generator(0, step))

    assert penalty(0) > 0.3
    for step in range(200):
        optimiser.zero_grad()
        penalty(step).backward()
        optimiser.step()
    assert penalty(200) < 0.01
