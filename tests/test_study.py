"""The laboratories: what is called exact is exact, what is measured agrees with it, and the command says so cleanly."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from matplotlib.figure import Figure
from scipy import integrate, stats

from arzhang import plugins, rng
from arzhang.study import divergences, estimators
from arzhang.study._line import around, line

PI = math.pi
EXACT = {method.name: method.exact for method in estimators.METHODS}
TINY = ["--samples", "200", "--mu", "0.7"]


def problem(f, *, m=1.0, mu=(0.0,), **others):
    return estimators.Config(f=f, m=m, mu=mu, **others).problem()


def variances(given):
    return {name: exact(given).variance for name, exact in EXACT.items()}


# What is exact


@pytest.mark.parametrize("m", [1.0, -0.3, 1.9])
@pytest.mark.parametrize(("K", "h"), [(2, 0.1), (5, 0.4)])
def test_exact_variances_of_a_location_are_those_of_the_table(m, K, h):
    mu = torch.tensor([0.0, 0.7, -2.3, 4.0], dtype=torch.float64)
    one, square, M = torch.ones_like(mu), mu**2, m**4
    linear = {
        "pathwise": 0 * one,
        "score function": m**2 * (square + 2),
        "score function, baseline E f": 2 * m**2 * one,
        "score function, optimal constant": 2 * m**2 * one,
        "score function, leave-one-out": 2 * m**2 * K / (K - 1) * one,
        "score function, antithetic": 2 * m**2 * one,
        "Taylor, first order": 0 * one,
        "measure-valued, coupled": m**2 * (4 - PI) / PI * one,
        "measure-valued, independent": m**2 * (4 - PI) / (2 * PI) * one,
        "finite difference, common": 0 * one,
        "finite difference, independent": m**2 / (2 * h**2) * one,
    }
    quadratic = {
        "pathwise": 4 * M * one,
        "score function": M * (mu**4 + 14 * square + 15),
        "score function, baseline E f": M * (8 * square + 10),
        "score function, optimal constant": M * (8 * square + 6),
        "score function, leave-one-out": M * (8 * K * square + 10 * K - 8) / (K - 1),
        "score function, antithetic": 8 * M * square,
        "Taylor, first order": 15 * M * one,
        "measure-valued, coupled": 4 * M * square * (4 - PI) / PI,
        "measure-valued, independent": M * (square * (8 / PI - 2) + 4 / PI),
        "finite difference, common": 4 * M * one,
        "finite difference, independent": M * (2 * h**2 + 2 * square + 1) / h**2,
    }
    for f, table in (("linear", linear), ("square", quadratic)):
        found = variances(problem(f, m=m, mu=tuple(mu.tolist()), group=K, step=h))
        assert found.keys() == table.keys()
        for name, expected in table.items():
            torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=0, msg=f"{f}: {name}")


def test_exact_means_and_variances_of_a_scale_are_the_closed_forms():
    m, mu, sigma = 1.3, 0.7, 0.8
    linear = problem("linear", m=m, mu=(mu,), sigma=sigma, parameter="scale")
    square = problem("square", m=m, mu=(mu,), sigma=sigma, parameter="scale")
    assert (linear.truth.item(), square.truth.item()) == (0, pytest.approx(2 * m**2 * sigma, rel=1e-12))
    for given, name, expected in (
        (linear, "pathwise", m**2),
        (linear, "score function", m**2 * (2 * mu**2 + 10 * sigma**2) / sigma**2),
        (linear, "score function, baseline E f", 10 * m**2),
        (linear, "finite difference, common", m**2),
        (square, "pathwise", 4 * m**4 * (mu**2 + 2 * sigma**2)),
        (square, "finite difference, common", 4 * m**4 * (mu**2 + 2 * sigma**2)),
    ):
        assert variances(given)[name].item() == pytest.approx(expected, rel=1e-10), name


@pytest.mark.parametrize("m", [0.5, 2.0, 30.0])
def test_exact_figures_of_a_cosine_are_the_closed_forms(m):
    mu, sigma = 0.7, 1.2
    given = problem("cosine", m=m, mu=(mu,), sigma=sigma)
    shrunk = math.exp(-((m * sigma) ** 2) / 2)
    truth = -m * math.sin(m * mu) * shrunk
    assert given.truth.item() == pytest.approx(truth, rel=1e-10, abs=1e-12)
    assert given.expectation.item() == pytest.approx(math.cos(m * mu) * shrunk, rel=1e-10, abs=1e-14)
    pathwise = m**2 / 2 * (1 - math.cos(2 * m * mu) * shrunk**4) - truth**2
    assert variances(given)["pathwise"].item() == pytest.approx(pathwise, rel=1e-10)


def test_exact_figures_of_a_step_are_the_closed_forms():
    m, mu, sigma, h = 1.9, 0.7, 0.8, 0.1
    given = problem("step", m=m, mu=(mu,), sigma=sigma, step=h)
    edge = 1 / m
    assert given.truth.item() == pytest.approx(stats.norm.pdf(edge, mu, sigma), rel=1e-12)
    assert given.expectation.item() == pytest.approx(stats.norm.sf(edge, mu, sigma), rel=1e-12)
    share = stats.norm.cdf(edge + h, mu, sigma) - stats.norm.cdf(edge - h, mu, sigma)
    common = EXACT["finite difference, common"](given)
    assert common.mean.item() == pytest.approx(share / (2 * h), rel=1e-12)
    assert common.variance.item() == pytest.approx(share * (1 - share) / (4 * h**2), rel=1e-12)
    down = math.exp(-(((mu - edge) / sigma) ** 2) / 2)  # how often mu - sigma w falls below the edge
    weak = down * (1 - down) / (2 * PI * sigma**2)
    for how in ("coupled", "independent"):
        assert EXACT[f"measure-valued, {how}"](given).variance.item() == pytest.approx(weak, rel=1e-10)
    assert EXACT["pathwise"](given) is None


def test_coupling_doubles_the_variance_of_a_line_and_helps_a_parabola_only_near_its_bottom():
    coupled, independent = (f"measure-valued, {how}" for how in ("coupled", "independent"))
    straight = variances(problem("linear", m=3.0, mu=(1.0,)))
    assert straight[coupled].item() == pytest.approx(2 * straight[independent].item(), rel=1e-12)
    border = math.sqrt(1 / (2 - PI / 2))
    found = variances(problem("square", mu=(border - 1e-3, border, border + 1e-3)))
    assert [x.item() < y.item() for x, y in zip(found[coupled], found[independent], strict=True)][::2] == [True, False]
    assert found[coupled][1].item() == pytest.approx(found[independent][1].item(), rel=1e-9)


@pytest.mark.parametrize(("how", "border"), [("coupled", 1.913), ("independent", 2.234)])
def test_weak_derivatives_beat_the_pathwise_gradient_of_a_parabola_near_its_bottom(how, border):
    found = variances(problem("square", m=0.4, mu=(border - 1e-3, border + 1e-3)))
    assert (found[f"measure-valued, {how}"] < found["pathwise"]).tolist() == [True, False]


def test_at_its_cost_the_pathwise_gradient_of_a_parabola_is_best_from_1_597_on():
    given = problem("square", mu=(1.596, 1.598))
    work = {each.name: each.exact(given).variance * estimators._cost_of_one(each, given) for each in estimators.METHODS}
    best = [min(work, key=lambda name: work[name][i].item()) for i in range(2)]
    assert best == ["measure-valued, independent", "pathwise"]


# What is measured


def test_the_comparison_of_the_page_agrees_with_what_is_exact(arzhang):
    asked = ["--f", "square", "--mu", 0.7, "--m", 1.9, "--samples", 1_000_000, "--json"]
    said = arzhang("study", "estimators", *asked)
    assert (said.status, said.err) == (0, "")
    rows = json.loads(said.out)
    assert [row["method"] for row in rows] == list(EXACT)
    for row in rows:
        assert abs(row["mean"] - 2 * 1.9**2 * 0.7) < 5 * row["standard_error"], row
        assert row["variance"] == pytest.approx(row["exact_variance"], rel=0.03), row
        assert row["variance_x_cost"] == row["variance"] * row["cost"]
        assert row["time"] > 0


@pytest.mark.parametrize("parameter", ["location", "scale"])
@pytest.mark.parametrize("f", ["linear", "square", "cosine", "step"])
def test_every_method_agrees_with_its_exact_mean_and_variance(f, parameter):
    n, given = 40_000, problem(f, m=1.4, mu=(-0.6, 1.1), sigma=0.8, parameter=parameter)
    for seed, method in enumerate(estimators.METHODS):
        exact = method.exact(given)
        if exact is None:
            continue
        drawn = estimators._sampled(method, given, n, seed=seed)
        variance, mean = torch.var_mean(drawn, 0)
        fourth = (drawn - mean).pow(4).mean(0)
        rounding = 1e-12
        assert ((mean - exact.mean).abs() < 5 * (variance / n).sqrt() + rounding).all(), method.name
        expected = exact.variance / (given.group if method.grouped else 1)
        assert ((variance - expected).abs() < 5 * ((fourth - variance**2) / n).sqrt() + rounding).all(), method.name


def test_the_pathwise_gradient_of_a_step_is_refused_in_its_row_and_finite_differences_tell_their_bias():
    given = estimators.Config(f="step", mu=(0.7, 1.5), samples=100)
    rows = estimators.run(given).rows()
    refused = [row for row in rows if row["note"].startswith("refused: The pathwise estimator")]
    assert [row["method"] for row in refused] == ["pathwise"] * 2
    assert {row[key] for row in refused for key in ("mean", "variance", "exact_variance", "time")} == {None}
    biased = [row for row in rows if "biased" in row["note"]]
    assert {row["method"] for row in biased} == {"finite difference, common", "finite difference, independent"}
    share = (stats.norm.cdf(0.4) - stats.norm.cdf(0.2)) / 0.2  # the edge is at 1, and mu at 0.7
    assert biased[0]["note"] == f"biased by {share - stats.norm.pdf(0.3):.2g} at mu 0.7"


def test_a_study_is_the_same_again_and_another_with_another_seed():
    asked = estimators.Config(mu=(1.0,), samples=50)
    means = [[row["mean"] for row in estimators.run(each).rows()] for each in (asked, asked, replace(asked, seed=1))]
    assert means[0] == means[1] != means[2]


def test_many_samples_are_drawn_in_parts_that_differ(monkeypatch):
    monkeypatch.setattr(estimators, "AT_ONCE", 64)
    asked = estimators.Config(mu=(1.0,), samples=150)
    parts = []
    found = estimators.run(asked, track=lambda plan: parts.extend(plan) or plan)
    assert sorted({n for _, _, n in parts}) == [6, 16, 22, 64]
    for method, row in zip(estimators.METHODS, found.rows(), strict=True):
        of_it = [(number, n) for each, number, n in parts if each is method]
        seeds = [rng.seed_of(0, method.name, number) for number, _ in of_it]
        whole = [
            estimators._sampled(method, asked.problem(), n, seed=seed)
            for (_, n), seed in zip(of_it, seeds, strict=True)
        ]
        assert len(set(seeds)) == len(of_it) > 1
        assert row["mean"] == pytest.approx(torch.cat(whole).mean().item(), rel=1e-12)


# Divergences


def test_a_bound_of_gaussians_fails_for_a_mixture_by_the_published_digits():
    found = divergences.run(divergences.Config(samples=20_000)).bound
    assert [round(value, 3) for _, value, _ in found] == [1.161, 0.097, 0.325]
    for name, value, estimate in found:
        assert abs(estimate.value.item() - value) < 5 * estimate.standard_error.item(), name


def test_the_integrals_over_the_line_are_those_of_adaptive_quadrature():
    target = divergences.Config().target()
    q = divergences._normal(torch.tensor(-0.4, dtype=torch.float64), torch.tensor(0.9, dtype=torch.float64))

    def p_of(x):
        return 0.6 * stats.norm.pdf(x, -2.5, 0.7) + 0.4 * stats.norm.pdf(x, 2.5, 1.0)

    def q_of(x):
        return stats.norm.pdf(x, -0.4, 0.9)

    def over_the_line(integrand):
        edges = (-14.0, -5.0, -2.5, 0.0, 2.5, 5.0, 14.0)
        return sum(integrate.quad(integrand, *ends, epsabs=1e-13, limit=400)[0] for ends in pairwise(edges))

    def relative(first, second):
        return over_the_line(lambda x: first(x) * math.log(first(x) / second(x)))

    def middle(x):
        return (p_of(x) + q_of(x)) / 2

    found = line(target, q, around([(-2.5, 0.7), (2.5, 1.0), (-0.4, 0.9)]))
    for value, expected in (
        (found.kl(), relative(p_of, q_of)),
        (found.reverse_kl(), relative(q_of, p_of)),
        (found.renyi_half(), -2 * math.log(over_the_line(lambda x: math.sqrt(p_of(x) * q_of(x))))),
        (found.reverse_chi_squared(), over_the_line(lambda x: q_of(x) ** 2 / p_of(x)) - 1),
        (found.jensen_shannon(), (relative(p_of, middle) + relative(q_of, middle)) / 2),
    ):
        assert value.item() == pytest.approx(expected, rel=1e-9)
    apart = over_the_line(lambda x: abs(p_of(x) - q_of(x)) / 2)
    assert found.total_variation().item() == pytest.approx(apart, abs=1e-4)


def test_kl_from_the_target_fits_its_moments_and_kl_to_it_one_mode():
    given = divergences.Config(separation=3.0, weight=0.3)
    target = given.target()
    forward, backward = (divergences._fit(target, name, name) for name in ("kl", "reverse_kl"))
    assert forward.location == pytest.approx(target.mean.item(), abs=1e-4)
    assert forward.scale == pytest.approx(target.variance.sqrt().item(), abs=1e-4)
    assert (forward.within, backward.within) == ("both", "the second")
    assert (backward.location, backward.scale) == (pytest.approx(3, abs=0.05), pytest.approx(1, abs=0.05))


@pytest.mark.parametrize("separation", [0.5, 20.0])
def test_no_gaussian_beside_the_fit_is_nearer(separation):
    target = divergences.Config(separation=separation).target()
    edges = around(divergences._parts(target))
    for name in ("kl", "renyi_half", "jensen_shannon"):
        fit = divergences._fit(target, name, name)
        for location, scale in ((1e-2, 0), (-1e-2, 0), (0, 1e-2), (0, -1e-2)):
            beside = torch.tensor([fit.location + location, fit.scale + scale], dtype=torch.float64)
            assert getattr(line(target, divergences._normal(*beside), edges), name)().item() > fit.value, name


def test_all_divergences_of_equals_are_nothing():
    for row in divergences.run(divergences.Config(shifts=(0.0,), widths=(1.0,), samples=10)).rows()[: 2 * 12]:
        assert list(row.values())[2] == 0, row


# The command


def test_a_study_prints_its_table_and_leaves_its_figures(arzhang, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = arzhang("study", "estimators", *TINY)
    assert (said.status, said.err) == (0, "")
    assert all(name in said.out for name in EXACT)
    figures = [f"studies/estimators/{name}.png" for name in ("spread", "variance", "winners")]
    assert said.out.split()[-3:] == figures
    assert all((tmp_path / figure).read_bytes().startswith(b"\x89PNG") for figure in figures)
    assert {path.name for path in (tmp_path / "studies/estimators").iterdir()} == {
        "spread.png",
        "variance.png",
        "winners.png",
    }


def test_divergences_are_four_tables_and_three_figures(arzhang, tmp_path):
    said = arzhang("study", "divergences", "--samples", 100, "--out", tmp_path / "out", "--json")
    assert said.status == 0
    rows = json.loads(said.out)
    assert len({row["table"] for row in rows}) == 4
    assert [row["width_0.25"] for row in rows if row["divergence"] == "chi-squared(p, q)" and "width_0.25" in row] == [
        None
    ]
    assert said.err.splitlines() == [str(tmp_path / f"out/{name}.png") for name in ("moved", "fits", "bound")]


def test_json_alone_draws_nothing(arzhang, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = arzhang("study", "estimators", *TINY, "--f", "step", "--json")
    assert (said.status, said.err) == (0, "")
    assert json.loads(said.out)[0]["mean"] is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("f", ["linear", "square", "cosine", "step"])
@pytest.mark.parametrize("parameter", ["location", "scale"])
def test_no_minus_zero_is_printed(arzhang, f, parameter):
    said = arzhang("study", "estimators", "--f", f, "--parameter", parameter, "--mu", "-0", "--samples", 20, "--json")
    assert not re.search(r"-0\.0\b(?!\d)(?!e)", said.out)


def test_the_refused_method_stands_below_the_table(arzhang, tmp_path, monkeypatch):
    monkeypatch.setattr(estimators.Result, "figures", lambda _: {})
    said = arzhang("study", "estimators", *TINY, "--f", "step", "--out", tmp_path / "out")
    assert "pathwise: refused: The pathwise estimator takes the gradient through f" in " ".join(said.out.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name a laboratory first, as in `arzhang study discrete`; there are discrete, divergences, estimators"),
        (["estimatrs"], "There is no 'estimatrs' in study; did you mean estimators?"),
        (["estimators", "--m", "0"], "m is 0, so that f is constant: give another number."),
        (["estimators", "--m", "nan"], "m is nan; it should be a finite number."),
        (["estimators", "--mu", "0.7", "inf"], "mu is inf; it should be a finite number."),
        (["estimators", "--mu"], "There is no mu: give at least one, as in --mu 0.7."),
        (["estimators", "--sigma", "-1"], "sigma is -1; it should be above 0."),
        (["estimators", "--step", "0"], "step is 0; it should be above 0."),
        (["estimators", "--samples", "1"], "samples is 1; it should be at least 2."),
        (["estimators", "--group", "1"], "group is 1; it should be at least 2."),
        (["estimators", "--parameter", "scale", "--step", "1"], "A step of 1 takes sigma, 1, to 0: give a smaller"),
        (["estimators", "--f", "cosine", "--m", "1e4"], "cos(m z) turns by 10000 over sigma, at most 1000 are told."),
        (["divergences", "--shifts"], "There are no shifts or no widths: give at least one of each."),
        (["divergences", "--shifts", "nan"], "A shift is nan; it should lie between -20 and 20."),
        (["divergences", "--widths", "0"], "A width is 0; it should lie between 0.05 and 20."),
        (["divergences", "--separation", "0"], "separation is 0; it should lie between 0 and 20."),
        (["divergences", "--weight", "1"], "weight is 1; it should lie between 0 and 1, which are no mixtures."),
        (["divergences", "--samples", "1"], "samples is 1; it should be at least 2."),
    ],
)
def test_misuse_is_one_sentence(arzhang, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    said = arzhang("study", *arguments)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(f"arzhang: {sentence}")
    assert said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_flag_is_named_with_the_nearest(arzhang):
    said = arzhang("study", "estimators", "--sample", "5")
    assert (said.status, said.out) == (2, "")
    assert "--samples" in said.err


def test_a_target_that_is_a_file_is_a_sentence(arzhang, tmp_path, monkeypatch):
    monkeypatch.setattr(estimators.Result, "figures", lambda _: {"blank": Figure(figsize=(1, 1))})
    (tmp_path / "file").touch()
    said = arzhang("study", "estimators", "--out", tmp_path / "file")
    assert (said.status, said.out, said.err) == (
        2,
        "",
        f"arzhang: {tmp_path / 'file'} is a file; give --out a folder.\n",
    )
    said = arzhang("study", "estimators", *TINY, "--json", "--out", tmp_path / "file/below")
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "cannot be written (Not a directory); give --out another folder." in said.err


def test_an_interruption_is_clean(arzhang, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(estimators, "run", interrupted)
    said = arzhang("study", "estimators")
    assert (said.status, said.out, said.err) == (130, "", "arzhang: stopped.\n")


@pytest.mark.parametrize("name", ["estimators", "divergences", "discrete", "lambda", "pix2pix", "transposed"])
def test_help_is_about_the_laboratory(arzhang, name):
    said = arzhang("study", name, "--help")
    assert (said.status, said.err) == (0, "")
    assert "NAME" in said.out.splitlines()[0]
    assert f"Example: arzhang study {name}" in said.out


def test_list_names_estimators_divergences_and_laboratories(arzhang):
    rooms = json.loads(arzhang("list", "--json").out)
    assert {"estimators", "divergences", "discrete", "lambda", "pix2pix", "transposed"} <= rooms["study"].keys()
    assert "measure-valued" in rooms["estimators"]
    assert "cauchy-schwarz" in rooms["divergences"]


def test_a_laboratory_of_ones_own_joins_by_a_file(arzhang, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_joined", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "coins.py").write_text(
        '"""Coins."""\n'
        "from dataclasses import dataclass\n"
        "room = 'study'\n"
        "@dataclass(frozen=True)\n"
        "class Config:\n"
        '    """Toss coins.\n\n    Example: arzhang study coins\n    """\n'
        "    tosses: int = 3\n"
        '    """How many."""\n'
        "@dataclass(frozen=True)\n"
        "class Result:\n"
        "    tosses: int\n"
        "    caption: str = 'Fair.'\n"
        "    def rows(self):\n"
        "        return [{'tosses': self.tosses, 'heads': -0.0}]\n"
        "    def figures(self):\n"
        "        return {}\n"
        "def run(config, *, track=iter):\n"
        "    return Result(len(list(track(range(config.tosses)))))\n"
    )
    said = arzhang("study", "coins", "--plugin", "coins", "--tosses", 5)
    assert (said.status, said.err) == (0, "")
    assert re.search(r"│ 5 +│ 0 +│", said.out)
    assert "Fair." in said.out


def test_what_is_exact_of_many_locations_is_that_of_each():
    whole = problem("cosine", m=1.3, mu=(-1.0, 0.4))
    for i in range(2):
        alone = replace(whole, mu=whole.mu[i : i + 1])
        for name, exact in EXACT.items():
            assert exact(whole).variance[i].item() == pytest.approx(exact(alone).variance.item(), rel=1e-12), name
