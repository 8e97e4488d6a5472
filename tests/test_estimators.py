"""Gradient estimators: exact variances, no bias where none is claimed, one call of f, and refusals in a sentence."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributions as td
import torch.distributions.transforms as tt

from arzhang import plugins
from arzhang.baselines import leave_one_out, mean, moving_average, optimal
from arzhang.distributions import parameters_of, with_parameters
from arzhang.estimators import (
    antithetic,
    exact,
    finite_difference,
    measure_valued,
    pathwise,
    score_function,
    taylor,
)
from arzhang.gradients import gradient_samples, summarize
from arzhang.types import Cost, Estimator, MisuseError

independent = measure_valued.given(coupled=False)
second_order = taylor.given(order=2)


def tensor(*values):
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)


def normal(mu=0.7, sigma=1.0):
    return td.Normal(tensor(mu), tensor(sigma))


def linear(m):
    return lambda z: m * z


def square(m):
    return lambda z: (m * z) ** 2


# The variance table


def constant(b):
    """The score function with a baseline of a known number, which may depend on mu and m."""
    return lambda mu, m: score_function.given(baseline=tensor(b(mu, m)))


H = 0.25
# Variances of the gradient for mu of N(mu, 1), with f = m z and with f = (m z)^2.
LOCATION = {
    "pathwise": (pathwise, lambda mu, m: 0, lambda mu, m: 4 * m**4),
    "score": (score_function, lambda mu, m: m**2 * (mu**2 + 2), lambda mu, m: m**4 * (mu**4 + 14 * mu**2 + 15)),
    "mean": (
        {1: constant(lambda mu, m: m * mu), 2: constant(lambda mu, m: m**2 * (mu**2 + 1))},
        lambda mu, m: 2 * m**2,
        lambda mu, m: m**4 * (8 * mu**2 + 10),
    ),
    "optimal": (
        {1: constant(lambda mu, m: m * mu), 2: constant(lambda mu, m: m**2 * (mu**2 + 3))},
        lambda mu, m: 2 * m**2,
        lambda mu, m: m**4 * (8 * mu**2 + 6),
    ),
    "antithetic": (antithetic, lambda mu, m: 2 * m**2, lambda mu, m: 8 * m**4 * mu**2),
    "taylor": (taylor, lambda mu, m: 0, lambda mu, m: 15 * m**4),
    "taylor, second order": (second_order, lambda mu, m: 0, lambda mu, m: 0),
    "coupled": (
        measure_valued,
        lambda mu, m: m**2 * (4 - math.pi) / math.pi,
        lambda mu, m: 4 * m**4 * mu**2 * (4 - math.pi) / math.pi,
    ),
    "independent": (
        independent,
        lambda mu, m: m**2 * (4 - math.pi) / (2 * math.pi),
        lambda mu, m: m**4 * (mu**2 * (8 / math.pi - 2) + 4 / math.pi),
    ),
    "difference": (finite_difference.given(step=H), lambda mu, m: 0, lambda mu, m: 4 * m**4),
    "difference, independent": (
        finite_difference.given(step=H, common=False),
        lambda mu, m: m**2 / (2 * H**2),
        lambda mu, m: m**4 * (2 * H**2 + 2 * mu**2 + 1) / H**2,
    ),
}
CASES = [(0.7, 1.9), (0.0, 1.0), (-2.5, 0.5)]


def holds(gradients, mean, variance, *, rough=5.0, within=1e9):
    """Mean and variance are these, within so many of their standard errors; the variance within a share besides."""
    n = len(gradients)
    spread = gradients.var().item()
    centred = gradients - gradients.mean()
    error = ((centred**4).mean().item() - spread**2) / n
    assert abs(gradients.mean().item() - mean) <= rough * math.sqrt(spread / n) + 1e-9 * (1 + abs(mean))
    assert abs(spread - variance) <= rough * math.sqrt(max(error, 0)) + 1e-9 * (1 + variance)
    assert abs(spread - variance) <= within * variance + 1e-9 * (1 + variance)


def estimator_of(row, power, mu, m):
    return row[power](mu, m) if isinstance(row, dict) else row


def table(n, name, mu, m, **bounds):
    row, of_linear, of_square = LOCATION[name]
    q = normal(mu)
    torch.manual_seed(0)
    drawn = gradient_samples(estimator_of(row, 1, mu, m), linear(m), q, n=n, of=["loc"])["loc"]
    holds(drawn, m, of_linear(mu, m), **bounds)
    drawn = gradient_samples(estimator_of(row, 2, mu, m), square(m), q, n=n, of=["loc"])["loc"]
    holds(drawn, 2 * m**2 * mu, of_square(mu, m), **bounds)


@pytest.mark.parametrize(("mu", "m"), CASES)
@pytest.mark.parametrize("name", LOCATION)
def test_the_variance_for_a_location_is_that_of_the_table(name, mu, m):
    table(40_000, name, mu, m)


@pytest.mark.slow
@pytest.mark.parametrize(("mu", "m"), [*CASES, (3.0, 1.3)])
@pytest.mark.parametrize("name", LOCATION)
def test_the_variance_for_a_location_is_that_of_the_table_within_three_percent(name, mu, m):
    table(1_000_000, name, mu, m, within=0.03)


@pytest.mark.parametrize(("mu", "m"), CASES)
@pytest.mark.parametrize("K", [2, 5])
def test_leave_one_out_has_the_variance_of_the_table(K, mu, m):
    q, estimator = normal(mu), score_function.given(baseline=leave_one_out)
    torch.manual_seed(0)
    drawn = gradient_samples(estimator, linear(m), q, n=40_000, samples=K, of=["loc"])["loc"]
    holds(drawn, m, 2 * m**2 / (K - 1))
    drawn = gradient_samples(estimator, square(m), q, n=40_000, samples=K, of=["loc"])["loc"]
    holds(drawn, 2 * m**2 * mu, m**4 * (8 * K * mu**2 + 10 * K - 8) / (K - 1) / K)


# Variances for a scale, by quadrature: of the standard normal e, of y, double-sided Maxwell's, and of a uniform u.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
MAXWELL = WEIGHTS * NODES**2
UNIFORM, SHARES = np.polynomial.legendre.leggauss(40)
UNIFORM, SHARES = (UNIFORM + 1) / 2, SHARES / 2
E, V = NODES, WEIGHTS


def moments(values, weights):
    average = (values * weights).sum()
    return ((values - average) ** 2 * weights).sum()


def scale_variances(f, slope, bend, mu, s):
    """Return the variance of each estimator's gradient for s, of N(mu, s^2)."""
    y, u, e, other = NODES[:, None], UNIFORM[None, :], NODES[None, :], np.outer(MAXWELL, SHARES)
    at = f(mu + s * E)
    step = H
    series = f(mu) + slope(mu) * s * E
    return {
        "pathwise": moments(slope(mu + s * E) * E, V),
        "score": moments(at * (E**2 - 1) / s, V),
        "antithetic": moments((at + f(mu - s * E)) / 2 * (E**2 - 1) / s, V),
        "taylor": moments((at - series) * (E**2 - 1) / s, V),
        "taylor, second order": moments((at - series - bend(mu) * (s * E) ** 2 / 2) * (E**2 - 1) / s, V),
        "coupled": moments((f(mu + s * y) - f(mu + s * u * y)) / s, other),
        "independent": moments((f(mu + s * y) - f(mu + s * e)) / s, np.outer(MAXWELL, WEIGHTS)),
        "difference": moments((f(mu + (s + step) * E) - f(mu + (s - step) * E)) / (2 * step), V),
        "difference, independent": (moments(f(mu + (s + step) * E), V) + moments(f(mu + (s - step) * E), V))
        / (2 * step) ** 2,
    }


@pytest.mark.parametrize("name", scale_variances(square(1), lambda z: 2 * z, lambda z: 2, 0.5, 1.0))
def test_the_variance_for_a_scale_is_that_of_quadrature(name):
    mu, s, m = 0.7, 1.4, 1.3

    def f(z):
        return m * z + (m * z) ** 2

    expected = scale_variances(f, lambda z: m + 2 * m**2 * z, lambda z: 2 * m**2, mu, s)[name]
    torch.manual_seed(0)
    drawn = gradient_samples(LOCATION[name][0], f, normal(mu, s), n=40_000, of=["scale"])["scale"]
    holds(drawn, 2 * m**2 * s, expected)


def test_coupling_helps_what_is_even_and_hurts_what_is_odd():
    def ratio(f, mu):
        torch.manual_seed(0)
        return (
            gradient_samples(measure_valued, f, normal(mu), n=40_000, of=["loc"])["loc"].var()
            / gradient_samples(independent, f, normal(mu), n=40_000, of=["loc"])["loc"].var()
        )

    assert ratio(linear(1.3), 0.7) == pytest.approx(2, rel=0.05)
    border = math.sqrt(1 / (2 - math.pi / 2))
    assert ratio(square(1.3), border - 0.3) < 0.95
    assert ratio(square(1.3), border) == pytest.approx(1, rel=0.05)
    assert ratio(square(1.3), border + 0.4) > 1.05
    assert ratio(torch.cos, 0.0) < 1e-9
    assert ratio(lambda z: z**3, 0.0) == pytest.approx(2, rel=0.1)


def test_measure_valued_beats_pathwise_on_a_square_while_mu_is_below_1_913():
    def advantage(mu):
        torch.manual_seed(0)
        weak, path = (
            gradient_samples(each, square(1.0), normal(mu), n=100_000, of=["loc"])["loc"].var()
            for each in (measure_valued, pathwise)
        )
        return weak / path

    assert math.sqrt(math.pi / (4 - math.pi)) == pytest.approx(1.913, abs=5e-4)
    assert advantage(1.913 * 0.95) < 0.95
    assert advantage(1.913) == pytest.approx(1, rel=0.03)
    assert advantage(1.913 * 1.05) > 1.05


def test_baselines_from_points_of_their_own_do_nearly_what_the_exact_numbers_do():
    mu, m = 0.7, 1.3
    for module, exact_variance in ((mean, 8 * mu**2 + 10), (optimal, 8 * mu**2 + 6)):
        estimator = score_function.given(baseline=module.Config(samples=64).build())
        torch.manual_seed(0)
        drawn = gradient_samples(estimator, square(m), normal(mu), n=20_000, of=["loc"])["loc"]
        assert drawn.mean() == pytest.approx(2 * m**2 * mu, abs=5 * drawn.std().item() / math.sqrt(len(drawn)))
        # An error of the baseline adds its variance, E[error^2] E[score^2], which is Var f / 64 for the mean.
        assert exact_variance * 0.93 < drawn.var().item() / m**4 < (exact_variance + 12 / 64) * 1.09


# No bias


def odd(z):
    """A function without symmetry, over everything that an event has."""
    return torch.exp(-0.5 * z) + torch.sin(2 * z) + 0.3 * z**2


GRID = 200_001


def expectation(q, f=odd):
    """E_q[f] by sums over all counts or by the trapezoidal rule, with q's gradient."""
    if isinstance(q, td.Poisson | td.Binomial | td.Geometric | td.NegativeBinomial):
        points, width = torch.arange(300.0, dtype=torch.float64), 1.0
        if isinstance(q, td.Binomial):
            points = points[: int(q.total_count.max()) + 1]
    else:
        low, high = (1e-9, 1 - 1e-9) if isinstance(q, td.Beta) else (1e-9, 60.0)
        if not isinstance(q, td.Beta | td.Gamma | td.Exponential | td.Weibull | td.LogNormal):
            low, high = -60.0, 60.0
        points = torch.linspace(low, high, GRID, dtype=torch.float64)
        width = (high - low) / (GRID - 1)
    return (q.log_prob(points).exp() * f(points)).sum() * width


CONTINUOUS = {
    "normal": lambda: td.Normal(tensor(0.3), tensor(0.8)),
    "gamma": lambda: td.Gamma(tensor(2.5), tensor(1.5)),
    "beta": lambda: td.Beta(tensor(2.0), tensor(3.0)),
    "student": lambda: td.StudentT(tensor(12.0), tensor(0.2), tensor(0.4)),
    "exponential": lambda: td.Exponential(tensor(1.7)),
    "laplace": lambda: td.Laplace(tensor(0.3), tensor(0.4)),
    "gumbel": lambda: td.Gumbel(tensor(0.3), tensor(0.4)),
    "log-normal": lambda: td.LogNormal(tensor(0.1), tensor(0.3)),
    "weibull": lambda: td.Weibull(tensor(1.2), tensor(2.5)),  # its parameters are in transforms
}
COUNTS = {
    "poisson": lambda: td.Poisson(tensor(1.8)),
    "binomial": lambda: td.Binomial(5, tensor(0.3)),
    "geometric": lambda: td.Geometric(tensor(0.6)),
}


def unbiased(estimator, q, f=odd, *, n=20_000, samples=1, **options):
    parameters = {name: each.detach().clone().requires_grad_() for name, each in parameters_of(q).items()}
    q = with_parameters(q, parameters)
    expected = torch.autograd.grad(options.pop("expected", expectation)(q, f), list(parameters.values()))
    torch.manual_seed(1)
    found = gradient_samples(estimator, f, q, n=n, samples=samples)
    for (name, drawn), right in zip(found.items(), expected, strict=True):
        error = drawn.std(0) / math.sqrt(n)
        assert ((drawn.mean(0) - right).abs() <= 5 * error + 1e-9).all(), name


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_pathwise_gradient_is_unbiased_also_where_it_is_implicit(name):
    unbiased(pathwise, CONTINUOUS[name]())


@pytest.mark.parametrize("name", [*CONTINUOUS, *COUNTS])
def test_the_score_function_is_unbiased_with_and_without_baselines(name):
    make = {**CONTINUOUS, **COUNTS}[name]
    unbiased(score_function, make())
    unbiased(score_function.given(baseline=leave_one_out), make(), n=10_000, samples=3)
    unbiased(score_function.given(baseline=tensor(0.8)), make())
    for module in (mean, optimal):
        unbiased(score_function.given(baseline=module.Config(samples=2).build()), make(), n=10_000)


@pytest.mark.parametrize("name", ["normal", "student", "laplace"])
def test_antithetic_pairs_are_unbiased(name):
    unbiased(antithetic, CONTINUOUS[name]())


def test_antithetic_pairs_of_correlated_normals_are_unbiased():
    """Of f = z_0^2 + sin z_1, whose gradient for the mean is 2 mu_0 and cos(mu_1) exp(-s_1^2 / 2)."""
    mu, tril = tensor(0.3, -0.5), torch.tensor([[1.0, 0.0], [0.5, 0.8]], dtype=torch.float64)
    for q in (
        td.MultivariateNormal(mu, scale_tril=tril),
        td.LowRankMultivariateNormal(mu, tril[:, :1], tensor(0.1, 0.7)),
    ):
        torch.manual_seed(1)
        drawn = gradient_samples(antithetic, lambda z: z[..., 0] ** 2 + z[..., 1].sin(), q, n=20_000, of=["loc"])["loc"]
        right = torch.stack([2 * mu[0], mu[1].cos() * (-q.variance[1] / 2).exp()])
        assert ((drawn.mean(0) - right).abs() <= 5 * drawn.std(0) / math.sqrt(len(drawn))).all()


@pytest.mark.parametrize("estimator", [taylor, second_order])
def test_control_variates_of_taylor_series_are_unbiased(estimator):
    unbiased(estimator, CONTINUOUS["normal"]())
    unbiased(estimator, CONTINUOUS["normal"](), samples=2, n=5_000)


@pytest.mark.parametrize("name", ["normal", "exponential", "poisson"])
@pytest.mark.parametrize("estimator", [measure_valued, independent])
def test_weak_derivatives_are_unbiased(name, estimator):
    unbiased(estimator, {**CONTINUOUS, **COUNTS}[name]())


@pytest.mark.parametrize("name", [*CONTINUOUS, *COUNTS])
def test_differences_are_as_biased_as_the_step_makes_them(name):
    q = {**CONTINUOUS, **COUNTS}[name]()
    unbiased(finite_difference.given(step=1e-3, common=name != "gamma"), q, n=5_000)


def test_the_bias_of_differences_grows_with_the_square_of_the_step():
    """Of f = z^3 and N(mu, 1) the difference for mu is off by exactly h^2, and the value at no step but by 3 mu h^2."""
    for step in (0.2, 0.4):
        torch.manual_seed(0)
        drawn = gradient_samples(finite_difference.given(step=step), lambda z: z**3, normal(0.5), n=20_000, of=["loc"])[
            "loc"
        ]
        error = drawn.std().item() / math.sqrt(len(drawn))
        assert drawn.mean().item() == pytest.approx(3 * (0.25 + 1) + step**2, abs=5 * error)


def of_bits(z):
    """A function of three bits or of a one-hot triple without symmetry."""
    return torch.exp(z @ tensor(0.5, -1.0, 0.8)) + z[..., 0] * z[..., 2]


def by_enumeration(q, f):
    return exact(f, q)


def of_class(z):
    return tensor(0.3, -1.0, 2.5)[z]


DISCRETE = {
    "bits": (lambda: td.Independent(td.Bernoulli(tensor(0.3, 0.6, 0.9)), 1), of_bits),
    "logits": (lambda: td.Independent(td.Bernoulli(logits=tensor(0.3, -0.6, 1.9)), 1), of_bits),
    "class": (lambda: td.Categorical(tensor(0.2, 0.3, 0.5)), of_class),
    "one-hot": (lambda: td.OneHotCategorical(logits=tensor(0.2, 0.3, -0.5)), of_bits),
    "count": (lambda: td.Binomial(4, tensor(0.3)), odd),
}


def enumerated(q, f):
    inner = q.base_dist if isinstance(q, td.Independent) else q
    if isinstance(q, td.Independent):
        points = torch.cartesian_prod(*[tensor(0.0, 1.0)] * 3)
    else:
        points = inner.enumerate_support()
    return (q.log_prob(points).exp() * f(points)).sum()


@pytest.mark.parametrize("name", DISCRETE)
def test_enumeration_is_exact(name):
    make, f = DISCRETE[name]
    parameters = {name: each.detach().clone().requires_grad_() for name, each in parameters_of(make()).items()}
    q, leaves = with_parameters(make(), parameters), list(parameters.values())
    value, expected = exact(f, q), enumerated(q, f)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    found = torch.autograd.grad(value, leaves, retain_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(expected, leaves), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", DISCRETE)
def test_the_score_function_of_discrete_variables_is_unbiased(name):
    make, f = DISCRETE[name]
    unbiased(score_function, make(), f, expected=by_enumeration)
    unbiased(score_function.given(baseline=leave_one_out), make(), f, expected=by_enumeration, n=10_000, samples=2)


@pytest.mark.parametrize("name", ["bits", "logits"])
def test_weak_derivatives_of_bits_are_unbiased_and_of_one_bit_exact(name):
    make, f = DISCRETE[name]
    unbiased(measure_valued, make(), f, expected=by_enumeration)
    one = gradient_samples(measure_valued, of_class_of_bit, td.Bernoulli(tensor(0.3)), n=5)["probs"]
    torch.testing.assert_close(one, torch.full((5,), 1.3, dtype=torch.float64))


def of_class_of_bit(z):
    return tensor(-1.0, 0.3)[z.long()]


@pytest.mark.parametrize("name", ["class", "one-hot", "count", "bits"])
def test_differences_of_discrete_variables_find_the_gradient(name):
    make, f = DISCRETE[name]
    unbiased(finite_difference.given(step=0.02), make(), f, expected=by_enumeration, n=20_000)


SEVERAL = {
    "pathwise": pathwise,
    "score": score_function.given(baseline=leave_one_out),
    "antithetic": antithetic,
    "taylor": taylor,
    "second order": second_order,
    "coupled": measure_valued,
    "independent": independent,
    "difference": finite_difference.given(step=1e-3),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_dimensions_in_a_batch_are_each_right(name):
    """f = (a . z)^2 + b . z^3, of which everything is known: E (a . z)^2 = (a . mu)^2 + sum a^2 s^2."""
    a, b = tensor(1.0, -0.5, 0.7), tensor(0.2, 0.1, -0.3)
    loc = torch.tensor([[0.3, -0.2, 0.5], [1.0, 0.0, -0.4]], dtype=torch.float64)
    scale = torch.tensor([[0.5, 0.8, 1.0], [0.3, 1.1, 0.6]], dtype=torch.float64)
    q = td.Independent(td.Normal(loc, scale), 1)

    def f(z):
        return (z @ a) ** 2 + (z**3) @ b

    torch.manual_seed(0)
    found = gradient_samples(SEVERAL[name], f, q, n=20_000, samples=2)
    right = {
        "loc": 2 * (loc @ a).unsqueeze(-1) * a + 3 * b * (loc**2 + scale**2),
        "scale": 2 * a**2 * scale + 6 * b * loc * scale,
    }
    for parameter, drawn in found.items():
        error = drawn.std(0) / math.sqrt(len(drawn))
        assert ((drawn.mean(0) - right[parameter]).abs() <= 5 * error + 1e-6).all()


# The contract, for whatever lies in the folder


def offered():
    """Every estimator; those that learn are built for three dimensions and do not learn."""
    for name in plugins.names("estimators"):
        thing = plugins.find("estimators", name)
        if hasattr(thing, "Config"):
            sizes = {"dimensions": 3} if "dimensions" in thing.Config.__dataclass_fields__ else {}
            thing = thing.Config(**sizes).build().double().eval()
        yield pytest.param(thing, id=name)


EACH = pytest.mark.parametrize("estimator", list(offered()))


def bits(*batch):
    logits = tensor(0.4, -0.3, 1.0).expand(*batch, 3).clone().requires_grad_()
    return td.Independent(td.Bernoulli(logits=logits), 1), logits


def normals(*batch):
    loc = tensor(0.4, -0.3, 1.0).expand(*batch, 3).clone().requires_grad_()
    return td.Independent(td.Normal(loc, tensor(0.5)), 1), loc


class Counted:
    """A quadratic with a parameter of its own, which remembers how often it was called and at how many points."""

    def __init__(self):
        self.weight = tensor(0.5, -1.0, 0.8).requires_grad_()
        self.calls = []

    def __call__(self, z):
        self.calls.append(z.shape)
        return (z @ self.weight + 0.3) ** 2


def accepted(estimator, *batch):
    """Return a q that the estimator takes, its parameter, and E f by q's moments."""
    for make in (normals, bits):
        q, parameter = make(*batch)
        f = Counted()
        try:
            estimator(f, q, samples=2)
        except MisuseError:
            assert not f.calls, "What is refused is refused before f is called."
            continue
        return q, parameter
    pytest.fail("takes neither Normals nor Bernoullis")


def known(q, f):
    """E (w . z + c)^2 = (w . mean + c)^2 + w^2 . variance."""
    inner = q.base_dist
    return (inner.mean @ f.weight + 0.3) ** 2 + inner.variance @ f.weight**2


@EACH
@pytest.mark.parametrize("batch", [(), (2,)])
def test_an_estimator_keeps_its_promises(estimator, batch):
    assert isinstance(estimator, Estimator)
    q, _ = accepted(estimator, *batch)
    f = Counted()
    value = estimator(f, q, samples=3)
    assert value.shape == q.batch_shape
    ((points, *rest),) = f.calls
    assert tuple(rest) == (*q.batch_shape, *q.event_shape)
    cost = estimator.cost(q, samples=3)
    assert isinstance(cost, Cost)
    assert cost.evaluations == points


@EACH
def test_an_estimator_is_as_unbiased_as_it_says(estimator):
    """Each element of the batch is an estimate of its own, and has a gradient of its own, for q and for f alike."""
    n = 4000
    q, parameter = accepted(estimator, n)
    f = Counted()
    f.weight = f.weight.detach().expand(n, 3).clone().requires_grad_()
    torch.manual_seed(0)
    value = estimator(lambda z: ((z * f.weight).sum(-1) + 0.3) ** 2, q, samples=2)
    inner = q.base_dist
    expected = ((inner.mean * f.weight).sum(-1) + 0.3) ** 2 + (inner.variance * f.weight**2).sum(-1)
    found = [value.detach(), *torch.autograd.grad(value.sum(), (parameter, f.weight), retain_graph=True)]
    right = [expected.detach(), *torch.autograd.grad(expected.sum(), (parameter, f.weight))]
    assert all(each.isfinite().all() for each in found)
    away = [
        ((each.mean(0) - truth[0]).abs() / (each.std(0) / math.sqrt(n) + 1e-9)).max().item()
        for each, truth in zip(found, right, strict=True)
    ]
    if estimator.unbiased:
        assert max(away) < 5
    elif estimator is not finite_difference:  # whose bias is of the size of the step
        assert max(away) > 5


@EACH
def test_an_estimator_estimates_without_gradients_too(estimator):
    q, parameter = accepted(estimator)
    f = Counted()
    torch.manual_seed(0)
    with torch.no_grad():
        value = estimator(f, q, samples=20_000)
    assert not value.requires_grad
    if estimator.unbiased:
        torch.testing.assert_close(value, known(q, f).detach(), rtol=0, atol=5 * 3 / math.sqrt(20_000))
    parameter.requires_grad_(requires_grad=False)
    fixed = type(q)(type(q.base_dist)(**{name: each.detach() for name, each in parameters_of(q).items()}), 1)
    value = estimator(f, fixed, samples=20_000)
    (gradient,) = torch.autograd.grad(value, f.weight)
    assert gradient.isfinite().all()


@EACH
def test_an_estimator_takes_an_empty_batch(estimator):
    q, parameter = accepted(estimator, 0)
    value = estimator(Counted(), q, samples=2)
    assert value.shape == (0,)
    assert torch.autograd.grad(value.sum(), parameter)[0].shape == parameter.shape


@EACH
@pytest.mark.parametrize("samples", [0, -2])
def test_no_samples_are_refused(estimator, samples):
    q, _ = accepted(estimator)
    f = Counted()
    with pytest.raises(MisuseError, match=r"samples|pairs"):
        estimator(f, q, samples=samples)
    assert not f.calls


@EACH
@pytest.mark.parametrize(
    ("f", "found"),
    [
        (lambda z: z.sum(-1) * math.nan, r"^f returned NaN at \d+ of \d+ points of Independent"),
        (lambda z: z, r"^f returned values of shape \(\d+, 3\) for points of shape \(\d+, 3\), and should return"),
        (lambda z: z.sum(), r"^f returned values of shape \(\) for points"),
        (lambda z: z.detach().sum(-1).long(), r"^f returned values of type torch.int64, and should"),
        (lambda z: 1.0, r"^f returned a float, and should return a tensor"),
    ],
)
def test_what_f_should_not_return_is_named(estimator, f, found):
    q, _ = accepted(estimator)
    with pytest.raises(MisuseError, match=found):
        estimator(f, q, samples=2)


def test_infinite_values_are_no_mistake():
    """Log-probabilities are, where something is impossible; a sum of inf and -inf is NaN where no value is."""
    q = td.Normal(torch.zeros(2), torch.ones(2))
    assert score_function(lambda z: torch.tensor([math.inf, -math.inf]).expand_as(z), q).isinf().all()
    value = score_function(
        lambda z: torch.where(torch.arange(len(z)) % 2 == 0, math.inf, -math.inf), normal(), samples=1
    )
    assert value == math.inf


# Refusals


@pytest.mark.parametrize(
    "q",
    [
        td.Poisson(1.0),
        td.Bernoulli(0.3),
        td.Independent(td.Bernoulli(torch.zeros(3)), 1),
        td.OneHotCategorical(torch.ones(3)),
        td.OneHotCategoricalStraightThrough(torch.ones(3)),
        td.Independent(td.OneHotCategoricalStraightThrough(torch.ones(2, 3)), 1),
        td.MixtureSameFamily(td.Categorical(torch.ones(2)), td.Normal(torch.zeros(2), torch.ones(2))),
    ],
    ids=lambda q: type(q).__name__,
)
def test_pathwise_refuses_what_has_no_such_gradient(q):
    with pytest.raises(MisuseError, match=r"^The pathwise estimator needs a q with rsample, which .* is not: use"):
        pathwise(never, q)


def never(_):
    pytest.fail("f was called")


STEPS = {
    "compares": lambda z: (z > 0).to(z),
    "detaches": lambda z: z.detach(),
    "signs": torch.sign,
    "floors": lambda z: torch.floor(2 * z) + 1,
    "divides and rounds": lambda z: torch.div(z, 0.5, rounding_mode="floor"),
    "tosses a coin": lambda z: torch.bernoulli(z.sigmoid()),
    "is constant": torch.zeros_like,
}


@pytest.mark.parametrize("step", STEPS)
def test_pathwise_refuses_a_function_that_steps(step):
    mu, own = tensor(0.3).requires_grad_(), tensor(2.0).requires_grad_()
    for f in (STEPS[step], lambda z: own * STEPS[step](z) + own):
        with pytest.raises(MisuseError, match="does not depend differentiably on its points"):
            pathwise(f, td.Normal(mu, 1.0))
    assert pathwise(lambda z: torch.relu(z) + STEPS[step](z), td.Normal(mu, 1.0)).requires_grad
    assert pathwise(STEPS[step], normal()).isfinite()  # nobody asks for a gradient


class Shifted(td.TransformedDistribution):
    """A distribution of the user's own, which says nothing of its support."""

    def __init__(self, loc):
        super().__init__(td.Exponential(torch.ones_like(loc)), [tt.AffineTransform(loc, 1.0)])


MOVING = {
    "of one's own": Shifted,
    "uniform": lambda t: td.Uniform(0.0, t),
    "pareto": lambda t: td.Pareto(t, tensor(3.0)),
    "independent": lambda t: td.Independent(td.Uniform(torch.zeros(2).double(), t.expand(2)), 1),
    "transformed": lambda t: td.TransformedDistribution(td.Uniform(tensor(0.0), t), [tt.AffineTransform(1.0, 2.0)]),
    "shifted": lambda t: td.TransformedDistribution(td.Exponential(tensor(1.0)), [tt.AffineTransform(t, 1.0)]),
    "stretched": lambda t: td.TransformedDistribution(
        td.Normal(tensor(0.0), tensor(1.0)), [tt.ComposeTransform([tt.SigmoidTransform(), tt.AffineTransform(0.0, t)])]
    ),
    "mixture": lambda t: td.MixtureSameFamily(td.Categorical(torch.ones(2)), td.Uniform(torch.zeros(2), t.expand(2))),
}


@pytest.mark.parametrize("name", MOVING)
def test_the_score_function_refuses_a_support_that_moves(name):
    t = tensor(1.5).requires_grad_()
    with pytest.raises(MisuseError, match=r"^The score function cannot see that the support of .* moves"):
        score_function(never, MOVING[name](t))
    assert score_function(lambda z: z if z.ndim == 1 else z.sum(-1), MOVING[name](t.detach())).isfinite()


def test_the_score_function_goes_through_transforms_that_learn():
    """z = t e, so that E z^2 = t^2, and dE/dt = 2 t."""
    t = tensor(1.5).requires_grad_()
    for cached in (0, 1):
        scaled = tt.AffineTransform(tensor(0.0), t, cache_size=cached)
        q = td.TransformedDistribution(td.Normal(tensor(0.0), tensor(1.0)), [scaled])
        torch.manual_seed(0)
        (gradient,) = torch.autograd.grad(score_function(lambda z: z**2, q, samples=100_000), t)
        assert gradient.item() == pytest.approx(3.0, abs=0.2)


def test_the_score_function_refuses_a_q_without_a_density():
    q = td.TransformedDistribution(td.Normal(tensor(0.0), tensor(1.0).requires_grad_()), [tt.AbsTransform()])
    with pytest.raises(MisuseError, match=r"^The score function needs a q with log_prob, and TransformedDistribution"):
        score_function(never, q)


@pytest.mark.parametrize("estimator", [taylor, measure_valued, antithetic])
@pytest.mark.parametrize(
    "q",
    [
        td.Categorical(torch.ones(3)),
        td.Gamma(1.0, 1.0),
        td.Independent(td.Categorical(torch.ones(2, 3)), 1),
        td.LogNormal(0.0, 1.0),
    ],
    ids=["class", "gamma", "classes", "log-normal"],
)
def test_what_needs_a_gaussian_says_so(estimator, q):
    with pytest.raises(MisuseError, match=r"^The .* estimator needs a q .*Normal.*, which .* is not: use "):
        estimator(never, q)


def test_taylor_refuses_correlated_normals_and_other_orders():
    wide = td.Independent(td.MultivariateNormal(torch.zeros(2, 3), torch.eye(3)), 1)
    with pytest.raises(MisuseError, match=r"^The Taylor estimator needs a q of independent Normals"):
        taylor(never, wide)
    for order in (0, 3):
        with pytest.raises(MisuseError, match=rf"^The order of the Taylor series is {order}, and should be 1 or 2"):
            taylor(never, normal(), order=order)


@pytest.mark.parametrize("order", [1, 2])
def test_taylor_refuses_a_function_without_a_derivative_at_the_mean(order):
    """Of |z| there is one in torch, 0; of the square root of |z| there is none."""
    mu = tensor(0.0).requires_grad_()
    with pytest.raises(MisuseError, match=r"^f has no finite derivative at the mean of Normal"):
        taylor(lambda z: z.abs().sqrt(), td.Normal(mu, 1.0), order=order)
    assert taylor(torch.abs, td.Normal(mu, 1.0), order=order).isfinite()


def test_taylor_differentiates_f_no_more_than_it_says():
    q, loc = normals()
    slopes, own = [], tensor(1.0).requires_grad_()

    def counted(weight):
        def f(z):
            z.register_hook(lambda slope: slopes.append(len(slope)))
            return weight * z.square().sum(-1)

        return f

    taylor(counted(tensor(1.0)), q, samples=3).backward()
    assert sum(slopes) == taylor.cost(q, samples=3).gradients == 4
    value = taylor(counted(own), q, samples=3)
    value.backward()
    assert own.grad.item() == pytest.approx(value.item())
    assert loc.grad.isfinite().all()


def test_options_are_looked_at_when_they_are_given():
    assert taylor.given(order=2).given(samples=3).cost(normal()) == taylor.cost(normal(), samples=3, order=2)
    for ask, wrong in (
        (lambda: taylor.given(2), "2"),
        (lambda: taylor.given(ordr=2), "'ordr'"),
        (lambda: taylor.given(order=2).given(step=1.0), "'step'"),
    ):
        with pytest.raises(MisuseError, match=rf"^taylor was given {wrong}; its options, .*, are samples, order"):
            ask()


def test_enumeration_refuses_what_is_infinite_or_too_much():
    with pytest.raises(MisuseError, match=r"^Enumeration needs a q with finitely many values.*Poisson is not"):
        exact(never, td.Poisson(1.0))
    with pytest.raises(MisuseError, match=r"^Independent\(Categorical\) has 3\^16 values, too many"):
        exact(never, td.Independent(td.Categorical(torch.ones(4, 4, 3)), 2))
    with pytest.raises(MisuseError, match=r"^Independent\(Bernoulli\) has 2\^2000 values, too many"):
        exact(never, td.Independent(td.Bernoulli(torch.full((2000,), 0.5)), 1))
    with pytest.raises(MisuseError, match=r"^Binomials of 2 to 3 trials cannot be enumerated together"):
        exact(never, td.Binomial(torch.tensor([2.0, 3.0]), torch.tensor([0.5, 0.5])))


def test_enumeration_holds_at_the_ends_of_probability():
    for p in (0.0, 1e-30, 1 - 1e-7, 1.0):
        probs = torch.tensor(p, requires_grad=True)
        (gradient,) = torch.autograd.grad(exact(lambda z: 3 * z + 1, td.Bernoulli(probs)), probs)
        assert gradient == 3
    logits = torch.tensor([math.inf, -math.inf], requires_grad=True)
    value = exact(lambda z: 3 * z + 1, td.Bernoulli(logits=logits))
    assert value.tolist() == [4, 1]
    assert torch.autograd.grad(value.sum(), logits)[0].tolist() == [0, 0]
    impossible = exact(torch.log, td.Bernoulli(torch.tensor(1.0)))
    assert impossible == 0
    count = torch.tensor(0.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(exact(lambda k: k, td.Binomial(4, count)), count)
    assert gradient == 4


def test_f_may_write_into_its_points():
    logits = tensor(0.0, 0.4, -1.0).requires_grad_()
    q = td.Independent(td.Bernoulli(logits=logits), 1)
    (gradient,) = torch.autograd.grad(exact(lambda z: z.mul_(2).sum(-1), q), logits)
    torch.testing.assert_close(gradient, 2 * q.variance.detach())


def test_a_difference_refuses_steps_that_lead_nowhere():
    def asked(q, **options):
        for each in parameters_of(q).values():
            each.requires_grad_()
        finite_difference(never, q, **options)

    for step in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(MisuseError, match=r"^The step is .*, and should be a number above 0"):
            asked(normal(), step=step)
    with pytest.raises(MisuseError, match=r"^A step of 0.001 is lost in the rounding of loc, which is torch.float32"):
        asked(td.Normal(torch.tensor(1e6), torch.tensor(1.0)), step=1e-3)
    with pytest.raises(MisuseError, match=r"^A step of 0.5 leads probs of Bernoulli out of its domain"):
        asked(td.Bernoulli(tensor(0.3)), step=0.5)
    with pytest.raises(MisuseError, match=r"^A step of 0.01 leads covariance_matrix .* scale_tril for a covariance"):
        asked(td.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double()))


def test_a_difference_refuses_what_it_cannot_move_and_yet_should():
    learnt = tensor(2.0).requires_grad_()
    mixture = td.MixtureSameFamily(
        td.Categorical(torch.ones(2)), td.NegativeBinomial(learnt.expand(2), tensor(0.3, 0.4))
    )
    for q, name in {
        td.NegativeBinomial(learnt, tensor(0.3)): "total_count of NegativeBinomial",
        td.Independent(td.RelaxedBernoulli(learnt, probs=tensor(0.3, 0.4)), 1): r"temperature of Independent",
        mixture: r"total_count of MixtureSameFamily",
    }.items():
        with pytest.raises(MisuseError, match=rf"^{name}.* requires a gradient, and cannot be moved: detach it"):
            finite_difference(never, q)
        with torch.no_grad():
            finite_difference(lambda z: z if z.ndim == 1 else z.sum(1), q)
    rate = tensor(0.3).requires_grad_()
    value = finite_difference(lambda z: z, td.NegativeBinomial(learnt.detach(), rate), samples=20_000)
    assert torch.autograd.grad(value, rate)[0].item() == pytest.approx(2 / 0.7**2, rel=0.2)


def test_a_difference_divides_by_the_step_that_was_taken():
    """At 1000 a float32 knows steps of 6e-5, so that 2 h = 2e-4 is taken as 1.8e-4."""
    mu = torch.tensor(1000.0, requires_grad=True)
    value = finite_difference(lambda z: 3 * (z - 1000), td.Normal(mu, torch.tensor(1e-6)), step=1e-4)
    assert torch.autograd.grad(value, mu)[0].item() == pytest.approx(3, rel=1e-6)


def test_a_difference_moves_a_triangle_entry_by_entry():
    triangle = torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=torch.float64, requires_grad=True)
    q = td.MultivariateNormal(torch.zeros(2).double(), scale_tril=triangle)
    value = finite_difference(lambda z: z.square().sum(-1), q, samples=20_000)
    (gradient,) = torch.autograd.grad(value, triangle)
    torch.testing.assert_close(gradient, 2 * triangle.detach(), rtol=0, atol=0.2)  # E |z|^2 = |L|^2
    assert finite_difference.cost(q, samples=3).evaluations == 2 * 3 * 3


def test_weak_derivatives_of_what_stands_still_are_the_value_alone():
    f = Counted()
    assert not measure_valued(lambda z: z, td.Normal(0.0, 1.0)).requires_grad
    q = td.Independent(td.Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    value = measure_valued(f, q, samples=5)
    assert value.requires_grad
    assert f.calls == [(5, 3)]


def test_a_carriers_overflow_does_not_reach_the_value():
    mu = torch.tensor(0.0, requires_grad=True)
    value = score_function(lambda z: torch.full_like(z, 3e38), td.Normal(mu, torch.tensor(1e-3)), samples=1)
    assert value.item() == pytest.approx(3e38)


def test_costs_are_counted():
    q, _ = normals(4)
    assert pathwise.cost(q, samples=3) == Cost(evaluations=3, gradients=3)
    assert score_function.cost(q, samples=3) == Cost(evaluations=3)
    assert score_function.cost(q, samples=3, baseline=leave_one_out) == Cost(evaluations=3)
    assert score_function.cost(q, samples=3, baseline=tensor(1.0)) == Cost(evaluations=3)
    assert score_function.cost(q, samples=3, baseline=mean.Config(samples=5).build()) == Cost(evaluations=8)
    assert antithetic.cost(q, samples=3) == Cost(evaluations=6)
    assert taylor.cost(q, samples=3) == Cost(evaluations=4, gradients=4)
    assert taylor.cost(q, samples=3, order=2) == Cost(evaluations=4, gradients=4 * (1 + 2 * 3))
    assert measure_valued.cost(q, samples=5) == Cost(evaluations=5 + 2 * 3 * 5)  # the loc learns
    assert measure_valued.cost(normal()) == Cost(evaluations=1 + 2 * 2)  # nothing does: counted for both
    assert finite_difference.cost(q, samples=5) == Cost(evaluations=2 * 3 * 5)
    assert exact.cost(bits()[0]) == Cost(evaluations=8)


@pytest.mark.slow
def test_a_moving_average_that_is_read_first_leaves_the_gradient_alone_and_otherwise_shrinks_it():
    """With decay .95 the other order gives .95 of the gradient: 1.9 of 2."""
    right, wrong = order_of_the_moving_average(0.95, 30_000)
    assert right.mean().item() == pytest.approx(2, abs=5 * right.std().item() / math.sqrt(len(right)))
    assert wrong.mean().item() == pytest.approx(1.9, abs=5 * wrong.std().item() / math.sqrt(len(wrong)))
    assert right.mean() - wrong.mean() > 0.03


def test_a_moving_average_is_read_before_it_is_updated():
    right, wrong = order_of_the_moving_average(0.2, 250)
    assert right.mean().item() == pytest.approx(2, abs=5 * right.std().item() / math.sqrt(len(right)))
    assert wrong.mean().item() == pytest.approx(0.4, abs=5 * wrong.std().item() / math.sqrt(len(wrong)))


def order_of_the_moving_average(decay, calls):
    """Gradients of E 2 z = 2 mu, one a call, by a moving average as it is, and by one that was updated already."""

    class Updated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.kept = moving_average.Config(decay=decay).build()

        def forward(self, drawn):
            self.kept(drawn)
            return self.kept.average.to(drawn.values)

    torch.manual_seed(0)
    found = []
    for baseline in (moving_average.Config(decay=decay).build(), Updated()):
        mu = torch.tensor(0.5, requires_grad=True)
        q = td.Normal(mu, torch.tensor(1.0), validate_args=False)
        gradients = [
            torch.autograd.grad(score_function(lambda z: 2 * z, q, baseline=baseline), mu)[0] for _ in range(calls)
        ]
        found.append(torch.stack(gradients)[50:])
    return found


def test_the_examples_of_the_page_give_what_the_page_says():
    page = (Path(__file__).parents[1] / "docs/estimators.md").read_text("utf-8")
    torch.manual_seed(0)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        exec(compile(block, "docs/estimators.md", "exec"), names)  # noqa: S102
    assert names["mu"].grad.item() == pytest.approx(5.6, abs=5 * 8 / math.sqrt(1000))
    assert (names["summary"].mean - 5.6).abs() < 5 * names["summary"].standard_error
    assert names["summary"].work == 5 * names["summary"].variance


def test_a_summary_says_mean_error_variance_and_work():
    torch.manual_seed(0)
    gradients = gradient_samples(score_function, square(1.0), normal(), n=1000, samples=4)
    summary = summarize(gradients, score_function.cost(normal(), samples=4))
    assert summary.keys() == {"loc", "scale"}
    drawn = gradients["loc"]
    assert summary["loc"].mean.item() == pytest.approx(drawn.mean().item())
    assert summary["loc"].variance.item() == pytest.approx(drawn.var().item())
    assert summary["loc"].standard_error.item() == pytest.approx(drawn.std().item() / math.sqrt(1000))
    assert summary["loc"].work.item() == pytest.approx(4 * drawn.var().item())
