"""Drawing what is asked for: conditions, the two ways to see them, what keeps a discriminator from learning by heart,
labelled folders and tables, runs that go on, and agreement."""

import json
import math
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.distributions import Normal

from arzhang import agreement
from arzhang.data import digits, labelled
from arzhang.features import lenet, pixels
from arzhang.loading import batches
from arzhang.losses._augmentation import augmented
from arzhang.losses._r1 import r1
from arzhang.models import cgan
from arzhang.networks import _layers, conditional_discriminator, conditional_generator
from arzhang.report import asking, autoencoding
from arzhang.rng import generator
from arzhang.run import from_recipe
from arzhang.sample import Sampler, load
from arzhang.train import begin, play
from arzhang.types import ArzhangError, Batch, MisuseError

SMALL = cgan.Config(
    generator=conditional_generator.Config(depth=1, width=2),
    discriminator=conditional_discriminator.Config(depth=1, width=2),
    size=8,
    latents=3,
)
CPU, EAGER = torch.device("cpu"), torch.autocast("cpu", enabled=False)
TINY = {
    "data.size": 8,
    "model.size": 8,
    "model.latents": 3,
    "model.generator.depth": 1,
    "model.generator.width": 2,
    "model.discriminator.depth": 1,
    "model.discriminator.width": 2,
    "features": "pixels",
    "batch": 4,
    "steps": 4,
    "log-every": 1,
    "judge-every": 4,
    "checkpoint-every": 2,
    "device": "cpu",
}
FLAGS = [part for key, value in TINY.items() for part in (f"--{key}", str(value))]


def game_of(**values):
    torch.manual_seed(0)
    return replace(SMALL, **values).build()


def noise(*shape, name="noise"):
    return torch.rand(*shape, generator=generator(0, name)) * 2 - 1


def batch_of(label, *, channels=1, size=8):
    return Batch({"image": noise(len(label), channels, size, size), "label": label})


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


# Latents and conditions


def test_truncation_gives_the_quantiles_of_the_cut_normal_and_keeps_the_order_of_latents():
    game = game_of(latents=500)
    normal, t = Normal(0.0, 1.0), torch.tensor(0.7)
    plain, cut = game.draw(2, seed=3).double(), game.draw(2, seed=3, truncation=0.7).double()
    assert cut.abs().max() <= 0.7
    below = normal.cdf(-t)
    torch.testing.assert_close((normal.cdf(cut) - below) / (1 - 2 * below), normal.cdf(plain), rtol=0, atol=1e-5)
    assert torch.equal(cut.flatten().argsort(), plain.flatten().argsort())
    torch.testing.assert_close(game.draw(2, seed=3, truncation=50.0).double(), plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("truncation", [0.0, -1.0, math.nan])
def test_a_bound_that_bounds_nothing_is_refused(truncation):
    with pytest.raises(MisuseError, match="a bound above 0"):
        game_of().draw(1, truncation=truncation)


def test_a_label_is_a_one_among_zeros_several_are_as_many_and_a_vector_is_as_it_is():
    assert game_of(labels=3).conditions(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    several = torch.tensor([[1, 0, 1], [0, 0, 0]])
    assert game_of(labels=3, condition="labels").conditions(several).tolist() == several.tolist()
    vector = noise(2, 3)
    assert torch.equal(game_of(labels=3, condition="vector").conditions(vector), vector)


@pytest.mark.parametrize(
    ("condition", "label", "said"),
    [
        ("label", torch.tensor([1, 3]), "A label is 3, and the model knows 3, from 0 to 2: set --model.labels"),
        ("label", torch.tensor([-1, 2]), "A label is -1, and the model knows 3, from 0 to 2"),
        ("label", torch.zeros(2, 3), "comes with 3 numbers and the model expects one label: set --model.condition"),
        ("labels", torch.tensor([1, 2]), "comes with one label and the model expects 3 numbers"),
        ("labels", torch.zeros(2, 4), "comes with 4 numbers and the model expects 3 numbers"),
        ("labels", torch.tensor([[0, 1, 2]]), "holds others than 0 and 1: mend the data, or set --model.condition"),
        ("vector", torch.tensor([[0, math.nan, 1]]), "holds numbers that are not finite"),
        ("vector", torch.tensor([[0, math.inf, 1]]), "holds numbers that are not finite"),
        ("vector", torch.zeros(2, 1, 3), "comes with 1 x 3 numbers and the model expects 3 numbers"),
    ],
)
def test_conditions_that_are_not_the_models_are_refused_in_a_sentence(condition, label, said):
    with pytest.raises(MisuseError, match=said):
        game_of(labels=3, condition=condition).conditions(label)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"adversarial": "l1"}, "l1 compares pictures and does not judge logits"),
        ({"labels": 0}, "with 3 latents and 0 labels"),
        ({"r1": -1.0}, r"model\.r1 is -1\.0; it should be a finite weight of at least 0"),
        ({"size": 9}, "Sides of 9 pixels cannot be halved 1 times"),
        ({"generator": conditional_generator.Config(depth=0)}, "a depth of 0; give at least 1"),
        ({"discriminator": conditional_discriminator.Config(depth=1, width=0)}, "a width of 0 and 1 more"),
        ({"discriminator": conditional_discriminator.Config(depth=1, convolutions=-1)}, "no negative number of conv"),
    ],
)
def test_a_model_that_cannot_be_is_refused_in_a_sentence(values, said):
    with pytest.raises(MisuseError, match=said):
        game_of(**values)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (Batch({"image": noise(2, 1, 8, 8)}), "A batch of image lacks an image or its label"),
        (batch_of(torch.tensor([0, 1]), channels=3), r"are 3 x 8 x 8 .* expects 1 x 8 x 8: set --model.channels"),
        (batch_of(torch.tensor([0, 1]), size=16), "are 1 x 16 x 16"),
    ],
)
def test_pictures_that_are_not_the_models_are_refused_in_a_sentence(batch, said):
    with pytest.raises(MisuseError, match=said):
        next(game_of().play(batch))


def test_what_nobody_draws_has_to_be_given():
    with pytest.raises(MisuseError, match="which nobody draws: give --label"):
        game_of(condition="vector").sample(1)


def test_without_a_condition_picture_number_i_is_of_label_i_modulo_their_number():
    game = game_of(labels=3)
    condition = game.one_hot(torch.tensor([2, 1, 0, 2]))
    assert torch.equal(game.sample(4, first=2, step=2), game.sample(4, first=2, step=2, condition=condition))


# The discriminator


@pytest.mark.parametrize("spectral", [True, False])
def test_the_logit_of_a_projection_is_linear_in_the_condition(spectral):
    network = conditional_discriminator.Config(depth=2, width=3, spectral=spectral).build(inputs=2, labels=4, size=8)
    network.eval()
    picture, y = noise(5, 2, 8, 8), noise(2, 5, 4, name="y")
    plain = network(picture, torch.zeros(5, 4))
    features = network.layers(picture)
    expected = (y[0] * (features @ network.condition.weight)).sum(1)
    torch.testing.assert_close((network(picture, y[0]) - plain).flatten(), expected)
    mixed = 2 * network(picture, y[0]) - 3 * network(picture, y[1]) + 2 * plain
    torch.testing.assert_close(network(picture, 2 * y[0] - 3 * y[1]), mixed)


def test_in_bfloat16_the_discriminator_goes_by_products_with_channels_last_to_its_end():
    network = conditional_discriminator.Config(width=8).build(inputs=1, labels=4, size=28)
    picture = noise(8, 1, 28, 28).requires_grad_()
    made, strides, gradients = [], [], []

    def look(layer, _, output):
        made.append(output.grad_fn.name())
        strides.append(output.stride(1))
        output.register_hook(gradients.append)

    for layer in network.layers[:-2]:
        layer.register_forward_hook(look)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(picture, noise(8, 4))
    assert made[0] == "PermuteBackward0"
    assert made[2] == "_StridedBackward"
    logits.sum().backward()
    assert strides == [1] * 5
    assert [each.stride(1) for each in gradients] == [1] * 5


def test_the_losses_by_products_and_in_bfloat16_follow_those_of_the_kernels_in_float32(monkeypatch):
    run, steps = from_recipe("cgan-digits"), range(40)
    data = list(batches(run.data.build(seed=0).train, size=16, seed=0, steps=steps))

    def played(*, thin, fast):
        monkeypatch.setattr(_layers, "THIN", thin)
        torch.manual_seed(0)
        state = begin(run, CPU)
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=fast)
        rounds = []
        for step in steps:
            torch.manual_seed(step)
            moves = play(state.game, data[step], state.optimisers, rate=2e-4, autocast=autocast)
            rounds.append([move.loss.item() for move in moves])
        return torch.tensor(rounds)

    plain = played(thin=0, fast=False)
    for fast, first in ((False, 1e-4), (True, 0.005)):
        departure = (played(thin=3, fast=fast) - plain).abs()  # of losses about 1, some of them near 0
        assert 0 < departure[:5].max() < first
        assert departure.max() < 0.15


def test_a_concatenation_sees_the_condition_as_one_more_channel():
    how = conditional_discriminator.Config(
        depth=1, width=3, convolutions=0, conditioning="concatenation", spectral=False
    )
    network = how.build(inputs=2, labels=4, size=8)
    assert len(network.layers) == 3
    assert network.layers[0].in_channels == 3
    picture, y = noise(1, 2, 8, 8), torch.tensor([[0.0, 0, 1, 0]])
    channel = network.condition.weight[:, 2].view(1, 1, 8, 8)
    expected = network.plain(network.layers(torch.cat([picture, channel], 1)))
    torch.testing.assert_close(network(picture, y).flatten(1), expected)


@pytest.mark.parametrize("conditioning", ["projection", "concatenation"])
def test_a_spectral_norm_brings_the_greatest_singular_value_of_every_convolution_to_one_and_leaves_the_logit_free(
    conditioning,
):
    torch.manual_seed(0)
    how = conditional_discriminator.Config(depth=2, width=4, convolutions=2, conditioning=conditioning)
    network = how.build(inputs=1, labels=5, size=8)
    for _ in range(60):
        network(noise(1, 1, 8, 8), noise(1, 5))
    layers = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    assert [layer.kernel_size[0] for layer in layers] == [4, 4, 3, 3]
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
    for head in (network.plain, network.condition):
        assert torch.linalg.matrix_norm(head.weight, 2).item() != pytest.approx(1, abs=0.02)


def test_a_conditional_norm_gives_each_channel_the_deviation_and_mean_that_the_condition_asks_for():
    norm = conditional_generator.ConditionalNorm(2, 3)
    with torch.no_grad():
        norm.affine.weight.copy_(torch.arange(12.0).view(4, 3))
    features, y = 5 + 3 * noise(64, 2, 6, 6), torch.tensor([[0.0, 1, 0]]).expand(64, -1)
    out = norm(features, y)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.tensor([7.0, 10.0]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.tensor([2.0, 5.0]), rtol=1e-4, atol=1e-4)


# R1 and augmentation


def test_r1_of_a_linear_critic_is_its_squared_norm():
    weight = noise(3, 4, 4)
    critic = lambda picture: (picture * weight).sum((1, 2, 3), keepdim=True) + 7  # noqa: E731
    torch.testing.assert_close(r1(critic, noise(5, 3, 4, 4)), weight.square().sum())


def test_r1_is_taken_on_pictures_as_they_are_and_weighs_half_of_gamma():
    batch, seen = batch_of(torch.tensor([3, 7])), []
    game = game_of(r1=4.0, augment=("cutout",))
    game.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    move = next(game.play(batch))
    assert len(seen) == 2
    assert torch.equal(seen[1], batch.image)
    assert not torch.equal(seen[0][:2], batch.image)
    torch.testing.assert_close(move.loss.detach(), 2 * move.terms["d"] + 2 * move.terms["d_r1"])


def test_real_and_made_pictures_are_augmented_in_one_call(monkeypatch):
    calls = []
    monkeypatch.setattr(cgan, "augmented", lambda given, policy: calls.append((given.detach(), policy)) or given)
    batch = batch_of(torch.tensor([3, 7]))
    for _ in game_of(augment=("translation",)).play(batch):
        pass
    assert [(len(given), policy) for given, policy in calls] == [(4, ("translation",)), (2, ("translation",))]
    assert torch.equal(calls[0][0][:2], batch.image)
    assert torch.equal(calls[0][0][2:], calls[1][0])  # the generator's move is on the picture that was judged


@pytest.mark.parametrize("policy", [["colour"], ["translation"], ["cutout"], ["colour", "translation", "cutout"]])
def test_the_gradient_passes_through_an_augmentation_that_keeps_the_shape(policy):
    torch.manual_seed(0)
    pictures = noise(8, 3, 12, 20).requires_grad_()
    made = augmented(pictures, policy)
    assert made.shape == pictures.shape
    assert not torch.equal(made, pictures)
    made.square().sum().backward()
    assert pictures.grad.isfinite().all()
    assert (pictures.grad.flatten(1).abs().amax(1) > 0).all()


def test_a_translation_moves_by_an_eighth_at_most_and_leaves_grey():
    torch.manual_seed(0)
    picture = noise(1, 2, 12, 20) + 3  # nowhere grey
    most = (2, 3)  # (side + 4) // 8
    padded = nn.functional.pad(picture, (most[1], most[1], most[0], most[0]))[0]
    shifts = {(y, x): padded[:, y : y + 12, x : x + 20] for y in range(2 * most[0] + 1) for x in range(2 * most[1] + 1)}
    found = set()
    for moved in augmented(picture.expand(400, -1, -1, -1), ["translation"]):
        found |= {shift for shift, expected in shifts.items() if torch.equal(moved, expected)} or {"none of these"}
    assert found == shifts.keys()


def test_a_cutout_blanks_a_square_of_half_the_sides_or_what_of_it_lies_inside():
    torch.manual_seed(0)
    assert (augmented(torch.ones(200, 1, 7, 7), ["cutout"]) == 0).sum(
        (1, 2, 3)
    ).max() == 4 * 4  # of odd sides the larger half
    centres = set()
    for each in augmented(torch.ones(2000, 2, 8, 12), ["cutout"]):
        assert torch.equal(each[0], each[1])
        rows, columns = (each[0] == 0).any(1).nonzero().flatten(), (each[0] == 0).any(0).nonzero().flatten()
        assert (each[0] == 0).sum() == len(rows) * len(columns)
        for where, side in ((rows, 8), (columns, 12)):
            assert len(where) == where[-1] - where[0] + 1 <= side // 2
            assert len(where) == side // 2 or where[0] == 0 or where[-1] == side - 1
        centres.add((rows[0].item(), rows[-1].item(), columns[0].item(), columns[-1].item()))
    assert len(centres) == 9 * 13  # centres from border to border


def test_colour_is_affine_in_the_picture_channel_by_channel():
    torch.manual_seed(0)
    picture = noise(1, 1, 6, 6)
    grey = augmented(picture.expand(50, -1, -1, -1), ["colour"])
    slope, offset = grey.std((1, 2, 3)) / picture.std(), grey.mean((1, 2, 3)) - picture.mean()
    torch.testing.assert_close(
        grey, slope.view(-1, 1, 1, 1) * (picture - picture.mean()) + picture.mean() + offset.view(-1, 1, 1, 1)
    )
    for found, least, most in ((slope, 0.5, 1.5), (offset, -0.5, 0.5)):
        assert least - 1e-5 <= found.min() < least + 0.2
        assert most - 0.2 < found.max() <= most + 1e-5
    coloured = augmented(noise(1, 3, 6, 6).expand(50, -1, -1, -1), ["colour"])
    spread = (coloured - coloured.mean(1, keepdim=True)).flatten(1).norm(dim=1)  # 2 saturation times contrast
    assert 0 < spread.min() < 0.5 * spread.median() < spread.max()


# Games


def test_several_labels_and_vectors_train_a_step():
    for condition, label in (("labels", torch.tensor([[1, 0, 1], [0, 1, 0]])), ("vector", noise(2, 3))):
        model = replace(SMALL, labels=3, condition=condition)
        state = begin(replace(from_recipe("cgan-digits"), model=model), CPU)
        game = state.game
        for _ in play(game, batch_of(label), state.optimisers, rate=0.01, autocast=EAGER):
            pass
        fresh = game_of(labels=3, condition=condition).state_dict()
        moved = {name for name, each in game.state_dict().items() if not torch.equal(each, fresh[name])}
        assert {"generator.start.weight", "discriminator.condition.weight"} <= moved


def test_a_made_picture_is_judged_with_the_condition_of_a_real_one_of_the_batch():
    seen, batch = [], batch_of(torch.tensor([3, 7, 7]))
    game = game_of()
    game.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[1].argmax(1).tolist()))
    game.generator.register_forward_pre_hook(lambda _, given: seen.append(given[1].argmax(1).tolist()))
    for _ in game.play(batch):
        pass
    assert seen == [[3, 7, 7], [3, 7, 7, 3, 7, 7], [3, 7, 7]]


def test_the_critic_of_wgan_gp_moves_five_times_on_fresh_noise():
    latents = []
    game = game_of(adversarial="wgan-gp", discriminator=replace(SMALL.discriminator, spectral=False))
    game.generator.register_forward_pre_hook(lambda _, given: latents.append(given[0].clone()))
    moves = [move.player for move in game.play(batch_of(torch.tensor([3, 7])))]
    assert moves == [*["discriminator"] * 5, "generator"]
    assert len(latents) == 5
    assert not any(torch.equal(one, other) for i, one in enumerate(latents) for other in latents[:i])


# Labelled data


def pictures(folder, *names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), (number, 100, 200)).save(path)
    return folder


def of(splits):
    return {
        part.name(index): part.example(index, None)["label"].tolist()
        for part in (splits.train, splits.held_out)
        for index in range(len(part))
    }


def table_of(folder, text, name="labels.csv"):
    path = folder.parent / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def four(tmp_path):
    return pictures(tmp_path / "four", "1.png", "2.png", "3.png", "4.png")


@pytest.mark.parametrize("labels", [("cat", "dog"), ("A", "B"), ("9", "10")])
@pytest.mark.parametrize("splits", [("",), ("train/", "val/")])
def test_folders_are_labels_whatever_they_are_called(tmp_path, labels, splits):
    names = [f"{split}{label}/{split[:1]}{i}.png" for split in splits for label in labels for i in range(2)]
    made = labelled.Config(root=pictures(tmp_path / "root", *names), size=8).build(seed=0)
    assert made.train.label_names == made.held_out.label_names == labels
    assert len(of(made)) == len(names)
    assert all(labels[label] == name.split("/")[-2] for name, label in of(made).items())
    assert made.train.example(0, generator(0, "crop"))["image"].shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("text", "titles", "expected"),
    [
        ("name,label\n1.png,cat\n2.png,dog\n\n3.png, cat\n4.png,dog\n", ("cat", "dog"), [0, 1, 0, 1]),
        ("name,kind\n1.png,10\n2.png,9\n3.png,9\n4.png,10\n", ("9", "10"), [1, 0, 0, 1]),
        ("name,a,b\n1.png,0,1\n2.png,1,1\n3.png,0,0\n4.png,1,0\n", ("a", "b"), [[0, 1], [1, 1], [0, 0], [1, 0]]),
        (
            "\ufeffname,x,y\n1.png,.5,1\n2.png,-1,2\n3.png,0,0\n4.png,1,0\n",
            ("x", "y"),
            [[0.5, 1], [-1, 2], [0, 0], [1, 0]],
        ),
    ],
)
def test_a_table_says_one_label_several_or_a_vector(four, text, titles, expected):
    made = labelled.Config(root=four, table=table_of(four, text), size=8).build(seed=0)
    assert made.train.label_names == titles
    assert of(made) == {f"{number}.png": label for number, label in enumerate(expected, 1)}
    assert made.train.example(0, None)["label"].dtype == (torch.float32 if "x" in titles else torch.int64)


def test_a_table_may_name_pictures_of_the_test_folder_which_is_left_for_the_end(tmp_path):
    root = pictures(tmp_path / "root", "train/1.png", "train/2.png", "val/3.png", "test/4.png")
    table = table_of(root, "name,label\n1.png,a\n2.png,b\n3.png,a\n4.png,b\n")
    assert of(labelled.Config(root=root, table=table, size=8).build(seed=0)) == {"1.png": 0, "2.png": 1, "3.png": 0}


def test_pictures_of_several_labels_can_be_explained_too(four):
    table = table_of(four, "name,a,b\n1.png,0,1\n2.png,1,1\n3.png,0,0\n4.png,1,0\n")
    assert autoencoding.Judge.of(labelled.Config(root=four, table=table, size=8).build(seed=0)).classes == []


ALL = "1.png,a\n2.png,b\n3.png,a\n4.png,b\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,label\n1.png,a\n3.png,b\n", r"has no line for 2\.png, 4\.png in .*: add them, or move"),
        (f"name,label\n{ALL}9.png,a\n", r"names 9\.png, which is not in .*take the lines out"),
        (f"name,label\n{ALL}1.png,b\n", r"names 1\.png twice; leave one line"),
        ("name,label\n1.png,a\n2.png,\n3.png,a\n4.png,b\n", r"has an empty cell for 2\.png"),
        (f"name,label\n{ALL}".replace("a\n2", "a,b\n2"), r"has 3 cells for 1\.png, where 2 are expected"),
        (
            "name,x,y\n1.png,1,2\n2.png,1,red\n3.png,0,0\n4.png,0,0\n",
            r"has 'red' for 2\.png, where a number is expected",
        ),
        ("name,x,y\n1.png,1,nan\n2.png,1,1\n3.png,0,0\n4.png,0,0\n", r"has 'nan' for 1\.png"),
        ("name,x,y\n1.png,1,inf\n2.png,1,1\n3.png,0,0\n4.png,0,0\n", r"has 'inf' for 1\.png"),
        (f"name,label\n{ALL}".replace(",b", ",a"), "All pictures are of 'a'; .* takes two labels at least"),
        ("name,x,x\n1.png,0,1\n", "has two columns of one title in name, x, x; give each its own"),
        ("name,label\n", "holds 1 lines and 2 columns, where a line of titles is expected"),
        ("1.png\n2.png\n", "holds 2 lines and 1 columns"),
        ("", "holds 0 lines and 0 columns"),
    ],
)
def test_a_bad_table_is_refused_in_a_sentence(four, text, said):
    with pytest.raises(ArzhangError, match=said):
        labelled.Config(root=four, table=table_of(four, text), size=8).build(seed=0)


def test_tables_that_cannot_be_read_and_pictures_without_a_label_are_refused_in_a_sentence(four, tmp_path):
    with pytest.raises(ArzhangError, match=r"absent\.csv cannot be read as a CSV file"):
        labelled.Config(root=four, table=tmp_path / "absent.csv").build(seed=0)
    (tmp_path / "latin.csv").write_bytes(b"name,label\n1.png,\xe4\n")
    with pytest.raises(ArzhangError, match="cannot be read as a CSV file in UTF-8"):
        labelled.Config(root=four, table=tmp_path / "latin.csv").build(seed=0)
    with pytest.raises(ArzhangError, match=r"1\.png, 2\.png, 3\.png and 1 more in .* lie in no folder .*--data\.table"):
        labelled.Config(root=four).build(seed=0)
    root = pictures(tmp_path / "one", "a/1.png", "a/2.png", "a/3.png")
    with pytest.raises(ArzhangError, match="All pictures are of 'a'"):
        labelled.Config(root=root).build(seed=0)
    root = pictures(tmp_path / "twice", "train/1.png", "train/2.png", "val/1.png")
    with pytest.raises(ArzhangError, match=r"1\.png is in several of the train, val and test folders"):
        labelled.Config(root=root, table=table_of(root, f"name,label\n{ALL}")).build(seed=0)


# Runs


def sampler_of(root, *names, **values):
    data = labelled.Config(root=pictures(root, *(f"{name}/{i}.png" for name in names for i in range(2))), size=8)
    return Sampler(game_of(labels=len(names), **values), replace(from_recipe("cgan-digits"), data=data), CPU)


def test_a_label_is_found_by_its_whole_name_and_by_its_number_only_where_no_name_is_one(tmp_path):
    sampler = sampler_of(tmp_path / "words", "c", "c+", "x,y")
    for place, names in enumerate((("c", 0, "0"), ("c+", 1), ("x,y", "2"))):
        for name in names:
            assert sampler.condition(name).argmax() == place
    numbered = sampler_of(tmp_path / "numbers", "1", "2", "3")
    assert numbered.condition("1").argmax() == numbered.condition(1).argmax() == 0
    with pytest.raises(MisuseError, match="There is no label '0'"):
        numbered.condition(0)
    with pytest.raises(MisuseError, match="numbers that are not finite"):
        sampler.condition("nan,0,1")


def test_a_report_calls_labels_as_the_data_does_and_as_many_are_asked_of_the_model(tmp_path):
    sampler = sampler_of(tmp_path / "pets", "cat", "dog", channels=3)
    with pytest.raises(MisuseError, match="One picture is held out"):
        asking.Judge.of(sampler.game, sampler.run.data.build(seed=0))
    root = pictures(
        tmp_path / "more", *(f"{split}/{of}/{split}.png" for split in ("train", "val") for of in ("cat", "dog"))
    )
    splits = labelled.Config(root=root, size=8).build(seed=0)
    judge = asking.Judge.of(sampler.game, splits)
    grid, paired = judge(sampler.game, CPU)._panels()
    assert paired.columns == ("cat", "dog")
    assert [row.name for row in grid.rows] == ["cat", "dog"]
    with pytest.raises(MisuseError, match=r"The data has 2 labels, and the model knows 5: set --model\.labels 2"):
        asking.Judge.of(game_of(labels=5), splits)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from arzhang.cli import main

    folder = tmp_path_factory.mktemp("runs") / "asked"
    assert main(["train", "cgan-digits", *FLAGS, "--out", str(folder)]) == 0
    return folder


def test_a_run_that_stopped_goes_on_to_the_same_bytes_with_the_vectors_of_its_spectral_norm(arzhang, run, tmp_path):
    folder = tmp_path / "stopped"
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "checkpoints/00000004")
    again = arzhang("train", "cgan-digits", *FLAGS, "--out", folder)
    assert "Going on from step 2 of 4" in again.err
    names = sorted(path.name for path in (run / "checkpoints/00000004").iterdir())
    assert {"model.safetensors", "optimiser.safetensors", "ema.safetensors"} <= {*names}
    for name in names:
        assert (folder / "checkpoints/00000004" / name).read_bytes() == (
            run / "checkpoints/00000004" / name
        ).read_bytes()
    assert b"parametrizations.weight.0._u" in (run / "checkpoints/00000004/model.safetensors").read_bytes()


def test_a_label_is_drawn_as_often_as_asked_and_all_labels_are_a_row_each(arzhang, run, tmp_path):
    assert arzhang("sample", run, "--label", 7, "--count", 4, "--out", tmp_path / "seven.png").status == 0
    assert size_of(tmp_path / "seven.png") == (2 * 66 + 2, 2 * 66 + 2)
    assert arzhang("sample", run, "--label", "all", "--count", 3, "--out", tmp_path / "all.png").status == 0
    with Image.open(tmp_path / "all.png") as sheet:
        every = np.asarray(sheet)
    assert every.shape[1::-1] == (3 * 66 + 2, 10 * 66 + 2)
    assert arzhang("sample", run, "--label", 7, 2, "--count", 3, "--out", tmp_path / "two").status == 0
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        f"{label}-0000{number}.png" for label in (2, 7) for number in range(3)
    ]
    for number in range(3):  # the row of the sheet is what the folder holds, from the same latents
        with Image.open(tmp_path / f"two/7-0000{number}.png") as picture:
            enlarged = np.asarray(picture).repeat(8, 0).repeat(8, 1)
        assert np.array_equal(every[464:528, 2 + 66 * number : 66 + 66 * number], enlarged)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--label", "12"], "There is no label '12'"),
        (["--label", "seven"], "There is no label 'seven'"),
        (["--label", "2+5"], "Pictures of this run have one label each, and 2+5 is 2: name one"),
        (["--label", ".1,.2"], ".1,.2 is 2 numbers, and what this run is asked for has 10"),
        (["--label", "1,x"], "'x' is no number"),
        (["--label", "1", "--truncation", "0"], "a bound above 0"),
    ],
)
def test_a_label_that_cannot_be_drawn_is_refused_in_a_sentence(arzhang, run, tmp_path, flags, said):
    failed = arzhang("sample", run, *flags, "--out", tmp_path / "x.png")
    assert failed.status == 2
    assert said in " ".join(failed.err.split())
    assert not (tmp_path / "x.png").exists()


def test_between_two_labels_is_a_sheet_whose_ends_are_these(arzhang, run, tmp_path):
    assert arzhang("interpolate", run, 3, 8, "--steps", 5, "--out", tmp_path / "way.png").status == 0
    assert size_of(tmp_path / "way.png") == (5 * 66 + 2, 4 * 66 + 2)
    sampler = load(run)
    way = sampler.between_labels("3", "8", steps=5, rows=2, seed=4)
    for place, label in ((0, "3"), (4, "8")):
        ends = torch.stack(list(sampler.draw(range(2), seed=4, label=label)))
        torch.testing.assert_close(way[:, place], ends, rtol=0, atol=1e-6)
    assert (
        "leave --path out" in arzhang("interpolate", run, 3, 8, "--path", "spherical", "--out", tmp_path / "y.png").err
    )


def test_a_conditional_gan_can_be_inspected_layer_by_layer_under_its_spectral_norm(arzhang):
    flags = ["--model.condition", "vector", "--model.labels", "3"]
    flags += ["--model.discriminator.conditioning", "concatenation"]
    for more, inputs in (((), 1), (flags, 2)):
        said = arzhang("inspect", "cgan-mnist", "--json", *more)
        assert said.status == 0, said.err
        critic, generator = json.loads(said.out)["networks"]
        layers = {each["name"]: (each["kind"], each["parameters"]) for each in critic["layers"]}
        assert layers["layers.0"] == ("Conv2d", 64 * (16 * inputs + 1))
        for network in (critic, generator):
            assert sum(each["parameters"] for each in network["layers"]) == network["parameters"]


# Agreement


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A game that has learnt nothing and draws held-out digits of the label that it is asked for, or of the next."""

    shift: int = 0
    """How many labels it is off."""
    condition: str = "label"
    """As of any."""

    def build(self):
        return Holding(self)


class Holding(nn.Module):
    players, channels, size, labels = {}, 1, 28, 10

    def __init__(self, config):
        super().__init__()
        self.config = config
        held_out = digits.Config(size=28).build(seed=0).held_out
        self.image, self.label = held_out.examples([(i, None) for i in range(len(held_out))]).values()

    def conditions(self, label):
        return nn.functional.one_hot(label, 10).float()

    def sample(self, count, *, seed=0, first=0, step=1, condition=None):
        numbers = first + step * torch.arange(count)
        return self.image[self.chosen(numbers % 10 if condition is None else condition.argmax(1), numbers)]

    def chosen(self, asked, numbers):
        of = [(self.label == (label + self.config.shift) % 10).nonzero().flatten() for label in asked]
        return torch.stack([each[number // 10 % len(each)] for each, number in zip(of, numbers, strict=True)])


@pytest.mark.parametrize("shift", [0, 1])
def test_agreement_is_the_accuracy_of_the_classifier_on_what_is_drawn_and_near_0_where_labels_are_wrong(shift):
    extractor, data = lenet.Config().build(), digits.Config(size=28)
    held_out, game = agreement._Some(data.build(seed=0).held_out, 160), Held(shift=shift).build()
    seen = extractor(game.image)["logits"].argmax(1)  # of pictures that were not rounded to 8 bits
    sampler = Sampler(game, replace(from_recipe("cgan-digits"), data=data), CPU)
    (asked, least, real), remarks = agreement._agreed(sampler, extractor, held_out, agreement.How(device="cpu"))
    numbers = torch.arange(len(held_out))
    held = numbers * len(game.label) // len(held_out)
    right = seen[game.chosen(numbers % 10, numbers)] == numbers % 10
    assert asked.value == pytest.approx(right.double().mean().item(), abs=0.01)
    assert real.value == pytest.approx((seen == game.label)[held].double().mean().item(), abs=0.01)
    assert asked.value > 0.6 if shift == 0 else asked.value < 0.1
    assert least.value <= asked.value
    assert asked.interval[0] < asked.value < asked.interval[1]
    assert remarks[1] == "Every label was seen among the pictures."


def test_a_label_that_no_picture_is_taken_for_is_named_and_other_classifiers_do_not_agree():
    game, data = Held().build(), digits.Config(size=28)
    game.image = game.image[(game.label == 0).nonzero()[0]].expand(len(game.label), -1, -1, -1)  # whatever is asked for
    sampler = Sampler(game, replace(from_recipe("cgan-digits"), data=data), CPU)
    held_out = agreement._Some(data.build(seed=0).held_out, 40)
    (_, least, _), remarks = agreement._agreed(sampler, lenet.Config().build(), held_out, agreement.How(device="cpu"))
    assert least.value == 0
    assert "No picture was taken for " in remarks[1]
    assert "1" in remarks[1]
    figures, remarks = agreement._agreed(sampler, pixels.Config().build(), held_out, agreement.How(device="cpu"))
    assert figures == ()
    assert remarks == ("pixels is no classifier of the run's 10 labels, and cannot agree.",)
    vars(sampler)["_labels"] = tuple("abcdefghij")  # as many labels as digits are no digits yet
    figures, remarks = agreement._agreed(sampler, lenet.Config().build(), held_out, agreement.How(device="cpu"))
    assert figures == ()
    assert remarks == ("lenet is no classifier of the run's 10 labels, and cannot agree.",)


def test_evaluate_judges_such_a_run_beside_real_pictures(arzhang, run):
    said = arzhang("evaluate", run, "--images", 60, "--metrics", "pr", "--json", "--device", "cpu")
    assert said.status == 0, said.err
    told = json.loads(said.out)
    assert [each["name"] for each in told["asked"]][::2] == ["agreement", "agreement of real pictures"]
    assert [each["name"] for each in told["samples"]] == [each["name"] for each in told["reference"]]
    assert told["samples"][1]["value"] < told["reference"][1]["value"]  # after four steps
    refused = arzhang("evaluate", run, "--images", 1000)
    assert refused.status == 2
    assert "1,000 pictures cannot be judged beside real ones: the run has 359" in " ".join(refused.err.split())
