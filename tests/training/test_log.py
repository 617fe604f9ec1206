"""The log of a run and its progress: strict JSON that survives a kill, and what a person sees."""

from __future__ import annotations

import io
import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import hidden_files
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bitexpand.errors import DiskFullError, WriteError
from training.log import PLAIN_SECONDS, Bar, StepLog, strict

ROOT = Path(__file__).parents[2]


def refuse(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line, parse_constant=refuse) for line in path.read_text("utf-8").splitlines()]


def write_steps(path: Path, resume_at: int | None, steps: range) -> None:
    with StepLog(path, resume_at) as log:
        for step in steps:
            log.write({"event": "step", "step": step, "phase": "one", "loss": 1 / step})


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    log = StepLog(path, None)
    log.write({"event": "step", "step": 1, "phase": "baseline", "loss": 0.5, "losses": {"l1": 0.25}})
    assert lines(path) == [
        {"event": "step", "step": 1, "phase": "baseline", "loss": 0.5, "losses": {"l1": 0.25}}
    ]
    log.close()
    log.close()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 12), st.integers(0, 12))
def test_a_resumed_run_logs_each_step_once(
    tmp_path_factory: pytest.TempPathFactory, killed_at: int, resume_at: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "steps.jsonl"
    resume_at = min(resume_at, killed_at)
    write_steps(path, None, range(1, killed_at + 1))
    write_steps(path, resume_at, range(resume_at + 1, 15))
    assert [line["step"] for line in lines(path)] == list(range(1, 15))
    assert not hidden_files(path.parent)


def test_a_new_run_keeps_nothing_and_one_from_its_first_checkpoint_its_validation(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    with StepLog(path, None) as log:
        log.write({"event": "validation", "step": 0, "gain": 1.5})
        log.write({"event": "step", "step": 1})
    with StepLog(path, 0):
        assert [line["event"] for line in lines(path)] == ["validation"]
    with StepLog(path, None):
        assert lines(path) == []


@pytest.mark.parametrize(
    "torn", ['{"event": "step", "st', '{"event": "step", "step": 3}', "\0\0\0", "7\n", "[]\n"]
)
def test_what_a_kill_left_unfinished_is_cut_off(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "steps.jsonl"
    write_steps(path, None, range(1, 3))
    with path.open("a", encoding="utf-8") as file:
        file.write(torn)
    write_steps(path, 5, range(6, 7))
    assert [line["step"] for line in lines(path)] == [1, 2, 6]


def test_a_killed_process_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    code = f"""
import time, pathlib
from training.log import StepLog
log = StepLog(pathlib.Path({str(path)!r}), None)
for step in range(1, 50):
    log.write({{"event": "step", "step": step}})
print("written", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [line["step"] for line in lines(path)] == list(range(1, 50))


def test_a_line_without_a_step_takes_that_of_the_line_before(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    with StepLog(path, None) as log:
        log.write({"event": "warning", "text": "first"})
        log.write({"event": "step", "step": 7})
        log.write({"event": "warning", "text": "second"})
    with StepLog(path, 7) as log:
        log.write({"event": "warning", "text": "third"})
    assert [line["step"] for line in lines(path)] == [0, 7, 7, 7]


def test_what_json_lacks_is_null(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    numbers = {
        "loss": math.nan,
        "start": -math.inf,
        "strata": {"flat": np.float32("nan")},
        "all": (1, math.inf),
    }
    with StepLog(path, None) as log:
        log.write({"event": "step", "step": np.int64(3), **numbers, "rate": np.float32(0.5), "ok": True})
    assert lines(path) == [
        {"event": "step", "step": 3, "loss": None, "start": None, "strata": {"flat": None}, "all": [1, None]}
        | {"rate": 0.5, "ok": True}
    ]


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda children: st.lists(children) | st.dictionaries(st.text(), children),
        max_leaves=10,
    )
)
def test_whatever_is_logged_is_strict_json_and_no_number_is_changed(value: object) -> None:
    again = json.loads(json.dumps(strict(value), allow_nan=False))
    assert again == strict(value)
    if isinstance(value, float) and math.isfinite(value):
        assert again == value


def test_only_one_process_writes(tmp_path: Path) -> None:
    with StepLog(tmp_path / "steps.jsonl", None, enabled=False) as log:
        log.write({"event": "step", "step": 1})
    assert list(tmp_path.iterdir()) == []


def test_no_folder_to_log_in(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"gone/steps\.jsonl: the log could not be written \(No such file"):
        StepLog(tmp_path / "gone" / "steps.jsonl", None)


def test_a_full_disk_is_told_and_what_was_logged_stays(
    tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    path = small_disk(64) / "steps.jsonl"
    log = StepLog(path, None)

    def fill() -> None:
        for step in range(10_000):
            log.write({"event": "step", "step": step, "text": "x" * 500})

    with pytest.raises(DiskFullError, match=r"steps\.jsonl: the disk is full; free some room and --resume"):
        fill()
    log.close()
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert len(whole) > 50
    assert [json.loads(line)["step"] for line in whole] == list(range(len(whole)))


def test_the_log_needs_no_torch() -> None:
    code = "import sys, training.log; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(is_terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=is_terminal, width=110, color_system=None), out


def test_without_a_terminal_lines_come_every_so_often() -> None:
    clock, (at, out) = Clock(), console(is_terminal=False)
    with Bar(console=at, clock=clock) as bar:
        bar.phase("baseline", 0, 100)
        bar.gain(1.25)
        for _ in range(60):
            clock.now += 0.5
            bar.step(loss=0.123456)
    said = out.getvalue().splitlines()
    assert said == [
        "baseline: step 20 of 100, loss 0.1235, gain +1.25 dB, 2.00 steps/s, 0:40 left",
        "baseline: step 40 of 100, loss 0.1235, gain +1.25 dB, 2.00 steps/s, 0:30 left",
        "baseline: step 60 of 100, loss 0.1235, gain +1.25 dB, 2.00 steps/s, 0:20 left",
    ]
    assert PLAIN_SECONDS == 10


def test_the_last_step_of_a_phase_is_told_and_the_next_begins_anew() -> None:
    clock, (at, out) = Clock(), console(is_terminal=False)
    with Bar(console=at, clock=clock) as bar:
        for name in ("one", "two"):
            bar.phase(name, 0, 2)
            bar.step(0.5)
            clock.now += 4
            bar.step(0.25)
    assert out.getvalue().splitlines() == [
        "one: step 2 of 2, loss 0.25, 4.00 s/step, 0:00 left",
        "two: step 2 of 2, loss 0.25, 4.00 s/step, 0:00 left",
    ]


def test_steps_of_an_earlier_run_and_the_first_one_do_not_count_for_the_rate() -> None:
    clock, (at, out) = Clock(), console(is_terminal=False)
    with Bar(console=at, clock=clock) as bar:
        bar.phase("baseline", 50, 100)
        clock.now += 600  # a compiler
        bar.step(1.0)
        clock.now += 12
        bar.step(1.0)
    assert out.getvalue().splitlines() == [
        "baseline: step 51 of 100, loss 1",
        "baseline: step 52 of 100, loss 1, 12.00 s/step, 9:36 left",
    ]


def test_a_loss_that_is_no_number_is_shown_as_it_is() -> None:
    at, out = console(is_terminal=False)
    with Bar(console=at) as bar:
        bar.phase("baseline", 0, 1)
        bar.step(math.nan)
    assert "step 1 of 1, loss nan" in out.getvalue()


def test_on_a_terminal_there_is_a_bar_and_messages_stay_above_it() -> None:
    clock, (at, out) = Clock(), console(is_terminal=True)
    with Bar(console=at, clock=clock) as bar:
        bar.phase("[bold]polish", 3, 10)
        bar.step(0.5)
        clock.now += 2
        bar.step(0.25)
        bar.gain(-0.5)
        bar.say("phase 'one' [rejected]")
    shown = out.getvalue()
    for part in (
        "[bold]polish",
        "5/10",
        "loss 0.25, gain -0.50 dB, 2.00 s/step, 0:10 left",
        "phase 'one' [rejected]",
    ):
        assert part in shown, part


@pytest.mark.parametrize("is_terminal", [True, False])
def test_workers_say_nothing(is_terminal: bool) -> None:
    at, out = console(is_terminal)
    with Bar(enabled=False, console=at) as bar:
        bar.phase("one", 0, 1)
        bar.step(0.5)
        bar.gain(1.0)
        bar.say("hello")
    assert out.getvalue() == ""
