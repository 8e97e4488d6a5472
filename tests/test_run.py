"""A Run's length and learning rate, the seeds that all randomness comes from, and plug-ins."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from arzhang import config, plugins, rng
from arzhang.data import derived, facade, paired
from arzhang.models import pix2pix
from arzhang.run import Adam, Run, changed, from_recipe, on_folder
from arzhang.types import ArzhangError, MisuseError

RUN = Run(model=pix2pix.Config(), data=facade.Config(size=32))


# Learning rates


def test_the_linear_schedule_is_the_ports_at_each_of_its_200_epochs():
    run = replace(RUN, epochs=200, optimiser=Adam(rate=2e-4, schedule="linear"))

    def port(epoch, n_epochs=100, n_epochs_decay=100, epoch_count=1):
        return 2e-4 * (1.0 - max(0, epoch + epoch_count - n_epochs) / float(n_epochs_decay + 1))

    for epoch in range(200):
        for step in (400 * epoch, 400 * epoch + 399):
            assert run.rate_at(step, 400) == pytest.approx(port(epoch), rel=1e-12)


def test_by_steps_the_rate_falls_every_step_and_is_never_zero():
    run = replace(RUN, steps=10, optimiser=Adam(rate=1.0, schedule="linear", decay_from=0.2))
    rates = [run.rate_at(step, 3) for step in range(10)]
    assert rates == pytest.approx([1, 1, *(1 - i / 9 for i in range(1, 9))], rel=1e-12)


def test_by_epochs_a_step_that_spans_two_takes_the_rate_of_the_first():
    run = replace(RUN, epochs=4, batch=2, optimiser=Adam(rate=1.0, schedule="linear", decay_from=0.0))
    assert [run.rate_at(step, 3) for step in range(run.length(3))] == pytest.approx([0.8, 0.8, 0.6, 0.4, 0.4, 0.2])


def test_the_cosine_goes_from_the_rate_to_almost_nothing():
    adam = Adam(rate=3.0, schedule="cosine")
    assert adam.rate_at(0, 100) == 3
    assert adam.rate_at(50, 100) == pytest.approx(1.5, rel=1e-12)
    assert adam.rate_at(99, 100) == pytest.approx(1.5 * (1 - math.cos(math.pi / 100)), rel=1e-9)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("decay_from", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("total", [1, 2, 7])
def test_no_schedule_rises_or_reaches_zero(schedule, decay_from, total):
    adam = Adam(rate=1.0, schedule=schedule, decay_from=decay_from)
    rates = [adam.rate_at(now, total) for now in range(total)]
    assert sorted(rates, reverse=True) == rates
    assert 0 < rates[-1] <= rates[0] <= 1


def test_the_constant_rate_is_constant():
    assert {RUN.optimiser.rate_at(now, 10) for now in range(10)} == {2e-4}


# Length


@pytest.mark.parametrize(
    ("batch", "examples", "steps"), [(1, 400, 80_000), (4, 400, 20_000), (3, 400, 26_667), (7, 1, 29)]
)
def test_epochs_become_steps_that_see_all_of_them(batch, examples, steps):
    assert replace(RUN, epochs=200, batch=batch).length(examples) == steps


def test_steps_are_steps():
    assert replace(RUN, steps=7, batch=3).length(400) == 7


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "needs either steps or epochs; found steps None and epochs None"),
        ({"steps": 1, "epochs": 1}, "needs either steps or epochs; found steps 1 and epochs 1"),
        ({"steps": 0}, "steps is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"steps": 1, "batch": 0}, "batch is 0"),
        ({"steps": 1, "keep": 0}, "keep is 0"),
        ({"steps": 1, "log_every": 0}, "log_every is 0"),
        ({"steps": 1, "workers": -1}, "workers is -1; it should be at least 0"),
        ({"steps": 1, "ema": 1.0}, "ema holds 1.0"),
        ({"steps": 1, "ema": math.nan}, "ema holds nan"),
        ({"steps": 1, "optimiser": Adam(rate=-1.0)}, "optimiser.rate is -1.0"),
        ({"steps": 1, "optimiser": Adam(rate=math.inf)}, "optimiser.rate is inf"),
        ({"steps": 1, "optimiser": Adam(betas=(0.5, 1.0))}, "optimiser.betas holds 1.0"),
        ({"steps": 1, "optimiser": Adam(decay_from=1.5)}, "optimiser.decay_from is 1.5"),
        ({"steps": 1, "optimiser": Adam(weight_decay=-0.1)}, "optimiser.weight_decay is -0.1"),
    ],
)
def test_a_run_that_cannot_be_is_refused(changes, sentence):
    with pytest.raises(MisuseError) as error:
        replace(RUN, **changes).check()
    assert sentence in str(error.value)


def test_a_new_length_replaces_the_recipes():
    by_epochs = changed(from_recipe("pix2pix"), {"steps": 5})
    assert (by_epochs.steps, by_epochs.epochs) == (5, None)
    by_steps = changed(from_recipe("pix2pix_small"), {"epochs": 5})
    assert (by_steps.steps, by_steps.epochs) == (None, 5)
    assert changed(by_steps, {"batch": 2}).epochs == 5


# A folder instead of the recipe's data


def test_a_folder_is_read_as_what_it_holds(tmp_path):
    for folder, width in (("pairs", 16), ("plain", 12)):
        (tmp_path / folder).mkdir()
        for index in range(2):
            Image.new("RGB", (width, 8)).save(tmp_path / folder / f"{index}.png")
    assert on_folder(RUN, tmp_path / "pairs").data == paired.Config(root=tmp_path / "pairs", size=32)
    assert on_folder(RUN, tmp_path / "plain").data == derived.Config(root=tmp_path / "plain", size=32)
    chosen = replace(RUN, data=derived.Config(root=Path(), source="grey"))
    assert on_folder(chosen, tmp_path / "pairs").data == derived.Config(root=tmp_path / "pairs", source="grey")
    with pytest.raises(ArzhangError, match="nowhere"):
        on_folder(RUN, tmp_path / "nowhere")


# Seeds


def test_seeds_are_the_same_everywhere_and_for_ever():  # Python's own hash is another in each process
    assert rng.seed_of(0, "order", 0) == 2094333682667709378
    assert rng.seed_of(7, "augment", 3, 17) == 7696606219436988230


def test_no_two_paths_share_a_seed():
    paths = [
        (),
        ("a",),
        ("a", 1),
        ("a1",),
        ("a", "1"),
        (1, "a"),
        (1, 11),
        (11, 1),
        (1, 1, 1),
        ("", "a"),
        ("a', 'b",),
        ("a", "b"),
    ]
    seeds = [rng.seed_of(seed, *path) for seed in (0, 1, -1) for path in paths]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generator_is_fresh_each_time_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    once = torch.rand(3, generator=rng.generator(0, "a"))
    assert torch.equal(once, torch.rand(3, generator=rng.generator(0, "a")))
    assert not torch.equal(once, torch.rand(3, generator=rng.generator(0, "b")))
    assert torch.equal(torch.get_rng_state(), before)


# Names and plug-ins


def test_names_may_have_hyphens_or_underscores():
    assert plugins.find("recipes", "pix2pix-small") is plugins.find("recipes", "pix2pix_small")


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(MisuseError, match=r"no 'unett' in networks; did you mean unet\?"):
        plugins.find("networks", "unett")
    with pytest.raises(MisuseError, match=r"no room 'network'; did you mean networks\?"):
        plugins.names("network")


STRAIGHT = '''
"""One convolution."""
from dataclasses import dataclass
from torch import nn
room = "networks"

@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One convolution."""
    width: int = 1
    def build(self, *, inputs: int, outputs: int) -> nn.Module:
        """Make it."""
        return nn.Conv2d(inputs, outputs, self.width)
'''


@pytest.fixture
def plug(tmp_path, monkeypatch):
    """Write a module into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(plugins, "_joined", {})

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)

    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_network_of_ones_own_stands_wherever_its_kind_does(plug):
    plug("straight", STRAIGHT)
    with pytest.raises(MisuseError, match="no 'straight' in networks"):
        config.select(RUN, "model.generator", "straight")
    plugins.join("straight")
    assert "straight" in plugins.names("networks")
    assert plugins.about("networks", "straight") == "One convolution."
    run = config.select(RUN, "model.generator", "straight")
    assert run.model.generator.width == 64
    assert config.to_dict(run)["model"]["generator"] == {"kind": "networks.straight", "width": 64}
    read = changed(RUN, {"model": {"generator": {"kind": "networks.straight", "width": 1}}})
    assert read.model.build().generator(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    assert config.from_dict(Run, config.to_dict(read)) == read
    with pytest.raises(MisuseError, match="straight cannot stand where a discriminator is needed"):
        config.select(RUN, "model.discriminator", "straight")


def test_a_function_of_ones_own_joins_under_its_name(plug):
    plug(
        "tiny",
        'from arzhang.recipes import pix2pix\nroom = "recipes"\ndef tiny():\n    """Tiny."""\n    return pix2pix()',
    )
    plugins.join("tiny")
    assert from_recipe("tiny") == from_recipe("pix2pix")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (STRAIGHT.replace("room =", "place ="), "needs a line such as room = 'networks'"),
        (STRAIGHT.replace('"networks"', '"network"'), "needs a line such as room = 'networks'"),
        ('room = "losses"', "either a class Config or something called mine"),
        ("import nothing_of_this_name", "cannot be imported: No module named 'nothing_of_this_name'"),
    ],
)
def test_a_plug_in_that_does_not_fit_is_refused(plug, text, sentence):
    plug("mine", text)
    with pytest.raises(MisuseError) as error:
        plugins.join("mine")
    assert sentence in str(error.value)


def test_a_plug_in_does_not_take_the_name_of_what_is_there(plug):
    plug("unet", STRAIGHT)
    with pytest.raises(MisuseError, match="There is a unet in networks already"):
        plugins.join("unet")
    with pytest.raises(MisuseError, match="'absent' cannot be imported"):
        plugins.join("absent")


def test_a_network_without_a_way_to_build_it_is_refused(plug):
    plug("inert", 'room = "networks"\nclass Config:\n    """Inert."""')
    plugins.join("inert")
    with pytest.raises(MisuseError, match="inert cannot stand where"):
        config.select(RUN, "model.generator", "inert")
