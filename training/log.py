"""What a training run says while it goes on: a JSON line a step for machines, a progress bar for people."""

from __future__ import annotations

import errno
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bitexpand import temporaries
from bitexpand.errors import DiskFullError, WriteError
from bitexpand.progress import duration

EVENTS = ("phase", "step", "validation", "checkpoint", "phase_end", "warning")
PLAIN_SECONDS = 10.0  # between two lines where there is no terminal


class StepLog:
    """A file with a JSON object a line; each line is with the system when ``write`` returns.

    A line stands for the state after its ``step``. A run that goes on after step ``resume_at`` writes the steps
    that follow once more, so their lines are cut off first, and with them a line that a killed run left unfinished.

    Args:
        path: the file, made if it is not there.
        resume_at: the last step that is done, which may be 0; None begins anew.
        enabled: False writes nothing: only one process of a run may.

    Raises:
        DiskFullError, WriteError: it cannot be written, from ``write`` too.
    """

    def __init__(self, path: Path, resume_at: int | None, enabled: bool = True) -> None:
        self._path, self._step = path, resume_at or 0
        self._file: IO[str] | None = None
        if not enabled:
            return
        try:
            _cut(path, resume_at)
            self._file = path.open("a", encoding="utf-8", newline="\n")
        except OSError as error:
            raise _write_error(path, error) from error

    def __enter__(self) -> StepLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, line: Mapping[str, object]) -> None:
        """Append a line with an "event" of ``EVENTS``, a "step", else that of the line before, and anything more.

        Numbers may be NumPy's; NaN and infinity become null, as JSON has neither.
        """
        assert line["event"] in EVENTS, line["event"]
        if self._file is None:
            return
        line = {"step": self._step, **line}
        self._step = line["step"]
        try:
            # one write, so that a killed process leaves whole lines
            self._file.write(json.dumps(strict(line), allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise _write_error(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):  # of a line whose write has failed, and was told of
                self._file.close()
            self._file = None


class Bar:
    """How far a phase has come, its loss and gain, steps a second and the time left.

    On a terminal it is a bar, elsewhere a line every ``PLAIN_SECONDS``. The rate counts from the phase's second
    step on, as the first waits for data and compilers; validations lower it, so that the time left holds them too.

    Args:
        enabled: False says nothing: only one process of a run may.
        console: where to write; None is stdout.
        clock: returns seconds.
    """

    def __init__(
        self,
        enabled: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._enabled, self._clock = enabled, clock
        self._console = console or Console(file=sys.stdout)
        self._bar = _progress(self._console) if enabled and self._console.is_terminal else None
        self._task = None if self._bar is None else self._bar.add_task("", total=1, facts="")
        self.phase("", 0, 1)

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def phase(self, name: str, done: int, total: int) -> None:
        """Begin a phase of ``total`` steps, ``done`` of which a resumed run has behind it."""
        self._name, self._total, self._done = name, total, done
        self._loss, self._gain = math.nan, math.nan
        self._rate_from: tuple[float, int] | None = None
        self._said_at = self._clock()
        self._show()

    def step(self, loss: float) -> None:
        """Tell that one more step of the phase is done, with this loss."""
        self._done, self._loss = self._done + 1, loss
        if self._rate_from is None:
            self._rate_from = self._clock(), self._done
        self._show()
        is_due = self._clock() - self._said_at >= PLAIN_SECONDS or self._done == self._total
        if self._bar is None and is_due:
            self.say(f"{self._name}: step {self._done} of {self._total}, {self.facts()}")
            self._said_at = self._clock()

    def gain(self, gain_db: float) -> None:
        """Tell the latest validation gain over doing nothing, in dB."""
        self._gain = gain_db
        self._show()

    def say(self, line: str) -> None:
        """Print a line that stays, above the bar."""
        if self._enabled:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def facts(self) -> str:
        """Return loss, gain, rate and time left, as far as they are known."""
        facts = [] if math.isnan(self._loss) and not self._rate_from else [f"loss {self._loss:.4g}"]
        if not math.isnan(self._gain):
            facts.append(f"gain {self._gain:+.2f} dB")
        rate = self._rate()
        if rate:
            facts.append(f"{rate:.2f} steps/s" if rate >= 1 else f"{1 / rate:.2f} s/step")
            facts.append(f"{duration((self._total - self._done) / rate)} left")
        return ", ".join(facts)

    def _rate(self) -> float:
        """Steps a second, 0 while nothing is known."""
        if self._rate_from is None or self._done <= self._rate_from[1]:
            return 0.0
        return (self._done - self._rate_from[1]) / max(self._clock() - self._rate_from[0], 1e-6)

    def _show(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description=escape(self._name),
                total=self._total,
                completed=self._done,
                facts=self.facts(),
            )


def strict(value: object) -> object:
    """Return a value as strict JSON's kinds: NumPy's numbers as Python's, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): strict(entry) for key, entry in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [strict(entry) for entry in value]
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        console=console,
        expand=True,
    )


def _cut(path: Path, resume_at: int | None) -> None:
    """Keep the lines up to a step; the file before or the file after, never less."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    last = -1 if resume_at is None else resume_at
    kept = [line for line in lines if 0 <= _step(line) <= last]
    if len(kept) == len(lines):
        return
    with temporaries.replacing(path) as file:
        file.write(b"".join(kept))


def _step(line: bytes) -> int:
    """Return the step of a line, -1 for what is no line of ours, or no whole one."""
    try:
        step = json.loads(line)["step"] if line.endswith(b"\n") else -1
    except (ValueError, KeyError, TypeError):
        return -1
    return step if isinstance(step, int) else -1


def _write_error(path: Path, error: OSError) -> WriteError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{path}: the disk is full; free some room and --resume")
    return WriteError(f"{path}: the log could not be written ({error.strerror})")
