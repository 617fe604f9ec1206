"""The page that shows a plate before and after."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand import pictures
from bitexpand.errors import UsageError, WriteError
from bitexpand.pictures import draw_text
from bitexpand.preview import GUTTER, HEADER, PANEL, before_after, worst_banding

LSB = 1 / 255
sizes = st.integers(1, 400)


def ramp(height: int, width: int, run: float = 16) -> npt.NDArray[np.float32]:
    """A gray ramp that climbs one step in ``run`` pixels, not yet rounded."""
    across = 0.3 + np.arange(width) / run * LSB
    return np.broadcast_to(across[None, :, None], (height, width, 3)).astype(np.float32)


def rounded(plate: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return (np.round(plate * 255) / 255).astype(np.float32)


def halves(page: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Both columns of the page below the first header."""
    panel = (page.shape[1] - 3 * GUTTER) // 2
    return page[HEADER:, GUTTER : GUTTER + panel], page[HEADER:, 2 * GUTTER + panel : 2 * GUTTER + 2 * panel]


@settings(deadline=None, max_examples=10)
@given(sizes, sizes)
def test_every_size_makes_a_page(height: int, width: int) -> None:
    plate = np.random.default_rng(0).random((height, width, 3), np.float32)
    page = before_after(plate, plate)
    assert page.dtype == np.uint8
    assert page.shape[1] == 2 * PANEL[0] + 3 * GUTTER
    assert page.shape[0] <= PANEL[0] + 2 * PANEL[1] + 3 * HEADER + GUTTER


def test_one_stretch_serves_both_sides() -> None:
    plate = rounded(ramp(360, 640))
    left, right = halves(before_after(plate, plate, labels=("a", "a")))
    np.testing.assert_array_equal(left, right)


def test_the_stretch_comes_from_the_source_alone() -> None:
    plate = rounded(ramp(360, 640))
    one, _ = halves(before_after(plate, plate))
    other, _ = halves(before_after(plate, np.zeros_like(plate)))
    np.testing.assert_array_equal(one, other)


def test_bands_are_plain_to_see_before_and_gone_after() -> None:
    truth = ramp(360, 640)
    left, right = halves(before_after(rounded(truth), truth))
    rows = slice(120, 300)  # of the whole frame, below the outlines of the crops
    assert np.abs(np.diff(left[rows, 20:-20].astype(int), axis=1)).max() >= 8
    assert np.abs(np.diff(right[rows, 20:-20].astype(int), axis=1)).max() <= 2


def test_crops_avoid_texture_grain_and_flats() -> None:
    random = np.random.default_rng(1)
    plate = np.full((720, 1280, 3), 0.5, np.float32)  # flat, top left
    plate[:360, 640:] = random.random((360, 640, 3))  # texture, top right
    plate[360:, :640] = ramp(360, 640) + random.normal(0, LSB, (360, 640, 3))  # grain, bottom left
    plate[360:, 640:] = ramp(360, 640)
    first, second = worst_banding(rounded(plate))
    for crop in (first, second):
        assert crop.x >= 600
        assert crop.y >= 340
        assert crop.of(plate).shape == (90, 160, 3)
    assert abs(first.x - second.x) >= 160 or abs(first.y - second.y) >= 90


def test_crops_follow_the_bit_depth() -> None:
    plate = np.full((200, 400, 3), 0.5, np.float32)
    plate[:, 200:] = np.round(ramp(200, 200, run=64) * 1023) / 1023
    assert worst_banding(plate, lsb=1 / 1023, count=1)[0].x >= 160


def test_the_worse_banding_comes_first() -> None:
    plate = np.concatenate([ramp(200, 400, run=2), ramp(200, 400, run=16)], axis=1)
    assert worst_banding(rounded(plate))[0].x >= 360


def test_pictures_must_match() -> None:
    for before, after in (((4, 4, 3), (4, 5, 3)), ((4, 4), (4, 4)), ((4, 4, 4), (4, 4, 4))):
        with pytest.raises(UsageError, match="two RGB frames of one size are needed, not "):
            before_after(np.zeros(before, np.float32), np.zeros(after, np.float32))


def test_nothing_is_changed_in_place() -> None:
    before, after = rounded(ramp(100, 200)), ramp(100, 200)
    kept = before.copy(), after.copy()
    np.testing.assert_array_equal(before_after(before, after), before_after(before, after))
    np.testing.assert_array_equal(before, kept[0])
    np.testing.assert_array_equal(after, kept[1])


def test_text_is_drawn_on_a_copy() -> None:
    blank = np.zeros((40, 200, 3), np.uint8)
    drawn = draw_text(blank, 5, 25, "bitexpand \u00d74", 18)
    assert blank.max() == 0
    assert drawn.max() > 200
    assert drawn[:, :5].max() == 0


def test_text_that_cannot_be_drawn_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures.oiio.ImageBufAlgo, "render_text", lambda *_: False)
    with pytest.raises(WriteError, match="text cannot be drawn"):
        before_after(ramp(20, 20), ramp(20, 20))


def test_a_4k_plate_takes_seconds() -> None:
    plate = rounded(ramp(2160, 3840))
    assert before_after(plate, plate).shape[1] == 2 * PANEL[0] + 3 * GUTTER
