"""The laboratory of the weight: what it measures, and when its claim is shown, denied or left open."""

import json
from dataclasses import replace

import pytest
import torch

from arzhang.report.latents import active
from arzhang.study import lambda_
from arzhang.study.lambda_ import QUANTITIES, Config, Result, run

TINY = ["--weights", "0.5", "4", "--steps", "2", "--seeds", "1", "--divergence", "cauchy-schwarz", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr(lambda_, "DRAWS", 2)


def result(rate, distortion, *, weights=(0.5, 1.0, 4.0)):
    """What is told where three seeds have found this."""
    found = {quantity: torch.ones(len(weights), 3) for quantity in QUANTITIES}
    offset = torch.tensor([-0.1, 0.0, 0.1])  # from seed to seed, the same for every weight
    noise = torch.tensor([[0.0, 0.01, -0.01], [0.0, 0.0, 0.0], [0.01, 0.0, -0.01]])[: len(weights)]
    found |= {
        name: torch.tensor(values)[:, None] + offset + noise
        for name, values in (("rate", rate), ("distortion", distortion))
    }
    return Result(config=Config(weights=weights), weights=weights, found={"kl": found})


@pytest.mark.parametrize(
    ("rate", "distortion", "said"),
    [
        ([9.0, 5.0, 1.0], [70.0, 80.0, 90.0], "kl: shown, as the rate falls and the distortion rises."),
        ([9.0, 5.0, 1.0], [90.0, 80.0, 70.0], "kl: denied, as the rate falls and the distortion falls."),
        ([9.0, 9.0, 9.0], [70.0, 80.0, 90.0], "kl: left open, as the rate is left open and the distortion rises."),
    ],
)
def test_the_claim_is_judged_by_intervals(rate, distortion, said):
    assert result(rate, distortion).caption.endswith(said)


def test_changes_are_taken_seed_by_seed():
    rows = result([9.0, 5.0, 8.8], [1.0, 1.0, 1.0]).rows()
    (change,) = (row for row in rows if row.get("of") == "rate")
    differences = torch.tensor([-0.19, -0.21, -0.2])  # what seeds have in common is not in them
    half = 4.302653 * differences.std().item() / 3**0.5
    assert change["change"] == pytest.approx(-0.2, abs=1e-5)
    assert (change["low"], change["high"]) == pytest.approx((-0.2 - half, -0.2 + half), abs=1e-4)
    assert (change["verdict"], change["at_every_step"]) == ("falls", "no")


def test_one_seed_has_no_interval_and_leaves_the_claim_open():
    many = result([9.0, 5.0, 1.0], [70.0, 80.0, 90.0])
    found = {"kl": {name: values[:, :1] for name, values in many.found["kl"].items()}}
    one = replace(many, config=replace(many.config, seeds=1), found=found)
    assert "one seed, which gives no interval" in one.caption
    assert "left open" in one.caption
    assert {row["kl_low"] for row in one.rows() if "kl_low" in row} == {None}
    assert set(one.figures()) == {"lambda"}


def test_a_larger_weight_brings_the_latents_to_the_prior():
    made = run(Config(weights=(100.0, 0.0), divergence="kl", steps=25, seeds=2, latents=3, device="cpu"))
    assert made.weights == (0.0, 100.0)
    rate, distortion = made.found["kl"]["rate"], made.found["kl"]["distortion"]
    assert (rate[0] > 20 * rate[1]).all()
    assert (distortion[0] < distortion[1]).all()
    assert (made.found["kl"]["active_units"][0] > made.found["kl"]["active_units"][1]).all()


def test_what_is_measured_is_what_it_is_called():
    made = Config(latents=3, steps=3, divergence="kl").run("cauchy-schwarz", 2.0, 4)
    assert (made.model.divergence, made.model.weight, made.model.latents, made.seed) == ("cauchy-schwarz", 2.0, 3, 4)
    found = dict(lambda_._measured(made, lambda_.lenet.Config().build(), torch.device("cpu")))
    with torch.random.fork_rng():
        splits = made.data.build(seed=4)
        game = lambda_._trained(made, splits.train, torch.device("cpu"))
    pictures = lambda_._pictures(splits.held_out)
    with torch.no_grad():
        q = game.encode(pictures)
    kl = -0.5 * (1 + q.variance.log() - q.mean.square() - q.variance).sum(1).mean()
    assert found["rate"] == pytest.approx(kl.item(), rel=1e-4)
    assert found["active_units"] == active(q.mean).sum()
    assert set(found) == set(QUANTITIES)
    seen = {
        name: lambda_._seen(lambda_.lenet.Config().build(), made_of_it)
        for name, made_of_it in (
            ("real", pictures),
            ("fd_reconstructions", game.reconstruct(pictures)),
            ("fd_samples", game.sample(len(pictures), seed=4)),
        )
    }
    for name in ("fd_reconstructions", "fd_samples"):
        assert found[name] == pytest.approx(lambda_.fid(seen["real"], seen[name]).value, rel=1e-3)
    distortion = -game.given(q.sample((100,))).log_prob(pictures).mean()
    assert found["distortion"] == pytest.approx(distortion.item(), rel=1e-3)


def test_the_command_is_named_lambda_and_the_same_again(arzhang, tmp_path):
    said, again = (arzhang("study", "lambda", *TINY, "--json", "--out", tmp_path / "out") for _ in range(2))
    assert said.status == 0, said.err
    assert said.out == again.out
    rows = json.loads(said.out)
    assert len({row["table"] for row in rows}) == len(QUANTITIES) + 1
    assert [row["weight"] for row in rows if "weight" in row] == [0.5, 4.0] * len(QUANTITIES)
    assert (tmp_path / "out/lambda.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "2", "2"], "To see what a larger weight does takes two weights at least: give --weights 0.5 2."),
        (["--weights", "-1", "2"], "A weight is -1; it should be finite, and at least 0."),
        (["--weights", "1", "inf"], "A weight is inf; it should be finite, and at least 0."),
        (["--seeds", "0"], "seeds is 0, and should be at least 1."),
        (["--steps", "0"], "steps is 0, and should be at least 1."),
        (["--latents", "0"], "latents is 0, and should be at least 1."),
    ],
)
def test_misuse_is_one_sentence(arzhang, arguments, said):
    answer = arzhang("study", "lambda", *arguments)
    assert (answer.status, answer.out, answer.err) == (2, "", f"arzhang: {said}\n")


def test_mnist_that_is_not_there_is_a_sentence(arzhang, tmp_path):
    answer = arzhang("study", "lambda", "--data.root", tmp_path)
    assert answer.status == 1
    assert answer.err.startswith(f"arzhang: {tmp_path} holds neither train-images-idx3-ubyte nor")
