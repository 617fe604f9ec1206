"""How long it takes until something happens: the help, torch's own import, the first frame."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.speed import clock
from benchmarks.speed.bench import DEFAULT, Bench
from benchmarks.speed.figures import Figure, Size
from benchmarks.speed.plates import SIZE

TINY: Size = (64, 36)
_HELP = "`bitexpand --help`"


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield seconds from the shell's point of view."""
    python = [sys.executable]
    commands = {
        _HELP: [*python, "-m", "bitexpand", "--help"],
        "`python -c 'import torch'`, part of every start": [*python, "-c", "import torch"],
    }
    for model in bench.models:
        for size in (TINY, SIZE):
            commands[_first_frame(model, size)] = bench.seq(bench.shot(size, 1), model)
    calls = {what: clock.command(words) for what, words in commands.items()}
    for call in calls.values():
        call()
    aims = {_HELP: 0.3, _first_frame(DEFAULT, TINY): 2.0}
    for what, seconds in clock.take_turns(calls, max(bench.repeats, 5)).items():
        yield Figure(what, seconds, "s", at_most=aims.get(what))


def _first_frame(model: str, size: Size) -> str:
    return f"`bitexpand seq`, {model}: from start to end of one frame of {size[0]}x{size[1]}"
