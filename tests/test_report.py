"""The QC page: its verdict, what it says of bad results, and that it runs nothing but its own code."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Cli
from expansions import target
from plates import save
from reports import Page, facts_of, unpack

from bitexpand import color, frames
from bitexpand.code_values import Codes, Floats
from bitexpand.errors import MissingInputError, UnknownNameError, UsageError, WriteError
from bitexpand.jobs import Job
from bitexpand.pipeline import expand_sequence
from bitexpand.report import looks, page, view
from bitexpand.report.facts import FrameFacts, Measure, percent, worst_first
from bitexpand.report.qc import QcJob, gather, write_report

pytestmark = pytest.mark.usefixtures("one_thread")


def test_faults_are_told_in_words_and_the_worst_is_first() -> None:
    measures = (Measure("distinct", "d"), Measure("gain_db", "g", "low"))
    fine = FrameFacts(1, "s", "r", samples=10, measures={"gain_db": 3.0})
    poor = FrameFacts(2, "s", "r", samples=10, measures={"gain_db": -1.0})
    nan = FrameFacts(3, "s", "r", samples=10, mismatched=5, not_finite=2, measures={})
    wide = FrameFacts(4, "s", "r", samples=10, mismatched=1, alpha_mismatched=3, bound=2.0)
    gone = FrameFacts(5, "s", "r", error="r: missing", missing=True)
    assert nan.faults == ("3 samples leave their bin", "2 NaN or Inf")
    assert wide.faults == ("1 samples beyond 2 LSB", "3 alpha samples differ")
    assert gone.faults == ("missing",)
    assert replace(gone, missing=False, error="is odd").faults == ("is odd",)
    assert [f.passed for f in (fine, poor, nan, wide, gone)] == [True, True, False, False, False]
    assert worst_first([fine, poor, nan, wide, gone], measures) == [2, 3, 1, 0, 4]
    assert worst_first([fine, poor], [Measure("gain_db", "g", "high")]) == [0, 1]
    assert percent(10**9 - 1, 10**9) == "99.9999 %"
    assert (percent(3, 3), percent(0, 0)) == ("100 %", "nothing compared")


def test_the_page_loads_nothing_and_runs_only_what_it_brought() -> None:
    config = color.load_config(color.PINNED_CONFIG)
    found = Page(page.render(facts_of(FrameFacts(1, "s", "r"), view=view.bake(config, "ACEScct"))))
    policy = found.policy()
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, attributes, text in found.inline:
        if attributes.get("type") in (None, "module"):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy, tag
    for tag, attributes in found.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not {"src", "srcset", "style", "onclick", "onload"} & attributes.keys(), tag
        assert (attributes.get("href") or "#").startswith("#")
    assert not [text for _, _, text in found.inline if "sourceMappingURL" in text]


def test_no_text_of_files_becomes_markup() -> None:
    hostile = '</script><script>alert("x")</script><img src=x onerror=alert(1)>&amp;'
    frame = FrameFacts(7, hostile, hostile, error=hostile, notes=(hostile,))
    told = {hostile: hostile}
    text = page.render(
        facts_of(frame, source=hostile, notes=(hostile,), provenance=told, missing_sources=hostile)
    )
    found = Page(text)
    assert not [tag for tag, _ in found.elements if tag == "img"]
    assert sum(tag == "script" for tag, _ in found.elements) == 3
    facts = next(text for _, attributes, text in found.inline if attributes.get("id") == "facts")
    assert json.loads(facts)["frames"][0]["faults"] == [hostile]


def test_the_verdict_names_what_is_wrong() -> None:
    fine = FrameFacts(1001, "s", "r", samples=10, largest_move=0.4)
    bad = replace(fine, number=1002, mismatched=3, not_finite=1, largest_move=7.0)
    gone = [FrameFacts(n, "s", "r", error="missing", missing=True) for n in (1003, 1004, 1005, 1009)]
    odd = FrameFacts(1006, "s", "r", error="is 3x4")
    text = Page(page.render(facts_of(fine, bad, *gone, odd, missing_sources="1007-1008"))).text
    for told in ("FAULT: 6 of 7 frames", "2 of 7", "85.0000 %", "1003-1005,1009", "7.000 LSB", "is 3x4"):
        assert told in text
    assert "The source itself lacks the frames 1007-1008" in text
    many = [replace(gone[0], number=n) for n in (1, 5, 6, 13, 20, 36, 61, 99, 120, 180)]
    assert "... (10)" in Page(page.render(facts_of(*many))).text
    assert "OK: 1 frame" in Page(page.render(facts_of(replace(fine, number=None)))).text


@pytest.fixture
def shot(job: Job) -> Job:
    """Return a job over three frames in ACEScct that was run."""
    job = replace(job, frames="1001-1003", in_space="ACEScct")
    assert [result.status for result in expand_sequence(job)] == ["written"] * 3
    return job


def qc_of(job: Job, **changes: Any) -> QcJob:  # noqa: ANN401
    options = {"source": job.input, "result": job.output, "frames": job.frames, "metrics": False, **changes}
    return QcJob(**options)


def tamper(
    path: Path, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any] | None], keep: bool = True
) -> None:
    """Write a frame again with other pixels, with or without its metadata."""
    frame = frames.read_frame(path)
    pixels = frame.pixels.copy()
    changed = change(pixels)
    pixels = np.ascontiguousarray(pixels if changed is None else changed)
    window = frames.Window(0, 0, pixels.shape[1], pixels.shape[0])
    info = replace(frame.info, data=window, display=window)
    frames.write_frame(path, pixels, info, frame.info.attributes if keep else ())


def test_a_good_shot_is_told_from_end_to_end(shot: Job, tmp_path: Path) -> None:
    told: list[str] = []
    output = tmp_path / "new" / "report.html"
    facts = write_report(qc_of(shot), output, told.append)
    assert facts.passed
    assert facts.notes == ()
    assert [frame.number for frame in facts.frames] == [1001, 1002, 1003]
    assert told == ["verifying", "drawing pictures"]
    assert os.listdir(output.parent) == ["report.html"]
    text = Page(output.read_text("utf-8")).text
    for expected in ("OK: 3 frames", "100 %", "ACES 1.0 - SDR Video, sRGB - Display", "bitexpand:model"):
        assert expected in text
    assert facts.provenance["bitexpand:source"] == "3 different: shot_1001.png ... shot_1003.png"
    for frame in facts.frames:
        whole = frame.whole
        assert whole is not None
        source, result = unpack(whole.packed, (whole.height, whole.width, whole.channels), whole.steps)
        assert np.array_equal(source, codes_of(shot, frame.number))
        written = frames.read_frame(target(shot, frame.number or 0)).pixels.astype(np.float64) * 255
        assert np.abs(result - written).max() <= 0.5 / 256 + 1e-6
        moved = np.abs(written - source).mean()
        assert frame.measures["mean_move"] == pytest.approx(moved, rel=1e-4)


def codes_of(job: Job, number: int | None) -> Codes:
    return frames.read_frame(Path(job.input.replace("####", str(number)))).pixels.astype(np.uint16)


def test_a_conversion_is_taken_back(job: Job) -> None:
    job = replace(job, frames="1001", in_space="ACEScct", out_space="ACEScg", depth="float")
    list(expand_sequence(job))
    facts = gather(qc_of(job))
    whole = facts.frames[0].whole
    assert facts.passed
    assert whole is not None
    source, result = unpack(whole.packed, (whole.height, whole.width, 3), whole.steps)
    assert np.array_equal(source, codes_of(job, 1001))
    assert np.abs(result - source).max() <= 0.5 + 1 / 256


def test_what_is_missing_broken_or_foreign_is_named(shot: Job, tmp_path: Path) -> None:
    target(shot, 1001).unlink()
    tamper(target(shot, 1002), lambda pixels: pixels.__setitem__((2, 3), np.nan))
    tamper(target(shot, 1003), lambda pixels: pixels.__setitem__((5, 6, 1), 0.9), keep=False)
    facts = write_report(qc_of(shot), tmp_path / "report.html")
    gone, broken, foreign = facts.frames
    assert (gone.missing, gone.whole) == (True, None)
    assert (broken.not_finite, broken.faults) == (3, ("3 NaN or Inf",))
    assert foreign.faults == ("1 samples leave their bin",)
    assert facts.worst == 1
    (note,) = facts.notes
    assert note.startswith(
        "Not stated by the results 1003, which hold no bitexpand attributes: how they were made"
    )
    whole = broken.whole
    assert whole is not None
    _, result = unpack(whole.packed, (whole.height, whole.width, 3), whole.steps)
    assert np.isnan(result[2, 3]).all()
    assert np.isnan(result).sum() == 3
    text = Page((tmp_path / "report.html").read_text("utf-8")).text
    for told in ("FAULT: 3 of 3 frames", "1001", "NaN or Inf"):
        assert told in text


def test_another_size_is_no_crash(shot: Job) -> None:
    tamper(target(shot, 1002), lambda pixels: pixels[:, :-3])
    facts = gather(qc_of(shot))
    assert [frame.passed for frame in facts.frames] == [True, False, True]
    assert "is 24x29x3 (height x width x channels) instead of 24x32x3" in facts.frames[1].faults[0]
    assert "Not comparable" in page.render(facts)


def test_without_any_result_there_still_is_a_page(shot: Job, tmp_path: Path) -> None:
    for number in (1001, 1002, 1003):
        target(shot, number).unlink()
    facts = write_report(qc_of(shot, metrics=True), tmp_path / "report.html")
    assert [frame.missing for frame in facts.frames] == [True] * 3
    assert "FAULT: 3 of 3 frames" in (tmp_path / "report.html").read_text("utf-8")


def test_an_encoding_that_is_not_stated_is_said(job: Job) -> None:
    job = replace(job, frames="1001")
    list(expand_sequence(job))
    facts = gather(qc_of(job))
    assert facts.view is None
    assert facts.notes[0].startswith("The plate's encoding is not stated (--in-space)")
    told = gather(qc_of(job, in_space="sRGB - Texture", display="sRGB - Display", view="Un-tone-mapped"))
    assert told.view is not None
    assert told.view.name == "Un-tone-mapped, sRGB - Display"
    film = gather(qc_of(job, in_space="ADX10"))
    assert (film.view, film.passed) == (None, True)
    assert "no view can be had of ADX10" in film.notes[0]


def test_a_config_that_only_the_file_names_may_be_gone(shot: Job) -> None:
    for number in (1001, 1002, 1003):
        path = target(shot, number)
        frame = frames.read_frame(path)
        others = [a for a in frame.info.attributes if a.name != "bitexpand:config"]
        gone = frames.Attribute("bitexpand:config", "string", "/gone/show.ocio")
        frames.write_frame(path, frame.pixels, frame.info, [*others, gone])
    facts = gather(qc_of(shot))
    assert facts.passed
    assert "there is no OpenColorIO config at /gone/show.ocio" in facts.notes[0]
    with pytest.raises(MissingInputError, match="no OpenColorIO config at /gone/mine.ocio"):
        gather(qc_of(shot, config="/gone/mine.ocio"))


def test_names_and_places_that_do_not_exist_are_refused(shot: Job, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ACEScct'"):
        gather(qc_of(shot, in_space="ACESct"))
    with pytest.raises(UnknownNameError, match="unknown display 'nowhere'"):
        gather(qc_of(shot, display="nowhere"))
    with pytest.raises(UsageError, match="--view Raw needs --display"):
        qc_of(shot, view="Raw")
    with pytest.raises(UsageError, match="--truth is for the metrics"):
        qc_of(shot, truth="t_####.exr")
    with pytest.raises(MissingInputError, match="1009"):
        gather(qc_of(shot, frames="1001,1009"))
    with pytest.raises(WriteError, match="could not be written"):
        write_report(qc_of(shot, frames="1001"), tmp_path)


def test_the_metrics_of_compare_are_told(shot: Job, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    truth = tmp_path / "truth"
    for number in (1001, 1002, 1003):
        codes = codes_of(shot, number)
        exact: Floats = codes + np.random.default_rng(number).uniform(-0.4, 0.4, codes.shape).astype(
            np.float32
        )
        truth.mkdir(exist_ok=True)
        frame = frames.read_frame(target(shot, number))
        frames.write_frame(
            truth / f"t_{number}.exr", (exact / np.float32(255)).astype(np.float32), frame.info
        )
    facts = gather(qc_of(shot, metrics=True, truth=str(truth / "t_####.exr")))
    assert all(math.isfinite(frame.measures["gain_db"]) for frame in facts.frames)
    assert facts.worst == min(range(3), key=lambda i: facts.frames[i].measures["gain_db"])
    found = Page(page.render(facts))
    assert "Gain over doing nothing, dB" in found.text
    assert "Gain, dB, mean" in found.text


def test_the_page_of_many_frames_stays_small(
    shot: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert looks.ALL + 2 * looks.CLOSE_UPS * looks.LARGE + 1_500_000 < 30_000_000
    monkeypatch.setattr(looks, "ALL", 60_000)
    monkeypatch.setattr(looks, "LARGE", 6_000)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint16)
    source = save(tmp_path / "many" / "n_0001.png", noise)
    result = tmp_path / "many" / "n_0001.exr"
    one = replace(shot, input=str(source), output=str(result), frames=None)
    list(expand_sequence(one))
    for number in range(2, 41):
        for path in (source, result):
            path.with_name(f"n_{number:04}{path.suffix}").symlink_to(path)
    folder = tmp_path / "many"
    facts = gather(QcJob(source=str(folder / "n_####.png"), result=str(folder / "n_####.exr"), metrics=False))
    assert all(frame.whole for frame in facts.frames)
    sizes = [len(frame.whole.packed) for frame in facts.frames if frame.whole]
    assert sum(sizes) <= 60_000 + looks.CLOSE_UPS * 6_000
    details = [frame.detail for frame in facts.frames if frame.detail]
    assert 6 <= len(details) <= looks.CLOSE_UPS
    assert all(len(detail.packed) <= 6_000 for detail in details)


def test_the_command_exits_with_the_verdict(shot: Job, call_cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    command = ("qc", shot.input, shot.output, "--frames", "1001-1003", "-o", output, "--quick")
    call_cli(*command).said(f"{output}: passed")
    tamper(target(shot, 1002), lambda pixels: pixels.__setitem__((2, 3), np.inf))
    call_cli(*command, expect=1).said("FAULTS")
    assert "FAULT: 1 of 3 frames" in output.read_text("utf-8")
    call_cli(*command, "--view", "Raw", expect=2).said("--view Raw needs --display")
    call_cli("qc", tmp_path / "gone_####.png", shot.output, "-o", output, expect=3)
