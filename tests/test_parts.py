"""The laboratory of the parts of Pix2Pix: what it trains, what it measures, and what of Pix2Pix it needs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from arzhang import images
from arzhang.data import facade
from arzhang.models import pix2pix
from arzhang.networks import imagegan, patchgan, pixelgan, resnet, unet
from arzhang.study.pix2pix import Cell, Config, Measured, Result, gradient_energy, run
from arzhang.types import Batch, Estimate, MisuseError

SMALL = {"generator": unet.Config(depth=5, width=4), "discriminator": patchgan.Config(layers=1, width=4)}
FEW = {
    "losses": ("l1+cgan", "l1"),
    "generators": ("unet",),
    "patches": ("16", "70"),
    "noise": ("dropout", "none", "z"),
    "data_direction": "b-to-a",
    "size": 32,
    "width": 4,
    "steps": 2,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr("arzhang.study.pix2pix.DRAWS", 2)


@pytest.fixture(scope="module")
def facades(tmp_path_factory):
    """A folder of a few procedural facades, photo and label side by side."""
    folder = tmp_path_factory.mktemp("facades")
    splits = facade.Config(size=32, count=4, held_out=4).build(seed=0)
    for name, split in (("train", splits.train), ("val", splits.held_out)):
        (folder / name).mkdir()
        for index in range(len(split)):
            pair = split.example(index, None)
            both = torch.cat([pair["target"], pair["source"]], 2)
            images.write(images.from_tensor(both), folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the tests below keep their runs, so that each is trained once."""
    return tmp_path_factory.mktemp("kept")


def pictures(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# What Pix2Pix has for it


def test_without_an_adversary_there_is_one_player_whose_loss_is_the_distance():
    torch.manual_seed(0)
    game = pix2pix.Config(**SMALL, adversarial="none", l1=3.0, l2=5.0).build()
    batch = Batch({"source": pictures(0, 2, 3, 32, 32), "target": pictures(1, 2, 3, 32, 32)})
    torch.manual_seed(1)
    (move,) = game.play(batch)
    torch.manual_seed(1)
    off = game.generator(batch.source) - batch.target
    assert move.player == "generator"
    assert move.loss.item() == pytest.approx(3 * off.abs().mean().item() + 5 * off.square().mean().item(), rel=1e-6)
    assert set(move.terms) == {"l1", "l2"}
    assert [*game.players] == ["generator"]
    assert not game.verdict
    assert all(name.startswith("generator.") for name in game.state_dict())


def test_what_has_nothing_to_learn_from_is_refused():
    with pytest.raises(MisuseError, match="Without an adversary, l1 and l2 there is nothing to learn from"):
        pix2pix.Config(**SMALL, adversarial="none", l1=0).build()
    with pytest.raises(MisuseError, match="There are -1 planes of noise"):
        pix2pix.Config(**SMALL, noise=-1).build()
    with pytest.raises(MisuseError, match="would add its pictures to noise"):
        pix2pix.Config(**SMALL | {"generator": resnet.Config(width=2, blocks=1, global_skip=True)}, noise=1).build()


def test_planes_of_noise_are_drawn_from_the_seed_and_are_zero_without():
    torch.manual_seed(0)
    game = pix2pix.Config(**SMALL | {"generator": unet.Config(depth=5, width=4, dropout=0)}, noise=2).build()
    source, seen = pictures(0, 1, 3, 32, 32), []
    game.generator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for noise in (None, 1, 1, 2):
        game.translate(source, noise=noise)
    assert all(torch.equal(each[:, :3], source) for each in seen)
    plain, one, again, other = (each[:, 3:] for each in seen)
    assert plain.shape == (1, 2, 32, 32)
    assert not plain.any()
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert stats.kstest(torch.cat([one, other]).flatten().numpy(), "norm").pvalue > 0.01


# What is trained


def test_by_default_one_part_at_a_time_differs_from_the_first():
    config = Config()
    first = Cell(loss="l1+cgan", generator="unet", patch="16", noise="dropout")
    assert {part: len(cells) for part, cells in config.groups().items()} == {
        "loss": 7,
        "generator": 2,
        "patch": 4,
        "noise": 3,
    }
    assert len(config.cells()) == 1 + 6 + 1 + 3 + 2
    for part, cells in config.groups().items():
        assert first in cells
        for cell in cells:
            back = replace(cell, **{part: getattr(first, part)})
            assert replace(back, patch=first.patch) == first


def test_patches_are_compared_under_the_first_loss_with_an_adversary():
    config = Config(losses=("l1", "gan", "l1+cgan"), patches=("16", "1"), generators=("unet",), noise=("none",))
    cells = config.groups()["patch"]
    assert [(cell.loss, cell.patch) for cell in cells] == [("gan", "1"), ("gan", "16")]
    assert set(cells) < set(config.cells())
    assert "patch" not in replace(config, losses=("l1", "l2")).groups()


def test_crossed_is_every_combination_but_patches_where_nobody_judges_them():
    config = Config(losses=("l1", "gan", "l2"), patches=("1", "34"), noise=("z", "none"), cross=True)
    assert len(config.cells()) == (2 + 1 * 2) * 2 * 2
    assert len(set(map(str, config.cells()))) == len(config.cells())
    assert {cell.patch for cell in config.cells() if cell.loss != "gan"} == {None}


def test_a_combination_is_the_run_that_it_is_called():
    config = Config(width=8, steps=7)

    def made(**parts):
        return config.run(replace(config.cells()[0], **parts), 5)

    plain = made(loss="l1", patch=None, noise="none", generator="encoder-decoder")
    assert (plain.steps, plain.seed, plain.data.size, plain.ema) == (7, 5, 64, 0)
    assert (plain.model.adversarial, plain.model.l1, plain.model.l2) == ("none", 100, 0)
    assert (plain.model.generator.depth, plain.model.generator.dropout, plain.model.generator.skips) == (6, 0, False)
    full = made(loss="l2+cgan", patch="34", noise="z", generator="unet").model
    assert (full.adversarial, full.l1, full.l2, full.conditional) == ("vanilla", 0, 100, True)
    assert (full.noise, full.generator.dropout, full.generator.skips) == (1, 0, True)
    assert full.discriminator == patchgan.Config(layers=2, width=8)
    assert not made(loss="gan", patch="1").model.conditional
    assert made(loss="gan", patch="1").model.discriminator == pixelgan.Config(width=8)
    dropping = made(loss="cgan", patch="1", noise="dropout").model
    assert (dropping.noise, dropping.generator.dropout, dropping.l1) == (0, 0.5, 0)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_whole_means_that_every_feature_sees_all_of_the_picture(size):
    chosen = Config(size=size)._discriminator("whole")
    network = chosen.build(inputs=1)
    assert network.smallest == size
    sees = patchgan.Config(layers=chosen.layers, width=1).build(inputs=1).receptive_field - 6 * 2**chosen.layers
    assert isinstance(chosen, imagegan.Config)
    assert sees >= size  # less the two layers of stride 1, each of which adds 3 times the stride so far


# What is measured


def test_gradient_energy_is_the_mean_square_of_what_neighbours_differ_by():
    found = gradient_energy(pictures(0, 2, 3, 5, 7))
    for energy, picture in zip(found, pictures(0, 2, 3, 5, 7).double().numpy(), strict=True):
        assert energy.item() == pytest.approx(
            np.mean((picture[:, 1:] - picture[:, :-1]) ** 2) + np.mean((picture[..., 1:] - picture[..., :-1]) ** 2)
        )


def result(offsets, *, n=400, spread=0.02, seeds=1):
    """What is told where errors, and energies as shares, lie so far above 0.2 and 1."""
    made = Config(
        losses=("l1", "l2", "gan")[: len(offsets)], generators=("unet",), patches=("16",), noise=("none",), seeds=seeds
    )
    found = {}
    common = torch.randn(n, generator=torch.Generator().manual_seed(0)).double() * 0.05
    for number, (cell, offset) in enumerate(zip(made.cells(), offsets, strict=True)):
        own = torch.randn(seeds, n, generator=torch.Generator().manual_seed(number + 1)).double() * spread
        found[cell] = [
            Measured(
                ratios={
                    "l1": torch.stack([0.2 + offset + common + each, torch.ones(n).double()]),
                    "energy": torch.stack([(1 + offset) * (1 + common), 1 + common]),
                    "diversity": torch.stack([torch.zeros(n).double(), torch.ones(n).double()]),
                },
                fd=Estimate(
                    name="fd-x",
                    value=5 + offset,
                    interval=(4 + offset, 6 + offset),
                    method="",
                    n={},
                    higher_is_better=False,
                ),
                shown=torch.zeros(1, 2, 3, 4, 4),
            )
            for each in own
        ]
    return Result(config=made, found=found, pairs=[])


def test_intervals_of_one_training_are_those_of_a_mean_over_pairs():
    made = result([0.0, 0.01])
    row = made.rows()[0]
    errors = made.found[made.config.cells()[0]][0].ratios["l1"][0].numpy()
    low, high = stats.t.interval(0.95, len(errors) - 1, errors.mean(), stats.sem(errors))
    assert row["l1"] == pytest.approx(errors.mean())
    assert (row["l1_low"], row["l1_high"]) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert (row["energy"], row["energy_low"], row["energy_high"]) == pytest.approx((1, 1, 1))
    assert (row["fd"], row["fd_low"], row["fd_high"]) == (5, 4, 6)


def test_the_best_and_the_next_are_compared_pair_by_pair():
    made = {row["by"]: row for row in result([0.0, 0.01, -0.02]).rows() if "by" in row}
    found = made["l1"]
    assert (found["best"], found["next"], found["told_apart"]) == ("gan, 16", "l1, -", "yes")
    assert found["low"] < found["difference"] < found["high"] < 0
    assert found["high"] - found["low"] < 0.01  # what pairs have in common, at 0.05 a pair, is not in it
    assert (made["fd"]["best"], made["fd"]["told_apart"]) == ("gan, 16", "open")
    assert made["|energy - 1|"]["best"] == "l1, -"
    assert made["|energy - 1|"]["difference"] == pytest.approx(-0.01)
    assert made["-diversity"]["told_apart"] == "open"


def test_crossed_rows_are_of_one_table():
    made = result([0.0, 0.01, -0.02])
    rows = replace(made, config=replace(made.config, cross=True)).rows()
    crossed = [row for row in rows if row["table"] == "all combinations, with generator unet, noise none"]
    assert [(row["loss"], row["patch"]) for row in crossed] == [("l1", None), ("l2", None), ("gan", "16")]
    assert {row["of"] for row in rows if "of" in row} == {"all combinations"}


def test_several_seeds_are_told_with_students_interval_over_them():
    made = result([0.0, 0.0], seeds=3, n=10)
    row = made.rows()[0]
    means = [each.ratios["l1"][0].mean().item() for each in made.found[made.config.cells()[0]]]
    low, high = stats.t.interval(0.95, 2, np.mean(means), stats.sem(means))
    assert (row["l1_low"], row["l1_high"]) == pytest.approx((low, high))
    assert "Means over 3 seeds" in made.caption
    assert row["table"] == "the loss, with generator unet, noise none"


def test_the_best_of_several_seeds_loses_the_least_in_the_mean():
    made = result([0.0, 0.0], seeds=2, n=10)
    ones = torch.ones(10).double()
    for cell, shares in zip(made.config.cells(), ((0.5, 1.5), (1.2, 1.25)), strict=True):
        for each, share in zip(made.found[cell], shares, strict=True):
            each.ratios["energy"] = torch.stack([share * ones, ones])
    (row,) = (row for row in made.rows() if row.get("by") == "|energy - 1|")
    assert row["best"] == "l2"
    assert row["difference"] == pytest.approx(0.225 - 0.5)


# The command


def test_what_was_stopped_goes_on_and_what_is_finished_is_not_trained_again(facades, kept):
    config = Config(**FEW, data_root=facades)
    handed = []

    def stopped(plan):
        yield from plan[:1]
        raise KeyboardInterrupt

    def watched(plan):
        for each in plan:
            handed.append(each)
            yield each

    with pytest.raises(KeyboardInterrupt):
        run(config, folder=kept, track=stopped)
    (done,) = (kept / "runs").iterdir()
    before = (done / "log.jsonl").stat().st_mtime_ns
    made = run(config, folder=kept, track=watched)
    assert (done / "log.jsonl").stat().st_mtime_ns == before
    assert len(handed) == len(config.cells()) == 4
    by_noise = {row["noise"]: row for row in made.rows() if row["table"].startswith("the noise")}
    assert by_noise["none"]["diversity"] == 0
    assert min(by_noise[noise]["diversity"] for noise in ("dropout", "z")) > 0
    for cell in config.cells():
        (found,) = made.found[cell]
        assert all(each.isfinite().all() for each in found.ratios.values())
        source, target = made.pairs[0]
        assert found.ratios["l1"][0, 0].item() == pytest.approx((found.shown[0, 0] - target).abs().mean().item())
        assert source.shape == target.shape
    with pytest.raises(MisuseError, match="has learnt for 2 steps, and 1 are asked for: give --steps 2 or more"):
        run(replace(config, steps=1), folder=kept)


def test_the_command_prints_its_tables_and_leaves_triptychs(arzhang, facades, kept):
    flags = {name.replace("data_", "data."): value for name, value in FEW.items()}
    asked = [
        part
        for name, value in flags.items()
        for part in (f"--{name}", *([value] if isinstance(value, str | int) else value))
    ]
    said = arzhang("study", "pix2pix", *asked, "--data.root", facades, "--out", kept)
    assert (said.status, said.err) == (0, "")
    assert "the loss, with generator unet, noise dropout" in said.out
    words = " ".join(said.out.split())
    assert "Patches of 70 pixels do not fit into 32 and are left out." in words
    assert "Without an adversary no patch is judged (-)" in words
    for name in ("loss", "noise"):
        assert (kept / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "48"], "size is 48, and should be a power of 2, such as 32, 64 or 128."),
        (["--size", "16"], "size is 16, and should be a power of 2, such as 32, 64 or 128."),
        (["--steps", "0"], "steps is 0, and should be at least 1."),
        (
            ["--patches", "70"],
            "Every part needs a value that fits: give at least one of --losses, --generators, --patch",
        ),
        (
            ["--losses", "l1", "--generators", "unet", "--noise", "none"],
            "There is one combination only, and nothing to compare: give --losses l1 l1+cgan.",
        ),
        (["--features", "pixel"], "There is no 'pixel' in features; did you mean pixels?"),
        (["--weights", "file"], "pixels has no weights: leave --weights out."),
    ],
)
def test_misuse_is_one_sentence(arzhang, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    answer = arzhang("study", "pix2pix", *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"arzhang: {said}")
    assert answer.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_without_pairs_is_a_sentence(arzhang, tmp_path):
    (tmp_path / "empty").mkdir()
    answer = arzhang("study", "pix2pix", "--data.root", tmp_path / "empty", "--out", tmp_path / "out")
    assert answer.status != 0
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("wide", "said"),
    [(32, "holds single pictures, and Pix2Pix learns from pairs"), (64, "1 pair is held out, and a Fréchet distance")],
)
def test_what_cannot_be_judged_is_refused_before_a_training(arzhang, tmp_path, wide, said):
    (tmp_path / "few").mkdir()
    for index in range(3):
        images.write(images.from_tensor(pictures(index, 3, 32, wide)), tmp_path / f"few/{index}.png")
    answer = arzhang("study", "pix2pix", "--data.root", tmp_path / "few", "--size", 32, "--out", tmp_path / "out")
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert said in answer.err
    assert not (tmp_path / "out").exists()
