"""Time a frame from PNG to half EXR, against ``oiiotool`` doing the plain conversion of the same frames.

``python -m benchmarks.end_to_end [--frames 8] [--repeats 3] [--model NAME]``

Frames of 1536x864 are made from the example plate. Each tool converts all of them by one command, so that its start
is part of the time; the two take turns, and the medians are compared. Absolute seconds depend on the machine, the
ratio much less so.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from benchmarks.command import seq_command
from bitexpand.pictures import write_picture
from bitexpand.shipped import shipped_file

SIZE = (1536, 864)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the seconds a frame of both tools and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="pyramid")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        make_frames(Path(folder), chosen.frames)
        ours, plain = _take_turns(Path(folder), chosen.frames, chosen.repeats, chosen.model)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {chosen.frames} frames of {SIZE[0]}x{SIZE[1]}")
    print(f"oiiotool, plain conversion   {plain:7.3f} s a frame")
    print(f"bitexpand, model {chosen.model:<11} {ours:7.3f} s a frame")
    print(f"ratio                        {ours / plain:7.1f}")


def make_frames(folder: Path, count: int) -> None:
    """Enlarge frames of the example plate to a plate of the size that is timed."""
    for number in range(1001, 1001 + count):
        source = shipped_file("examples", "plate", f"dusk_{1001 + (number - 1001) % 10}.png")
        large = oiio.ImageBufAlgo.resize(
            oiio.ImageBuf(str(source)), "cubic", roi=oiio.ROI(0, SIZE[0], 0, SIZE[1])
        )
        write_picture(folder / f"plate_{number}.png", np.asarray(large.get_pixels(oiio.UINT8), np.uint8))


def _take_turns(folder: Path, count: int, repeats: int, model: str) -> tuple[float, float]:
    oiiotool = shutil.which("oiiotool", path=str(Path(sys.executable).parent)) or "oiiotool"
    last = 1000 + count
    out = folder / "out"
    out.mkdir()
    plain = [
        oiiotool,
        "--frames",
        f"1001-{last}",
        folder / "plate_%04d.png",
        "-d",
        "half",
        "-o",
        out / "o_%04d.exr",
    ]
    options = ("--model", model, "--existing", "overwrite")
    ours = seq_command(folder / "plate_####.png", out / "b_####.exr", *options)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for command, spent in zip((ours, plain), seconds, strict=True):
            started = time.perf_counter()
            subprocess.run([str(word) for word in command], check=True)
            spent.append((time.perf_counter() - started) / count)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


if __name__ == "__main__":
    main()
