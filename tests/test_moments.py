import io
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from arzhang.moments import Moments, load
from arzhang.rng import generator
from arzhang.types import ArzhangError

PROVENANCE = {"extractor": "inception", "weights": "6726825d…", "pictures": "500"}


def samples(n=500, d=16, *, mean=0.0):
    scales = torch.logspace(0, -2, d, dtype=torch.float64)
    return torch.randn(n, d, generator=generator(0, "samples"), dtype=torch.float64) * scales + mean


def assert_same(found, expected, *, tolerance=1e-12):
    trace = expected.covariance.trace()
    assert found.n == expected.n
    assert (found.mean - expected.mean).abs().max() <= tolerance * (1 + expected.mean.abs().max())
    assert (found.covariance - expected.covariance).abs().max() <= tolerance * trace


def test_the_covariance_is_divided_by_n_minus_1_and_not_by_n_as_stylegan2_ada_does():
    x = samples()
    found = Moments.of(x)
    torch.testing.assert_close(found.mean, x.mean(0), rtol=0, atol=1e-15)
    torch.testing.assert_close(found.covariance.numpy(), np.cov(x.numpy().T, ddof=1), rtol=0, atol=1e-14)
    assert (found.covariance - torch.cov(x.T, correction=0)).abs().max() > 1e-4


def test_moments_of_seven_uneven_shards_are_those_of_the_whole():
    x = samples(1000)
    shards = x.split([1, 2, 500, 3, 94, 300, 100])
    merged = Moments.of_none(16)
    for shard in shards:
        merged = merged.merge(Moments.of(shard))
    whole = Moments.of(x)
    assert_same(merged, whole)
    assert_same(Moments.of(iter(shards)), whole)
    assert_same(Moments.of(shards[2]).merge(Moments.of_none(16)), Moments.of(shards[2]))


@pytest.mark.parametrize("size", [1, 7, 4096, 10_000])
def test_a_mean_of_a_million_takes_nothing_from_a_variance_of_one(size):
    x = samples(10_000 if size > 1 else 1000, 8, mean=1e6)
    exact = np.cov((x - 1e6).numpy().T)  # the subtraction is exact
    found = Moments.of(x.split(size)).covariance.numpy()
    assert abs(found - exact).max() < 1e-10  # squares of what is not centred would be off by 1e-4


def test_features_in_float32_are_widened_before_they_are_added_up():
    x = (samples(5000) + 100).float()
    assert_same(Moments.of(x), Moments.of(x.double()), tolerance=0)


def test_two_processes_have_the_moments_of_one(tmp_path):
    script = """
import sys, torch
from pathlib import Path
from arzhang import processes
from arzhang.moments import Moments
x = torch.from_file(sys.argv[1], size=8000, dtype=torch.float64).reshape(500, 16)
with processes.joined(torch.device("cpu")):
    part = slice(0, 130) if processes.rank() else slice(130, 500)
    Moments.of(x[part]).all_reduced().save(Path(f"{sys.argv[1]}.{processes.rank()}.npz"), {})
    alone = Moments.of(x) if processes.rank() else Moments.of_none(16)
    alone.all_reduced().save(Path(f"{sys.argv[1]}.alone{processes.rank()}.npz"), {})
"""
    x = samples(mean=100.0)
    (tmp_path / "x").write_bytes(x.numpy().tobytes())
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        shared = {
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(door.getsockname()[1]),
            "WORLD_SIZE": "2",
        }
    command = [sys.executable, "-c", script, str(tmp_path / "x")]
    both = [subprocess.Popen(command, env={**shared, "RANK": str(rank), "OMP_NUM_THREADS": "1"}) for rank in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    for name in ("0", "1", "alone0", "alone1"):
        assert_same(load(tmp_path / f"x.{name}.npz")[0], Moments.of(x))


def test_without_other_processes_the_moments_of_all_are_ones_own():
    assert_same(Moments.of(samples()).all_reduced(), Moments.of(samples()), tolerance=0)


def test_saved_moments_come_back_with_their_provenance(tmp_path):
    moments = Moments.of(samples())
    moments.save(tmp_path / "real.npz", PROVENANCE)
    found, provenance = load(tmp_path / "real.npz")
    assert provenance == PROVENANCE
    assert_same(found, moments, tolerance=1e-15)


def test_saved_moments_can_be_read_by_other_packages(tmp_path):
    Moments.of(samples()).save(tmp_path / "real.npz", PROVENANCE)
    with np.load(tmp_path / "real.npz", allow_pickle=False) as arrays:
        mu, sigma = arrays["mu"][:], arrays["sigma"][:]  # as pytorch-fid and clean-fid do
    assert abs(mu - samples().mean(0).numpy()).max() < 1e-15
    assert abs(sigma - np.cov(samples().numpy().T)).max() < 1e-14


def test_statistics_of_other_packages_are_read_but_do_not_say_of_how_many_they_are(tmp_path):
    x = samples().numpy()
    np.savez(tmp_path / "peer.npz", mu=x.mean(0).astype(np.float32), sigma=np.cov(x.T))
    found, provenance = load(tmp_path / "peer.npz")
    assert (found.n, provenance, found.mean.dtype) == (None, {}, torch.float64)
    torch.testing.assert_close(found.covariance.numpy(), np.cov(x.T))
    for merge in (lambda: found.merge(Moments.of(samples())), found.all_reduced):
        with pytest.raises(ArzhangError, match="do not say of how many samples they are cannot be merged"):
            merge()
    with pytest.raises(ArzhangError, match="are not saved again"):
        found.save(tmp_path / "again.npz", {})


def arrays(**changed):
    x = samples(20, 3).numpy()
    content = io.BytesIO()
    np.savez(content, **{"mu": x.mean(0), "sigma": np.cov(x.T), "n": 20, "provenance": json.dumps({}), **changed})
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as statistics"),
        (b"neither", "cannot be read as statistics"),
        (arrays()[:300], "cannot be read as statistics"),
        (arrays(mu=np.array([print], dtype=object)), "Object arrays cannot be loaded"),
        (arrays(mu=np.array(["a", "b", "c"])), "could not convert string"),
        (arrays(n=np.arange(3)), "cannot be read as statistics"),
        (arrays(provenance="{"), "cannot be read as statistics"),
        (arrays(n=1), "is of 1 samples, but a covariance takes at least two"),
        (arrays(mu=np.zeros(2)), r"a mean of shape \(2,\) and a covariance of shape \(3, 3\)"),
        (arrays(mu=np.array([0, 0, np.nan])), "expected were finite numbers"),
    ],
)
def test_what_is_no_file_of_statistics_is_refused_in_a_sentence(tmp_path, content, said):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(ArzhangError, match=said):
        load(tmp_path / "bad.npz")


def test_a_plain_array_and_a_file_that_is_not_there_are_refused_in_a_sentence(tmp_path):
    np.save(tmp_path / "plain.npy", np.zeros(3))
    for name in ("plain.npy", "missing.npz"):
        with pytest.raises(ArzhangError, match=f"{name} cannot be read as statistics"):
            load(tmp_path / name)


def test_a_sample_that_is_not_finite_is_named():
    x = samples(9000).float()
    for bad in (float("nan"), float("inf")):
        x[5123, 3] = bad
        with pytest.raises(ArzhangError, match="features of sample 5123 are not finite"):
            Moments.of(x)


def test_too_few_samples_have_no_covariance():
    with pytest.raises(ArzhangError, match="no samples"):
        Moments.of([])
    with pytest.raises(ArzhangError, match="at least two samples, and here are 1"):
        _ = Moments.of(samples(1)).covariance


def test_moments_of_different_features_are_not_merged():
    with pytest.raises(ArzhangError, match="Moments of 16 and of 3 dimensions cannot be merged"):
        Moments.of(samples()).merge(Moments.of(samples(20, 3)))
