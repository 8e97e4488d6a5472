"""Per-sample gradients: all parameters at once, the same as one by one, for any q that can be made anew."""

import math

import pytest
import torch
import torch.distributions as td

from arzhang.estimators import finite_difference, pathwise, score_function
from arzhang.gradients import gradient_samples, summarize
from arzhang.types import Cost, MisuseError


def test_gradients_are_those_of_a_loop_over_the_same_noise():
    loc, scale = torch.tensor([0.3, -1.0]), torch.tensor([1.0, 2.0])
    torch.manual_seed(0)
    found = gradient_samples(pathwise, lambda z: z.sin().sum(-1), td.Independent(td.Normal(loc, scale), 1), n=50)
    torch.manual_seed(0)
    noise = torch.randn(50, 2)
    slopes = (loc + noise * scale).cos()
    torch.testing.assert_close(found, {"loc": slopes, "scale": slopes * noise})


def test_f_sees_points_as_ever():
    """Not a dimension more: an f that says what its dimensions are works alike."""
    seen = []

    def f(z):
        N, B, D = z.shape
        seen.append((N, B, D))
        return z.sum(-1) * torch.arange(2.0)

    q = td.Independent(td.Normal(torch.zeros(2, 3), torch.ones(2, 3)), 1)
    found = gradient_samples(pathwise, f, q, n=5, samples=4)
    assert seen == [(20, 2, 3)]
    assert found["loc"].shape == found["scale"].shape == (5, 2, 3)
    torch.testing.assert_close(found["loc"][:, 0], torch.zeros(5, 3))
    torch.testing.assert_close(found["loc"][:, 1], torch.ones(5, 3))


@pytest.mark.parametrize(
    ("q", "shapes"),
    [
        (td.Gamma(torch.tensor([2.0]), torch.tensor([1.0])), {"concentration": (1,), "rate": (1,)}),
        (td.Beta(torch.tensor(2.0), torch.tensor(1.0)), {"concentration1": (), "concentration0": ()}),
        (td.Dirichlet(torch.tensor([2.0, 1.0])), {"concentration": (2,)}),
        (td.MultivariateNormal(torch.zeros(2), torch.eye(2)), {"loc": (2,), "covariance_matrix": (2, 2)}),
        (td.LogNormal(torch.zeros(3), torch.ones(3)), {"loc": (3,), "scale": (3,)}),
    ],
    ids=["gamma", "beta", "dirichlet", "multivariate", "log-normal"],
)
def test_any_q_has_gradients_for_all_its_parameters(q, shapes):
    def f(z):
        return z if z.ndim == 1 + len(q.batch_shape) else z.square().sum(-1)

    found = gradient_samples(pathwise, f, q, n=7)
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        name: (7, *shape) for name, shape in shapes.items()
    }
    assert all(each.isfinite().all() for each in found.values())


def test_gradients_are_independent_of_one_another():
    torch.manual_seed(0)
    found = gradient_samples(pathwise, lambda z: z**2, td.Normal(0.0, 1.0), n=10_000)["loc"]
    assert len(found.unique()) > 9_900
    correlation = torch.corrcoef(torch.stack([found[1:], found[:-1]]))[0, 1]
    assert abs(correlation) < 5 / math.sqrt(10_000)


def test_gradients_come_with_gradients_turned_off_and_leave_q_alone():
    mu = torch.tensor(0.5, requires_grad=True)
    q = td.Normal(mu, 1.0)
    with torch.no_grad():
        found = gradient_samples(pathwise, lambda z: z**2, q, n=4)
    assert found.keys() == {"loc", "scale"}
    assert not found["loc"].requires_grad
    assert mu.grad is None
    assert not q.scale.requires_grad


def test_only_what_is_asked_for_is_returned():
    found = gradient_samples(pathwise, lambda z: z**2, td.Normal(0.0, 1.0), n=4, of=["scale"])
    assert found.keys() == {"scale"}


def test_what_cannot_be_is_refused():
    q = td.Normal(0.0, 1.0)
    with pytest.raises(MisuseError, match=r"^n is 0, and should be at least 1"):
        gradient_samples(pathwise, lambda z: z, q, n=0)
    with pytest.raises(MisuseError, match=r"^Normal has no parameter 'rate'; it has loc, scale"):
        gradient_samples(pathwise, lambda z: z, q, n=2, of=["rate"])
    with pytest.raises(MisuseError, match=r"^No parameter of Normal is asked for; it has loc, scale"):
        gradient_samples(pathwise, lambda z: z, q, n=2, of=[])
    with pytest.raises(MisuseError, match=r"^f returned values of shape \(\) for points of shape"):
        gradient_samples(pathwise, lambda z: z.sum(), q, n=2)
    with pytest.raises(MisuseError, match=r"^There are 1 gradients of loc, and a variance needs at least 2"):
        summarize({"loc": torch.ones(1)}, Cost(evaluations=1))


def test_gradients_of_which_there_are_none_are_named():
    fixed = td.Uniform(torch.tensor(0.0), torch.tensor(1.0))

    def blind(f, q, *, samples=1):
        return f(q.sample((samples,))).mean(0)

    blind.unbiased, blind.needs, blind.cost = False, "nothing", lambda q, *, samples=1: Cost(evaluations=samples)
    with pytest.raises(MisuseError, match=r"^The estimator gives no gradient of low, high"):
        gradient_samples(blind, lambda z: z, fixed, n=2)

    def half(f, q, *, samples=1):
        return f(q.loc + torch.randn(samples, *q.batch_shape)).mean(0)

    half.unbiased, half.needs, half.cost = blind.unbiased, blind.needs, blind.cost
    with pytest.raises(MisuseError, match=r"^The estimator gives scale no gradient: name the others in of"):
        gradient_samples(half, lambda z: z, td.Normal(0.0, 1.0), n=2)


def test_the_standard_error_covers_the_truth_as_often_as_it_should():
    """In 400 repetitions of 200 gradients, the truth lies within two standard errors in about 95 %."""
    torch.manual_seed(0)
    found = gradient_samples(score_function, lambda z: (1.3 * z) ** 2, td.Normal(0.7, 1.0), n=400 * 200, of=["loc"])
    inside = 0
    for part in found["loc"].reshape(400, 200):
        summary = summarize({"loc": part}, Cost(evaluations=1))["loc"]
        inside += bool((summary.mean - 2 * 1.69 * 0.7).abs() < 1.972 * summary.standard_error)
    share, error = inside / 400, math.sqrt(0.95 * 0.05 / 400)
    assert abs(share - 0.95) < 4 * error


def test_work_counts_evaluations_and_gradients():
    gradients = {"loc": torch.tensor([[1.0, 2.0], [3.0, 2.0]])}
    summary = summarize(gradients, Cost(evaluations=3, gradients=2))["loc"]
    assert summary.variance.tolist() == [2, 0]
    assert summary.work.tolist() == [10, 0]
    assert summary.standard_error.tolist() == [1, 0]


def test_a_difference_of_many_parameters_is_one_call():
    calls = []

    def f(z):
        calls.append(len(z))
        return z.square().sum(-1)

    q = td.Independent(td.Normal(torch.zeros(3), torch.ones(3)), 1)
    gradient_samples(finite_difference, f, q, n=4)
    assert calls == [2 * 6 * 4]
