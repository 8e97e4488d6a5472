"""Models that explain pictures: what they learn is what they say, runs go on exactly, and misfits are sentences."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import integrate
from torch import nn

from arzhang import plugins
from arzhang.data import digits, images, mnist
from arzhang.likelihoods import bernoulli, discretised_logistic, gaussian
from arzhang.models import iwae, vae
from arzhang.networks import conv_decoder, conv_encoder
from arzhang.report import autoencoding
from arzhang.rng import generator
from arzhang.run import from_recipe
from arzhang.train import train
from arzhang.types import Batch, MisuseError

SIDE = 8
SMALL = {
    "size": SIDE,
    "latents": 2,
    "components": 3,
    "encoder": conv_encoder.Config(width=2, features=4),
    "decoder": conv_decoder.Config(width=2, features=4),
}
FLAGS = [
    *("--steps", 6, "--batch", 4, "--judge-every", 3, "--checkpoint-every", 1, "--log-every", 2, "--device", "cpu"),
    *("--data.size", SIDE, "--model.size", SIDE, "--model.latents", 2, "--model.components", 3),
    *("--model.encoder.width", 2, "--model.encoder.features", 4),
    *("--model.decoder.width", 2, "--model.decoder.features", 4),
]
RECIPES = ("csvae-mnist", "iwae-mnist", "vae-digits", "vae-mnist")


def pictures(count=4, channels=1):
    drawn = torch.rand(count, channels, SIDE, SIDE, generator=generator(0, "pictures"))
    return torch.where(drawn < 0.3, 1.0, -1.0)


def game_of(kind=vae, **values):
    torch.manual_seed(0)
    return kind.Config(**{**SMALL, **values}).build()


def move(game, image=None, seed=1):
    torch.manual_seed(seed)
    (made,) = game.play(Batch({"image": pictures() if image is None else image}))
    return made


def gradients(game, loss):
    return torch.autograd.grad(loss, list(game.parameters()))


# Data


def test_grey_levels_are_the_chance_of_white():
    data = digits.Config(size=8, binarise="dynamic").build(seed=0).train
    grey = digits.Config(size=8).build(seed=0).train.example(0, None)["image"]
    drawn = torch.stack([data.example(0, generator(seed))["image"] for seed in range(1000)])
    assert drawn.unique().tolist() == [-1, 1]
    chance = (grey + 1) / 2
    error = (chance * (1 - chance) / 1000).sqrt()
    assert (((drawn == 1).float().mean(0) - chance).abs() <= 4.5 * error + 1e-6).all()


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_what_is_held_out_is_drawn_once_for_all_seeds_and_static_pictures_are_too(how):
    one, other = (digits.Config(size=8, binarise=how).build(seed=0) for _ in range(2))
    assert torch.equal(one.held_out.example(3, None)["image"], other.held_out.example(3, None)["image"])
    learnt = [one.train.example(3, generator(seed))["image"] for seed in range(2)]
    assert torch.equal(*learnt) == (how == "static")
    fixed = one.train.example(3, None)["image"]
    assert torch.equal(learnt[0], fixed) == (how == "static")
    seeds = [digits.Config(size=8, binarise=how).build(seed=seed).held_out for seed in range(2)]
    (shared,) = sorted(set(seeds[0].numbers.tolist()) & set(seeds[1].numbers.tolist()))[:1]
    assert torch.equal(*(each.example(each.numbers.tolist().index(shared), None)["image"] for each in seeds))


def test_pictures_of_a_folder_come_grey_or_in_colour_cut_to_a_square(tmp_path):
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    for channels in (1, 3):
        splits = images.Config(root=tmp_path, size=16, channels=channels).build(seed=0)
        assert (len(splits.train), len(splits.held_out)) == (3, 1)
        assert splits.train.example(0, generator(0))["image"].shape == (channels, 16, 16)
    cut = images.Config(root=tmp_path, size=16, flip=False, load=16).build(seed=0).train
    centre = cut.example(0, None)["image"]
    assert any(not torch.equal(cut.example(0, generator(seed))["image"], centre) for seed in range(2))


# Likelihoods


LIKELIHOODS = pytest.mark.parametrize("name", plugins.names("likelihoods"))


@LIKELIHOODS
def test_a_likelihood_says_of_each_picture_a_log_probability_and_shows_its_mean(name):
    likelihood = plugins.find("likelihoods", name).Config().build(channels=3)
    decoded = torch.randn(5, 2, likelihood.outputs, 4, 4, generator=generator(0))
    distribution = likelihood.distribution(decoded)
    assert (distribution.batch_shape, distribution.event_shape) == ((5, 2), (3, 4, 4))
    drawn = distribution.sample()
    likelihood.check(drawn.clamp(-1, 1))
    assert distribution.log_prob(drawn).shape == (5, 2)
    assert distribution.log_prob(drawn[0, 0]).shape == (5, 2)
    shown = likelihood.picture(decoded)
    assert shown.shape == (5, 2, 3, 4, 4)
    assert shown.abs().max() <= 1
    torch.testing.assert_close(shown, distribution.mean.clamp(-1, 1))
    half = likelihood.distribution(decoded.bfloat16())
    assert half.log_prob(drawn).dtype == torch.float32


@LIKELIHOODS
def test_pictures_out_of_a_likelihoods_range_are_named(name):
    module = plugins.find("likelihoods", name)
    likelihood = module.Config().build(channels=1)
    for wrong, said in ((255.0, "from 0 to 255"), (math.nan, "from nan to nan")):
        with pytest.raises(MisuseError, match=rf"likelihood is of pictures from -1 .* {said}: .* x / 127.5 - 1"):
            likelihood.check(torch.tensor([0.0, wrong]).reshape(2, 1, 1, 1))
    with pytest.raises(MisuseError, match="pictures of 0 channels"):
        module.Config().build(channels=0)


def test_the_bernoulli_likelihood_is_a_probability_and_of_grey_the_mean_over_what_could_be_drawn():
    likelihood = bernoulli.Config().build(channels=1)
    logit, white = torch.tensor(1.7, dtype=torch.float64).reshape(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.float64)
    one = likelihood.distribution(logit)
    on, off = one.log_prob(white), one.log_prob(-white)
    assert (on.exp() + off.exp()).item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(one.log_prob(0.5 * white), 0.75 * on + 0.25 * off, rtol=1e-12, atol=0)
    torch.manual_seed(0)
    drawn = one.sample((20_000,))
    assert drawn.unique().tolist() == [-1, 1]
    assert abs(drawn.mean() - one.mean.squeeze()) < 4.5 * (one.variance.squeeze() / 20_000).sqrt()
    extreme = likelihood.distribution(torch.tensor([-400.0, 400.0]).reshape(2, 1, 1, 1))
    assert extreme.log_prob(white.float()).tolist() == [-400, 0]


@pytest.mark.parametrize("learned", ["no", "picture", "pixel"])
def test_the_gaussian_likelihood_is_a_density(learned):
    likelihood = gaussian.Config(scale=0.3, learned=learned).build(channels=1)
    decoded = torch.tensor([0.2, -0.4][: likelihood.outputs], dtype=torch.float64).reshape(-1, 1, 1)

    def density(x):
        return likelihood.distribution(decoded).log_prob(torch.tensor(x, dtype=torch.float64).reshape(1, 1, 1)).exp()

    assert integrate.quad(density, -6, 6, points=[0.2])[0] == pytest.approx(1, abs=1e-10)


def test_a_learned_deviation_is_one_a_picture_or_one_a_pixel_and_never_below_the_least():
    decoded = torch.randn(2, 2, 3, 3, generator=generator(0))
    scales = {}
    for learned in ("picture", "pixel"):
        likelihood = gaussian.Config(learned=learned).build(channels=1)
        scales[learned] = likelihood.distribution(decoded).base_dist.scale
        floor = likelihood.distribution(decoded - 100).base_dist.scale
        torch.testing.assert_close(floor, torch.full_like(floor, 0.01))
    assert len(scales["picture"][0].unique()) == 1
    assert len(scales["pixel"][0].unique()) == 9
    for wrong, said in (
        ({"scale": 0.0}, "a scale of 0.0"),
        ({"least": -1.0}, "a least scale of -1.0"),
        ({"learned": "pixel", "scale": 5.0}, "begins at a scale of 5.0"),
    ):
        with pytest.raises(MisuseError, match=said):
            gaussian.Config(**wrong).build(channels=1)


@pytest.mark.parametrize("levels", [2, 7, 256])
@pytest.mark.parametrize("log_scale", [-9.0, -2.0, 3.0])
def test_the_levels_of_a_discretised_logistic_sum_to_one(levels, log_scale):
    likelihood = discretised_logistic.Config(levels=levels).build(channels=1)
    decoded = torch.tensor([0.31, log_scale], dtype=torch.float64).reshape(2, 1, 1)
    distribution = likelihood.distribution(decoded)
    values = torch.linspace(-1, 1, levels, dtype=torch.float64).reshape(-1, 1, 1, 1)
    log_p = distribution.log_prob(values)
    assert log_p.isfinite().all()
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-10)
    torch.manual_seed(0)
    drawn = distribution.sample((4000,))
    count = (drawn.reshape(-1, 1) - values.reshape(1, -1)).abs().argmin(1).bincount(minlength=levels)
    likely = log_p.exp() > 0.01
    error = (log_p.exp() * (1 - log_p.exp()) / 4000).sqrt()
    assert (((count / 4000) - log_p.exp()).abs() <= 5 * error + 1e-9)[likely].all()
    with pytest.raises(MisuseError, match="has 1 levels"):
        discretised_logistic.Config(levels=1).build(channels=1)


# Models


@pytest.mark.parametrize("prior", ["standard-normal", "mixture", "vamp"])
@pytest.mark.parametrize("name", plugins.names("divergences"))
@pytest.mark.parametrize("of", ["each", "aggregate"])
def test_every_divergence_that_fits_a_prior_trains_a_step_and_the_others_are_sentences(prior, name, of):
    def made(samples):
        game = game_of(prior=prior, divergence=name, of=of, samples=samples)
        found = move(game)
        assert found.loss.isfinite()
        assert all(each.isfinite().all() for each in gradients(game, found.loss))
        assert found.loss.item() == pytest.approx((found.terms["distortion"] + found.terms["divergence"]).item())

    try:
        made(1)
    except MisuseError as error:
        refusal = str(error)
    else:
        return
    assert f"The divergence {name} " in refusal
    if "give --model.samples 4" in refusal:
        made(4)
        return
    assert of == "aggregate" or name == "wasserstein"
    assert name not in {"cauchy_schwarz", "mmd", "l2"}


def mean_gradient(game, parameters, *, rounds=30, copies=32):
    """The mean gradient of a loss over as many drawings, and the square of its standard error."""
    image = pictures().repeat(copies, 1, 1, 1)
    drawn = []
    for seed in range(rounds):
        each = torch.autograd.grad(move(game, image, seed=seed).loss, parameters)
        drawn.append(torch.cat([gradient.flatten() for gradient in each]))
    return torch.stack(drawn).mean(0), torch.stack(drawn).var(0) / rounds


def agree(one, other):
    return ((one[0] - other[0]).abs() < 5 * (one[1] + other[1]).sqrt() + 1e-5).all()


@pytest.mark.parametrize("name", ["antithetic", "measure_valued", "score_function", "taylor"])
def test_every_estimator_agrees_with_the_pathwise_gradient(name):
    games = [game_of(estimator=each, samples=8) for each in ("pathwise", name)]
    assert agree(*(mean_gradient(game, list(game.encoder[-1].parameters()), copies=8) for game in games))


def test_a_baseline_leaves_the_mean_of_the_score_function_and_takes_most_of_its_variance():
    games = [game_of(estimator="score-function", samples=8, baseline=each) for each in ("none", "leave-one-out")]
    plain, less = (mean_gradient(game, list(game.encoder[-1].parameters()), copies=8) for game in games)
    assert agree(plain, less)
    assert less[1].sum() < 0.2 * plain[1].sum()


@pytest.mark.parametrize("name", ["exact", "disarm", "rebar"])
def test_an_estimator_that_is_of_other_latents_is_a_sentence(name):
    if name not in plugins.names("estimators"):
        pytest.skip("not in this version")
    with pytest.raises(MisuseError, match=r"Independent\(Normal\)"):
        move(game_of(estimator=name, samples=2))


def test_the_loss_of_a_vae_is_minus_its_evidence_bound():
    game = game_of()
    found = -move(game, pictures().repeat(1000, 1, 1, 1)).loss.detach()
    bound = game.evidence(pictures(), samples=20_000)["bound"].mean()
    assert abs(found - bound) < 0.05  # about 4 standard errors


def test_a_weight_multiplies_the_divergence_and_rises_with_the_step():
    parts = move(game_of()).terms
    expected = parts["distortion"] + 3 * parts["divergence"]
    assert move(game_of(weight=3.0)).loss.item() == pytest.approx(expected.item())
    assert move(game_of(weight=0.0)).loss.item() == pytest.approx(parts["distortion"].item())
    game = game_of(weight=2.0, warmup=4)
    weights = []
    for game.step in (0, 1, 3, 4, 100):
        made = move(game)
        weights.append(made.terms["weight"].item())
        expected = made.terms["distortion"] + weights[-1] * made.terms["divergence"]
        assert made.loss.item() == pytest.approx(expected.item())
    assert weights == [0.5, 1.0, 2.0, 2.0, 2.0]


def test_of_the_aggregate_only_all_latents_together_are_held_to_the_prior():
    game = game_of(divergence="mmd", of="aggregate")
    with torch.no_grad():  # latents at -1 and 1, each of which alone is far from N(0, 1)
        game.encoder[-1].weight.zero_()
    alone = move(game_of(divergence="mmd")).terms["divergence"]
    together = move(game).terms["divergence"]
    assert alone.shape == together.shape == ()
    q = game.encode(pictures())
    assert vae._aggregate(q).mean.shape == (2,)
    torch.testing.assert_close(vae._aggregate(q).mean, q.mean.mean(0))


def test_a_vamp_prior_is_the_mixture_of_what_its_pictures_are_encoded_to():
    game = game_of(prior="vamp")
    prior, q = game.prior(), game.encode(game.learned_prior.table.tanh())
    torch.testing.assert_close(prior.loc, q.mean)
    torch.testing.assert_close(prior.scale, q.stddev)
    torch.testing.assert_close(prior.weights, torch.full((3,), 1 / 3))


@pytest.mark.parametrize("prior", ["mixture", "vamp"])
def test_latents_are_drawn_from_a_prior_that_is_a_mixture(prior):
    game = game_of(prior=prior)
    with torch.no_grad():
        game.learned_prior.table.mul_(3)
    drawn, before = game.draw(4000, seed=5), game.prior()
    error = (before.variance / 4000).sqrt()
    assert ((drawn.mean(0) - before.mean).abs() < 4.5 * error).all()
    assert ((drawn.var(0) / before.variance).log().abs() < 0.2).all()


def test_the_bound_of_an_iwae_with_one_sample_is_a_vaes_and_rises_with_k():
    bounds, image = {}, pictures().repeat(64, 1, 1, 1)
    for k in (1, 4, 32):
        game = game_of(iwae, k=k)
        found = torch.stack([-move(game, image, seed=seed).loss.detach() for seed in range(12)])
        bounds[k] = found.mean().item(), found.std().item() / 12**0.5
    exact = game.evidence(pictures(), samples=20_000)
    assert abs(bounds[1][0] - exact["bound"].mean().item()) < 4.5 * bounds[1][1]
    assert bounds[1][0] < bounds[4][0] < bounds[32][0] <= -exact["nll"].mean().item() + 4.5 * bounds[32][1]


@pytest.mark.parametrize("prior", ["standard-normal", "mixture", "vamp"])
def test_doubly_reparameterized_gradients_have_the_mean_of_the_plain_ones(prior):
    games = [game_of(iwae, k=4, prior=prior, doubly_reparameterized=doubly) for doubly in (False, True)]
    assert agree(*(mean_gradient(game, list(game.parameters())) for game in games))


class Matrix(nn.Module):
    """From latents to as many pixels, by a matrix."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, latents):
        return (latents @ self.weight.T).unflatten(1, (1, SIDE, SIDE))


def test_the_log_likelihood_of_a_linear_gaussian_model_is_exact_to_a_thousandth():
    game = game_of(likelihood=gaussian.Config(scale=0.5))
    across, _ = torch.linalg.qr(torch.randn(SIDE**2, 2, generator=generator(1)))  # so that latents are independent
    weight = across * torch.tensor([2.5, 1.0])
    game.decoder = Matrix(weight)
    variance = (1 + weight.square().sum(0) / 0.25).reciprocal()
    image, spread = pictures(), variance.sqrt()
    mean = image.flatten(1) @ weight * variance / 0.25
    game._heads = lambda _: (mean + 0.05 * spread, 1.05 * spread.expand(4, 2))  # near the posterior, and not it
    exact = torch.distributions.MultivariateNormal(
        torch.zeros(SIDE**2, dtype=torch.float64), weight.double() @ weight.double().T + 0.25 * torch.eye(SIDE**2)
    ).log_prob(image.flatten(1).double())
    found = game.log_likelihood(image, k=50_000)
    assert found.standard_error.min() > 1e-4
    assert (found.value - exact).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (iwae, {"k": 0}, "The bound is of k = 0 samples; give --model.k at least 1"),
        (vae, {"prior": "mixture", "components": 0}, "A mixture prior of 0 components cannot be: .* standard-normal"),
        (vae, {"prior": "vamp", "components": 0}, "A vamp prior of 0 components cannot be"),
        (vae, {"divergence": "wasserstein", "prior": "mixture"}, "wasserstein does not fit each .* a mixture prior: "),
        (vae, {"divergence": "kl", "of": "aggregate"}, "kl does not fit aggregate .* cauchy-schwarz, mmd and l2"),
        (vae, {"divergence": "renyi", "prior": "mixture"}, "estimated from at least 4 samples: give --model.samples 4"),
        (vae, {"divergence": "kull"}, "There is no 'kull' in divergences; did you mean kl?"),
        (vae, {"estimator": "pathwize"}, "There is no 'pathwize' in estimators; did you mean pathwise?"),
        (vae, {"baseline": "leave-one-out"}, "A baseline is of the score function, and pathwise takes none"),
        (vae, {"samples": 0}, "samples=0"),
        (vae, {"warmup": -1}, "warmup=-1"),
        (vae, {"weight": -1.0}, r"model\.weight is -1\.0; it should be a finite weight"),
        (vae, {"weight": math.inf}, r"model\.weight is inf; it should be"),
        (vae, {"weight": 0.0, "prior": "vamp"}, "A vamp prior learns through the divergence, and with a weight of 0"),
        (vae, {"latents": 0}, "A model with 0 latents"),
        (vae, {"size": 2}, "nothing is left of a side of 2 pixels"),
    ],
)
def test_a_model_that_cannot_be_is_a_sentence(kind, values, said):
    with pytest.raises(MisuseError, match=said):
        game_of(kind, **values)


def test_what_a_model_cannot_explain_is_a_sentence():
    game = game_of()
    with pytest.raises(MisuseError, match=r"numbers from -255 to 255: bring them into that range"):
        move(game, 255 * pictures())
    for use in (game.reconstruct, game.log_likelihood):
        with pytest.raises(MisuseError, match=r"numbers from -255 to 255"):
            use(255 * pictures())
        with pytest.raises(MisuseError, match=r"There are no pictures to explain"):
            use(pictures()[:0])
    with pytest.raises(MisuseError, match=r"The pictures are 3 x 8 x 8 .* expects 1 x 8 x 8: set --model.channels"):
        move(game, pictures(channels=3))
    with pytest.raises(MisuseError, match=r"A batch of source and target has no image.*--data mnist, digits or images"):
        list(game.play(Batch({"source": pictures(), "target": pictures()})))
    with pytest.raises(MisuseError, match=r"The number of samples is 0"):
        game.log_likelihood(pictures(), k=0)
    with pytest.raises(MisuseError, match=r"-1 latents cannot be drawn"):
        game.sample(-1)


# Judging


def test_a_judgement_says_how_many_samples_each_figure_is_of_and_keeps_no_graph():
    judge = autoencoding.Judge.of(digits.Config(size=SIDE, binarise="static").build(seed=0))
    found = judge(game_of().eval(), torch.device("cpu"))
    for name in autoencoding.EVIDENCE:
        assert found._estimate(name).n == {"pictures": 359, "samples": autoencoding.DRAWS}
    assert not found.latents.mean.requires_grad


def test_curves_show_what_their_captions_say():
    records = [
        {"step": step, "bound": -90.0 - step, "held_out_nll": 80.0, "held_out_bound": -85.0 - step} for step in (1, 2)
    ]
    held_out, training = autoencoding._curves(records)
    assert held_out.series == {"held_out_nll": [(1, 80), (2, 80)], "-held_out_bound": [(1, 86), (2, 87)]}
    assert training.series == {"-bound": [(1, 91), (2, 92)]}


# Runs


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


@pytest.fixture
def folder_of_digits(tmp_path):
    for split, count in (("train", 8), ("t10k", 4)):
        drawn = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        header = np.array([0x0803, count, 28, 28, 0x0801, count], ">u4").tobytes()
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(header[:16] + drawn.tobytes())
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(header[16:] + bytes(range(count)))
    return tmp_path


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_judges_and_reports(arzhang, tmp_path, folder_of_digits, recipe):
    root = () if recipe == "vae-digits" else ("--data.root", folder_of_digits)
    said = arzhang("train", recipe, *FLAGS, *root, "--out", tmp_path / "run")
    assert said.status == 0, said.err
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.json", "log.jsonl", "checkpoints", "samples", "report.html", "report.json"} <= names
    judged = [line for line in log_of(tmp_path / "run") if "held_out_nll" in line]
    assert [line["step"] for line in judged] == [3, 6]
    for line in judged:
        assert line["held_out_bound"] == pytest.approx(-line["held_out_distortion"] - line["held_out_rate"], rel=1e-5)
        assert line["held_out_nll"] <= -line["held_out_bound"]
    told = json.loads((tmp_path / "run/report.json").read_text())
    assert [figure["unit"] for figure in told["figures"][:4]] == ["nats"] * 4
    assert {panel["title"] for panel in told["panels"]} >= {"At random", "Samples"}
    assert "nats each (negative log-likelihood" in told["summary"]
    best = min(judged, key=lambda line: line["held_out_nll"])
    assert (tmp_path / f"run/checkpoints/{best['step']:08d}").exists()


def test_a_run_with_a_rising_weight_goes_on_exactly(tmp_path):
    small = replace(
        from_recipe("vae-digits"), model=vae.Config(**SMALL, warmup=5, weight=2.0, prior="mixture"), device="cpu",
        data=digits.Config(size=SIDE, binarise="dynamic"), batch=4, judge_every=6, checkpoint_every=2, log_every=2,
    )  # fmt: skip
    constant = replace(small, optimiser=replace(small.optimiser, schedule="constant"))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(replace(constant, steps=6), out=whole)
    for steps in (1, 4, 6):
        train(replace(constant, steps=steps), out=parts)
    last = [folder / "checkpoints/00000006" for folder in (whole, parts)]
    for name in ("model.safetensors", "ema.safetensors", "optimiser.safetensors"):
        assert (last[0] / name).read_bytes() == (last[1] / name).read_bytes()
    weights = [line["weight"] for line in log_of(whole) if "weight" in line]
    assert weights == pytest.approx([0.6, 1.4, 2.0])  # means of steps 1 and 2, 3 and 4, 5 and 6


def test_the_best_is_chosen_by_the_bound_or_by_any_metric(arzhang, tmp_path):
    for best in ("bound", "psnr", "l1"):
        assert (
            arzhang("train", "vae-digits", *FLAGS, "--steps", 1, "--best", best, "--out", tmp_path / best).status == 0
        )
        state = json.loads((tmp_path / best / "checkpoints/00000001/state.json").read_text())
        assert state["best"]["name"] == best
    said = arzhang("train", "vae-digits", *FLAGS, "--best", "elbow", "--out", tmp_path / "none")
    assert (said.status, "elbow" in said.err) == (2, True)


def test_data_of_pairs_is_refused_in_a_sentence(arzhang, tmp_path):
    flags = ("--data", "facade", "--data.size", 32, "--steps", 2)
    said = arzhang("train", "vae-digits", *flags, "--out", tmp_path / "run")
    assert said.status == 2
    assert "have source and target, and to explain pictures is learnt from image" in said.err


def test_a_model_of_pictures_can_be_inspected(arzhang):
    said = arzhang("inspect", "vae-mnist", "--json")
    assert said.status == 0, said.err
    told = json.loads(said.out)
    assert {network["name"]: network["output"] for network in told["networks"]} == {
        "encoder": [64, 20],
        "decoder": [64, 1, 28, 28],
        "learned_prior": [50, 21],
    }
    for recipe in ("csvae-mnist", "iwae-mnist"):
        assert arzhang("inspect", recipe).status == 0


def test_pictures_in_colour_are_explained_as_well(arzhang, tmp_path):
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    for likelihood in ("gaussian", "discretised-logistic"):
        said = arzhang(
            *("train", "vae-digits", "--data", "images", "--data.root", tmp_path, "--model.channels", 3),
            *("--model.likelihood", likelihood, *FLAGS, "--steps", 3, "--out", tmp_path / likelihood),
        )
        assert said.status == 0, said.err


def test_mnist_and_its_binarised_forms_have_the_same_shapes(folder_of_digits):
    for how in ("none", "static", "dynamic"):
        data = mnist.Config(root=folder_of_digits, binarise=how).build(seed=0).train
        batch = data.examples([(index, generator(index)) for index in range(3)])
        assert batch["image"].shape == (3, 1, 28, 28)
        assert (batch["image"].unique().numel() == 2) == (how != "none")
