"""Flicker: what is put in at a known strength is found, where the plate stands still and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.code_values import Floats, requantise
from bitexpand.errors import PlateError, UsageError
from bitexpand.metrics.temporal import Flicker, FlickerMeter, Frame, flicker

quick = settings(deadline=None, max_examples=25)
SIZE = (40, 50, 3)


def ramp() -> Floats:
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    return (100 + 0.2 * x + 0.1 * y).astype(np.float32)[..., None].repeat(3, 2)


def shaking(sigma: float, frames: int, seed: int = 0) -> Iterator[Frame]:
    """A still plate, its truth, and a result that is off by noise anew in every frame."""
    random = np.random.default_rng(seed)
    for _ in range(frames):
        yield ramp() + random.normal(0, sigma, SIZE).astype(np.float32), requantise(ramp()), ramp()


@quick
@given(st.floats(0.01, 2), st.integers(0, 99))
def test_noise_anew_in_every_frame_is_its_sigma(sigma: float, seed: int) -> None:
    found = flicker(shaking(sigma, 6, seed))
    assert found.still_share == 1
    assert found.result_lsb == pytest.approx(sigma, rel=0.05)
    assert found.error_lsb == pytest.approx(sigma, rel=0.05)
    assert found.truth_lsb == 0


def test_an_error_that_stays_does_not_flicker() -> None:
    wrong_cv = ramp() + np.float32(0.4)
    assert flicker([(wrong_cv, requantise(ramp()), ramp())] * 4).error_lsb == 0


def test_it_is_the_temporal_standard_deviation_over_many_frames() -> None:
    frames = list(shaking(0.3, 60))
    expected = math.sqrt(np.var(np.stack([f[0] for f in frames]), axis=0, ddof=1).mean())
    assert flicker(frames).result_lsb == pytest.approx(expected, rel=0.01)


def test_grain_of_the_truth_that_the_result_follows_is_no_error() -> None:
    random = np.random.default_rng(1)
    truths = [ramp() + random.normal(0, 0.1, SIZE).astype(np.float32) for _ in range(5)]
    source_cv = requantise(ramp())
    follows = flicker((truth, source_cv, truth) for truth in truths)
    assert follows.error_lsb == 0
    assert follows.result_lsb == follows.truth_lsb == pytest.approx(0.1, rel=0.05)
    stands = flicker((ramp(), source_cv, truth) for truth in truths)
    assert stands.result_lsb == 0
    assert stands.error_lsb == pytest.approx(0.1, rel=0.05)


def test_what_moves_in_the_plate_does_not_count() -> None:
    source_cv, other_cv = requantise(ramp()), requantise(ramp())
    other_cv[:, 20:, 1] += 1  # one channel is enough
    result_cv, later_cv = ramp(), ramp()
    later_cv[:, 20:] += 30
    found = flicker([(result_cv, source_cv, None), (later_cv, other_cv, None)])
    assert found.result_lsb == 0
    assert (found.still, found.pixels) == (40 * 20, 40 * 50)
    assert (found.error_lsb, found.truth_lsb) == (None, None)


def test_nothing_still_has_no_flicker_to_tell() -> None:
    source_cv = requantise(ramp())
    found = flicker([(ramp(), source_cv, ramp()), (ramp(), source_cv + 1, ramp())])
    assert found.still_share == 0
    assert math.isnan(found.result_lsb)
    assert found.error_lsb is not None
    assert math.isnan(found.error_lsb)


@pytest.mark.parametrize("frames", [0, 1])
def test_a_sequence_without_pairs_has_none(frames: int) -> None:
    found = flicker(shaking(0.3, frames))
    assert found == Flicker()
    assert found.still_share == 0
    assert math.isnan(found.result_lsb)


def test_pairs_add_up_to_the_sequence() -> None:
    meter = FlickerMeter()
    parts = [meter.add(*frame) for frame in shaking(0.3, 5)]
    assert parts[0] == Flicker()
    assert sum(parts, Flicker()) == meter.total == flicker(shaking(0.3, 5))


def test_integer_codes_and_tiny_frames_will_do() -> None:
    one = np.ones((1, 1, 1), np.float32)
    code = np.ones((1, 1, 1), np.uint8)
    assert flicker([(one, code, None), (one + np.float32(0.5), code, None)]).result_lsb == pytest.approx(
        0.5 / math.sqrt(2)
    )


def test_across_a_gap_nothing_is_compared() -> None:
    first, second = shaking(0.3, 2)
    meter = FlickerMeter()
    meter.add(*first)
    meter.skip()
    assert meter.add(*second) == Flicker()


def test_a_bad_frame_is_refused_and_leaves_a_gap() -> None:
    first, second = shaking(0.3, 2)
    meter = FlickerMeter()
    meter.add(*first)
    damaged_cv = first[0].copy()
    damaged_cv[0, 0, 0] = np.nan
    with pytest.raises(PlateError, match="the result holds 1 samples that are NaN or Inf"):
        meter.add(damaged_cv, first[1], first[2])
    assert meter.add(*second) == Flicker()
    assert meter.total == Flicker()


def test_frames_that_do_not_fit_are_refused() -> None:
    result_cv, source_cv, truth_cv = next(shaking(0.3, 1))
    meter = FlickerMeter()
    with pytest.raises(PlateError, match=r"the result is 40x50x3 .* and the source 39x50x3"):
        meter.add(result_cv, source_cv[1:], truth_cv)
    meter.add(result_cv, source_cv, truth_cv)
    with pytest.raises(PlateError, match=r"the frame is 39x50x3 .* and the frame before it 40x50x3"):
        meter.add(result_cv[1:], source_cv[1:])
    meter.add(result_cv, source_cv, truth_cv)
    with pytest.raises(UsageError, match="flicker against a truth needs the truth of every frame"):
        meter.add(result_cv, source_cv)
