"""Baselines: what each subtracts, that it depends on no sample it is subtracted at, and what is refused."""

import math

import pytest
import torch
import torch.distributions as td

from arzhang.baselines import leave_one_out, mean, moving_average, neural, optimal
from arzhang.estimators import score_function
from arzhang.gradients import gradient_samples
from arzhang.types import Baseline, Drawn, MisuseError


def drawn(values, q=None, apart=None, apart_values=None):
    values = torch.as_tensor(values)
    none = values[:0]
    return Drawn(
        q=q or td.Normal(torch.zeros(values.shape[1:]), torch.ones(values.shape[1:])),
        values=values,
        apart=none if apart is None else apart,
        apart_values=none if apart_values is None else apart_values,
    )


def never(_):
    pytest.fail("f was called")


def normal(mu=0.7):
    return td.Normal(torch.tensor(mu, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))


def test_leaving_one_out_is_the_mean_of_the_others():
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found = leave_one_out(drawn(values))
    for i in range(5):
        torch.testing.assert_close(found[i], values[[j for j in range(5) if j != i]].mean(0))


def test_leaving_one_out_of_one_sample_is_refused():
    mu = torch.tensor(0.0, requires_grad=True)
    with pytest.raises(MisuseError, match=r"^leave_one_out has 1 sample, and needs at least 2"):
        score_function(never, td.Normal(mu, 1.0), baseline=leave_one_out)
    with pytest.raises(MisuseError, match=r"^leave_one_out has 1 sample, and needs at least 2"):
        leave_one_out(drawn([1.0]))


def test_the_mean_is_of_the_points_apart_alone():
    baseline = mean.Config(samples=2).build()
    assert baseline.apart == 2
    found = baseline(drawn([9.0], apart=torch.zeros(2), apart_values=torch.tensor([1.0, 4.0])))
    assert found == 2.5


@pytest.mark.parametrize("q", [td.Normal, td.Gumbel], ids=["normal", "gumbel"])
def test_the_optimal_baseline_weighs_by_the_squared_score_of_what_learns(q):
    """Of N(0, 1) the score for loc is z and for scale z^2 - 1."""
    points = torch.tensor([[0.5], [-1.0], [2.0]])
    values = torch.tensor([[3.0], [1.0], [-2.0]])
    loc, scale = torch.zeros(1, requires_grad=True), torch.ones(1)
    of = q(loc, scale)
    found = optimal.Config(samples=3).build()(drawn(values[:1], of, points, values))
    leaves = torch.zeros(3, 1, requires_grad=True)
    (scores,) = torch.autograd.grad(q(leaves, scale).log_prob(points).sum(), leaves)
    torch.testing.assert_close(found, (scores**2 * values).sum(0) / (scores**2).sum(0))
    if q is td.Normal:
        both = drawn(values[:1], q(loc, scale.requires_grad_()), points, values)
        weights = points**2 + (points**2 - 1) ** 2
        torch.testing.assert_close(optimal.Config(samples=3).build()(both), (weights * values).sum(0) / weights.sum(0))


def test_the_optimal_baseline_of_a_q_that_is_certain_is_the_mean():
    logits = torch.tensor([200.0, 0.0], requires_grad=True)
    points, values = torch.ones(2, 2), torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    found = optimal.Config(samples=2).build()(drawn(values[:1], td.Bernoulli(logits=logits), points, values))
    assert found.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("module", [mean, optimal])
def test_points_apart_are_evaluated_in_the_same_call(module):
    calls = []

    def f(z):
        calls.append(z.shape)
        return z**2

    mu = torch.zeros(4, requires_grad=True)
    q = td.Normal(mu, torch.ones(4))
    baseline = module.Config(samples=5).build()
    value = score_function(f, q, samples=3, baseline=baseline)
    assert calls == [(8, 4)]
    assert torch.autograd.grad(value.sum(), mu)[0].isfinite().all()
    with torch.no_grad():
        score_function(f, q, samples=3, baseline=baseline)
    score_function(f, td.Normal(torch.zeros(4), torch.ones(4)), samples=3, baseline=baseline)
    assert calls[1:] == [(3, 4), (3, 4)]  # nobody wants a gradient, and no baseline is asked


def test_a_moving_average_returns_what_it_was_and_follows_the_mean():
    baseline = moving_average.Config(decay=0.9).build()
    expected = 0.0
    for call in range(30):
        values = torch.tensor([[float(call), 2.0], [5.0, -1.0]])
        assert baseline(drawn(values)).item() == pytest.approx(expected, rel=1e-5)
        weight = max(0.1, 1 / (call + 1))  # a plain mean at first
        expected += weight * (values.mean().item() - expected)
    assert baseline.average.item() == pytest.approx(expected, rel=1e-5)


def test_what_a_moving_average_returned_does_not_change_later():
    baseline = moving_average.Config().build()
    baseline(drawn([4.0]))
    before = baseline(drawn([8.0]))
    baseline(drawn([100.0]))
    assert before == 4


def test_a_moving_average_learns_in_training_with_gradients_from_finite_means_only():
    baseline = moving_average.Config().build()
    baseline(drawn([4.0]))
    baseline(drawn([math.inf]))
    with torch.no_grad():
        baseline(drawn([7.0]))
    baseline.eval()(drawn([7.0]))
    assert baseline.average == 4
    assert baseline.seen == 1
    baseline.train()(drawn([6.0]))
    assert baseline.average == 5


def test_a_moving_average_goes_on_from_where_it_was_saved():
    one, other = moving_average.Config().build(), moving_average.Config().build()
    for value in (1.0, 5.0, 2.0):
        one(drawn([value]))
    other.load_state_dict(one.state_dict())
    assert one(drawn([0.0])) == other(drawn([0.0]))
    assert one(drawn([0.0])) == other(drawn([0.0]))


def test_a_moving_average_in_float32_takes_values_in_float64():
    mu = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    baseline = moving_average.Config().build()
    for _ in range(2):
        value = score_function(lambda z: z**2 + 3, td.Normal(mu, 1.0), baseline=baseline)
        assert value.dtype == torch.float64
    assert baseline.average > 3


def test_a_neural_baseline_learns_f_of_each_element_whatever_the_sign_of_the_loss():
    """E z^2 = loc^2 + 1, which the network has to find from loc."""
    for sign in (1, -1):
        torch.manual_seed(0)
        baseline = neural.Config(width=32).build(inputs=2)
        optimiser = torch.optim.Adam(baseline.parameters(), lr=3e-2)
        for _ in range(80):
            loc = (4 * torch.rand(128) - 2).requires_grad_()
            q = td.Normal(loc, torch.ones(128))
            value = score_function(lambda z: z**2, q, samples=4, baseline=baseline)
            optimiser.zero_grad()
            (sign * 1e-3 * value.mean()).backward()
            optimiser.step()
        loc = torch.linspace(-2, 2, 128, requires_grad=True)
        q = td.Normal(loc, torch.ones(128))
        missed = baseline(drawn(torch.zeros(1, 128), q)) - (loc**2 + 1)
        assert missed.square().mean() < 0.3  # where the best constant is off by 1.4


def test_a_neural_baseline_in_evaluation_mode_does_not_learn():
    baseline = neural.Config(width=4).build(inputs=2).eval()
    mu = torch.zeros(3, requires_grad=True)
    score_function(lambda z: z**2, td.Normal(mu, torch.ones(3)), baseline=baseline).sum().backward()
    assert mu.grad is not None
    assert all(each.grad is None for each in baseline.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_neural_baseline_takes_any_precision_and_infinite_values(dtype):
    baseline = neural.Config(width=4).build(inputs=6)
    loc = torch.zeros(5, 3, dtype=dtype, requires_grad=True)
    q = td.Independent(td.Normal(loc, torch.ones(5, 3, dtype=dtype)), 1)
    weights = torch.tensor([1.0, 2.0, math.inf, 0.0, 1.0], dtype=dtype)
    value = score_function(lambda z: (z.sum(-1) > 9).to(z) + weights, q, baseline=baseline)
    value.sum().backward()
    assert value.dtype == dtype
    assert all(each.grad.isfinite().all() for each in baseline.parameters())


def test_a_neural_baseline_leaves_the_gradient_unbiased():
    torch.manual_seed(0)
    baseline = neural.Config(width=8).build(inputs=2).double()
    estimator = score_function.given(baseline=baseline)
    found = gradient_samples(estimator, lambda z: z**3, normal(), n=20_000, of=["loc"])["loc"]
    assert found.mean().item() == pytest.approx(3 * (0.49 + 1), abs=5 * found.std().item() / math.sqrt(20_000))


def test_a_given_baseline_learns_nothing():
    """A tensor is what it is: the gradient for it, were there one, would be minus the score."""
    given = torch.tensor(2.0, requires_grad=True)
    mu = torch.zeros(3, requires_grad=True)
    value = score_function(lambda z: z**2, td.Normal(mu, torch.ones(3)), baseline=given)
    assert torch.autograd.grad(value.sum(), (mu, given), allow_unused=True)[1] is None


@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (2, 3)])
def test_a_given_baseline_is_for_everything_an_element_or_a_sample(shape):
    mu = torch.zeros(3, requires_grad=True)
    q = td.Normal(mu, torch.ones(3))
    torch.manual_seed(0)
    (found,) = torch.autograd.grad(
        score_function(lambda z: torch.full_like(z, 2.0), q, samples=2, baseline=torch.full(shape, 2.0)).sum(), mu
    )
    assert found.tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(2,), (4, 3), (1, 2, 3)])
def test_a_given_baseline_that_does_not_fit_is_refused_before_f_is_called(shape):
    q = td.Normal(torch.zeros(3, requires_grad=True), torch.ones(3))
    with pytest.raises(MisuseError, match=r"^The baseline has the shape .*, and should fit the values, \(2, 3\)"):
        score_function(never, q, samples=2, baseline=torch.zeros(shape))


def test_what_is_no_baseline_is_refused_before_f_is_called():
    """A Config that nobody built, above all."""
    q = td.Normal(torch.tensor(0.0, requires_grad=True), 1.0)
    for baseline, kind in ((mean.Config(), "Config"), (moving_average, "module"), (0.5, "float")):
        with pytest.raises(MisuseError, match=rf"^The baseline is a {kind}, and should be a tensor"):
            score_function.function.__wrapped__(never, q, baseline=baseline)  # as outside of tests, by types unchecked


def test_the_optimal_baseline_refuses_a_q_without_scores_before_f_is_called():
    learnt = torch.tensor(1.5, requires_grad=True)
    score = score_function.given(baseline=optimal.Config().build())
    with pytest.raises(MisuseError, match=r"^The optimal baseline .* of RelaxedBernoulli none of probs requires"):
        score(never, td.RelaxedBernoulli(learnt, probs=torch.tensor(0.3)))
    scaled = td.TransformedDistribution(td.Normal(0.0, 1.0), [td.AffineTransform(0.0, learnt)])
    with pytest.raises(MisuseError, match=r"^A transform of TransformedDistribution\(Normal\) has something to learn"):
        score(never, scaled)


def test_bad_options_are_refused():
    for module in (mean, optimal):
        with pytest.raises(MisuseError, match=r"^The baseline's number of samples is 0, and should be at least 1"):
            module.Config(samples=0).build()
    for decay in (-0.1, 1.0, math.nan):
        with pytest.raises(MisuseError, match=r"^The decay is .*, and should be from 0 to below 1"):
            moving_average.Config(decay=decay).build()
    for options in ({"width": 0}, {"layers": 0}):
        with pytest.raises(MisuseError, match=r"^The baseline has . layers of width"):
            neural.Config(**options).build(inputs=1)
    q = td.Normal(torch.tensor(0.0, requires_grad=True), 1.0)
    with pytest.raises(MisuseError, match=r"^Normal has 2 numbers .* built for 3: build it with inputs=2"):
        score_function(never, q, baseline=neural.Config().build(inputs=3))


def test_every_baseline_meets_the_contract():
    made = [mean.Config().build(), optimal.Config().build(), moving_average.Config().build(), leave_one_out]
    made.append(neural.Config().build(inputs=2))
    assert all(isinstance(each, Baseline) for each in made)
    for baseline in made:
        mu = torch.zeros((), requires_grad=True)  # a batch of no dimensions
        value = score_function(lambda z: z**2, td.Normal(mu, 1.0), samples=4, baseline=baseline)
        assert value.shape == ()
        assert torch.autograd.grad(value, mu)[0].isfinite()
        empty = torch.zeros(0, requires_grad=True)
        value = score_function(lambda z: z**2, td.Normal(empty, torch.ones(0)), samples=4, baseline=baseline)
        assert value.shape == (0,)
        assert torch.autograd.grad(value.sum(), empty)[0].shape == (0,)
    none = torch.zeros(0, 3, requires_grad=True)
    score = score_function.given(baseline=optimal.Config().build())
    assert score(lambda z: z.sum(-1), td.Independent(td.Normal(none, torch.ones(0, 3)), 1), samples=2).shape == (0,)
