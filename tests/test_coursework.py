"""The page of right results: a test for each of its lines, through what a reader would call."""

import math
import re
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from scipy.integrate import quad
from torch import nn
from torch.distributions import Independent, Normal

from arzhang.distributions import GaussianMixture, log_overlap
from arzhang.divergences import cauchy_schwarz, kl
from arzhang.estimators import pathwise, score_function
from arzhang.gradients import gradient_samples
from arzhang.metrics import prd
from arzhang.objectives import Variational

MU, M = 0.7, 1.9
Q = Normal(torch.tensor(MU, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
gauss = partial(torch.tensor, dtype=torch.float64)


def normal(mean, scale):
    return Independent(Normal(mean, scale), 1)


def line(mean, scale):
    return Normal(gauss(mean), gauss(scale))


def integral(f):
    return quad(f, -30, 30, epsabs=1e-13, limit=500)[0]


def density(p):
    return lambda x: p.log_prob(gauss(x)).exp().item()


def test_every_line_of_the_page_has_its_test_and_every_test_its_line():
    page = (Path(__file__).parents[1] / "docs/coursework.md").read_text("utf-8")
    tests = {name for name in globals() if name.startswith("test_")} - {
        "test_every_line_of_the_page_has_its_test_and_every_test_its_line"
    }
    assert set(re.findall(r"`(test_\w+)`", page)) == tests


@pytest.mark.parametrize("sigma", [1.0, 0.4])
def test_the_score_of_a_gaussian(sigma):
    mu, z = gauss(MU).requires_grad_(), gauss([-1.0, 0.2, 3.0])
    (score,) = torch.autograd.grad(Normal(mu, sigma).log_prob(z).sum(), mu)
    torch.testing.assert_close(score, ((z - MU) / sigma**2).sum(), rtol=1e-13, atol=0)
    torch.manual_seed(0)
    eta = 2 * M**2 * MU
    found = gradient_samples(score_function, lambda z: (M * z) ** 2, line(MU, sigma), n=200_000, of=["loc"])["loc"]
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - eta) < 5 * error
    assert abs(found.mean() + eta) > 50 * error  # where the other sign leads


@pytest.mark.parametrize(("power", "eta", "variance"), [(1, M, 0.0), (2, 2 * M**2 * MU, 4 * M**4)])
def test_the_variance_of_the_pathwise_gradient(power, eta, variance):
    torch.manual_seed(0)
    found = gradient_samples(pathwise, lambda z: (M * z) ** power, Q, n=1_000_000, of=["loc"])["loc"]
    assert abs(found.mean() - eta) <= 5 * found.std() / 1000 + 1e-12
    assert found.var() == pytest.approx(variance, rel=0.01, abs=1e-24)


def test_the_kl_of_gaussians_of_one_variance():
    mu1, mu2, s = 0.7, -1.1, 1.3
    p, q = line(mu1, s), line(mu2, s)

    def integrand(x):
        return (2 * x * (mu1 - mu2) - mu1**2 + mu2**2) / (2 * s**2)

    for x in (-2.0, 0.0, 0.4, 5.0):
        assert integrand(x) == pytest.approx((p.log_prob(gauss(x)) - q.log_prob(gauss(x))).item(), abs=1e-13)
    value = (mu1 - mu2) ** 2 / (2 * s**2)
    assert integral(lambda x: density(p)(x) * integrand(x)) == pytest.approx(value, abs=1e-10)
    assert kl(p, q).item() == pytest.approx(value, abs=1e-13)


def test_the_overlap_of_gaussians_of_one_variance():
    mu1, mu2, s = 0.7, -1.1, 1.3
    p, q, d = line(mu1, s), line(mu2, s), mu1 - mu2
    value = math.exp(-(d**2) / (4 * s**2)) / (2 * math.sqrt(math.pi) * s)
    assert value == pytest.approx(density(line(mu2, math.sqrt(2) * s))(mu1), abs=1e-14)
    assert integral(lambda x: density(p)(x) * density(q)(x)) == pytest.approx(value, abs=1e-11)
    assert log_overlap(p, q).exp().item() == pytest.approx(value, abs=1e-14)


def test_the_denominator_of_cauchy_schwarz_has_one_root():
    p, q = line(0.7, 1.3), line(-1.1, 0.6)
    across = integral(lambda x: density(p)(x) * density(q)(x))
    squares = [integral(lambda x, each=each: density(each)(x) ** 2) for each in (p, q)]
    value = -math.log(across / math.sqrt(squares[0] * squares[1]))
    assert cauchy_schwarz(p, q).item() == pytest.approx(value, abs=1e-10)
    assert cauchy_schwarz(p, p).item() == pytest.approx(0, abs=1e-15)


def test_cauchy_schwarz_of_gaussians_of_one_variance_is_half_of_kl():
    mu1, mu2, s = 0.7, -1.1, 1.3
    p, q = line(mu1, s), line(mu2, s)
    value = (mu1 - mu2) ** 2 / (4 * s**2)
    assert value > 0
    assert cauchy_schwarz(p, q).item() == pytest.approx(value, abs=1e-13)
    assert cauchy_schwarz(p, q).item() == pytest.approx(kl(p, q).item() / 2, abs=1e-13)


def test_cauchy_schwarz_is_at_most_kl_for_gaussians_but_not_for_mixtures():
    torch.manual_seed(0)
    mean, scale = 2 * torch.randn(2, 2000, 3, dtype=torch.float64), torch.randn(2, 2000, 3, dtype=torch.float64).exp()
    p, q = (normal(*each) for each in zip(mean, scale, strict=True))
    between = cauchy_schwarz(p, q)
    assert (between >= 0).all()
    assert (between <= torch.minimum(kl(p, q), kl(q, p))).all()
    p = normal(gauss([0.0]), gauss([1.0]))
    q = GaussianMixture(weights=gauss([0.9, 0.1]), loc=gauss([[0.0], [0.0]]), scale=gauss([[1.0], [0.001]]))
    u = torch.arange(-10, 10, 0.005, dtype=torch.float64)  # x = sinh(u) / 1000 has points on both scales
    x, cell = u.sinh().unsqueeze(-1) / 1000, u.cosh() / 1000 * 0.005

    def excess(one, other):
        return (one.log_prob(x).exp() * (one.log_prob(x) - other.log_prob(x)) * cell).sum().item()

    found = cauchy_schwarz(p, q).item(), excess(p, q), excess(q, p)
    assert found == pytest.approx((1.161, 0.097, 0.325), abs=5e-4)


def test_the_kl_of_a_vae_is_a_sum_over_latents():
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 5, 8, dtype=torch.float64, generator=generator)
    q = normal(mean, (log_variance / 2).exp())
    prior = normal(torch.zeros(8, dtype=torch.float64), torch.ones(8, dtype=torch.float64))
    value = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(-1)
    torch.testing.assert_close(kl(q, prior), value, rtol=1e-12, atol=0)

    def of_one(mean, scale):
        p, standard = line(mean, scale), line(0.0, 1.0)
        return integral(lambda x: density(p)(x) * (p.log_prob(gauss(x)) - standard.log_prob(gauss(x))).item())

    one = sum(of_one(*each) for each in zip(mean[0].tolist(), (log_variance[0] / 2).exp().tolist(), strict=True))
    assert kl(q, prior)[0].item() == pytest.approx(one, abs=1e-9)


def posterior(x, slope):
    """That of z ~ N(0, 1) and x given z ~ N(slope z, 1)."""
    variance = 1 / (1 + slope**2)
    return normal(slope * variance * x, gauss([math.sqrt(variance)]))


def decoder(slope):
    return lambda z: normal(slope * z, gauss([1.0]))


STANDARD = normal(gauss([0.0]), gauss([1.0]))


def test_the_posterior_is_the_models():
    torch.manual_seed(0)
    x = gauss([[1.0]])
    for slope in (2.0, 0.5):  # the data are the same, and the posterior is another
        q = posterior(x, slope)
        report = Variational().report(x, q, STANDARD, decoder(slope), samples=5)
        assert report.posterior_kl.value.abs() < 1e-14
        evidence = line(0.0, math.sqrt(1 + slope**2)).log_prob(gauss(1.0))
        torch.testing.assert_close(report.evidence_bound.value[0], evidence, rtol=0, atol=1e-14)
        other = Variational().report(x, q, STANDARD, decoder(slope + 1), samples=1000)
        expected = kl(q, posterior(x, slope + 1))
        assert expected > 0.04
        assert abs(other.posterior_kl.value - expected) < 5 * other.posterior_kl.standard_error


def test_the_cauchy_schwarz_objective_has_four_terms():
    torch.manual_seed(0)
    x, q, weight = gauss([[1.0]]), normal(gauss([[0.3]]), gauss([[0.5]])), 2.0
    report = Variational(cauchy_schwarz, weight=weight).report(x, q, STANDARD, decoder(2.0), samples=100_000)
    exact = {
        "log_likelihood": line(0.0, math.sqrt(5)).log_prob(gauss(1.0)),
        "posterior_kl": kl(q, posterior(x, 2.0))[0],
        "prior_kl": kl(q, STANDARD)[0],
        "divergence": cauchy_schwarz(q, STANDARD)[0],
    }
    for name, value in exact.items():
        found = getattr(report, name)
        assert abs(found.value[0] - value) <= 5 * found.standard_error[0] + 1e-12, name
    # E_q log p(x|z) - weight D_CS, by hand
    direct = -0.5 * ((1 - 2 * 0.3) ** 2 + 4 * 0.5**2 + math.log(2 * math.pi)) - weight * exact["divergence"]
    four = exact["log_likelihood"] - exact["posterior_kl"] + exact["prior_kl"] - weight * exact["divergence"]
    torch.testing.assert_close(four, direct, rtol=0, atol=1e-13)


def test_the_cauchy_schwarz_objective_is_no_lower_bound():
    evidence = line(0.0, math.sqrt(5)).log_prob(gauss(1.0))
    assert evidence.item() == pytest.approx(-1.824, abs=5e-4)
    m, s = torch.linspace(0, 1, 501, dtype=torch.float64)[:, None], torch.linspace(0.1, 1, 451, dtype=torch.float64)
    reconstruction = -0.5 * ((1 - 2 * m) ** 2 + 4 * s**2 + math.log(2 * math.pi))
    regulariser = cauchy_schwarz(Normal(m, s), line(0.0, 1.0))
    for weight, value in ((0.5, -1.284), (1, -1.488), (2, -1.758), (4, -2.078)):
        best = (reconstruction - weight * regulariser).max()
        assert best.item() == pytest.approx(value, abs=6e-4)
        assert (best > evidence) == (weight < 4)
    bound = reconstruction - kl(Normal(m, s), line(0.0, 1.0))
    assert bound.max() <= evidence  # as KL is


def test_near_the_prior_cauchy_schwarz_is_a_half_or_a_quarter_of_kl():
    step, prior = 1e-4, line(0.0, 1.0)
    for q, ratio in ((line(step, 1.0), 0.5), (line(0.0, math.exp(step)), 0.25)):
        assert (cauchy_schwarz(q, prior) / kl(q, prior)).item() == pytest.approx(ratio, rel=1e-3)


def test_prd_compares_two_sets_of_pictures_and_knows_no_latents():
    generator = torch.Generator().manual_seed(0)
    real, same, elsewhere = (
        torch.randn(300, 4, generator=generator) + shift for shift in (0.0, 0.0, 50.0)
    )  # features of pictures, whoever drew them
    few = torch.where(torch.rand(300, 1, generator=generator) < 0.5, real, elsewhere)
    options = {"clusterings": 2, "angles": 101}
    assert min(prd(real, same, **options).f8.value, prd(real, same, **options).f1_8.value) > 0.8
    assert prd(real, elsewhere, **options).f8.value < 0.05
    half = prd(few, real, **options)  # draws only one of two kinds, but that one well
    assert half.f1_8.value > half.f8.value + 0.2
    turned = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q  # another space of features, rotated
    assert prd(real @ turned, same @ turned, **options).f8.value > 0.8


def test_the_size_of_a_transposed_convolution():
    counted = 0
    for stride, kernel, padding, output_padding, dilation in product((1, 2, 3), (1, 3, 4), (0, 1, 2), (0, 1), (1, 2)):
        h = 5
        expected = (h - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1
        if output_padding >= max(stride, dilation) or expected < 1:
            continue
        layer = nn.ConvTranspose2d(
            1, 1, kernel, stride, padding, output_padding=output_padding, dilation=dilation, bias=False
        )
        assert layer(torch.zeros(1, 1, h, h)).shape[-1] == expected
        if dilation == 1:
            assert expected == stride * (h - 1) + kernel - 2 * padding + output_padding
        counted += 1
    assert counted > 70
