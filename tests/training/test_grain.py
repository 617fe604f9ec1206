"""Grain is as strong as it says, whatever its kind."""

from __future__ import annotations

import numpy as np
import pytest

from training.grain import BLUR, SKEW, draw_grain, grain, skewed


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("blur", [0.0, *BLUR])
@pytest.mark.parametrize("sigma", [1 / 16, 2.0])
def test_sigma_is_what_was_asked_for(sigma: float, blur: float, shared: bool) -> None:
    noise = grain(np.random.default_rng(0), 400, sigma, blur, shared)
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(sigma, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.02 * sigma)
    border = np.concatenate(
        [noise[:2].ravel(), noise[-2:].ravel(), noise[:, :2].ravel(), noise[:, -2:].ravel()]
    )
    assert border.std() == pytest.approx(sigma, rel=0.06)
    assert np.mean(np.abs(noise) < sigma) == pytest.approx(0.6827, abs=0.01)  # Gaussian


@pytest.mark.parametrize("blur", [0.0, 0.7, 1.2])
def test_neighbours_correlate_as_a_gaussian_blur_makes_them(blur: float) -> None:
    noise = grain(np.random.default_rng(1), 400, 1.0, blur, False)
    expected = np.exp(-1 / (4 * blur**2)) if blur else 0
    for across in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1]):
        assert np.mean(across) == pytest.approx(expected, abs=0.03)


def test_channels_share_their_grain_or_not() -> None:
    own, shared = (grain(np.random.default_rng(2), 200, 1.0, 0.0, kind) for kind in (False, True))
    assert abs(np.corrcoef(own[..., 0].ravel(), own[..., 1].ravel())[0, 1]) < 0.02
    assert np.array_equal(shared[..., 0], shared[..., 2])


def test_sigmas_are_drawn_evenly_on_a_log_scale() -> None:
    random = np.random.default_rng(3)
    sigmas = np.log2([draw_grain(random, 48, (0.0625, 4), 0.3).std() for _ in range(600)])
    assert np.histogram(sigmas, 3, (-4, 2))[0] / 600 == pytest.approx(np.full(3, 1 / 3), abs=0.06)


def test_the_share_of_correlated_grain_is_what_was_asked_for() -> None:
    random = np.random.default_rng(4)
    drawn = [draw_grain(random, 64, (1, 1), 0.25) for _ in range(400)]
    correlated = [np.mean(noise[1:] * noise[:-1]) > 0.1 for noise in drawn]
    assert np.mean(correlated) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("skew", SKEW)
def test_skewed_grain_is_as_strong_and_most_of_it_lies_just_below_the_mean(skew: float) -> None:
    noise = np.random.default_rng(5).standard_normal(4_000_000, np.float32)
    specks = skewed(noise, skew)
    assert specks.dtype == np.float32
    assert specks.mean() == pytest.approx(0, abs=0.02)
    assert specks.std() == pytest.approx(1, rel=0.05)
    assert -1 / np.sqrt(np.expm1(skew**2)) < specks.min()  # what it piles up at
    assert np.median(specks) < -0.1
    assert np.array_equal(np.argsort(specks[:1000]), np.argsort(noise[:1000]))


def test_the_share_of_skewed_grain_is_what_was_asked_for() -> None:
    random = np.random.default_rng(6)
    drawn = [draw_grain(random, 64, (1, 1), 0.25, 0.3) for _ in range(400)]
    assert np.mean([np.median(noise) < -0.05 for noise in drawn]) == pytest.approx(0.3, abs=0.06)
