"""The curve of precision and recall of distributions, F_8 and F_1/8."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.cluster import MiniBatchKMeans

from arzhang.metrics import prd
from arzhang.metrics.prd import _best, _cluster, curve
from arzhang.rng import generator
from arzhang.types import ArzhangError, MisuseError


def normal(seed, n, d, *, scale=1.0, shift=0.0):
    return torch.randn(n, d, generator=generator(seed)) * scale + shift


def histogram(*bars):
    return torch.tensor(bars, dtype=torch.float64)


def islands(seed, bars):
    """Samples in tight clusters far apart, so many in each."""
    places = 100.0 * torch.eye(len(bars))
    return places.repeat_interleave(torch.tensor(bars), dim=0) + normal(seed, sum(bars), len(bars), scale=0.01)


@pytest.mark.parametrize(
    ("evaluated", "reference", "f8", "f1_8"),
    [
        ((0.1, 0.2, 0.3, 0.4), (0.4, 0.3, 0.2, 0.1), 0.9557915, 0.9557915),
        ((0.25, 0.25, 0.5, 0), (0.5, 0.25, 0, 0.25), 0.7386216566, 0.4999999999),
    ],
)
def test_published_values_of_histograms_are_met(evaluated, reference, f8, f1_8):
    found = curve(histogram(*evaluated), histogram(*reference))
    assert _best(*found, 8) == pytest.approx(f8, abs=1e-8 if f8 > 0.9 else 1e-10)
    assert _best(*found, 1 / 8) == pytest.approx(f1_8, abs=1e-8 if f8 > 0.9 else 1e-10)


def test_at_45_degrees_both_are_what_the_histograms_share():
    precision, recall = curve(histogram(0.1, 0.2, 0.3, 0.4), histogram(0.4, 0.3, 0.2, 0.1))
    assert precision[500].item() == pytest.approx(0.6, abs=1e-12)
    assert recall[500].item() == pytest.approx(0.6, abs=1e-12)


def test_disjoint_histograms_share_nothing():
    for each in curve(histogram(0, 1), histogram(1, 0), angles=11):
        assert each.tolist() == [0] * 11


def test_the_curve_is_the_definition():
    evaluated, reference = (torch.rand(7, generator=generator(i), dtype=torch.float64).softmax(0) for i in range(2))
    for angle, precision, recall in zip(
        np.linspace(1e-10, np.pi / 2 - 1e-10, 33), *curve(evaluated, reference, angles=33), strict=True
    ):
        shared = sum(min(np.tan(angle) * p, q) for p, q in zip(reference.tolist(), evaluated.tolist(), strict=True))
        assert precision.item() == pytest.approx(shared, rel=1e-12)
        assert recall.item() == pytest.approx(shared / np.tan(angle), rel=1e-12)


def test_of_samples_in_clusters_it_is_the_curve_of_their_histograms():
    of_real, of_fake = (40, 30, 20, 10), (10, 20, 30, 40)
    found = prd(islands(0, of_real), islands(1, of_fake), clusters=4)
    precision, recall = curve(histogram(*of_fake) / 100, histogram(*of_real) / 100)
    torch.testing.assert_close(found.precision, precision, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.recall, recall, rtol=1e-12, atol=1e-12)
    assert [found.f8.value, found.f1_8.value] == pytest.approx([0.9557915] * 2, abs=1e-8)


def test_what_is_missing_lowers_f8_and_what_is_false_lowers_f1_8():
    real = islands(0, (25, 25, 25, 25, 0))
    missing = prd(real, islands(1, (50, 50, 0, 0, 0)), clusters=5)
    assert missing.f8.value < 0.6
    assert missing.f1_8.value > 0.9
    false = prd(real, islands(1, (10, 10, 10, 10, 60)), clusters=5)
    assert false.f1_8.value < 0.6
    assert false.f8.value > 0.9


def test_identical_sets_have_all_of_both():
    real = normal(0, 300, 8)
    found = prd(real, real[torch.randperm(300, generator=generator(0))])
    for estimate in (found.f8, found.f1_8):
        assert estimate.value == pytest.approx(1, abs=1e-9)
        assert estimate.interval[0] > 0.9
        assert estimate.interval[1] == pytest.approx(1)


def test_sets_that_share_nothing_have_an_interval_to_one_side():
    found = prd(normal(0, 200, 4), normal(1, 200, 4, shift=100))
    assert found.f8.value == 0
    assert found.f8.interval == pytest.approx((0, 0.0259), abs=1e-4)


def test_clusters_are_those_of_scikit_learn():
    features = normal(0, 500, 12).numpy()
    theirs = MiniBatchKMeans(20, n_init=10, random_state=5).fit(features).labels_
    np.testing.assert_array_equal(_cluster(features, 20, 5), theirs)


def test_it_is_a_function_of_the_seed():
    real, fake = normal(0, 200, 4), normal(1, 250, 4, scale=0.7)
    one, same, other = (prd(real, fake, seed=seed) for seed in (0, 0, 1))
    assert one.f8 == same.f8
    assert one.f8.value != other.f8.value
    assert torch.equal(one.precision, same.precision)


def test_sets_are_cut_to_equal_size():
    found = prd(normal(0, 200, 4), normal(1, 350, 4))
    assert found.f8.n == {"real": 200, "fake": 200}
    assert found.f8.remarks == (
        "The larger set was cut from 350 to 200 samples, as the metric asks for equal numbers.",
    )
    bars = prd(islands(0, (30, 30)), islands(1, (60, 60)), clusters=2)  # thirty of each, up to chance
    assert 0.8 < bars.f8.value <= 1


def test_intervals_hold_the_expectation():
    draws = [prd(normal(2 * i, 120, 3), normal(2 * i + 1, 120, 3, scale=0.6), clusterings=3) for i in range(30)]
    for estimates in zip(*((draw.f8, draw.f1_8) for draw in draws), strict=True):
        truth = np.mean([estimate.value for estimate in estimates])
        held = [low <= truth <= high for low, high in (each.interval for each in estimates)]
        assert sum(held) >= stats.binom.ppf(0.001, len(held), 0.9)
        widths = [high - low for low, high in (estimate.interval for estimate in estimates)]
        assert np.mean(widths) < 10 * np.std([estimate.value for estimate in estimates])


def test_few_samples_have_a_figure_and_no_interval():
    found = prd(normal(0, 79, 2), normal(1, 79, 2))
    assert found.f8.interval is None
    assert "too few" in found.f8.method


def test_constant_sets_have_a_figure():
    assert prd(torch.zeros(100, 3), torch.zeros(100, 3)).f8.value == pytest.approx(1, abs=1e-9)


def test_what_cannot_be_clustered_is_refused():
    with pytest.raises(MisuseError, match="18 samples for 20 clusters"):
        prd(normal(0, 9, 2), normal(1, 30, 2))
    with pytest.raises(MisuseError, match="2 or more"):
        prd(normal(0, 90, 2), normal(1, 90, 2), clusterings=1)
    with pytest.raises(ArzhangError, match="not finite"):
        prd(normal(0, 90, 2), torch.full((90, 2), torch.inf))
    with pytest.raises(ArzhangError, match="dimensions"):
        prd(normal(0, 90, 2), normal(1, 90, 3))
