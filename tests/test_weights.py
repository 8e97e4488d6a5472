"""The door for weights: what is read, what is refused, and that nothing in a file is ever run."""

import os
import zipfile
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from arzhang import weights
from arzhang.downloads import Published, sha256
from arzhang.types import ArzhangError

STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(2)}
PUBLISHED = Published(name="layer.pth", sha256="0" * 64, size=1000, urls=("http://127.0.0.1:9/layer.pth",))


def read(path, expected=None):
    return weights.load(replace(PUBLISHED, sha256=expected or PUBLISHED.sha256), given=path)


def fitted(tensors):
    with torch.device("meta"):
        layer = nn.Linear(3, 2)
    weights.fit(layer, tensors, source="layer.pth")
    return layer


@pytest.mark.parametrize("zipped", [False, True])
def test_pickles_of_both_ages_are_read_if_they_are_the_published_file(tmp_path, zipped):
    path = tmp_path / "copy.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    assert zipfile.is_zipfile(path) == zipped
    found = read(path, sha256(path))
    assert torch.equal(found.tensors["weight"], STATE["weight"])
    assert found.published
    assert found.label("layer") == "layer"
    assert found.provenance() == {"weights": "copy.pth", "sha256": sha256(path)}


def test_another_pickle_is_refused_and_the_way_out_is_said(tmp_path):
    path = tmp_path / "own.pth"
    torch.save(STATE, path)
    with pytest.raises(ArzhangError) as caught:
        read(path)
    said = str(caught.value)
    assert said.startswith(f"{path} has SHA-256 {sha256(path)}, and that of layer.pth is 000000")
    assert PUBLISHED.urls[0] in said
    assert "a .safetensors file, which cannot do harm" in said


def test_any_safetensors_are_read_and_known_for_unpublished(tmp_path):
    save_file(STATE, tmp_path / "own.safetensors")
    found = read(tmp_path / "own.safetensors")
    assert torch.equal(found.tensors["bias"], STATE["bias"])
    assert found.label("layer") == "layer-unpublished"


class Program:
    """What a pickle may hold: here it would make a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_program_in_a_pickle_is_not_run_even_if_its_hash_is_expected(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"weight": Program(str(tmp_path / "made"))}, path)
    for expected in (None, sha256(path)):
        with pytest.raises(ArzhangError, match=r"evil.pth (has SHA-256|holds no weights that can be read)"):
            read(path, expected)
        assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 100])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_file_is_a_sentence_of_one_line(tmp_path, suffix, content):
    path = (tmp_path / "damaged").with_suffix(suffix)
    path.write_bytes(content)
    with pytest.raises(ArzhangError, match=rf"damaged{suffix} holds no weights that can be read \([^\n]*\); fetch"):
        read(path, sha256(path))


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ArzhangError, match=r"own.safetensors cannot be read \(No such file or directory\)"):
        read(tmp_path / "own.safetensors")


def test_weights_that_do_not_fit_are_named():
    for tensors, said in (
        ({"weight": STATE["weight"]}, "which has 2 tensors: it lacks bias."),
        ({}, "it lacks bias and 1 more."),
        ({**STATE, "a": torch.ones(1), "b": torch.ones(1)}, "it has besides a and 1 more."),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, "it has in other shapes weight."),
    ):
        with pytest.raises(ArzhangError) as caught:
            fitted(tensors)
        assert str(caught.value).startswith("layer.pth does not fit Linear, ")
        assert said in str(caught.value)


def test_a_network_with_weights_only_looks():
    layer = fitted({name: tensor.half() for name, tensor in STATE.items()})
    assert not layer.training
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    assert layer.weight.dtype == torch.float32
    torch.testing.assert_close(layer(torch.ones(3)), torch.tensor([4.0, 13.0]))
