"""A run that explains pictures is judged in nats that add up, and its reconstructions beside its samples."""

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from arzhang import config, explain, images, sample
from arzhang.data import digits
from arzhang.evaluate import evaluate
from arzhang.explain import originals
from arzhang.features import lenet, pixels
from arzhang.metrics.ppl import ppl
from arzhang.models import iwae, vae
from arzhang.networks import conv_decoder, conv_encoder
from arzhang.run import from_recipe
from arzhang.types import Estimate, MisuseError

SIDE = 8
SMALL = {
    "size": SIDE,
    "latents": 3,
    "encoder": conv_encoder.Config(width=2, features=8),
    "decoder": conv_decoder.Config(width=2, features=8),
}
CAUCHY_SCHWARZ = {"divergence": "cauchy-schwarz", "weight": 2.0, "prior": "mixture", "components": 4}
HOW = {"device": "cpu", "cache": False}


def saved(folder, model=vae, binarise="none", **values):
    """The folder of an untrained run, whose pictures differ much all the same."""
    torch.manual_seed(0)
    data = digits.Config(size=SIDE, binarise=binarise)
    run = replace(from_recipe("vae-digits"), model=model.Config(**{**SMALL, **values}), data=data)
    game = run.model.build()
    with torch.no_grad():
        for parameter in game.parameters():
            parameter.mul_(2)
    folder.mkdir()
    config.save(run, folder / "config.json")
    save_file(game.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("runs") / "plain", binarise="dynamic")


@pytest.fixture(scope="module")
def cauchy_schwarz(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("runs") / "cauchy-schwarz", **CAUCHY_SCHWARZ)


@pytest.fixture(autouse=True)
def _few_ways(monkeypatch):
    monkeypatch.setattr(explain, "WAYS", 10)


def figures(estimates):
    return {each.name: each.value for each in estimates}


# In nats


def test_the_four_terms_add_up_to_what_was_maximised(cauchy_schwarz):
    found = explain.explain(cauchy_schwarz, metrics=(), importance=50, images=30, **HOW)
    nats, terms = figures(found.nats), figures(found.terms)
    summed = -nats["nll"] - terms["posterior-kl"] + nats["rate"] - 2 * terms["cauchy-schwarz"]
    assert summed == pytest.approx(terms["objective"], abs=1e-3)  # float32, of numbers in the hundreds
    assert terms["objective"] == pytest.approx(-nats["distortion"] - 2 * terms["cauchy-schwarz"], abs=1e-3)
    assert nats["bound"] == pytest.approx(-nats["distortion"] - nats["rate"], abs=1e-3)
    assert nats["nll"] < -nats["bound"]
    assert terms["cauchy-schwarz"] > 0.1


def test_what_was_maximised_is_never_called_a_likelihood(cauchy_schwarz):
    found = explain.explain(cauchy_schwarz, metrics=(), importance=2, images=2, **HOW)
    assert found.formula.startswith("objective = -nll - posterior-kl + rate - 2 x cauchy-schwarz. ")
    assert "no bound on log p(x), and no likelihood" in found.formula
    assert {each.name for each in found.terms} == {"objective", "posterior-kl", "cauchy-schwarz"}
    assert all(each.higher_is_better is None for each in found.terms)  # nobody should compare runs by them


@pytest.mark.parametrize(("weight", "said"), [(4.0, ", a looser bound than the evidence"), (0.5, ", no bound on log")])
def test_a_weighted_kl_is_a_bound_only_where_its_weight_is_above_one(tmp_path, weight, said):
    found = explain.explain(saved(tmp_path / "run", weight=weight), metrics=(), importance=50, images=20, **HOW)
    assert said in found.formula
    assert (figures(found.terms)["objective"] < figures(found.nats)["bound"]) == (weight > 1)


def test_of_an_importance_weighted_run_the_bound_of_its_samples_is_told_too(tmp_path):
    found = explain.explain(saved(tmp_path / "run", iwae, k=4), metrics=(), importance=500, images=20, **HOW)
    nats, (told,) = figures(found.nats), found.terms
    assert (told.name, told.n["samples of each"]) == ("bound-4", 4 * explain.DRAWINGS)
    assert nats["bound"] < told.value < -nats["nll"]
    sampler = sample.load(tmp_path / "run", device="cpu")
    held_out = sampler.run.data.build(seed=0).held_out
    x = torch.stack([held_out.example(index * len(held_out) // 20, None)["image"] for index in range(20)])
    game = sampler.game
    with torch.no_grad():
        torch.manual_seed(1)
        z = game.encode(x).sample((4000,))
        log_w = game.given(z).log_prob(x) + game.prior().log_prob(z) - game.encode(x).log_prob(z)
    each = log_w.unflatten(0, (-1, 4)).logsumexp(1) - math.log(4)
    error = float(re.search(r"sampling leaves ([0-9.e-]+)\.", found.formula)[1])
    assert error == pytest.approx((each.var(0) / explain.DRAWINGS).mean().sqrt().item() / 20**0.5, rel=0.3)
    assert abs(told.value - each.mean().item()) < 5 * error


@pytest.mark.parametrize(
    ("model", "values", "said"),
    [
        (vae, {}, ""),
        (iwae, {"k": 1}, ""),
        (vae, {"divergence": "mmd", "of": "aggregate"}, "The mmd that the run minimised is of all latents of a batch"),
    ],
)
def test_a_run_without_terms_of_a_picture_has_the_bound_alone(tmp_path, model, values, said):
    found = explain.explain(saved(tmp_path / "run", model, **values), metrics=(), importance=9, images=5, **HOW)
    assert (found.terms, found.formula) == ((), "")
    assert [each.name for each in found.nats] == ["nll", "bound", "distortion", "rate"]
    assert said in " ".join(found.remarks)


def test_the_likelihood_is_that_of_the_game_within_its_error(plain):
    found = explain.explain(plain, metrics=(), importance=2000, images=10, **HOW)
    sampler = sample.load(plain, device="cpu")
    held_out = sample.held_out_of(sampler)
    pictures = torch.stack([held_out.example(index * len(held_out) // 10, None)["image"] for index in range(10)])
    expected = sampler.game.log_likelihood(pictures, k=2000, seed=5)
    error = (expected.standard_error.square().sum() * 2).sqrt() / 10
    assert abs(figures(found.nats)["nll"] + expected.value.mean()) < 4 * error
    assert found.nats[0].n == {"pictures": 10, "samples of each": 2000}


def test_nats_are_a_function_of_the_seed_and_leave_the_dice(plain):
    dice = torch.get_rng_state()
    one, again, other = (
        explain.explain(plain, metrics=(), importance=5, images=5, seed=seed, **HOW).nats for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), dice)
    assert one == again
    assert one[0] != other[0]


def test_nats_are_computed_in_the_precision_that_is_asked_for_and_say_so(plain):
    exact, rounded = (
        explain.explain(plain, metrics=(), importance=50, images=5, precision=precision, **HOW)
        for precision in ("float32", "bfloat16")
    )
    assert (exact.provenance["precision"], rounded.provenance["precision"]) == ("float32", "bfloat16")
    assert 0 < abs(exact.nats[0].value - rounded.nats[0].value) < 1e-3 * abs(exact.nats[0].value)


def test_a_likelihood_of_few_samples_is_doubted(plain):
    said = " ".join(explain.explain(plain, metrics=(), importance=3, images=4, **HOW).remarks)
    assert "nll is -log p(x) by k = 3 importance samples, whose standard error is" in said
    assert "The samples of 4 of 4 pictures are worth fewer than 100 of the posterior" in said


# In pictures


def test_both_kinds_of_pictures_are_judged_as_any_others(cauchy_schwarz):
    metrics, data = ("fid", "is"), {"size": SIDE}
    found = explain.explain(cauchy_schwarz, metrics=metrics, importance=2, images=2, **HOW)
    for kind in ("reconstructions", "samples"):
        how = {**HOW, "features": lenet.Config(), "data": data}
        alone = evaluate("data:digits", f"{kind}:{cauchy_schwarz}", metrics=metrics, **how)
        assert getattr(found, kind) == alone.estimates
    assert [each.name for each in found.samples] == ["fd-lenet", "is-lenet"]


def test_shades_are_compared_with_shades(plain):
    run = sample.load(plain, device="cpu").run
    black_and_white = run.data.build(seed=0).held_out.example(3, None)["image"]
    shades = originals(run).example(3, None)["image"]
    assert black_and_white.unique().tolist() == [-1, 1]
    assert len(shades.unique()) > 2
    assert torch.equal(shades, digits.Config(size=SIDE).build(seed=0).held_out.example(3, None)["image"])


def figure(value, interval, *, higher_is_better=False, name="fd-lenet"):
    return Estimate(name=name, value=value, interval=interval, method="", n={}, higher_is_better=higher_is_better)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (figure(1, (0, 2)), figure(5, (4, 6)), "Here they are better by fd-lenet."),
        (figure(5, (4, 6)), figure(1, (0, 2)), "Here they are worse by fd-lenet."),
        (figure(1, (0, 4)), figure(5, (3, 6)), "Intervals that overlap leave it open by fd-lenet."),
        (figure(1, None), figure(5, None), "Intervals that overlap leave it open by fd-lenet."),
        (
            figure(5, (4, 6), higher_is_better=True, name="is"),
            figure(1, (0, 2), higher_is_better=True, name="is"),
            "Here they are better by is.",
        ),
    ],
)
def test_which_kind_is_better_is_said_with_the_reason(one, other, said):
    sentence = explain._why([one], [other])
    assert sentence.startswith("Reconstructions should be better than samples: their latents come from")
    assert sentence.endswith(said)


# The latents


def test_the_path_length_is_that_of_ways_between_latents_of_the_prior(cauchy_schwarz):
    (found,) = explain.explain(cauchy_schwarz, metrics=["ppl"], importance=2, images=2, **HOW).latents
    game, extractor = sample.load(cauchy_schwarz, device="cpu").game, lenet.Config().build()
    latents = game.draw(20, seed=explain.rng.seed_of(0, "ways")).split(10)
    expected = ppl(game.decode, extractor.distance, *latents, space="w")
    assert (found.name, found.value) == ("ppl-lenet", pytest.approx(expected.value, rel=1e-4))
    assert "ways are straight, between two that the prior drew" in " ".join(found.remarks)


def test_lenets_distance_is_of_its_features_and_rounds_nothing():
    extractor = lenet.Config().build()
    levels = torch.randint(256, (2, 3, 40, 30), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    seen = extractor(torch.stack([extractor.prepare(each) for each in levels]))["features"]
    one, other = (levels / 127.5 - 1).split(1)
    torch.testing.assert_close(extractor.distance(one, other), (seen[:1] - seen[1:]).square().sum(1))
    near = extractor.distance(one, one + 1e-4 * (other - one))  # a step of less than a level
    assert 0 < near < 1e-6 * extractor.distance(one, other)


def test_features_without_a_distance_have_no_path_length(plain):
    found = explain.explain(plain, metrics=["ppl"], importance=2, images=2, features=pixels.Config(size=2), **HOW)
    assert found.latents == ()
    assert "There is no ppl: pixels has no distance between pictures" in " ".join(found.remarks)


# The command


def test_the_command_prints_tables_and_leaves_a_page(cauchy_schwarz, tmp_path, arzhang, monkeypatch):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path / "cache"))
    options = ["--importance", 5, "--images", 9, "--device", "cpu", "--out", tmp_path / "page"]
    said = arzhang("evaluate", cauchy_schwarz, "--metrics", "fid", "prd", "ppl", *options)
    assert said.status == 0, said.err
    for words in (
        "nll ↓",
        "posterior-kl",
        "cauchy-schwarz",
        "no likelihood",
        "reconstructions",
        "fd-lenet",
        "ppl-lenet",
    ):
        assert words in " ".join(said.out.split())
    assert images.find(tmp_path / "page") == []
    page = json.loads((tmp_path / "page/report.json").read_text())
    titles = [part["title"] for kind in ("tables", "panels", "curves") for part in page[kind]]
    assert titles == [
        *("In nats", "What was maximised", "In pictures", "How each figure was found"),
        *("At random", "The best explained", "The worst explained", "Samples"),
        "Precision and recall for distributions",
    ]
    assert [figure["name"] for figure in page["figures"]] == ["nll", "bound", "distortion", "rate", "ppl-lenet"]
    assert set(page["curves"][0]["series"]) == {"reconstructions", "samples"}


def test_json_has_every_figure(plain, arzhang):
    said = arzhang("evaluate", plain, "--metrics", "fid", "--importance", 5, "--json", "--no-cache", "--device", "cpu")
    made = json.loads(said.out)
    assert [each["name"] for each in made["nats"]] == ["nll", "bound", "distortion", "rate"]
    assert made["nats"][0]["n"] == {"pictures": 359, "samples of each": 5}  # all, since there are fewer than 1000
    assert made["reconstructions"][0]["interval"][0] < made["reconstructions"][0]["value"]
    assert made["samples"][0]["name"] == "fd-lenet"
    assert made["provenance"]["explained"] == "359 of 359 held-out pictures"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "360"], "360 pictures cannot be explained: the run has held out 359; give --images from 2 to"),
        (["--images", "1"], "1 pictures cannot be explained: the run has held out 359; give --images from 2 to that."),
        (["--importance", "1"], "With 1 importance samples there is no error to tell: give --importance at least 2."),
        (["--metrics", "psnr"], "psnr would be of pairs, and here sets are judged: reconstruct into a folder"),
        (["--metrics", "fit"], "There is no metric 'fit'; did you mean fid?"),
        (["--pairs"], "--pairs and --save-stats are of two sets of pictures: leave them out, or name two."),
        (["--save-stats", "real.npz"], "--pairs and --save-stats are of two sets of pictures: leave them out, or"),
    ],
)
def test_what_cannot_be_explained_is_a_sentence(plain, arzhang, arguments, said):
    answer = arzhang("evaluate", plain, *arguments, "--device", "cpu")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"arzhang: {said}")


def test_only_a_run_that_explains_has_importance_samples(tiny_run, plain, arzhang):
    for sets in ([tiny_run], ["data:digits", f"samples:{plain}"]):
        answer = arzhang("evaluate", *sets, "--importance", "10")
        assert answer.status == 2
        assert answer.err.startswith(
            "arzhang: --importance and --images are of a run that explains pictures by latents"
        )


def test_a_run_that_draws_without_latents_is_told_what_to_do(plain, monkeypatch):
    sampler = sample.load(plain, device="cpu")
    drawing = sample.Sampler(SimpleNamespace(sample=None, channels=1), sampler.run, torch.device("cpu"))
    monkeypatch.setattr(explain, "load", lambda *_, **__: drawing)
    with pytest.raises(MisuseError, match=r"does not explain pictures by latents: judge what it draws by `arzhang ev"):
        explain.explain(plain)
