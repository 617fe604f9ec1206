"""Frame ranges as the command line writes them, as far as a node must know which frames they hold."""

from __future__ import annotations

import re

from .errors import NodeError

_PART = re.compile(r"(-?\d+)(?:-(-?\d+)(?:([xy:])(-?\d+))?)?$")


def parse(text: str) -> list[int]:
    """Return the frames of a range, ascending and each once.

    Raises:
        NodeError: not a range.
    """
    frames: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = _PART.match(part)
        if not match or match.group(4) == "0":
            raise NodeError(f"frames: cannot read '{text}'; give such as 1001-1100, 1001-1100x2 or 1,5,7")
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        step = 1 if last >= first else -1
        every = list(range(first, last + step, step))
        chosen = every[:: abs(int(match.group(4) or 1))]
        kind = match.group(3)
        frames.update(set(every) - set(chosen) if kind == "y" else every if kind == ":" else chosen)
    return sorted(frames)


def brief(frames: list[int]) -> str:
    """Return frames as ascending runs, such as ``1001-1003,1007``."""
    runs: list[list[int]] = []
    for frame in sorted(frames):
        if runs and frame == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], frame]
        else:
            runs.append([frame])
    return ",".join("-".join(map(str, run)) for run in runs)
