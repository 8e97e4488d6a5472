"""Divergences: closed forms against quadrature and 60 digits, their bounds, and estimates with their errors."""

import math
import weakref
from functools import partial
from itertools import product

import mpmath
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from torch import distributions as td
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from arzhang import divergences
from arzhang.distributions import GaussianMixture, _pairs, log_overlap
from arzhang.divergences import (
    bhattacharyya,
    cauchy_schwarz,
    chi_squared,
    hellinger,
    jensen_shannon,
    kl,
    l2,
    mmd,
    renyi,
    total_variation,
    wasserstein,
)
from arzhang.estimators import measure_valued, pathwise, score_function
from arzhang.types import MisuseError

DOUBLE = torch.float64
CLOSED = [name for name in divergences.__all__ if name != "jensen_shannon"]


def t(*values):
    return torch.tensor(values, dtype=DOUBLE)


def normal(loc, scale):
    return td.Independent(td.Normal(loc, scale), 1)


def turned(*deviations, angle):
    """A covariance of two dimensions with these deviations along turned axes."""
    c, s = math.cos(angle), math.sin(angle)
    axes = t([c, -s], [s, c])
    return axes @ t(*(d**2 for d in deviations)).diag() @ axes.T


def random_pair(dimensions, batch=(), dtype=DOUBLE, seed=0, spread=0.5):
    """Means and deviations of two diagonal Gaussians."""
    torch.manual_seed(seed)
    loc = torch.randn(2, *batch, dimensions, dtype=DOUBLE)
    scale = (spread * torch.randn(2, *batch, dimensions, dtype=DOUBLE)).exp()
    return [each.to(dtype) for each in (*loc, *scale)]


def random_trils(dimensions, batch=(), seed=0):
    torch.manual_seed(seed)
    tril = 0.3 * torch.randn(2, *batch, dimensions, dimensions, dtype=DOUBLE).tril(-1) / dimensions**0.5
    return tril + (0.3 * torch.randn(2, *batch, dimensions, dtype=DOUBLE)).exp().diag_embed()


# Gaussians and mixtures whose tails are light enough for every divergence below; the second has the wider ones.
LINE = {
    "Gaussians": (normal(t(0.3), t(0.8)), normal(t(-0.4), t(1.1))),
    "near-equal Gaussians": (normal(t(0.3), t(0.8)), normal(t(0.3 + 1e-5), t(0.8 + 1e-5))),
    "scalars": (td.Normal(t(0.3)[0], t(0.8)[0]), td.Normal(t(-0.4)[0], t(1.1)[0])),
}
PLANE = {
    "diagonal": (normal(t(0.3, -1.0), t(0.8, 0.7)), normal(t(-0.4, 0.2), t(1.1, 0.9))),
    "full": (
        td.MultivariateNormal(t(0.3, -1.0), turned(0.7, 0.9, angle=0.4)),
        td.MultivariateNormal(t(-0.4, 0.2), turned(1.3, 0.9, angle=1.1)),
    ),
    "diagonal and full": (
        normal(t(0.3, -1.0), t(0.6, 0.8)),
        td.LowRankMultivariateNormal(t(-0.4, 0.2), t([0.5], [0.6]), t(0.8, 0.7)),
    ),
}
MIXED = {
    "mixture and Gaussian": (
        GaussianMixture(weights=t(0.3, 0.7), loc=t([0.3], [-1.1]), scale=t([0.8], [0.6])),
        normal(t(-0.4), t(1.1)),
    ),
    "full mixture and Gaussian": (
        GaussianMixture(
            logits=t(0.3, 1.2),
            loc=t([0.3, -1.0], [0.8, 0.1]),
            covariance_matrix=torch.stack([turned(0.7, 0.9, angle=0.4), turned(0.6, 0.6, angle=0.0)]),
        ),
        td.MultivariateNormal(t(-0.4, 0.2), turned(1.3, 0.9, angle=1.1)),
    ),
}
MIXTURES = {
    "mixtures": (
        MIXED["mixture and Gaussian"][0],
        td.MixtureSameFamily(td.Categorical(t(0.5, 0.0, 0.5)), normal(t([2.0], [9.0], [-1.0]), t([0.5], [3.0], [1.0]))),
    ),
    "full and diagonal mixtures": (
        MIXED["full mixture and Gaussian"][0],
        GaussianMixture(weights=t(0.4, 0.6), loc=t([1.0, 1.0], [-1.0, 0.0]), scale=t([0.8, 0.7], [1.2, 0.9])),
    ),
}


def grid(dimensions, step=0.04, reach=11.0):
    """Points at whose sum, times the step, integrals of what is smooth are exact to rounding (trapezoids)."""
    step = step if dimensions == 1 else 2.5 * step
    line = torch.arange(-reach, reach, step, dtype=DOUBLE)
    return torch.cartesian_prod(*[line] * dimensions).reshape(-1, dimensions), step**dimensions


def by_quadrature(of, p, q):
    scalar = not p.event_shape
    x, cell = grid(1 if scalar else p.event_shape[0])
    x = x.squeeze(-1) if scalar else x
    return (of(p.log_prob(x), q.log_prob(x)) * cell).sum()


def ratio(alpha):
    return lambda a, b: (alpha * a + (1 - alpha) * b).exp()


def renyi_by_quadrature(p, q, alpha):
    return by_quadrature(ratio(alpha), p, q).log() / (alpha - 1)


def cauchy_schwarz_by_quadrature(p, q):
    products = (by_quadrature(lambda a, b, i=i, j=j: (i * a + j * b).exp(), p, q) for i, j in ((2, 0), (0, 2), (1, 1)))
    own, others, across = (each.log() for each in products)
    return (own + others) / 2 - across


def mmd_by_quadrature(p, q, bandwidth):
    scalar = not p.event_shape
    x, cell = grid(1 if scalar else p.event_shape[0], step=0.16, reach=8.0)
    kernel = (-0.5 * torch.cdist(x, x).square() / bandwidth**2).exp()
    difference = (
        p.log_prob(x.squeeze(-1) if scalar else x).exp() - q.log_prob(x.squeeze(-1) if scalar else x).exp()
    ) * cell
    return difference @ kernel @ difference


DEFINITIONS = {
    "kl": (kl, partial(by_quadrature, lambda a, b: a.exp() * (a - b))),
    "cauchy_schwarz": (cauchy_schwarz, cauchy_schwarz_by_quadrature),
    "renyi of order 0.3": (partial(renyi, alpha=0.3), partial(renyi_by_quadrature, alpha=0.3)),
    "renyi of order 1.2": (partial(renyi, alpha=1.2), partial(renyi_by_quadrature, alpha=1.2)),
    "renyi of order 2": (partial(renyi, alpha=2.0), partial(renyi_by_quadrature, alpha=2.0)),
    "bhattacharyya": (bhattacharyya, lambda p, q: -by_quadrature(ratio(0.5), p, q).log()),
    "hellinger": (hellinger, partial(by_quadrature, lambda a, b: ((a / 2).exp() - (b / 2).exp()).square() / 2)),
    "chi_squared": (chi_squared, partial(by_quadrature, lambda a, b: b.exp() * (a - b).expm1().square())),
    "l2": (l2, partial(by_quadrature, lambda a, b: (a.exp() - b.exp()).square())),
    "mmd of bandwidth 0.9": (partial(mmd, bandwidth=0.9), partial(mmd_by_quadrature, bandwidth=0.9)),
}
FOR_MIXTURES = ("cauchy_schwarz", "l2", "mmd of bandwidth 0.9")
FOR_A_MIXTURE = (*FOR_MIXTURES, "chi_squared", "renyi of order 2")


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        *((name, pair) for name in DEFINITIONS for pair in (*LINE, *PLANE)),
        *((name, pair) for name in FOR_A_MIXTURE for pair in MIXED),
        *((name, pair) for name in FOR_MIXTURES for pair in MIXTURES),
    ],
)
def test_a_closed_form_is_the_integral_that_defines_it(name, pair):
    divergence, definition = DEFINITIONS[name]
    p, q = {**LINE, **PLANE, **MIXED, **MIXTURES}[pair]
    torch.testing.assert_close(divergence(p, q), definition(p, q), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("pair", [*LINE, *PLANE, *MIXED, *MIXTURES])
def test_the_overlap_is_the_integral_of_the_product(pair):
    p, q = {**LINE, **PLANE, **MIXED, **MIXTURES}[pair]
    torch.testing.assert_close(
        log_overlap(p, q), by_quadrature(lambda a, b: (a + b).exp(), p, q).log(), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize(
    ("m", "s", "n", "r"),
    [
        (0.3, 0.8, -0.4, 1.1),
        (0.0, 1.0, 0.0, 3.0),
        (2.0, 1.5, 2.5, 1.5),
        (1.0, 1.0, 0.9, 1 + 1e-7),
        (4.0, 3.0, -1.0, 0.1),
    ],
)
def test_total_variation_on_a_line_is_the_integral_that_defines_it(m, s, n, r):
    p, q = td.Normal(t(m), t(s)), td.Normal(t(n), t(r))

    def log_ratio(x):
        return (p.log_prob(t(x)) - q.log_prob(t(x))).item()

    steps = torch.linspace(-30.01, 30, 2000, dtype=DOUBLE)
    signs = torch.sign(p.log_prob(steps) - q.log_prob(steps))
    turns = (signs[1:] != signs[:-1]).nonzero().flatten().tolist()
    crossings = [brentq(log_ratio, steps[i].item(), steps[i + 1].item(), xtol=1e-14) for i in turns]

    def half_difference(x):
        return (p.log_prob(t(x)).exp() - q.log_prob(t(x)).exp()).abs().item() / 2

    expected, _ = quad(half_difference, -30, 30, points=[*crossings, m, n], epsabs=1e-13, epsrel=1e-13, limit=400)
    found = total_variation(p, q)
    torch.testing.assert_close(found, t(expected), rtol=0, atol=1e-10)
    torch.testing.assert_close(total_variation(q, p), found)


def test_total_variation_of_equal_covariances_is_that_along_the_means():
    covariance = turned(0.7, 1.4, angle=0.4)
    p, q = (td.MultivariateNormal(mean, covariance) for mean in (t(0.3, -1.0), t(-0.4, 0.2)))
    away = p.mean - q.mean
    apart = (away @ torch.linalg.solve(covariance, away)).sqrt()
    expected = total_variation(td.Normal(t(0.0), t(1.0)), td.Normal(apart[None], t(1.0)))
    torch.testing.assert_close(total_variation(p, q)[None], expected, rtol=0, atol=1e-12)
    found = total_variation(p, q, estimator=pathwise, samples=40_000)
    assert abs(found.value - expected) < 4 * found.standard_error


# Sixty digits


def matrix(tensor):
    return mpmath.matrix(tensor.tolist())


def logdet(covariance):
    return mpmath.log(mpmath.det(covariance))


def root(covariance):
    values, vectors = mpmath.eigsy(covariance)
    return vectors * mpmath.diag([mpmath.sqrt(value) for value in values]) * vectors.T


def trace(square):
    return mpmath.fsum(square[i, i] for i in range(square.rows))


def form(shift, covariance):
    return (shift.T * mpmath.inverse(covariance) * shift)[0]


def renyi_of(shift, S, T, alpha):
    V = (1 - alpha) * S + alpha * T
    volumes = logdet(V) - (1 - alpha) * logdet(S) - alpha * logdet(T)
    return alpha * form(shift, V) / 2 - volumes / (2 * (alpha - 1))


def overlap_of(shift, covariance):
    return mpmath.exp(-(form(shift, covariance) + logdet(2 * mpmath.pi * covariance)) / 2)


def l2_of(shift, S, T):
    none = 0 * shift
    return overlap_of(none, 2 * S) + overlap_of(none, 2 * T) - 2 * overlap_of(shift, S + T)


BY_DIGITS = {
    "kl": (kl, lambda d, S, T: (trace(mpmath.inverse(T) * S) - d.rows + form(d, T) + logdet(T) - logdet(S)) / 2),
    "cauchy_schwarz": (
        cauchy_schwarz,
        lambda d, S, T: form(d, S + T) / 2 + logdet(S + T) / 2 - logdet(2 * S) / 4 - logdet(2 * T) / 4,
    ),
    "renyi of order 0.7": (partial(renyi, alpha=0.7), lambda d, S, T: renyi_of(d, S, T, mpmath.mpf(0.7))),
    "renyi of order 1 + 1e-6": (
        partial(renyi, alpha=1 + 1e-6),
        lambda d, S, T: renyi_of(d, S, T, mpmath.mpf(1 + 1e-6)),
    ),
    "bhattacharyya": (bhattacharyya, lambda d, S, T: renyi_of(d, S, T, mpmath.mpf(0.5)) / 2),
    "hellinger": (hellinger, lambda d, S, T: 1 - mpmath.exp(-renyi_of(d, S, T, mpmath.mpf(0.5)) / 2)),
    "chi_squared": (chi_squared, lambda d, S, T: mpmath.exp(renyi_of(d, S, T, mpmath.mpf(2))) - 1),
    "l2": (l2, l2_of),
    "wasserstein": (
        wasserstein,
        lambda d, S, T: (d.T * d)[0] + trace(S) + trace(T) - 2 * trace(root(root(S) * T * root(S))),
    ),
}


@pytest.mark.parametrize("apart", [1.0, 1e-4], ids=["apart", "near"])
@pytest.mark.parametrize("full", [False, True], ids=["diagonal", "full"])
@pytest.mark.parametrize("name", BY_DIGITS)
def test_a_closed_form_has_ten_of_sixty_digits(name, full, apart):
    divergence, definition = BY_DIGITS[name]
    loc, other, scale, _ = random_pair(3)
    tril = random_trils(3)[0] if full else scale.diag()
    tilted = tril @ (
        torch.eye(3, dtype=DOUBLE) + apart * torch.tensor([[0.1, 0, 0], [0.2 * full, -0.1, 0], [0, 0, 0.15]])
    )
    shifted = loc + apart * (other - loc) / 4
    if full:
        p, q = td.MultivariateNormal(loc, scale_tril=tril), td.MultivariateNormal(shifted, scale_tril=tilted)
    else:
        p, q = normal(loc, tril.diag()), normal(shifted, tilted.diag())
    with mpmath.workdps(60):
        L, M = matrix(tril), matrix(tilted)
        expected = float(definition(matrix(loc) - matrix(shifted), L * L.T, M * M.T))
    # What is small next to its own parts keeps so many digits less.
    torch.testing.assert_close(divergence(p, q), t(expected)[0], rtol=1e-10, atol=1e-10 * apart**2)


# Bounds


def test_cauchy_schwarz_of_gaussians_is_at_most_either_kl():
    loc, other, scale, wide = random_pair(3, (1000,))
    tril, cotril = random_trils(3, (1000,))
    for p, q in (
        (normal(loc, scale), normal(other, wide)),
        (td.MultivariateNormal(loc, scale_tril=tril), td.MultivariateNormal(other, scale_tril=cotril)),
    ):
        least = torch.minimum(kl(p, q), kl(q, p))
        assert bool((cauchy_schwarz(p, q) <= least).all())


def test_cauchy_schwarz_of_mixtures_may_exceed_both_kl():
    p = normal(t(0.0), t(1.0))
    q = GaussianMixture(weights=t(0.9, 0.1), loc=t([0.0], [0.0]), scale=t([1.0], [1e-3]))

    u = torch.arange(-10, 10, 0.005, dtype=DOUBLE)  # x = sinh(u) / 1000 has points on both scales
    x, cell = u.sinh().unsqueeze(-1) / 1000, u.cosh() / 1000 * 0.005

    def divergence(a, b):
        return (a.log_prob(x).exp() * (a.log_prob(x) - b.log_prob(x)) * cell).sum().item()

    assert cauchy_schwarz(p, q).item() == pytest.approx(1.161, abs=5e-4)
    assert divergence(p, q) == pytest.approx(0.097, abs=5e-4)
    assert divergence(q, p) == pytest.approx(0.325, abs=5e-4)
    for one, other in ((p, q), (q, p)):
        found = kl(one, other, estimator=pathwise, samples=40_000)
        assert abs(found.value - divergence(one, other)) < 4 * found.standard_error


def test_near_equality_cauchy_schwarz_is_half_of_kl_along_the_mean_and_a_quarter_along_the_scale():
    p, step = normal(t(0.0), t(1.0)), 1e-4
    moved, widened = normal(t(step), t(1.0)), normal(t(0.0), t(1 + step))
    assert (cauchy_schwarz(p, moved) / kl(p, moved)).item() == pytest.approx(0.5, rel=1e-3)
    assert (cauchy_schwarz(p, widened) / kl(p, widened)).item() == pytest.approx(0.25, rel=1e-3)


def test_the_order_of_renyi_runs_through_the_others():
    p, q = LINE["Gaussians"]
    torch.testing.assert_close(renyi(p, q, alpha=0.5), 2 * bhattacharyya(p, q))
    torch.testing.assert_close(renyi(p, q, alpha=1), kl(p, q))
    torch.testing.assert_close(renyi(p, q, alpha=2), chi_squared(p, q).log1p())
    rising = torch.stack([renyi(p, q, alpha=alpha) for alpha in (0.1, 0.5, 0.9, 0.999, 1, 1.001, 1.5, 2)])
    assert bool((rising.diff() > 0).all())


@pytest.mark.parametrize("full", [False, True])
def test_a_divergence_that_is_infinite_is_infinity_with_gradients_that_are_no_nan(full):
    scale = t([1.0, 1.0], [1.0, 3.0]).requires_grad_()  # the second is too wide for the order
    p = (
        td.MultivariateNormal(torch.zeros(2, dtype=DOUBLE), scale_tril=scale.diag_embed())
        if full
        else normal(t(0.0, 0.0), scale)
    )
    q = normal(t(0.0, 0.5), t(1.5, 1.5))
    for divergence in (partial(renyi, alpha=2.0), chi_squared):
        value = divergence(p, q)
        assert value.isinf().tolist() == [False, True]
        (gradient,) = torch.autograd.grad(value[0], scale)
        assert gradient[0].isfinite().all()
    for weights in (t(0.5, 0.5), t(1.0, 0.0)):
        mixture = GaussianMixture(weights=weights, loc=t([0.0], [0.0]), scale=t([1.0], [3.0]))
        assert bool(chi_squared(mixture, normal(t(0.0), t(1.0))).isinf()) == bool(weights[1])


# Gradients


@pytest.mark.parametrize("kind", ["scale", "scale_tril"])
@pytest.mark.parametrize("name", FOR_A_MIXTURE)
def test_gradients_reach_all_parameters_of_mixtures(name, kind):
    divergence, _ = DEFINITIONS[name]
    torch.manual_seed(0)
    logits, loc, other = torch.randn(2, 3), torch.randn(2, 3, 2) / 2, torch.randn(2, 2) / 2
    spread, wide = 0.6 + 0.2 * torch.rand(2, 3, 2), 1.1 + 0.2 * torch.rand(2, 2)
    if kind == "scale_tril":
        spread = spread.diag_embed() + torch.tensor([[0.0, 0.0], [0.2, 0.0]])

    def value(logits, loc, spread, other, wide):
        parts = {kind: spread.tril() if kind == "scale_tril" else spread}
        return divergence(GaussianMixture(logits=logits, loc=loc, **parts), normal(other, wide))

    leaves = [each.double().requires_grad_() for each in (logits, loc, spread, other, wide)]
    assert torch.autograd.gradcheck(value, leaves)


def test_total_variation_on_a_line_has_the_gradient_it_says():
    leaves = [
        each.requires_grad_() for each in (t(0.3, 0.0, 1.0), t(0.8, 1.0, 0.3), t(-0.4, 0.0, 1.1), t(1.1, 1.5, 0.3))
    ]
    assert torch.autograd.gradcheck(lambda m, s, n, r: total_variation(td.Normal(m, s), td.Normal(n, r)), leaves)


@pytest.mark.parametrize("name", [name for name in CLOSED if name != "total_variation"])
def test_second_derivatives_are_right_where_widths_are_equal_too(name):
    leaves = [each.requires_grad_() for each in (t(0.3, 0.3), t(1.0, 0.8), t(-0.4, 0.3), t(1.0, 1.1))]
    assert torch.autograd.gradgradcheck(
        lambda m, s, n, r: getattr(divergences, name)(normal(m[:, None], s[:, None]), normal(n[:, None], r[:, None])),
        leaves,
    )


@pytest.mark.parametrize("name", [*CLOSED, "jensen_shannon"])
def test_at_equality_gradients_are_finite(name):
    p = normal(t(0.3).requires_grad_(), t(0.8).requires_grad_())
    q = normal(t(0.3).requires_grad_(), t(0.8).requires_grad_())
    options = {"estimator": pathwise} if name == "jensen_shannon" else {}
    found = getattr(divergences, name)(p, q, **options)
    value = found.value if options else found
    leaves = [each for one in (p, q) for each in (one.base_dist.loc, one.base_dist.scale)]
    assert all(each.isfinite().all() for each in torch.autograd.grad(value.sum(), leaves))


# One precision, many dimensions


def made(kind, loc, scale, dtype):
    loc, scale = loc.to(dtype).requires_grad_(), scale.to(dtype).requires_grad_()
    if kind == "diagonal":
        return normal(loc, scale), (loc, scale)
    if kind == "full":
        tril = (
            (scale.diag_embed() + 0.05 * torch.ones(loc.shape[-1], loc.shape[-1], dtype=dtype).tril(-1))
            .detach()
            .requires_grad_()
        )
        return td.MultivariateNormal(loc, scale_tril=tril), (loc, tril)
    centres = torch.stack([loc, loc + 0.3], dim=-2)
    return GaussianMixture(logits=t(0.2, -0.3).to(dtype), loc=centres, scale=scale.unsqueeze(-2)), (loc, scale)


@pytest.mark.parametrize("spread", [0.3, 1e-3], ids=["apart", "near"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product(
            ("kl", "cauchy_schwarz", "renyi", "nearly", "bhattacharyya", "wasserstein", "mmd"), ("diagonal", "full")
        ),
        ("cauchy_schwarz", "mixture"),
        ("mmd", "mixture"),
    ],
)
def test_float32_is_right_in_256_dimensions(name, kind, spread):
    divergence = partial(renyi, alpha=1.0001) if name == "nearly" else getattr(divergences, name)
    divergence = partial(mmd, bandwidth=20.0) if name == "mmd" else divergence
    torch.manual_seed(0)
    loc, other = spread * torch.randn(2, 256, dtype=DOUBLE)
    scale, wide = 0.5 * (spread * torch.randn(2, 256, dtype=DOUBLE)).exp()
    found = {}
    for dtype in (torch.float32, DOUBLE):
        p, parameters = made(kind, loc, scale, dtype)
        q, others = made(kind, other, wide, dtype)
        value = divergence(p, q)
        found[dtype] = [value, *torch.autograd.grad(value, (*parameters, *others))]
    mixed = kind == "mixture" and spread < 0.1  # two overlaps of hundreds of nats, of nearly the same size
    for single, double in zip(found[torch.float32], found[DOUBLE], strict=True):
        size = double.abs().max().item()
        bound = 1e-3 * size + (2e-4 if mixed else 2e-6)
        assert (single.double() - double).abs().max().item() < bound


@pytest.mark.parametrize("full", [False, True], ids=["diagonal", "full"])
@pytest.mark.parametrize("deviation", [1e-2, 1e-3, 1e-5])
def test_the_kl_of_a_narrow_gaussian_is_right_in_float32(deviation, full):
    scale = torch.full((2,), deviation, requires_grad=True)
    zero, one = torch.zeros(2), torch.ones(2)
    if full:
        p, q = (td.MultivariateNormal(zero, scale_tril=each.diag()) for each in (scale, one))
    else:
        p, q = normal(zero, scale), normal(zero, one)
    value = kl(p, q)
    assert value.item() == pytest.approx(deviation**2 - 1 - 2 * math.log(deviation), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, scale)
    torch.testing.assert_close(gradient, torch.full((2,), deviation - 1 / deviation), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["kl", "cauchy_schwarz", "renyi", "bhattacharyya"])
def test_covariances_that_are_nearly_singular_lose_no_digits_in_float32(name):
    torch.manual_seed(1)
    axes = torch.linalg.qr(torch.randn(16, 16, dtype=DOUBLE)).Q
    tril = torch.linalg.cholesky((axes * torch.logspace(0, -6, 16, dtype=DOUBLE)) @ axes.T)

    def between(dtype):
        single, shift = tril.float().to(dtype), torch.full((16,), 1e-3).to(dtype)
        p = td.MultivariateNormal(0 * shift, scale_tril=single)
        return getattr(divergences, name)(p, td.MultivariateNormal(shift, scale_tril=1.125 * single)).item()

    assert between(torch.float32) == pytest.approx(between(DOUBLE), rel=1e-4)


def test_at_the_edge_of_infinity_renyi_is_large_or_infinite_and_no_failure():
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(200, 4, 4)).Q
    edge = 0.5 * (1 + 10 ** (-4 - 3.5 * torch.rand(200)))  # half the variance is where order 2 becomes infinite
    variances = torch.stack([edge, *torch.tensor([0.9, 1.5, 3.0]).expand(200, 3).unbind(-1)], dim=-1)
    factor = torch.randn(200, 4, 4)
    tril = torch.linalg.cholesky(torch.eye(4) + 0.3 * factor @ factor.mT)
    covariance = tril @ (axes * variances.unsqueeze(-2)) @ axes.mT @ tril.mT
    p = td.MultivariateNormal(torch.zeros(4), scale_tril=tril)
    q = td.MultivariateNormal(torch.ones(4), covariance_matrix=(covariance + covariance.mT) / 2)
    found = renyi(p, q, alpha=2.0)
    assert not found.isnan().any()
    assert (found > 1).all()


def test_separated_means_overflow_nothing_in_float32():
    p, q = (normal(torch.full((256,), mean), torch.ones(256)) for mean in (-50.0, 50.0))
    assert cauchy_schwarz(p, q).item() == pytest.approx(256 * 1e4 / 4)
    assert log_overlap(p, q).isfinite()
    assert l2(p, q).isfinite()


def test_the_l2_distance_of_narrow_densities_is_infinite_or_zero_and_never_nan():
    narrow, other = (normal(torch.full((256,), mean), torch.full((256,), 1e-3)) for mean in (0.0, 1.0))
    assert l2(narrow, other) == torch.inf
    assert l2(narrow, narrow) == 0
    assert l2(narrow, other, estimator=pathwise, samples=100).value == torch.inf
    assert l2(narrow, narrow, estimator=pathwise, samples=100).value == 0


# Memory


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive."""

    def __init__(self):
        super().__init__()
        self.alive, self.most, self.known = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.known:
                self.known.add(key)
                size = tensor.untyped_storage().nbytes()
                self.alive += size
                self.most = max(self.most, self.alive)
                weakref.finalize(tensor.untyped_storage(), self.forget, key, size)
        return found

    def forget(self, key, size):
        self.known.discard(key)
        self.alive -= size


def test_a_batch_against_a_mixture_takes_the_memory_of_its_pairs():
    b, k, d = 512, 250, 64
    torch.manual_seed(0)
    loc, means = torch.randn(b, d, requires_grad=True), torch.randn(k, d, requires_grad=True)
    scale, widths = (torch.rand(n, d).add(0.1).requires_grad_() for n in (b, k))
    logits = torch.zeros(k, requires_grad=True)
    with Peak() as peak:
        prior = GaussianMixture(logits=logits, loc=means, scale=widths)
        cauchy_schwarz(normal(loc, scale), prior).sum().backward()
    # Pairs and blocks of float32; all differences at once are 64 times the pairs, and gradients need more of them.
    assert 4 * b * k < peak.most < 4 * (8 * b * k + 4 * _pairs.BLOCK)


# Shapes, precision, registration


@pytest.mark.parametrize("name", CLOSED)
def test_batches_broadcast_and_precision_is_that_of_the_wider(name):
    divergence = getattr(divergences, name)
    loc, other, scale, wide = random_pair(1, (5, 1))
    p, q = normal(loc, scale / 2), normal(other[:3, 0].float(), wide[:3, 0].float() + 2)
    found = divergence(p, q)
    assert found.shape == (5, 3)
    assert found.dtype == DOUBLE
    torch.testing.assert_close(
        found[4, 2], divergence(normal(loc[4, 0], scale[4, 0] / 2), normal(q.mean[2], q.stddev[2]))
    )
    full = td.MultivariateNormal(q.mean, scale_tril=q.stddev.diag_embed())
    torch.testing.assert_close(divergence(p, full), found)
    many = GaussianMixture(
        logits=torch.zeros(5, 1, 1, dtype=DOUBLE), loc=loc.unsqueeze(-2), scale=scale.unsqueeze(-2) / 2
    )
    torch.testing.assert_close(divergence(many, q), found)
    alone = divergence(td.Normal(0.0, 1.0), td.Normal(1.0, 1.0))
    assert alone.shape == ()
    none = normal(torch.zeros(0, 1), torch.ones(0, 1))
    assert divergence(none, normal(torch.zeros(1), torch.ones(1))).shape == (0,)


def test_precision_is_that_of_the_widest_parameter():
    third = torch.tensor([1 / 3], dtype=DOUBLE)
    loc, tril = torch.zeros(1), third.diag_embed()
    gaussians = (
        td.Independent(td.Normal(loc, third), 1),
        GaussianMixture(logits=torch.zeros(1), loc=loc[None], scale=third[None]),
        GaussianMixture(logits=torch.zeros(1), loc=loc[None], scale_tril=tril[None]),
    )
    for p in gaussians:
        torch.testing.assert_close(kl(p, normal(loc, torch.ones(1))), kl(normal(t(0.0), third), normal(t(0.0), t(1.0))))
    for q in gaussians[1:]:
        assert q.sample().dtype == q.log_prob(loc).dtype == DOUBLE


def test_independent_gaussians_with_covariances_are_one_with_blocks():
    torch.manual_seed(0)
    tril = random_trils(2, (3,))[0]
    loc = torch.randn(3, 2, dtype=DOUBLE)
    p = td.Independent(td.MultivariateNormal(loc, scale_tril=tril), 1)
    q = td.Independent(td.Normal(torch.zeros(3, 2, dtype=DOUBLE), 1.0), 2)
    torch.testing.assert_close(kl(p, q), kl(p.base_dist, normal(torch.zeros(3, 2, dtype=DOUBLE), 1.0)).sum())
    torch.testing.assert_close(wasserstein(q, p), wasserstein(p, q))


def test_torch_knows_the_kl_of_what_is_a_gaussian_by_another_name():
    loc, other, scale, wide = random_pair(3, (4, 1))
    p, q = normal(loc, scale), normal(other[:2, 0], wide[:2, 0])
    as_mixture = GaussianMixture(weights=t([[1.0]]), loc=loc.unsqueeze(-2), scale=scale.unsqueeze(-2))
    as_full = td.MultivariateNormal(q.mean, scale_tril=wide[:2, 0].diag_embed())
    expected = td.kl_divergence(p, q)
    for one in (p, as_mixture):
        for two in (q, as_full):
            found = td.kl_divergence(one, two)
            assert found.shape == (4, 2)
            torch.testing.assert_close(found, expected)
    torch.testing.assert_close(td.kl_divergence(as_full, as_mixture), td.kl_divergence(q, p))
    low_rank = td.LowRankMultivariateNormal(q.mean, 0 * q.mean.unsqueeze(-1), q.variance)
    for one in (p, as_mixture):
        torch.testing.assert_close(td.kl_divergence(one, low_rank), expected)
        torch.testing.assert_close(td.kl_divergence(low_rank, one), td.kl_divergence(q, p))
    two = GaussianMixture(weights=t(0.5, 0.5), loc=t([0.0], [1.0]), scale=t([1.0], [1.0]))
    with pytest.raises(NotImplementedError):
        td.kl_divergence(two, normal(t(0.0), t(1.0)))


def test_kl_knows_the_pairs_that_torch_knows():
    p, q = td.Gamma(t(2.0, 3.0), t(1.0)), td.Gamma(t(1.5), t(2.0))
    torch.testing.assert_close(kl(p, q), td.kl_divergence(p, q))
    assert kl(td.Bernoulli(t(0.3)), td.Bernoulli(t(0.3))) == 0
    assert kl(td.Uniform(t(0.0), t(2.0)), td.Uniform(t(0.0), t(1.0))) == torch.inf


# Estimates

ESTIMATED = {
    **{name: getattr(divergences, name) for name in CLOSED if name != "wasserstein"},
    "jensen_shannon": jensen_shannon,
    "renyi of order 1.2": partial(renyi, alpha=1.2),
}
COPIES = 400


def truth(name, p, q):
    if name == "jensen_shannon":
        half = torch.tensor(0.5, dtype=DOUBLE).log()

        def both(a, b):
            m = torch.logaddexp(a, b) + half
            return (a.exp() * (a - m) + b.exp() * (b - m)) / 2

        return by_quadrature(both, p, q)
    return ESTIMATED[name](p, q)


@pytest.mark.parametrize("name", ESTIMATED)
def test_an_estimate_is_right_and_so_are_its_error_and_its_gradient(name):
    torch.manual_seed(0)
    loc, scale = t(0.2).requires_grad_(), t(0.9).requires_grad_()
    wide = t(1.2).requires_grad_()
    leaves = [each.expand(COPIES, 1).detach().requires_grad_() for each in (loc, scale, wide)]
    q_loc = t(-0.3)
    expected = truth(name, normal(loc, scale), normal(q_loc, wide))
    exact = torch.cat(torch.autograd.grad(expected, (loc, scale, wide)))
    found = ESTIMATED[name](normal(*leaves[:2]), normal(q_loc, leaves[2]), estimator=pathwise, samples=1000)
    gradients = torch.cat(torch.autograd.grad(found.value.sum(), leaves), dim=1)
    off = found.value.detach() - expected.detach()
    bias = 0.05 * found.standard_error.mean()  # of logarithms, of order 1/samples
    assert abs(off.mean()) < 4 * off.std() / COPIES**0.5 + bias
    assert ((gradients.mean(0) - exact).abs() < 4 * gradients.std(0) / COPIES**0.5 + 0.05 * gradients.std(0)).all()
    inside = (off.abs() < 1.96 * found.standard_error).double().mean()
    assert 0.9 < inside < 0.985


def test_any_estimator_and_any_distribution_will_do():
    torch.manual_seed(0)
    rate = torch.full((COPIES,), 3.0, dtype=DOUBLE, requires_grad=True)
    p, q = td.Poisson(rate), td.Poisson(t(4.0))
    exact = torch.autograd.grad(kl(p, q).sum(), rate)[0][0]
    for estimator in (score_function, measure_valued):
        found = kl(p, q, estimator=estimator, samples=100)
        (gradient,) = torch.autograd.grad(found.value.sum(), rate)
        assert abs(found.value.mean() - kl(p, q)[0]) < 4 * found.value.std() / COPIES**0.5
        assert abs(gradient.mean() - exact) < 4 * gradient.std() / COPIES**0.5
    with torch.no_grad():
        found = cauchy_schwarz(
            td.Gamma(t(2.0), t(1.0)), td.Gamma(t(3.0), t(1.0)), estimator=score_function, samples=40_000
        )
        expected = -math.log(6 / 16 / (math.gamma(3) / 8 * math.gamma(5) / 32 / 4) ** 0.5 / 2)
    assert abs(found.value.item() - expected) < 4 * found.standard_error.item()


class Watched:
    """The pathwise estimator, which remembers how much it has drawn."""

    unbiased, needs, cost = pathwise.unbiased, pathwise.needs, pathwise.cost
    drawn = 0

    def __call__(self, f, q, *, samples=1):
        self.drawn += samples * q.batch_shape[0]
        return pathwise(f, q, samples=samples)


@pytest.mark.parametrize("samples", [4, 7, 50, 150, 250, 399, 1000])
def test_nearly_all_samples_that_are_asked_for_are_drawn(samples):
    watched = Watched()
    kl(*LINE["Gaussians"], estimator=watched, samples=samples)
    assert 0.97 * samples - 1 <= watched.drawn <= samples


class Bare(td.Distribution):
    """One that cannot be expanded."""

    arg_constraints = {}  # noqa: RUF012
    support = td.constraints.real
    has_rsample = True


@td.register_kl(Bare, td.Normal)
def _(p, q):
    return q.loc + 7


def test_a_distribution_that_cannot_be_expanded_has_its_closed_form_and_no_estimate():
    p, q = Bare(validate_args=False), td.Normal(0.0, 1.0)
    assert kl(p, q) == 7
    with pytest.raises(MisuseError, match=r"^An estimate draws groups of samples from Bare, for which it needs expand"):
        kl(p, q, estimator=pathwise)


def test_disjoint_supports_give_infinity_or_the_bound_without_nan():
    p, q = td.Uniform(t(0.0), t(1.0)), td.Uniform(t(5.0), t(6.0))
    expected = {"jensen_shannon": math.log(2), "hellinger": 1.0, "total_variation": 1.0, "l2": 2.0}
    for name in ("kl", "cauchy_schwarz", "renyi", "bhattacharyya", "chi_squared", *expected):
        found = getattr(divergences, name)(p, q, estimator=score_function, samples=100)
        assert found.value.item() == pytest.approx(expected.get(name, math.inf)), name
        assert not found.standard_error.isnan().any(), name


def test_exponents_that_are_large_neither_overflow_nor_vanish():
    p, q = normal(torch.zeros(256), torch.ones(256)), normal(torch.full((256,), 2.0), torch.ones(256))
    for divergence in (bhattacharyya, cauchy_schwarz, partial(renyi, alpha=1.5)):
        found = divergence(p, q, estimator=pathwise, samples=100)
        assert found.value.isfinite(), divergence
        assert found.standard_error > 0, divergence


def test_a_gradient_that_would_not_see_a_border_is_refused():
    loc = t(0.5).requires_grad_()
    with pytest.raises(MisuseError, match=r"^Samples lie outside of the support of Exponential.*score_function"):
        kl(td.Normal(loc, t(1.0)), td.Exponential(t(1.0)), estimator=pathwise)
    found = jensen_shannon(td.Normal(loc, t(1.0)), td.Exponential(t(1.0)), estimator=score_function, samples=1000)
    assert torch.autograd.grad(found.value.sum(), loc)[0].isfinite()


# Bad input


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: kl(MIXED["mixture and Gaussian"][0], normal(t(0.0), t(1.0))),
            (
                r"^The Kullback-Leibler divergence of GaussianMixture and Independent\(Normal\) has no closed form\. "
                r"Ask for an estimate: .*estimator=pathwise"
            ),
        ),
        (
            lambda: cauchy_schwarz(td.Poisson(t(1.0)), td.Poisson(t(2.0))),
            r"^The Cauchy-Schwarz divergence of Poisson and Poisson has no closed form.*score_function",
        ),
        (
            lambda: wasserstein(td.Poisson(t(1.0)), td.Poisson(t(2.0))),
            r"^The Wasserstein distance of Poisson and Poisson",
        ),
        (
            lambda: log_overlap(td.Poisson(t(1.0)), td.Normal(t(1.0), t(1.0))),
            r"^The overlap of Poisson .*Poisson is no G",
        ),
        (lambda: kl(td.Poisson(t(1.0)), td.Normal(t(2.0), t(1.0)), estimator=score_function), "one is discrete"),
        (lambda: kl(td.Normal(t(0.0, 1.0), 1.0), normal(t(0.0), t(1.0))), r"events of shape \(\) .* of shape \(1,\)"),
        (
            lambda: l2(normal(torch.zeros(2, 1), 1.0), normal(torch.zeros(3, 1), 1.0)),
            r"\(2,\) .* \(3,\), which do not broad",
        ),
        (lambda: renyi(*LINE["Gaussians"], alpha=0), r"^The order of Renyi's divergence is 0"),
        (lambda: renyi(*LINE["Gaussians"], alpha=math.nan), r"^The order of Renyi's divergence is nan"),
        (lambda: mmd(*LINE["Gaussians"], bandwidth=0), r"^The bandwidth of the kernel is 0"),
        (lambda: mmd(*LINE["Gaussians"], bandwidth=1e200), r"^The bandwidth of the kernel is 1e\+200"),
        (
            lambda: mmd(*LINE["Gaussians"], bandwidth=1e-200, estimator=pathwise),
            r"^The bandwidth of the kernel is 1e-200",
        ),
        (lambda: kl(*LINE["Gaussians"], estimator=pathwise, samples=0), r"at least 4 samples, and 0"),
        (
            lambda: total_variation(
                normal(torch.zeros(2, 2), t([1.0, 1.0], [1.0, 2.0])), normal(t(0.0, 0.0), t(1.0, 1.0))
            ),
            r"^The total variation of .* has no closed form, because the covariances differ in 1 of 2 pairs\. Ask",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(call, sentence):
    with pytest.raises(MisuseError, match=sentence):
        call()
