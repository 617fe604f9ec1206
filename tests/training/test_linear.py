"""Originals: every picture that can be truth is read exactly, every other is refused with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from originals import dng, light, luminance_chroma_exr, save, save_parts
from PIL import Image

from bitexpand.color import load_config
from bitexpand.errors import MissingInputError, PlateError, UnknownNameError
from bitexpand.header import Window
from bitexpand.plate import read_plate
from training.linear import ACES, CEILING_REACH, LinearPlate, Reading, _grown, read_linear
from training.sources.base import RAW_SUFFIXES

REC709 = "Linear Rec.709 (sRGB)"
READING = Reading(REC709)
CONFIG = load_config("bitexpand")


def read(path: Path, reading: Reading = READING) -> LinearPlate:
    return read_linear(path, reading, CONFIG)


def refused(path: Path, *fragments: str, reading: Reading = READING) -> None:
    with pytest.raises(PlateError) as error:
        read(path, reading)
    for fragment in (str(path), *fragments):
        assert fragment in str(error.value)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_exr_comes_back_bit_for_bit_negative_values_too(dtype: str, tmp_path: Path) -> None:
    pixels = light().astype(dtype)
    assert (pixels < 0).any()
    plate = read(save(tmp_path / "a.exr", pixels))
    assert plate.plate_linear.dtype == np.float32
    np.testing.assert_array_equal(plate.plate_linear, pixels.astype(np.float32))
    assert (plate.space, plate.unknown, plate.notes) == (REC709, None, ())


def test_float_tiff_is_light_as_well(tmp_path: Path) -> None:
    pixels = light()
    np.testing.assert_array_equal(read(save(tmp_path / "a.tif", pixels)).plate_linear, pixels)
    np.testing.assert_array_equal(
        read(save(tmp_path / "b.tif", pixels.astype(np.float64))).plate_linear, pixels
    )


def test_alpha_and_layers_are_left_out_and_told_of(tmp_path: Path) -> None:
    pixels = light(channels=7)
    pixels[..., 5] = np.nan  # of no concern, as depth often has infinities
    names = ("R", "G", "B", "A", "diffuse.R", "Z", "albedo.G")
    plate = read(save(tmp_path / "a.exr", pixels, names))
    np.testing.assert_array_equal(plate.plate_linear, pixels[..., :3])
    assert plate.notes[0] == "alpha left out"
    assert plate.notes[1].startswith("other channels left out: ")
    assert set(plate.notes[1].partition(": ")[2].split(", ")) == {"diffuse.R", "Z", "albedo.G"}


def test_a_moved_data_window_gives_its_own_pixels(tmp_path: Path) -> None:
    pixels = light(40, 56)
    path = save(tmp_path / "a.exr", pixels, data=Window(-5, 7, 56, 40), display=Window(0, 0, 100, 90))
    plate = read(path)
    np.testing.assert_array_equal(plate.plate_linear, pixels)
    assert plate.notes == ("data window 56x40-5+7 taken, the display is 100x90",)


def test_grey_is_repeated(tmp_path: Path) -> None:
    pixels = light(channels=1)
    plate = read(save(tmp_path / "a.exr", pixels, ("Y",)))
    np.testing.assert_array_equal(plate.plate_linear, pixels.repeat(3, axis=2))
    assert plate.notes == ("grey, repeated to three channels",)


def test_subsampled_chroma_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    path.write_bytes(luminance_chroma_exr(*(np.ones(s, np.float16) for s in ((16, 20), (8, 10)))))
    refused(path, "subsampled channels", "write it as RGB")


def test_luminance_and_chroma_of_full_size_are_refused_too(tmp_path: Path) -> None:
    refused(save(tmp_path / "a.exr", light(), ("Y", "RY", "BY")), "needs R, G and B, or Y alone")


def test_missing_channels_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.exr", light(), ("R", "G", "diffuse.B"))
    refused(path, "has channels R, G, diffuse.B; needs R, G and B, or Y alone for grey")


def test_several_parts_are_refused(tmp_path: Path) -> None:
    refused(save_parts(tmp_path / "a.exr", [light(), light()]), "more than one image")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted_and_located(value: float, tmp_path: Path) -> None:
    pixels = light()
    pixels[30, 12, 1] = pixels[31, 2, 0] = value
    refused(
        save(tmp_path / "a.exr", pixels),
        "2 samples are NaN or infinite, the first in channel G at x 12, y 30",
        "render it again",
    )


def test_a_double_that_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    pixels = light().astype(np.float64)
    pixels[0, 0, 0] = 1e300
    refused(save(tmp_path / "a.tif", pixels), "1 samples are NaN or infinite")


@pytest.mark.parametrize("suffix", [".exr", ".tif"])
def test_eight_bits_posing_as_more_are_refused_unless_forced(suffix: str, tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (60, 60, 3))
    fake = (codes / 255).astype(np.float32) if suffix == ".exr" else (codes * 257).astype(np.uint16)
    path = save(tmp_path / f"a{suffix}", fake)
    integer = replace(READING, integer_space="sRGB - Texture")
    refused(path, "has 256 different values in a channel", "'force: true'", reading=integer)
    assert read(path, replace(integer, force=True)).plate_linear.shape == (60, 60, 3)


def test_one_full_channel_is_enough(tmp_path: Path) -> None:
    pixels = light()
    pixels[..., 1:] = 0.5
    assert read(save(tmp_path / "a.exr", pixels)).plate_linear.shape == pixels.shape


def test_a_constant_plate_is_refused(tmp_path: Path) -> None:
    refused(save(tmp_path / "a.exr", np.zeros((40, 60, 3), np.float32)), "has 1 different values")


def test_eight_bit_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(path)
    refused(path, "8-bit samples hold no truth", "16 bits", reading=replace(READING, force=True))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_integers_are_decoded_from_the_space_that_is_named(suffix: str, tmp_path: Path) -> None:
    grey = np.repeat(np.arange(0, 65536, 13, dtype=np.uint16)[:5040].reshape(63, 80, 1), 3, axis=2)
    path = save(tmp_path / f"a{suffix}", grey)
    refused(path, "16-bit integer samples", "set 'integer_space'", "'sRGB - Texture'")
    plate = read(path, replace(READING, integer_space="sRGB - Texture"))
    signal = grey / 65535
    # IEC 61966-2-1; a neutral stays one whatever the primaries
    expected = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(plate.plate_linear, expected, atol=2e-5)
    assert (plate.space, plate.notes) == (ACES, ("decoded from sRGB - Texture",))


def test_an_unknown_integer_space_suggests(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", (light().clip(0, 1) * 65535).astype(np.uint16))
    with pytest.raises(UnknownNameError, match="sRGB - Texture"):
        read(path, replace(READING, integer_space="sRGB - Textur"))


def bright(height: int = 121, width: int = 160) -> npt.NDArray[np.float32]:
    """Return light without any below black, which RGBE cannot hold."""
    return light(height, width) + np.float32(0.011)


def test_radiance_is_halved_by_area(tmp_path: Path) -> None:
    pixels = bright()
    plate = read(save(tmp_path / "a.hdr", pixels))
    expected = pixels[:120].reshape(60, 2, 80, 2, 3).mean(axis=(1, 3))
    assert plate.plate_linear.shape == expected.shape
    # a shared exponent and 8 bits: off by a step of the largest channel at most
    steps = pixels[:120].max(axis=2).reshape(60, 2, 80, 2).max(axis=(1, 3)) / 128
    assert (np.abs(plate.plate_linear - expected) <= steps[..., None]).all()
    assert plate.notes == ("halved by area, as RGBE has only 128 to 256 steps a stop",)


def test_the_other_name_of_radiance_is_known(tmp_path: Path) -> None:
    path = save(tmp_path / "a.hdr", bright())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"#?RADIANCE", b"#?RGBE", 1))
    assert read(path).plate_linear.shape == (60, 80, 3)
    path.write_bytes(content[:-2000])
    refused(path, "pixels cannot be read")


def test_radiance_of_one_row_cannot_be_halved(tmp_path: Path) -> None:
    refused(save(tmp_path / "a.hdr", bright(1, 20000)), "a side of 1 px")


def test_radiance_is_still_no_plate_to_expand(tmp_path: Path) -> None:
    path = save(tmp_path / "a.hdr", bright())
    with pytest.raises(PlateError, match="a hdr file is no 8 to 12-bit source; accepted are png, jpeg"):
        read_plate(path)


def test_around_what_is_too_bright_nothing_is_trusted(tmp_path: Path) -> None:
    pixels = light(60, 90).clip(-0.01, 15)
    pixels[10, 40, 2] = 2000
    path = save(tmp_path / "a.exr", pixels)
    assert read(path).unknown is None
    plate = read(path, replace(READING, ceiling=1000))
    expected = np.zeros((60, 90), bool)
    expected[: 10 + CEILING_REACH + 1, 40 - CEILING_REACH : 40 + CEILING_REACH + 1] = True
    np.testing.assert_array_equal(plate.unknown, expected)
    np.testing.assert_array_equal(plate.plate_linear, pixels.clip(0, 1000))
    assert plate.notes == ("clamped to 0..1000, unknown around the 1 pixels above",)
    assert read(path, replace(READING, ceiling=3000)).unknown is None


def test_the_mask_is_halved_with_the_picture(tmp_path: Path) -> None:
    pixels = bright(120, 160)
    pixels[41, 61] = 2000
    plate = read(save(tmp_path / "a.hdr", pixels), replace(READING, ceiling=1000))
    assert plate.unknown is not None
    assert plate.unknown.shape == plate.plate_linear.shape[:2] == (60, 80)
    reached = np.argwhere(plate.unknown)
    assert (reached.min(axis=0).tolist(), reached.max(axis=0).tolist()) == ([12, 22], [28, 38])


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_growing_a_mask_reaches_a_square(height: int, width: int, reach: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.02
    expected = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        expected[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = True
    np.testing.assert_array_equal(_grown(mask, reach), expected)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    text, empty = tmp_path / "a.exr", tmp_path / "b.exr"
    text.write_text("this is no picture")
    empty.touch()
    refused(text, "not an image", "accepted are OpenEXR, Radiance HDR, 16-bit PNG and TIFF")
    refused(empty, "is empty")
    cut = save(tmp_path / "c.exr", light())
    cut.write_bytes(cut.read_bytes()[:-3000])
    refused(cut, "copy or render it again")
    with pytest.raises(MissingInputError, match=r"d\.exr: no such file"):
        read(tmp_path / "d.exr")


def mosaic(
    red: npt.ArrayLike, green: npt.ArrayLike, blue: npt.ArrayLike, shape: tuple[int, int]
) -> npt.NDArray:
    """Return (2 H, 2 W) uint16 RGGB samples of full-scale values (H, W)."""
    samples = np.zeros((2 * shape[0], 2 * shape[1]), np.uint16)
    for y, x, value in ((0, 0, red), (0, 1, green), (1, 0, green), (1, 1, blue)):
        samples[y::2, x::2] = np.rint(np.broadcast_to(value, shape) * np.float64(65535))
    return samples


RAMP = np.linspace(0.02, 0.6, 40 * 50).reshape(40, 50)


def test_raw_is_linear_to_scale_and_in_the_order_of_its_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(dng(mosaic(RAMP, RAMP / 2, RAMP / 4, RAMP.shape)))
    plate = read(path)
    # LibRaw brings the white of D65 to the white of ACES, which is a percent or two away
    np.testing.assert_allclose(plate.plate_linear, np.stack([RAMP, RAMP / 2, RAMP / 4], -1), rtol=0.03)
    ratio = plate.plate_linear / RAMP[..., None]
    assert np.ptp(ratio, axis=(0, 1)).max() < 2e-3  # one factor from shadows to highlights
    assert (plate.space, plate.unknown, plate.notes) == (ACES, None, ("developed at half size",))


def test_raw_is_not_scaled_by_its_own_maximum(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(dng(mosaic(RAMP / 3, RAMP / 3, RAMP / 3, RAMP.shape)))
    np.testing.assert_allclose(read(path).plate_linear[..., 1], RAMP / 3, rtol=0.02)


def test_black_level_and_white_balance_of_raw(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    red, blue = 0.5, 0.8  # what the camera sees of a neutral, beside 1.0 of green
    samples = np.rint(2000 + mosaic(RAMP * red, RAMP, RAMP * blue, RAMP.shape) * (60000 / 65535)).astype(
        np.uint16
    )
    path.write_bytes(dng(samples, black=2000, white=62000, neutral=(red, 1, blue)))
    plate = read(path)
    np.testing.assert_allclose(plate.plate_linear, RAMP[..., None].repeat(3, axis=2), rtol=2e-3, atol=5e-5)


def test_clipped_raw_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    samples = mosaic(RAMP, RAMP, RAMP, RAMP.shape)
    samples[20, 31] = 65535  # one sample of a cell
    samples[40:44, 60:64] = 65535
    path.write_bytes(dng(samples))
    expected = np.zeros(RAMP.shape, bool)
    expected[10, 15] = expected[20:22, 30:32] = True
    np.testing.assert_array_equal(read(path).unknown, expected)


def test_a_sensor_that_is_full_below_its_nominal_white_is_clipped_there(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    samples = mosaic(RAMP, RAMP, RAMP, RAMP.shape)
    samples[40:44, 60:64] = 58000
    path.write_bytes(dng(samples))
    plate = read(path)
    assert plate.unknown is not None
    assert plate.unknown.sum() == 4
    assert plate.plate_linear[20, 30, 1] == pytest.approx(58000 / 65535, rel=0.01)  # its scale stays


def test_raw_of_odd_size(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    samples = mosaic(RAMP, RAMP, RAMP, RAMP.shape)[:-1, :-1]
    samples[-1, -1] = 65535
    path.write_bytes(dng(samples))
    plate = read(path)
    assert plate.unknown is not None
    assert plate.plate_linear.shape[:2] == plate.unknown.shape == RAMP.shape
    assert np.argwhere(plate.unknown).tolist() == [[39, 49]]


def test_raw_without_mosaic_and_without_white_balance(tmp_path: Path) -> None:
    full, unbalanced = tmp_path / "a.dng", tmp_path / "b.dng"
    rgb = np.rint(np.stack([RAMP, RAMP / 2, RAMP / 4], -1) * 65535).astype(np.uint16)
    full.write_bytes(dng(rgb))
    plate = read(full)
    np.testing.assert_allclose(plate.plate_linear, rgb / 65535, rtol=0.03, atol=1e-4)
    assert plate.notes == ("developed from full colour samples",)
    unbalanced.write_bytes(dng(mosaic(RAMP, RAMP, RAMP, RAMP.shape), neutral=None))
    assert "no white balance in the file, daylight taken" in read(unbalanced).notes


@pytest.mark.parametrize("suffix", sorted(RAW_SUFFIXES))
def test_what_libraw_cannot_read_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix.upper()}"
    path.write_bytes(b"no raw file at all" * 100)
    refused(path, "LibRaw cannot read it (Unsupported file format or not RAW file)", "copy it again")
    with pytest.raises(MissingInputError, match="no such file"):
        read(tmp_path / f"b{suffix}")


def test_truncated_raw_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(dng(mosaic(RAMP, RAMP, RAMP, RAMP.shape))[:-8000])
    refused(path, "LibRaw cannot read it")
