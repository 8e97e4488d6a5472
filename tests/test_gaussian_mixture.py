"""The Gaussian mixture: its density, its moments, and gradients through its samples."""

import pytest
import torch
from torch import distributions as td

from arzhang.distributions import (
    GaussianMixture,
    _pairs,
    common_batch,
    components_of,
    log_overlap,
    parameters_of,
    with_parameters,
)
from arzhang.types import MisuseError

DOUBLE = torch.float64
K, D = 3, 2


def ingredients(batch=(), seed=0):
    torch.manual_seed(seed)
    weights = torch.randn(*batch, K, dtype=DOUBLE).softmax(-1)
    tril = torch.eye(D, dtype=DOUBLE) + 0.4 * torch.randn(*batch, K, D, D, dtype=DOUBLE).tril(-1)
    scale = 0.5 + torch.rand(*batch, K, D, dtype=DOUBLE)
    return weights, torch.randn(*batch, K, D, dtype=DOUBLE), scale, tril * scale.unsqueeze(-1)


def spread(kind, scale, tril):
    return {"scale": scale, "scale_tril": tril, "covariance_matrix": tril @ tril.mT}[kind]


def torchs(weights, loc, kind, scale, tril):
    """The same mixture, as torch has it."""
    components = td.MultivariateNormal(loc, scale_tril=tril)
    if kind == "scale":
        components = td.Independent(td.Normal(loc, scale), 1)
    return td.MixtureSameFamily(td.Categorical(weights), components)


KINDS = pytest.mark.parametrize("kind", ["scale", "scale_tril", "covariance_matrix"])


@KINDS
@pytest.mark.parametrize("batch", [(), (4,), (4, 5)])
@pytest.mark.parametrize("given", ["weights", "logits"])
def test_density_and_moments_are_those_of_torch(kind, batch, given):
    weights, loc, scale, tril = ingredients(batch)
    chosen = weights if given == "weights" else weights.log() + 3
    q = GaussianMixture(**{given: chosen}, loc=loc, **{kind: spread(kind, scale, tril)})
    expected = torchs(weights, loc, kind, scale, tril)
    assert (q.batch_shape, q.event_shape) == (batch, (D,))
    points = 3 * torch.randn(7, *batch, D, dtype=DOUBLE)
    torch.testing.assert_close(q.log_prob(points), expected.log_prob(points))
    torch.testing.assert_close(q.log_prob(points[0]), expected.log_prob(points[0]))
    torch.testing.assert_close(q.mean, expected.mean)
    torch.testing.assert_close(q.variance, expected.variance)
    torch.testing.assert_close(q.weights, weights)
    torch.testing.assert_close(q.logits.softmax(-1), weights)
    torch.testing.assert_close(q.covariance_matrix, q.scale_tril @ q.scale_tril.mT)
    wide = q.expand((6, *batch))
    assert wide.batch_shape == (6, *batch)
    torch.testing.assert_close(wide.log_prob(points[0]), q.log_prob(points[0]).expand(6, *batch))


@KINDS
def test_its_parameters_are_those_it_was_given_and_may_be_stacked(kind):
    weights, loc, scale, tril = ingredients((4,))
    q = GaussianMixture(logits=weights.log()[0], loc=loc, **{kind: spread(kind, scale, tril)})
    assert q.covariance_matrix.shape == (4, K, D, D)  # which torch keeps from then on
    assert q.weights.shape == (4, K)
    assert set(parameters_of(q)) == {"logits", "loc", kind}
    stacked = {name: each.expand(5, *each.shape).clone().requires_grad_() for name, each in parameters_of(q).items()}
    again = with_parameters(q, stacked)
    assert again.batch_shape == (5, 4)
    torch.manual_seed(0)
    points = again.rsample((3,))
    gradients = torch.autograd.grad(points.sum(), tuple(stacked.values()))
    assert all(each.isfinite().all() for each in gradients)
    torch.testing.assert_close(again.log_prob(points)[:, 1], q.log_prob(points[:, 1]))


@KINDS
def test_samples_are_from_the_density(kind):
    weights, loc, scale, tril = ingredients((2,))
    q = GaussianMixture(weights=weights, loc=loc, **{kind: spread(kind, scale, tril)})
    n = 100_000
    points = q.sample((n,))
    assert points.shape == (n, 2, D)
    assert not points.requires_grad
    expected = torchs(weights, loc, kind, scale, tril)
    for statistic in (lambda x: x, torch.square, torch.sin, lambda x: x.prod(-1, keepdim=True)):
        ours, theirs = statistic(points), statistic(expected.sample((n,)))
        error = ((ours.var(0) + theirs.var(0)) / n).sqrt()
        assert ((ours.mean(0) - theirs.mean(0)).abs() < 5 * error).all()
    assert q.sample().shape == (2, D)
    assert q.sample((3, 4)).shape == (3, 4, 2, D)


def test_a_component_without_weight_is_never_drawn_and_has_no_part():
    loc = torch.tensor([[0.0], [1e3], [0.0], [1e3]])
    weights = torch.tensor([0.5, 0.0, 0.5, 0.0]).requires_grad_()
    q = GaussianMixture(weights=weights, loc=loc, scale=torch.ones(4, 1))
    assert q.sample((10_000,)).max() < 10
    value = q.log_prob(torch.tensor([0.3]))
    torch.testing.assert_close(value, td.Normal(0.0, 1.0).log_prob(torch.tensor(0.3)))
    value = value + log_overlap(q, q) + q.rsample((5,)).sum()
    (gradient,) = torch.autograd.grad(value, weights)
    assert gradient.isfinite().all()
    theirs = td.MixtureSameFamily(td.Categorical(weights.detach()), td.Independent(td.Normal(loc, 1.0), 1))
    torch.testing.assert_close(log_overlap(theirs, theirs), log_overlap(q, q).detach())


@KINDS
@pytest.mark.parametrize("given", ["weights", "logits"])
def test_gradients_through_samples_are_those_of_the_expectation(kind, given):
    weights, loc, scale, tril = ingredients()
    chosen = weights if given == "weights" else weights.log()
    copies, each = 300, 300
    parts = {given: chosen, "loc": loc, kind: spread(kind, scale, tril)}
    leaves = {name: part.expand(copies, *part.shape).clone().requires_grad_() for name, part in parts.items()}
    torch.manual_seed(1)
    points = GaussianMixture(**leaves).rsample((each,))

    def f(x, y):
        return x.sin() * y.square() + 0.5 * y + (x + 1).square()

    found = torch.autograd.grad(f(*points.unbind(-1)).mean(0).sum(), tuple(leaves.values()))
    exact_leaves = {name: part.clone().requires_grad_() for name, part in parts.items()}
    line = torch.arange(-9, 9, 0.1, dtype=DOUBLE)
    grid = torch.cartesian_prod(line, line)
    density = GaussianMixture(**exact_leaves).log_prob(grid).exp()
    expected = torch.autograd.grad((density * f(*grid.unbind(-1))).sum() * 0.01, tuple(exact_leaves.values()))
    for name, ours, exact in zip(parts, found, expected, strict=True):
        # Of a symmetric matrix either triangle may have it.
        one, other = ((each + each.mT if name == "covariance_matrix" else each) for each in (ours, exact))
        error = one.std(0) / copies**0.5
        assert ((one.mean(0) - other).abs() < 5 * error + 1e-9).all()


def test_one_component_is_reparameterized_as_any_gaussian():
    loc, scale = torch.randn(1, D, dtype=DOUBLE).requires_grad_(), torch.rand(1, D, dtype=DOUBLE).requires_grad_()
    points = GaussianMixture(logits=torch.zeros(1, dtype=DOUBLE), loc=loc, scale=scale).rsample((50,))
    weights = torch.randn(50, D, dtype=DOUBLE)
    of_loc, of_scale = torch.autograd.grad((weights * points).sum(), (loc, scale))
    torch.testing.assert_close(of_loc, weights.sum(0, keepdim=True))
    torch.testing.assert_close(of_scale, (weights * (points - loc) / scale).sum(0, keepdim=True))


def test_samples_far_in_the_tails_have_finite_gradients_in_float32():
    leaves = [torch.tensor([[0.0], [0.2]]), torch.tensor([[1.0], [0.05]]), torch.tensor([0.5, -0.5])]
    loc, scale, logits = (each.requires_grad_() for each in leaves)
    q = GaussianMixture(logits=logits, loc=loc, scale=scale)
    q.sample = lambda shape: torch.tensor([[-12.0], [12.0], [0.2]])  # where distribution functions are 0 or 1
    points = q.rsample((3,))
    gradients = torch.stack([torch.autograd.grad(point, loc, retain_graph=True)[0].sum() for point in points[:, 0]])
    torch.testing.assert_close(gradients, torch.ones(3), rtol=1e-4, atol=1e-4)  # all move with all means
    of_scale = torch.autograd.grad(points[1, 0], scale, retain_graph=True)[0]
    torch.testing.assert_close(of_scale, torch.tensor([[12.0], [0.0]]), rtol=1e-4, atol=1e-4)
    assert torch.autograd.grad(points.sum(), logits)[0].isfinite().all()


def test_samples_between_narrow_components_far_apart_have_their_gradients_in_float32():
    loc, scale = torch.tensor([[0.0, 0.0], [50.0, 50.0], [9.0, 9.0]]), torch.full((3, 2), 1e-3)
    weights = torch.tensor([0.5, 0.5, 0.0])
    leaves = [each.requires_grad_() for each in (weights, loc, scale)]
    torch.manual_seed(0)
    points = GaussianMixture(weights=weights, loc=loc, scale=scale).rsample((100,))
    of_weights, of_loc, of_scale = torch.autograd.grad(points.sum(), leaves)
    second = points[:, 0] > 25
    counts = torch.stack([(~second).sum(), second.sum(), torch.tensor(0)])
    torch.testing.assert_close(of_loc, counts.float().unsqueeze(-1).expand(3, 2), rtol=1e-4, atol=1e-4)
    assert of_scale[:2].isfinite().all()
    assert of_weights.isfinite().all()


def test_no_graph_is_made_where_no_gradient_is_wanted():
    q = GaussianMixture(logits=torch.zeros(2), loc=torch.zeros(2, 1), scale=torch.ones(2, 1))
    assert not q.rsample((3,)).requires_grad
    learning = GaussianMixture(logits=torch.zeros(2, requires_grad=True), loc=torch.zeros(2, 1), scale=torch.ones(2, 1))
    with torch.no_grad():
        assert not learning.rsample((3,)).requires_grad
    assert not learning.sample((3,)).requires_grad


def test_an_expanded_mixture_still_looks_at_what_it_is_asked():
    q = GaussianMixture(logits=torch.zeros(2), loc=torch.zeros(2, 1), scale=torch.ones(2, 1)).expand((5,))
    with pytest.raises(ValueError, match="right-most size of value"):
        q.log_prob(torch.zeros(5, 3))


def test_an_empty_batch_of_mixtures_works():
    q = GaussianMixture(logits=torch.zeros(0, 2), loc=torch.zeros(0, 2, 3), scale=torch.ones(2, 3))
    assert q.rsample((5,)).shape == (5, 0, 3)
    assert q.log_prob(torch.zeros(5, 1, 3)).shape == (5, 0)
    assert q.sample((0,)).shape == (0, 0, 3)


def test_densities_far_from_all_components_are_finite():
    q = GaussianMixture(logits=torch.zeros(2), loc=torch.zeros(2, 256), scale=torch.full((2, 256), 1e-2))
    point = torch.full((256,), 50.0, requires_grad=True)
    value = q.log_prob(point)
    assert value.isfinite()
    assert torch.autograd.grad(value, point)[0].isfinite().all()


# Pairs, in blocks


@pytest.mark.parametrize("points", [True, False], ids=["points", "Gaussians"])
@pytest.mark.parametrize(
    ("left", "right"), [((), ()), ((4,), ()), ((), (4,)), ((4,), (4,)), ((2, 3), (2, 1)), ((1, 3), (2, 1))]
)
def test_pairs_in_blocks_are_those_at_once_with_both_derivatives(monkeypatch, points, left, right):
    torch.manual_seed(0)
    x, m = torch.randn(*left, 7, 3, dtype=DOUBLE), torch.randn(*right, 5, 3, dtype=DOUBLE)
    s, t = 0.3 + torch.rand_like(x), 0.3 + torch.rand_like(m)
    leaves = [each.requires_grad_() for each in ((x, m, t) if points else (x, s, m, t))]

    def pairs(*parts):
        return _pairs.log_densities(parts[0], None, *parts[1:]) if points else _pairs.log_densities(*parts)

    found = []
    for block in (10**9, 200, 40, 2):
        monkeypatch.setattr(_pairs, "BLOCK", block)
        value = pairs(*leaves)
        first = torch.autograd.grad(value.sin().sum(), leaves)
        again = torch.autograd.grad(pairs(*leaves).sin().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(each.square().sum() for each in again), leaves)
        found.append([value, *first, *again, *second])
    for each in found[1:]:
        for one, other in zip(each, found[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    width = td.Normal(0.0, 1.0).scale if points else s.unsqueeze(-2)
    deviation = t.unsqueeze(-3) if points else torch.hypot(width, t.unsqueeze(-3))
    expected = td.Normal(m.unsqueeze(-3), deviation).log_prob(x.unsqueeze(-2)).sum(-1)
    torch.testing.assert_close(found[0][0], expected)


def test_the_precision_of_pairs_does_not_depend_on_their_number(monkeypatch):
    x, m = torch.full((6, 3), 1 / 3), torch.full((4, 3), 0.1, dtype=DOUBLE)
    few = _pairs.log_densities(x, None, m, m)
    monkeypatch.setattr(_pairs, "BLOCK", 10)
    torch.testing.assert_close(_pairs.log_densities(x, None, m, m), few)
    assert few.dtype == DOUBLE


@pytest.mark.parametrize("size", [1e-12, 1e-3, 1.0, 1e3, 1e12])
def test_products_of_variances_neither_overflow_nor_vanish_in_float32(monkeypatch, size):
    torch.manual_seed(0)
    x, m = size * torch.randn(2, 6, 17)
    s, t = size * (0.5 + torch.rand(2, 6, 17))
    whole = _pairs.log_densities(*(each.double() for each in (x, s, m, t)))
    monkeypatch.setattr(_pairs, "BLOCK", 100)
    torch.testing.assert_close(_pairs.log_densities(x, s, m, t).double(), whole, rtol=1e-5, atol=1e-4)


# What is a mixture


def test_components_are_seen_whatever_they_are_called():
    weights, loc, scale, tril = ingredients((4,))
    ours = GaussianMixture(weights=weights, loc=loc, scale=scale)
    theirs = torchs(weights, loc, "scale", scale, tril)
    for one, other in ((ours, theirs), (ours, td.Independent(theirs, 0))):
        for name in ("log_weights", "means", "scales"):
            torch.testing.assert_close(getattr(components_of(one), name), getattr(components_of(other), name))
    full = components_of(torchs(weights, loc, "scale_tril", scale, tril))
    torch.testing.assert_close(full.covariances, tril @ tril.mT)
    assert not full.diagonal
    nested = td.MixtureSameFamily(
        td.Categorical(weights[:, :2]),
        GaussianMixture(weights=weights[:2], loc=loc[:2], scale=scale[:2]).expand((4, 2)),
    )
    points = torch.randn(4, D, dtype=DOUBLE)
    seen = components_of(nested)
    again = GaussianMixture(logits=seen.log_weights, loc=seen.means, scale=seen.scales)
    torch.testing.assert_close(again.log_prob(points), nested.log_prob(points))
    shared = td.MixtureSameFamily(td.Categorical(weights[0]), td.Independent(td.Normal(loc, scale), 1))
    torch.testing.assert_close(components_of(shared).log_weights, weights[0].log().expand(4, K))
    picture = components_of(td.Independent(td.Normal(torch.zeros(5, 3, 2, 2), 1.0), 3))
    assert picture.means.shape == (5, 1, 12)
    for other in (td.Laplace(0.0, 1.0), td.LogNormal(0.0, 1.0), td.Poisson(torch.ones(2)), td.Independent(ours, 1)):
        assert components_of(other) is None


def test_weights_are_seen_alike_after_torch_has_kept_what_follows_from_them():
    components = td.Independent(td.Normal(torch.tensor([[0.0], [500.0]]), 1.0), 1)
    q = td.MixtureSameFamily(td.Categorical(logits=torch.tensor([-200.0, 0.0])), components)
    assert q.mean == 500
    assert components_of(q).log_weights.tolist() == [-200, 0]


def test_the_batch_of_a_comparison_is_that_of_broadcasting():
    line = td.Normal(torch.zeros(5, 1), 1.0)
    assert common_batch(line, td.Normal(torch.zeros(3), 1.0)) == (5, 3)
    with pytest.raises(
        MisuseError, match=r"^Normal has events of shape \(\) and Independent\(Normal\) of shape \(1,\)"
    ):
        common_batch(line, td.Independent(line, 1))
    with pytest.raises(MisuseError, match=r"^Normal has a batch of shape \(5, 1\) and Normal of shape \(4, 3\)"):
        common_batch(line, td.Normal(torch.zeros(4, 3), 1.0))


# Bad input

GOOD = {"weights": torch.tensor([0.5, 0.5]), "loc": torch.zeros(2, 2), "scale": torch.ones(2, 2)}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights": torch.tensor([0.5, 0.6])}, r"^The weights of a Gaussian mixture sum to 1\.1, not to 1: divide"),
        ({"weights": torch.tensor([1.5, -0.5])}, r"^The weights of a Gaussian mixture have a negative number"),
        (
            {"weights": torch.tensor([torch.nan, 0.5])},
            r"^The weights of a Gaussian mixture have a negative number or a",
        ),
        ({"weights": None, "logits": torch.tensor([torch.nan, 0.5])}, r"^The logits of a Gaussian mixture have a NaN"),
        ({"weights": None, "logits": torch.full((2,), -torch.inf)}, r"^All logits of a Gaussian mixture are minus inf"),
        (
            {"weights": None, "logits": torch.zeros(0), "loc": torch.zeros(0, 2), "scale": torch.ones(0, 2)},
            r"^A Gaussian mixture of no components",
        ),
        ({"loc": torch.full((2, 2), torch.inf)}, r"^The means of a Gaussian mixture have a NaN or an infinity"),
        (
            {"scale": torch.tensor([[1.0, 0.0], [1.0, 1.0]])},
            r"^The scale of a Gaussian mixture has 0 in it; it has to be",
        ),
        ({"scale": torch.tensor([[1.0, -2.0], [1.0, 1.0]])}, r"^The scale of a Gaussian mixture has -2 in it"),
        (
            {"scale": None, "scale_tril": torch.ones(2, 2, 2)},
            r"^The scale_tril of a Gaussian mixture is not a Cholesky",
        ),
        (
            {"scale": None, "covariance_matrix": torch.tensor([[1.0, 2.0], [2.0, 1.0]])},
            r"^A covariance of a Gaussian mixture is not positive definite",
        ),
        (
            {"loc": torch.zeros(3, 2)},
            r"^A Gaussian mixture of weights \(2,\), loc \(3, 2\) and scale \(2, 2\) cannot be",
        ),
        (
            {"loc": torch.zeros(2)},
            r"^A Gaussian mixture of weights \(2,\), loc \(2,\) and scale \(2, 2\) cannot be: give",
        ),
        (
            {"scale": None, "scale_tril": torch.ones(2, 2)[:1]},
            r"give \(\*batch, K\), .* \(\*batch, K, D, D\), which broad",
        ),
        ({"scale": None}, r"was given nothing of scale, scale_tril, covariance_matrix: give exactly one of them"),
        ({"logits": torch.zeros(2)}, r"was given logits and weights of logits, weights: give exactly one of them"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused_in_a_sentence(changes, sentence):
    given = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(MisuseError, match=sentence):
        GaussianMixture(**given)


def test_values_are_not_looked_at_where_that_is_asked_for():
    q = GaussianMixture(**{**GOOD, "weights": torch.tensor([1.0, 3.0])}, validate_args=False)
    torch.testing.assert_close(q.log_weights.exp(), torch.tensor([0.25, 0.75]))
