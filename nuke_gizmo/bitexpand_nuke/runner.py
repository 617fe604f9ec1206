"""Runs the command in the background: its progress as events, its cancellation, its end."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import nuke

from . import executable

PATIENCE = 20.0
"""Seconds that a cancelled command may take to finish the frame that it is writing."""


@dataclass
class Outcome:
    """What became of a command.

    Attributes:
        code: exit code; negative is the signal that ended it.
        cancelled: it was asked to stop.
        frames: status of each frame that it told of: written, skipped or failed.
        failures: a line for each frame that failed: its number and the reason.
        said: what it wrote apart from events, such as errors; the last lines.
    """

    code: int = 0
    cancelled: bool = False
    frames: dict[int | None, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def count(self, status: str) -> int:
        """Return how many frames have that status."""
        return sum(told == status for told in self.frames.values())

    def reason(self) -> str:
        """Return why it failed, in its own words."""
        errors = [line for line in self.said if "error:" in line.lower()]
        words = "\n".join(errors or self.said[-8:]).replace("bitexpand: error: ", "")
        if self.code < 0:
            words += f"\nthe command was ended by signal {-self.code}; 9 often means that memory ran out"
        return words.strip() or f"the command ended with code {self.code} and said nothing"


class Job:
    """A command that runs.

    It leads a process group of its own, so that all of it can be ended, and it stops when its stdin closes, which
    also happens when Nuke ends in whatever way.
    """

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.outcome = Outcome()
        self._lines: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self._cancel = threading.Event()
        self._given_up: float | None = None
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(executable.environment(), **{executable.END_WITH_STDIN: "1"}),
            start_new_session=os.name != "nt",
            creationflags=executable.NO_WINDOW,
        )
        self._readers = [self._read("out", self._process.stdout), self._read("err", self._process.stderr)]

    @property
    def pid(self) -> int:
        """Process id of the command."""
        return self._process.pid

    def cancel(self) -> None:
        """Ask it to stop; ``follow`` sees to it."""
        self._cancel.set()

    def follow(self, title: str) -> Outcome:
        """Wait for the end, in a ProgressTask where there is a GUI, and return what became of it."""
        task = nuke.ProgressTask(title) if nuke.GUI else None
        ended = 0
        while ended < len(self._readers):
            try:
                line = self._lines.get(timeout=0.1)
            except queue.Empty:
                pass
            else:
                ended += line is None
                if line is not None:
                    self._note(*line, task=task)
            if self._cancel.is_set() or (task is not None and task.isCancelled()):
                self._stop()
        self.outcome.code = self._process.wait()
        self._close()
        return self.outcome

    def _read(self, name: str, stream: Any) -> threading.Thread:  # noqa: ANN401  a pipe
        def drain() -> None:
            for line in stream:
                self._lines.put((name, line.decode("utf-8", "replace").rstrip()))
            stream.close()
            self._lines.put(None)

        reader = threading.Thread(target=drain, name=f"bitexpand-{name}", daemon=True)
        reader.start()
        return reader

    def _note(self, stream: str, line: str, task: Any) -> None:  # noqa: ANN401  a ProgressTask or None
        event = _event(line) if stream == "out" else None
        if event is None:
            if line:
                self.outcome.said = [*self.outcome.said[-40:], line]
            return
        if event["event"] == "frame":
            self.outcome.frames[event["frame"]] = event["status"]
            if event["status"] == "failed":
                self.outcome.failures.append(f"frame {event['frame']}: {event['error']}")
            if task is not None:
                task.setProgress(int(100 * event["done"] / max(event["total"], 1)))
                task.setMessage(_progress(event))

    def _stop(self) -> None:
        if self._given_up is None:
            self.outcome.cancelled = True
            self._given_up = time.monotonic() + PATIENCE
            self._close()
        elif time.monotonic() > self._given_up and self._process.poll() is None:
            self._kill()

    def _close(self) -> None:
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def _kill(self) -> None:
        if os.name == "nt":
            kill = ["taskkill", "/T", "/F", "/PID", str(self.pid)]
            subprocess.call(kill, creationflags=executable.NO_WINDOW)
        else:
            os.killpg(self.pid, signal.SIGKILL)


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _progress(event: dict[str, Any]) -> str:
    left = event.get("seconds_left")
    ending = "" if left is None else f", {int(left) // 60}:{int(left) % 60:02d} left"
    return f"{event['done']} of {event['total']} frames{ending}"
