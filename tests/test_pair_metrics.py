"""PSNR, SSIM, MS-SSIM and L1 of pairs of pictures, and the luma that super-resolution is judged on."""

import importlib
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import correlate1d

from arzhang.metrics import _mean, l1, ms_ssim, psnr, ssim
from arzhang.metrics._luma import luma
from arzhang.rng import generator
from arzhang.types import MisuseError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
ALL = pytest.mark.parametrize("metric", [l1, ms_ssim, psnr, ssim], ids=["l1", "ms_ssim", "psnr", "ssim"])


def each(metric, output, target, **options):
    return importlib.import_module(f"arzhang.metrics.{metric.__name__}").each(output, target, **options)


def published():
    state = np.random.RandomState(42)
    one = state.rand(1, 3, 256, 256)
    return torch.from_numpy(one), torch.from_numpy(np.clip(one + 0.1 * state.randn(1, 3, 256, 256), 0, 1))


def pictures(seed, *shape):
    return torch.rand(*shape, generator=generator(seed)) * 2 - 1


def window(dtype=torch.float64):
    weights = torch.exp(-torch.arange(-5, 6, dtype=dtype).square() / 4.5)
    return (weights / weights.sum()).double().numpy()


def by_scipy(x, y, span, weights):
    """Similarity and structure of one channel, by correlation."""

    def blur(picture):
        rows = correlate1d(picture, weights, axis=0, mode="constant")
        return correlate1d(rows, weights, axis=1, mode="constant")[5:-5, 5:-5]

    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    structure = (2 * vxy + c2) / (vx + vy + c2)
    return (structure * (2 * mx * my + c1) / (mx * mx + my * my + c1)).mean(), structure.mean()


def pooled(picture):
    """Means of 2 x 2 squares, of what there is of the last ones."""
    height, width = picture.shape
    rows = np.add.reduceat(picture, np.arange(0, height, 2), axis=0)
    counts = np.add.outer(np.zeros((height + 1) // 2), np.zeros((width + 1) // 2))
    counts += np.minimum(2, height - np.arange(0, height, 2))[:, None] * np.minimum(2, width - np.arange(0, width, 2))
    return np.add.reduceat(rows, np.arange(0, width, 2), axis=1) / counts


def ms_by_scipy(x, y, span, weights):
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        similarity, structure = by_scipy(x, y, span, weights)
        product *= (similarity if scale == 4 else structure) ** weight
        x, y = pooled(x), pooled(y)
    return product


# Values


def test_published_values_are_met():
    one, other = published()
    assert psnr(one, other, span=1.0).value == pytest.approx(20.489679596770813, abs=1e-12)
    assert ssim(one, other, span=1.0).value == pytest.approx(0.9455607472, abs=1e-10)
    assert ms_ssim(one, other, span=1.0).value == pytest.approx(0.9557978583, abs=1e-6)  # of a window in float32


def test_the_published_ms_ssim_is_ours_but_for_its_window_in_single_precision():
    one, other = (each.numpy()[0] for each in published())
    of = lambda dtype: np.mean([ms_by_scipy(x, y, 1.0, window(dtype)) for x, y in zip(one, other, strict=True)])  # noqa: E731
    assert of(torch.float32) == pytest.approx(0.9557978583, abs=1e-9)
    assert of(torch.float64) == pytest.approx(ms_ssim(*published(), span=1.0).value, rel=1e-12)


def test_psnr_of_four_pixels_is_what_they_give():
    one, other = (torch.tensor(rows).reshape(1, 1, 2, 2) for rows in ([[0.0, 1], [2, 3]], [[3.0, 2], [1, 0]]))
    assert psnr(one, other, span=3.0).value == pytest.approx(2.552725, abs=1e-6)
    assert psnr(one, other, span=3.0).value == pytest.approx(10 * math.log10(9 / 5), rel=1e-14)


@pytest.mark.parametrize("size", [(11, 11), (12, 31), (40, 23)])
def test_ssim_is_what_scipy_gives(size):
    output, target = pictures(0, 2, 3, *size), pictures(1, 2, 3, *size)
    expected = [
        np.mean([by_scipy(x, y, 2.0, window())[0] for x, y in zip(*pair, strict=True)])
        for pair in zip(output.double().numpy(), target.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(each(ssim, output, target), expected, rtol=1e-11)


@pytest.mark.parametrize("size", [(161, 161), (176, 165), (192, 250)])
def test_ms_ssim_is_what_scipy_gives_with_odd_sides_too(size):
    output = pictures(0, 1, 2, *size)
    target = (output + 0.3 * pictures(1, 1, 2, *size)).clamp(-1, 1)
    channels = zip(output[0].double().numpy(), target[0].double().numpy(), strict=True)
    expected = np.mean([ms_by_scipy(x, y, 2.0, window()) for x, y in channels])
    assert each(ms_ssim, output, target).item() == pytest.approx(expected, rel=1e-11)


def test_ssim_of_a_window_is_its_equation():
    output, target = pictures(0, 1, 1, 11, 11), pictures(1, 1, 1, 11, 11)
    weights = np.outer(window(), window())
    x, y = (each[0, 0].double().numpy() for each in (output, target))
    mean = lambda values: (weights * values).sum()  # noqa: E731
    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean((x - mx) ** 2), mean((y - my) ** 2), mean((x - mx) * (y - my))
    c1, c2 = 0.02**2, 0.06**2
    expected = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(output, target).value == pytest.approx(expected, rel=1e-10)


def test_l1_is_in_the_unit_of_the_pictures():
    output, target = pictures(0, 3, 3, 5, 7), pictures(1, 3, 3, 5, 7)
    found = l1(output, target)
    assert found.value == pytest.approx(np.abs(output.double().numpy() - target.double().numpy()).mean(), rel=1e-12)
    assert found.higher_is_better is False


@ALL
def test_span_is_the_unit_and_nothing_else(metric):
    output, target = pictures(0, 2, 3, 170, 170), pictures(1, 2, 3, 170, 170)
    in_bytes = [(pictures.double() + 1) * 127.5 for pictures in (output, target)]
    if metric is l1:
        assert l1(*in_bytes).value == pytest.approx(127.5 * l1(output, target).value, rel=1e-12)
    elif metric is psnr:
        assert psnr(*in_bytes, span=255.0).value == pytest.approx(psnr(output, target).value, rel=1e-12)
    else:  # whose luminance is not blind to where 0 is
        scaled = [pictures.double() * 127.5 for pictures in (output, target)]
        assert metric(*scaled, span=255.0).value == pytest.approx(metric(output, target).value, rel=1e-12)


@ALL
def test_the_batch_changes_nothing(metric):
    output, target = pictures(0, 3, 3, 165, 165), pictures(1, 3, 3, 165, 165)
    alone = torch.cat([each(metric, *pair) for pair in zip(output.split(1), target.split(1), strict=True)])
    torch.testing.assert_close(each(metric, output, target), alone, rtol=1e-13, atol=0)


@ALL
def test_figures_are_of_double_precision(metric):
    output, target = pictures(0, 1, 3, 165, 165), pictures(1, 1, 3, 165, 165)
    assert each(metric, output, target).dtype == torch.float64
    assert metric(output, target).value == metric(output.double(), target.double()).value


# Identity and estimates


@pytest.mark.parametrize("metric", [ssim, ms_ssim], ids=["ssim", "ms_ssim"])
def test_of_the_same_pictures_similarities_are_1(metric):
    output = pictures(0, 2, 3, 165, 165)
    assert metric(output, output).value == pytest.approx(1, abs=1e-14)
    flat = torch.full((2, 3, 165, 165), 0.3)
    assert metric(flat, flat).value == pytest.approx(1, abs=1e-14)


def test_structures_that_oppose_each_other_count_as_nothing_in_ms_ssim():
    output = pictures(0, 1, 1, 165, 165)
    assert each(ms_ssim, output, -output).item() == 0


def test_psnr_of_identical_pictures_is_infinite_and_says_so():
    output, target = pictures(0, 3, 3, 8, 8), pictures(1, 3, 3, 8, 8)
    rest = psnr(output[1:], target[1:]).value
    target[0] = output[0]
    found = psnr(output, target)
    assert found.value == math.inf
    assert found.interval is None
    (remark,) = found.remarks
    assert remark.startswith("1 of 3 pairs are identical")
    assert f"{rest:.4g} dB" in remark
    assert psnr(output, output).value == math.inf


@ALL
def test_the_interval_is_students(metric):
    output, target = pictures(0, 7, 1, 165, 165), pictures(1, 7, 1, 165, 165)
    target = torch.lerp(target, output, torch.linspace(0, 0.8, 7)[:, None, None, None])
    found, values = metric(output, target), each(metric, output, target)
    low, high = stats.t.interval(0.95, 6, loc=values.mean().item(), scale=stats.sem(values.numpy()))
    assert found.interval == pytest.approx((low, high), rel=1e-3)
    assert found.n == {"pairs": 7}


@ALL
def test_one_pair_has_no_interval(metric):
    assert metric(pictures(0, 1, 1, 165, 165), pictures(1, 1, 1, 165, 165)).interval is None


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 15, 100, 10_000])
def test_the_quantile_is_students(freedom):
    assert _mean.student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1 / 3000)


def test_student_covers():
    held = 0
    for draw in range(200):
        target = torch.zeros(30, 1, 2, 2)
        output = torch.rand(30, 1, 2, 2, generator=generator(draw))
        low, high = l1(output, target).interval
        held += low <= 0.5 <= high
    assert 180 <= held <= 198


# Bad input


@ALL
def test_pictures_of_two_sizes_are_refused(metric):
    with pytest.raises(MisuseError, match="1 x 3 x 170 x 170 and 1 x 3 x 170 x 171"):
        metric(pictures(0, 1, 3, 170, 170), pictures(1, 1, 3, 170, 171))


def test_pictures_smaller_than_a_window_are_refused():
    with pytest.raises(MisuseError, match="11 or more; found 10 x 40"):
        ssim(pictures(0, 1, 3, 10, 40), pictures(1, 1, 3, 10, 40))
    with pytest.raises(MisuseError, match="161 or more; found 300 x 160"):
        ms_ssim(pictures(0, 1, 3, 300, 160), pictures(1, 1, 3, 300, 160))


# Luma


def test_luma_is_that_of_bt_601_in_studio_range():
    corners = torch.tensor([[-1, -1, -1], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).float()
    found = luma(corners.T.reshape(1, 3, 1, 5), border=0).flatten()
    expected = [16, 235, 16 + 219 * 0.299, 16 + 219 * 0.587, 16 + 219 * 0.114]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_luma_leaves_the_border_out_and_takes_grey_as_its_three_channels():
    grey = pictures(0, 2, 1, 12, 10)
    found = luma(grey, border=3)
    assert found.shape == (2, 1, 6, 4)
    assert torch.equal(found, luma(grey.expand(-1, 3, -1, -1), border=3))
    torch.testing.assert_close(found, 16 + 219 * (grey[:, :, 3:9, 3:7].double() + 1) / 2)


def test_psnr_on_luma_forgives_what_happens_at_the_border():
    target = pictures(0, 1, 3, 20, 20)
    output = (target * 0.9).clone()
    other = output.clone()
    other[:, :, :2] = 1
    one, two = (psnr(luma(each, border=2), luma(target, border=2), span=255.0).value for each in (output, other))
    assert one == two


def test_luma_of_nothing_is_refused():
    with pytest.raises(MisuseError, match="border of 5"):
        luma(pictures(0, 1, 3, 10, 40), border=5)
    with pytest.raises(MisuseError, match="2 channels"):
        luma(pictures(0, 1, 2, 10, 40), border=1)
