"""What cannot be compared: each is refused with what is wrong and what to do, and the other frames go on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from comparing import Shot, expanded, write_exr
from expansions import SHOW_CONFIG
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from plates import natural, save

from bitexpand import color, frames
from bitexpand.code_values import to_signal
from bitexpand.compare import CompareJob, compare_sequences, job_of
from bitexpand.compare_checks import check_pair, check_precision
from bitexpand.compare_output import Table, csv_text, verdict
from bitexpand.compare_summary import summarize
from bitexpand.errors import MissingInputError, PlateError, UnknownNameError, UsageError
from bitexpand.header import Attribute, FrameInfo, Window

Options = dict[str, Any]  # of a CompareJob
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    """Two frames whose result is half way between source and truth."""
    shot = Shot(tmp_path, 2, height=48, width=64)
    shot.write_result(lambda source_cv, truth_cv: (source_cv + truth_cv) / 2)
    return shot


def tagged(tag: str) -> Attribute:
    return Attribute("colorInteropID", "string", tag)


def errors(job: CompareJob) -> list[str | None]:
    return [frame.error for frame in compare_sequences(job)]


def only_first_fails(job: CompareJob, *said: str) -> None:
    """Assert that the first frame is refused for a reason, and the second compared as if nothing were."""
    found = list(compare_sequences(job))
    assert [bool(frame.values) for frame in found] == [False, True]
    for fragment in said:
        assert fragment in str(found[0].error)
    assert found[1].error is None
    summary, table = summarize(found), Table(job.truth is not None)
    assert f"1001      FAULT {found[0].error}" in table.row(found[0])
    assert verdict(summary).startswith("FAULT: 1 of 2 frames could not be compared; 1 frame compared; worst")
    assert csv_text(found).splitlines()[1].startswith("1001,")
    assert summary.values["match_share"] == 1


def test_another_size(shot: Shot) -> None:
    path = shot.paths(shot.result)[0]
    write_exr(path, np.zeros((48, 60, 3), np.float32))
    only_first_fails(shot.job(), f"candidate {path} is 60x48 and truth", "is 64x48; give frames of one size")


def test_a_source_of_another_size(shot: Shot) -> None:
    path = save(shot.paths(shot.source)[0], natural(47, 64))
    only_first_fails(shot.job(), "is 64x48", f"source {path} is 64x47")
    only_first_fails(job_of(shot.source, shot.result), "result", "is 64x48", f"source {path} is 64x47")


@pytest.mark.parametrize("role", ["candidate", "truth", "source"])
def test_a_frame_missing_in_one_of_them(shot: Shot, role: str) -> None:
    pattern = getattr(shot.job(), role)
    Path(pattern.replace("####", "1001")).unlink()
    only_first_fails(shot.job(), f"missing in {role} {pattern}")
    assert len(errors(replace(shot.job(), frames="1002"))) == 1


def test_no_frame_in_all_of_them(shot: Shot) -> None:
    shot.paths(shot.truth)[0].unlink()
    shot.paths(shot.result)[1].unlink()
    with pytest.raises(
        MissingInputError, match=r"no frame is in all of them: candidate .* 1001, truth .* 1002"
    ):
        errors(shot.job())


def test_nothing_there(shot: Shot) -> None:
    with pytest.raises(MissingInputError, match="matches 'b_####.exr'; found a_####.exr 1001-1002"):
        errors(replace(shot.job(), truth=shot.truth.replace("a_", "b_")))


def test_a_file_without_a_number_beside_a_sequence(shot: Shot, tmp_path: Path) -> None:
    still = shot.paths(shot.result)[0].rename(tmp_path / "still.exr")
    with pytest.raises(UsageError, match="is one file without a frame number, and the others are sequences"):
        errors(replace(shot.job(), candidate=str(still)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spaces", [{}, {"in_space": "ACEScct"}])
def test_a_result_that_is_not_finite(shot: Shot, value: float, spaces: dict[str, str]) -> None:
    path = shot.paths(shot.result)[0]
    signal = to_signal(shot.sources_cv[0], 8)
    signal[11, 13, 1] = signal[20, 3, 2] = value
    write_exr(path, signal)
    said = f"candidate {path}: 2 samples are NaN or Inf, the first at x 13, y 11, channel 1"
    only_first_fails(shot.job(**spaces), said)


def test_a_truncated_result(shot: Shot) -> None:
    path = shot.paths(shot.result)[0]
    path.write_bytes(path.read_bytes()[:-2000])
    only_first_fails(shot.job(), str(path), "copy or render it again")


def test_channels_that_are_no_picture(shot: Shot) -> None:
    path, window = shot.paths(shot.result)[0], Window(0, 0, 64, 48)
    info = FrameInfo(path, "", ("R", "G", "B", "Z"), "float", 32, window, window)
    frames.write_frame(path, np.zeros((48, 64, 4), np.float32), info)
    only_first_fails(shot.job(), "has channels R, G, B, Z; accepted are grey or RGB, with or without A")


def low_bit_truths() -> dict[str, Callable[[Shot, Path], Path]]:
    """Return ways to write a truth that is the source's 8 bits again, and what each is."""

    def signal(shot: Shot) -> npt.NDArray[np.float32]:
        return to_signal(shot.sources_cv[0], 8)

    def convert(shot: Shot) -> npt.NDArray[np.float32]:
        return color.conversion(color.load_config(None), "ACEScct", "ACEScg").apply(signal(shot))

    def codes_16(shot: Shot) -> npt.NDArray[np.uint16]:
        return np.rint(signal(shot) * 65535).astype(np.uint16)

    return {
        "8-bit PNG": lambda shot, path: save(path.with_suffix(".png"), shot.sources_cv[0].astype(np.uint8)),
        "scaled to 16": lambda shot, path: write_exr(path.with_suffix(".png"), codes_16(shot)),
        "padded to 16": lambda shot, path: write_exr(path.with_suffix(".tif"), codes_16(shot) // 257 * 256),
        "half": lambda shot, path: write_exr(path, signal(shot).astype(np.float16)),
        "float": lambda shot, path: write_exr(path, signal(shot)),
        "linear": lambda shot, path: write_exr(path, convert(shot)),
    }


@pytest.mark.parametrize("kind", low_bit_truths())
def test_a_truth_that_is_itself_8_bit(tmp_path: Path, kind: str) -> None:
    shot = Shot(tmp_path, 1, height=120, width=160)
    shot.write_result(lambda _, truth_cv: truth_cv)
    truth = low_bit_truths()[kind](shot, tmp_path / "low.exr")
    spaces: Options = {"in_space": "ACEScct", "truth_space": "ACEScg"} if kind == "linear" else {}
    candidate = str(shot.paths(shot.result)[0])
    (error,) = errors(CompareJob(candidate=candidate, truth=str(truth), **spaces))
    assert f"truth {truth}: is itself no finer than the source" in str(error)
    assert "the numbers would mean nothing; give the original, of 16 bits or float" in str(error)


def test_8_bit_data_behind_a_curve_is_remarked(tmp_path: Path) -> None:
    def shaped(height: int, width: int, _: int) -> npt.NDArray[np.uint16]:
        return np.rint((natural(height, width) / 255) ** 1.25 * 65535).astype(np.uint16)

    shot = Shot(tmp_path, 1, shaped, height=120, width=160)
    shot.write_result(lambda source_cv, _: source_cv)
    (frame,) = compare_sequences(shot.job())
    assert any("different values: is it really finer than the source?" in note for note in frame.notes)


@given(seed=st.integers(0, 99), bits=st.sampled_from([8, 10]), half=st.booleans())
def test_a_true_truth_is_never_called_low(seed: int, bits: int, half: bool) -> None:
    signal = (natural(40, 50, bits=16, seed=seed) / 65535).astype(
        np.float16 if half and bits == 8 else np.float32
    )
    assert check_precision("truth", signal, signal.astype(np.float32) * (2**bits - 1), bits) == []


def test_a_few_flat_patches_or_black_are_no_8_bit_truth() -> None:
    for values in ([0.0], [0.0, 1.0], [0.1, 0.2, 0.3], np.linspace(0, 1, 25) ** 2.2):
        chart = np.repeat(np.asarray(values, np.float32), 64 * 3).reshape(1, -1, 3).repeat(64, axis=0)
        check_precision("truth", chart, chart * 255, 8)


def test_spaces_that_the_files_name_and_are_not_read_as(shot: Shot) -> None:
    path = shot.paths(shot.truth)[0]
    write_exr(path, to_signal(shot.truths_cv[0], 8), tagged("lin_ap1_scene"))
    only_first_fails(
        shot.job(in_space="ACEScct"),
        f"truth {path} says that it is lin_ap1_scene, and would be read as ACEScct",
        "--in-space of the plate, --out-space of the result, --truth-space of the truth",
    )
    write_exr(shot.paths(shot.result)[0], to_signal(shot.sources_cv[0], 8), tagged("srgb_rec709_scene"))
    only_first_fails(shot.job(), "says that it is srgb_rec709_scene, and truth", "that it is lin_ap1_scene")


@pytest.mark.parametrize(("role", "option"), [("truth", "in_space"), ("candidate", "out_space")])
def test_a_display_referred_truth_of_a_linear_result(shot: Shot, role: str, option: str) -> None:
    """Nothing says what either is; the pictures do."""
    path = Path(getattr(shot.job(), role).replace("####", "1001"))
    to_linear = color.conversion(color.load_config(None), "sRGB - Texture", "Linear Rec.709 (sRGB)")
    write_exr(path, to_linear.apply(to_signal(shot.truths_cv[0], 8)))
    said = "yet show the same picture: they are in different encodings; name the spaces"
    only_first_fails(shot.job(), f"{role} {path}", said)


def test_another_picture(shot: Shot) -> None:
    path = shot.paths(shot.result)[0]
    write_exr(path, to_signal(shot.sources_cv[0], 8)[::-1].copy())
    only_first_fails(shot.job(), "not the same picture; check the patterns and the frame numbers")


@given(sigma=st.floats(0, 12), offset=st.floats(-1, 1), seed=st.integers(0, 9))
def test_grain_and_small_moves_are_no_other_encoding(sigma: float, offset: float, seed: int) -> None:
    plate_cv = natural(40, 50, seed=seed).astype(np.float32)
    noise = np.random.default_rng(seed).normal(offset, sigma, plate_cv.shape).astype(np.float32)
    check_pair("one", plate_cv, "other", plate_cv + noise, 8)


@given(power=st.sampled_from([0.45, 0.6, 1.6, 2.2]), seed=st.integers(0, 9))
def test_a_curve_is_another_encoding(power: float, seed: int) -> None:
    plate_cv = natural(40, 50, seed=seed).astype(np.float32)
    with pytest.raises(PlateError, match="in different encodings"):
        check_pair("one", plate_cv, "other", (255 * (plate_cv / 255) ** power).astype(np.float32), 8)


def test_a_missing_ffmpeg_leaves_cambi_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shot = Shot(tmp_path, 1, height=216, width=216)
    shot.write_result(lambda source_cv, _: source_cv)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (frame,) = compare_sequences(shot.job())
    assert "psnr_cv_db" in frame.values
    assert not any(name.startswith("cambi") for name in frame.values)
    note = next(note for note in frame.notes if "CAMBI" in note)
    assert note.startswith("left out: CAMBI needs the package imageio-ffmpeg")
    assert "pip install 'bitexpand[metrics]'" in note


@pytest.mark.parametrize(("metric", "package"), [("flip", "flip_evaluator"), ("cvvdp", "pycvvdp")])
def test_a_missing_package_that_was_asked_for(
    shot: Shot, monkeypatch: pytest.MonkeyPatch, metric: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=r"needs the package .* `pip install .*`, or leave it out"):
        errors(shot.job(also=(metric,), in_space="ACEScct"))


def test_a_metric_of_srgb_without_an_encoding(shot: Shot) -> None:
    with pytest.raises(
        UsageError, match=r"--also flip looks at sRGB: name the plate's encoding with --in-space"
    ):
        errors(shot.job(also=("flip",)))


def test_a_config_without_the_usual_spaces(shot: Shot, tmp_path: Path) -> None:
    config = tmp_path / "show.ocio"
    config.write_text(SHOW_CONFIG.format(power=2))
    (frame, _) = compare_sequences(shot.job(config=str(config), in_space="log"))
    assert {"psnr_cv_db", "gain_db"} <= frame.values.keys()
    assert not any("srgb" in name for name in frame.values)
    assert any("no numbers on sRGB - Texture: unknown colour space" in note for note in frame.notes)


BAD_JOBS: list[tuple[Options, type[Exception], str]] = [
    ({"also": ("flop",)}, UnknownNameError, "unknown metric 'flop'; did you mean 'flip'?"),
    ({"also": ("flip",), "truth": None}, UsageError, "--also flip compares with a truth: give --truth"),
    ({"truth": None, "source": None}, UsageError, "nothing to compare with: give --truth TRUTH"),
    ({"truth": "a_####.exr"}, UsageError, "candidate and truth are the same files: a_####.exr"),
    ({"truth": None, "source": "a_####.exr"}, UsageError, "result and source are the same files"),
    ({"bits": 13}, UsageError, "--bits 13: give 2 to 12"),
]


@pytest.mark.parametrize(("options", "kind", "said"), BAD_JOBS)
def test_a_job_that_makes_no_sense(options: Options, kind: type[Exception], said: str) -> None:
    whole: Options = {"candidate": "a_####.exr", "truth": "b_####.exr", "source": "c_####.png"}
    with pytest.raises(kind, match=said.replace("?", r"\?")):
        CompareJob(**(whole | options))


BAD_READINGS: list[tuple[Options, type[Exception], str]] = [
    ({"out_space": "ACEScg"}, UsageError, "--out-space needs --in-space, the colour space of the plate"),
    ({"truth_space": "ACEScg"}, UsageError, "--truth-space needs --in-space"),
    (
        {"in_space": "ACEScc1"},
        UnknownNameError,
        "unknown colour space 'ACEScc1'; did you mean 'ACEScc', 'ACEScct'",
    ),
    ({"config": "nowhere.ocio"}, MissingInputError, "there is no OpenColorIO config at nowhere.ocio"),
    ({"model": "nothing"}, UsageError, "nothing"),
    ({"frames": "7-9"}, MissingInputError, "none of the frames 7-9 of"),
]


@pytest.mark.parametrize(("options", "kind", "said"), BAD_READINGS)
def test_settings_that_no_frame_can_have(
    shot: Shot, options: Options, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        errors(shot.job(**options))


def test_arguments_that_make_no_pair() -> None:
    for arguments, said in (
        (("a.exr", None, {}), "give --truth TRUTH to compare CANDIDATE with, or SOURCE and RESULT"),
        (("a.exr", "b.exr", {"source": "c.png"}), "--source goes with --truth"),
        (("a.exr", "b.exr", {"truth": "c.exr"}), "'b.exr' is one argument too many"),
    ):
        first, second, options = arguments
        with pytest.raises(UsageError, match=said):
            job_of(first, second, **options)


def test_a_source_that_is_no_plate(shot: Shot) -> None:
    Image.fromarray(natural(48, 64, 1, bits=16)[..., 0]).save(shot.paths(shot.source)[0])
    (error, other) = errors(shot.job())
    assert "16" in str(error)
    assert other is None


def test_what_a_result_says_of_itself_is_held_against_its_tag(tmp_path: Path, tiny: str) -> None:
    job = expanded(tmp_path, tiny, in_space="ACEScct", out_space="ACEScg")
    assert errors(job) == [None] * 3
    found = errors(replace(job, out_space="ACEScct"))
    assert all("says that it is lin_ap1_scene, and would be read as ACEScct" in str(error) for error in found)
