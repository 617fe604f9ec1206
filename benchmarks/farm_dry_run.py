"""Time and memory of ``bitexpand submit --shots --dry-run`` over many shots: a folder each, and all in one folder.

``python -m benchmarks.farm_dry_run [--shots 10000] [--frames 200] [--folder /dev/shm]``
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both, for each layout of the sources."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shots", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument(
        "--folder", type=Path, help="where the empty sources are made; the system's by default"
    )
    chosen = parser.parse_args(arguments)
    for layout, pattern in (("a folder a shot", "s{0:05}/plate"), ("one folder", "s{0:05}_plate")):
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            table = _make_shots(Path(folder), pattern, chosen.shots, chosen.frames)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, mebibytes = pool.apply(_dry_run, (table,))
        print(f"{layout:<16} {chosen.shots} shots, {seconds:6.1f} s, {mebibytes:6.0f} MiB", flush=True)


def _make_shots(folder: Path, pattern: str, shots: int, frames: int) -> Path:
    """Make empty sources, whose headers a dry run of this size does not read, and their table."""
    table = folder / "shots.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["input", "output", "in-space", "out-space", "model"])
        for shot in range(shots):
            stem = folder / "in" / pattern.format(shot)
            stem.parent.mkdir(parents=True, exist_ok=True)
            for number in range(1001, 1001 + frames):
                os.close(os.open(f"{stem}_{number}.png", os.O_CREAT | os.O_WRONLY))
            result = folder / "out" / pattern.format(shot)
            writer.writerow([f"{stem}_####.png", f"{result}_####.exr", "ACEScct", "ACEScg", "pyramid"])
    return table


def _dry_run(table: Path) -> tuple[float, float]:
    """Return seconds and peak resident MiB of the command, in a process of its own."""
    command = [sys.executable, "-m", "bitexpand", "submit", "openjd", "--shots", str(table), "--dry-run"]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    print(done.stdout.splitlines()[-1])
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    main()
