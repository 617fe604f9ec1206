"""How the work spreads over workers, and what a million frames cost.

``python -m benchmarks.farm [--frames 10] [--repeats 3] [--model NAME]``

A worker is what a farm starts: ``bitexpand seq`` on a chunk of frames of 1536x864, with one thread on one core. One
worker and two, each with a chunk of its own, take turns, and the medians are compared: twice the frames a second
would be 2. Start-up is part of the time. Seconds depend on the machine, the ratio much less so, if it is idle.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import seq_command
from benchmarks.speed.plates import SIZE, make_frames

MILLION = 1_000_000
CORES = 32  # of the node that the days are told for


@dataclass(frozen=True)
class Cost:
    """What one frame costs: seconds of a core, and bytes."""

    expand_seconds: float
    verify_seconds: float
    source_bytes: float
    result_bytes: float

    def text(self) -> str:
        """Return the arithmetic for a million frames."""
        seconds = self.expand_seconds + self.verify_seconds
        hours = seconds * MILLION / 3600
        return "\n".join(
            (
                f"a frame: {self.expand_seconds:.2f} s of a core to expand, {self.verify_seconds:.2f} s to verify,"
                f" {self.source_bytes / 1e6:.2f} MB read, {self.result_bytes / 1e6:.2f} MB written",
                f"a million: {seconds:.2f} s x 1,000,000 / 3600 = {hours:,.0f} core hours,"
                f" {hours / CORES / 24:.1f} days of {CORES} cores",
                f"           {self.source_bytes / 1e6:.2f} MB x 1,000,000 = {self.source_bytes / 1e6:.2f} TB in,"
                f" {self.result_bytes / 1e6:.2f} TB out",
            )
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the ratio of two workers to one, and the cost of a million frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=10, help="of a chunk")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="pyramid")
    chosen = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two workers need two cores")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.frames, chosen.model)
        speeds: tuple[list[float], list[float]] = ([], [])
        for _ in range(chosen.repeats):
            for count, measured in enumerate(speeds, 1):
                measured.append(bench.frames_per_second(cores[:count]))
        one, two = map(statistics.median, speeds)
        cost = bench.cost(cores[0])
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, model {chosen.model},"
    )
    print(f"chunks of {chosen.frames} frames of {SIZE[0]}x{SIZE[1]}, one thread a worker")
    print(f"one worker    {one:6.3f} frames a second")
    print(f"two workers   {two:6.3f} frames a second")
    print(f"ratio         {two / one:6.2f}")
    print(cost.text())


class Bench:
    """A shot of two chunks, and workers for them."""

    def __init__(self, folder: Path, frames: int, model: str) -> None:
        self._folder, self._frames, self._model = folder, frames, model
        make_frames(folder, 2 * frames)

    def frames_per_second(self, cores: Sequence[int]) -> float:
        """Return the frames a second of a worker a core, side by side."""
        started = time.perf_counter()
        workers = [self._start(core, self._expand(chunk)) for chunk, core in enumerate(cores)]
        for worker in workers:
            _finish(worker)
        return len(cores) * self._frames / (time.perf_counter() - started)

    def cost(self, core: int) -> Cost:
        """Return what a frame costs, by the time that the processor spent on a chunk."""
        results = str(self._folder / "out" / "o_####.exr")
        verify = [sys.executable, "-m", "bitexpand", "verify", str(self._folder / "plate_####.png"), results]
        seconds = [
            _finish(self._start(core, command)) / self._frames
            for command in (self._expand(0), [*verify, f"--frames={self._range(0)}"])
        ]
        sizes = [_mean_size(self._folder.glob(pattern)) for pattern in ("plate_*.png", "out/o_*.exr")]
        return Cost(seconds[0], seconds[1], sizes[0], sizes[1])

    def _expand(self, chunk: int) -> list[str]:
        options = (f"--frames={self._range(chunk)}", "--model", self._model, "--existing", "overwrite")
        return seq_command(
            self._folder / "plate_####.png", self._folder / "out" / "o_####.exr", *options, "--threads", "1"
        )

    def _range(self, chunk: int) -> str:
        first = 1001 + chunk * self._frames
        return f"{first}-{first + self._frames - 1}"

    def _start(self, core: int, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["taskset", "--cpu-list", str(core), *command], stdout=subprocess.DEVNULL)


def _finish(worker: subprocess.Popen[bytes]) -> float:
    """Wait for a worker and return the seconds that the processor spent on it."""
    _, status, used = os.wait4(worker.pid, 0)
    worker.returncode = os.waitstatus_to_exitcode(status)
    if worker.returncode:
        raise subprocess.CalledProcessError(worker.returncode, worker.args)
    return used.ru_utime + used.ru_stime


def _mean_size(files: Iterable[Path]) -> float:
    return statistics.mean(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
