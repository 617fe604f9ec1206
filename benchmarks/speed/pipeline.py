"""The stages at work together, without the start: frames a second, and what waiting for each other costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from unittest import mock

from benchmarks.speed.bench import Bench
from benchmarks.speed.figures import Figure, Size
from bitexpand.code_values import Bins, Codes
from bitexpand.engine import Expanded, Expander
from bitexpand.jobs import Job, plan_sequence
from bitexpand.pipeline import frames_at_once, run

WRITERS = 2  # threads of the write stage


def measure(bench: Bench) -> Iterator[Figure]:
    """Yield frames a second, the busy time of each stage, and the wall time over the busiest."""
    for size in bench.sizes:
        for model in bench.models:
            yield from _one_shot(bench, size, model)


def _one_shot(bench: Bench, size: Size, model: str) -> Iterator[Figure]:
    shot = bench.shot(size)
    job = Job(
        input=str(shot / "plate_####.png"),
        output=str(shot / "pipeline" / "o_####.exr"),
        model=model,
        device=bench.device,
        threads=bench.threads,
        existing="overwrite",
    )
    starts: list[float] = []
    with mock.patch.object(Expander, "expand_frame", _noting(starts)):
        results = list(run(plan_sequence(job), job))
    # From the second start on: the first frame finds nothing ready. As frames follow each other, so they leave.
    wall = (starts[-1] - starts[1]) / (len(starts) - 2)
    timings = [result.timing for result in results[1:-1]]
    at_once = frames_at_once(size[0] * size[1], bench.expander(model))
    busy = {
        "read": statistics.mean(timing.read for timing in timings),
        f"expand, {at_once} at a time": statistics.mean(timing.expand for timing in timings) / at_once,
        f"write, {WRITERS} threads": statistics.mean(timing.write for timing in timings) / WRITERS,
    }
    what = f"pipeline, {model}"
    yield Figure(f"{what}, start not included", wall, "s", size)
    yield Figure(f"{what}, frames a second", 1 / wall, "frames/s", size)
    for stage, seconds in busy.items():
        yield Figure(f"{what}, busy: {stage}", seconds, "s", size)
    yield Figure(
        f"{what}, {size[0]}x{size[1]}: wall time over its slowest stage",
        wall / max(busy.values()),
        "ratio",
        at_most=1.15,
    )


def _noting(starts: list[float]) -> Callable[..., Expanded]:
    """Return ``Expander.expand_frame`` that also notes when it starts."""
    expand_frame = Expander.expand_frame

    def noted(self: Expander, codes: Codes, limits: Bins) -> Expanded:
        starts.append(time.perf_counter())
        return expand_frame(self, codes, limits)

    return noted
