"""What `arzhang inspect` says a run is made of, against published numbers and a measured step."""

import json
import weakref

import pytest
import torch

from arzhang import cli, plugins, summary
from arzhang.data import facade
from arzhang.models import pix2pix
from arzhang.networks import patchgan, unet
from arzhang.run import Run
from arzhang.train import begin, play
from arzhang.types import Batch, MisuseError


def inspect(capsys, *flags):
    assert cli.main(["inspect", "pix2pix", "--json", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    return found, {network["name"]: network for network in found["networks"]}


def test_pix2pix_is_of_the_published_size(capsys):
    found, networks = inspect(capsys)
    assert found["batch"] == {"source": [1, 3, 256, 256], "target": [1, 3, 256, 256]}
    generator, discriminator = networks["generator"], networks["discriminator"]
    assert (generator["player"], generator["parameters"], generator["output"]) == (
        "generator",
        54_413_955,
        [1, 3, 256, 256],
    )
    assert (discriminator["player"], discriminator["parameters"], discriminator["output"]) == (
        "discriminator",
        2_768_705,
        [1, 1, 30, 30],
    )
    assert discriminator["receptive_field"] == 70


def test_every_parameter_is_in_a_layer_that_is_listed_once(capsys):
    _, networks = inspect(capsys)
    for network in networks.values():
        assert sum(layer["parameters"] for layer in network["layers"]) == network["parameters"]
        assert len({layer["name"] for layer in network["layers"]}) == len(network["layers"])
    assert [layer["output"][1:] for layer in networks["discriminator"]["layers"] if layer["kind"] == "Conv2d"] == [
        [64, 128, 128],
        [128, 64, 64],
        [256, 32, 32],
        [512, 31, 31],
        [1, 30, 30],
    ]


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142), (5, 286), (6, 574)])
def test_flags_choose_the_receptive_field(capsys, layers, field):
    _, networks = inspect(capsys, "--model.discriminator.layers", str(layers))
    assert networks["discriminator"]["receptive_field"] == field


def test_flags_make_cyclegans_discriminator(capsys):
    _, networks = inspect(capsys, "--model.discriminator.norm", "instance", "--model.conditional", "False")
    assert networks["discriminator"]["parameters"] == 2_764_737


def test_flags_make_other_discriminators(capsys):
    _, networks = inspect(capsys, "--model.discriminator", "pixelgan")
    assert (networks["discriminator"]["parameters"], networks["discriminator"]["receptive_field"]) == (9_024, 1)
    _, networks = inspect(capsys, "--model.discriminator", "imagegan", "--batch", "2", "--data.size", "512")
    assert (networks["discriminator"]["output"], networks["discriminator"]["receptive_field"]) == ([2, 1, 1, 1], None)


def test_people_read_tables(capsys):
    assert cli.main(["inspect", "pix2pix"]) == 0
    out = capsys.readouterr().out
    assert "54,413,955 parameters" in " ".join(out.split())


def test_a_picture_that_the_networks_cannot_take_is_a_sentence(capsys):
    assert cli.main(["inspect", "pix2pix", "--data.size", "128"]) == 2
    assert "U-Net was given pictures of 128 x 128 pixels" in capsys.readouterr().err


SHAPES = dict.fromkeys(("source", "target"), (2, 3, 64, 64))


def small(**options):
    model = pix2pix.Config(
        generator=unet.Config(depth=5, width=8), discriminator=patchgan.Config(width=8, norm="instance"), **options
    )
    return Run(model=model, data=facade.Config(size=64), batch=2, steps=1)


class Kept:
    """A tensor that autograd keeps to go backward."""

    def __init__(self, tensor):
        self.tensor = tensor


def measured(run):
    """Bytes of what autograd keeps at the fullest moment of a round."""
    state = begin(run, torch.device("cpu"))
    batch = Batch({name: torch.zeros(shape) for name, shape in SHAPES.items()})
    given = {tensor.data_ptr() for tensor in (*state.game.parameters(), *batch.values())}
    kept, most = weakref.WeakSet(), 0

    def keep(tensor):
        kept.add(one := Kept(tensor))
        return one

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one.tensor):
        for _ in play(state.game, batch, state.optimisers, rate=0.0, autocast=torch.autocast("cpu", enabled=False)):
            storages = {one.tensor.data_ptr(): one.tensor.untyped_storage().nbytes() for one in kept}
            most = max(most, sum(size for address, size in storages.items() if address not in given))
    return most


@pytest.mark.parametrize("loss", ["vanilla", "wgan_gp"])
def test_the_memory_is_that_of_a_measured_step(loss):
    run = small(adversarial=loss)
    found = summary.summarise(run, sizes=SHAPES)
    parameters = sum(network.parameters for network in found.networks)
    assert found.memory == summary.BYTES_PER_PARAMETER * parameters + measured(run)


@pytest.mark.parametrize("loss", [name for name in plugins.names("losses") if name not in {"l1", "l2"}])
def test_a_run_with_any_loss_can_be_looked_at(loss):
    found = summary.summarise(small(adversarial=loss), sizes=SHAPES)
    assert [network.name for network in found.networks] == ["discriminator", "generator"]


def test_what_cannot_be_played_is_a_sentence():
    with pytest.raises(MisuseError, match="The pictures of source have 1 channels"):
        summary.summarise(small(), sizes={"source": (1, 1, 64, 64), "target": (1, 3, 64, 64)})
