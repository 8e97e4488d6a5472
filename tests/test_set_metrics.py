"""Metrics of features, of logits and of generators: published values, closed forms, and the faults of others."""

import math
import sys

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.spatial.distance import cdist

from arzhang.metrics import _intervals, cmmd, fid, fid_infinity, inception_score, kid, ppl
from arzhang.moments import Moments
from arzhang.rng import generator
from arzhang.types import ArzhangError, MisuseError

SETS = [fid, kid, cmmd, fid_infinity]
BY_NAME = pytest.mark.parametrize("metric", SETS, ids=[metric.__name__ for metric in SETS])


def normal(seed, *shape):
    return torch.randn(*shape, generator=generator(seed, "normal"), dtype=torch.float64)


@pytest.fixture(scope="module")
def vector():
    """The sets whose figures are known."""
    rng = np.random.RandomState(0)
    return torch.from_numpy(rng.randn(500, 16)), torch.from_numpy(rng.randn(400, 16) * 1.2 + 0.3)


@pytest.fixture(scope="module")
def logits():
    return torch.from_numpy(np.random.RandomState(1).randn(1000, 10) * 2)


def gaussian(mean, covariance):
    """Moments that are exactly these."""
    mean, covariance = (torch.as_tensor(part, dtype=torch.float64) for part in (mean, covariance))
    return Moments(n=None, mean=mean, scatter=covariance)


def by_roots(real, fake):
    """The Frechet distance as the formula has it."""
    covariances = [np.cov(side.numpy().T) for side in (real, fake)]
    root = np.real(scipy.linalg.sqrtm(covariances[0] @ covariances[1]))
    step = (real.mean(0) - fake.mean(0)).numpy()
    return step @ step + sum(map(np.trace, covariances)) - 2 * np.trace(root)


def by_singular_values(real, fake):
    """The same for fewer samples than dimensions."""
    centred = [(side - side.mean(0)).numpy() for side in (real, fake)]
    step = (real.mean(0) - fake.mean(0)).numpy()
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    n, m = len(real) - 1, len(fake) - 1
    return step @ step + (centred[0] ** 2).sum() / n + (centred[1] ** 2).sum() / m - 2 * cross / math.sqrt(n * m)


# The Frechet distance


def test_the_frechet_distance_has_the_known_value(vector):
    assert fid(*vector).value == pytest.approx(2.5754554177057827, rel=1e-12)
    assert fid(*map(Moments.of, vector)).value == pytest.approx(2.5754554177057827, rel=1e-12)


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        (gaussian([0, 0, 0], np.diag([1, 4, 9])), gaussian([1, 2, 3], np.diag([4, 1, 1])), 20),
        (gaussian([0, 0], [[2, 0.5], [0.5, 1]]), gaussian([0, 0], [[1, -0.3], [-0.3, 2]]), 0.575425893305),
        (gaussian([0.0], [[4]]), gaussian([3.0], [[0]]), 13),
    ],
)
def test_the_frechet_distance_of_gaussians_is_as_computed_by_hand(real, fake, expected):
    assert fid(real, fake).value == pytest.approx(expected, rel=1e-11)
    assert fid(fake, real).value == pytest.approx(expected, rel=1e-11)


def test_a_step_of_one_in_2048_dimensions_is_2048():
    identity = np.eye(2048)
    assert fid(gaussian(np.zeros(2048), identity), gaussian(np.ones(2048), identity)).value == pytest.approx(2048)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 8), (90, 300, 64), (65, 64, 64), (50, 70, 64), (2, 300, 64)])
def test_the_frechet_distance_is_the_formula_s_without_its_matrix_root(n, m, d):
    real, fake = normal(0, n, d), normal(1, m, d) * torch.linspace(0.1, 2, d) + 0.2
    expected = by_roots(real, fake) if min(n, m) > d else by_singular_values(real, fake)
    assert fid(real, fake).value == pytest.approx(expected, rel=1e-9)
    assert fid(real.float(), fake.float()).value == pytest.approx(expected, rel=1e-5)


def test_moments_give_the_distance_of_their_samples_also_where_those_are_few():
    real, fake = normal(0, 50, 64), normal(1, 70, 64)
    assert fid(Moments.of(real), Moments.of(fake)).value == pytest.approx(fid(real, fake).value, rel=1e-8)
    assert fid(Moments.of(real), fake).value == pytest.approx(fid(real, fake).value, rel=1e-8)


@pytest.mark.parametrize(
    "features",
    [
        normal(0, 500, 16),
        normal(0, 20, 64),
        normal(0, 20, 64).repeat(2, 1),
        torch.cat([normal(0, 500, 16)] * 3, 1),  # features that say the same
        torch.cat([normal(0, 500, 16), torch.zeros(500, 16)], 1),  # features that say nothing
        normal(0, 500, 64) * torch.logspace(0, -8, 64),
        normal(0, 30, 64) * torch.logspace(0, -8, 64),
        normal(0, 500, 64).relu().float(),
    ],
)
def test_identical_sets_have_no_distance_whatever_their_covariance(features):
    trace = features.double().var(0).sum()
    for estimate in (fid(features, features), fid(Moments.of(features), Moments.of(features))):
        assert 0 <= estimate.value < 1e-8 * trace
    assert fid(features, features).interval is None
    assert "they have samples in common" in fid(features, features).remarks[-1]


def test_constant_pictures_have_the_distance_of_their_means():
    for n in (3, 30):
        assert fid(torch.zeros(n, 8), torch.ones(n, 8)).value == 8
        assert fid(torch.zeros(n, 8), torch.zeros(n, 8)).value == 0
        spread = normal(0, 30, 8)
        expected = float(spread.mean(0).square().sum() + spread.var(0).sum())
        assert fid(torch.zeros(n, 8), spread).value == pytest.approx(expected)


def test_no_root_of_a_matrix_is_taken_which_scipy_changed_under_others(vector, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.linalg", None)
    assert fid(*vector).value == pytest.approx(2.5754554177057827, rel=1e-12)


def test_covariances_are_divided_by_n_minus_1_and_not_by_n_as_stylegan2_ada_does():
    real = torch.tensor([[-1.0], [1.0]])
    assert fid(real, 3 * real).value == pytest.approx(2 * (3 - 1) ** 2)


def test_fewer_samples_than_dimensions_are_warned_about_as_no_peer_does(vector):
    real, fake = vector
    assert not [remark for remark in fid(real, fake).remarks if "dimensions" in remark]
    for few in (real[:16], Moments.of(real[:16])):
        (warning,) = (remark for remark in fid(few, fake).remarks if "dimensions" in remark)
        assert warning.startswith("The real set has no more samples (16) than dimensions (16)")


@pytest.mark.parametrize(("n", "expected"), [(128, 18.0), (256, 8.5), (512, 4.3), (1024, 2.17), (2048, 1.03)])
def test_the_distance_of_equal_distributions_is_its_bias_which_falls_as_one_over_n(n, expected):
    found = [fid(*normal(seed, 2, n, 64)) for seed in range(4)]
    assert np.mean([estimate.value for estimate in found]) == pytest.approx(expected, rel=0.06)
    told = [float(estimate.remarks[-1].split()[1]) for estimate in found]  # "About 1.03 of it, or more, is ..."
    assert 0.7 < np.mean(told) / expected < 1.06


def test_a_frechet_distance_is_called_fid_only_if_it_is_said_to_be():
    assert fid(normal(0, 50, 4), normal(1, 50, 4), name="fd-squeezenet").name == "fd-squeezenet"


def test_moments_have_an_interval_only_for_the_samples_that_are_known(vector):
    real, fake = vector
    whole, half = fid(real, fake), fid(Moments.of(real), fake)
    assert fid(*map(Moments.of, vector)).interval is None
    assert "only moments are known" in fid(*map(Moments.of, vector)).method
    assert "for these moments of the real set" in half.method
    assert whole.interval[0] < half.interval[0] < half.value < half.interval[1] < whole.interval[1]
    assert (half.n, fid(gaussian([0.0] * 16, np.eye(16)), fake).n) == ({"real": 500, "fake": 400}, {"fake": 400})


def influences(real, fake, step=1e-5):
    """How the distance changes with the weight of each sample of the first set, by finite differences."""
    weights = torch.ones(len(real), dtype=torch.float64)

    def moments(weights):
        share = weights / weights.sum()
        mean = share @ real
        centred = real - mean
        return gaussian(mean, (centred * share[:, None]).T @ centred * len(real) / (len(real) - 1))

    other = Moments.of(fake)
    changes = []
    for index in range(len(real)):
        ends = []
        for sign in (1, -1):
            weights[index] = 1 + sign * step
            ends.append(fid(moments(weights), other).value)
        weights[index] = 1
        changes.append((ends[0] - ends[1]) / (2 * step) * len(real))
    return torch.tensor(changes, dtype=torch.float64)


def test_the_influence_of_a_sample_is_the_derivative_of_the_distance_by_its_weight():
    from arzhang.metrics._frechet import Side, decompose

    real, fake = normal(0, 60, 4) * torch.tensor([1, 2, 0.5, 1]), normal(1, 50, 4) + 0.5
    found = decompose(Side.of(real), Side.of(fake))
    assert found.real.first == pytest.approx(float(influences(real, fake).var()), rel=0.05)
    assert found.fake.first == pytest.approx(float(influences(fake, real).var()), rel=0.05)


# The discrepancies


def brute_force(real, fake, kernel):
    """The unbiased and the biased statistic, pair by pair."""
    within = [kernel(side, side) for side in (real, fake)]
    means = [(values.sum() - values.trace()) / (len(values) * (len(values) - 1)) for values in within]
    cross = 2 * kernel(real, fake).mean()
    return float(sum(means) - cross), float(sum(values.mean() for values in within) - cross)


def cubic(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3


def test_the_kernel_distance_has_the_known_value(vector):
    real, fake = vector
    estimate = kid(real[:400], fake)
    assert estimate.value == pytest.approx(0.39618654081767, rel=1e-12)
    assert estimate.remarks == ()  # one subset, of which there is no standard deviation


def test_the_discrepancy_has_the_known_value(vector):
    assert cmmd(*vector).value == pytest.approx(0.64843201154, abs=1e-10)


def test_discrepancies_over_several_blocks_are_those_of_all_pairs():
    real, fake = normal(0, 1100, 3), normal(1, 700, 3) + 0.2
    value = kid(real[:700], fake, size=2000).value
    assert value == pytest.approx(brute_force(real[:700], fake, cubic)[0], rel=1e-10)

    def flat(x, y):
        x, y = (side / side.norm(dim=1, keepdim=True) for side in (x, y))
        return torch.from_numpy(np.exp(-cdist(x, y, "sqeuclidean") / 200))

    assert cmmd(real, fake).value == pytest.approx(1000 * brute_force(real, fake, flat)[1], rel=1e-8)


def test_the_kernel_distance_is_the_mean_over_subsets_and_the_seed_decides_which(vector):
    found = [kid(*vector, size=50, subsets=20, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert all(each.interval[0] < 0.396 < each.interval[1] for each in found)
    assert found[0].remarks[0].startswith("The standard deviation over 20 subsets of 50 is 0.")
    one = kid(*vector, size=400, subsets=2)
    assert abs(one.value - brute_force(*vector, cubic)[0]) < 0.02


def test_the_kernel_distance_of_equal_distributions_is_nought_on_average():
    values = [kid(*normal(seed, 2, 100, 8)).value for seed in range(100)]
    error = np.std(values) / 10
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0


def test_identical_sets_have_no_discrepancy():
    x = normal(0, 200, 8)
    assert cmmd(x, x).value == pytest.approx(0, abs=1e-12)
    assert kid(x, x).value < 0  # without pairs of a sample with itself here, and with them across


# The Inception Score


def test_the_score_has_the_known_values_in_order_and_permuted(logits):
    assert inception_score(logits, splits=1).value == pytest.approx(2.642901784800043, rel=1e-12)
    ten = inception_score(logits)
    assert ten.value == pytest.approx(2.621771739284782, rel=1e-12)
    assert ten.remarks == ("The standard deviation over 10 splits is 0.0958.",)
    permuted = inception_score(logits[torch.randperm(1000, generator=generator(0))])
    assert permuted.value != pytest.approx(ten.value, rel=1e-4)  # so that the order has to be decided by who calls
    again = inception_score(logits[torch.randperm(1000, generator=generator(0))], splits=1)
    assert again.value == pytest.approx(2.642901784800043, rel=1e-12)


def test_pictures_of_one_look_score_1_and_sure_ones_of_all_classes_their_number():
    assert inception_score(normal(0, 1, 7).expand(40, 7)).value == pytest.approx(1, abs=1e-12)
    sure = inception_score(1e4 * torch.eye(7).repeat(20, 1))
    assert sure.value == pytest.approx(7, rel=1e-12)
    assert sure.interval[0] <= sure.value <= sure.interval[1]


def test_samples_that_do_not_divide_evenly_are_all_in_a_split():
    logits = normal(0, 1003, 5)
    parts = [logits[i * 1003 // 10 : (i + 1) * 1003 // 10] for i in range(10)]
    assert sum(map(len, parts)) == 1003
    expected = np.mean([inception_score(part, splits=1).value for part in parts])
    assert inception_score(logits).value == pytest.approx(expected)


def test_the_score_s_jackknife_leaves_out_one_sample_after_the_other(logits):
    few = logits[:30]
    without = np.array([inception_score(few[torch.arange(30) != index], splits=1).value for index in range(30)])
    variance = 29 / 30 * ((without - without.mean()) ** 2).sum()
    low, high = inception_score(few, splits=1).interval
    assert (high - low) / 2 / 1.959963984540054 == pytest.approx(math.sqrt(variance), rel=1e-9)


# The distance at endlessly many


def test_the_intercept_takes_away_the_bias_of_the_generated_set():
    real, fake = normal(0, 3000, 32), normal(1, 3000, 32)
    found = fid_infinity(real, fake)
    value = fid(real, fake).value
    assert [size for size, _ in found.points] == np.linspace(300, 3000, 15).round().tolist()
    assert found.points[-1][1] == pytest.approx(value)
    assert found.intercept.value == pytest.approx(value / 2, rel=0.15)  # the other half is of the real set
    population = gaussian(np.zeros(32), np.eye(32))
    exact = fid_infinity(population, fake).intercept
    assert exact.interval[0] < 0 < exact.interval[1]
    assert abs(exact.value) < 0.1 * fid(population, fake).value


def test_the_intercept_is_of_the_line_through_the_points():
    found = fid_infinity(normal(0, 500, 8), normal(1, 400, 8) * 1.3, seed=3)
    sizes, distances = zip(*found.points, strict=True)
    _, intercept = np.polyfit(1 / np.array(sizes), distances, 1)
    assert found.intercept.value == pytest.approx(intercept, rel=1e-9)
    assert found.intercept.seed == 3
    assert found.intercept != fid_infinity(normal(0, 500, 8), normal(1, 400, 8) * 1.3, seed=4).intercept


def test_points_below_the_number_of_dimensions_are_warned_about():
    assert fid_infinity(normal(0, 500, 8), normal(1, 400, 8)).intercept.remarks == ()
    (warning,) = fid_infinity(normal(0, 500, 8), normal(1, 80, 8)).intercept.remarks
    assert warning.startswith("The smallest subset has no more samples (8) than dimensions (8)")


# The perceptual path length


def squared(one, other):
    return (one - other).square().sum((1, 2, 3))


def linear(matrix):
    return lambda latent: (latent @ matrix.T).reshape(len(latent), -1, 2, 2)


def lengths(generator_, start, end, **options):
    """The path length of each way, one at a time."""
    both = [(torch.stack([first] * 2), torch.stack([last] * 2)) for first, last in zip(start, end, strict=True)]
    return [ppl(generator_, squared, *pair, **options).value for pair in both]


@pytest.mark.parametrize("epsilon", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("sampling", ["end", "full"])
def test_a_linear_generator_has_the_length_of_its_ways_whatever_the_step(epsilon, sampling):
    matrix = normal(0, 12, 5)
    start, end = normal(1, 2, 30, 5)
    expected = ((end - start) @ matrix.T).square().sum(1)
    found = lengths(linear(matrix), start, end, space="w", sampling=sampling, epsilon=epsilon)
    np.testing.assert_allclose(found, expected, rtol=1e-7 if epsilon == 1e-6 else 1e-9)


def test_a_way_in_z_is_an_arc_at_even_speed():
    start, end = normal(1, 2, 30, 8)
    angles = torch.nn.functional.cosine_similarity(start, end).acos()
    found = lengths(linear(torch.eye(8, dtype=torch.float64)), start, end, space="z", sampling="full")
    np.testing.assert_allclose(found, angles.square(), rtol=1e-6)
    assert lengths(linear(torch.eye(8, dtype=torch.float64)), start[:1], start[:1]) == pytest.approx([0])


def test_pictures_are_not_rounded_which_made_31_into_1147_elsewhere():
    matrix = 0.1 * normal(0, 12, 8).float()
    start, end = normal(1, 2, 500, 8).float()

    def rounded(latent):
        return ((linear(matrix)(latent) + 1) * 127.5).round() / 127.5 - 1

    expected = ppl(linear(matrix.double()), squared, start.double(), end.double(), space="w", seed=1).value
    assert ppl(linear(matrix), squared, start, end, space="w", seed=1).value == pytest.approx(expected, rel=0.01)
    assert ppl(rounded, squared, start, end, space="w", seed=1).value > 10 * expected


def test_latents_of_double_precision_stay_so_which_torch_fidelity_s_do_not():
    seen = set()

    def watching(latent):
        seen.add(latent.dtype)
        return linear(torch.eye(8, dtype=latent.dtype))(latent)

    start, end = normal(1, 2, 40, 8)
    ppl(watching, squared, start, end)
    assert seen == {torch.float64}


def test_the_shortest_and_longest_ways_are_left_out_by_percentiles_that_numpy_2_4_still_has():
    start = torch.zeros(1000, 1, dtype=torch.float64)
    end = torch.arange(1000.0, dtype=torch.float64)[torch.randperm(1000, generator=generator(0))][:, None]
    estimate = ppl(lambda latent: latent.reshape(-1, 1, 1, 1), squared, start, end, space="w", sampling="end")
    squares = np.arange(1000.0) ** 2
    low, high = np.percentile(squares, 1, method="lower"), np.percentile(squares, 99, method="higher")
    kept = squares[(squares >= low) & (squares <= high)]
    assert (low, high, len(kept)) == (9**2, 990**2, 982)
    assert estimate.value == pytest.approx(kept.mean(), rel=1e-9)
    assert "18 ways are left out" in estimate.remarks[0]


def test_the_same_seed_takes_the_same_places_and_the_size_of_batches_changes_nothing(monkeypatch):
    start, end = normal(1, 2, 100, 8)
    bent = lambda latent: latent.exp().reshape(-1, 2, 2, 2)  # noqa: E731
    found = [ppl(bent, squared, start, end, seed=seed).value for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    monkeypatch.setattr(sys.modules["arzhang.metrics.ppl"], "BATCH", 7)
    assert ppl(bent, squared, start, end).value == pytest.approx(found[0], rel=1e-9)


def test_a_generator_of_one_picture_has_no_length():
    start, end = normal(1, 2, 40, 8)
    estimate = ppl(lambda latent: torch.zeros(len(latent), 3, 4, 4), squared, start, end)
    assert (estimate.value, estimate.interval) == (0, (0, 0))


def test_what_is_no_number_of_ways_or_no_number_is_refused():
    with pytest.raises(MisuseError, match="at least two ways"):
        ppl(linear(torch.eye(8)), squared, torch.zeros(1, 8), torch.zeros(1, 8))
    with pytest.raises(ArzhangError, match="distance of way 0 is not finite"):
        ppl(lambda latent: torch.full((len(latent), 3, 4, 4), torch.nan), squared, *torch.ones(2, 40, 8))


# What all have in common


@BY_NAME
def test_features_that_are_not_finite_are_named(metric):
    for bad in (math.nan, math.inf):
        broken = normal(0, 5000, 4)
        broken[4321, 2] = bad
        with pytest.raises(ArzhangError, match="sample 4321 of the real set are not finite"):
            metric(broken, normal(1, 30, 4))
        with pytest.raises(ArzhangError, match="sample 4321 of the fake set are not finite"):
            metric(normal(1, 30, 4), broken)


@BY_NAME
def test_features_of_different_extractors_are_refused(metric):
    with pytest.raises(ArzhangError, match=r"Features of 4 \(real\) and 3 \(fake\) dimensions cannot be compared"):
        metric(normal(0, 30, 4), normal(1, 30, 3))


@BY_NAME
def test_one_sample_is_refused(metric):
    for pair, name in (((1, 30), "real"), ((30, 1), "fake")):
        with pytest.raises(ArzhangError, match=f"There are 1 samples in the {name} set, and this takes at least"):
            metric(*(normal(0, n, 4) for n in pair))


def test_moments_are_refused_in_the_same_words():
    one, other = Moments.of(normal(0, 30, 4)), Moments.of(normal(0, 30, 3))
    with pytest.raises(ArzhangError, match=r"4 \(real\) and 3 \(fake\) dimensions"):
        fid(one, other)
    with pytest.raises(ArzhangError, match="at least two samples, and here are 1"):
        fid(Moments.of(normal(0, 1, 4)), one)


def test_logits_that_are_too_few_or_not_finite_are_refused():
    with pytest.raises(ArzhangError, match="There are 19 samples in the fake set, and this takes at least 20"):
        inception_score(normal(0, 19, 5))
    with pytest.raises(ArzhangError, match="sample 3 of the fake set are not finite"):
        inception_score(torch.where(torch.arange(40)[:, None] == 3, math.nan, normal(0, 40, 5)))


@BY_NAME
def test_the_order_of_real_and_generated_pictures_is_told_by_name(metric):
    estimate = metric(normal(0, 50, 4), normal(1, 40, 4))
    estimate = getattr(estimate, "intercept", estimate)
    assert estimate.n == {"real": 50, "fake": 40}
    assert estimate.higher_is_better is False
    assert estimate.interval[0] < estimate.value < estimate.interval[1]


# Intervals: here a few of the simulations that benchmarks/coverage.py makes for all


@pytest.mark.parametrize(
    ("metric", "shift"), [(fid, 0.0), (fid, 0.3), (kid, 0.0), (kid, 0.3), (cmmd, 0.0), (cmmd, 0.3)]
)
def test_intervals_hold_the_expectation_in_90_to_99_percent(metric, shift):
    found = [metric(normal(2 * seed, 100, 8), normal(2 * seed + 1, 100, 8) + shift) for seed in range(200)]
    truth = np.mean([each.value for each in found])
    held = sum(each.interval[0] <= truth <= each.interval[1] for each in found)
    assert 180 <= held <= 198


def test_the_interval_of_a_skewed_mean_holds_where_a_normal_one_does_not():
    def held(interval):
        sets = [(1.4 * normal(seed, 100)).exp() for seed in range(1000)]  # heavy to the right
        ends = [interval(float(each.mean()), float(each.var()) / 100, each) for each in sets]
        return sum(low <= math.exp(1.4**2 / 2) <= high for low, high in ends)

    assert held(lambda value, variance, _: _intervals.normal(value, variance)) < 880
    assert 900 <= held(_intervals.skewed) <= 990
