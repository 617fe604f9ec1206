"""Progress: what a person, a log, a program and a farm are told, and that each of them can read it."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bitexpand import progress
from bitexpand.errors import UsageError, WriteError
from bitexpand.guard import GuardReport
from bitexpand.jobs import Job, Plan, Task
from bitexpand.progress import Plain, Tally, duration, reporter
from bitexpand.progress_bar import Bar
from bitexpand.results import FrameResult, Status, Timing


def result(number: int | None, status: Status = "written", error: str | None = None) -> FrameResult:
    task = Task(number, Path(f"in/shot_{number}.png"), Path(f"out/shot_{number}.exr"))
    guard = GuardReport(0.25, 0.499, 0.125) if status == "written" else None
    timing = Timing(0.5, 1.0, 0.5) if status == "written" else Timing()
    return FrameResult(task, status, error, guard, timing)


MIXED = [
    result(1001, "skipped"),
    result(1002),
    result(1003, "failed", "shot_1003.png: is empty (0 bytes); copy or render it again"),
    result(None),
]


class Clock:
    """Stands in for time.monotonic."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def tell(style: str, results: list[FrameResult]) -> None:
    with reporter(style, len(results)) as teller:
        for one in results:
            teller.add(one)
    teller.finish()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (0.4, "0:00"),
        (9.5, "0:10"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599.6, "1:00:00"),
        (3661, "1:01:01"),
        (360000, "100:00:00"),
    ],
)
def test_durations_read_as_on_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_speed_is_that_of_the_work(clock: Clock) -> None:
    tally = Tally(12, clock.now)
    assert (tally.frames_per_second, tally.seconds_left) == (0, None)
    clock.now += 30  # torch, the model and four frames that are there already
    for number in range(4):
        tally.add(result(number, "skipped"))
    assert (tally.done, tally.frames_per_second, tally.seconds_left) == (4, 0, None)
    clock.now += 2
    tally.add(result(4))
    assert tally.frames_per_second == pytest.approx(1 / 2)
    clock.now += 2
    tally.add(result(5))
    tally.add(result(6))
    tally.add(result(7, "failed", "why"))
    assert tally.frames_per_second == pytest.approx(1)
    assert tally.seconds_left == pytest.approx(4)
    assert tally.seconds == pytest.approx(34)
    assert tally.summary() == "3 written, 4 skipped, 1 failed in 0:34 (1.00 fps); failed: frame 7"


def test_failures_alone_have_a_speed_too(clock: Clock) -> None:
    tally = Tally(3, clock.now)
    clock.now += 4
    tally.add(result(1, "failed", "why"))
    assert tally.frames_per_second == pytest.approx(0.25)
    assert tally.seconds_left == pytest.approx(8)
    assert tally.summary() == "1 failed in 0:04; failed: frame 1"


def test_a_summary_names_twenty_failed_frames_at_most() -> None:
    tally = Tally(30)
    for number in range(30):
        tally.add(result(number, "failed", "why"))
    assert tally.summary().endswith("frame 18, frame 19, ...")


def test_plain_is_a_line_a_frame(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    tell("plain", MIXED)
    clock.now += 5
    first, second, third, fourth, summary = capsys.readouterr().out.splitlines()
    assert first == "[1/4] frame 1001 is done already: out/shot_1001.exr (0.00 fps)"
    assert re.fullmatch(r"\[2/4\] frame 1002 -> out/shot_1002\.exr \([\d.]+ fps, \d+:\d\d left\)", second)
    assert third.startswith("[3/4] frame 1003 FAILED: shot_1003.png: is empty (0 bytes)")
    assert fourth.startswith("[4/4] in/shot_None.png -> out/shot_None.exr")
    assert summary.startswith("2 written, 1 skipped, 1 failed in ")
    assert summary.endswith("failed: frame 1003")


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell("json", MIXED)
    *frames, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [frame["event"] for frame in frames] == ["frame"] * 4
    assert [(frame["done"], frame["total"]) for frame in frames] == [(i, 4) for i in range(1, 5)]
    assert [frame["frame"] for frame in frames] == [1001, 1002, 1003, None]
    assert [frame["status"] for frame in frames] == ["skipped", "written", "failed", "written"]
    written, failed = frames[1], frames[2]
    assert (written["source"], written["target"]) == ("in/shot_1002.png", "out/shot_1002.exr")
    assert (written["clamped_share"], written["largest_move_lsb"], written["mean_move_lsb"]) == (
        0.25,
        0.499,
        0.125,
    )
    assert written["seconds"] == {"read": 0.5, "expand": 1.0, "write": 0.5}
    assert failed["error"].startswith("shot_1003.png: is empty")
    assert (failed["clamped_share"], written["error"]) == (None, None)
    counts = {key: summary[key] for key in ("event", "total", "written", "skipped", "failed")}
    assert counts == {"event": "summary", "total": 4, "written": 2, "skipped": 1, "failed": 1}


def test_openjd_tells_progress_and_failure(capsys: pytest.CaptureFixture[str]) -> None:
    tell("openjd", MIXED)
    lines = capsys.readouterr().out.splitlines()
    shares = [
        line.removeprefix("openjd_progress: ") for line in lines if line.startswith("openjd_progress: ")
    ]
    assert shares == ["25.0", "50.0", "75.0", "100.0"]
    assert [line for line in lines if line.startswith("openjd_status: ")][
        -1
    ] == "openjd_status: 4 of 4 frames"
    assert [line.startswith("openjd_fail: 2 written, 1 skipped, 1 failed") for line in lines].count(True) == 1
    tell("openjd", MIXED[:2])
    assert "openjd_fail" not in capsys.readouterr().out


def test_none_says_nothing_but_failures(capsys: pytest.CaptureFixture[str]) -> None:
    tell("none", MIXED[:2])
    assert capsys.readouterr() == ("", "")
    tell("none", MIXED)
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "1 failed" in streams.err


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(UsageError, match="--progress bars: give one of auto, bar, plain, json, openjd, none"):
        reporter("bars", 1)


def test_auto_is_plain_where_nobody_watches() -> None:
    assert type(reporter("auto", 1)) is Plain


class Terminal:
    """Stands in for stdout as a terminal of 100 columns; ``text`` is what it shows, without its movements."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.master, slave = os.openpty()
        self.stream = os.fdopen(slave, "w")
        self.raw = ""
        patch.setenv("TERM", "xterm-256color")
        patch.setenv("COLUMNS", "100")
        # not in a fixture: pytest puts its own stdout back before the test runs
        patch.setattr(sys, "stdout", self.stream)
        self.watcher = threading.Thread(target=self.watch)

    def __enter__(self) -> Terminal:
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.watcher.join()
        os.close(self.master)

    def watch(self) -> None:
        with suppress(OSError):  # Linux says so when the other end is closed
            while data := os.read(self.master, 4096):
                self.raw += data.decode()

    def wait_for(self, pattern: str) -> str:
        """Return what it shows, once the pattern stands in it."""
        for _ in range(1000):
            shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.raw)
            if re.search(pattern, shown):
                return shown
            time.sleep(0.01)
        raise AssertionError(f"{pattern!r} is not in {self.raw!r}")


def test_a_terminal_shows_a_bar_with_frames_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with Terminal(monkeypatch) as terminal, reporter("auto", 4) as teller:
        assert isinstance(teller, Bar)
        terminal.wait_for("0/4 frames 0.00 fps, -:-- left")
        for one in MIXED[:3]:
            teller.add(one)
        seen = terminal.wait_for(r"expanding .*━.* 3/4 frames \d+\.\d\d fps, \d+:\d\d left")
        assert "frame 1003 FAILED: shot_1003.png: is empty (0 bytes); copy or render it again" in seen
        teller.add(MIXED[3])
        teller.__exit__(None, None, None)
        teller.finish()
        terminal.wait_for("2 written, 1 skipped, 1 failed in 0:0")
        assert "\x1b[?25h" in terminal.raw, "the cursor is back"


def test_a_bar_that_is_interrupted_gives_the_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        with reporter("bar", 4) as teller:
            teller.add(MIXED[0])
            raise KeyboardInterrupt

    with Terminal(monkeypatch) as terminal:
        with pytest.raises(KeyboardInterrupt):
            work()
        terminal.wait_for("1/4 frames")
        assert "\x1b[?25h" in terminal.raw


def test_a_bar_prints_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with Terminal(monkeypatch) as terminal:
        with reporter("bar", 1) as teller:
            teller.add(result(1, "failed", "[red]sky[1].png: [/] is empty"))
        terminal.wait_for(re.escape("frame 1 FAILED: [red]sky[1].png: [/] is empty"))


def test_a_bar_off_a_terminal_does_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    tell("bar", MIXED)
    assert "4/4 frames" in capsys.readouterr().out


PLAN = Plan(tuple(one.task for one in MIXED), missing=(7, 8, 9, 12))


def test_missing_frames_are_told_as_a_range() -> None:
    assert progress.missing_text(PLAN) == "4 missing frames (7-9,12)"


def test_a_report_holds_everything(tmp_path: Path) -> None:
    job = Job(input="in/####.png", output="out/####.exr", strength=0.5)
    path = tmp_path / "deep" / "er" / "report.json"
    progress.prepare_report(path)
    progress.write_report(path, PLAN, job, MIXED)
    told = json.loads(path.read_text())
    assert (told["total"], told["written"], told["skipped"], told["failed"]) == (4, 2, 1, 1)
    assert told["missing"] == [7, 8, 9, 12]
    assert told["settings"]["strength"] == 0.5
    assert [frame["status"] for frame in told["frames"]] == ["skipped", "written", "failed", "written"]
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "report.json"
    with pytest.raises(UsageError, match=r"--report .*report\.json: cannot write there"):
        progress.prepare_report(path)


def test_a_report_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.mkdir()
    with pytest.raises(WriteError, match=r"report\.json: could not be written"):
        progress.write_report(path, PLAN, Job(input="a", output="b"), MIXED)
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
