"""Runs that are stopped, in real processes: whatever is there is complete, and the next run does only the rest."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from conftest import CliProcess, hidden_files
from plates import save_shot, tiny_model

from bitexpand import provenance
from bitexpand.frames import read_frame
from bitexpand.plate import read_plate

FRAMES = 40

# Importing torch takes seconds. This imports once, and then forks a process for every command it reads.
NURSERY = """
import json, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
import bitexpand.cli, bitexpand.pipeline, bitexpand.progress
for line in sys.stdin:
    command = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        bitexpand.cli.main(command["arguments"])
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Shot:
    """A shot, and runs over it."""

    folder: Path
    pattern: str
    model: str
    nursery: subprocess.Popen[str]
    finished: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def results(self) -> list[Path]:
        return sorted((self.folder / "out").glob("shot_*.exr"))

    def arguments(self, *more: str) -> list[str]:
        output = str(self.folder / "out" / "shot_####.exr")
        return [
            "seq",
            self.pattern,
            "-o",
            output,
            "--model",
            self.model,
            "--device",
            "cpu",
            "--threads",
            "1",
            *more,
        ]

    def start(self, *more: str) -> int:
        """Start a run and return the id of its process."""
        (self.folder / "log").unlink(missing_ok=True)
        command = {"arguments": self.arguments("--progress", "json", *more), "log": str(self.folder / "log")}
        print(json.dumps(command), file=pipe(self.nursery.stdin), flush=True)
        return int(pipe(self.nursery.stdout).readline())

    def wait(self) -> int:
        """Wait for the run and return its exit code."""
        return int(pipe(self.nursery.stdout).readline())

    def wait_for_results(self, count: int) -> None:
        while len(self.results) < count:
            time.sleep(0.001)

    def check(self) -> None:
        """Assert that all results are whole, and that those seen before are the very same files."""
        for path in self.results:
            state = path.stat().st_ino, path.stat().st_mtime_ns
            if self.finished.setdefault(path.name, state) != state:
                raise AssertionError(f"{path.name} was written again")
            written = read_frame(path)
            assert provenance.read_fingerprint(written.info)
            codes = read_plate(Path(self.pattern.replace("####", path.stem[-4:]))).codes
            assert np.array_equal(np.floor(written.pixels.astype(np.float64) * 255 + 0.5), codes)


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        pipe(process.stdin).close()


@pytest.fixture
def shot(tmp_path: Path, nursery: subprocess.Popen[str]) -> Shot:
    return Shot(tmp_path, save_shot(tmp_path / "in", FRAMES, 96, 128), tiny_model(tmp_path), nursery)


def events(log: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("after", [0, 1, 11])
def test_a_signal_finishes_or_drops_the_frames_in_flight(
    shot: Shot, number: signal.Signals, after: int
) -> None:
    process = shot.start()
    shot.wait_for_results(after)
    if not after:
        while not (shot.folder / "log").exists():
            time.sleep(0.001)
    os.kill(process, number)
    code = shot.wait()
    shot.check()
    assert not hidden_files(shot.folder)
    assert len(shot.results) < FRAMES
    if after:
        assert code == 130
        assert "interrupted; finished frames are complete" in shot.log
    else:
        assert code in (130, -number), "before its first line of code a process cannot catch anything"
    assert "Traceback" not in shot.log
    shot.start()
    assert shot.wait() == 0
    shot.check()
    assert len(shot.results) == FRAMES


def test_impatience_changes_nothing(shot: Shot) -> None:
    process = shot.start()
    shot.wait_for_results(2)
    for _ in range(5):
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGTERM)
    assert shot.wait() == 130
    shot.check()
    assert not hidden_files(shot.folder)
    assert "Traceback" not in shot.log


def test_the_report_of_a_stopped_run_tells_of_what_was_done(shot: Shot) -> None:
    report = shot.folder / "report.json"
    process = shot.start("--report", str(report))
    shot.wait_for_results(5)
    os.kill(process, signal.SIGTERM)
    assert shot.wait() == 130
    told = json.loads(report.read_text())
    assert (told["total"], told["failed"]) == (FRAMES, 0)
    assert 0 < told["written"] == len(told["frames"]) <= len(shot.results)


def test_killed_at_any_moment_the_next_run_does_only_the_rest(shot: Shot) -> None:
    chance, kills, deadline = random.Random(20), 0, time.monotonic() + 15
    while kills < 14 and len(shot.results) < FRAMES and time.monotonic() < deadline:
        before = len(shot.results)
        process = shot.start()
        if chance.random() < 0.7:  # in the midst of the work, or anywhere in the start
            shot.wait_for_results(min(before + 1, FRAMES))
        time.sleep(chance.uniform(0, 0.06))
        os.kill(process, signal.SIGKILL)
        kills += shot.wait() == -signal.SIGKILL
        shot.check()
    assert kills > 0
    done = len(shot.results)
    shot.start()
    assert shot.wait() == 0
    shot.check()
    assert len(shot.results) == FRAMES
    assert not hidden_files(shot.folder)
    *frames, summary = events(shot.log)
    assert [frame["status"] for frame in frames].count("skipped") == summary["skipped"] == done
    assert summary["written"] == FRAMES - done


def test_the_installed_command_is_interrupted_by_ctrl_c(shot: Shot) -> None:
    shot.model = "smooth"
    command = [sys.executable, "-m", "bitexpand", *shot.arguments("--progress", "plain")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert pipe(process.stdout).readline().startswith("[1/40] frame 1001 -> ")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.strip().startswith("bitexpand: error: interrupted; finished frames are complete")
    assert shot.results
    shot.check()
    assert not hidden_files(shot.folder)


def test_an_interrupt_while_torch_is_being_imported(shot: Shot, run_cli: CliProcess) -> None:
    before = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == "torch.nn":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
"""
    run_cli(*shot.arguments(), before=before, expect=130).said("interrupted")
    assert not (shot.folder / "out").exists()
