"""Checkpoints: whole or absent, and never believed unless every byte is as it was written."""

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from arzhang import checkpoint
from arzhang.types import ArzhangError

STATE = {"best": {"step": 2, "value": 0.1 + 0.2}, "terms": {"l1": [0.5, 1e-7]}}


def save(folder, *steps, size=4):
    for step in steps:
        parts = {"model": {"weight": torch.full((size,), step)}, "optimiser": {"moment": torch.ones(())}}
        checkpoint.save(folder, step=step, parts=parts, state=STATE)


def test_what_is_saved_is_read_back(tmp_path):
    save(tmp_path, 8)
    found, passed = checkpoint.newest(tmp_path)
    assert (found.step, found.state["best"], found.state["terms"], passed) == (8, STATE["best"], STATE["terms"], [])
    assert torch.equal(found.tensors("model")["weight"], torch.full((4,), 8))


def test_the_same_state_is_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        save(tmp_path / name, 3)
    for path in (tmp_path / "one/00000003").iterdir():
        assert path.read_bytes() == (tmp_path / "other/00000003" / path.name).read_bytes()


def test_a_folder_without_checkpoints_has_no_newest(tmp_path):
    assert checkpoint.newest(tmp_path / "absent") == (None, [])


@pytest.mark.parametrize("file", ["model.safetensors", "optimiser.safetensors", "state.json"])
def test_any_flipped_byte_is_noticed(tmp_path, file):
    save(tmp_path, 2, 4)
    path = tmp_path / "00000004" / file
    whole = path.read_bytes()
    before = json.loads(whole) if file == "state.json" else None
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        found, passed = checkpoint.newest(tmp_path)
        if found.step == 2:
            assert len(passed) == 1
            assert "00000004 is damaged" in passed[0]
        else:
            assert json.loads(damaged) == before  # a space between two values has become another


@pytest.mark.parametrize("digit", [*"27"])
def test_a_changed_number_in_the_state_is_noticed(tmp_path, digit):
    save(tmp_path, 4)
    path = tmp_path / "00000004/state.json"
    text = path.read_text()
    assert '"step": 2' in text
    path.write_text(text.replace('"step": 2', f'"step": {digit}'))
    if digit == "2":
        assert checkpoint.read(tmp_path, 4).state["best"]["step"] == 2
    else:
        with pytest.raises(ArzhangError, match=r"state\.json is not what was written"):
            checkpoint.read(tmp_path, 4)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "{}", '{"seal": 1}', "\udcff", '"' + "a" * 9])
def test_a_state_that_is_something_else_is_damage(tmp_path, text):
    save(tmp_path, 4)
    (tmp_path / "00000004/state.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArzhangError, match="00000004 is damaged"):
        checkpoint.read(tmp_path, 4)


def test_a_missing_file_is_damage(tmp_path):
    save(tmp_path, 2, 4)
    (tmp_path / "00000004/model.safetensors").unlink()
    found, (sentence,) = checkpoint.newest(tmp_path)
    assert found.step == 2
    assert sentence.endswith("00000004 is damaged: model.safetensors is missing.")


def test_what_cannot_be_read_now_is_not_taken_for_damage(tmp_path, monkeypatch):
    save(tmp_path, 2, 4)
    whole = Path.open

    def refuse(path, *arguments, **options):
        if path.name == "model.safetensors":
            raise OSError(errno.EMFILE, "Too many open files")
        return whole(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ArzhangError, match=r"00000004 cannot be read \(Too many open files\)"):
        checkpoint.newest(tmp_path)


def test_a_checkpoint_of_another_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "VERSION", 2)
        save(tmp_path, 4)
    with pytest.raises(ArzhangError, match="is of version 2; this Arzhang reads version 1"):
        checkpoint.newest(tmp_path)


def test_nothing_whole_is_an_error_and_not_a_new_beginning(tmp_path):
    save(tmp_path, 2, 4)
    for step in (2, 4):
        (tmp_path / f"{step:08d}/state.json").unlink()
    with pytest.raises(ArzhangError, match=r"00000004.*00000002.*None is whole.*remove .* to start from step 0"):
        checkpoint.newest(tmp_path)


def test_the_newest_and_the_best_are_kept_and_leftovers_go(tmp_path):
    save(tmp_path, 2, 4, 6, 8, 10)
    (tmp_path / ".00000008.writing").mkdir()
    (tmp_path / ".00000008.writing/model.safetensors").write_bytes(b"torn")
    checkpoint.prune(tmp_path, newest=8, keep=2, best=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002", "00000006", "00000008"]


def test_a_checkpoint_replaces_one_of_the_same_step(tmp_path):
    save(tmp_path, 4)
    (tmp_path / "00000004/state.json").write_text("damaged")
    save(tmp_path, 4)
    assert checkpoint.read(tmp_path, 4).step == 4


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, largest_file):
    save(tmp_path, 2)
    with largest_file(10_000), pytest.raises(ArzhangError, match=r"step 4 could not .*too large.*step 2 is intact"):
        save(tmp_path, 4, size=10_000)
    assert [path.name for path in tmp_path.iterdir()] == ["00000002"]
    assert checkpoint.read(tmp_path, 2).step == 2


@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_small_disk_leaves_the_checkpoint_before(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        save(tmp_path / "checkpoints", 2)
        with pytest.raises(ArzhangError, match=r"No space left on device.*step 2 is intact"):
            save(tmp_path / "checkpoints", 4, size=100_000)
        assert checkpoint.read(tmp_path / "checkpoints", 2).step == 2
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArzhangError, match=r"file/checkpoints \(Not a directory\); there is none before"):
        save(tmp_path / "file/checkpoints", 2)


def test_weights_prefer_the_moving_average(tmp_path):
    average = {"ema": {"weight": torch.zeros(1)}}
    path = checkpoint.save(tmp_path, step=1, parts={"model": {"weight": torch.ones(1)}, **average}, state={})
    assert checkpoint.weights(path)["weight"] == 0
    (path / "ema.safetensors").unlink()
    assert checkpoint.weights(path)["weight"] == 1


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"weight": (2, 3), "bias": (2,)}, r"weight is \(2, 3\), not \(2, 4\)"),
        ({"weight": (2, 4)}, r"bias is absent, not \(2,\)"),
        ({"weight": (2, 4), "bias": (2,), "more": ()}, r"more is \(\), not absent"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(tmp_path, tensors, said):
    with pytest.raises(ArzhangError, match=said):
        checkpoint.load(nn.Linear(4, 2), {name: torch.zeros(shape) for name, shape in tensors.items()}, path=tmp_path)
