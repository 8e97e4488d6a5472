"""Objectives, on models of which everything is known: z ~ N(0, 1), x given z ~ N(2z, 1), and mixtures for a prior."""

import math
from dataclasses import fields, replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from scipy import integrate
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Distribution,
    Independent,
    LogNormal,
    Normal,
    TransformedDistribution,
    Uniform,
    constraints,
)
from torch.distributions.transforms import Transform

from arzhang import plugins
from arzhang.distributions import GaussianMixture
from arzhang.divergences import cauchy_schwarz, kl
from arzhang.objectives import Report, Variational, importance_weighted, log_likelihood
from arzhang.types import Estimated, MisuseError

ONE = torch.ones(1, dtype=torch.float64)
LOG_P = -0.5 * math.log(2 * math.pi * 5) - 0.1  # log N(1; 0, 5)
CONTINUOUS = {"antithetic", "finite_difference", "measure_valued", "pathwise", "taylor"}
DISCRETE = {"disarm", "exact", "gumbel_softmax", "rebar", "relax", "straight_through"}


def normal(mean, scale):
    return Independent(Normal(mean, scale), 1)


def decoder(z):
    return normal(2 * z, ONE.to(z.dtype))


def seen(count):
    return ONE.expand(count, 1)


def encoder(count, mean=0.3, scale=0.5):
    return normal(mean * seen(count), scale * seen(count))


def two():
    return GaussianMixture(
        weights=torch.tensor([0.3, 0.7], dtype=torch.float64),
        loc=torch.tensor([[-1.0], [1.5]], dtype=torch.float64),
        scale=torch.tensor([[0.5], [0.8]], dtype=torch.float64),
    )


PRIORS = {"gaussian": normal(0 * ONE, ONE), "mixture": two()}


def exact(prior, *, mean=0.3, scale=0.5, x=1.0):
    """What a report should say of one x, by quadrature."""

    def point(z):
        return torch.tensor([z], dtype=torch.float64)

    def log_q(z):
        return -0.5 * ((z - mean) / scale) ** 2 - math.log(scale * math.sqrt(2 * math.pi))

    def log_p_x(z):
        return -0.5 * (x - 2 * z) ** 2 - 0.5 * math.log(2 * math.pi)

    def log_prior(z):
        return prior.log_prob(point(z)).item()

    def over_q(f):
        return integrate.quad(
            lambda z: math.exp(log_q(z)) * f(z), mean - 12 * scale, mean + 12 * scale, epsabs=1e-11, limit=200
        )[0]

    evidence = integrate.quad(lambda z: math.exp(log_p_x(z) + log_prior(z)), -15, 15, epsabs=1e-12, limit=200)[0]
    found = SimpleNamespace(
        log_likelihood=math.log(evidence),
        reconstruction=over_q(log_p_x),
        prior_kl=over_q(lambda z: log_q(z) - log_prior(z)),
        cauchy_schwarz=cauchy_schwarz(encoder(1, mean, scale), prior).item(),
    )
    found.evidence_bound = found.reconstruction - found.prior_kl
    found.posterior_kl = found.log_likelihood - found.evidence_bound
    return found


# What is exact


def test_from_the_posterior_itself_any_sample_says_the_evidence():
    posterior = encoder(5, 0.4, math.sqrt(0.2))
    report = Variational().report(seen(5), posterior, PRIORS["gaussian"], decoder, samples=2)
    for each in (report.objective, report.evidence_bound, report.log_likelihood):
        torch.testing.assert_close(each.value, torch.full_like(each.value, LOG_P), rtol=0, atol=1e-14)
        assert each.standard_error.max() < 1e-14
    assert report.posterior_kl.value.abs().max() < 1e-14
    torch.testing.assert_close(report.effective_samples, 2 * ONE.expand(5))
    bound = importance_weighted(seen(5), posterior, PRIORS["gaussian"], decoder, samples=3)
    torch.testing.assert_close(bound, torch.full_like(bound, LOG_P), rtol=0, atol=1e-14)


def test_a_likelihood_is_right_to_a_thousandth():
    torch.manual_seed(0)
    found = log_likelihood(seen(1), encoder(1), PRIORS["gaussian"], decoder, samples=1_000_000, chunk=100_000)
    assert found.standard_error < 3e-4
    assert abs(found.value - LOG_P) < 1e-3


def test_a_likelihood_in_256_dimensions_and_float32_is_right():
    torch.manual_seed(0)
    x = torch.randn(3, 256) * 5**0.5
    posterior = normal(0.4 * x, torch.full((256,), 0.2**0.5))
    prior = normal(torch.zeros(256), torch.ones(256))
    expected = Normal(0.0, 5**0.5).log_prob(x).sum(-1)
    found = log_likelihood(x, posterior, prior, decoder, samples=50)
    torch.testing.assert_close(found.value, expected, rtol=1e-5, atol=0)
    assert found.value.dtype == torch.float32
    off = normal(0.4 * x, torch.full((256,), 0.46))
    estimated = log_likelihood(x, off, prior, decoder, samples=4000)
    assert ((estimated.value - expected) / estimated.standard_error).abs().max() < 5


def test_chunks_in_float32_are_the_whole_in_float64_to_a_ten_thousandth():
    torch.manual_seed(0)
    x = (torch.rand(5, 1, 8, 8) < 0.3).double()
    q, weight = normal(torch.randn(5, 2).double(), 0.5 * torch.ones(5, 2).double()), torch.randn(64, 2).double()
    z = q.sample((3000,))
    zero = torch.zeros(2).double()

    def found(dtype, chunk):
        def logits(latents):
            return Bernoulli(logits=(latents @ weight.to(dtype).T).unflatten(-1, (1, 8, 8)))

        of = normal(q.mean.to(dtype), q.stddev.to(dtype))
        drawn = Drawn(of, z.to(dtype))
        prior = normal(zero.to(dtype), 1 + zero.to(dtype))
        return log_likelihood(x.to(dtype), drawn, prior, logits, samples=3000, chunk=chunk).value.double()

    assert (found(torch.float32, 35) - found(torch.float64, 10**9)).abs().max() < 1e-4


@pytest.mark.parametrize(("weight", "expected"), [(0.5, -1.284), (1, -1.488), (2, -1.758), (4, -2.078)])
def test_the_cauchy_schwarz_objective_is_no_bound_on_the_evidence(weight, expected):
    m, log_s = (torch.zeros(1, 1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimiser = torch.optim.LBFGS((m, log_s), max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def negative():
        optimiser.zero_grad()
        loss = -objective(m, log_s.exp())
        loss.backward()
        return loss

    def objective(mean, scale):
        reconstruction = -0.5 * ((1 - 2 * mean).square() + 4 * scale.square()) - 0.5 * math.log(2 * math.pi)
        return (reconstruction.sum(-1) - weight * cauchy_schwarz(normal(mean, scale), PRIORS["gaussian"])).sum()

    optimiser.step(negative)
    best = objective(m, log_s.exp()).detach()
    assert abs(best - expected) < 6e-4
    assert (best > LOG_P) == (weight < 4)
    torch.manual_seed(0)
    report = Variational(cauchy_schwarz, weight=weight).report(
        seen(1), normal(m, log_s.exp()), PRIORS["gaussian"], decoder, samples=20_000
    )
    assert abs(report.objective.value - best) < 5 * report.objective.standard_error
    assert abs(report.log_likelihood.value - LOG_P) < 5 * report.log_likelihood.standard_error


# What is estimated, and how far it may be off


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(
    "objective", [Variational(weight=3.0), Variational(cauchy_schwarz, weight=2.0)], ids=["kl", "cauchy_schwarz"]
)
def test_every_error_bar_holds_as_often_as_it_says(objective, prior):
    torch.manual_seed(0)
    count = 2000
    expected = exact(PRIORS[prior])
    expected.divergence = expected.cauchy_schwarz if objective.divergence is cauchy_schwarz else expected.prior_kl
    expected.objective = expected.reconstruction - objective.weight * expected.divergence
    report = objective.report(seen(count), encoder(count), PRIORS[prior], decoder, samples=2000, chunk=100_000)
    for name, value in vars(expected).items():
        if name == "cauchy_schwarz":
            continue
        found = getattr(report, name)
        if found.standard_error.max() == 0:
            torch.testing.assert_close(found.value, torch.full_like(found.value, value), rtol=0, atol=1e-9)
        else:
            inside = ((found.value - value).abs() < 1.96 * found.standard_error).double().mean()
            assert abs(inside - 0.95) < 0.02, name  # four standard errors of 2000 reports
            assert abs(found.value.mean() - value) < 5 * found.value.std() / count**0.5 + 1e-3, name


def test_the_error_of_a_divergence_that_is_estimated_counts():
    torch.manual_seed(0)
    count, prior, q = 1000, PRIORS["gaussian"], encoder(1)

    def integrand(z):
        first, second = (each.log_prob(torch.tensor([z], dtype=torch.float64)).item() for each in (q, prior))
        middle = math.log(0.5 * math.exp(first) + 0.5 * math.exp(second))
        return 0.5 * math.exp(first) * (first - middle) + 0.5 * math.exp(second) * (second - middle)

    divergence = integrate.quad(integrand, -10, 10, epsabs=1e-11, limit=200)[0]
    objective = Variational(plugins.find("divergences", "jensen_shannon"), weight=20.0)
    report = objective.report(seen(count), encoder(count), prior, decoder, samples=1000, chunk=100_000)
    for found, value in (
        (report.divergence, divergence),
        (report.objective, exact(prior).reconstruction - 20 * divergence),
    ):
        inside = ((found.value - value).abs() < 1.96 * found.standard_error).double().mean()
        assert abs(inside - 0.95) < 0.03  # four standard errors of 1000 reports


@pytest.mark.parametrize("prior", PRIORS)
def test_the_terms_of_a_report_add_up(prior):
    torch.manual_seed(0)
    for objective in (Variational(), Variational(cauchy_schwarz, weight=2.0)):
        report = objective.report(seen(7), encoder(7), PRIORS[prior], decoder, samples=50)
        assert isinstance(report, Report)
        cost = report.weight * report.divergence.value
        four = report.log_likelihood.value - report.posterior_kl.value + report.prior_kl.value - cost
        close = {"rtol": 0, "atol": 1e-13}
        torch.testing.assert_close(report.objective.value, four, **close)
        torch.testing.assert_close(report.objective.value, report.reconstruction.value - cost, **close)
        bound = report.reconstruction.value - report.prior_kl.value
        torch.testing.assert_close(report.evidence_bound.value, bound, **close)
        assert (report.posterior_kl.value >= 0).all()
    ordinary = Variational().report(seen(7), encoder(7), PRIORS[prior], decoder, samples=50)
    torch.testing.assert_close(ordinary.objective.value, ordinary.evidence_bound.value, **close)
    torch.testing.assert_close(ordinary.objective.standard_error, ordinary.evidence_bound.standard_error, **close)


def test_the_objective_is_on_average_what_the_report_says():
    torch.manual_seed(0)
    for prior in PRIORS.values():
        expected = exact(prior)
        for objective, value in (
            (Variational(weight=0.5), expected.reconstruction - 0.5 * expected.prior_kl),
            (Variational(cauchy_schwarz, weight=2.0), expected.reconstruction - 2 * expected.cauchy_schwarz),
        ):
            values = objective(seen(20_000), encoder(20_000), prior, decoder)
            assert values.shape == (20_000,)
            assert abs(values.mean() - value) < 5 * values.std() / 20_000**0.5


def test_the_parts_are_there_to_log():
    torch.manual_seed(0)
    objective = Variational(weight=2.0)
    terms = objective.terms(seen(3), encoder(3), PRIORS["gaussian"], decoder)
    torch.testing.assert_close(terms.objective, terms.reconstruction - 2 * terms.divergence)
    torch.testing.assert_close(terms.divergence, kl(encoder(3), PRIORS["gaussian"]))
    without = replace(objective, weight=0.0).terms(seen(3), encoder(3), PRIORS["gaussian"], decoder)
    assert torch.equal(without.objective, without.reconstruction)


def test_what_weighs_nothing_adds_no_error():
    def endless(p, q, *, estimator=None, samples=0):
        infinite = torch.full(p.batch_shape, torch.inf, dtype=torch.float64)
        return Estimated(value=infinite, standard_error=infinite)

    report = Variational(endless, weight=0.0).report(seen(3), encoder(3), PRIORS["gaussian"], decoder, samples=50)
    assert torch.equal(report.objective.value, report.reconstruction.value)
    assert torch.equal(report.objective.standard_error, report.reconstruction.standard_error)


def test_all_that_x_is_made_of_is_summed_and_nothing_is_averaged():
    pictures = (torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    logits = torch.linspace(-2, 2, 20).reshape(1, 4, 5)
    q, prior = normal(torch.zeros(3, 2), torch.ones(2)), normal(torch.zeros(2), torch.ones(2))
    expected = Bernoulli(logits=logits).log_prob(pictures).sum((1, 2, 3))

    def of_pixels(z):
        return Bernoulli(logits=logits.expand(*z.shape[:-1], 1, 4, 5) + 0 * z.sum(-1)[..., None, None, None])

    def of_pictures(z):
        return Independent(of_pixels(z), 3)

    for each in (of_pixels, of_pictures):
        torch.testing.assert_close(Variational(samples=3)(pictures, q, prior, each), expected)
        torch.testing.assert_close(importance_weighted(pictures, q, prior, each, samples=2), expected)
        torch.testing.assert_close(log_likelihood(pictures, q, prior, each, samples=2).value, expected)


# Chunks


class Drawn(Distribution):
    """A Gaussian whose samples are on a list."""

    arg_constraints = {}  # noqa: RUF012
    support = constraints.real_vector

    def __init__(self, of, samples):
        super().__init__(of.batch_shape, of.event_shape, validate_args=False)
        self.samples, self.log_prob = iter(samples), of.log_prob

    def sample(self, sample_shape):
        return torch.stack([next(self.samples) for _ in range(*sample_shape)])


@pytest.mark.parametrize("chunk", [1, 6, 7, 50, 10_000])
def test_chunks_bound_what_is_decoded_together_and_change_nothing(chunk):
    sizes = []

    def watched(z):
        sizes.append(z.shape[:2].numel())
        return decoder(z)

    samples = encoder(3).sample((40,))
    whole = log_likelihood(seen(3), Drawn(encoder(3), samples), PRIORS["gaussian"], decoder, samples=40)
    found = log_likelihood(seen(3), Drawn(encoder(3), samples), PRIORS["gaussian"], watched, samples=40, chunk=chunk)
    torch.testing.assert_close(found.value, whole.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.standard_error, whole.standard_error, rtol=1e-10, atol=0)
    assert max(sizes) <= max(chunk, 3)
    assert sum(sizes) == 3 * 40


def test_the_importance_weighted_bound_rises_with_its_samples_to_the_likelihood():
    torch.manual_seed(0)
    prior, found = PRIORS["gaussian"], {}
    for k in (1, 2, 4, 16, 64):
        each = importance_weighted(seen(20_000), encoder(20_000, 0.2, 0.6), prior, decoder, samples=k)
        found[k] = each.mean().item(), each.std().item() / 20_000**0.5
    for fewer, more in pairwise(found.values()):
        assert more[0] - fewer[0] > 4 * math.hypot(fewer[1], more[1])
    assert abs(found[1][0] - exact(prior, mean=0.2, scale=0.6).evidence_bound) < 4 * found[1][1]
    assert 0 < LOG_P - found[64][0] < 0.02


# Gradients


def estimators(fits):
    """Every estimator in the room that fits, by name; those that learn are built."""
    found = {name: plugins.find("estimators", name) for name in plugins.names("estimators") if fits(name)}
    return {name: built(each) if hasattr(each, "Config") else each for name, each in found.items()}


def built(module):
    learnt = {"dimensions": 2} if "dimensions" in {field.name for field in fields(module.Config)} else {}
    return module.Config(**learnt).build()


GAUSSIAN = estimators(lambda name: name not in DISCRETE)
BINARY = {name: each for name, each in estimators(lambda name: name not in CONTINUOUS).items() if each.unbiased}
DIVERGENCES = {name: plugins.find("divergences", name) for name in plugins.names("divergences")}


def gradients(objective, prior, *, copies=40):
    """The gradient of the objective for a mean and a deviation in each of two dimensions, and how far it may be off."""
    mean = torch.tensor([0.3, -0.2], dtype=torch.float64).repeat(copies, 1).requires_grad_()
    scale = torch.tensor([0.5, 0.8], dtype=torch.float64).repeat(copies, 1).requires_grad_()
    x = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(copies, 2)
    objective(x, normal(mean, scale), prior, lambda z: normal(2 * z.cos(), ONE)).sum().backward()
    found = torch.cat([mean.grad, scale.grad], 1)
    return found.mean(0), found.std(0) / copies**0.5


# The one divergence that draws from the prior as well, with those estimators that no mixture is for.
DRAW_FROM_THE_PRIOR = {("jensen_shannon", name) for name in ("antithetic", "measure_valued", "taylor")}


@pytest.fixture(scope="module")
def by_pathwise():
    known = {}

    def find(divergence, prior):
        if (divergence, prior) not in known:
            torch.manual_seed(1)
            objective = Variational(DIVERGENCES[divergence], weight=2.0, samples=1000)
            known[divergence, prior] = gradients(objective, PLANE[prior], copies=200)
        return known[divergence, prior]

    return find


PLANE = {
    "gaussian": normal(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)),
    "mixture": GaussianMixture(
        weights=torch.tensor([0.3, 0.7], dtype=torch.float64),
        loc=torch.tensor([[-1.0, 0.0], [1.5, 0.5]], dtype=torch.float64),
        scale=torch.tensor([[0.7, 1.0], [0.8, 0.6]], dtype=torch.float64),
    ),
}


@pytest.mark.parametrize("prior", PLANE)
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("estimator", GAUSSIAN)
def test_estimators_and_divergences_swap_by_a_word(estimator, divergence, prior, by_pathwise):
    torch.manual_seed(0)
    objective = Variational(DIVERGENCES[divergence], weight=2.0, estimator=GAUSSIAN[estimator], samples=1000)
    if prior == "mixture" and (divergence == "wasserstein" or (divergence, estimator) in DRAW_FROM_THE_PRIOR):
        with pytest.raises(MisuseError, match="GaussianMixture"):
            gradients(objective, PLANE[prior])
        return
    expected, its_error = by_pathwise(divergence, prior)
    found, error = gradients(objective, PLANE[prior])
    assert ((found - expected) / torch.hypot(error, its_error)).abs().max() < 5


@pytest.mark.parametrize("estimator", BINARY)
def test_binary_latents_learn_through_every_estimator_that_is_unbiased(estimator):
    torch.manual_seed(0)
    copies = 20_000
    prior = Independent(Bernoulli(torch.full((2,), 0.4, dtype=torch.float64)), 1)

    def of(estimator, copies):
        logits = torch.tensor([0.3, -0.8], dtype=torch.float64).repeat(copies, 1).requires_grad_()
        objective = Variational(estimator=estimator, samples=2)
        x = torch.tensor([1.0], dtype=torch.float64).expand(copies, 1)
        q = Independent(Bernoulli(logits=logits), 1)
        objective(x, q, prior, lambda z: normal(2 * z.sum(-1, keepdim=True) ** 2, ONE)).sum().backward()
        return logits.grad

    expected, found = of(plugins.find("estimators", "exact"), 1)[0], of(BINARY[estimator], copies)
    error = found.std(0) / copies**0.5 + 1e-12
    assert ((found.mean(0) - expected) / error).abs().max() < 5


def test_the_gradient_of_the_evidence_bound_is_right_for_encoder_decoder_and_prior():
    torch.manual_seed(0)
    copies = 20_000
    mean, scale, slope, centre = (
        torch.full((copies, 1), value, dtype=torch.float64, requires_grad=True) for value in (0.3, 0.5, 2.0, 0.2)
    )
    prior = normal(centre, ONE)
    Variational()(seen(copies), normal(mean, scale), prior, lambda z: normal(slope * z, ONE)).sum().backward()
    # of -1/2 [(1 - a m)^2 + a^2 s^2] - 1/2 [(m - c)^2 + s^2 - 2 log s]
    expected = (2 * 0.4 - 0.1, -4 * 0.5 - 0.5 + 2, 0.3 * 0.4 - 2 * 0.25, 0.1)
    for parameter, value in zip((mean, scale, slope, centre), expected, strict=True):
        found = parameter.grad
        assert abs(found.mean() - value) < 5 * found.std() / copies**0.5 + 1e-12


# The importance-weighted bound


@pytest.mark.parametrize("prior", PRIORS)
def test_more_samples_give_a_tighter_bound(prior):
    torch.manual_seed(0)
    expected, before = exact(PRIORS[prior]), None
    for k in (1, 3, 30):
        values = importance_weighted(seen(20_000), encoder(20_000), PRIORS[prior], decoder, samples=k)
        mean, error = values.mean().item(), values.std().item() / 20_000**0.5
        if k == 1:
            assert abs(mean - expected.evidence_bound) < 5 * error
        else:
            assert mean > before
        before = mean
    assert before < expected.log_likelihood + 5 * error
    assert expected.log_likelihood - before < 0.1 * expected.posterior_kl


@pytest.mark.parametrize("doubly_reparameterized", [False, True])
def test_the_best_sample_has_the_largest_weight(doubly_reparameterized):
    torch.manual_seed(0)
    kept = []

    def watched(z):
        kept.append((z.detach(), (2 * z).requires_grad_()))
        kept[-1][1].retain_grad()
        return normal(kept[-1][1], ONE)

    mean = (0.3 * seen(4)).requires_grad_()
    q = normal(mean, 0.5 * seen(4))
    importance_weighted(
        seen(4), q, PRIORS["gaussian"], watched, samples=6, doubly_reparameterized=doubly_reparameterized
    ).sum().backward()
    ((z, decoded),) = kept
    weights = (decoded.grad / (1 - decoded.detach())).squeeze(-1)
    log_w = decoder(z).log_prob(seen(4)) + PRIORS["gaussian"].log_prob(z) - encoder(4).log_prob(z)
    torch.testing.assert_close(weights, log_w.softmax(0), rtol=1e-9, atol=1e-12)
    assert torch.equal(weights.argmax(0), log_w.argmax(0))


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("samples", [1, 4])
def test_doubly_reparameterized_gradients_have_the_same_mean_and_less_noise(prior, samples):
    copies = 40_000

    def of(*, doubly_reparameterized):
        torch.manual_seed(0)
        parameters = [
            torch.full((copies, 1), value, dtype=torch.float64, requires_grad=True) for value in (0.3, 0.5, 2.0)
        ]
        mean, scale, slope = parameters
        importance_weighted(
            seen(copies),
            normal(mean, scale),
            PRIORS[prior],
            lambda z: normal(slope * z, ONE),
            samples=samples,
            doubly_reparameterized=doubly_reparameterized,
        ).sum().backward()
        return torch.cat([parameter.grad for parameter in parameters], 1)

    plain, doubly = of(doubly_reparameterized=False), of(doubly_reparameterized=True)
    difference = plain - doubly  # of the same samples
    assert (difference.mean(0) / (difference.std(0) / copies**0.5 + 1e-15)).abs().max() < 5
    assert (difference[:, :2].std(0) > 0.01).all()
    torch.testing.assert_close(plain[:, 2], doubly[:, 2], rtol=1e-12, atol=0)  # the decoder's is the same
    if samples > 1:
        assert (doubly.std(0) < plain.std(0) + 1e-12)[:2].all()


class Shift(Transform):
    """A transform that hides what it learns."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, by):
        super().__init__()
        self.by = lambda: by

    def _call(self, x):
        return x + self.by()

    def _inverse(self, y):
        return y - self.by()

    def log_abs_det_jacobian(self, x, y):
        return torch.zeros_like(x[..., 0])


@pytest.mark.parametrize(
    "transform", [lambda by: AffineTransform(by, 1.0, event_dim=1), Shift], ids=["affine", "hidden"]
)
def test_a_flow_that_learns_is_not_doubly_reparameterized_and_else_has_the_right_gradient(transform):
    torch.manual_seed(0)
    by = torch.zeros(20_000, 1, dtype=torch.float64, requires_grad=True)

    def bound(**options):
        flow = TransformedDistribution(encoder(20_000), [transform(by)])
        return importance_weighted(seen(20_000), flow, PRIORS["gaussian"], decoder, samples=1, **options)

    with pytest.raises(MisuseError, match=r"^Doubly reparameterized .* TransformedDistribution\(Independent\(Normal"):
        bound(doubly_reparameterized=True)
    bound().sum().backward()
    expected = 2 * (1 - 0.6) - 0.3
    assert abs(by.grad.mean() - expected) < 5 * by.grad.std() / 20_000**0.5
    still = TransformedDistribution(encoder(3), [AffineTransform(ONE, 1.0, event_dim=1)])
    importance_weighted(
        seen(3), still, PRIORS["gaussian"], decoder, samples=2, doubly_reparameterized=True
    )  # learns nothing


def test_without_a_gradient_any_q_gives_the_bound():
    torch.manual_seed(0)
    prior = Independent(Bernoulli(torch.full((1,), 0.5, dtype=torch.float64)), 1)
    logits = torch.zeros(2000, 1, dtype=torch.float64, requires_grad=True)
    q = Independent(Bernoulli(logits=logits), 1)
    with torch.no_grad():
        bound = importance_weighted(seen(2000), q, prior, decoder, samples=20)
    log_p = math.log(0.5 * sum(Normal(2.0 * z, 1.0).log_prob(torch.tensor(1.0)).exp().item() for z in (0, 1)))
    assert abs(bound.mean() - log_p) < 0.01
    with pytest.raises(MisuseError, match=r"Independent\(Bernoulli\) has no rsample: use Variational"):
        importance_weighted(seen(2000), q, prior, decoder, samples=20)


# What does not fit

WAYS = {
    "objective": Variational(),
    "report": lambda *parts: Variational(cauchy_schwarz).report(*parts, samples=3),
    "importance_weighted": lambda *parts: importance_weighted(*parts, samples=3),
    "log_likelihood": lambda *parts: log_likelihood(*parts, samples=3),
}
PIXELS = torch.tensor([[0.0, 1.0], [1.0, 0.3]], dtype=torch.float64)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"q": encoder(3)}, r"batch of shape \(3,\) and x has 2 elements"),
        ({"q": Normal(torch.zeros(2, 1), torch.ones(2, 1))}, r"batch of shape \(2, 1\).*Independent"),
        ({"prior": normal(torch.zeros(3), torch.ones(3))}, r"prior.* events of shape \(3,\).*of shape \(1,\)"),
        ({"prior": Normal(0.0 * ONE, ONE)}, r"prior.* events of shape \(\).*Independent"),
        ({"prior": normal(torch.zeros(4, 2, 1), ONE)}, r"prior.*batch of shape \(4, 2\), and q of shape \(2,\)"),
        ({"prior": normal(torch.zeros(3, 1), ONE)}, r"prior.*batch of shape \(3,\)"),
        ({"prior": Independent(LogNormal(0 * ONE, ONE), 1)}, r"impossible under the prior, Independent\(LogNormal\)"),
        ({"decoder": lambda z: z}, r"decoder returned a Tensor"),
        ({"decoder": lambda z: normal(0 * z, torch.ones(4))}, r"of shape \(\d, 2, 4\) from latents of shape"),
        ({"decoder": lambda z: normal(torch.zeros(2, 1), ONE)}, r"of shape \(2, 1\) from latents of shape"),
        ({"decoder": lambda z: Bernoulli(logits=z.expand(*z.shape[:-1], 2)), "x": PIXELS}, r"impossible.* 0 to 1\."),
        ({"decoder": lambda z: Normal(z * math.nan, ONE, validate_args=False)}, r"NaN"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_a_sentence(way, parts, sentence):
    torch.manual_seed(0)
    given = {"x": seen(2), "q": encoder(2), "prior": PRIORS["gaussian"], "decoder": decoder, **parts}
    with pytest.raises(MisuseError, match=sentence):
        WAYS[way](*given.values())


def test_one_prior_may_be_a_batch_of_one():
    one = normal(torch.zeros(1, 1, dtype=torch.float64), ONE)
    for way in WAYS.values():
        found = way(seen(3), encoder(3), one, decoder)
        assert isinstance(found, Report) or getattr(found, "value", found).shape == (3,)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda parts: Variational(samples=0), "samples is 0, and should be at least 1"),
        (lambda parts: Variational(weight=-1.0), "weight of -1.0"),
        (lambda parts: Variational(weight=math.inf), "weight of inf"),
        (lambda parts: importance_weighted(*parts, samples=0), "samples is 0, and should be at least 1"),
        (lambda parts: log_likelihood(*parts, samples=0), "samples is 0, and should be at least 2"),
        (lambda parts: log_likelihood(*parts, samples=1), "samples is 1, and should be at least 2"),
        (lambda parts: log_likelihood(*parts, samples=2, chunk=0), "Chunks of 0 latents"),
        (lambda parts: Variational().report(*parts, samples=1), "samples is 1, and should be at least 2"),
    ],
)
def test_numbers_that_cannot_be_are_refused_in_a_sentence(made, sentence):
    with pytest.raises(MisuseError, match=sentence):
        made((seen(2), encoder(2), PRIORS["gaussian"], decoder))


def test_what_no_sample_explains_has_no_likelihood_and_no_known_error():
    far = Independent(Uniform(2 * ONE.expand(2, 1), 3 * ONE), 1)
    prior = Independent(Uniform(0 * ONE, 4 * ONE), 1)

    def never(z):
        return normal(z + 1e200, ONE)

    found = Variational().report(seen(2), far, prior, never, samples=10)
    assert (found.log_likelihood.value == -math.inf).all()
    assert (found.log_likelihood.standard_error == math.inf).all()
    assert (found.effective_samples == 0).all()
