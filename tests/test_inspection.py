"""What `inspect` says of real files, against what was put into them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bitexpand import frames
from bitexpand.code_values import MAX_BITS, peak
from bitexpand.errors import MissingInputError
from bitexpand.header import Attribute, FrameInfo, Window
from bitexpand.inspection import Inspection, describe, inspect_file
from bitexpand.plate import read_plate
from bitexpand.samples import float_depth, float_samples, integer_depth, integer_samples, stretch_of
from tests.conftest import Cli
from tests.encoded import dpx
from tests.plates import natural, save, save_shot, tiny_model

SHARES = ("at_zero_share", "at_max_share")


def write(path: Path, pixels: npt.NDArray[Any], *attributes: Attribute) -> Path:
    """Write (H, W, C) float16, float32 or uint16 as they are."""
    names = {1: ("Y",), 2: ("Y", "A"), 3: ("R", "G", "B"), 4: ("R", "G", "B", "A")}[pixels.shape[2]]
    window = Window(0, 0, pixels.shape[1], pixels.shape[0])
    frames.write_frame(path, pixels, FrameInfo(path, "", names, "", 0, window, window), attributes)
    return path


def in_16_bits(codes: npt.NDArray[Any], bits: int, layout: str) -> npt.NDArray[np.uint16]:
    """Store code values in a 16-bit container."""
    wide = codes.astype(np.uint32)
    if layout == "zero-padded":
        return (wide << 16 - bits).astype(np.uint16)
    if layout == "replicated":
        return (wide << 16 - bits | wide >> 2 * bits - 16).astype(np.uint16)
    return np.rint(wide * (65535 / peak(bits))).astype(np.uint16)


def tagged_png(path: Path, kind: bytes, content: bytes) -> Path:
    """Write a PNG with one more chunk."""
    plain = save(path, natural(20, 30)).read_bytes()
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    path.write_bytes(plain[:33] + chunk + plain[33:])
    return path


@pytest.mark.parametrize("extension", [".tif", ".png"])
@pytest.mark.parametrize("layout", ["scaled", "replicated", "zero-padded"])
@pytest.mark.parametrize("bits", range(8, 13))
def test_fewer_bits_in_16_are_found_and_the_advice_works(
    tmp_path: Path, bits: int, layout: str, extension: str
) -> None:
    codes = natural(90, 120, bits=bits)
    path = write(tmp_path / f"plate{extension}", in_16_bits(codes, bits, layout))
    found = inspect_file(path)
    assert (found.header_bits, found.true_bits, found.option_bits) == (16, bits, bits)
    assert found.layout == ("zero-padded" if layout == "zero-padded" else "scaled")
    assert found.verdict == "expandable_with_bits"
    assert f"16-bit file with {bits}-bit data: pass --bits {bits}" in describe(found)
    assert np.array_equal(read_plate(path, found.option_bits).codes, codes)


@pytest.mark.parametrize("bits", range(8, 13))
@pytest.mark.parametrize("layout", ["scaled", "replicated", "zero-padded"])
def test_dark_frames_tell_their_bits_too(bits: int, layout: str) -> None:
    codes = np.arange(40).reshape(5, 8, 1)
    depth, channels = integer_samples(in_16_bits(codes, bits, layout), "Y", 16)
    assert (depth.bits, depth.option, channels[0].max) == (bits, bits, 39)


@given(st.integers(8, MAX_BITS), st.sampled_from(["scaled", "replicated", "zero-padded"]), st.data())
def test_the_true_bits_are_never_called_fewer_or_more(bits: int, layout: str, data: st.DataObject) -> None:
    codes = np.array(data.draw(st.lists(st.integers(0, peak(bits)), min_size=1, max_size=60, unique=True)))
    depth, _ = integer_samples(in_16_bits(codes, bits, layout).reshape(1, -1, 1), "Y", 16)
    # A draw can fall on a coarser grid, but then so would its picture; it can never need more bits.
    assert depth.bits is None or depth.bits <= bits
    assert depth.option is None or depth.option in (8, depth.bits)


@pytest.mark.parametrize("seed", range(5))
def test_16_bits_are_16_bits(tmp_path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 65536, (40, 50, 3), np.uint16)
    found = inspect_file(write(tmp_path / "noise.tif", noise))
    assert (found.true_bits, found.option_bits, found.verdict) == (16, None, "nothing_to_expand")
    assert found.advice == "already more than 12 bits: nothing to expand"
    assert not [c for c in found.channels if c.stretch_factor]


@pytest.mark.parametrize(("low", "high"), [(0, 65535), (0, 300), (30000, 30040), (60000, 65535)])
def test_smooth_ramps_of_16_bits_are_16_bits(low: int, high: int) -> None:
    ramp = np.linspace(low, high, 64 * 512).reshape(64, 512, 1).astype(np.uint16)
    assert integer_samples(ramp, "Y", 16)[0].bits == 16


@pytest.mark.parametrize("pixels", [natural(40, 50), np.random.default_rng(1).integers(0, 256, (40, 50, 3))])
def test_8_bits_are_8_bits(tmp_path: Path, pixels: npt.NDArray[Any]) -> None:
    found = inspect_file(save(tmp_path / "plate.png", pixels))
    assert (found.header_bits, found.true_bits, found.layout) == (8, 8, None)
    assert (found.verdict, found.advice) == ("expandable", "8-bit plate: bitexpand can expand it")
    read_plate(Path(found.path), found.option_bits)


def test_few_bits_in_8(tmp_path: Path) -> None:
    levels = np.arange(32).reshape(4, 8, 1)
    found = inspect_file(save(tmp_path / "plate.png", np.rint(levels * 255 / 31)))
    assert (found.true_bits, found.verdict) == (5, "expandable_with_bits")
    assert np.array_equal(read_plate(Path(found.path), 5).codes, levels)


FEW = {
    "black": np.zeros((20, 30, 3), np.uint16),
    "white": np.full((20, 30, 3), 65535, np.uint16),
    "one pixel": np.full((1, 1, 3), 12345, np.uint16),
    "two values": np.repeat(np.array([[[12345], [54321]]], np.uint16), 3, axis=2),
    "two on the 8-bit grid": np.array([[[257], [25700]]], np.uint16),
    "quarters": np.array([[[0], [21845], [43690], [65535]]], np.uint16),
}


@pytest.mark.parametrize("what", FEW)
@pytest.mark.parametrize("kind", [".tif", ".exr"])
def test_too_few_values_claim_nothing(tmp_path: Path, what: str, kind: str) -> None:
    pixels = FEW[what] if kind == ".tif" else (FEW[what] / 65535).astype(np.float16)
    found = inspect_file(write(tmp_path / f"few{kind}", pixels))
    assert (found.true_bits, found.layout, found.verdict) == (None, None, "too_few_values")
    assert "too few distinct values to tell" in describe(found)
    if found.option_bits:
        assert "if the source had 8 bits, pass --bits 8" in found.advice
        read_plate(Path(found.path), found.option_bits)
    assert (found.option_bits is None) == (kind == ".exr" or what in ("one pixel", "two values"))


def test_a_constant_channel_is_told(tmp_path: Path) -> None:
    plate = natural(20, 30)
    plate[..., 1], plate[..., 2] = 0, 7
    lines = describe(inspect_file(save(tmp_path / "plate.png", plate)))
    assert "  G             constant, 0 everywhere" in lines
    assert "  B             constant, 7 everywhere" in lines


@given(st.lists(st.integers(0, 255), min_size=1, max_size=80))
def test_code_values_gaps_and_clipping_are_exact(values: list[int]) -> None:
    samples = np.array(values, np.uint8)
    _, (channel,) = integer_samples(samples.reshape(1, -1, 1), "Y", 8)
    used = np.unique(samples).astype(int)
    between = np.setdiff1d(np.arange(used[0], used[-1] + 1), used)
    assert (channel.distinct_count, channel.min, channel.max) == (len(used), used[0], used[-1])
    assert channel.unused_count == len(between)
    assert channel.unused_share == pytest.approx(len(between) / (used[-1] - used[0] + 1))
    assert [getattr(channel, share) for share in SHARES] == [(samples == end).mean() for end in (0, 255)]


def test_bands_of_rows_add_up() -> None:
    tall = np.random.default_rng(0).integers(0, 256, (777, 3, 2), np.uint8)
    _, channels = integer_samples(tall, ["R", "G"], 8)
    assert [c.at_zero_share for c in channels] == [(tall[..., i] == 0).mean() for i in (0, 1)]


@pytest.mark.parametrize("factor", [1.05, 1.1, 255 / 219, 1.25, 1.4, 1.5, 1.75, 2, 2.5, 3, 4])
def test_stretched_levels_are_recognised(tmp_path: Path, factor: float) -> None:
    plate = natural(200, 300)
    stretched = np.rint((plate - 40.0) * factor).clip(0, 255)
    found = inspect_file(save(tmp_path / "stretched.png", stretched))
    assert found.verdict == "expandable"
    factors = [c.stretch_factor for c in found.channels if c.stretch_factor]
    assert factors == pytest.approx([factor] * 3, rel=0.04)
    assert "the levels were stretched by about" in describe(found)


def test_stretched_by_two_reads_as_an_artist_would_say_it(tmp_path: Path) -> None:
    found = inspect_file(save(tmp_path / "stretched.png", natural(200, 300) // 2 * 2))
    line = "  R, G, B       every 2nd value unused: the levels were stretched by about 2"
    assert line in describe(found).splitlines()


@pytest.mark.parametrize("seed", range(20))
def test_chance_gaps_are_no_comb(seed: int) -> None:
    random = np.random.default_rng(seed)
    few = random.integers(0, 256, random.integers(20, 2000))
    bell = random.normal(100, random.uniform(5, 40), 2000).clip(0, 255).astype(int)
    two = np.concatenate([bell // 2, random.normal(200, 10, 500).clip(0, 255).astype(int)])
    sparse = random.integers(0, 65536, 50_000)
    for samples in (few, bell, two, sparse):
        assert stretch_of(np.bincount(samples, minlength=256 if samples is not sparse else 65536)) is None


@pytest.mark.parametrize("gamma", [0.45, 0.6, 1.8, 2.2, 2.6])
def test_a_curve_is_no_stretch_by_one_factor(gamma: float) -> None:
    curved = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(int)
    assert stretch_of(np.bincount(curved.repeat(50), minlength=256)) is None


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("bits", range(8, 13))
def test_codes_in_float_are_found(tmp_path: Path, bits: int, kind: type) -> None:
    codes = (
        natural(90, 120, bits=bits) // 2
    )  # a 12-bit grid shows in half where it is coarser than half itself
    found = inspect_file(write(tmp_path / "plate.exr", (codes / peak(bits)).astype(kind)))
    assert (found.true_bits, found.verdict) == (bits, "low_bit_source")
    assert f"{found.sample_type} file with {bits}-bit data" in found.advice


def test_float_that_is_half_is_judged_as_half() -> None:
    codes = (natural(40, 50) / 255).astype(np.float16).astype(np.float32)
    assert float_samples(codes, "RGB")[0].bits == 8


def test_float_times_a_reciprocal_is_found() -> None:
    assert float_depth(np.arange(256, dtype=np.float32) * np.float32(1 / 255)).bits == 8


def test_true_float_is_on_no_grid(tmp_path: Path) -> None:
    light = np.random.default_rng(0).random((100, 200, 3))
    for kind in (np.float16, np.float32):
        found = inspect_file(write(tmp_path / "light.exr", light.astype(kind)))
        assert (found.true_bits, found.verdict) == (None, "nothing_to_expand")
    assert found.effective_bits == 15
    assert "distinct values a channel (about 15 bits)" in describe(found)


def test_white_half_values_are_on_every_fine_grid_and_claim_nothing() -> None:
    assert float_depth(np.linspace(0.5, 1, 1025).astype(np.float16)).bits is None


def test_8_bits_behind_a_curve_are_suspected(tmp_path: Path) -> None:
    linear = (natural(90, 120) / 255) ** 2.4 * 12
    found = inspect_file(write(tmp_path / "linear.exr", linear.astype(np.float16)))
    assert (found.true_bits, found.verdict) == (None, "low_bit_source")
    assert "as 8-bit data have behind a curve" in found.advice


def test_code_values_stored_as_float_are_not_too_few() -> None:
    assert float_samples(natural(90, 120).astype(np.float16), "RGB")[0].can_tell


def test_nan_inf_and_negatives_are_counted(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    pixels[0, :5, 0], pixels[1, :7, 1], pixels[2, :3, 1], pixels[3, :9, 2] = np.nan, np.inf, -np.inf, -0.5
    found = inspect_file(write(tmp_path / "odd.exr", pixels))
    counts = [(c.nan_count, c.inf_count, c.negative_count) for c in found.channels]
    assert counts == [(5, 0, 0), (0, 10, 3), (0, 0, 9)]
    assert found.channels[1].max == pixels[..., 1][np.isfinite(pixels[..., 1])].max()
    json.dumps([c.max for c in found.channels], allow_nan=False)
    assert describe(found)


def test_nothing_but_nan(tmp_path: Path) -> None:
    found = inspect_file(write(tmp_path / "nan.exr", np.full((4, 5, 3), np.nan, np.float16)))
    assert found.verdict == "too_few_values"
    assert {(c.min, c.max, c.nan_count) for c in found.channels} == {(None, None, 20)}
    assert "  -  " in describe(found)


def test_clipped_float_shows_at_its_largest_value() -> None:
    linear = np.minimum(np.random.default_rng(0).random((50, 60, 1)) * 20, 16).astype(np.float32)
    _, (channel,) = float_samples(linear, "Y")
    assert (channel.max, channel.at_max_share) == (16, (linear == 16).mean())


def test_alpha_counts_neither_for_bits_nor_as_constant(tmp_path: Path) -> None:
    plate = in_16_bits(natural(40, 50), 8, "scaled")
    ramp = np.linspace(0, 65535, 2000).astype(np.uint16).reshape(40, 50, 1)
    found = inspect_file(write(tmp_path / "plate.png", np.concatenate([plate, ramp], axis=2)))
    assert (found.true_bits, found.alpha, found.channels[3].code_bits) == (8, "straight", 16)
    assert "  alpha         straight, 0 to 65535" in describe(found)
    assert read_plate(Path(found.path), 8).alpha is not None


@pytest.mark.parametrize(
    ("value", "text"), [(255, "straight, opaque everywhere"), (9, "straight, 9 everywhere")]
)
def test_constant_alpha(tmp_path: Path, value: int, text: str) -> None:
    plate = natural(20, 30)
    found = inspect_file(save(tmp_path / "a.png", plate, np.full((20, 30, 1), value)))
    assert text in describe(found)


def test_only_tags_that_the_file_has(tmp_path: Path) -> None:
    plain = natural(20, 30)
    for extension in (".png", ".jpg", ".bmp", ".webp", ".tga", ".tif"):
        assert inspect_file(save(tmp_path / f"plain{extension}", plain)).color_tags == {}
    assert inspect_file(write(tmp_path / "plain.exr", plain.astype(np.float16))).color_tags == {}


def test_tags(tmp_path: Path) -> None:
    def tags(path: Path) -> dict[str, object]:
        return inspect_file(path).color_tags

    assert tags(tagged_png(tmp_path / "srgb.png", b"sRGB", b"\0")) == {"PNG": "sRGB"}
    assert tags(tagged_png(tmp_path / "cicp.png", b"cICP", bytes([9, 16, 0, 1]))) == {"CICP": "9 16 0 1"}
    gamma = tags(tagged_png(tmp_path / "gama.png", b"gAMA", struct.pack(">I", 45455)))
    assert gamma == {"gamma": pytest.approx(2.2)}
    exr = natural(20, 30).astype(np.float16)
    tag = Attribute("colorInteropID", "string", "lin_ap1_scene")
    assert tags(write(tmp_path / "tag.exr", exr, tag)) == {"colorInteropID": "lin_ap1_scene"}
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 1}
    Image.fromarray(natural(20, 30).astype(np.uint8)).save(tmp_path / "exif.jpg", exif=exif)
    assert tags(tmp_path / "exif.jpg") == {"Exif": "sRGB"}


def test_icc_profile_by_its_description(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(natural(20, 30).astype(np.uint8)).save(tmp_path / "icc.png", icc_profile=profile)
    assert inspect_file(tmp_path / "icc.png").color_tags == {"ICC": "sRGB built-in"}


def test_timecode_rate_aspect_and_windows(tmp_path: Path) -> None:
    entries = (
        Attribute("smpte:TimeCode", "timecode", (0x01591057, 0)),
        Attribute("FramesPerSecond", "rational", (24000, 1001)),
        Attribute("PixelAspectRatio", "float", 2.0),
    )
    path, data, display = tmp_path / "shot.exr", Window(-5, 3, 30, 20), Window(0, 0, 64, 48)
    info = FrameInfo(path, "", ("R", "G", "B"), "", 0, data, display)
    frames.write_frame(path, natural(20, 30).astype(np.float16), info, entries)
    lines = describe(inspect_file(path)).splitlines()
    assert "  size          30 x 20 at -5, 3; frame 64 x 48 at 0, 0" in lines
    assert "  timecode      01:59:10;17" in lines  # a semicolon: frames are dropped
    assert "  frame rate    23.976 fps" in lines
    assert "  pixel aspect  2" in lines


def test_10_bit_dpx_is_told_in_10_bits(tmp_path: Path) -> None:
    codes = natural(40, 50, bits=10)
    (tmp_path / "plate.dpx").write_bytes(dpx(codes, 10))
    found = inspect_file(tmp_path / "plate.dpx")
    assert (found.header_bits, found.true_bits, found.channels[0].code_bits) == (10, 10, 10)
    assert (found.channels[0].min, found.channels[0].max) == (0, 1023)
    assert found.advice == "10-bit plate: bitexpand can expand it"


def test_8_bits_in_10_are_told_and_read(tmp_path: Path) -> None:
    codes = np.rint(natural(40, 50) * (1023 / 255)).astype(np.uint16)
    (tmp_path / "plate.dpx").write_bytes(dpx(codes, 10))
    found = inspect_file(tmp_path / "plate.dpx")
    assert (found.true_bits, found.option_bits, found.verdict) == (8, 8, "expandable_with_bits")
    assert np.array_equal(read_plate(tmp_path / "plate.dpx", 8).codes, natural(40, 50))


def test_what_is_no_plate_says_why(tmp_path: Path) -> None:
    Image.fromarray(natural(20, 30).astype(np.uint8)).convert("CMYK").save(tmp_path / "print.jpg")
    found = inspect_file(tmp_path / "print.jpg")
    assert (found.verdict, found.advice) == ("not_a_plate", "is CMYK; convert it to RGB first")


@pytest.mark.parametrize("extension", [".exr", ".png", ".tif"])
def test_an_expanded_frame_is_recognised(tmp_path: Path, call_cli: Cli, extension: str) -> None:
    source, result = save(tmp_path / "sky.png", natural(40, 50)), tmp_path / f"result{extension}"
    call_cli("seq", source, "-o", result, "--model", tiny_model(tmp_path))
    found = inspect_file(result)
    assert found.verdict == "expanded"
    whence = "" if extension == ".tif" else " from sky.png"  # TIFF has no room for it
    assert found.advice == f"expanded by bitexpand {found.bitexpand['version']}{whence}"
    assert (extension == ".exr") == (found.bitexpand.get("bound") == 0.5)


def test_json_has_the_same_keys_for_every_file(tmp_path: Path, call_cli: Cli) -> None:
    plate = save(tmp_path / "plate.png", natural(40, 50))
    light = write(tmp_path / "light.exr", natural(40, 50).astype(np.float32))
    told = json.loads(call_cli("inspect", plate, light, "--json").out)
    assert [entry["path"] for entry in told] == [str(plate), str(light)]
    for entry in told:
        assert list(entry) == list(Inspection.__dataclass_fields__)
        assert [list(c) for c in entry["channels"]] == [list(told[0]["channels"][0])] * 3
    assert told[0]["data_window_pixels"] == {"x": 0, "y": 0, "width": 50, "height": 40}
    assert told[0]["bitexpand"] == {}


def test_text_lines_up(tmp_path: Path, call_cli: Cli) -> None:
    path = save(tmp_path / "plate.png", natural(40, 50))
    lines = call_cli("inspect", path).out.splitlines()
    assert lines[0] == str(path)
    assert lines[1] == "  format        png, 8-bit integer samples"
    table = [line for line in lines if line.endswith(("unused between", "%)"))]
    assert len(table) == 4
    assert len({len(line) for line in table}) == 1
    assert lines[-1] == "  => 8-bit plate: bitexpand can expand it"


def test_a_sequence_and_the_frames_that_it_lacks(tmp_path: Path, call_cli: Cli) -> None:
    pattern = save_shot(tmp_path, 4)
    (tmp_path / "shot_1002.png").unlink()
    outcome = call_cli("inspect", pattern, expect=3)
    assert outcome.out.count("=> 8-bit plate") == 3
    assert f"{pattern}: frames 1002 are missing" in outcome.err


def test_one_that_fails_does_not_hide_the_others(tmp_path: Path, call_cli: Cli) -> None:
    good = save(tmp_path / "good.png", natural(40, 50))
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:2000])
    (tmp_path / "notes.png").write_text("not an image")
    absent = tmp_path / "absent.png"
    outcome = call_cli("inspect", cut, absent, tmp_path / "notes.png", good, expect=1)
    assert "=> 8-bit plate" in outcome.out
    outcome.said("cut.png", "absent.png", "not an image that bitexpand reads")
    told = json.loads(call_cli("inspect", absent, good, "--json", expect=3).out)
    assert ["error" in entry for entry in told] == [True, False]


def test_errors_of_one_file_keep_their_exit_codes(tmp_path: Path, call_cli: Cli) -> None:
    (tmp_path / "notes.png").write_text("not an image")
    call_cli("inspect", tmp_path / "absent.png", expect=3).said("absent.png")
    call_cli("inspect", tmp_path / "notes.png", expect=1).said("notes.png")
    call_cli("inspect", tmp_path, expect=2).said("is a folder")
    call_cli("inspect", expect=2)
    with pytest.raises(MissingInputError):
        inspect_file(tmp_path / "absent.png")


def test_integer_depth_stands_for_itself() -> None:
    assert integer_depth(np.arange(0, 65536, 257), 16).bits == 8
    assert not integer_depth(np.array([0, 65535]), 16).can_tell
