"""Banding: CAMBI as libvmaf gives it, runs counted the slow way, grades that stretch, distinct values."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand import color
from bitexpand.code_values import Floats, requantise, to_signal
from bitexpand.errors import PlateError, UsageError
from bitexpand.metrics.banding import (
    LEAST_SIDE,
    Runs,
    cambi,
    distinct_values,
    graded_runs,
    grades,
    zero_runs,
)

quick = settings(deadline=None, max_examples=30)


def ramp(height: int = 240, width: int = 320, low: float = 0.2, high: float = 0.35) -> Floats:
    """A grey gradient that 8 bits show in bands of some 10 px."""
    y, x = np.mgrid[0:height, 0:width]
    return (
        (low + (high - low) * (x + 0.3 * y) / (width + 0.3 * height))
        .astype(np.float32)[..., None]
        .repeat(3, 2)
    )


def banded(signal: Floats, bits: int = 8) -> Floats:
    return to_signal(requantise(signal * (2**bits - 1)), bits)


# --- CAMBI


def libvmaf_itself(levels: np.ndarray, folder: Path) -> float:
    """Return the CAMBI of (H, W) 10-bit levels, asked for by hand through files."""
    height, width = levels.shape
    grey = np.full(((height + 1) // 2, (width + 1) // 2), 512, "<u2").tobytes()
    (folder / "picture.yuv").write_bytes(levels.astype("<u2").tobytes() + 2 * grey)
    picture = ["-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", f"{width}x{height}", "-i", "picture.yuv"]
    measure = ["-lavfi", "libvmaf=feature=name=cambi:log_fmt=json:log_path=log.json", "-f", "null", "-"]
    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-v", "error", *picture, *picture, *measure], cwd=folder, check=True)
    return json.loads((folder / "log.json").read_text())["frames"][0]["metrics"]["cambi"]


@pytest.mark.parametrize("size", [(LEAST_SIDE, LEAST_SIDE), (241, 323)])
def test_cambi_is_that_of_libvmaf_on_four_levels_an_8_bit_step(size: tuple[int, int], tmp_path: Path) -> None:
    signal = banded(ramp(*size))
    levels = np.rint(signal[..., 0] * 255).astype(np.uint16) * 4
    found = cambi([signal], 8)
    assert found == pytest.approx([libvmaf_itself(levels, tmp_path)], rel=1e-4)
    assert found[0] > 5


def test_cambi_tells_banded_from_smooth_and_grainy_in_the_order_given() -> None:
    grain = np.random.default_rng(0).normal(0, 0.004, ramp().shape).astype(np.float32)
    bands, smooth, grainy = cambi([banded(ramp()), ramp(), banded(ramp() + grain)], 8)
    assert bands > 4 * smooth > 0
    assert grainy == 0
    assert cambi([ramp(), banded(ramp())], 8) == [smooth, bands]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constants_do_not_band(value: float) -> None:
    assert cambi([np.full((LEAST_SIDE, LEAST_SIDE, 1), value, np.float32)], 8) == [0]


def test_cambi_weighs_channels_as_luma_and_takes_grey() -> None:
    grey = banded(ramp())
    assert cambi([grey[..., :1]], 8) == cambi([grey], 8)
    for channel, weight in enumerate((0.2126, 0.7152, 0.0722)):
        colored = np.full_like(grey, 0.3)
        colored[..., channel] = grey[..., channel]
        luma = 0.3 + np.float32(weight) * (grey[..., :1] - np.float32(0.3))
        assert cambi([colored], 8) == pytest.approx(cambi([luma], 8), rel=0.01)


def test_bits_say_how_many_levels_a_step_has() -> None:
    # 256 codes of 10 bits: the darkest quarter of the range in whole levels, a quarter of the steps apart
    in_10, in_8 = banded(ramp(low=0.1, high=0.2), 10), banded(ramp(low=0.1, high=0.2), 8)
    assert cambi([in_10], 10)[0] < cambi([in_8], 8)[0] / 2


def test_above_uhd_the_window_stops_growing() -> None:
    signal = banded(ramp(700, 5400, 0.2, 0.24)[..., :1])  # libvmaf itself takes at most 6000 px, both sides
    assert cambi([signal], 8)[0] > 5


@pytest.mark.parametrize("size", [(215, 400), (400, 215), (216, 1729), (1, 1)])
def test_cambi_says_how_many_pixels_it_needs(size: tuple[int, int]) -> None:
    message = "CAMBI needs pictures of at least 216x216 px, no side more than 8 times the other"
    with pytest.raises(PlateError, match=f"{message}, not {size[1]}x{size[0]}"):
        cambi([np.zeros((*size, 3), np.float32)], 8)


@pytest.mark.parametrize("size", [(216, 1728), (1728, 216)])
def test_the_narrowest_strips_can_be_measured(size: tuple[int, int]) -> None:
    assert cambi([banded(ramp(*size)[..., :1])], 8)[0] > 0


def test_cambi_refuses_what_it_cannot_see() -> None:
    signal = ramp()
    with pytest.raises(PlateError, match=r"the picture 2 is 239x320x3 .* and the first 240x320x3"):
        cambi([signal, signal[1:]], 8)
    with pytest.raises(UsageError, match=r"half of the picture 1 is above .*, where white is 1"):
        cambi([signal * 255], 8)
    with pytest.raises(PlateError, match="a picture of 2 channels"):
        cambi([signal[..., :2]], 8)
    signal[0, 0, 0] = math.nan
    with pytest.raises(PlateError, match="the picture 1 holds 1 samples that are NaN or Inf"):
        cambi([signal], 8)
    assert cambi([], 8) == []


def test_an_ffmpeg_without_libvmaf_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    real = imageio_ffmpeg.get_ffmpeg_exe()
    program.write_text(f'#!/bin/bash\nexec "{real}" "${{@//libvmaf/nonesuch}}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(UsageError, match=f"CAMBI needs an ffmpeg with libvmaf, which {program} lacks; point"):
        cambi([ramp()], 8)


def test_an_ffmpeg_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\ncat > /dev/null\necho out of order >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(UsageError, match=rf"CAMBI: {program} failed \(out of order\)"):
        cambi([ramp()], 8)


def test_without_its_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(
        UsageError, match=r"CAMBI needs the package imageio-ffmpeg .*`pip install 'bitexpand\[metrics\]'`"
    ):
        cambi([ramp()], 8)


def test_cambi_leaves_no_file_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = os.getcwd()
    cambi([ramp()], 8)
    assert os.getcwd() == before
    assert not list(tmp_path.iterdir())


# --- runs


def counted(plate: Floats, bits: int) -> list[int]:
    """Return the lengths of all runs that are neither black nor white, one by one."""
    shown = np.floor(plate.clip(0, 1) * np.float32(2**bits - 1) + np.float32(0.5)).astype(int)
    lines = [
        line for c in range(plate.shape[2]) for side in (shown[..., c], shown[..., c].T) for line in side
    ]
    groups = itertools.chain.from_iterable(itertools.groupby(line.tolist()) for line in lines)
    return [len(list(group)) for value, group in groups if 0 < value < 2**bits - 1]


@quick
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from([1, 3]),
    st.integers(2, 12),
    st.floats(0.01, 2),
    st.integers(0, 99),
)
def test_runs_are_those_counted_one_by_one(
    height: int, width: int, channels: int, bits: int, noise: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    plate = (0.5 + random.normal(0, noise, (height, width, channels))).astype(np.float32).round(2)
    lengths = counted(plate, bits)
    found = zero_runs(plate, bits)
    if not lengths:
        assert found == Runs(0, 0)
        return
    assert found.mean == pytest.approx(np.mean(lengths))
    assert found.percentile_99 == np.percentile(lengths, 99, method="inverted_cdf")


def test_a_plate_of_large_steps_has_their_lengths() -> None:
    steps = np.repeat(np.arange(1, 41, dtype=np.float32) / 100, 8)  # 320 px across, 300 equal ones down
    plate = np.broadcast_to(steps[None, :, None], (300, 320, 3))
    found = zero_runs(plate)
    assert found.percentile_99 == 300
    assert found.mean == pytest.approx((300 * 40 * 8 + 320 * 300) / (300 * 40 + 320))


def test_lines_left_out_of_a_large_plate_change_little() -> None:
    plate = banded(
        ramp(900, 1000) + np.random.default_rng(1).normal(0, 0.001, (900, 1000, 1)).astype(np.float32)
    )
    lengths = counted(plate[..., :1], 10)
    assert zero_runs(plate[..., :1]).mean == pytest.approx(np.mean(lengths), rel=0.02)


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0, 7.5])
def test_what_is_clipped_is_not_banded(value: float) -> None:
    plate = np.full((20, 20, 3), value, np.float32)
    assert zero_runs(plate) == Runs(0, 0)
    plate[5:9, 5:9] = 0.5
    assert zero_runs(plate) == Runs(4, 4)


def test_constants_are_one_run_a_line() -> None:
    assert zero_runs(np.full((20, 30, 1), 0.5, np.float32)) == pytest.approx((2 * 20 * 30 / 50, 30))


def test_runs_of_nan_or_of_no_picture_are_refused() -> None:
    with pytest.raises(PlateError, match=r"the picture has shape \(20, 20\)"):
        zero_runs(np.zeros((20, 20), np.float32))
    with pytest.raises(PlateError, match="the picture holds 1200 samples that are NaN or Inf"):
        graded_runs(np.full((20, 20, 3), np.nan, np.float32), grades())


# --- grades


@pytest.fixture(scope="module")
def viewed() -> dict[str, color.Conversion]:
    config = color.load_config(color.PINNED_CONFIG)
    return {
        "to_linear": color.conversion(config, "ACEScct", "Linear Rec.709 (sRGB)"),
        "to_display": color.conversion(config, "Linear Rec.709 (sRGB)", "sRGB - Texture"),
    }


def test_grades_do_what_they_are_called(viewed: dict[str, color.Conversion]) -> None:
    grey_log = np.full((2, 3, 3), 0.4135884, np.float32)  # 18 % grey in ACEScct (S-2016-001)
    found = {grade.name: grade.apply(grey_log) for grade in grades(**viewed)}
    assert list(found) == ["gamma 0.6", "gamma 1.6", "display", "+3 stops"]
    assert found["gamma 0.6"] == pytest.approx(0.4135884 ** (1 / 0.6), rel=1e-5)
    assert found["gamma 1.6"] == pytest.approx(0.4135884 ** (1 / 1.6), rel=1e-5)
    assert found["display"] == pytest.approx(1.055 * 0.18 ** (1 / 2.4) - 0.055, abs=1e-3)
    assert found["+3 stops"] == pytest.approx(1.055 * (0.18 * 8) ** (1 / 2.4) - 0.055, abs=1e-3)
    assert (grey_log == np.float32(0.4135884)).all()


def test_without_an_encoding_the_gammas_are_left() -> None:
    assert [grade.name for grade in grades()] == ["gamma 0.6", "gamma 1.6"]
    assert (grades()[0].apply(np.full((1, 1, 1), -0.5, np.float32)) == 0).all()  # no NaN below black


def test_graded_runs_are_the_runs_of_graded_pictures(viewed: dict[str, color.Conversion]) -> None:
    signal = banded(ramp(300, 400))
    found = graded_runs(signal, grades(**viewed))
    assert found == {grade.name: zero_runs(grade.apply(signal)) for grade in grades(**viewed)}
    grey = graded_runs(signal[..., :1], grades(**viewed))
    assert grey["gamma 1.6"] == found["gamma 1.6"]
    assert grey["display"].mean == pytest.approx(found["display"].mean, rel=0.1)


def test_under_every_grade_a_banded_ramp_has_longer_runs_than_its_truth(
    viewed: dict[str, color.Conversion],
) -> None:
    bands, truth = (graded_runs(signal, grades(**viewed)) for signal in (banded(ramp()), ramp()))
    for grade in truth:
        assert bands[grade].mean > 2 * truth[grade].mean


# --- distinct values


@quick
@given(
    st.sampled_from(["float32", "float16", "uint8", "uint16", "float64", "int16"]),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 300),
)
def test_distinct_values_are_counted_by_channel(
    dtype: str, height: int, width: int, channels: int, many: int
) -> None:
    random = np.random.default_rng(many)
    plate = (random.integers(0, many, (height, width, channels)) * 0.25 - 3).astype(dtype)
    assert distinct_values(plate) == tuple(len(np.unique(plate[..., c])) for c in range(channels))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_zero_has_one_value(dtype: str) -> None:
    assert distinct_values(np.array([0.0, -0.0, 1.0], dtype).reshape(3, 1, 1)) == (2,)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_distinct_values_of_nan_are_refused(dtype: str) -> None:
    with pytest.raises(PlateError, match="the picture holds 4 samples that are NaN or Inf"):
        distinct_values(np.full((2, 2, 1), np.nan, dtype))
