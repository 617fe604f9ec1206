"""Comparison: the numbers are those of the pictures that were made for them, whatever files these lie in."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from comparing import Shot, expanded
from hypothesis import given
from hypothesis import strategies as st
from plates import natural, save

from bitexpand import color, compare
from bitexpand.compare import CompareJob, FrameComparison, compare_sequences, job_of
from bitexpand.compare_output import BEGINNING, Table, csv_text, json_text, tell, verdict
from bitexpand.compare_summary import summarize
from bitexpand.compare_values import Sums
from bitexpand.errors import UsageError
from bitexpand.metrics.fidelity import MAX_DB
from bitexpand.metrics.strata import MAX_GAIN, STRATA, Errors
from bitexpand.temporaries import prepare_file, write_text

pytestmark = pytest.mark.usefixtures("one_thread")

HALVED_DB = 20 * math.log10(2)


def compared(job: CompareJob, threads: int = 2) -> list[FrameComparison]:
    """Compare all frames, none of which may fail."""
    found = list(compare_sequences(job, threads))
    assert [frame.error for frame in found if frame.error] == []
    return found


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    """Three frames of truth and source."""
    return Shot(tmp_path, 3)


def test_half_the_error_is_six_decibels_in_every_stratum(shot: Shot) -> None:
    shot.write_result(lambda source_cv, truth_cv: (source_cv + truth_cv) / 2)
    found = compared(shot.job())
    assert [frame.number for frame in found] == [1001, 1002, 1003]
    for frame, truth_cv, source_cv in zip(found, shot.truths_cv, shot.sources_cv, strict=True):
        here = [s for s in STRATA if frame.values[f"{s}_share"] > 0]
        assert len(here) > 2
        for name in ("gain_db", *(f"gain_{stratum}_db" for stratum in here)):
            assert frame.values[name] == pytest.approx(HALVED_DB, abs=1e-2), name
        assert sum(frame.values[f"{s}_share"] for s in STRATA) == pytest.approx(1)
        error_cv = np.abs(source_cv - truth_cv) / 2
        assert frame.values["error_mean_lsb"] == pytest.approx(error_cv.mean(), rel=1e-3)
        assert frame.values["error_max_lsb"] == pytest.approx(error_cv.max(), rel=1e-3)
        psnr = 10 * math.log10(255**2 / np.mean(error_cv**2))
        assert frame.values["psnr_cv_db"] == pytest.approx(psnr, abs=1e-2)
        assert frame.values["match_share"] == frame.values["in_bin_share"] == 1
        assert frame.values["largest_move_lsb"] == pytest.approx(error_cv.max(), rel=1e-3)


@given(share=st.floats(0.01, 0.99))
def test_pooled_gain_is_that_of_all_samples_together(share: float) -> None:
    weights = np.arange(1.0, len(STRATA) + 1)
    samples = np.ones(len(STRATA), np.int64)
    good, bad = (Sums(Errors(weights, weights * s, samples)) for s in (share**2, 1.0))
    frames = [FrameComparison(n, None, None, None, s.values(), s) for n, s in enumerate((good, bad), 1)]
    summary = summarize(frames)
    assert summary.values["gain_db"] == pytest.approx(-10 * math.log10((share**2 + 1) / 2))
    assert summary.values["flat_share"] == pytest.approx(1 / len(STRATA))
    assert summary.worst_by == "gain_db"
    assert summary.worst["gain_db"].frame == "2"


def test_the_file_and_its_space_do_not_change_the_numbers(shot: Shot) -> None:
    shot.write_result(lambda source_cv, truth_cv: (source_cv + truth_cv) / 2)
    (in_log, *_) = compared(shot.job(in_space="ACEScct"))
    convert = color.conversion(color.load_config(None), "ACEScct", "ACEScg").apply
    shot.write_result(lambda source_cv, truth_cv: (source_cv + truth_cv) / 2, convert)
    shot.write_truth(convert)
    spaces = {"in_space": "ACEScct", "out_space": "ACEScg", "truth_space": "ACEScg"}
    (in_linear, *_) = compared(shot.job(**spaces))
    assert in_linear.values.keys() == in_log.values.keys()
    for name in ("gain_db", "psnr_cv_db", "psnr_srgb_db", "psnr_linear_db", "ssim_srgb", "oklab_mean"):
        assert in_linear.values[name] == pytest.approx(in_log.values[name], rel=2e-3), name
    assert not in_log.notes or "sRGB" not in "".join(in_log.notes)


def test_srgb_and_linear_numbers_are_of_those_pictures(shot: Shot) -> None:
    shot.write_result(lambda source_cv, _: source_cv)
    (frame, *_) = compared(shot.job(in_space="ACEScct"))
    config = color.load_config(None)
    signals = [plate_cv / np.float32(255) for plate_cv in (shot.sources_cv[0], shot.truths_cv[0])]
    for column, space, limits in (
        ("psnr_linear_db", "ACEScg", (-np.inf, np.inf)),
        ("psnr_srgb_db", "sRGB - Texture", (0, 1)),
    ):
        convert = color.conversion(config, "ACEScct", space)
        result, truth = (convert.apply(np.ascontiguousarray(signal)).clip(*limits) for signal in signals)
        squares = np.mean((result - truth).astype(np.float64) ** 2)
        assert frame.values[column] == pytest.approx(-10 * math.log10(squares), rel=1e-4)
    assert 0 < frame.values["oklab_mean"] < frame.values["oklab_p99"] < 0.1


def test_an_unknown_encoding_leaves_out_what_needs_it_and_says_so(shot: Shot) -> None:
    shot.write_result(lambda source_cv, _: source_cv)
    (frame, *_) = compared(shot.job())
    assert not [name for name in frame.values if "srgb" in name or "linear" in name or "oklab" in name]
    assert "runs_gamma_1.6_result_px" in frame.values
    assert "runs_display_result_px" not in frame.values
    assert any("encoding is not known (--in-space)" in note for note in frame.notes)


def test_doing_nothing_gains_nothing(shot: Shot) -> None:
    for frame in compared(replace(shot.job(), candidate=shot.source, source=None)):
        assert frame.values["gain_db"] == 0
        assert frame.values["match_share"] == 1
        assert frame.values["largest_move_lsb"] == 0
        assert "no source was given: it is taken to be the truth, rounded to 8 bits" in frame.notes


def test_nothing_is_infinite_where_the_result_is_the_truth(shot: Shot) -> None:
    shot.write_result(lambda _, truth_cv: truth_cv)
    found = compared(shot.job())
    for frame in found:
        assert (frame.values["psnr_cv_db"], frame.values["gain_db"]) == (MAX_DB, MAX_GAIN)
        assert f"no error at all: PSNR is capped at {MAX_DB:g} dB, gain at {MAX_GAIN:g} dB" in frame.notes
    text = Table(True).summary(summarize(found))
    assert "capped" in text
    assert "inf" not in text.lower()


def test_a_black_frame_says_what_was_capped(tmp_path: Path) -> None:
    shot = Shot(tmp_path, 1, lambda height, width, _: np.zeros((height, width, 3), np.uint16))
    shot.write_result(lambda source_cv, _: source_cv)
    found = compared(shot.job())
    summary, table = summarize(found), Table(True)
    text = table.row(found[0]) + table.summary(summary)
    for said in ("capped at 150 dB", "one flat colour, such as black", "there is no gain"):
        assert said in text
    assert "nan" not in text.lower()
    assert math.isnan(found[0].values["gain_db"])
    document = json.loads(json_text(shot.job(), found, summary))
    assert document["frames"][0]["gain_db"] is None
    assert summary.worst_by == "largest_move_lsb"


@pytest.mark.parametrize("spaces", [{}, {"in_space": "ACEScct", "out_space": "ACEScg"}])
def test_without_a_truth_the_promise_is_measured(tmp_path: Path, tiny: str, spaces: dict[str, Any]) -> None:
    job = expanded(tmp_path, tiny, **spaces)  # the files say which spaces they are in
    found = compared(job)
    for frame in found:
        assert (frame.values["match_share"], frame.values["in_bin_share"]) == (1, 1)
        assert 0 < frame.values["largest_move_lsb"] < 0.5
        assert frame.values["distinct_source"] <= 256 < frame.values["distinct_result"]
        assert ("runs_plus_3_stops_result_px" in frame.values) is bool(spaces)
        assert not any(name.startswith(("psnr", "gain")) for name in frame.values)
    summary = summarize(found)
    assert summary.worst_by == "largest_move_lsb"
    assert verdict(summary).startswith("3 frames compared; worst frame 100")


def test_one_sample_out_of_its_bin_names_its_frame(shot: Shot) -> None:
    def change(source_cv: npt.NDArray[np.float32], truth_cv: npt.NDArray[np.float32]) -> Any:  # noqa: ANN401
        result_cv = truth_cv.clip(source_cv - 0.49, source_cv + 0.49)
        if (source_cv == shot.sources_cv[1]).all():
            result_cv[5, 7, 1] += 3
        return result_cv

    shot.write_result(change)
    found = compared(job_of(shot.source, shot.result))
    summary = summarize(found)
    samples = shot.truths_cv[0].size
    assert found[1].values["match_share"] == 1 - 1 / samples
    assert summary.values["match_share"] == pytest.approx(1 - 1 / (3 * samples))
    assert (summary.worst_by, summary.worst["match_share"].frame) == ("match_share", "1002")
    table = Table(False)
    assert "99.9566" in [table.row(frame) for frame in found][1]
    assert verdict(summary) == "3 frames compared; worst frame 1002: match 99.9566 %"


def test_flicker_is_told_where_the_plate_stands_still(tmp_path: Path) -> None:
    shot = Shot(tmp_path, 4, lambda height, width, _: natural(height, width, bits=16))
    moves_cv = iter((0.1, -0.1, 0.1, -0.1))
    shot.write_result(lambda source_cv, _: source_cv.clip(1, 254) + next(moves_cv))
    found = compared(shot.job())
    assert "flicker_result_lsb" not in found[0].values
    for frame in found[1:]:
        assert frame.values["still_share"] == 1
        for name in ("flicker_result_lsb", "flicker_error_lsb"):
            assert frame.values[name] == pytest.approx(0.1 * math.sqrt(2), rel=1e-3)
        assert frame.values["flicker_truth_lsb"] == 0
    assert summarize(found).values["flicker_error_lsb"] == pytest.approx(0.1 * math.sqrt(2), rel=1e-3)
    with_gap = compared(replace(shot.job(), frames="1001,1003,1004"))
    assert ["flicker_error_lsb" in frame.values for frame in with_gap] == [False, False, True]


def test_idempotence_tells_the_model_that_made_the_result(tmp_path: Path, tiny: str) -> None:
    job = expanded(tmp_path, tiny, depth="float", strength=0.75)
    (frame, *_) = compared(replace(job, model=tiny))
    assert frame.values["idempotence_lsb"] < 1e-4
    (other, *_) = compared(replace(job, model="smooth"))
    assert other.values["idempotence_lsb"] > 1e-2


def test_a_grey_plate_and_its_rgb_result_are_compared(tmp_path: Path, tiny: str) -> None:
    job = expanded(tmp_path, tiny, channels=1, in_space="ACEScct", out_space="ACEScg")
    for frame in compared(job):
        assert frame.values["match_share"] == 1


def test_banding_is_told_of_source_result_and_truth(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    ramp = np.linspace(0.3, 0.34, 240) * 65535
    plate = np.rint(np.broadcast_to(ramp[None, :, None], (220, 240, 3))).astype(np.uint16)
    shot = Shot(tmp_path, 1, lambda *_: plate, height=220, width=240)
    shot.write_result(lambda source_cv, truth_cv: (source_cv + 3 * truth_cv) / 4)
    (frame,) = compared(shot.job(in_space="ACEScct"))
    values = frame.values
    assert values["cambi_source"] > values["cambi_result"] + 1
    assert values["cambi_distance"] == abs(values["cambi_result"] - values["cambi_truth"])
    for name in ("gamma_0.6", "gamma_1.6", "display", "plus_3_stops"):
        assert values[f"runs_{name}_source_px"] > 1.5 * values[f"runs_{name}_truth_px"]
    used = len(np.unique(shot.sources_cv[0]))
    assert values["distinct_source"] == used
    assert values["distinct_truth"] == 240
    text = Table(True).summary(summarize([frame]))
    assert [line.split()[-3:] for line in text.splitlines() if "distinct values" in line] == [
        [str(used), "240", "240"]
    ]


def test_a_metric_that_a_tiny_picture_cannot_have_is_left_out(tmp_path: Path) -> None:
    shot = Shot(tmp_path, 1, height=7, width=9)
    shot.write_result(lambda source_cv, _: source_cv)
    (frame,) = compared(shot.job())
    assert "ssim_cv" not in frame.values
    assert {"psnr_cv_db", "gain_db", "match_share"} <= frame.values.keys()
    assert any("SSIM needs pictures of at least 11x11" in note for note in frame.notes)


def test_single_files_need_no_numbers(shot: Shot, tmp_path: Path) -> None:
    shot.write_result(lambda source_cv, _: source_cv)
    names = [tmp_path / name for name in ("a.exr", "b.exr")]
    for pattern, name in zip((shot.result, shot.truth), names, strict=True):
        Path(pattern.replace("####", "1001")).rename(name)
    (frame,) = compared(CompareJob(candidate=str(names[0]), truth=str(names[1])))
    assert (frame.number, frame.name) == (None, "a.exr")
    assert Table(True).row(frame).splitlines()[1].startswith("a.exr ")


def test_a_single_file_picks_its_frame_of_a_sequence(shot: Shot) -> None:
    shot.write_result(lambda source_cv, _: source_cv)
    job = replace(shot.job(), candidate=shot.result.replace("####", "1002"))
    assert [frame.number for frame in compared(job)] == [1002]


def test_frames_come_in_the_order_of_the_range_whatever_the_threads(shot: Shot) -> None:
    shot.write_result(lambda source_cv, truth_cv: (source_cv + truth_cv) / 2)
    job = replace(shot.job(), frames="1003,1001,1002")
    one, three = compared(job, 1), compared(job, 3)
    assert [frame.number for frame in one] == [1003, 1001, 1002]
    assert csv_text(one) == csv_text(three)


def test_few_frames_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shot = Shot(tmp_path, 9)
    shot.write_result(lambda source_cv, _: source_cv)
    started: list[Path] = []
    load = compare.load
    monkeypatch.setattr(compare, "load", lambda *a: started.append(a[2]) or load(*a))
    frames = compare_sequences(shot.job(), threads=2)
    for taken in range(1, 4):
        next(frames)
        assert len(started) <= taken + 2
    frames.close()
    assert len(started) < 9


def test_json_and_csv_hold_every_number(shot: Shot, tmp_path: Path) -> None:
    shot.write_result(lambda source_cv, truth_cv: (source_cv + truth_cv) / 2)
    found = compared(shot.job())
    summary = summarize(found)
    document = json.loads(json_text(shot.job(), found, summary))
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [row["frame"] for row in rows] == ["1001", "1002", "1003"]
    for frame, facts, row in zip(found, document["frames"], rows, strict=True):
        for name, value in frame.values.items():
            if math.isnan(value):
                assert (facts[name], row[name]) == (None, "")
            else:
                assert facts[name] == value
                assert float(row[name]) == pytest.approx(value, rel=1e-8)
        assert row["truth"] == facts["truth"] == str(frame.truth)
    assert rows[0]["flicker_error_lsb"] == ""  # a first frame has none before it
    assert document["settings"]["candidate"] == shot.result
    assert document["summary"]["worst_frame"] == summary.worst["gain_db"].frame
    assert document["summary"]["values"]["gain_db"] == pytest.approx(HALVED_DB, abs=1e-2)


def test_the_command_prints_a_table_or_what_was_asked_for(shot: Shot, tmp_path: Path) -> None:
    shot.write_result(lambda source_cv, truth_cv: (source_cv + truth_cv) / 2)
    said: list[str] = []
    stdout = Path("-")
    paths = [tmp_path / name for name in ("a.json", "a.csv")]
    assert tell(shot.job(), said.append, paths[0], paths[1]) == 0
    assert [text.split()[0] for text in said] == ["frame", "1002", "1003", "mean"]
    assert said[-1].splitlines()[-1].startswith("3 frames compared; worst frame 100")
    for number, path in enumerate(paths):
        printed: list[str] = []
        json_to, csv_to = (stdout, None) if number == 0 else (None, stdout)
        assert tell(shot.job(), printed.append, json_to, csv_to) == 0
        assert "\n".join(printed) + "\n" == path.read_text()
    with pytest.raises(UsageError, match="--json - and --csv - would be mixed"):
        tell(shot.job(), said.append, stdout, stdout)
    shot.paths(shot.truth)[1].unlink()
    said.clear()
    assert tell(shot.job(), said.append) == 1
    assert f"1002      FAULT missing in truth {shot.truth}" in said
    assert said[-1].splitlines()[-1].startswith("FAULT: 1 of 3 frames could not be compared")


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_a_file_is_written_whole_and_replaces_only_its_like(shot: Shot, tmp_path: Path, option: str) -> None:
    shot.write_result(lambda source_cv, _: source_cv)
    found = compared(shot.job())
    text = csv_text(found) if option == "--csv" else json_text(shot.job(), found, summarize(found))
    path = tmp_path / "new" / "numbers"
    for _ in range(2):  # the second time over the first
        prepare_file(option, path, BEGINNING[option], "comparison")
        write_text(path, text)
    assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["numbers"]
    plate = save(tmp_path / "plate.png", natural(8, 8))
    kept = plate.read_bytes()
    with pytest.raises(UsageError, match="exists and is no comparison; choose another name"):
        prepare_file(option, plate, BEGINNING[option], "comparison")
    assert plate.read_bytes() == kept
    with pytest.raises(UsageError, match=f"{option} .*: cannot write there"):
        prepare_file(option, plate / "below.json", BEGINNING[option], "comparison")


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_share_is_never_rounded_up_to_all(share: float) -> None:
    frame = FrameComparison(7, None, None, None, {"match_share": share})
    shown = Table(False).row(frame).split()[-8]
    assert float(shown) < 100
    assert float(shown) == pytest.approx(100 * share, abs=1.01e-4)


def test_the_table_has_a_line_a_frame_in_columns(shot: Shot) -> None:
    shot.write_result(lambda source_cv, truth_cv: (source_cv + truth_cv) / 2)
    found = compared(shot.job(in_space="ACEScct"))
    table = Table(True)
    lines = "\n".join(table.row(frame) for frame in found).splitlines()
    assert [line.split()[0] for line in lines] == ["frame", "1001", "1002", "1003"]
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[1:3] == ["gain", "dB"]
    assert all(line.split()[1] == "6.02" for line in lines[1:])
    assert not verdict(summarize([])).endswith(";")
