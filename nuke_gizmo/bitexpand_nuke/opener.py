"""Opens a folder or a page with the desktop's own program."""

from __future__ import annotations

import os
import subprocess
import sys

from . import executable
from .errors import NodeError


def command(path: str, platform: str) -> list[str]:
    """Return what opens a path on a platform, by its name in ``sys.platform``."""
    if platform == "win32":
        return ["explorer", path.replace("/", "\\")]
    return ["open" if platform == "darwin" else "xdg-open", path]


def open_path(path: str) -> None:
    """Open a folder or a page.

    Raises:
        NodeError: it is not there, or the desktop has no such program.
    """
    if not os.path.exists(path):
        raise NodeError(f"{path} is not there yet")
    try:
        # Qt's and the loader's variables that Nuke sets would break the desktop's programs.
        subprocess.Popen(command(path, sys.platform), env=executable.environment(), stdin=subprocess.DEVNULL)
    except OSError as error:
        raise NodeError(f"{path}: cannot be opened from here ({error})") from error
