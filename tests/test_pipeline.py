"""The pipeline: every frame complete or not there, whatever happens to the others."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import hidden_files
from expansions import (
    codes_in,
    digests,
    preceded,
    save_16,
    source,
    statuses,
    target,
)
from plates import natural, save, save_shot

from bitexpand import frames, pipeline, temporaries
from bitexpand.code_values import Bins, Codes
from bitexpand.engine import Expanded, Expander
from bitexpand.errors import GuardError, UsageError
from bitexpand.frames import FrameInfo, Window, read_frame
from bitexpand.jobs import Batch, Job, plan_batch, plan_sequence
from bitexpand.pipeline import expand_sequence, run
from bitexpand.plate import Plate, read_plate
from bitexpand.results import FrameResult


@pytest.fixture(params=[1, 2], ids=["in turn", "side by side"])
def job(job: Job, request: pytest.FixtureRequest) -> Job:
    """Return the job with one thread, or with so many that two frames are expanded at a time."""
    return replace(job, threads=request.param)


def test_a_sequence_is_expanded_in_its_order(job: Job) -> None:
    results = list(expand_sequence(replace(job, frames="1003,1001-1002,1004-1006")))
    assert [r.task.number for r in results] == [1003, 1001, 1002, 1004, 1005, 1006]
    for result in results:
        assert (result.status, result.error) == ("written", None)
        assert result.guard is not None
        assert 0 < result.guard.mean_move <= result.guard.largest_move < 0.5
        assert min(result.timing.read, result.timing.expand, result.timing.write) > 0
        stored = read_frame(result.task.target)
        assert (stored.info.container, stored.info.channels) == ("half", ("R", "G", "B"))
        source_codes = read_plate(result.task.source).codes
        assert np.array_equal(codes_in(result.task.target), source_codes)
        assert np.abs(stored.pixels.astype(np.float32) * 255 - source_codes).max() > 0.1, "something happened"
    assert not hidden_files(Path(job.output).parent)


def failing_on(job: Job, number: int, error: BaseException) -> Callable[..., Expanded]:
    """Return ``Expander.expand_frame`` that fails on a frame; side by side, they may begin in another order."""
    failing = read_plate(source(job, number)).codes

    def act(_: Expander, codes: Codes, __: Bins) -> None:
        if np.array_equal(codes, failing):
            raise error

    return preceded(Expander.expand_frame, act)


def test_small_frames_are_expanded_side_by_side(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, expand_frame = threading.Barrier(2), Expander.expand_frame

    def met(self: Expander, codes: Codes, limits: Bins) -> Expanded:
        try:
            at_once.wait(2 if job.threads == 2 else 0)  # for the other frame to be expanded meanwhile
        except threading.BrokenBarrierError:
            assert job.threads == 1
        assert torch.get_num_threads() == 1
        return expand_frame(self, codes, limits)

    monkeypatch.setattr(Expander, "expand_frame", met)
    assert statuses(job) == "wwwwww"


def test_results_keep_their_order_when_writers_do_not(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd_ones_take_long(path: Path, *_: object) -> None:
        time.sleep(0.05 * (int(path.stem[-4:]) % 2))

    monkeypatch.setattr(frames, "write_frame", preceded(frames.write_frame, odd_ones_take_long))
    assert [r.task.number for r in expand_sequence(job)] == list(range(1001, 1007))


@pytest.mark.parametrize("slow", ["reader", "writer", "caller"])
def test_a_handful_of_frames_is_in_flight_however_long_the_shot(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    alive, most = 0, 0
    lock = threading.Lock()

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def counted(path: Path, bits: int | None = None) -> Plate:
        nonlocal alive, most
        plate = read_plate(path, bits)
        time.sleep(0.002 * (slow == "reader"))
        with lock:
            alive += 1
            most = max(most, alive)
        weakref.finalize(plate, gone)
        return plate

    slowly = preceded(frames.write_frame, lambda *_: time.sleep(0.01 * (slow == "writer")))
    monkeypatch.setattr(pipeline, "read_plate", counted)
    monkeypatch.setattr(frames, "write_frame", slowly)
    pattern = save_shot(tmp_path, 50, 8, 8)
    job = Job(input=pattern, output=f"{tmp_path}/o/o_####.exr", model=tiny, device="cpu", threads=1)
    for result in expand_sequence(job):
        assert result.status == "written"
        time.sleep(0.004 * (slow == "caller"))
    assert 1 <= most <= 8
    assert alive == 0


def test_large_frames_are_fewer_in_flight(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_LARGE_FRAME", 0)
    monkeypatch.setattr(pipeline, "_SMALL_FRAME", -1)
    plates: weakref.WeakSet[Plate] = weakref.WeakSet()
    most = 0

    def counted(path: Path, bits: int | None = None) -> Plate:
        nonlocal most
        plate = read_plate(path, bits)
        plates.add(plate)
        most = max(most, len(plates))
        return plate

    monkeypatch.setattr(Plate, "__hash__", object.__hash__)
    monkeypatch.setattr(pipeline, "read_plate", counted)
    assert statuses(job) == "wwwwww"
    assert most <= 5


def test_the_same_work_gives_the_same_bytes(job: Job, tmp_path: Path) -> None:
    shot = {"in_space": "ACEScct", "out_space": "ACEScg"}
    for folder in ("a", "b"):
        assert statuses(replace(job, output=f"{tmp_path}/{folder}/shot_####.exr", **shot)) == "wwwwww"
        for extension in ("png", "tif", "dpx"):
            output = f"{tmp_path}/{folder}/shot_####.{extension}"
            assert statuses(replace(job, output=output, frames="1001")) == "w"
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(digests(tmp_path / "a")) == 9


def test_a_frame_that_cannot_be_read_does_not_stop_the_others(job: Job) -> None:
    whole = source(job, 1002).read_bytes()
    source(job, 1002).write_bytes(whole[: len(whole) // 2])
    source(job, 1004).write_bytes(b"")
    source(job, 1005).write_text("a text file")
    results = list(expand_sequence(job))
    assert [r.status[0] for r in results] == list("wfwffw")
    assert all(str(r.task.source) in (r.error or "") for r in results if r.status == "failed")
    assert sorted(p.name for p in target(job, 1001).parent.iterdir()) == [
        "shot_1001.exr",
        "shot_1003.exr",
        "shot_1006.exr",
    ]
    source(job, 1002).write_bytes(whole)
    assert statuses(job) == "swsffs"


def test_a_source_that_goes_away_fails_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_sequence(job)
    source(job, 1002).unlink()
    digest = pipeline.file_digest

    def refuse(path: Path) -> str:
        if path == source(job, 1004):
            raise PermissionError(13, "Permission denied", str(path))
        return digest(path)

    monkeypatch.setattr(pipeline, "file_digest", refuse)
    results = list(run(plan, job))
    assert [r.status[0] for r in results] == list("wfwfww")
    assert "shot_1002.png: cannot be read (No such file or directory)" in (results[1].error or "")
    assert "shot_1004.png: cannot be read (Permission denied)" in (results[3].error or "")


def test_a_guard_error_fails_the_frame_and_writes_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    foul = GuardError("model tiny: 7 of 9 samples are not finite")
    monkeypatch.setattr(Expander, "expand_frame", failing_on(job, 1002, foul))
    results = list(expand_sequence(job))
    assert [r.status[0] for r in results] == list("wfwwww")
    assert results[1].error == "model tiny: 7 of 9 samples are not finite"
    assert not target(job, 1002).exists()


def test_a_frame_with_alpha_among_others_without_fails(job: Job) -> None:
    save(source(job, 1002), natural(24, 32), natural(24, 32, 1))
    results = list(expand_sequence(job))
    assert "alpha True instead of False" in (results[1].error or "")


def test_a_setting_that_fits_no_frame_stops_a_sequence(job: Job) -> None:
    with pytest.raises(UsageError, match="half samples are too coarse for 8-bit code values"):
        list(expand_sequence(replace(job, bound=0.05)))
    assert not list(target(job, 1001).parent.iterdir())


def test_a_setting_that_fits_some_stills_fails_the_others(tmp_path: Path, tiny: str) -> None:
    for name in ("a", "c"):
        save(tmp_path / f"in/{name}.png", natural(12, 16))
    window = Window(0, 0, 16, 12)
    info = FrameInfo(tmp_path, "dpx", ("R", "G", "B"), "uint16", 16, window, window)
    frames.write_frame(tmp_path / "in/b.dpx", natural(12, 16, 3, 12) << 4, info)
    batch = Batch(
        inputs=(str(tmp_path / "in"),),
        folder=tmp_path / "out",
        model=tiny,
        device="cpu",
        bits=8,
        depth="half",
    )
    results = list(run(plan_batch(batch), batch))
    assert [r.status for r in results] == ["written", "failed", "written"]
    assert "--bits" in (results[1].error or "")
    batch = replace(batch, folder=tmp_path / "tight", bits=None, bound=0.05)
    assert [r.status for r in run(plan_batch(batch), batch)] == ["failed", "failed", "failed"]


def test_a_batch_takes_what_comes(tmp_path: Path, tiny: str) -> None:
    sources = {
        "in/rgb.png": natural(9, 14),
        "in/grey.png": natural(5, 6, 1),
        "in/sub/one.tif": natural(1, 1),
        "in/sub/deeper/line.bmp": natural(1, 33),
    }
    for name, codes in sources.items():
        save(tmp_path / name, codes)
    save_16(tmp_path / "in/sub/ten.png", 10)
    batch = Batch(
        inputs=(str(tmp_path / "in"),), folder=tmp_path / "out", recursive=True, model=tiny, device="cpu"
    )
    results = list(run(plan_batch(batch), batch))
    assert [r.status for r in results if r.task.source.name != "ten.png"] == ["written"] * 4
    (sixteen,) = [r for r in results if r.task.source.name == "ten.png"]
    assert "16-bit source" in (sixteen.error or "")
    for name, codes in sources.items():
        written = (tmp_path / name.replace("in/", "out/")).with_suffix(".exr")
        assert np.array_equal(codes_in(written), codes)
    assert [r.status[0] for r in run(plan_batch(batch), batch)].count("s") == 4


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_stopping_early_leaves_whole_frames_and_no_threads(job: Job, taken: int) -> None:
    threads = threading.active_count()
    results = run(plan_sequence(job), job)
    for _ in range(taken):
        assert next(results).status == "written"
    results.close()
    assert threading.active_count() == threads
    there = sorted(target(job, 1001).parent.glob("*")) if taken else []
    assert len(there) >= taken
    for path in there:
        assert np.array_equal(codes_in(path), read_plate(source(job, int(path.stem[-4:]))).codes)
    assert not hidden_files(Path(job.input).parents[1])


def test_an_exception_of_the_caller_stops_the_threads(job: Job) -> None:
    threads = threading.active_count()

    def consume() -> None:
        for result in run(plan_sequence(job), job):
            raise KeyboardInterrupt(result.task.number)

    with pytest.raises(KeyboardInterrupt, match="1001"):
        consume()
    assert threading.active_count() == threads
    assert not hidden_files(target(job, 1001).parent)
    assert target(job, 1001).is_file()


def test_an_interrupt_inside_the_model_drops_that_frame(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Expander, "expand_frame", failing_on(job, 1003, KeyboardInterrupt()))
    seen: list[FrameResult] = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(run(plan_sequence(job), job))
    monkeypatch.undo()
    assert not hidden_files(target(job, 1001).parent)
    assert not target(job, 1003).exists()
    assert statuses(job)[2] == "w"


def test_remains_of_dead_runs_are_swept_and_those_of_live_ones_are_not(job: Job) -> None:
    folder = target(job, 1001).parent
    folder.mkdir()
    own = temporaries.temporary_name(".exr")
    dead = own.replace(f"-{os.getpid()}-", "-4194304-")
    elsewhere = own.replace(own.split("-")[1], "another_host").replace(f"-{os.getpid()}-", "-4194304-")
    for name in (own, dead, elsewhere, ".bitexpand-notes"):
        (folder / name).touch()
    assert statuses(job) == "wwwwww"
    assert hidden_files(folder) == sorted([own, elsewhere, ".bitexpand-notes"])


def test_a_bad_setting_is_refused_before_a_folder_is_made(job: Job) -> None:
    with pytest.raises(UsageError, match="--strength 3.0"):
        next(iter(expand_sequence(replace(job, strength=3.0))))
    assert not target(job, 1001).parent.exists()


def test_one_frame_can_be_a_single_file(job: Job, tmp_path: Path) -> None:
    one = replace(job, input=str(source(job, 1002)), output=f"{tmp_path}/still.exr")
    assert statuses(one) == "w"
    assert np.array_equal(codes_in(tmp_path / "still.exr"), natural(24, 32, seed=1))
