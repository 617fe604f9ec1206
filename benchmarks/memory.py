"""Peak resident memory of ``bitexpand seq`` on the CPU: one 8K frame, and shots of different length.

``python -m benchmarks.memory [--model NAME]``
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.command import seq_command
from bitexpand.pictures import write_picture

SIZES = {
    "8K, 1 frame": (7680, 4320, 1),
    "640x360, 10 frames": (640, 360, 10),
    "640x360, 160 frames": (640, 360, 160),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the peak of each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="pyramid")
    chosen = parser.parse_args(arguments)
    for what, (width, height, count) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(_make_frames, (Path(folder), width, height, count))
            print(f"{what:<20} {pool.apply(_peak_gib, (Path(folder), chosen.model)):5.2f} GiB")


def _make_frames(folder: Path, width: int, height: int, count: int) -> None:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for number in range(1001, 1001 + count):
        ramp = 128 + 60 * np.sin((x + number) / 900) + 40 * np.cos(y / 700)
        write_picture(folder / f"plate_{number}.png", np.repeat(ramp.astype(np.uint8)[..., None], 3, axis=2))


def _peak_gib(folder: Path, model: str) -> float:
    """Run the command line in a process of its own, and return the most memory that any child of it held."""
    options = ("--in-space", "ACEScct", "--out-space", "ACEScg", "--model", model)
    command = seq_command(folder / "plate_####.png", folder / "out_####.exr", *options)
    subprocess.run(command, check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20)


if __name__ == "__main__":
    main()
