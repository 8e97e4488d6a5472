"""Translation without pairs: what the players lower, the pool of past fakes, the two piles, and runs that go on.

Runs of the command are forks of one process that has imported everything; they are killed, and started again.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from arzhang import config, images, layout, plugins
from arzhang.data import domains, paired, unpaired
from arzhang.evaluate import How, _source, evaluate_pairs
from arzhang.loading import batches
from arzhang.models import cyclegan, pix2pix
from arzhang.networks import patchgan, resnet, unet
from arzhang.report import exchange
from arzhang.rng import generator
from arzhang.run import changed, from_recipe
from arzhang.train import begin, play, train
from arzhang.translate import Translator, load
from arzhang.types import ArzhangError, Batch, MisuseError

CPU, EAGER = torch.device("cpu"), torch.autocast("cpu", enabled=False)
SMALL = cyclegan.Config(
    generator=resnet.Config(blocks=1, width=2),
    discriminator=patchgan.Config(layers=1, width=3, norm="instance"),
    pool=3,
)


def game_of(**values):
    torch.manual_seed(0)
    return replace(SMALL, **values).build()


def batch_of(seed=0, *, size=16, count=1, channels=(3, 3)):
    a, b = (
        torch.rand(count, each, size, size, generator=generator(seed, which)) * 2 - 1
        for which, each in zip("ab", channels, strict=True)
    )
    return Batch({"a": a, "b": b})


def calls(game, names=("a_to_b", "b_to_a", "discriminator_a", "discriminator_b")):
    """Count the pictures of each call of each network."""
    found = {name: [] for name in names}
    for name in names:
        game.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: found[name].append(len(given[0]))
        )
    return found


# Networks


def test_networks_have_the_published_numbers_of_parameters():
    def count(network):
        return sum(parameter.numel() for parameter in network.parameters())

    with torch.device("meta"):
        game = cyclegan.Config().build()
        assert count(game.a_to_b) == count(game.b_to_a) == 11_378_179
        assert count(game.discriminator_a) == count(game.discriminator_b) == 2_764_737
        assert count(resnet.Config(norm="batch").build(inputs=3, outputs=3)) == 11_383_427
        assert count(resnet.Config(blocks=6).build(inputs=3, outputs=3)) == 7_837_699
    assert game.discriminator_a.receptive_field == 70


def test_a_resnet_is_of_the_published_layers():
    network = resnet.Config(width=8, blocks=2).build(inputs=3, outputs=1)
    assert not any(isinstance(each, nn.ReLU) for each in network.layers[10].layers[-1:])  # none after the sum
    kinds = [type(each).__name__ for each in network.layers]
    assert kinds == [
        *("ReflectionPad2d", "Conv2d", "InstanceNorm2d", "ReLU"),
        *("Conv2d", "InstanceNorm2d", "ReLU") * 2,
        *("Block",) * 2,
        *("ConvTranspose2d", "InstanceNorm2d", "ReLU") * 2,
        *("ReflectionPad2d", "Conv2d"),
    ]
    flat = nn.Sequential(*network.layers, nn.Tanh())
    picture = batch_of(size=24).a
    torch.testing.assert_close(network(picture), flat(picture))


def test_a_resnet_computes_what_the_published_layers_do():
    def convolution(inputs, outputs, kernel, **how):
        return [nn.Conv2d(inputs, outputs, kernel, **how), nn.InstanceNorm2d(outputs), nn.ReLU()]

    def block(width):
        pad = nn.ReflectionPad2d(1)
        return nn.Sequential(pad, *convolution(width, width, 3), pad, *convolution(width, width, 3)[:-1])

    class Published(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(
                nn.ReflectionPad2d(3),
                *convolution(3, 4, 7),
                *convolution(4, 8, 3, stride=2, padding=1),
                *convolution(8, 16, 3, stride=2, padding=1),
            )
            self.blocks = nn.ModuleList([block(16), block(16)])
            up = {"stride": 2, "padding": 1, "output_padding": 1}
            self.last = nn.Sequential(
                *(nn.ConvTranspose2d(16, 8, 3, **up), nn.InstanceNorm2d(8), nn.ReLU()),
                *(nn.ConvTranspose2d(8, 4, 3, **up), nn.InstanceNorm2d(4), nn.ReLU()),
                *(nn.ReflectionPad2d(3), nn.Conv2d(4, 3, 7), nn.Tanh()),
            )

        def forward(self, picture):
            features = self.first(picture)
            for each in self.blocks:
                features = features + each(features)
            return self.last(features)

    mine, published = resnet.Config(width=4, blocks=2).build(inputs=3, outputs=3).double(), Published().double()
    with torch.no_grad():
        for one, other in zip(mine.parameters(), published.parameters(), strict=True):
            one.normal_(std=0.3)
            other.copy_(one)
    picture = batch_of(size=32, count=2).a.double()
    torch.testing.assert_close(mine(picture), published(picture), rtol=1e-9, atol=1e-10)


def test_a_resnet_that_enlarges_has_the_size_of_one_that_is_transposed():
    for upsample in ("transposed", "resize"):
        network = resnet.Config(width=2, blocks=1, upsample=upsample).build(inputs=3, outputs=3)
        assert network(torch.zeros(1, 3, 12, 20)).shape == (1, 3, 12, 20)
        assert any(isinstance(each, nn.ConvTranspose2d) for each in network.modules()) == (upsample == "transposed")


def test_a_resnet_that_adds_stays_in_the_range_of_pictures():
    network = resnet.Config(width=4, blocks=2, global_skip=True).build(inputs=3, outputs=3).double()
    with torch.no_grad():
        network.layers[-1].weight.normal_(std=0.3)
    picture = batch_of(size=16, count=2).a.double()
    made, added = network(picture), network.layers(picture).tanh()
    torch.testing.assert_close(made, (picture + added).clamp(-1, 1), rtol=1e-9, atol=1e-10)
    assert (picture + added).abs().max() > 1 >= made.abs().max()


def test_a_resnet_that_adds_without_a_norm_begins_near_the_picture():
    torch.manual_seed(0)
    network = resnet.Config(width=16, norm="none", global_skip=True).build(inputs=3, outputs=3)
    picture = batch_of(size=32, count=2).a
    assert 0 < (network(picture) - picture).abs().max() < 0.1


def test_a_resnet_cannot_add_to_a_picture_of_other_channels():
    with pytest.raises(MisuseError, match=r"cannot add 3 channels to a picture of 1: leave global_skip out"):
        resnet.Config(width=2, blocks=1, global_skip=True).build(inputs=1, outputs=3)


def test_without_a_norm_a_resnet_begins_as_pytorchs_layers_do():
    torch.manual_seed(0)
    plain, normed = (resnet.Config(width=16, norm=norm).build(inputs=3, outputs=3) for norm in ("none", "instance"))
    for one, other in zip(plain.modules(), normed.modules(), strict=True):
        if isinstance(one, nn.Conv2d | nn.ConvTranspose2d):
            bound = one.weight[0].numel() ** -0.5  # of a uniform distribution
            assert 0.95 * bound < one.weight.abs().max() <= bound
            assert abs(other.weight.std() - 0.02) < 5 * 0.02 / (2 * other.weight.numel()) ** 0.5


@pytest.mark.parametrize("side", [4, 18])
def test_a_resnet_refuses_sides_that_it_cannot_halve_twice(side):
    with pytest.raises(MisuseError, match=rf"{side} x {side} pixels .* multiples of 4, at least 8"):
        resnet.Config(width=2, blocks=1).build(inputs=3, outputs=3)(torch.zeros(1, 3, side, side))


def test_pix2pix_draws_with_a_resnet_too():
    game = pix2pix.Config(generator=resnet.Config(width=2, blocks=1), discriminator=patchgan.Config(layers=1, width=2))
    batch = batch_of(size=32)
    moves = [move.player for move in game.build().play(Batch({"source": batch.a, "target": batch.b}))]
    assert moves == ["discriminator", "generator"]


# What the players lower


def reference(game, a, b, *, shown_a, shown_b):
    """The losses as published, a pass for each, and nothing shared."""
    c = game.config
    G, H, D_A, D_B = game.a_to_b, game.b_to_a, game.discriminator_a, game.discriminator_b

    def mse(logits, label):
        return F.mse_loss(logits, torch.full_like(logits, label))

    generators = mse(D_B(G(a)), 1.0) + mse(D_A(H(b)), 1.0)
    generators = generators + c.cycle * (F.l1_loss(H(G(a)), a) + F.l1_loss(G(H(b)), b))
    if c.identity:
        generators = generators + c.identity * (F.l1_loss(G(b), b) + F.l1_loss(H(a), a))
    discriminators = 0.5 * (mse(D_A(a), 1.0) + mse(D_A(shown_a), 0.0)) + 0.5 * (
        mse(D_B(b), 1.0) + mse(D_B(shown_b), 0.0)
    )
    return generators, discriminators


def gradients(loss, game, player):
    parameters = [each for name in game.players[player] for each in game.get_submodule(name).parameters()]
    return torch.autograd.grad(loss, parameters, retain_graph=True)


@pytest.mark.parametrize("values", [{}, {"identity": 0.0}, {"cycle": 3.0, "identity": 1.0}])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_losses_and_gradients_are_those_of_the_formulas(values, norm):
    parts = {"generator": resnet.Config(blocks=1, width=2, norm=norm)}
    parts["discriminator"] = patchgan.Config(layers=1, width=3, norm=norm)
    game = game_of(**parts, **values).double()
    batch = Batch({name: tensor.double() for name, tensor in batch_of(count=2).items()})
    made = game.a_to_b(batch.a).detach(), game.b_to_a(batch.b).detach()
    moves = list(game.play(batch))
    expected = reference(game, batch.a, batch.b, shown_a=made[1], shown_b=made[0])
    assert [move.player for move in moves] == ["generators", "discriminators"]
    for move, loss in zip(moves, expected, strict=True):
        torch.testing.assert_close(move.loss, loss, rtol=1e-12, atol=0)
        mine, theirs = gradients(move.loss, game, move.player), gradients(loss, game, move.player)
        torch.testing.assert_close(
            torch.cat([g.flatten() for g in mine]), torch.cat([g.flatten() for g in theirs]), rtol=1e-9, atol=1e-12
        )
    terms = moves[0].terms
    assert terms.keys() >= {"g_a", "g_b", "cycle_a", "cycle_b"}
    assert ("identity_a" in terms) == bool(game.config.identity)


def test_the_identity_compares_a_picture_of_the_target_with_what_becomes_of_it():
    game, batch = game_of(), batch_of()
    terms = next(game.play(batch)).terms
    torch.testing.assert_close(terms["identity_b"], (game.a_to_b(batch.b) - batch.b).abs().mean())
    torch.testing.assert_close(terms["identity_a"], (game.b_to_a(batch.a) - batch.a).abs().mean())
    assert cyclegan.Config().identity == cyclegan.Config().cycle / 2


@pytest.mark.parametrize(
    ("norm", "identity", "generators", "discriminators"),
    [
        ("instance", 5.0, [2, 1], [1, 2]),
        ("batch", 5.0, [1, 1, 1], [1, 1, 1]),
        ("instance", 0.0, [1, 1], [1, 2]),
        ("none", 5.0, [2, 1], [1, 2]),
    ],
)
def test_passes_are_shared_where_no_statistic_is_of_the_batch(norm, identity, generators, discriminators):
    game = game_of(
        generator=resnet.Config(blocks=1, width=2, norm=norm),
        discriminator=patchgan.Config(layers=1, width=3, norm=norm),
        identity=identity,
    )
    found = calls(game)
    list(game.play(batch_of()))
    assert found["a_to_b"] == found["b_to_a"] == generators
    assert found["discriminator_a"] == found["discriminator_b"] == discriminators


def test_discriminators_see_what_was_made_before_the_generators_moved():
    run = replace(from_recipe("cyclegan"), model=SMALL)
    torch.manual_seed(0)
    state = begin(run, CPU)
    batch = batch_of()
    before = state.game.a_to_b(batch.a)
    list(play(state.game, batch, state.optimisers, rate=1e-2, autocast=EAGER))
    torch.testing.assert_close(state.game.pool_b.pictures, before.detach())
    assert not torch.allclose(state.game.a_to_b(batch.a), before)


def test_a_critic_that_moves_five_times_looks_at_the_pool_once():
    game = game_of(adversarial="wgan-gp")
    assert [move.player for move in game.play(batch_of())] == ["generators", *["discriminators"] * 5]
    assert len(game.pool_a.pictures) == 1
    with pytest.raises(MisuseError, match=r"batch norm mixes them: choose --model\.discriminator\.norm instance"):
        game_of(adversarial="wgan-gp", discriminator=patchgan.Config(layers=1, width=3))


def test_domains_of_unequal_channels_are_translated_without_the_identity():
    with pytest.raises(MisuseError, match=r"it takes 1 and 3 channels: give --model\.identity 0"):
        game_of(a_channels=1)
    game = game_of(a_channels=1, identity=0.0)
    batch = batch_of(channels=(1, 3))
    assert [move.player for move in game.play(batch)] == ["generators", "discriminators"]
    assert game.translate(batch.a).shape == batch.b.shape
    assert game.translate(batch.b, direction="b-to-a").shape == batch.a.shape
    with pytest.raises(MisuseError, match=r"pictures of a have 3 channels .* set --model\.a-channels 3"):
        next(game.play(batch_of()))


@pytest.mark.parametrize(("counts", "sizes"), [((3, 1), (16, 16)), ((1, 1), (16, 24))])
def test_domains_of_unequal_numbers_or_sizes_are_refused(counts, sizes):
    a, b = (batch_of(size=size, count=count).a for size, count in zip(sizes, counts, strict=True))
    with pytest.raises(MisuseError, match=rf"{counts[0]} pictures of A .* and {counts[1]} of B .* as many of each"):
        next(game_of().play(Batch({"a": a, "b": b})))


def test_a_translation_goes_the_way_that_is_asked():
    game, batch = game_of(), batch_of()
    torch.testing.assert_close(game.translate(batch.a), game.a_to_b(batch.a), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(game.translate(batch.a, direction="b-to-a"), game.b_to_a(batch.a), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"adversarial": "l1"}, "compares pictures and does not judge logits"),
        ({"a_channels": 0, "b_channels": 0}, "channels do not exist"),
        ({"pool": -1}, "A pool of -1 pictures does not exist"),
        ({"cycle": -1.0}, r"model\.cycle is -1\.0; it should be a finite weight of at least 0"),
        ({"identity": -5.0}, r"model\.identity is -5\.0"),
        ({"penalty": float("nan")}, r"model\.penalty is nan"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(values, said):
    with pytest.raises(MisuseError, match=said):
        game_of(**values)


def test_pairs_are_refused_by_name():
    batch = batch_of()
    with pytest.raises(MisuseError, match="have source and target, and a CycleGAN learns from a and b"):
        next(game_of().play(Batch({"source": batch.a, "target": batch.b})))


# The pool


def numbered(*numbers):
    return torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1, 1)


def test_a_pool_is_filled_first_and_returns_what_it_is_given():
    pool = cyclegan.Pool(3)
    assert pool(numbered(0, 1)).flatten().tolist() == [0, 1]
    assert pool(numbered(2)).flatten().tolist() == [2]
    assert pool.pictures.flatten().tolist() == [0, 1, 2]


def test_a_full_pool_gives_a_past_picture_half_of_the_time_and_keeps_the_new_one_in_its_place():
    torch.manual_seed(0)
    pool, past, rounds = cyclegan.Pool(50), 0, 2000
    pool(numbered(*range(50)))
    ages = []
    for number in range(50, 50 + rounds):
        before = pool.pictures.flatten().tolist()
        (shown,) = pool(numbered(number)).flatten().tolist()
        after = pool.pictures.flatten().tolist()
        if shown == number:
            assert after == before
        else:
            past += 1
            ages.append(number - shown)
            place = before.index(shown)
            assert after == [*before[:place], number, *before[place + 1 :]]
    assert abs(past - rounds / 2) < 5 * (rounds / 4) ** 0.5
    assert np.mean(ages) > 50  # a picture stays for 100 rounds on average


def test_a_pool_draws_from_the_global_generator_alone():
    def shown(seed):
        pool = cyclegan.Pool(2)
        pool(numbered(0, 1))
        torch.manual_seed(seed)
        return [pool(numbered(number)).item() for number in range(2, 40)]

    assert shown(1) == shown(1) != shown(2)


def test_what_a_pool_has_shown_does_not_change_later():
    torch.manual_seed(0)
    pool = cyclegan.Pool(1)
    given = numbered(0)
    pool(given)
    given.fill_(9)
    assert pool.pictures.item() == 0
    shown = [(seen, seen.item()) for seen in (pool(numbered(number)) for number in range(1, 30))]
    assert all(seen.item() == value for seen, value in shown)
    assert any(value < number for number, (_, value) in enumerate(shown, start=1))


def test_no_pool_shows_what_there_is():
    pool = cyclegan.Pool(0)
    assert [pool(numbered(number)).item() for number in range(5)] == [0, 1, 2, 3, 4]
    assert not len(pool.pictures)


def test_past_pictures_are_no_weights():
    game = game_of()
    list(game.play(batch_of()))
    assert len(game.pool_a.pictures) == len(game.pool_b.pictures) == 1
    assert not any("pool" in name for name in game.state_dict())


# Data


def piles(root, *, a=5, b=3, folders=("trainA", "trainB"), size=(20, 24)):
    """Two folders of plain pictures, whose grey says which picture each is: A from 0, B from 100."""
    for first, count, folder in ((0, a, folders[0]), (100, b, folders[1])):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("RGB", size, (first + index,) * 3).save(root / folder / f"{first} {index}.png")
    return root


def which(picture):
    return round((picture.mean().item() + 1) * 127.5)


def test_the_larger_pile_is_gone_through_and_the_other_drawn_evenly(tmp_path):
    piles(piles(tmp_path, a=9, b=4), a=1, b=2, folders=("testA", "testB"))
    splits = unpaired.Config(root=tmp_path, size=16).build(seed=0)
    assert (len(splits.train), len(splits.held_out)) == (9, 2)
    seen = [(which(each.a), which(each.b)) for each in batches(splits.train, size=1, seed=0, steps=range(9 * 100))]
    for epoch in range(100):
        assert sorted(a for a, _ in seen[9 * epoch : 9 * epoch + 9]) == list(range(9))
    counts = np.array([[seen.count((a, 100 + b)) for b in range(4)] for a in range(9)])
    assert counts.sum() == 900
    expected = 25  # of each of 36 combinations, which are independent
    assert ((counts - expected) ** 2 / expected).sum() < 27 + 5 * (2 * 27) ** 0.5  # chi squared, 9 x 3 degrees
    held_out = [
        (which(example["a"]), which(example["b"])) for example in (splits.held_out.example(i, None) for i in (0, 1))
    ]
    assert held_out == [(0, 100), (0, 101)]


def test_views_of_the_two_pictures_are_drawn_apart(tmp_path):
    ramp = np.linspace(0, 255, 40 * 40 * 3).reshape(40, 40, 3).astype(np.uint8)
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        for index in range(3):
            Image.fromarray(ramp).save(tmp_path / folder / f"{index}.png")
    train = unpaired.Config(root=tmp_path, size=16).build(seed=0).train
    examples = [train.example(0, generator(seed)) for seed in range(20)]
    assert sum(torch.equal(each["a"], each["b"]) for each in examples) < 10


@pytest.mark.parametrize(
    ("a", "b", "folders", "test", "said"),
    [
        (0, 3, ("trainA", "trainB"), True, r"trainA holds no pictures"),
        (1, 3, ("trainA", "trainB"), True, r"Of domain A there is 1 in .* at least 2 pictures"),
        (3, 1, ("A", "B"), False, r"Of domain B there is 1 in .* at least 3 pictures"),
        (3, 3, ("horses", "zebras"), False, r"holds no two folders of pictures; put the two domains into trainA and"),
    ],
)
def test_a_domain_that_cannot_be_learnt_is_refused(tmp_path, a, b, folders, test, said):
    piles(tmp_path, a=a, b=b, folders=folders)
    if test:
        piles(tmp_path, a=1, b=1, folders=("testA", "testB"))
    with pytest.raises(ArzhangError, match=said):
        unpaired.Config(root=tmp_path, size=16).build(seed=0)


def test_folders_of_any_name_are_two_piles_when_they_are_named(tmp_path):
    piles(tmp_path, a=12, b=5, folders=("horses", "zebras"))
    splits = unpaired.Config(root=tmp_path, a="horses", b="zebras", size=16).build(seed=0)
    assert (len(splits.train), len(splits.held_out)) == (11, 1)


def test_a_folder_is_no_pile_beside_itself(tmp_path):
    piles(tmp_path, folders=("horses", "zebras"))
    with pytest.raises(MisuseError, match=r"Both folders are named 'horses', .* name two"):
        unpaired.Config(root=tmp_path, a="horses", b="Horses", size=16).build(seed=0)


def test_half_a_split_is_not_left_out_unseen(tmp_path):
    piles(tmp_path)
    piles(tmp_path, a=3, b=0, folders=("testA", "other"))
    with pytest.raises(ArzhangError, match=r"testA lacks its other half, which .*trainA has; add it"):
        unpaired.Config(root=tmp_path, size=16).build(seed=0)


def test_pairs_are_two_piles_as_well(tmp_path):
    for folder in ("A", "B"):
        for index in range(4):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("RGB", (20, 20)).save(tmp_path / folder / f"{index}.png")
    assert layout.belong_together(layout.survey(tmp_path))
    assert len(unpaired.Config(root=tmp_path, size=16).build(seed=0).train) == 3


def test_a_folder_given_to_a_cyclegan_is_read_as_two_piles_and_to_a_pix2pix_as_pairs(tmp_path):
    piles(tmp_path)
    assert changed(from_recipe("cyclegan-small"), {"data": {"root": str(tmp_path)}}).data == unpaired.Config(
        root=tmp_path, size=128
    )
    pairs = changed(from_recipe("pix2pix-small"), {"data": {"root": str(tmp_path)}}).data
    assert isinstance(pairs, paired.Config)
    with pytest.raises(ArzhangError, match="Without pairs, a CycleGAN learns from both folders: --data unpaired"):
        pairs.build(seed=0)


@pytest.mark.parametrize("change", ["night", "stripes"])
def test_only_held_out_houses_are_known_in_both_domains(change):
    splits = domains.Config(size=32, count=3, held_out=2, change=change).build(seed=0)
    assert splits.train.example(0, generator(0)).keys() == splits.train.example(0, None).keys() == {"a", "b"}
    assert splits.train.domains["a"].example(0, None).keys() == {"image"}
    for domain in ("a", "b"):
        example = splits.held_out.domains[domain].example(0, None)
        darker = {"a": "truth", "b": "image"}[domain]
        lighter = {"a": "image", "b": "truth"}[domain]
        assert example[darker].mean() < example[lighter].mean()


def test_stripes_are_on_the_same_rows_of_every_view():
    train = domains.Config(size=32, count=2, held_out=2, change="stripes").build(seed=0).held_out.domains["b"]
    striped, plain = (
        torch.stack([train.example(0, generator(seed))[name] for seed in range(8)]) for name in ("image", "truth")
    )
    difference = (plain - striped).abs().sum((0, 1, 3)).reshape(8, 4)
    assert (difference[:, 2:] > 0).all()
    assert not difference[:, :2].any()


def test_the_same_dice_give_the_same_house_by_day_and_by_night():
    house = domains.Config(size=64, count=2, held_out=2).build(seed=0).held_out.domains["a"].example(0, None)
    day, night = (images.luma(house[name])[0] for name in ("image", "truth"))
    edges = [
        torch.cat([(each[1:] - each[:-1]).flatten(), (each[:, 1:] - each[:, :-1]).flatten()]) for each in (day, night)
    ]
    assert torch.corrcoef(torch.stack([edge.abs() for edge in edges]))[0, 1] > 0.3


# Runs


FLAGS = """
    --model.generator.blocks 1 --model.generator.width 4 --model.discriminator.layers 1 --model.discriminator.width 4
    --model.pool 4 --data.size 32 --data.count 6 --data.held-out 4 --device cpu --log-every 3 --judge-every 40
"""


def start(forks, folder, flags, processes):
    """Start a run in forks, and return their numbers."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(door.getsockname()[1]), "WORLD_SIZE": str(processes)}
    environments = [{**shared, "RANK": str(rank)} for rank in range(processes)] if processes > 1 else [{}]
    words = ["train", "cyclegan-demo", *FLAGS.split(), *flags.split(), "--out", str(folder)]
    return forks.start(words, folder.with_suffix(".said"), environments=environments)


def end(forks, folder):
    """Wait for a run's end, and return the status of each process, and what they said."""
    return forks.end(), folder.with_suffix(".said").read_text()


def saved(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("checkpoints/*/*")}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_is_killed_goes_on_with_its_pool_to_the_same_bytes(forks, tmp_path, processes):
    flags = f"--steps 20 --checkpoint-every 2 --batch {processes}"
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    start(forks, whole, flags, processes)
    assert end(forks, whole)[0] == [0] * processes, whole.with_suffix(".said").read_text()
    draw, starts = random.Random(processes), []
    for step in (4, 10):
        children = start(forks, folder, flags, processes)
        deadline = time.monotonic() + 90
        while not any(int(path.name) >= step for path in folder.glob("checkpoints/0*")):
            assert time.monotonic() < deadline, folder.with_suffix(".said").read_text()
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.05))
        for child in children:
            os.kill(child, signal.SIGKILL)
        statuses, _ = end(forks, folder)
        assert statuses == [-signal.SIGKILL] * processes
    start(forks, folder, flags, processes)
    statuses, said = end(forks, folder)
    assert statuses == [0] * processes, said
    starts = [int(step) for step in re.findall(r"Going on from step (\d+) of 20", said)]
    assert len(starts) == 2
    assert 4 <= starts[0] < starts[1] < 20
    assert saved(folder) == saved(whole)
    pools = [load_file(whole / f"checkpoints/00000020/process-{rank}.safetensors") for rank in range(processes)]
    for pool in pools:
        assert {name: tensor.shape for name, tensor in pool.items()} == {
            f"pool_{domain}.pictures": (4, 3, 32, 32) for domain in "ab"
        }
    if processes == 2:
        assert not torch.equal(*(pool["pool_a.pictures"] for pool in pools))
        start(forks, folder, flags, 1)
        statuses, said = end(forks, folder)
        assert statuses == [2]
        assert "holds a run of" in said


def test_two_processes_learn_what_one_does_until_a_pool_is_full(forks, tmp_path):
    weights = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        start(forks, folder, "--steps 2 --batch 2", processes)
        assert end(forks, folder)[0] == [0] * processes, folder.with_suffix(".said").read_text()
        found = load_file(folder / "checkpoints/00000002/model.safetensors")
        weights.append(torch.cat([found[name].flatten() for name in sorted(found) if name.endswith("weight")]))
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)


def tiny(root, **values):
    made = {
        "model": {"generator": {"blocks": 1, "width": 4}, "discriminator": {"layers": 1, "width": 4}},
        "data": {"size": 32, "count": 6, "held_out": 4} if root is None else {"root": str(root), "size": 32},
        "steps": 2,
        "judge_every": 2,
        "device": "cpu",
    }
    return changed(from_recipe("cyclegan-demo"), {**made, **values})


def test_a_run_on_houses_is_reported_in_both_directions_and_against_the_truth(tmp_path):
    folder = train(tiny(None), out=tmp_path / "run")
    made = json.loads((folder / "report.json").read_text())
    assert [panel["columns"] for panel in made["panels"]] == [["input", "translated", "cycled back", "truth"]] * 4
    assert [panel["title"].split(",")[0] for panel in made["panels"]] == ["a-to-b", "a-to-b", "b-to-a", "b-to-a"]
    assert made["tables"][0]["columns"] == [
        "direction",
        "L1 to the truth",
        "copying",
        "mean picture",
        "cycle",
        "changed",
    ]
    assert {figure["name"] for figure in made["figures"]} == {
        "L1 of the cycle, held out",
        "L1 to the truth, held out",
        "Best cycle so far",
    }
    logged = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    splits = tiny(None).data.build(seed=0)
    judgement = exchange.Judge.of(splits)(load(folder).game, CPU)
    assert logged["held_out_l1"] == pytest.approx(judgement.logged["l1"])
    game, (a, *_) = load(folder).game, judgement.judge.piles["a"].pictures
    there = game.translate(a)
    torch.testing.assert_close(judgement.there["a"][0], there)
    torch.testing.assert_close(judgement.back["a"][0], game.translate(there, direction="b-to-a"))
    house = splits.held_out.domains["a"].example(0, None)
    first = (there[0] - house["truth"]).abs().mean()
    torch.testing.assert_close(judgement._errors("l1", "a")[0], first)
    for direction, domain in (("a-to-b", "a"), ("b-to-a", "b")):
        found = evaluate_pairs(folder, metrics=["l1"], device="cpu", direction=direction)
        assert found.estimates[0].value == pytest.approx(logged[f"held_out_l1_{domain}"])
        assert found.provenance["direction"] == direction


def test_a_run_on_two_folders_is_judged_by_its_cycle_or_by_sets(tmp_path, arzhang):
    root = piles(piles(tmp_path / "seasons", a=5, b=4), a=4, b=5, folders=("testA", "testB"), size=(33, 40))
    folder = train(tiny(root), out=tmp_path / "run")
    made = json.loads((folder / "report.json").read_text())
    assert made["panels"][0]["columns"] == ["input", "translated", "cycled back"]
    assert made["provenance"]["held-out pictures of B"] == "5 of 5"
    train(tiny(root, best="kid", features="pixels"), out=tmp_path / "kid")
    with pytest.raises(MisuseError, match=r"which nobody knows of two piles: give --best cycle, or a metric of sets"):
        train(tiny(root, best="psnr"), out=tmp_path / "psnr")
    # and what it has learnt is used from the command line, in both directions
    for direction in ("a-to-b", "b-to-a"):
        said = arzhang(
            "translate",
            folder,
            root / "testA",
            "--out",
            tmp_path / direction,
            "--direction",
            direction,
            "--device",
            "cpu",
        )
        assert said.status == 0, said.err
    one, other = (images.read(tmp_path / direction / "0 0.png").pixels for direction in ("a-to-b", "b-to-a"))
    assert one.shape == other.shape == (40, 33, 3)
    assert (one != other).any()
    judging = ("evaluate", folder, "--metrics", "kid", "--features", "pixels", "--device", "cpu", "--json")
    told = [arzhang(*judging, *flags) for flags in ((), ("--direction", "a-to-b"), ("--direction", "b-to-a"))]
    plain, there, back = (json.loads(said.out) for said in told)
    assert plain["estimates"] == there["estimates"] != back["estimates"]
    assert [one["provenance"]["real: pictures"] for one in (plain, back)] == ["5", "4"]
    assert [one["provenance"]["fake: direction"] for one in (plain, back)] == ["a-to-b", "b-to-a"]
    assert "leave it out" in arzhang("evaluate", root / "testA", root / "testB", "--direction", "b-to-a").err
    refused = arzhang("evaluate", folder, "--metrics", "psnr", "--device", "cpu")
    assert refused.status == 2
    assert "Nobody knows what" in refused.err


def test_a_pile_is_measured_with_each_picture_once(tmp_path):
    root = piles(tmp_path, a=9, b=4)
    how = How(data={"root": str(root), "size": 16})
    source = _source("data:unpaired/train", how)
    assert source.count == 3  # of B, one of which is held out, and not the 8 of A


def test_one_held_out_picture_has_no_standard_error(tmp_path):
    root = piles(piles(tmp_path / "seasons"), a=1, b=2, folders=("testA", "testB"))
    (table,) = json.loads((train(tiny(root), out=tmp_path / "run") / "report.json").read_text())["tables"]
    (_, *of_one), (_, *of_two) = table["rows"]
    assert all(float(cell) >= 0 for cell in of_one)
    assert all("±" in cell and "nan" not in cell for cell in of_two)


def test_a_checkpoint_whose_pool_is_damaged_or_gone_is_passed_over(tmp_path, capfd):
    run = tiny(None, steps=3, checkpoint_every=1)
    whole = train(run, out=tmp_path / "whole")
    for number, hurt in enumerate((lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.unlink())):
        folder = shutil.copytree(whole, tmp_path / str(number))
        hurt(folder / "checkpoints/00000003/process-0.safetensors")
        train(run, out=folder)
        assert re.search(r"damaged: process-0\.safetensors is (not what was written|missing)", capfd.readouterr().err)
        for part in ("model", "process-0"):
            name = f"checkpoints/00000003/{part}.safetensors"
            assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_model_of_one_direction_refuses_another(tiny_run):
    with pytest.raises(MisuseError, match="Pix2Pix does not translate b-to-a: leave --direction out"):
        load(tiny_run, direction="b-to-a")


def test_a_translator_of_unequal_channels_knows_both_ends(tmp_path):
    model = {"generator": {"blocks": 1, "width": 4}, "discriminator": {"layers": 1, "width": 4}}
    root = piles(tmp_path / "piles")
    data = {"root": str(root), "size": 32, "a_channels": 1}
    folder = train(tiny(root, model={**model, "identity": 0.0, "a_channels": 1}, data=data), out=tmp_path / "run")
    picture = Image.new("L", (20, 30), 90)
    assert load(folder)(picture).mode == "RGB"
    assert load(folder, direction="b-to-a")(picture).mode == "L"


@pytest.mark.parametrize("model", [cyclegan.Config, pix2pix.Config])
def test_pictures_too_small_to_be_reflected_are_padded(model):
    game = model(generator=resnet.Config(width=2, blocks=1), discriminator=SMALL.discriminator).build().eval()
    translator = Translator(game, from_recipe("cyclegan-demo"), CPU)
    for size in ((1, 1), (3, 40), (4, 8)):
        assert translator(Image.new("RGB", size, (9, 99, 200))).size == size


@pytest.mark.parametrize("side", [30, 4])
def test_sides_that_networks_cannot_halve_are_refused_before_there_is_a_run(tmp_path, side):
    root = piles(tmp_path / "piles")
    with pytest.raises(
        MisuseError, match=rf"{side} x {side} pixels.* multiples of 4, at least 8: .* --data.size (32|8)"
    ):
        train(tiny(root, data={"root": str(root), "size": side}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_report_says_what_undecided_discriminators_lose():
    losses = {name.replace("_", "-"): plugins.find("losses", name) for name in plugins.names("losses")}
    same = [torch.full((1, 1, 1, 1), logit / 10) for logit in range(-20, 21)]
    least = {
        name: min(loss.discriminator(logit, logit).item() for logit in same) / 2
        for name, loss in losses.items()
        if hasattr(loss, "discriminator")
    }
    assert {name: f"{value:.2g}" for name, value in least.items()} == exchange.UNDECIDED


def test_a_cyclegan_on_pairs_is_refused_before_it_trains(tmp_path):
    run = replace(tiny(None), data=config.select(tiny(None), "data", "facade").data)
    with pytest.raises(MisuseError, match=r"have source and target, and to exchange two domains .* --data unpaired"):
        train(run, out=tmp_path / "run")


def test_weights_are_taken_over_without_the_pool(tmp_path):
    first = train(tiny(None), out=tmp_path / "first")
    second = train(
        tiny(None, model={**config.to_dict(tiny(None).model), "pool": 0}), out=tmp_path / "second", init=first
    )
    pool = load_file(second / "checkpoints/00000002/process-0.safetensors")
    assert all(tensor.numel() == 0 for tensor in pool.values())


@pytest.mark.parametrize("recipe", ["cyclegan", "cyclegan-demo", "cyclegan-small", "cyclegan-yosemite"])
def test_recipes_are_the_papers_where_they_do_not_say_otherwise(recipe):
    run = from_recipe(recipe)
    run.check()
    assert (run.optimiser.rate, run.optimiser.betas, run.batch) == (2e-4, (0.5, 0.999), 1)
    assert run.optimiser.schedule == "linear"
    assert (run.model.cycle, run.model.identity, run.model.pool, run.model.adversarial) == (10, 5, 50, "lsgan")
    if recipe in {"cyclegan", "cyclegan-yosemite"}:
        assert run.model == cyclegan.Config()
        assert (run.epochs, run.data.size) == (200, 256)
        assert [round(101 * run.optimiser.rate_at(epoch, 200) / 2e-4) for epoch in (0, 99, 100, 199)] == [
            101,
            101,
            100,
            1,
        ]


def test_a_unet_stands_for_a_resnet():
    game = game_of(generator=unet.Config(depth=3, width=2, norm="instance"))
    assert game.multiple == 8
    assert [move.player for move in game.play(batch_of())] == ["generators", "discriminators"]
