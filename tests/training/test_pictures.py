"""The pictures of a run: bands are plain to see, the error has its scale, and one stretch serves all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.code_values import Floats, requantise
from bitexpand.errors import UsageError
from training.pictures import GUTTER, HEADER, LARGEST, SMALLEST, strip


def ramp(height: int, width: int, run: float = 16, start: float = 80) -> Floats:
    """A grey ramp in LSB that climbs one step in ``run`` pixels."""
    across = start + np.arange(width, dtype=np.float32) / run
    return np.broadcast_to(across[None, :, None], (height, width, 3)).astype(np.float32)


def panels(page: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.int_]]:
    """Input, output, truth and error below their names."""
    width = (page.shape[1] - 3 * GUTTER) // 4
    return [page[HEADER:, i * (width + GUTTER) :][:, :width].astype(int) for i in range(4)]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 700), st.integers(1, 700))
def test_every_size_makes_a_strip(height: int, width: int) -> None:
    plate_cv = np.random.default_rng(0).random((height, width, 3), np.float32) * 255
    page = strip(plate_cv, plate_cv, plate_cv)
    assert page.dtype == np.uint8
    assert page.shape[0] - HEADER <= LARGEST
    assert 4 * SMALLEST <= page.shape[1] - 3 * GUTTER <= 4 * LARGEST


def test_bands_show_in_the_input_and_not_in_the_truth() -> None:
    truth_cv = ramp(200, 320)
    before, after, truth, _ = panels(strip(requantise(truth_cv), truth_cv, truth_cv))
    np.testing.assert_array_equal(after, truth)
    assert np.abs(np.diff(before[:, 40:-40], axis=1)).max() >= 8
    assert np.abs(np.diff(truth[:, 40:-40], axis=1)).max() <= 2


def test_the_input_alone_decides_the_stretch() -> None:
    truth_cv = ramp(100, 320)
    input_cv = requantise(truth_cv)
    one = panels(strip(input_cv, truth_cv, truth_cv))
    other = panels(strip(input_cv, truth_cv * 0, truth_cv))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[2], other[2])


@pytest.mark.parametrize(
    ("error", "level"), [(0, 128), (0.5, 255), (-0.5, 0), (3, 255), (-3, 0), (0.25, 191), (-0.25, 64)]
)
def test_the_error_is_grey_at_zero_and_ends_at_half_a_step(error: float, level: int) -> None:
    truth_cv = ramp(64, 200)
    drawn = panels(strip(truth_cv, truth_cv + np.float32(error), truth_cv))[3]
    assert np.abs(drawn - level).max() <= 1


@pytest.mark.parametrize("scale", [1, 4])
def test_a_step_is_amplified_alike_at_every_bit_depth(scale: int) -> None:
    truth_cv = ramp(64, 320, start=80 * scale)
    before, *_ = panels(strip(requantise(truth_cv), truth_cv, truth_cv))
    assert 8 <= np.abs(np.diff(before[:, 40:-40], axis=1)).max() <= 14


def test_large_plates_keep_samples_and_small_ones_repeat_them() -> None:
    truth_cv = ramp(100, 1280)
    output_cv = truth_cv.copy()
    output_cv[:, ::2] += 0.5  # a mean of two pixels would call it a quarter of a step
    large = panels(strip(truth_cv, output_cv, truth_cv))[3]
    assert large.shape[1] == LARGEST
    assert (large == 255).all()
    small = panels(strip(truth_cv[:40, :40], output_cv[:40, :40], truth_cv[:40, :40]))[3]
    assert small.shape[:2] == (SMALLEST, SMALLEST)
    assert (small[:, :4] == 255).all()
    assert (np.abs(small[:, 4:8] - 128) <= 1).all()


def test_every_panel_has_its_name() -> None:
    page = strip(*[ramp(64, 200)] * 3)
    width = (page.shape[1] - 3 * GUTTER) // 4
    names = [page[:HEADER, i * (width + GUTTER) :][:, :width] for i in range(4)]
    assert all(name.max() > 200 for name in names)
    assert len({name.tobytes() for name in names}) == 4


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 4), (4, 4, 4)])
def test_plates_must_match(shape: tuple[int, ...]) -> None:
    plate_cv, other_cv = np.zeros((4, 4, 3), np.float32), np.zeros(shape, np.float32)
    with pytest.raises(UsageError, match="three RGB plates of one size are needed, not "):
        strip(plate_cv, plate_cv, other_cv)
    if len(shape) != 3 or shape[2] != 3:
        with pytest.raises(UsageError, match="three RGB plates"):
            strip(other_cv, other_cv, other_cv)


def test_nothing_is_changed_in_place() -> None:
    truth_cv = ramp(64, 200)
    kept = truth_cv.copy()
    strip(truth_cv, truth_cv, truth_cv)
    np.testing.assert_array_equal(truth_cv, kept)
