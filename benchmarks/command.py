"""The command line that the benchmarks measure."""

from __future__ import annotations

import sys
from pathlib import Path


def seq_command(source: Path, result: Path, *options: str) -> list[str]:
    """Return ``bitexpand seq SOURCE -o RESULT`` of this Python, without progress, with ``options``."""
    command = [sys.executable, "-m", "bitexpand", "seq", str(source), "-o", str(result)]
    return [*command, "--progress", "none", *options]
