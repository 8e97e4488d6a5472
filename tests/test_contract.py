"""What holds for everything in a room: a new file is covered without a line here, but for a model's golden losses."""

import copy
import inspect
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import distributions as td, nn

from arzhang import config, plugins
from arzhang.divergences import total_variation
from arzhang.estimators import pathwise
from arzhang.loading import batches
from arzhang.networks import (
    conditional_discriminator,
    conditional_generator,
    conv_decoder,
    conv_encoder,
    patchgan,
    unet,
)
from arzhang.rng import generator
from arzhang.run import Run
from arzhang.train import begin, play
from arzhang.types import Batch, DataConfig, Dataset, Game, MisuseError, ModelConfig, Move

CPU = torch.device("cpu")
EAGER = torch.autocast("cpu", enabled=False)
SIZE = 32


def each(room, fits=lambda _: True):
    """Everything in a room that fits, by name."""
    things = {name: plugins.find(room, name) for name in plugins.names(room)}
    fitting = {name: thing for name, thing in things.items() if fits(thing)}
    return pytest.mark.parametrize("thing", fitting.values(), ids=fitting)


def small(kind, **values):
    """A Config with these values, as far as it has such fields."""
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})


def survives_writing(made):
    return config.from_dict(type(made), config.to_dict(made)) == made


# Networks


def network_of(module, **values):
    torch.manual_seed(0)
    made = small(module.Config, **{"depth": 4, "layers": 2, "width": 4, "features": 6, **values})
    parts = {"inputs": 2, "outputs": 5, "latents": 3, "labels": 4, "size": SIZE}
    return made.build(**{name: parts[name] for name in takes(module)})


def takes(module):
    return set(inspect.signature(module.Config.build).parameters) - {"self"}


def input_of(module):
    if "latents" in takes(module):
        given = 3 * torch.randn(2, 3, generator=generator(0, "latents"))
    else:
        given = PICTURES[..., :SIZE] if "size" in takes(module) else PICTURES
    return (given, torch.eye(4)[[1, 3]] + 0.1) if "labels" in takes(module) else (given,)


GENERATORS, DISCRIMINATORS = {"inputs", "outputs"}, {"inputs"}
ENCODERS, DECODERS = {"inputs", "size"}, {"latents", "outputs", "size"}
CONDITIONAL_DISCRIMINATORS = {*ENCODERS, "labels"}
NETWORKS = each("networks")
PICTURES = 3 * torch.rand(2, 2, SIZE, 2 * SIZE, generator=generator(0, "pictures")) - 1


@NETWORKS
def test_a_networks_config_survives_being_written_down(thing):
    assert survives_writing(thing.Config())
    assert survives_writing(small(thing.Config, depth=2, layers=1, width=3, norm="none"))


@NETWORKS
def test_a_network_turns_what_it_was_built_for_into_finite_pictures_logits_or_features(thing):
    network = network_of(thing)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(100)
    output = network(*input_of(thing))
    assert output.isfinite().all()
    match takes(thing):
        case kind if kind == GENERATORS:
            assert output.shape == (2, 5, SIZE, 2 * SIZE)
            assert output.abs().max() <= 1
        case kind if kind == DISCRIMINATORS:
            assert output.shape[:2] == (2, 1)
        case kind if kind == ENCODERS:
            assert output.shape == (2, network.features)
        case kind if kind == CONDITIONAL_DISCRIMINATORS:
            assert output.shape == (2, 1, 1, 1)
        case kind:
            assert kind - {"labels"} == DECODERS
            assert output.shape == (2, 5, SIZE, SIZE)
            assert "labels" not in kind or output.abs().max() <= 1


@NETWORKS
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_every_parameter_of_a_network_is_needed(thing, norm):
    network = network_of(thing, norm=norm)
    network(*input_of(thing)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if name.endswith("weight"):
            assert parameter.grad.any(), name


@each("networks", lambda thing: takes(thing) in (GENERATORS, DISCRIMINATORS))
def test_convolutions_begin_at_the_published_deviation(thing):
    network = network_of(thing, width=32)
    weights = [
        module.weight.flatten() for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    drawn = torch.cat(weights)
    error = 0.02 / (2 * len(drawn)) ** 0.5  # of the deviation of as many normal numbers
    assert abs(drawn.std() - 0.02) < 5 * error
    assert abs(drawn.mean()) < 5 * 0.02 / len(drawn) ** 0.5


@NETWORKS
def test_a_network_is_a_function_of_the_global_seed(thing):
    one, other = network_of(thing).state_dict(), network_of(thing).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@NETWORKS
def test_a_network_that_cannot_be_is_refused_in_a_sentence(thing):
    names = {field.name for field in fields(thing.Config)}
    for name, value in (("width", 0), ("depth", 0), ("layers", -1), ("features", 0), ("dropout", 1.5)):
        if name in names:
            with pytest.raises(MisuseError, match=r"^The .* at least (one|1)|^The .* from 0 to 1"):
                network_of(thing, **{name: value})


@each("networks", lambda thing: takes(thing) == GENERATORS)
def test_a_generator_says_what_sizes_it_takes(thing):
    network = network_of(thing)
    side = 2 * network.multiple
    assert network(torch.zeros(2, 2, side, side)).shape == (2, 5, side, side)


@each("networks", lambda thing: takes(thing) in (ENCODERS, DECODERS))
@pytest.mark.parametrize("size", [9, 28, 31])
def test_an_encoder_and_a_decoder_are_of_every_size_that_can_be_and_refuse_the_others(thing, size):
    parts = {"inputs": 1, "outputs": 2, "latents": 3, "size": size}
    for depth, kernel, stride, padding in ((2, 4, 2, 1), (3, 3, 2, 1), (1, 5, 3, 0), (2, 3, 1, 1)):
        made = small(thing.Config, width=2, features=4, depth=depth, kernel=kernel, stride=stride, padding=padding)
        network = made.build(**{name: parts[name] for name in takes(thing)})
        inputs = torch.zeros(2, 1, size, size) if "inputs" in takes(thing) else torch.zeros(2, 3)
        output = network(inputs)
        assert output.shape == ((2, network.features) if "inputs" in takes(thing) else (2, 2, size, size))
    with pytest.raises(MisuseError, match=f"nothing is left of a side of {size} pixels after . of 6"):
        small(thing.Config, depth=6, width=2).build(**{name: parts[name] for name in takes(thing)})


# Losses


ADVERSARIAL = each("losses", lambda thing: hasattr(thing, "discriminator"))
DISTANCES = each("losses", inspect.isfunction)


def logits(seed):
    return 2 * torch.randn(4, 1, 3, 3, generator=generator(seed, "logits"), dtype=torch.float64)


@ADVERSARIAL
@pytest.mark.parametrize("extreme", [0.0, 1e2, 1e4, -1e4])
def test_an_adversarial_loss_is_finite_however_sure_the_discriminator_is(thing, extreme):
    real, fake = (torch.full((2, 1, 3, 3), sign * extreme, requires_grad=True) for sign in (1, -1))
    losses = thing.discriminator(real, fake), thing.generator(fake)
    sum(losses).backward()
    assert all(loss.shape == () and loss.isfinite() for loss in losses)
    assert real.grad.isfinite().all()
    assert fake.grad.isfinite().all()


@ADVERSARIAL
def test_a_discriminator_that_is_right_loses_less(thing):
    real, fake = torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)
    undecided = (real + fake) / 2
    right, unsure, wrong = (
        thing.discriminator(*each).item() for each in ((real, fake), (undecided, undecided), (fake, real))
    )
    assert right < unsure < wrong
    assert thing.generator(real) < thing.generator(undecided) < thing.generator(fake)


@ADVERSARIAL
def test_a_generator_that_is_found_out_is_drawn_to_higher_logits(thing):
    fake = torch.full((2, 1, 3, 3), -0.5, requires_grad=True)
    thing.generator(fake).backward()
    assert (fake.grad < 0).all()


@ADVERSARIAL
def test_an_adversarial_loss_has_the_gradient_it_says(thing):
    real, fake = logits(0).requires_grad_(), logits(1).requires_grad_()
    assert torch.autograd.gradcheck(thing.discriminator, (real, fake))
    assert torch.autograd.gradcheck(thing.generator, (fake,))


@DISTANCES
def test_a_distance_is_zero_at_equality_and_else_positive_and_the_same_both_ways(thing):
    one, other = logits(0), logits(1)
    assert thing(one, one) == 0
    assert thing(one, other) > 0
    torch.testing.assert_close(thing(one, other), thing(other, one), rtol=1e-12, atol=0)


@DISTANCES
def test_a_distance_has_the_gradient_it_says(thing):
    assert torch.autograd.gradcheck(thing, (logits(0).requires_grad_(), logits(1).requires_grad_()))


# Divergences


DIVERGENCES = each("divergences")


def gaussian_pair(loc, other, spread, wide):
    """Two batches of Gaussians, diagonal or full, as what they are spread by."""
    kinds = {
        2: lambda m, s: td.Independent(td.Normal(m, s), 1),
        3: lambda m, s: td.MultivariateNormal(m, scale_tril=s.tril()),
    }
    return kinds[spread.dim()](loc, spread), kinds[wide.dim()](other, wide)


def divergence(thing, p, q):
    """The closed form, or what the same samples always say."""
    try:
        return thing(p, q)
    except MisuseError:
        torch.manual_seed(0)
        return thing(p, q, estimator=pathwise, samples=100).value


def spreads(full):
    torch.manual_seed(0)
    loc, other, spread, wide = torch.rand(4, 3, 2, dtype=torch.float64)
    spread, wide = 0.7 + spread / 4, 0.8 + wide / 4  # so alike that no divergence is infinite
    if full:
        below = torch.tensor([[0.0, 0.0], [0.3, 0.0]], dtype=torch.float64)
        spread, wide = spread.diag_embed() + below, wide.diag_embed() - below
    return loc, other, spread, wide


@DIVERGENCES
@pytest.mark.parametrize("full", [False, True])
def test_a_divergence_is_positive_but_zero_at_equality_and_one_for_each_of_a_batch(thing, full):
    loc, other, spread, wide = spreads(full)
    wide = spread if thing is total_variation else wide  # whose closed form is of equal covariances
    p, q = gaussian_pair(loc, other, spread, wide)
    for found in (divergence(thing, p, q), divergence(thing, q, p)):
        assert found.shape == (3,)
        assert (found > 0).all()
    torch.testing.assert_close(divergence(thing, p, p), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-15)


@DIVERGENCES
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("equal", [False, True])
def test_a_divergence_has_the_gradient_it_says(thing, full, equal):
    loc, other, spread, wide = spreads(full)
    if equal:
        other, wide = loc.clone(), spread.clone()
    if thing is total_variation:
        if equal:
            pytest.skip("has no gradient there")
        parts = [each.requires_grad_() for each in (loc, other, spread)]
        assert torch.autograd.gradcheck(lambda m, n, s: thing(*gaussian_pair(m, n, s, s)), parts)
        return
    parts = [each.requires_grad_() for each in (loc, other, spread, wide)]
    assert torch.autograd.gradcheck(lambda *parts: divergence(thing, *gaussian_pair(*parts)), parts, atol=1e-6)


# Data


UNDRAWN = {"digits", "mnist"}  # datasets that draw nothing: their examples are the same for every generator


@pytest.fixture
def build(thing, tmp_path):
    """Build a dataset of small pictures; one that needs a folder gets pairs side by side and digits, or two piles."""
    names = {field.name for field in fields(thing.Config)}
    if "root" in names:
        for index in range(8):
            pixels = np.random.default_rng(index).integers(0, 256, (40, 80, 3), np.uint8)
            piles = {"unpaired": "A" if index < 5 else "B", "labelled": "AB"[index % 2]}
            pile = tmp_path / piles.get(thing.__name__.rpartition(".")[2], "")
            pile.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(pile / f"{index}.png")
        for split, count in (("train", 8), ("t10k", 4)):
            digits = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
            header = np.array([0x0803, count, 28, 28, 0x0801, count], ">u4").tobytes()
            (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(header[:16] + digits.tobytes())
            (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(header[16:] + bytes(range(count)))

    def made(**values):
        return small(thing.Config, **{"root": tmp_path, "size": SIZE, "count": 6, "held_out": 3, **values})

    return made


DATA = each("data")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@DATA
def test_a_datasets_config_survives_being_written_down(build, thing):
    made = build()
    assert isinstance(made, DataConfig)
    assert survives_writing(made)
    run = Run(model=plugins.find("models", "pix2pix").Config(), data=made)
    assert config.from_dict(Run, config.to_dict(run)) == run


@DATA
def test_an_example_is_a_function_of_its_generator_in_any_order(build, thing):
    data = build().build(seed=0).train
    assert isinstance(data, Dataset)
    forwards = [data.example(index, generator(0, index)) for index in range(len(data))]
    backwards = [data.example(index, generator(0, index)) for index in reversed(range(len(data)))]
    assert all(map(equal, forwards, reversed(backwards)))
    if thing.__name__.rpartition(".")[2] in UNDRAWN:
        assert all(equal(example, data.example(index, None)) for index, example in enumerate(forwards))
    else:
        assert not equal(forwards[0], data.example(0, generator(1, 0)))
    afresh = build().build(seed=0).train
    assert equal(forwards[-1], afresh.example(len(afresh) - 1, generator(0, len(afresh) - 1)))


@DATA
def test_an_example_without_a_generator_is_fixed(build, thing):
    for split in ("train", "held_out"):
        data, again = (getattr(build().build(seed=0), split) for _ in range(2))
        first = [data.example(index, None) for index in range(len(data))]
        assert all(equal(first[index], again.example(index, None)) for index in reversed(range(len(data))))
        assert not any(equal(*two) for two in pairwise(first))


@DATA
def test_pictures_are_of_one_size_and_in_range_and_labels_are_numbers(build, thing):
    splits = build().build(seed=0)
    for data in (splits.train, splits.held_out):
        for example in (data.example(0, None), data.example(0, generator(0))):
            pictures = {name: value for name, value in example.items() if name != "label"}
            assert pictures
            for picture in pictures.values():
                assert picture.dtype == torch.float32
                assert picture.shape[1:] == (SIZE, SIZE)
                assert -1 <= picture.min() < picture.max() <= 1
            if "label" in example:
                assert example["label"].dtype == torch.int64
                assert example["label"].shape == ()
                assert example["label"] >= 0


@DATA
def test_what_is_held_out_is_not_learnt_from(build, thing):
    splits = build().build(seed=0)
    train, held_out = (
        {tuple(value.numpy().tobytes() for value in data.example(i, None).values()) for i in range(len(data))}
        for data in (splits.train, splits.held_out)
    )
    assert held_out
    assert not train & held_out
    for data in (splits.train, splits.held_out):
        assert len({data.name(index) for index in range(len(data))}) == len(data)


@DATA
def test_nothing_is_drawn_from_the_global_generator(build, thing):
    before = torch.get_rng_state()
    splits = build().build(seed=0)
    splits.train.example(0, generator(0))
    splits.held_out.example(0, None)
    assert torch.equal(torch.get_rng_state(), before)


@DATA
def test_examples_that_come_together_are_those_that_come_alone(build, thing):
    names = {field.name for field in fields(thing.Config)}
    for values in ({"binarise": how} for how in ("none", "static", "dynamic")) if "binarise" in names else ({},):
        data = build(**values).build(seed=0).train
        if not hasattr(data, "examples"):
            pytest.skip("come alone only")
        keys = [(3, 1), (0, 2), (3, 3)]
        together = data.examples([(index, generator(0, seed)) for index, seed in keys])
        assert equal(together, Batch.stack(data.example(index, generator(0, seed)) for index, seed in keys))


@DATA
def test_workers_load_what_one_process_does(build, thing):
    alone, together = (
        list(batches(build().build(seed=0).train, size=2, seed=0, steps=range(4), workers=workers))
        for workers in (0, 2)
    )
    assert all(map(equal, alone, together))


# Models


# Losses of the first three rounds, as first measured: the one line that a new model brings.
GOLDEN = {
    "cgan": [1.7915931, -0.096499, 1.650171, -0.1925121, 1.5842869, -0.2911901],
    "cyclegan": [16.993046, 0.9524524, 17.315119, 0.8057492, 16.652416, 0.671735],
    "iwae": [2128.3584, 2131.2056, 2130.5198],
    "pix2pix": [0.6969355, 47.93711, 0.6940107, 52.85817, 0.6941267, 50.2071],
    "vae": [2128.6375, 2131.0908, 2130.7219],
}
MODELS = each("models")


def model_of(module, **values):
    parts = {
        "generator": unet.Config(depth=5, width=4),
        "discriminator": patchgan.Config(layers=1, width=4),
        "encoder": conv_encoder.Config(width=2, features=4),
        "decoder": conv_decoder.Config(width=2, features=4),
        "channels": 3,
        "size": SIZE,
        "latents": 3,
        "components": 2,
    }
    if "labels" in {field.name for field in fields(module.Config)}:
        parts["generator"] = conditional_generator.Config(width=4)
        parts["discriminator"] = values["discriminator"] = conditional_discriminator.Config(width=4)
    return small(module.Config, **{**parts, **values})


def batch_of(seed):
    smooth = torch.rand(2, 2, 3, SIZE // 4, SIZE // 4, generator=generator(seed, "batch")) * 2 - 1
    source, target = smooth.repeat_interleave(4, -1).repeat_interleave(4, -2)
    pictures = {"source": source, "target": target, "image": target, "a": source, "b": target.flip(0)}
    return Batch({**pictures, "label": torch.tensor([3, 7])})


def begun(module, **values):
    torch.manual_seed(0)
    return begin(Run(model=model_of(module, **values), data=plugins.find("data", "facade").Config(), steps=1), CPU)


@MODELS
def test_a_models_config_survives_being_written_down(thing):
    for made in (thing.Config(), model_of(thing)):
        assert isinstance(made, ModelConfig)
        assert survives_writing(made)


@MODELS
def test_a_model_is_a_game_and_all_that_learns_belongs_to_a_player(thing):
    game = model_of(thing).build()
    assert isinstance(game, Game)
    named = [name for names in game.players.values() for name in names]
    assert len(named) == len(set(named))
    learnt = [parameter for name in named for parameter in game.get_submodule(name).parameters()]
    assert set(learnt) == set(game.parameters())


def variants():
    """Every model, with every adversarial loss if it has one, and with every prior."""
    adversarial = [name for name in plugins.names("losses") if name not in {"l1", "l2"}]
    for name in plugins.names("models"):
        module = plugins.find("models", name)
        names = {field.name for field in fields(module.Config)}
        choices = {"adversarial": adversarial, "prior": ["standard-normal", "mixture", "vamp"]}
        for field, values in choices.items():
            for value in values if field in names else ():
                yield pytest.param(module, {field: value}, id=f"{name}-{value}")


@pytest.mark.parametrize(("thing", "values"), [*variants()])
def test_a_move_moves_its_players_networks_and_nobody_elses(thing, values):
    state = begun(thing, discriminator=patchgan.Config(layers=1, width=4, norm="instance"), **values)
    game = state.game
    players = {name: player for player, names in game.players.items() for name in names}

    def snapshot():
        return {name: copy.deepcopy(list(game.get_submodule(name).parameters())) for name in players}

    moved = []
    turns = play(game, batch_of(0), state.optimisers, rate=1e-3, autocast=EAGER)
    move = next(turns)
    while move:
        assert isinstance(move, Move)
        assert all(value.isfinite() and not value.requires_grad for value in move.terms.values())
        before = snapshot()
        mover, move = move.player, next(turns, None)
        after = snapshot()
        for name, player in players.items():
            changed = [not torch.equal(*pair) for pair in zip(before[name], after[name], strict=True)]
            assert any(changed) if player == mover else not any(changed), (name, mover)
        assert all(parameter.grad is None for parameter in game.parameters())
        moved.append(mover)
    assert set(moved) == set(game.players)


@MODELS
def test_a_translation_keeps_shape_and_range_and_does_not_learn(thing):
    game = begun(thing).game
    if not hasattr(game, "translate"):
        pytest.skip("does not translate")
    before = copy.deepcopy(game.state_dict())
    source = batch_of(0).source
    output = game.translate(source)
    assert output.shape == source.shape
    assert output.abs().max() <= 1
    assert not output.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in game.state_dict().items())
    torch.testing.assert_close(game.translate(source[:1]), output[:1], rtol=1e-5, atol=1e-5)
    assert torch.equal(game.translate(source, noise=1), game.translate(source, noise=1))
    assert game.training


@MODELS
def test_what_explains_pictures_reconstructs_samples_and_weighs_them_and_does_not_learn(thing):
    game = begun(thing).game
    if not hasattr(game, "reconstruct"):
        pytest.skip("does not explain pictures")
    before, drawn = copy.deepcopy(game.state_dict()), torch.get_rng_state()
    image = batch_of(0).image
    output, made = game.reconstruct(image), game.sample(5, seed=1)
    assert output.shape == image.shape
    assert made.shape == (5, *image.shape[1:])
    assert torch.equal(game.draw(3, seed=1, first=2), game.draw(5, seed=1)[2:])
    torch.testing.assert_close(game.sample(3, seed=1, first=2), made[2:], rtol=1e-5, atol=1e-5)
    assert not torch.equal(game.sample(5, seed=2), made)
    assert game.sample(0).shape == (0, *image.shape[1:])
    for pictures in (output, made):
        assert pictures.abs().max() <= 1
        assert not pictures.requires_grad
    torch.testing.assert_close(game.reconstruct(image[:1]), output[:1], rtol=1e-5, atol=1e-5)
    evidence, again = (game.evidence(image, samples=8, seed=3) for _ in range(2))
    assert all(torch.equal(value, again[name]) for name, value in evidence.items())
    torch.testing.assert_close(evidence["bound"], -evidence["distortion"] - evidence["rate"])
    assert (evidence["nll"] <= -evidence["bound"]).all()  # by Jensen, for the same samples
    assert game.log_likelihood(image, k=8).value.shape == (2,)
    assert all(torch.equal(before[name], tensor) for name, tensor in game.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())


@MODELS
def test_what_draws_what_is_asked_for_does_so_in_any_batch_and_does_not_learn(thing):
    game = begun(thing).game
    if not hasattr(game, "conditions"):
        pytest.skip("is not asked")
    before, drawn = copy.deepcopy(game.state_dict()), torch.get_rng_state()
    condition = game.conditions(torch.tensor([7, 3, 0, 1, 9]))
    made = game.sample(5, seed=1, condition=condition)
    assert made.shape == (5, 3, SIZE, SIZE)
    assert made.abs().max() <= 1
    torch.testing.assert_close(game.sample(3, seed=1, first=2, condition=condition[2:]), made[2:], rtol=1e-5, atol=1e-5)
    assert not torch.equal(game.sample(5, seed=2, condition=condition), made)
    assert not torch.equal(game.sample(5, seed=1, condition=condition.flip(0)), made)
    assert game.sample(0).shape == (0, 3, SIZE, SIZE)
    assert game.verdict(made, condition).shape == (5,)
    assert all(torch.equal(before[name], tensor) for name, tensor in game.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())
    assert game.training


@MODELS
def test_the_first_losses_are_as_they_always_were(thing):
    state = begun(thing)
    torch.manual_seed(1)
    losses = [
        move.loss.item()
        for seed in range(3)
        for move in play(state.game, batch_of(seed), state.optimisers, rate=2e-3, autocast=EAGER)
    ]
    assert losses == pytest.approx(GOLDEN[thing.__name__.rpartition(".")[2]], rel=1e-4)
