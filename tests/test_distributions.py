"""What a distribution's parameters are."""

import pytest
import torch
from torch import distributions as td
from torch.distributions import transforms as tt

from arzhang.distributions import parameters_of, with_parameters
from arzhang.types import MisuseError

HALF = torch.full((3,), 0.5)
EYE = torch.eye(3)


def every():
    """One of every kind of distribution that torch has."""
    yield td.Bernoulli(probs=HALF)
    yield td.Bernoulli(logits=HALF)
    yield td.Beta(HALF, HALF)
    yield td.Binomial(torch.tensor([3, 5, 7]), probs=HALF)
    yield td.Categorical(logits=HALF)
    yield td.Cauchy(HALF, HALF)
    yield td.Chi2(HALF)
    yield td.ContinuousBernoulli(logits=HALF)
    yield td.Dirichlet(HALF)
    yield td.Exponential(HALF)
    yield td.FisherSnedecor(HALF, HALF)
    yield td.Gamma(HALF, HALF)
    yield td.GeneralizedPareto(HALF, HALF, HALF)
    yield td.Geometric(probs=HALF)
    yield td.Geometric(logits=HALF)
    yield td.Gumbel(HALF, HALF)
    yield td.HalfCauchy(HALF)
    yield td.HalfNormal(HALF)
    yield td.InverseGamma(HALF, HALF)
    yield td.Kumaraswamy(HALF, HALF)
    yield td.LKJCholesky(3, HALF)
    yield td.Laplace(HALF, HALF)
    yield td.LogNormal(HALF, HALF)
    yield td.LogisticNormal(HALF, HALF)
    yield td.LowRankMultivariateNormal(HALF, EYE[:, :1], HALF)
    yield td.Multinomial(7, logits=HALF)
    yield td.MultivariateNormal(HALF, covariance_matrix=EYE)
    yield td.MultivariateNormal(HALF, precision_matrix=EYE)
    yield td.MultivariateNormal(HALF, scale_tril=EYE)
    yield td.NegativeBinomial(torch.tensor(4.0), logits=HALF)
    yield td.Normal(HALF, HALF)
    yield td.OneHotCategorical(probs=HALF)
    yield td.OneHotCategoricalStraightThrough(logits=HALF)
    yield td.Pareto(HALF, HALF)
    yield td.Poisson(HALF)
    yield td.RelaxedBernoulli(torch.tensor(0.7), logits=HALF)
    yield td.RelaxedOneHotCategorical(torch.tensor(0.7), probs=HALF)
    yield td.StudentT(HALF, HALF, HALF)
    yield td.Uniform(HALF, 2 * HALF)
    yield td.VonMises(HALF, HALF)
    yield td.Weibull(HALF, HALF)
    yield td.Wishart(torch.tensor(9.0), covariance_matrix=EYE)
    yield td.Independent(td.Gamma(HALF, HALF), 1)
    yield td.MixtureSameFamily(td.Categorical(logits=HALF), td.Normal(HALF, HALF))
    yield td.TransformedDistribution(td.Normal(HALF, HALF), [tt.ExpTransform(), tt.AffineTransform(1, 2)])


# torch asks Wishart's samples whether they are singular, and warns of what is not.
pytestmark = pytest.mark.filterwarnings("ignore:Singular sample")
EACH = pytest.mark.parametrize("q", list(every()), ids=lambda q: repr(q)[:60])


@EACH
def test_a_distribution_is_made_anew_from_its_parameters(q):
    if q.has_rsample or q.support is not None:
        torch.manual_seed(0)
        points = q.sample()
    for _ in range(2):  # once more after torch has kept what follows from the parameters
        again = with_parameters(q, {name: each.clone() for name, each in parameters_of(q).items()})
        assert type(again) is type(q)
        assert (again.batch_shape, again.event_shape) == (q.batch_shape, q.event_shape)
        torch.testing.assert_close(again.log_prob(points), q.log_prob(points))


@EACH
def test_parameters_may_have_more_dimensions_in_front(q):
    stacked = {name: each.expand(5, *each.shape) for name, each in parameters_of(q).items()}
    again = with_parameters(q, stacked)
    assert (again.batch_shape, again.event_shape) == ((5, *q.batch_shape), q.event_shape)
    torch.manual_seed(0)
    points = q.sample()
    torch.testing.assert_close(again.log_prob(points)[3], q.log_prob(points))


def test_parameters_are_those_that_were_given_even_after_others_were_computed():
    logits = torch.zeros(3, requires_grad=True)
    for kind in (td.Bernoulli, td.Geometric, td.Categorical):
        q = kind(logits=logits)
        assert list(parameters_of(q)) == ["logits"]
        assert q.probs is not None
        assert list(parameters_of(q)) == ["logits"]


def test_what_a_transform_learns_is_refused_rather_than_forgotten():
    shift = torch.zeros(3, requires_grad=True)
    q = td.TransformedDistribution(td.Normal(HALF, HALF), [tt.ComposeTransform([tt.AffineTransform(shift, 2.0)])])
    with pytest.raises(MisuseError, match=r"^A transform of TransformedDistribution\(Normal\) has something to learn"):
        parameters_of(q)


def test_a_distribution_that_cannot_be_made_anew_is_named():
    class Odd(td.Normal):
        def __init__(self, loc, scale, temper):
            super().__init__(loc, scale)

    with pytest.raises(MisuseError, match=r"^A Odd cannot be made anew from loc, scale: "):
        with_parameters(Odd(HALF, HALF, 3), {"loc": HALF, "scale": HALF})
