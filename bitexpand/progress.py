"""How a run is told to a person, a log, a program or a farm while it goes on.

``auto`` is a bar on a terminal and plain lines elsewhere. Everything goes to stdout, errors of frames included, as
farms read that. ``openjd`` follows the Open Job Description's logging of progress and status
(https://github.com/OpenJobDescription/openjd-specifications/wiki/How-Jobs-Are-Run).
"""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from bitexpand import __version__
from bitexpand.errors import UsageError
from bitexpand.jobs import Plan, Settings, Task
from bitexpand.results import FrameResult
from bitexpand.sequence import format_frames
from bitexpand.temporaries import prepare_file, write_text

STYLES = ("auto", "bar", "plain", "json", "openjd", "none", "deadline", "tractor")


@dataclass
class Tally:
    """Frames done so far and how fast; skipped ones count as done but not for the speed.

    Nor does the time before the first frame: the import of torch, the model, and frames that were there already.
    """

    total: int
    started: float = field(default_factory=time.monotonic)
    work_began: float | None = None
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def add(self, result: FrameResult) -> None:
        """Count a result."""
        self.counts[result.status] += 1
        if result.status == "written" and self.work_began is None:
            taken = result.timing.read + result.timing.expand + result.timing.write
            self.work_began = max(time.monotonic() - taken, self.started)
        if result.status == "failed":
            self.failed.append(name(result.task))

    def summary(self) -> str:
        """Return a line: how many frames were written, skipped, failed, which failed, how long it took."""
        parts = [f"{self.counts[s]} {s}" for s in ("written", "skipped", "failed") if self.counts[s]]
        which = f"; failed: {', '.join(self.failed[:20])}" + (", ..." if len(self.failed) > 20 else "")
        speed = f" ({self.frames_per_second:.2f} fps)" if self.counts["written"] else ""
        return f"{', '.join(parts)} in {duration(self.seconds)}{speed}{which if self.failed else ''}"

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def done(self) -> int:
        """Frames with a result."""
        return self.counts.total()

    @property
    def frames_per_second(self) -> float:
        """Frames a second that were worked on."""
        worked = self.counts["written"] + self.counts["failed"]
        began = self.started if self.work_began is None else self.work_began
        return worked / max(time.monotonic() - began, 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present speed, or None while nothing is known."""
        return (self.total - self.done) / self.frames_per_second if self.frames_per_second else None


class Reporter(ABC):
    """Tells of a run: used as a context, told each result."""

    def __init__(self, total: int) -> None:
        self.tally = Tally(total)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def add(self, result: FrameResult) -> None:
        """Count a result and tell of it."""
        self.tally.add(result)
        self.tell(result)

    def finish(self) -> None:
        """Sum up the run; failed frames by number."""
        print(self.tally.summary(), flush=True)

    @abstractmethod
    def tell(self, result: FrameResult) -> None:
        """Tell of a result that the tally already holds."""


class Silent(Reporter):
    """Says nothing."""

    def tell(self, result: FrameResult) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing, unless frames failed."""
        if self.tally.counts["failed"]:
            print(self.tally.summary(), file=sys.stderr)


class Plain(Reporter):
    """A line a frame."""

    def tell(self, result: FrameResult) -> None:
        """Print the line."""
        tally = self.tally
        left = "" if tally.seconds_left is None else f", {duration(tally.seconds_left)} left"
        print(
            f"[{tally.done}/{tally.total}] {describe(result)} ({tally.frames_per_second:.2f} fps{left})",
            flush=True,
        )


class JsonLines(Reporter):
    """A JSON object a line: ``{"event": "frame", ...}``, for programs that drive bitexpand."""

    def tell(self, result: FrameResult) -> None:
        """Print the object."""
        tally = self.tally
        event = {
            "event": "frame",
            **result_facts(result),
            "done": tally.done,
            "total": tally.total,
            "frames_per_second": round(tally.frames_per_second, 4),
            "seconds_left": None if tally.seconds_left is None else round(tally.seconds_left, 1),
        }
        print(json.dumps(event), flush=True)

    def finish(self) -> None:
        """Print the counts as an object."""
        counts = self.tally.counts
        event = {
            "event": "summary",
            "total": self.tally.total,
            **{status: counts[status] for status in ("written", "skipped", "failed")},
            "seconds": round(self.tally.seconds, 3),
        }
        print(json.dumps(event), flush=True)


class FarmLines(Reporter):
    """The lines by which a farm's worker learns how far its task is, and plain ones for the log."""

    def __init__(self, total: int, progress: str, failure: str = "") -> None:
        super().__init__(total)
        self._progress, self._failure = progress, failure

    def tell(self, result: FrameResult) -> None:
        """Print the lines."""
        done, total = self.tally.done, self.tally.total
        print(describe(result))
        print(self._progress.format(percent=100 * done / max(total, 1), done=done, total=total), flush=True)

    def finish(self) -> None:
        """Print the summary, as a failure of the task where frames failed."""
        failed = self.tally.counts["failed"]
        print(f"{self._failure if failed else ''}{self.tally.summary()}", flush=True)


_OPENJD = "openjd_progress: {percent:.1f}\nopenjd_status: {done} of {total} frames"


def reporter(style: str, total: int) -> Reporter:
    """Return the reporter for a ``--progress`` style.

    Raises:
        UsageError: there is no such style.
    """
    makers: dict[str, Callable[[int], Reporter]] = {
        "auto": _bar if sys.stdout.isatty() else Plain,
        "bar": _bar,
        "plain": Plain,
        "json": JsonLines,
        "openjd": lambda total: FarmLines(total, _OPENJD, "openjd_fail: "),
        "deadline": lambda total: FarmLines(total, "Progress: {percent:.0f}%"),
        "tractor": lambda total: FarmLines(total, "TR_PROGRESS {percent:.0f}%"),
        "none": Silent,
    }
    if style not in makers:
        raise UsageError(f"--progress {style}: give one of {', '.join(STYLES)}")
    return makers[style](total)


def _bar(total: int) -> Reporter:
    from bitexpand.progress_bar import Bar  # rich is for terminals only: a log does not wait for it

    return Bar(total)


def describe(result: FrameResult) -> str:
    """Return a line about a frame: its name, what became of it, and why."""
    if result.status == "failed":
        return f"{name(result.task)} FAILED: {result.error}"
    if result.status == "skipped":
        return f"{name(result.task)} is done already: {result.task.target}"
    return f"{name(result.task)} -> {result.task.target}"


def result_facts(result: FrameResult) -> dict[str, object]:
    """Return a result as JSON's kinds, for a report or an event."""
    guard = result.guard
    return {
        "frame": result.task.number,
        "source": str(result.task.source),
        "target": str(result.task.target),
        "status": result.status,
        "error": result.error,
        "clamped_share": guard and round(guard.clamped_share, 6),
        "largest_move_lsb": guard and round(guard.largest_move, 6),
        "mean_move_lsb": guard and round(guard.mean_move, 6),
        "seconds": {
            "read": round(result.timing.read, 4),
            "expand": round(result.timing.expand, 4),
            "write": round(result.timing.write, 4),
        },
    }


def duration(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def name(task: Task) -> str:
    """Return what a person calls a frame: its number, or its file where it has none."""
    return f"frame {task.number}" if task.number is not None else str(task.source)


def missing_text(plan: Plan) -> str:
    """Return the missing frames of a plan as a compact range."""
    return f"{len(plan.missing)} missing frames ({format_frames(plan.missing)})"


def prepare_report(path: Path) -> None:
    """Prove that a report can be written, before hours of work; raises as ``temporaries.prepare_file``."""
    prepare_file("--report", path, b"{", "report")


def write_report(path: Path, plan: Plan, settings: Settings, results: Sequence[FrameResult]) -> None:
    """Write what became of each frame as JSON, complete or not at all.

    Raises:
        DiskFullError, WriteError: it cannot be written.
    """
    counts = Counter(result.status for result in results)
    document = {
        "bitexpand": __version__,
        "settings": asdict(settings),
        "total": len(plan.tasks),
        "missing": list(plan.missing),
        **{status: counts[status] for status in ("written", "skipped", "failed")},
        "frames": [result_facts(result) for result in results],
    }
    write_text(path, json.dumps(document, indent=2, default=str) + "\n")
