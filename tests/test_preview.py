"""The page that shows a plate before and after."""

from __future__ import annotations

from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand import frames, pictures
from bitexpand.code_values import to_signal
from bitexpand.compare_input import Reading
from bitexpand.demo import demo
from bitexpand.errors import BitexpandError, MissingInputError, PlateError, UsageError, WriteError
from bitexpand.header import FrameInfo, Window
from bitexpand.jobs import Job
from bitexpand.page import GUTTER, HEADER, PANEL
from bitexpand.pictures import draw_text
from bitexpand.pipeline import expand_sequence
from bitexpand.plate import read_plate
from bitexpand.preview import before_after, preview, worst_banding
from bitexpand.shipped import shipped_file
from tests.plates import natural, save

pytestmark = pytest.mark.usefixtures("one_thread")

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


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    return save(tmp_path / "sky.png", natural(120, 200))


def expanded(plate: Path, target: Path, model: str, **options: Any) -> Path:  # noqa: ANN401
    """Expand a plate by the pipeline."""
    (result,) = expand_sequence(
        Job(input=str(plate), output=str(target), model=model, device="cpu", **options)
    )
    assert result.error is None
    return target


def picture_of(path: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(frames.read_frame(path).pixels, np.uint8)


def test_a_plate_alone_is_expanded_as_the_pipeline_does(tmp_path: Path, plate: Path, tiny: str) -> None:
    result = expanded(plate, tmp_path / "sky.exr", tiny)
    preview(plate, None, tmp_path / "new" / "alone.png", model=tiny)
    preview(plate, result, tmp_path / "pair.png")
    np.testing.assert_array_equal(
        picture_of(tmp_path / "new" / "alone.png"), picture_of(tmp_path / "pair.png")
    )
    before = to_signal(read_plate(plate).codes, 8)
    after = frames.read_frame(result).pixels.astype(np.float32)
    np.testing.assert_array_equal(picture_of(tmp_path / "pair.png"), before_after(before, after))


def test_a_result_in_another_space_is_shown_in_the_plates(tmp_path: Path, plate: Path, tiny: str) -> None:
    same = expanded(plate, tmp_path / "log.exr", tiny, depth="float")
    linear = expanded(
        plate, tmp_path / "lin.exr", tiny, in_space="ACEScct", out_space="ACEScg", depth="float"
    )
    for result in (same, linear):
        preview(plate, result, tmp_path / f"{result.stem}.png")
    difference = picture_of(tmp_path / "log.png").astype(int) - picture_of(tmp_path / "lin.png")
    assert np.abs(difference).max() <= 2


def test_spaces_that_a_result_does_not_state_can_be_named(tmp_path: Path, plate: Path, tiny: str) -> None:
    linear = expanded(plate, tmp_path / "lin.exr", tiny, in_space="ACEScct", out_space="ACEScg")
    frame = frames.read_frame(linear)
    window = Window(0, 0, 200, 120)
    foreign = tmp_path / "foreign.exr"
    frames.write_frame(foreign, frame.pixels, FrameInfo(foreign, "", ("R", "G", "B"), "", 0, window, window))
    with pytest.raises(PlateError, match="different encodings; name the spaces: --in-space"):
        preview(plate, foreign, tmp_path / "page.png")
    preview(plate, foreign, tmp_path / "page.png", reading=Reading(in_space="ACEScct", out_space="ACEScg"))
    preview(plate, linear, tmp_path / "other.png")
    np.testing.assert_array_equal(picture_of(tmp_path / "page.png"), picture_of(tmp_path / "other.png"))


def test_grey_and_other_depths_are_shown(tmp_path: Path, tiny: str) -> None:
    grey = save(tmp_path / "grey.png", natural(100, 180, channels=1))
    preview(grey, None, tmp_path / "grey_page.png", model=tiny)
    page = picture_of(tmp_path / "grey_page.png")
    assert (page[HEADER + 30 :, GUTTER + 50] == page[HEADER + 30 :, GUTTER + 50, :1]).all()
    shallow = save(
        tmp_path / "shallow.png", np.rint(natural(100, 180, bits=6) * (255 / 63)).astype(np.uint16)
    )
    preview(shallow, None, tmp_path / "page.png", model=tiny, reading=Reading(bits=6))
    assert picture_of(tmp_path / "page.png").shape == page.shape


BAD = {
    "missing plate": (("gone.png", None), {}, MissingInputError, "gone.png"),
    "missing result": (("sky.png", "gone.exr"), {}, MissingInputError, "gone.exr"),
    "another size": (
        ("sky.png", "wide.exr"),
        {},
        PlateError,
        "is 210x120 and source .* is 200x120; give frames of one",
    ),
    "a small plate": (("small.png", None), {}, PlateError, "is 150x120; a preview magnifies crops of 160x90"),
    "no plate": (("wide.exr", None), {}, PlateError, "openexr file is no 8 to 12-bit source"),
    "NaN": (("sky.png", "nan.exr"), {}, PlateError, "samples are NaN or Inf"),
    "no such model": (("sky.png", None), {"model": "pyramyd"}, UsageError, "did you mean 'pyramid'"),
    "a model for a result": (("sky.png", "wide.exr"), {"model": "smooth"}, UsageError, "is expanded already"),
    "a space for a plate": (
        ("sky.png", None),
        {"reading": Reading(in_space="ACEScct")},
        UsageError,
        "say how to read a RESULT",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_shown_says_why_and_leaves_the_old_picture(
    tmp_path: Path, plate: Path, tiny: str, what: str
) -> None:
    save(tmp_path / "small.png", natural(120, 150))
    expanded(save(tmp_path / "wide.png", natural(120, 210)), tmp_path / "wide.exr", tiny)
    broken, window = tmp_path / "nan.exr", Window(0, 0, 200, 120)
    pixels = (natural(120, 200) / 255).astype(np.float32)
    pixels[5, 6] = np.nan
    frames.write_frame(broken, pixels, FrameInfo(broken, "", ("R", "G", "B"), "", 0, window, window))
    picture = tmp_path / "page.png"
    picture.write_bytes(b"old")
    (source, result), options, kind, message = BAD[what]
    with pytest.raises(BitexpandError, match=message) as raised:
        preview(tmp_path / source, result and tmp_path / result, picture, **options)
    assert isinstance(raised.value, kind)
    assert picture.read_bytes() == b"old"


def test_the_picture_is_a_png_and_replaces_neither_file(tmp_path: Path, plate: Path) -> None:
    kept = plate.read_bytes()
    with pytest.raises(UsageError, match="would replace"):
        preview(plate, None, plate)
    with pytest.raises(UsageError, match=r"page.jpg: a preview is a \.png"):
        preview(plate, None, tmp_path / "page.jpg")
    assert plate.read_bytes() == kept


def test_the_demo_expands_verifies_and_draws(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = copy(shipped_file("examples", "plate", "dusk_1001.png"), tmp_path)
    monkeypatch.setattr("bitexpand.demo.shipped_file", lambda *_: Path(first))
    said: list[str] = []
    assert demo(tmp_path / "demo", tiny, said.append)
    assert sum(line.startswith("Verified: OK: 1 frames") for line in said) == 2
    assert picture_of(tmp_path / "demo" / "before_after.png").shape[1] == 2 * PANEL[0] + 3 * GUTTER
