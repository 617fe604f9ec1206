"""PSNR, SSIM and errors in LSB: against scikit-image and pytorch-msssim, and where there is little to measure."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_msssim import ssim as reference_ssim_torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bitexpand.code_values import Floats, requantise, to_signal
from bitexpand.errors import PlateError, UsageError
from bitexpand.metrics.fidelity import MAX_DB, WINDOW, is_constant, lsb_errors, psnr, ssim

pytestmark = pytest.mark.usefixtures("one_thread")

quick = settings(deadline=None, max_examples=20)
Metric = Callable[[Floats, Floats, float], float]
RANGED = pytest.mark.parametrize("metric", [psnr, ssim])


def plates(height: int, width: int, channels: int, scale: float, seed: int) -> tuple[Floats, Floats]:
    """A truth of gradients and grain from 0 to ``scale``, and the same in 8 bits."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    truth = (0.1 + 0.6 * x + 0.2 * y)[..., None] * random.uniform(0.5, 1, channels)
    truth += random.normal(0, 10.0 ** random.uniform(-4, -1), truth.shape)
    truth = truth.astype(np.float32)
    return to_signal(requantise(truth * 255), 8) * np.float32(scale), truth * np.float32(scale)


def reference_ssim(result: Floats, truth: Floats, data_range: float) -> float:
    index = structural_similarity(
        truth.astype(np.float64),
        result.astype(np.float64),
        data_range=data_range,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert isinstance(index, float)
    return index


@quick
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
    st.sampled_from([1, 255, 30.5]),
    st.integers(0, 99),
)
def test_psnr_is_that_of_scikit_image(
    height: int, width: int, channels: int, scale: float, seed: int
) -> None:
    result, truth = plates(height, width, channels, scale, seed)
    expected = peak_signal_noise_ratio(truth.astype(np.float64), result.astype(np.float64), data_range=scale)
    assert psnr(result, truth, scale) == pytest.approx(expected, rel=1e-4)


@quick
@given(
    st.integers(11, 90),
    st.integers(11, 90),
    st.sampled_from([1, 3]),
    st.sampled_from([1, 255, 30.5]),
    st.integers(0, 99),
)
def test_ssim_is_that_of_scikit_image(
    height: int, width: int, channels: int, scale: float, seed: int
) -> None:
    result, truth = plates(height, width, channels, scale, seed)
    expected = reference_ssim(result, truth, scale)
    assert ssim(result, truth, scale) == pytest.approx(expected, rel=1e-4)
    # near 1 only the distance to it tells: 8 bits cost a thousandth and less
    assert 1 - ssim(result, truth, scale) == pytest.approx(1 - expected, rel=2e-3, abs=1e-7)


def test_ssim_is_that_of_pytorch_msssim_on_many_bands_of_rows() -> None:
    result, truth = plates(171, 40, 3, 1.0, seed=1)
    planes = (torch.from_numpy(plate).permute(2, 0, 1)[None].double() for plate in (result, truth))
    assert ssim(result, truth, 1.0) == pytest.approx(
        float(reference_ssim_torch(*planes, data_range=1.0)), rel=1e-6
    )


def test_8_bits_have_the_psnr_that_theory_says() -> None:
    result, truth = plates(256, 256, 3, 1.0, seed=2)
    assert psnr(result, truth, 1.0) == pytest.approx(10 * math.log10(12 * 255**2), abs=0.1)


@pytest.mark.parametrize("value", [0.0, 0.18, 1.0, 55.0])
def test_equal_pictures_score_the_most_there_is(value: float) -> None:
    for truth in (np.full((16, 16, 3), value, np.float32), plates(16, 16, 3, value or 1, seed=3)[1]):
        assert psnr(truth, truth.copy(), 1.0) == MAX_DB
        assert ssim(truth, truth.copy(), 1.0) == 1.0
        assert lsb_errors(truth, truth.copy()) == (0, 0, 0)


def test_an_error_too_small_to_tell_is_capped() -> None:
    truth = np.zeros((4, 4, 1), np.float32)
    assert psnr(truth + np.float32(1e-8), truth, 1.0) == MAX_DB
    assert psnr(truth + np.float32(1e-7), truth, 1.0) == pytest.approx(140, rel=1e-4)


def test_a_constant_truth_is_told_and_measured_from() -> None:
    black = np.zeros((16, 16, 3), np.float32)
    assert is_constant(black)
    assert is_constant(black + np.array([0.1, 0.2, 0.3], np.float32))
    assert not is_constant(plates(16, 16, 3, 1.0, seed=4)[1])
    assert psnr(black + np.float32(0.1), black, 1.0) == pytest.approx(20, rel=1e-4)
    c1 = 0.01**2  # of two constants only the luminance is compared
    assert ssim(black + np.float32(0.1), black, 1.0) == pytest.approx(c1 / (0.1**2 + c1), rel=1e-4)


def test_ssim_of_opposites_is_negative() -> None:
    grain = np.random.default_rng(5).normal(0, 0.1, (40, 40, 3)).astype(np.float32)
    half = np.float32(0.5)
    assert ssim(half - grain, half + grain, 1.0) == pytest.approx(
        reference_ssim(half - grain, half + grain, 1.0)
    )
    assert ssim(half - grain, half + grain, 1.0) < -0.5


def test_ssim_needs_a_whole_window() -> None:
    smallest = plates(WINDOW, WINDOW, 1, 1.0, seed=6)
    assert ssim(*smallest, 1.0) == pytest.approx(reference_ssim(*smallest, 1.0), rel=1e-4)
    with pytest.raises(PlateError, match="SSIM needs pictures of at least 11x11 px, not 30x10"):
        ssim(*plates(10, 30, 3, 1.0, seed=6), 1.0)


@RANGED
@pytest.mark.parametrize("data_range", [0, -1.0, math.inf, math.nan])
def test_a_wrong_range_is_refused(metric: Metric, data_range: float) -> None:
    with pytest.raises(
        UsageError, match=f"data_range={data_range}: give the distance from black to white, above 0"
    ):
        metric(*plates(16, 16, 3, 1.0, seed=7), data_range)


@pytest.mark.parametrize("metric", [psnr, ssim, lambda result, truth, _: lsb_errors(result, truth)])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_are_refused(metric: Metric, which: int, value: float) -> None:
    pictures = plates(16, 16, 3, 1.0, seed=8)
    pictures[which][3, 4:6, 1] = value
    with pytest.raises(
        PlateError, match=f"the {('result', 'truth')[which]} holds 2 samples that are NaN or Inf"
    ):
        metric(*pictures, 1.0)


def test_inf_on_both_sides_of_zero_is_counted() -> None:
    result, truth = plates(16, 16, 3, 1.0, seed=8)
    result[0, 0] = math.inf, -math.inf, 0
    with pytest.raises(PlateError, match="the result holds 2 samples"):
        psnr(result, truth, 1.0)


@pytest.mark.parametrize("metric", [psnr, ssim, lambda result, truth, _: lsb_errors(result, truth)])
def test_pictures_that_cannot_be_compared_are_refused(metric: Metric) -> None:
    truth = np.zeros((12, 16, 3), np.float32)
    with pytest.raises(
        PlateError, match=r"the result is 12x16x1 \(height x width x channels\) and the truth 12x16x3"
    ):
        metric(truth[..., :1], truth, 1.0)
    with pytest.raises(PlateError, match=r"the result has shape \(12, 16\)"):
        metric(truth[..., 0], truth[..., 0], 1.0)
    with pytest.raises(PlateError, match=r"the result has shape \(0, 16, 3\)"):
        metric(truth[:0], truth[:0], 1.0)


@quick
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_errors_in_lsb_are_those_of_numpy(height: int, width: int, seed: int) -> None:
    result_cv, truth_cv = plates(height, width, 3, 255, seed)
    apart = np.abs(result_cv.astype(np.float64) - truth_cv)
    found = lsb_errors(result_cv, truth_cv)
    assert found == pytest.approx((apart.mean(), np.percentile(apart, 99.9), apart.max()), rel=1e-4, abs=1e-5)
    assert found.max <= 0.5 + 1e-4


def test_nothing_is_changed_in_place() -> None:
    pictures = plates(20, 20, 3, 1.0, seed=9)
    kept = [plate.copy() for plate in pictures]
    psnr(*pictures, 1.0)
    ssim(*pictures, 1.0)
    lsb_errors(*pictures)
    for plate, before in zip(pictures, kept, strict=True):
        np.testing.assert_array_equal(plate, before)
