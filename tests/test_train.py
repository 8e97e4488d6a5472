"""Training: what it leaves behind, what it refuses, and what it says when something is wrong."""

import functools
import io
import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import painter
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import arzhang
from arzhang import checkpoint, config, images, inference, rng
from arzhang.data import digits, facade, paired
from arzhang.loading import batches
from arzhang.losses import __all__ as losses
from arzhang.models import pix2pix
from arzhang.networks import _layers, patchgan, unet
from arzhang.report import translation
from arzhang.run import Adam, Run
from arzhang.train import Terms, _follow, begin, play, train
from arzhang.types import ArzhangError, Batch, MisuseError, Move

room = "models"  # this file is a plug-in, too: see Config below


def small(*, model=None, **changes):
    """A run of a network that trains in a blink."""
    settings = {
        "generator": unet.Config(depth=5, width=2),
        "discriminator": patchgan.Config(layers=1, width=2, norm="instance"),
    }
    defaults = {
        "data": facade.Config(size=32, count=4, held_out=2),
        "steps": 4,
        "device": "cpu",
        "checkpoint_every": 2,
        "judge_every": 1000,
        "log_every": 1,
    }
    return Run(model=pix2pix.Config(**{**settings, **(model or {})}), **{**defaults, **changes})


def go(run, out, **options):
    said = io.StringIO()
    train(run, out=out, console=Console(file=said, width=1000), **options)
    return said.getvalue()


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Train a run the first time that it is asked for, and copy its folder to where it is to be."""

    @functools.cache
    def trained(run):
        folder = tmp_path_factory.mktemp("once")
        go(run, folder)
        return folder

    return lambda run, out: shutil.copytree(trained(run), out, dirs_exist_ok=True)


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def terms(folder, name):
    return {line["step"]: line[name] for line in log(folder) if name in line}


def weights(folder, part="model"):
    path = max((folder / "checkpoints").iterdir())
    return (path / f"{part}.safetensors").read_bytes()


def report(folder):
    return json.loads((folder / "report.json").read_text())


def listing_of(folder):
    return list(folder.glob("checkpoints/*"))


def listing(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def pairs(root, *, count, split="train", channels=3, name="{:03}.png"):
    """Write pairs of noise into ``root/A/split`` and ``root/B/split``."""
    for side in "AB":
        for index in range(count):
            path = root / side / split / name.format(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([index, ord(side)]).integers(0, 256, (36, 36, channels), np.uint8)
            Image.fromarray(pixels.squeeze()).save(path)
    return root


def on_pairs(root, **changes):
    return small(data=paired.Config(root=root, size=32, **changes.pop("data", {})), **changes)


# What it learns from, and how


@pytest.mark.parametrize("adversarial", sorted(set(losses) - {"l1", "l2"}))
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_adversarial_loss_trains(tmp_path, adversarial, precision):
    run = small(model={"adversarial": adversarial, "l2": 1.0}, steps=3, batch=2, precision=precision)
    go(run, tmp_path)
    assert len(terms(tmp_path, "d")) == len(terms(tmp_path, "l1")) == 3
    begun = run.model.build().state_dict()
    for name, tensor in load_file(tmp_path / "checkpoints/00000003/model.safetensors").items():
        assert tensor.isfinite().all()
        assert tensor.shape == begun[name].shape
        assert tensor.dtype == begun[name].dtype
    if adversarial == "wgan_gp":
        assert min(terms(tmp_path, "d_penalty").values()) > 0


def test_a_critic_moves_five_times_a_round(tmp_path):
    go(small(model={"adversarial": "wgan-gp"}, steps=3), tmp_path)
    moments = load_file(tmp_path / "checkpoints/00000003/optimiser.safetensors")
    assert moments["discriminator.0.step"] == 15
    assert moments["generator.0.step"] == 3


def test_the_rate_follows_its_schedule(tmp_path):
    adam = Adam(rate=1.0e-3)
    for schedule in ("linear", "cosine", "constant"):
        run = small(optimiser=replace(adam, schedule=schedule), steps=4)
        go(run, tmp_path / schedule)
        assert terms(tmp_path / schedule, "rate") == {step: run.rate_at(step - 1, 4) for step in range(1, 5)}
    assert len(set(terms(tmp_path / "cosine", "rate").values())) == 4


def test_weights_decay_by_a_share_of_the_rate_beside_the_gradient(tmp_path):
    adams = {"begun": Adam(rate=0.0), "plain": Adam(rate=0.01), "decayed": Adam(rate=0.01, weight_decay=0.5)}
    weights = {}
    for name, adam in adams.items():
        go(small(optimiser=adam, steps=1), tmp_path / name)
        weights[name] = load_file(tmp_path / name / "checkpoints/00000001/model.safetensors")
    for name, _ in small().model.build().discriminator.named_parameters():  # which moves first, by equal gradients
        begun, plain, decayed = (weights[adam][f"discriminator.{name}"] for adam in adams)
        torch.testing.assert_close(decayed, plain - 0.01 * 0.5 * begun, rtol=1e-6, atol=1e-7)
        assert not torch.equal(plain, begun)


def test_epochs_give_the_length_and_batches_span_them(tmp_path):
    go(small(steps=None, epochs=2, batch=3), tmp_path)
    assert listing(tmp_path)[-1] == 3  # 2 epochs of 4 examples in batches of 3, rounded up


def test_the_order_of_the_data_and_the_dropout_depend_on_the_seed(once, tmp_path):
    once(small(), tmp_path / "one")
    for name, seed in (("same", 0), ("other", 1)):
        torch.rand(3)  # what the caller drew does not matter
        go(small(seed=seed), tmp_path / name)
    assert weights(tmp_path / "one") == weights(tmp_path / "same") != weights(tmp_path / "other")


# What it leaves


def test_a_run_leaves_its_log_samples_and_report(tmp_path):
    go(small(steps=4, judge_every=2, log_every=2), tmp_path)
    assert [(line["step"], "d" in line) for line in log(tmp_path)] == [(2, True), (2, False), (4, True), (4, False)]
    assert images.size_of(tmp_path / "samples/00000004.png") == (32, 192)
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["config"]["steps"] == 4
    assert written["provenance"]["seed"] == "0"
    assert written["provenance"]["held-out pairs"] == "2 of 2"
    assert written["figures"][0]["value"] == terms(tmp_path, "held_out_l1")[4]
    assert json.loads((tmp_path / "config.json").read_text())["made_with"]["torch"] == torch.__version__


def test_the_report_is_there_while_it_trains(tmp_path):
    (tmp_path / "samples/00000004.png/in the way").mkdir(parents=True)
    with pytest.raises(ArzhangError, match=r"00000004\.png cannot be written"):
        go(small(steps=6, judge_every=2), tmp_path)
    assert "after 2 steps" in json.loads((tmp_path / "report.json").read_text())["title"]
    assert "after 2 steps" in (tmp_path / "report.html").read_text()


def test_the_newest_and_the_best_checkpoint_are_kept(tmp_path):
    worsening = {"l1": 0.0}
    go(small(model=worsening, steps=14, judge_every=2, keep=2, optimiser=Adam(rate=0.02), ema=0.5), tmp_path)
    errors = terms(tmp_path, "held_out_l1")
    best = min(errors, key=errors.get)
    assert best < 12  # or this test would show nothing
    assert listing(tmp_path) == [best, 12, 14]
    state = checkpoint.read(tmp_path / "checkpoints", 14).state
    assert state["best"] == {
        "step": best,
        "value": pytest.approx(errors[best], abs=1e-6),
        "name": "l1",
        "higher_is_better": False,
    }
    judge = translation.Judge.of(small().data.build(seed=0))
    for part, same in (("ema", True), ("model", False)):
        game = small().model.build()
        game.load_state_dict(load_file(tmp_path / f"checkpoints/{best:08d}/{part}.safetensors"))
        assert (judge(game, torch.device("cpu")).value == pytest.approx(errors[best], abs=1e-6)) is same
    assert arzhang.load(tmp_path, which="best").run == arzhang.load(tmp_path).run


@pytest.mark.parametrize(("metric", "features"), [("psnr", "inception"), ("fid", "pixels")])
def test_the_best_is_best_by_any_metric(tmp_path, metric, features):
    changes = {
        "steps": 8,
        "judge_every": 2,
        "optimiser": Adam(rate=0.02),
        "data": facade.Config(size=32, count=4, held_out=6),
    }
    go(small(**changes, best=metric, features=features), tmp_path)
    name = {"psnr": "psnr", "fid": "fd-pixels"}[metric]
    found = terms(tmp_path, f"held_out_{name}")
    assert len(set(found.values())) == 4
    best = (max if metric == "psnr" else min)(found, key=found.get)
    assert checkpoint.read(tmp_path / "checkpoints", 8).state["best"]["step"] == best
    assert any(figure["name"] == f"Best {name} so far" for figure in report(tmp_path)["figures"])


def test_a_metric_that_cannot_be_had_is_said_before_the_first_step(tmp_path):
    for best, said in (("pnsr", "There is no metric 'pnsr'; did you mean psnr"), ("ppl", "ppl is of a generator")):
        with pytest.raises(MisuseError, match=said):
            go(small(best=best), tmp_path)
    assert not listing_of(tmp_path)


# From Python


def test_a_folder_becomes_a_function_from_picture_to_picture(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    model = config.to_dict(small().model)
    folder = arzhang.train(
        "pix2pix-small",
        data=pairs(tmp_path / "photos", count=3),
        out=tmp_path / "run",
        steps=1,
        device="cpu",
        model=model,
        console=Console(file=io.StringIO()),
    )
    assert folder == tmp_path / "run"
    assert arzhang.load(folder)(picture).size == (50, 40)


def test_it_trains_in_a_thread(once, tmp_path):
    failures = []

    def work():
        try:
            go(small(), tmp_path / "threaded")
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert not failures
    once(small(), tmp_path / "plain")
    assert weights(tmp_path / "threaded") == weights(tmp_path / "plain")


# Going on, and beginning from elsewhere


def test_another_configuration_is_refused_and_the_key_named(once, tmp_path):
    once(small(), tmp_path)
    before = weights(tmp_path), (tmp_path / "config.json").read_bytes()
    for changes, said in (
        ({"seed": 1}, r"its seed is 0, not 1\. Give --out .* with --init"),
        ({"model": {"l1": 50.0}}, r"its model\.l1 is 100\.0, not 50\.0"),
        ({"model": {"generator": unet.Config(depth=4, width=2)}}, r"its model\.generator\.depth is 5, not 4"),
    ):
        with pytest.raises(MisuseError, match=said):
            go(small(**changes), tmp_path)
    assert before == (weights(tmp_path), (tmp_path / "config.json").read_bytes())


def test_keys_that_change_nothing_learnt_may_differ(once, tmp_path):
    once(small(), tmp_path)
    before = weights(tmp_path)
    said = go(small(keep=1, log_every=3, judge_every=5, checkpoint_every=3), tmp_path)
    assert "finished, with 4 steps" in said
    assert listing(tmp_path) == [4]
    assert weights(tmp_path) == before


def test_a_folder_where_nothing_was_learnt_may_be_claimed(tmp_path):
    with pytest.raises(ArzhangError, match="became"):
        go(small(optimiser=Adam(rate=1e30)), tmp_path)
    go(small(), tmp_path)
    assert listing(tmp_path) == [2, 4]


@pytest.mark.parametrize("text", ['{"name": "somebody else\'s"}', "[1]", "{", '{"version": 99}'])
def test_a_folder_of_something_else_is_left_alone(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(MisuseError, match=r"is not a run's: .* Give --out another folder"):
        go(small(), tmp_path)
    assert (tmp_path / "config.json").read_text() == text


def test_a_finished_run_with_a_constant_rate_can_be_extended(once, tmp_path):
    once(small(steps=2), tmp_path / "extended")
    go(small(steps=6), tmp_path / "extended")
    once(small(steps=6), tmp_path / "straight")
    assert weights(tmp_path / "extended") == weights(tmp_path / "straight")


def test_a_run_whose_rate_depends_on_its_length_cannot_be_extended(tmp_path):
    adam = Adam(schedule="linear")
    go(small(steps=2, optimiser=adam), tmp_path)
    with pytest.raises(MisuseError, match=r"its steps is 2, not 6, on which its linear learning rate depends"):
        go(small(steps=6, optimiser=adam), tmp_path)


def test_a_new_run_starts_from_the_weights_of_another(once, tmp_path):
    once(small(), tmp_path / "old")
    frozen = small(optimiser=Adam(rate=0.0), ema=0.5, seed=7, data=facade.Config(size=32, count=3, held_out=1))
    go(frozen, tmp_path / "new", init=tmp_path / "old")
    old, new, average = (
        load_file(path)
        for path in (
            tmp_path / "old/checkpoints/00000004/model.safetensors",
            tmp_path / "new/checkpoints/00000004/model.safetensors",
            tmp_path / "new/checkpoints/00000004/ema.safetensors",
        )
    )
    learnt = [name for name, tensor in old.items() if tensor.is_floating_point() and "running" not in name]
    assert all(torch.equal(old[name], new[name]) and torch.allclose(old[name], average[name]) for name in learnt)
    picture = Image.new("RGB", (32, 32), "teal")
    assert arzhang.load(tmp_path / "old")(picture) == arzhang.load(tmp_path / "new")(picture)


def test_weights_of_other_shapes_are_refused_in_a_sentence(once, tmp_path):
    once(small(), tmp_path / "old")
    other = small(model={"generator": unet.Config(depth=5, width=3)})
    with pytest.raises(MisuseError) as caught:
        go(other, tmp_path / "new", init=tmp_path / "old")
    assert "old do not fit this model: generator.down.0.1.weight is (2, 3, 4, 4), not (3, 3, 4, 4)" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_run_that_exists_did_not_start_from_another(once, tmp_path):
    once(small(), tmp_path / "old")
    once(small(steps=2), tmp_path / "new")
    for init in ("old", "nowhere"):
        with pytest.raises(MisuseError, match=rf"new holds a run that started from fresh weights, not from .*{init}"):
            go(small(), tmp_path / "new", init=tmp_path / init)
    assert listing(tmp_path / "new") == [2]
    go(small(steps=2), tmp_path / "third", init=tmp_path / "old")
    go(small(), tmp_path / "third", init=tmp_path / "old")
    assert listing(tmp_path / "third")[-1] == 4


def test_a_damaged_checkpoint_to_start_from_is_named(once, tmp_path):
    once(small(), tmp_path / "old")
    (tmp_path / "old/checkpoints/00000004/model.safetensors").unlink()
    with pytest.warns(UserWarning, match="00000004 is damaged: .* Starting from the one before"):
        go(small(), tmp_path / "new", init=tmp_path / "old")


def test_a_finished_run_that_is_asked_for_fewer_steps_stays_as_it_is(once, tmp_path):
    once(small(), tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    assert "finished, with 4 steps" in go(small(steps=2), tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_missing_run_to_start_from_is_a_sentence(tmp_path):
    with pytest.raises(MisuseError, match=r"nowhere has no checkpoint to start from; give --init"):
        go(small(), tmp_path / "new", init=tmp_path / "nowhere")


@pytest.mark.parametrize("tail", ['{"step": 4, "d": 0.', "\0\0\0\n", "12\n", '{"step": 400}\n', '{"other": 1}\n', "\n"])
def test_the_log_is_cut_back_to_the_step(once, tmp_path, tail):
    once(small(steps=2), tmp_path)
    before = log(tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(tail)
    go(small(steps=3), tmp_path)
    assert log(tmp_path)[:-2] == before
    assert log(tmp_path)[-1]["step"] == 3


# When something is wrong


@pytest.mark.parametrize("log_every", [1, 50])
def test_a_loss_that_is_no_number_stops_the_run_and_spoils_nothing(once, tmp_path, log_every):
    once(small(steps=2), tmp_path)
    learnt = weights(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"rate": 0.0002', '"rate": 1e+30'))
    with pytest.raises(ArzhangError, match=r"In step 3 the term 'g' of the generator became (nan|inf).*is of step 2\."):
        go(small(steps=6, optimiser=Adam(rate=1e30), log_every=log_every), tmp_path)
    assert listing(tmp_path) == [2]
    assert weights(tmp_path) == learnt


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A game whose loss is finite where its gradient is not."""

    def build(self):
        return Spoilt()


class Spoilt(nn.Module):
    players: Mapping[str, tuple[str, ...]] = {"one": ("network",)}

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(3, 3, 1)
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)

    def play(self, batch: Batch) -> Iterator[Move]:
        yield Move(player="one", loss=self.network(batch.source).abs().mean().sqrt())

    def translate(self, source, *, noise=None):
        with torch.no_grad():
            return self.network(source)


@pytest.mark.parametrize(
    ("judge_every", "said"),
    [(1, "After step 1 the held-out l1 is nan"), (9, "After step 1 network.weight of the model is not finite")],
)
def test_weights_that_are_no_numbers_are_never_saved(tmp_path, judge_every, said):
    run = replace(small(checkpoint_every=1, judge_every=judge_every), model=Config())
    with pytest.raises(ArzhangError, match=said):
        go(run, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    assert all(
        json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "log.jsonl").read_text().splitlines()
    )


@pytest.mark.parametrize(
    ("every", "limit", "said"),
    [
        ({}, 20_000, r"checkpoint of step 4 could not be written .* the one of step 2 is intact"),
        ({"checkpoint_every": 1000}, 3_000, r"run folder .* cannot be written \(File too large\)"),
        ({"checkpoint_every": 1000, "judge_every": 3}, 20_000, r"run folder .* cannot be written \(File too large\)"),
        ({"checkpoint_every": 1000, "judge_every": 3}, 3_000, r"00000003\.png cannot be written .*File too large"),
    ],
    ids=["checkpoint", "log", "report", "samples"],
)
def test_a_full_disk_is_a_sentence_and_the_run_goes_on_when_there_is_room(
    once, tmp_path, largest_file, every, limit, said
):
    full = tmp_path / "full"
    once(small(steps=2), full)
    with largest_file(limit), pytest.raises(ArzhangError, match=said):
        go(small(steps=40, **every), full)
    assert listing(full) == [2]
    go(small(steps=6), full)
    once(small(steps=6), tmp_path / "roomy")
    assert weights(full) == weights(tmp_path / "roomy")


@contextmanager
def as_nobody():
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path):
    tmp_path.chmod(0o555)
    with as_nobody(), pytest.raises(ArzhangError, match=r"run cannot be written \(Permission denied\).*--out"):
        go(small(), tmp_path / "run")
    (file := tmp_path / "file").write_text("in the way")
    for out in (file, file / "run"):
        with pytest.raises(ArzhangError, match=r"cannot be written \((File exists|Not a directory)\)"):
            go(small(), out)


@pytest.mark.parametrize("place", ["log.jsonl", "report.html", "samples/00000004.png"])
def test_something_in_the_way_is_a_sentence(tmp_path, place):
    (tmp_path / place / "inside").mkdir(parents=True)
    with pytest.raises(ArzhangError, match="cannot be written"):
        go(small(), tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_picture_in_the_middle_saves_the_run_and_is_named(tmp_path, workers):
    many = translation.MOST_PAIRS + 8  # of which the judge looks at the most, but not at all
    root = pairs(pairs(tmp_path / "photos", count=many), count=1, split="val")
    run = on_pairs(root, data={"cache": 0}, steps=many, checkpoint_every=1000, log_every=50, workers=workers)
    unseen = min(set(range(many)) - {index * many // translation.MOST_PAIRS for index in range(200)})
    step = torch.randperm(many, generator=rng.generator(0, "order", 0)).tolist().index(unseen)
    assert step > 0
    path = root / f"A/train/{unseen:03}.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArzhangError, match=rf"{path.name}"):
        go(run, tmp_path / "run")
    assert listing(tmp_path / "run") == [step]
    path.write_bytes(whole)
    assert f"Going on from step {step} of {many}" in go(run, tmp_path / "run")
    go(replace(run, workers=0), tmp_path / "undisturbed")
    assert weights(tmp_path / "run") == weights(tmp_path / "undisturbed")
    for name in ("d", "g", "l1"):
        assert terms(tmp_path / "run", name) == terms(tmp_path / "undisturbed", name)


def test_a_corrupt_picture_in_the_first_batch_leaves_no_checkpoint(tmp_path):
    root = pairs(pairs(tmp_path / "photos", count=2), count=1, split="val")
    path = root / "A/train/001.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ArzhangError, match=r"001\.png"):
        go(on_pairs(root), tmp_path / "run")
    assert not (tmp_path / "run/checkpoints").exists()


# What the judge looks at


@pytest.mark.parametrize(("source", "target"), [(1, 3), (3, 1), (4, 3), (3, 4), (1, 1)])
def test_pictures_of_any_channels_are_judged_and_reported(tmp_path, source, target):
    channels = {"source_channels": source, "target_channels": target}
    root = pairs(pairs(tmp_path / "photos", count=2, channels=4), count=1, split="val", channels=4)
    go(on_pairs(root, data=channels, model=channels, steps=1), tmp_path / "run")
    assert images.read(tmp_path / "run/samples/00000001.png").pixels.shape == (32, 96, 3)
    written = json.loads((tmp_path / "run/report.json").read_text())
    assert written["figures"][0]["interval"] == [None, None]
    assert written["provenance"]["held-out pairs"] == "1 of 1"
    baselines = [row[0] for row in written["tables"][0]["rows"]]
    assert ("the input itself" in baselines) is (source == target)


def test_channels_that_do_not_fit_are_a_sentence(tmp_path):
    root = pairs(tmp_path / "photos", count=3)
    with pytest.raises(MisuseError, match="pictures of source have 1 channels and the model expects 3"):
        go(on_pairs(root, data={"source_channels": 1}), tmp_path / "run")


def test_data_without_pairs_is_a_sentence(tmp_path):
    with pytest.raises(MisuseError, match="have image and label, and to translate is learnt from source and target"):
        go(small(data=digits.Config()), tmp_path)


def test_names_of_files_are_text_in_the_report(tmp_path):
    root = pairs(tmp_path / "photos", count=3, name="<img src=x onerror=alert({})>.png")
    go(on_pairs(root, steps=1), tmp_path / "run")
    page = (tmp_path / "run/report.html").read_text()
    assert "&lt;img src=x onerror=alert" in page
    assert "<img src=x" not in page


def test_the_baselines_are_those_of_a_hand_calculation():
    splits = facade.Config(size=32, count=3, held_out=2).build(seed=0)
    judge = translation.Judge.of(splits)
    train = torch.stack([splits.train.example(index, None)["target"] for index in range(3)])
    for index in range(2):
        pair = splits.held_out.example(index, None)
        assert judge.baselines["the mean photo"][index] == pytest.approx((train.mean(0) - pair["target"]).abs().mean())
        assert judge.baselines["the input itself"][index] == pytest.approx(
            (pair["source"] - pair["target"]).abs().mean()
        )


# What fresh readers found


def test_judging_more_often_changes_nothing_learnt(tmp_path, monkeypatch):
    build = patchgan.Config.build

    def spectral(self, *, inputs):
        made = build(self, inputs=inputs)
        nn.utils.parametrizations.spectral_norm(made.layers[0])  # its power iteration goes on while it is in training
        return made

    monkeypatch.setattr(patchgan.Config, "build", spectral)
    for judge_every in (1, 100):
        go(small(judge_every=judge_every), tmp_path / str(judge_every))
    assert weights(tmp_path / "1") == weights(tmp_path / "100")


def test_a_young_average_forgets_where_it_began(tmp_path):
    go(small(steps=30, ema=0.999, optimiser=Adam(rate=0.01)), tmp_path)
    begun = small().model.build  # fresh weights, as at the beginning
    torch.manual_seed(rng.seed_of(0, "weights"))
    first = begun().state_dict()["generator.down.0.1.weight"]
    now, average = (
        load_file(tmp_path / f"checkpoints/00000030/{part}.safetensors")["generator.down.0.1.weight"]
        for part in ("model", "ema")
    )
    assert (average - now).norm() < 0.5 * (first - now).norm()


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path):
    code = f"""
import fcntl, sys
lock = open({str(tmp_path / ".lock")!r}, "wb")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(MisuseError, match="Another training is using"):
            go(small(), tmp_path)
        other.stdin.close()
    go(small(), tmp_path)


def test_the_data_of_a_recipe_is_changed_by_a_folder_or_by_keys(tmp_path):
    pairs(tmp_path / "data", count=3)
    model = config.to_dict(small())["model"]
    values = {"root": str(tmp_path / "data"), "direction": "b-to-a", "size": 32}
    options = {"model": model, "steps": 1, "console": Console(file=io.StringIO())}
    train("demo", data=values, out=tmp_path / "keys", **options)
    written = config.read(tmp_path / "keys")["data"]
    assert (written["kind"], written["direction"], written["size"]) == ("data.paired", "b-to-a", 32)
    train("demo", data={"size": 32, "count": 2, "held_out": 1}, out=tmp_path / "same", **options)
    assert config.read(tmp_path / "same")["data"] == {"kind": "data.facade", "size": 32, "count": 2, "held_out": 1}


def test_a_run_says_whose_weights_it_started_from(once, tmp_path):
    once(small(), tmp_path / "first")
    go(small(seed=1), tmp_path / "second", init=tmp_path / "first")
    provenance = json.loads((tmp_path / "second/report.json").read_text())["provenance"]
    assert provenance["started from"] == f"{tmp_path / 'first'}, step 4"
    with pytest.raises(MisuseError, match="has no checkpoint to start from"):
        go(small(), tmp_path / "third", init=tmp_path / "nowhere")
    assert not (tmp_path / "third").exists()


# The fast path


def test_float16_goes_on_exactly_with_its_scale(tmp_path):
    scaled = {"precision": "float16", "steps": 8, "ema": 0.5}
    go(small(**scaled | {"steps": 5}), tmp_path / "resumed")
    go(small(**scaled), tmp_path / "resumed")
    go(small(**scaled), tmp_path / "straight")
    states = [checkpoint.read(tmp_path / name / "checkpoints", 8).state for name in ("resumed", "straight")]
    assert states[0] == states[1]
    assert states[0]["scaler"]["scale"] >= 1
    for part in ("model", "ema", "optimiser"):
        assert weights(tmp_path / "resumed", part) == weights(tmp_path / "straight", part)


def test_a_gradient_that_is_scaled_beyond_its_range_moves_nobody_and_halves_the_scale():
    state = begin(small(precision="float16"), torch.device("cpu"))
    before = [parameter.clone() for parameter in state.game.parameters()]
    batch = Batch({name: torch.rand(1, 3, 32, 32) for name in ("source", "target")})

    def moved(scale):
        state.scaler.load_state_dict({**state.scaler.state_dict(), "scale": scale})
        plain = torch.autocast("cpu", enabled=False)
        list(play(state.game, batch, state.optimisers, rate=1e-3, autocast=plain, scaler=state.scaler))
        return [not torch.equal(*pair) for pair in zip(before, state.game.parameters(), strict=True)]

    assert not any(moved(math.inf))
    moved(2.0**127)
    assert state.scaler.get_scale() <= 2.0**126
    assert all(moved(8.0))
    assert state.scaler.get_scale() == 8


def test_tf32_is_for_gpus(tmp_path):
    with pytest.raises(MisuseError, match=r"tf32 is of NVIDIA GPUs, and this computes on cpu: give another --precis"):
        go(small(precision="tf32"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class NoWaiting(TorchDispatchMode):
    """Fails where a number is asked for, since a GPU would have to finish first."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("adversarial", ["vanilla", "wgan-gp"])
def test_no_step_waits_for_a_number(tmp_path, adversarial, precision):
    state = begin(small(model={"adversarial": adversarial}, precision=precision, ema=0.5), torch.device("cpu"))
    batch = Batch({name: torch.rand(1, 3, 32, 32) for name in ("source", "target")})
    seen = Terms(tmp_path)
    with inference.computing(precision, torch.device("cpu")) as autocast, NoWaiting():
        seen.add(play(state.game, batch, state.optimisers, rate=1e-3, autocast=autocast, scaler=state.scaler), 0)
        _follow(state.average, state.game, decay=0.5, step=1)
    assert {name for _, _, name in seen.names} >= {"d", "g", "l1", "loss"}
    with pytest.raises(AssertionError), NoWaiting():
        seen.values[0].item()


def test_terms_are_as_they_were_when_they_were_added(tmp_path):
    seen, buffer, told = Terms(tmp_path), torch.zeros(()), []
    for step in range(3):
        buffer.fill_(step)
        seen.add([Move(player="one", loss=torch.ones(()), terms={"count": buffer})], step)
    seen.tell(SimpleNamespace(add=lambda name, value: told.append((name, value))))
    assert told == [("count", 0.0), ("count", 1.0), ("count", 2.0)]


def test_a_batch_in_parts_teaches_what_the_whole_does(tmp_path, monkeypatch):
    most = []
    forward = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda layer, x: most.append(len(x)) or forward(layer, x))
    for parts in (1, 3):
        run = replace(small(batch=6, accumulate=parts, judge_every=4), model=painter.Config())
        go(run, tmp_path / str(parts))
        assert max(most) == 6 // parts
        most.clear()
    for part in ("model", "optimiser"):
        whole, divided = (
            load_file(tmp_path / name / f"checkpoints/00000004/{part}.safetensors") for name in ("1", "3")
        )
        torch.testing.assert_close(divided, whole, rtol=1e-5, atol=1e-7)
    assert terms(tmp_path / "3", "error") == pytest.approx(terms(tmp_path / "1", "error"), rel=1e-5)


def test_parts_of_a_batch_are_for_one_player_and_equal(tmp_path):
    with pytest.raises(MisuseError, match="asks for one player, and here are discriminator, generator"):
        go(small(batch=4, accumulate=2), tmp_path)
    with pytest.raises(MisuseError, match=r"batch of 4 .* 1 processes and there into 3 equal parts: .* multiple of 3"):
        go(replace(small(batch=4, accumulate=3), model=painter.Config()), tmp_path)
    with pytest.raises(MisuseError, match="asks for one move a round"):
        go(replace(small(batch=4, accumulate=2), model=painter.Config(moves=2)), tmp_path)


@pytest.mark.parametrize(("adversarial", "depth"), [("vanilla", 5), ("wgan-gp", 4)])
def test_compiled_networks_learn_the_same_and_go_on_exactly(tmp_path, adversarial, depth):
    script = f"""
        import sys
        from pathlib import Path
        import torch
        from torch._dynamo.utils import counters

        sys.path.append({str(Path(__file__).parent)!r})
        from test_train import go, small, unet, weights

        torch.set_num_threads(1)
        folder = Path({str(tmp_path)!r})
        model = {{"adversarial": {adversarial!r}, "generator": unet.Config(depth={depth}, width=2)}}
        compiled = {{"compile": True, "ema": 0.5, "batch": 2, "model": model}}
        go(small(**compiled | {{"steps": 2}}), folder / "resumed")
        go(small(**compiled), folder / "resumed")
        assert counters["stats"]["unique_graphs"] > 0
        go(small(**compiled), folder / "straight")
        for part in ("model", "ema", "optimiser"):
            assert weights(folder / "resumed", part) == weights(folder / "straight", part)
        go(small(**compiled | {{"compile": False}}), folder / "plain")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    if depth == 4:  # which has no dropout, that a compiler draws otherwise
        for name in ("d", "d_penalty", "g", "l1"):
            plain, compiled = (list(terms(tmp_path / folder, name).values()) for folder in ("plain", "straight"))
            assert compiled == pytest.approx(plain, rel=1e-3, abs=1e-6)  # d is a difference


def test_the_losses_of_the_fast_path_follow_those_of_the_plain_path(monkeypatch):
    """Products of matrices and bfloat16: within a thousandth at first, and a twentieth after sixty steps."""
    steps = range(60)
    run = small(
        model={"generator": unet.Config(depth=5, width=16), "discriminator": patchgan.Config(layers=2, width=16)},
        data=facade.Config(size=32, count=40, held_out=1),
    )
    data = list(batches(run.data.build(seed=0).train, size=4, seed=0, steps=steps))

    def played(*, few, fast):
        monkeypatch.setattr(_layers, "FEW", few)
        torch.manual_seed(0)
        state = begin(run, torch.device("cpu"))
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=fast)
        rounds = []
        for step in steps:
            torch.manual_seed(step)
            moves = play(state.game, data[step], state.optimisers, rate=2e-4, autocast=autocast)
            rounds.append([move.loss.item() for move in moves])
        return torch.tensor(rounds)

    plain = played(few=0, fast=False)
    for few, fast in ((64, False), (64, True)):
        departure = (played(few=few, fast=fast) - plain).abs() / plain
        assert 0 < departure[:5].max() < 0.001
        assert departure.max() < 0.05
