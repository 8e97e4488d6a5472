"""Gradients through discrete samples: no bias where none is claimed, the laws behind it, what is learnt and refused."""

import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.distributions as td

from arzhang.estimators import (
    _relaxed,
    disarm,
    exact,
    gumbel_softmax,
    rebar,
    relax,
    straight_through,
)
from arzhang.gradients import gradient_samples
from arzhang.study import discrete
from arzhang.types import Cost, Estimator, MisuseError

MIX = torch.tensor([[0.9, -1.3, 0.4], [0.2, 0.7, -0.8], [-1.1, 0.3, 0.5]], dtype=torch.float64)
LOGITS = torch.tensor([[0.3, -1.0, 2.0], [-0.5, 0.1, -1.5]], dtype=torch.float64)


def uneven(b):
    """A function without symmetry, of the last dimension."""
    mixed = torch.einsum("...i,ij,...j->...", b, MIX.to(b), b)
    return (mixed + 0.3).sin() * (1 + b[..., 0]) + 2 * b[..., 1] ** 3 - 4


def uneven_number(b):
    return (1.7 * b).exp() - 3


def coins(logits):
    return td.Independent(td.Bernoulli(logits=logits), 1)


def choices(logits):
    return td.OneHotCategorical(logits=logits)


def vectors(q):
    """All values of one event."""
    if "OneHot" in repr(q):
        return torch.eye(q.event_shape[-1])
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=q.event_shape.numel()))).reshape(-1, *q.event_shape)


def enumerated(f, make, parameter):
    """The gradient of E f, as a sum over all values."""
    given = parameter.clone().requires_grad_()
    q = make(given)
    points = vectors(q).to(given)
    points = points.reshape(-1, *[1] * len(q.batch_shape), *q.event_shape).expand(-1, *q.batch_shape, *q.event_shape)
    value = (f(points) * q.log_prob(points).exp()).sum(0)
    return value.detach(), torch.autograd.grad(value.sum(), given)[0]


def fresh(thing, seed=0, **options):
    """A control variate that is in no special place, and learns nothing."""
    torch.manual_seed(seed)
    made = thing.Config(**options).build().eval()
    for name, each in made.named_parameters():
        if name.startswith("out"):
            torch.nn.init.normal_(each)
        if name == "scale":
            each.data.fill_(0.6)
    return made


def drawn(estimator, f, make, parameter, *, n, samples):
    leaf = parameter.expand(n, *parameter.shape).clone().requires_grad_()
    value = estimator(f, make(leaf), samples=samples)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


RIGHT = {
    "disarm": (disarm, 1),
    "disarm of two": (disarm, 2),
    "rebar": (fresh(rebar), 1),
    "rebar of three": (fresh(rebar), 3),
    "relax": (fresh(relax, dimensions=3), 1),
    "relax of two": (fresh(relax, dimensions=3), 2),
    "relax, f at its points": (fresh(relax, dimensions=3, relaxed=False), 1),
}
ONE_HOT = {name: each for name, each in RIGHT.items() if "disarm" not in name}


def is_unbiased(estimator, samples, f, make, parameter, n=20_000):
    value, gradient = enumerated(f, make, parameter)
    torch.manual_seed(1)
    values, gradients = drawn(estimator, f, make, parameter, n=n, samples=samples)
    for found, right in ((values, value), (gradients, gradient)):
        error = found.std(0) / math.sqrt(n)
        assert ((found.mean(0) - right).abs() <= 4.5 * error + 1e-12).all()


@pytest.mark.parametrize("name", RIGHT)
def test_gradients_for_the_logits_of_coins_have_no_bias(name):
    is_unbiased(*RIGHT[name], uneven, coins, LOGITS)


@pytest.mark.parametrize("name", RIGHT)
def test_gradients_for_probabilities_in_single_precision_have_no_bias(name):
    probs = torch.tensor([[0.03, 0.5, 0.9]])
    is_unbiased(*RIGHT[name], uneven, lambda p: td.Independent(td.Bernoulli(probs=p), 1), probs)


@pytest.mark.parametrize("name", ONE_HOT)
@pytest.mark.parametrize("kind", ["logits", "probs"])
def test_gradients_for_a_one_hot_choice_have_no_bias(name, kind):
    parameter = LOGITS if kind == "logits" else torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]]).double()
    is_unbiased(*ONE_HOT[name], uneven, lambda each: td.OneHotCategorical(**{kind: each}), parameter)


def test_events_of_several_choices_and_of_several_dimensions_have_no_bias():
    pairs = partial(torch.Tensor.flatten, start_dim=-2)
    made = lambda each: td.Independent(td.Independent(td.Bernoulli(logits=each), 1), 1)  # noqa: E731

    def f(b):
        return uneven(pairs(b)[..., :3]) * (1 + pairs(b)[..., 3])

    logits = torch.tensor([[[0.2, -0.7], [1.1, 0.4]]], dtype=torch.float64)
    for estimator, samples in ((disarm, 1), (fresh(rebar), 1), (fresh(relax, dimensions=4), 2)):
        is_unbiased(estimator, samples, f, made, logits, n=20_000)
    two = torch.tensor([[0.2, -0.7, 1.1], [0.4, 0.9, -0.3]], dtype=torch.float64)
    right = torch.autograd.functional.jacobian(lambda each: exact(f, td.Independent(choices(each), 1)), two)
    for estimator, samples in ((fresh(rebar), 1), (fresh(relax, dimensions=6), 2)):
        torch.manual_seed(1)
        found = drawn(estimator, f, lambda each: td.Independent(choices(each), 1), two, n=20_000, samples=samples)[1]
        assert ((found.mean(0) - right).abs() <= 4.5 * found.std(0) / math.sqrt(len(found))).all()


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_any_batch_shape_will_do_and_samples_stand_in_front(shape):
    logits = torch.full(shape, 0.4, dtype=torch.float64)
    for estimator, samples in ((disarm, 1), (fresh(rebar), 1), (fresh(relax), 2)):
        is_unbiased(estimator, samples, uneven_number, lambda each: td.Bernoulli(logits=each), logits, n=10_000)


def test_the_biased_estimators_are_biased_and_less_so_when_colder():
    _, right = enumerated(uneven, coins, LOGITS)
    n, bias = 20_000, {}
    for name, estimator in {
        "warm": gumbel_softmax.given(temperature=1.0),
        "cold": gumbel_softmax.given(temperature=0.1),
        "through the mean": straight_through,
        "through the relaxed": straight_through.given(temperature=0.5),
    }.items():
        torch.manual_seed(0)
        gradients = drawn(estimator, uneven, coins, LOGITS, n=n, samples=1)[1]
        away = (gradients.mean(0) - right).abs()
        bias[name] = away.max().item()
        if name != "cold":
            assert (away / gradients.std(0)).max() * math.sqrt(n) > 20, name
    assert bias["cold"] < bias["warm"] / 2


def test_straight_through_has_the_value_of_discrete_samples_and_is_right_where_f_is_linear():
    slopes = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    values, gradients = drawn(straight_through, lambda b: b @ slopes, coins, LOGITS, n=50, samples=1)
    points = torch.tensor([0.0, 2, -1, 0.5, 1, 2.5, -0.5, 1.5]).double()
    assert torch.isin(values, points).all()
    p = LOGITS.sigmoid()
    torch.testing.assert_close(gradients, (p * (1 - p) * slopes).expand_as(gradients))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_what_is_relaxed_is_as_warm_as_it_says(temperature):
    """Of s = sigmoid(z / t) it is z = t logit(s) that is logistic, and ds / dz = s (1 - s) / t."""
    logit = torch.tensor(0.4, dtype=torch.float64)
    make = lambda each: td.Bernoulli(logits=each)  # noqa: E731
    torch.manual_seed(0)
    soft, slopes = drawn(gumbel_softmax.given(temperature=temperature), lambda b: b, make, logit, n=20_000, samples=1)
    uniform((temperature * soft.logit() - logit).sigmoid())
    torch.testing.assert_close(slopes, soft * (1 - soft) / temperature)
    through = straight_through.given(temperature=temperature)
    hard, found = drawn(through, lambda b: b, make, logit, n=20_000, samples=1)
    assert set(hard.tolist()) == {0.0, 1.0}
    assert found.mean().item() == pytest.approx(slopes.mean().item(), abs=5 * (2 / 20_000) ** 0.5 * found.std().item())


# The laws of what is rounded, and of that given how


def uniform(values):
    """The Kolmogorov-Smirnov distance of values from the uniform distribution is what chance makes it."""
    values = values.sort().values
    steps = torch.arange(1, len(values) + 1).double() / len(values)
    assert (values - steps).abs().max() * math.sqrt(len(values)) < 1.95  # once in a thousand


@pytest.mark.parametrize("logit", [-3.0, 0.4, 6.0])
@pytest.mark.parametrize("b", [0.0, 1.0])
def test_z_given_a_coin_is_logistic_on_its_side_of_zero(logit, b):
    torch.manual_seed(0)
    logits = torch.full((20_000,), logit, dtype=torch.float64)
    z = _relaxed.Coins.given(logits, torch.full_like(logits, b))
    assert torch.equal(_relaxed.Coins.hard(z), torch.full_like(logits, b))
    below, at_zero = (z - logits).sigmoid(), torch.sigmoid(-logits)
    uniform((below - at_zero) / (1 - at_zero) if b else below / at_zero)


def test_z_given_a_choice_has_that_choice_and_all_together_are_gumbel():
    torch.manual_seed(0)
    logits = torch.log_softmax(LOGITS, -1)[0].expand(20_000, 3)
    hard = _relaxed.Choices.hard(_relaxed.Choices.free(logits))
    torch.testing.assert_close(hard.mean(0), logits[0].exp(), atol=0.015, rtol=0)
    z = _relaxed.Choices.given(logits, hard)
    assert torch.equal(_relaxed.Choices.hard(z), hard)
    for each in (z - logits).T:
        uniform(torch.exp(-torch.exp(-each)))


# What is learnt


def objective(control, f, q, seed=0, samples=3):
    torch.manual_seed(seed)
    return control.variance(f, q, samples=samples)


@pytest.mark.parametrize("thing", [rebar, relax])
@pytest.mark.parametrize("make", [coins, choices])
def test_the_slope_of_what_is_lowered_is_that_of_the_squared_gradient(thing, make):
    control = fresh(thing, **({"dimensions": 3} if thing is relax else {})).double()
    q = make(LOGITS.clone().requires_grad_())
    value = objective(control, uneven, q)
    torch.manual_seed(0)
    leaf = LOGITS.clone().requires_grad_()
    estimate = control(uneven, make(leaf), samples=3)
    (gradient,) = torch.autograd.grad(estimate.sum(), leaf)
    torch.testing.assert_close(value, gradient.square().sum() / 2)
    slopes = torch.autograd.grad(value, tuple(control.parameters()))
    for each, slope in zip(control.parameters(), slopes, strict=True):
        (flat,) = (each.data.reshape(-1),)
        before, h = flat[0].item(), 1e-5
        flat[0] = before + h
        up = objective(control, uneven, q).item()
        flat[0] = before - h
        down = objective(control, uneven, q).item()
        flat[0] = before
        assert slope.reshape(-1)[0].item() == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("options", [None, {}, {"relaxed": False}])
def test_the_variance_falls_as_the_control_variate_learns(options):
    torch.manual_seed(0)
    control = rebar.Config(scale=0.0).build() if options is None else relax.Config(dimensions=3, **options).build()
    if options == {}:
        control.scale.data.fill_(0.0)
    variance = lambda: drawn(control.eval(), uneven, coins, LOGITS, n=4000, samples=1)[1].var(0).sum().item()  # noqa: E731
    before = variance()
    control.train()
    optimiser = torch.optim.Adam(control.parameters(), lr=0.05)
    for _ in range(80):
        optimiser.zero_grad()
        control(uneven, coins(LOGITS.expand(20, 2, 3).clone().requires_grad_())).sum().backward()
        optimiser.step()
    assert variance() < 0.6 * before


def test_the_network_of_relax_sees_the_logits():
    """One that looks at nothing else is a baseline: of f = 0 the gradient is -r (b - p)."""
    control = fresh(relax, dimensions=3, relaxed=False).double()
    control.hidden.weight.data[:, :3] = 0
    _, gradients = drawn(control, lambda b: 0 * b.sum(-1), coins, LOGITS, n=20, samples=1)
    r = control.out(torch.tanh(LOGITS @ control.hidden.weight[:, 3:].T + control.hidden.bias))
    b = LOGITS.sigmoid() - gradients / r
    torch.testing.assert_close(b, b.round())
    assert set(b.round().abs().flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("thing", [rebar, relax])
def test_in_training_the_lesson_comes_with_the_estimate_whatever_its_sign(thing):
    control = fresh(thing, **({"dimensions": 3} if thing is relax else {})).train()
    slopes = []
    for weight in (3.0, -1.0):
        torch.manual_seed(0)
        q = coins(LOGITS.clone().requires_grad_())
        (weight * control(uneven, q).sum()).backward()
        slopes.append([each.grad.clone() for each in control.parameters()])
        control.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(*slopes, strict=True))
    expected = torch.autograd.grad(objective(control, uneven, q, samples=1), tuple(control.parameters()))
    torch.testing.assert_close(tuple(slopes[0]), expected)


def test_in_evaluation_nothing_is_learnt_and_f_is_differentiated_once():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, b):
            return b.sum(-1)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return gradient[..., None].expand(*gradient.shape, 3)

    control = fresh(rebar)
    logits = LOGITS.clone().requires_grad_()
    control(Once.apply, coins(logits)).sum().backward()
    assert logits.grad.abs().sum() > 0
    assert all(each.grad is None for each in control.parameters())


def test_a_scale_of_zero_is_the_plain_score_function_and_has_a_slope():
    control = rebar.Config(scale=0.0).build().eval()
    logits = torch.tensor(0.4, dtype=torch.float64)
    make = lambda each: td.Bernoulli(logits=each)  # noqa: E731
    values, gradients = drawn(control, uneven_number, make, logits, n=100, samples=1)
    b = (values > -1.5).double()
    torch.testing.assert_close(gradients, uneven_number(b) * (b - logits.sigmoid()))
    assert torch.autograd.grad(objective(control, uneven_number, make(logits), samples=50), control.scale)[0] != 0


def test_the_variance_moves_neither_q_nor_f():
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    logits = LOGITS.clone().requires_grad_()
    control = fresh(relax, dimensions=3)
    control.variance(lambda b: weight * uneven(b), coins(logits)).backward()
    assert weight.grad is None
    assert logits.grad is None
    assert all(each.grad is not None for each in control.parameters())


# The contract

EVERY = {
    **{name: estimator for name, (estimator, samples) in RIGHT.items() if samples == 1},
    "gumbel_softmax": gumbel_softmax,
    "straight_through": straight_through,
}


@pytest.mark.parametrize("name", EVERY)
def test_all_evaluations_are_one_call_and_are_counted(name):
    estimator, calls, slopes = EVERY[name], [], []

    def f(b):
        calls.append(len(b))
        if b.requires_grad:
            b.register_hook(lambda slope: slopes.append((slope.flatten(1) != 0).any(1).sum().item()))
        return uneven(b)

    q = coins(LOGITS[0].clone().requires_grad_())
    assert isinstance(estimator, Estimator)
    cost = estimator.cost(q, samples=4)
    estimator(f, q, samples=4).backward()
    assert calls == [cost.evaluations]
    assert sum(slopes) == cost.gradients


def test_costs_are_as_the_pages_say():
    q = coins(LOGITS)
    assert disarm.cost(q, samples=3) == Cost(evaluations=6)
    assert disarm.cost(q) == Cost(evaluations=2)
    assert fresh(rebar).cost(q, samples=2) == Cost(evaluations=6, gradients=4)
    assert RIGHT["relax"][0].cost(q, samples=2) == Cost(evaluations=6, gradients=4)
    assert RIGHT["relax, f at its points"][0].cost(q, samples=5) == Cost(evaluations=5)
    assert gumbel_softmax.cost(q, samples=3) == straight_through.cost(q, samples=3) == Cost(evaluations=3, gradients=3)


@pytest.mark.parametrize("name", EVERY)
def test_what_f_learns_by_comes_from_the_samples_alone(name):
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    value = EVERY[name](lambda b: weight * uneven(b), coins(LOGITS[0].clone().requires_grad_()), samples=4)
    torch.testing.assert_close(torch.autograd.grad(value, weight)[0], value.detach() / 2)


@pytest.mark.parametrize("name", EVERY)
def test_without_gradients_the_value_is_returned_and_f_is_not_asked_for_more(name):
    calls = []

    def f(b):
        calls.append(len(b))
        return (b.sum(-1) > 1).double()

    with torch.no_grad():
        assert not EVERY[name](f, coins(LOGITS.clone().requires_grad_()), samples=4).requires_grad
    assert EVERY[name](f, coins(LOGITS), samples=4).shape == (2,)
    assert calls == [8, 8] if name == "disarm" else [4, 4]  # a pair is two points


@pytest.mark.parametrize("name", EVERY)
def test_an_empty_batch_has_an_empty_estimate(name):
    logits = torch.zeros(0, 3, requires_grad=True)
    value = EVERY[name](uneven, coins(logits), samples=2)
    assert value.shape == (0,)
    value.sum().backward()
    assert logits.grad.shape == (0, 3)


@pytest.mark.parametrize("name", EVERY)
def test_certain_coins_have_finite_gradients(name):
    for logits in (torch.tensor([300.0, -300.0, 0.2]), torch.tensor([math.inf, -math.inf, 0.2])):
        if "relax" in name and logits.isinf().any():
            continue  # a network is shown the logits
        leaf = logits.clone().requires_grad_()
        value = EVERY[name](uneven, coins(leaf), samples=2)
        assert value.isfinite()
        (gradient,) = torch.autograd.grad(value, leaf)
        assert gradient.isfinite().all()


def test_the_variance_of_one_pair_is_as_enumerated():
    p, n = 0.3, 100_000
    make = lambda each: td.Bernoulli(probs=each)  # noqa: E731
    torch.manual_seed(0)
    gradients = drawn(disarm, uneven_number, make, torch.tensor(p).double(), n=n, samples=1)[1] * p * (1 - p)
    step = math.exp(1.7) - 1
    right = (step * (1 - p)) ** 2 / 4 * 2 * p - (step * p * (1 - p)) ** 2  # the pair differs with 2 min(p, 1 - p)
    assert gradients.var().item() == pytest.approx(right, rel=0.02)


def refused(call, *, of=r"^"):
    calls = []

    def f(b):
        calls.append(1)
        return b.sum(-1)

    with pytest.raises(MisuseError, match=of):
        call(f)
    assert not calls


def test_what_is_not_discrete_or_not_of_this_kind_is_refused_before_f_is_called():
    for estimator in EVERY.values():
        for q in (td.Normal(LOGITS, 1.0), td.Poisson(LOGITS.exp()), td.Categorical(logits=LOGITS)):
            refused(lambda f, of=estimator, q=q: of(f, q, samples=2), of="it needs a Bernoulli")
    refused(lambda f: disarm(f, choices(LOGITS)), of="disarm cannot take a OneHotCategorical")


def test_no_samples_and_temperatures_that_are_none_are_refused():
    for estimator in (disarm, gumbel_softmax, straight_through, fresh(rebar), fresh(relax, dimensions=3)):
        refused(lambda f, of=estimator: of(f, coins(LOGITS), samples=0), of="number of samples is 0")
    for temperature in (0.0, -1.0, math.inf, math.nan):
        for of in (gumbel_softmax, straight_through):
            refused(lambda f, t=temperature, of=of: of(f, coins(LOGITS), temperature=t), of=f"{of.__name__} .* above 0")
        for thing in (rebar, relax):
            with pytest.raises(MisuseError, match=r"temperature of .* above 0"):
                thing.Config(temperature=temperature).build()


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_a_scale_that_is_no_number_is_refused(scale):
    with pytest.raises(MisuseError, match=r"^rebar was given a scale of (nan|inf); it should be a finite number"):
        rebar.Config(scale=scale).build()


def test_sizes_of_the_network_are_checked():
    refused(lambda f: relax.Config().build()(f, coins(LOGITS)), of="made for events of 1 numbers.*dimensions=3")
    for sizes in ({"dimensions": 0}, {"width": 0}):
        with pytest.raises(MisuseError, match="both should be at least 1"):
            relax.Config(**sizes).build()


@pytest.mark.parametrize("name", ["rebar", "relax", "gumbel_softmax", "straight_through"])
@pytest.mark.parametrize("own", [False, True])
def test_a_function_that_steps_is_refused_where_its_slope_is_needed(name, own):
    weight = torch.ones((), requires_grad=own)
    with pytest.raises(MisuseError, match="does not depend differentiably"):
        EVERY[name](lambda b: weight * (b.sum(-1) > 1).double(), coins(LOGITS.clone().requires_grad_()))


def test_a_control_variate_does_not_learn_without_gradients():
    with torch.no_grad(), pytest.raises(MisuseError, match="no_grad turns them off"):
        fresh(rebar).variance(uneven, coins(LOGITS))


def test_gradient_samples_take_them_all():
    q = coins(LOGITS.clone().requires_grad_())
    for estimator in (disarm, fresh(rebar), fresh(relax, dimensions=3).train(), straight_through):
        assert gradient_samples(estimator, uneven, q, n=7, samples=2)["logits"].shape == (7, 2, 3)


# The laboratory

QUICK = discrete.Config(steps=10, looks=2, draws=40, seeds=2, batch=20, latents=6, rate=0.02)


@pytest.fixture(scope="module")
def quick():
    return discrete.run(QUICK)


def test_the_laboratory_has_a_row_for_each_method_and_its_cost(quick):
    rows = {row["method"]: row for row in quick.rows() if "method" in row}
    assert list(rows) == list(discrete.METHODS)
    assert [row["evaluations"] for row in rows.values()] == [2, 2, 6, 6, 6, 6]
    assert [row["gradients"] for row in rows.values()] == [0, 0, 4, 4, 0, 0]
    assert rows["leave-one-out"]["relative"] == 1
    for row in rows.values():
        assert row["low"] <= row["relative"] <= row["high"]
        assert row["variance"] > 0


def test_the_laboratory_is_the_same_again_and_leaves_the_generator_alone(quick):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    seen = []
    first = replace(QUICK, seeds=1)
    again = discrete.run(first, track=lambda items: (seen.append(item) or item for item in items))
    for of in ("variance", "bound"):
        for name, found in getattr(again, of).items():
            assert torch.equal(found, getattr(quick, of)[name][:1]), name
    assert torch.equal(torch.get_rng_state(), state)
    assert len(seen) == first.steps + 1


def test_the_autoencoder_learns(quick):
    before, after = (row for row in quick.rows() if "step" in row)
    assert (before["step"], after["step"]) == (0, QUICK.steps)
    assert after["held_out"] > before["held_out"] + 1
    for bound in quick.bound.values():
        assert (bound[:, -1] > bound[:, 0] + 1).all()


def test_variances_are_of_the_mean_over_samples(quick):
    ratio = quick.variance["disarm (6)"] / quick.variance["disarm"]
    assert ratio.mean().item() == pytest.approx(1 / 3, rel=0.35)


def test_the_figure_names_all_methods_and_units(quick):
    (figure,) = quick.figures().values()
    left, right = figure.axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == list(discrete.LOOKS)
    assert "nats" in right.get_ylabel()
    assert "step" in left.get_xlabel()


def test_one_seed_has_no_interval():
    result = discrete.run(discrete.Config(steps=2, looks=1, draws=4, seeds=1, batch=4, latents=3, networks="nonlinear"))
    assert all(row["low"] is None and row["high"] is None for row in result.rows() if "method" in row)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps is 0, and should be at least 1"),
        ({"draws": 1}, "draws is 1, and should be at least 2"),
        ({"looks": 9, "steps": 5}, "9 looks at a training of 5 steps"),
        ({"rate": 0.0}, "rate is 0, and should be above 0"),
    ],
)
def test_the_laboratory_refuses_what_it_cannot_do(wrong, said):
    with pytest.raises(MisuseError, match=said):
        discrete.run(discrete.Config(**wrong))


@pytest.mark.slow  # minutes
@pytest.mark.parametrize("networks", ["linear", "nonlinear"])
def test_estimators_rank_as_published(networks):
    result = discrete.run(discrete.Config(networks=networks))
    at = {method: result.relative(method) for method in discrete.METHODS}
    for method in ("disarm", "rebar", "relax"):
        assert at[method][1][1] < 1, method
    if networks == "linear":
        assert at["rebar"][1][1] < at["disarm"][0]
        assert at["relax"][1][1] < at["disarm"][0]
    for bound in result.bound.values():
        assert (bound[:, -1] > bound[:, 0] + 20).all()
