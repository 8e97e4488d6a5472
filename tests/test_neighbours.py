"""Precision, recall, density, coverage, realism, and their intervals."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist

from arzhang.metrics import _distances, _parts, density_coverage, precision_recall
from arzhang.metrics._neighbours import survey
from arzhang.metrics._parts import PARTITIONS, Parts, deal, wilson
from arzhang.rng import generator
from arzhang.types import ArzhangError, MisuseError


def normal(seed, n, d, *, scale=1.0, shift=0.0):
    return torch.randn(n, d, generator=generator(seed), dtype=torch.float64) * scale + shift


def published():
    """The sets of the reference page."""
    state = np.random.RandomState(0)
    real = state.randn(500, 16)
    return torch.from_numpy(real), torch.from_numpy(state.randn(400, 16) * 1.2 + 0.3)


def values(real, fake, k):
    pr, dc = precision_recall(real, fake, k=k), density_coverage(real, fake, k=k)
    return [figure.value for figure in (pr.precision, pr.recall, dc.density, dc.coverage)]


def by_hand(real, fake, k):
    """The definitions, from all distances, each a sum of squared differences."""
    squares = lambda x, y: np.square(x[:, None] - y[None]).sum(axis=2)  # noqa: E731
    x, y = real.double().numpy(), fake.double().numpy()
    across = squares(x, y)
    of_real, of_fake = (np.sort(squares(each, each), axis=1)[:, k] for each in (x, y))
    within = across < of_real[:, None]
    return [
        (across <= of_real[:, None]).any(0).mean(),
        (across <= of_fake).any(1).mean(),
        within.sum(0).mean() / k,
        within.any(1).mean(),
    ]


# Values


@pytest.mark.parametrize(
    ("k", "expected"), [(3, [0.4475, 0.93, 0.3591666666667, 0.468]), (5, [0.58, 0.972, 0.3755, 0.632])]
)
def test_published_values_are_met(k, expected):
    assert values(*published(), k) == pytest.approx(expected, abs=1e-12)


def test_borders_count_for_precision_and_recall_and_not_for_density_and_coverage():
    real, fake = torch.tensor([[0.0], [1.0], [2.0], [10.0]]), torch.tensor([[0.5], [1.5], [30.0], [31.0]])
    assert values(real, fake, 1) == [0.5, 0.75, 1.0, 0.75]


def test_a_shared_pass_gives_both_metrics_what_they_give_alone():
    real, fake = published()
    seen = survey(real, fake)
    assert precision_recall(real, fake, shared=seen) == precision_recall(real, fake)
    alone = density_coverage(real, fake)
    assert density_coverage(real, fake, shared=seen).density.value == alone.density.value
    assert density_coverage(real, fake, shared=seen).coverage == alone.coverage


@pytest.mark.parametrize("k", [1, 3, 4])
@pytest.mark.parametrize("step", [1, 0.1, 1 / 3])
def test_ties_on_a_lattice_are_ties(k, step):
    real, fake = (torch.randint(6, (n, 3), generator=generator(seed)).double() * step for seed, n in ((0, 90), (1, 70)))
    assert values(real, fake, k) == pytest.approx(by_hand(real, fake, k), abs=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_distances_far_smaller_than_the_features_are_still_seen(dtype):
    step = torch.finfo(dtype).eps
    ups = (torch.randint(-3, 4, (n, 5), generator=generator(seed)) for seed, n in ((0, 60), (1, 60)))
    real, fake = ((1 + step * up.double()).to(dtype) for up in ups)
    real[:4] = real[:4] * 50  # so that no origin is near all
    assert values(real, fake, 3) == pytest.approx(by_hand(real, fake, 3), abs=1e-14)


@pytest.mark.parametrize("shift", [0, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_identical_sets_have_precision_and_recall_1(seed, shift):
    real = normal(seed, 200, 40, shift=shift).float()
    fake = real[torch.randperm(200, generator=generator(seed))]
    assert values(real, fake, 3) == [1, 1, 1, 1]
    assert values(real, real, 5) == [1, 1, 1, 1]


def test_precision_is_of_the_fakes_and_recall_of_the_real():
    real, fake = normal(0, 300, 4), normal(1, 300, 4, scale=0.1)
    found = precision_recall(real, fake)
    assert found.precision.value == 1
    assert found.recall.value < 0.1
    turned = precision_recall(fake, real)
    assert (turned.precision.value, turned.recall.value) == (found.recall.value, 1)
    assert found.precision.n == {"real": 300, "fake": 300}


def test_coverage_of_equal_distributions_tends_to_its_limit():
    found = density_coverage(normal(0, 2000, 3), normal(1, 2000, 3), k=3)
    assert found.coverage.value == pytest.approx(1 - 2**-3, abs=0.03)
    assert found.density.value == pytest.approx(1, abs=0.05)


def test_constant_sets_are_measured_as_defined():
    real, fake = torch.full((60, 7), 0.1), torch.full((60, 7), 0.3)
    assert values(real, real, 3) == [1, 1, 0, 0]  # at radius 0 the border is all there is
    assert values(real, fake, 3) == [0, 0, 0, 0]
    assert density_coverage(real, fake).density.interval is None


def test_neither_tiles_nor_order_change_anything(monkeypatch):
    real, fake = normal(0, 64, 16), normal(1, 56, 16, scale=1.2)
    before = survey(real, fake)
    monkeypatch.setattr(_distances, "_ROWS", 2)
    monkeypatch.setattr(_distances, "_NUMBERS", 1)
    after = survey(real, fake)
    for name in ("precision", "recall", "density", "coverage"):
        one, other = getattr(before, name), getattr(after, name)
        assert one.whole == other.whole
        np.testing.assert_array_equal(one.halves, other.halves)
        np.testing.assert_array_equal(one.quarters, other.quarters)
    for name in ("nearest", "distance", "realism"):
        torch.testing.assert_close(getattr(before, name), getattr(after, name), rtol=1e-13, atol=0)
    assert values(real.flip(0), fake.roll(20, 0), 3) == values(real, fake, 3)


# What reports show


def test_each_fake_has_its_nearest_real_sample_and_its_realism():
    real, fake = published()
    fake[7], fake[9] = real[3], real[5] + 1e-9
    seen = survey(real, fake)
    across = cdist(real, fake)
    np.testing.assert_array_equal(seen.nearest, across.argmin(0))
    np.testing.assert_allclose(seen.distance, across.min(0), rtol=1e-9)
    assert seen.distance[7] == 0
    assert seen.distance[9].item() == pytest.approx(4e-9, rel=1e-3)
    radii = np.sort(cdist(real, real), axis=1)[:, 3]
    small = radii <= np.median(radii)
    with np.errstate(divide="ignore"):
        expected = (radii[small, None] / across[small]).max(0)
    np.testing.assert_allclose(seen.realism, expected, rtol=1e-9)


def test_a_sample_that_was_remembered_stands_out():
    real, fake = normal(0, 200, 8).float(), normal(1, 100, 8).float()
    fake[42] = real[17]
    seen = survey(real, fake)
    assert seen.distance.argmin() == 42
    assert (seen.nearest[42], seen.distance[42]) == (17, 0)


# Intervals


def test_parts_are_balanced_and_use_all_contrasts_once():
    halvings, quarterings = PARTITIONS[1:16], PARTITIONS[16:]
    assert (halvings.sum(axis=1) == 8).all()
    signs = 1 - 2 * halvings
    np.testing.assert_array_equal(signs @ signs.T, 16 * np.eye(15))
    assert all(np.bincount(labels).tolist() == [4, 4, 4, 4] for labels in quarterings)
    within = [
        {tuple(signs[i]) for i in range(15) if len(set(zip(q, halvings[i], strict=True))) == 4} for q in quarterings
    ]
    assert [len(each) for each in within] == [3] * 5
    assert len(set.union(*within)) == 15


def test_of_a_mean_halves_and_quarters_find_the_variance_between_cells():
    cells = normal(0, 16, 1).flatten().numpy()
    mean = Parts.of(lambda p, part: float(cells[PARTITIONS[p] == part].mean()), divide=True)
    assert mean.whole == pytest.approx(cells.mean())
    for parts in (mean.halves, mean.quarters):
        assert _parts._variance(parts) == pytest.approx(cells.var(ddof=1) / 16, rel=1e-12)


def test_samples_are_dealt_evenly_and_by_the_seed():
    cells = deal(103, 0)
    assert set(np.bincount(cells)) == {6, 7}
    np.testing.assert_array_equal(cells, deal(103, 0))
    assert (cells != deal(103, 1)).any()


def test_a_proportion_is_in_its_own_interval_however_that_is_rounded():
    for n in range(1, 2000):
        for p in (0.0, 0.3, 1.0):
            low, high = wilson(p, n)
            assert 0 <= low <= p <= high <= 1


def test_wilson_holds_where_its_equation_does():
    for p, n in ((0.0, 50.0), (0.3, 20.0), (1.0, 7.0)):
        for bound in wilson(p, n):
            assert (p - bound) ** 2 == pytest.approx(_parts.STUDENT**2 * bound * (1 - bound) / n, abs=1e-12)


def test_the_quantile_is_students():
    assert stats.t.ppf(0.975, 8) == pytest.approx(_parts.STUDENT, rel=1e-9)


def test_intervals_hold_the_expectation():
    figures = []
    for draw in range(30):
        seen = survey(normal(2 * draw, 120, 4), normal(2 * draw + 1, 120, 4, scale=0.8))
        figures.append(
            [
                seen.proportion("precision", of="fake"),
                seen.proportion("recall", of="real"),
                seen.amount("density"),
                seen.proportion("coverage", of="real"),
            ]
        )
    for estimates in zip(*figures, strict=True):
        truth = np.mean([estimate.value for estimate in estimates])
        held = [low <= truth <= high for low, high in (estimate.interval for estimate in estimates)]
        widths = [high - low for low, high in (estimate.interval for estimate in estimates)]
        assert sum(held) >= stats.binom.ppf(0.001, len(held), 0.9)
        assert np.mean(widths) < 10 * np.std([estimate.value for estimate in estimates])


def test_intervals_are_one_sided_at_0_and_1():
    real = normal(0, 200, 3)
    found = precision_recall(real, real + 100)
    assert found.precision.interval == pytest.approx((0, 0.0259), abs=1e-4)
    assert precision_recall(real, real).recall.interval == pytest.approx((0.9741, 1), abs=1e-4)


def test_too_few_samples_have_a_figure_and_no_interval():
    found = precision_recall(normal(0, 31, 2), normal(1, 31, 2))
    assert found.precision.interval is None
    assert "too few" in found.precision.method
    assert precision_recall(normal(0, 32, 2), normal(1, 32, 2)).precision.interval is not None


def test_the_interval_is_of_the_seed_and_the_value_is_not():
    real, fake = published()
    one, other = (precision_recall(real, fake, seed=seed).precision for seed in (0, 1))
    assert one.value == other.value
    assert one.interval != other.interval


# Bad input


def test_sets_without_neighbours_are_refused():
    with pytest.raises(ArzhangError, match="3 samples in the fake set"):
        precision_recall(normal(0, 50, 2), normal(1, 3, 2))
    with pytest.raises(MisuseError, match="k is 0"):
        density_coverage(normal(0, 50, 2), normal(1, 50, 2), k=0)


def test_features_that_are_not_finite_or_do_not_match_are_refused():
    real, fake = normal(0, 50, 2), normal(1, 50, 2)
    fake[31, 1] = torch.nan
    with pytest.raises(ArzhangError, match="sample 31 of the fake set"):
        precision_recall(real, fake)
    with pytest.raises(ArzhangError, match="dimensions"):
        precision_recall(real, normal(1, 50, 3))


@pytest.mark.slow
def test_ten_thousand_against_ten_thousand_take_less_than_200_megabytes():
    script = """
import resource, torch
from arzhang.metrics._neighbours import survey
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
survey(torch.randn(100, 2048), torch.randn(100, 2048))
real, fake = torch.randn(10000, 2048), torch.randn(10000, 2048)
before = peak()
survey(real, fake)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200e6
