"""Code values lie where their kind says, and the truth stays what it was."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.code_values import SOURCE_KINDS, peak, requantise
from training.augmentation import Augmentation, SourceKind
from training.degrade import DEGRADATIONS, draw_kind

quick = settings(deadline=None, max_examples=60)
SETTINGS = Augmentation()
KINDS: tuple[SourceKind, ...] = get_args(SourceKind)
SEEDS = st.integers(0, 2**32)


def some_truth(seed: int, bits: int) -> np.ndarray:
    """Return truth everywhere in the range: steps, edges of bins, black, white, and values just beside them."""
    random = np.random.default_rng(seed)
    truth_cv = random.uniform(0, peak(bits), (24, 20, 3)).astype(np.float32)
    truth_cv[:4] = random.integers(0, 2 * peak(bits) + 1, (4, 20, 3)) / 2
    truth_cv[4] = np.nextafter(truth_cv[3], np.float32(peak(bits)))
    truth_cv[5] = np.nextafter(truth_cv[3], np.float32(0))
    truth_cv[6], truth_cv[7] = 0, peak(bits)
    return truth_cv


def test_every_kind_of_the_settings_is_there_and_bounded_as_inference_bounds_it() -> None:
    assert set(DEGRADATIONS) == set(KINDS)
    assert all(d.truth is SOURCE_KINDS[d.truth.name] for d in DEGRADATIONS.values())
    assert {kind: (d.bits, d.truth.name) for kind, d in DEGRADATIONS.items()} == {
        "rounded": (8, "rounded"),
        "truncated": (8, "truncated"),
        "dithered": (8, "dithered"),
        "triangular": (8, "triangular"),
        "jpeg": (8, "lossy"),
        "h264": (8, "lossy"),
        "ten_bit": (10, "rounded"),
    }


@quick
@given(st.sampled_from(KINDS), SEEDS)
def test_the_truth_lies_where_the_kind_says(kind: SourceKind, seed: int) -> None:
    degradation = DEGRADATIONS[kind]
    truth_cv = some_truth(seed, degradation.bits)
    before = truth_cv.copy()
    input_cv = degradation.apply(np.random.default_rng(seed), truth_cv, SETTINGS)
    assert np.array_equal(truth_cv, before)
    assert input_cv.dtype == np.float32
    assert input_cv.shape == truth_cv.shape
    assert np.array_equal(input_cv, np.rint(input_cv))
    assert input_cv.min() >= 0
    assert input_cv.max() <= peak(degradation.bits)
    if kind not in ("jpeg", "h264"):
        distance = truth_cv - input_cv
        assert distance.min() >= -degradation.truth.below - 1e-4
        assert distance.max() <= degradation.truth.above + 1e-4


@pytest.mark.parametrize(
    ("kind", "reached"), [("rounded", 0.999), ("truncated", 0.999), ("dithered", 0.99), ("triangular", 0.9)]
)
def test_no_bound_is_wider_than_it_must_be(kind: SourceKind, reached: float) -> None:
    truth_cv = np.random.default_rng(0).uniform(2, 250, (200, 200, 3)).astype(np.float32)
    degradation = DEGRADATIONS[kind]
    distance = truth_cv - degradation.apply(np.random.default_rng(1), truth_cv, SETTINGS)
    assert distance.min() <= -degradation.truth.below * reached
    assert distance.max() >= degradation.truth.above * reached


@quick
@given(st.sampled_from(["rounded", "truncated", "ten_bit"]), SEEDS)
def test_a_plate_of_integers_stays_what_it_is(kind: SourceKind, seed: int) -> None:
    bits = DEGRADATIONS[kind].bits
    plate_cv = np.random.default_rng(seed).integers(0, peak(bits) + 1, (9, 9, 3)).astype(np.float32)
    assert np.array_equal(DEGRADATIONS[kind].apply(np.random.default_rng(0), plate_cv, SETTINGS), plate_cv)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 0.75])
def test_dither_averages_to_the_truth(fraction: float) -> None:
    truth_cv = np.full((250, 250, 3), 100 + fraction, np.float32)
    for kind in ("dithered", "triangular"):
        input_cv = DEGRADATIONS[kind].apply(np.random.default_rng(5), truth_cv, SETTINGS)
        assert input_cv.mean() == pytest.approx(100 + fraction, abs=0.005)
    # the point of triangular dither: the error's variance, 1/4 LSB², does not depend on the signal
    assert np.var(input_cv - truth_cv) == pytest.approx(0.25, abs=0.005)


def smooth() -> np.ndarray:
    y, x = np.mgrid[:64, :64].astype(np.float32)
    return np.stack([100 + 0.3 * x, 120 + 0.2 * y, 90 + 0.1 * (x + y)], axis=-1)


def test_lossy_holds_nearly_all_of_a_smooth_jpeg() -> None:
    truth_cv, random = smooth(), np.random.default_rng(0)
    distance = np.abs([truth_cv - DEGRADATIONS["jpeg"].apply(random, truth_cv, SETTINGS) for _ in range(40)])
    assert np.mean(distance <= SOURCE_KINDS["lossy"].above) > 0.99
    assert np.mean(distance > 0.5) > 0.2  # and it is lossy


def test_jpeg_is_as_good_as_its_quality() -> None:
    truth_cv = smooth()
    truth_cv[:, 32:] += 60

    def error(quality: int) -> float:
        settings, random = Augmentation(jpeg_quality=(quality, quality)), np.random.default_rng(0)
        made = [DEGRADATIONS["jpeg"].apply(random, truth_cv, settings) for _ in range(12)]
        return float(np.mean((np.array(made) - truth_cv) ** 2))

    assert error(30) > error(75) > error(98)


def test_jpeg_draws_its_subsampling_and_where_its_blocks_begin() -> None:
    """At quality 100 only 4:2:0 hurts colour edges, by where they fall in the 2x2 cells."""
    truth_cv = np.zeros((32, 32, 3), np.float32)
    truth_cv[:, ::2, 0] = 200
    settings, random = Augmentation(jpeg_quality=(100, 100)), np.random.default_rng(0)
    made = [DEGRADATIONS["jpeg"].apply(random, truth_cv, settings) for _ in range(40)]
    errors = np.array([np.abs(input_cv - truth_cv).max() for input_cv in made])
    assert 5 < np.sum(errors < 5) < 35
    assert len({input_cv.tobytes() for input_cv in made}) > 3


def test_kinds_are_drawn_by_weight() -> None:
    random = np.random.default_rng(0)
    drawn = [draw_kind(random, {"rounded": 3, "jpeg": 0, "ten_bit": 1}) for _ in range(2000)]
    assert drawn.count("jpeg") == 0
    assert drawn.count("rounded") / 2000 == pytest.approx(0.75, abs=0.04)


def test_rounding_is_that_of_the_product() -> None:
    truth_cv = some_truth(3, 8)
    assert np.array_equal(
        DEGRADATIONS["rounded"].apply(np.random.default_rng(0), truth_cv, SETTINGS), requantise(truth_cv)
    )
