"""Ends a run when the program that started it ends, however that comes about.

A host, such as Nuke, keeps the other end of our stdin and writes nothing to it. When the host quits, crashes or is
killed, the system closes the pipe: that works alike on Linux, macOS and Windows. Closing it on purpose cancels.
"""

from __future__ import annotations

import _thread
import io
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any, TextIO

VARIABLE = "BITEXPAND_END_WITH_STDIN"
"""Set to ``1``, it asks for this."""

PATIENCE = 60
"""Seconds that a run may take to finish its frame before it is ended anyway."""


def start() -> None:
    """Watch stdin from now on, if the environment asks for it."""
    if os.environ.get(VARIABLE) == "1":
        # The host's death breaks these pipes too. What a print then raised would begin a second ending beside ours,
        # and each would cut the other's clean-up short.
        sys.stdout, sys.stderr = _unbreakable(sys.stdout), _unbreakable(sys.stderr)
        threading.Thread(target=_watch, name="parent-watch", daemon=True).start()


class _Pipe(io.FileIO):
    """A pipe that swallows what is written when nobody reads any more."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401  any buffer
        """Write, or say so."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def _unbreakable(stream: TextIO) -> TextIO:
    stream.flush()
    pipe = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(pipe, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _watch() -> None:
    # The bare descriptor: a thread that waits in sys.stdin would hold its lock while Python shuts down.
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    if os.name == "nt":
        _thread.interrupt_main(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)  # wakes the main thread up, which interrupt_main does not
    time.sleep(PATIENCE)
    os._exit(130)
