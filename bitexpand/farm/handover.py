"""Runs a farm's own command, such as ``sbatch``, and tells clearly what it says."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bitexpand.errors import FarmError


def hand_over(arguments: Sequence[str], folder: Path, advice: str, shown: bool = False) -> str:
    """Run a farm's command in a folder and return what it printed to stdout.

    Args:
        arguments: the command; its first is looked up in PATH.
        folder: the working directory.
        advice: what to do where the command is not there.
        shown: let it print to this process's stdout and stderr instead.

    Raises:
        FarmError: it is not installed, or it failed; with the last lines that it printed.
    """
    program = shutil.which(arguments[0])
    if program is None:
        raise FarmError(f"'{arguments[0]}' is not installed on this machine; {advice}")
    pipe = None if shown else subprocess.PIPE
    with subprocess.Popen(
        [program, *arguments[1:]], cwd=folder, stdout=pipe, stderr=pipe, text=True, errors="replace"
    ) as process:
        try:
            out, err = process.communicate()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # its tasks finish the frames that they write
            process.wait()
            raise
    if process.returncode:
        said = (err or "").strip() or (out or "").strip() or "see above"
        last = "\n".join(said.splitlines()[-12:])
        raise FarmError(f"'{arguments[0]}' failed in '{folder}' with exit code {process.returncode}: {last}")
    return out or ""
