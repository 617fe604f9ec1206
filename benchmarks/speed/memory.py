"""Peak resident memory of the command line: a short and a long shot, and one 8K frame in colour."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence

from benchmarks.speed.bench import Bench
from benchmarks.speed.figures import Figure, Size

SHORT = 20
SHOT_SIZE: Size = (640, 360)
LARGE: Size = (7680, 4320)
# A process of its own between us and the command: a child begins with the peak of whoever started it.
_MEASURE = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield the peak of each run; it depends on which frames are in hand at once, by a few per cent."""
    width, height = SHOT_SIZE
    for model in bench.models:
        peaks = {}
        for count in (SHORT, bench.long_shot):
            command = bench.seq(bench.shot(SHOT_SIZE, count), model)
            peaks[count] = statistics.median(_peak_gib(command) for _ in range(bench.repeats))
            yield Figure(f"{model}: peak memory, {count} frames of {width}x{height}", peaks[count], "GiB")
        growth = peaks[bench.long_shot] / peaks[SHORT]
        yield Figure(
            f"{model}: peak memory of {bench.long_shot} frames over {SHORT}", growth, "ratio", at_most=1.05
        )
        command = bench.seq(bench.shot(LARGE, 1), model, "--in-space", "ACEScct", "--out-space", "ACEScg")
        yield Figure(f"{model}: peak memory, one frame of 7680x4320 to ACEScg", _peak_gib(command), "GiB")


def _peak_gib(command: Sequence[str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    return int(done.stdout.split()[-1]) / (1 << 20)
