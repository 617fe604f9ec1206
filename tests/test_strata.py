"""Gains by stratum: what kind of picture a pixel lies in, and what was won there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.code_values import Floats, requantise
from bitexpand.metrics.strata import (
    GRADIENT_LIMITS,
    GRAIN_LIMIT,
    MAX_GAIN,
    STRATA,
    Errors,
    errors,
    strata,
)

quick = settings(deadline=None, max_examples=40)
RAMPS = [
    (low, high, STRATA[i])
    for i, (low, high) in enumerate(zip((0.0, *GRADIENT_LIMITS), (*GRADIENT_LIMITS, 40.0), strict=True))
]


def ramp(slope: float, angle: float, size: int = 24) -> Floats:
    """A grey plane that climbs ``slope`` LSB a pixel across its steeper axis; it may leave 0 .. 255."""
    across, down = np.cos(angle), np.sin(angle)
    y, x = np.mgrid[0:size, 0:size] * slope / max(abs(across), abs(down))
    return (100 + x * across + y * down).astype(np.float32)[..., None].repeat(3, 2)


def grain(sigma: float, size: int = 96, seed: int = 0) -> Floats:
    noise = np.random.default_rng(seed).normal(0, sigma, (size, size, 3))
    return (100 + noise).astype(np.float32)


def share(labels: npt.NDArray[np.uint8], stratum: str) -> float:
    return float(np.mean(labels == STRATA.index(stratum)))


@quick
@given(st.sampled_from(RAMPS), st.floats(0.02, 0.98), st.floats(0, 2 * np.pi))
def test_a_ramp_is_named_by_its_steeper_slope_at_any_angle(
    kind: tuple[float, float, str], between: float, angle: float
) -> None:
    low, high, stratum = kind
    labels = strata(ramp(low + between * (high - low), angle))
    # at the last column and row there is no next pixel, so that the mean there is of fewer differences
    assert (labels[:-3, :-3] == STRATA.index(stratum)).all()


@quick
@given(st.floats(0, 255), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_a_constant_plate_is_flat_whatever_its_size(
    value: float, height: int, width: int, channels: int
) -> None:
    labels = strata(np.full((height, width, channels), value, np.float32))
    assert labels.shape == (height, width, channels)
    assert labels.dtype == np.uint8
    assert (labels == STRATA.index("flat")).all()


@quick
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_tiny_plates_of_anything_have_labels(height: int, width: int, seed: int) -> None:
    plate_cv = (np.random.default_rng(seed).random((height, width, 3)) * 255).astype(np.float32)
    assert strata(plate_cv).max() < len(STRATA)
    assert errors(requantise(plate_cv), plate_cv, plate_cv).samples.sum() == plate_cv.size


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.15, 0.4, 0.5, 0.8, 1.2])
def test_grain_is_grainy_above_its_limit_only(sigma: float) -> None:
    found = share(strata(grain(sigma)), "grainy")
    assert found > 0.9 if sigma > 1.5 * GRAIN_LIMIT else found < 0.1


def test_the_limit_of_grain_is_its_sigma() -> None:
    # of 25 correlated responses the mean strays by a quarter or so
    below, at, above = (share(strata(grain(GRAIN_LIMIT * k)), "grainy") for k in (0.7, 1.0, 1.4))
    assert below < 0.1 < 0.3 < at < 0.6 < 0.8 < above


@pytest.mark.parametrize(("slope", "is_grainy"), [(0.5, True), (1.2, True), (3.0, False), (10.0, False)])
def test_grain_on_a_steep_ramp_is_the_ramp(slope: float, is_grainy: bool) -> None:
    labels = strata(ramp(slope, 0.0, 96) + grain(0.6) - 100)
    assert (share(labels, "grainy") > 0.9) == is_grainy


def test_an_edge_is_an_edge_and_its_surroundings_are_not() -> None:
    plate_cv = np.full((32, 32, 3), 60, np.float32)
    plate_cv[:, 16:] = 180
    labels = strata(plate_cv)
    assert (labels[:, 14:17] == STRATA.index("edge")).all()
    assert (labels[:, :12] == STRATA.index("flat")).all()
    assert (labels[:, 20:] == STRATA.index("flat")).all()


def test_channels_are_labelled_apart() -> None:
    plate_cv = np.stack([ramp(s, 0.0)[..., 0] for s in (0.0, 0.8, 20.0)], -1)
    middle = strata(plate_cv)[12, 12]
    assert [STRATA[label] for label in middle] == ["flat", "ramp", "edge"]


@quick
@given(st.floats(0.1, 0.5), st.floats(0.01, 0.5))
def test_the_gain_is_the_ratio_of_the_squared_errors_in_decibel(before: float, after: float) -> None:
    truth_cv = ramp(0.8, 0.3)
    found = errors(truth_cv + np.float32(before), truth_cv - np.float32(after), truth_cv)
    assert found.gain() == pytest.approx(20 * np.log10(before / after), abs=0.01)
    assert found.gain("ramp") == pytest.approx(found.gain(), abs=0.01)


def test_doing_nothing_gains_nothing_and_the_truth_gains_all() -> None:
    truth_cv = ramp(0.8, 0.3)
    input_cv = requantise(truth_cv)
    assert errors(input_cv, input_cv, truth_cv).gain() == 0
    assert errors(input_cv, truth_cv, truth_cv).gain() == MAX_GAIN
    assert errors(input_cv, 2 * truth_cv - input_cv, truth_cv).gain() == pytest.approx(0, abs=1e-3)


def test_no_gain_where_there_is_nothing_to_win() -> None:
    truth_cv = requantise(ramp(0.8, 0.0))
    found = errors(truth_cv, truth_cv + np.float32(0.1), truth_cv)
    assert np.isnan(found.gain())
    assert np.isnan(Errors().gain())
    assert np.isnan(errors(truth_cv, truth_cv, ramp(0.8, 0.0)).gain("edge"))


@quick
@given(st.integers(0, 99))
def test_strata_sum_to_the_whole_and_plates_to_their_pool(seed: int) -> None:
    random = np.random.default_rng(seed)
    plates = [ramp(s, a) + grain(g, 24) - 100 for s, a, g in random.random((3, 3)) * (8, 6, 1)]
    parts = [errors(requantise(p), p + np.float32(0.1), p) for p in plates]
    pooled = sum(parts, Errors())
    joined = np.concatenate(plates)
    direct = float(np.sum((requantise(joined) - joined).astype(np.float64) ** 2))
    assert pooled.before.sum() == pytest.approx(direct, rel=1e-6)
    assert pooled.samples.sum() == joined.size
    assert sum(pooled.share(s) for s in STRATA) == pytest.approx(1)
    assert pooled.gain() == pytest.approx(
        10 * np.log10(sum(p.before.sum() for p in parts) / sum(p.after.sum() for p in parts))
    )


def test_unknown_pixels_do_not_count_but_the_others_keep_their_labels() -> None:
    truth_cv = ramp(0.8, 0.3)
    input_cv = requantise(truth_cv)
    spoilt_cv = input_cv.copy()
    spoilt_cv[:8] += 50
    known = np.ones(truth_cv.shape[:2], bool)
    known[:8] = False
    found = errors(spoilt_cv, spoilt_cv, truth_cv, known)
    clean = errors(input_cv, input_cv, truth_cv)
    assert found.samples.sum() == known.sum() * 3
    assert found.before.sum() / found.samples.sum() < 0.2
    assert found.samples.sum() < clean.samples.sum()
    assert errors(input_cv, input_cv, truth_cv, ~known).samples.sum() == (~known).sum() * 3


def test_nothing_is_changed_in_place() -> None:
    truth_cv = grain(0.5, 16)
    kept = truth_cv.copy()
    strata(truth_cv)
    np.testing.assert_array_equal(truth_cv, kept)
