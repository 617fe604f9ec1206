"""Gain in dB over doing nothing, through the command line, on scene-linear plates.

``python -m benchmarks.quality [--model NAME] [--depth half|float] [PLATES]``

Each plate is encoded to ACEScct and rounded to 8 bits; ``bitexpand seq`` expands the PNGs; the EXRs it wrote are
held against the ACEScct values before rounding. The gain is 10 log10(MSE of the PNG / MSE of the EXR). Where a
value lies beyond code 0 or 255 the truth is clipped, as no bin reaches there.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.command import seq_command
from bitexpand import color, frames

PLATES = Path(__file__).parent / "plates"
LINEAR, LOG = "Linear Rec.709 (sRGB)", "ACEScct"  # the first is what Blender renders in


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row a plate, the mean of the rows, and the gain of the pooled error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "plates", type=Path, nargs="?", default=PLATES, help="folder of scene-linear EXR plates"
    )
    parser.add_argument("--model", default="pyramid", help="a name of `bitexpand models`, or a weights FILE")
    parser.add_argument("--depth", default="half", choices=("half", "float"), help="samples of the EXR")
    chosen = parser.parse_args(arguments)
    sources = sorted(chosen.plates.glob("*.exr"))
    with tempfile.TemporaryDirectory() as folder:
        rows = gains(sources, chosen.model, chosen.depth, Path(folder))
    for source, (before, after) in zip(sources, rows, strict=True):
        print(f"{source.stem:<16} {_gain(before, after):+6.2f} dB")
    print(f"{'mean of plates':<16} {np.mean([_gain(*row) for row in rows]):+6.2f} dB")
    print(f"{'pooled error':<16} {_gain(*np.mean(rows, axis=0)):+6.2f} dB")


def gains(sources: Sequence[Path], model: str, depth: str, folder: Path) -> list[tuple[float, float]]:
    """Return, per scene-linear plate, the mean squared error in LSB before and after an expansion."""
    truths_cv = []
    for number, source in enumerate(sources, 1001):
        truth_cv, info = _log_truth(source)
        truths_cv.append(truth_cv)
        codes = np.floor(truth_cv + 0.5).astype(np.uint8)
        plain = replace(info, channels=("R", "G", "B"))
        frames.write_frame(folder / f"plate_{number}.png", codes, plain)
    options = ("--model", model, "--depth", depth)
    subprocess.run(seq_command(folder / "plate_####.png", folder / "plate_####.exr", *options), check=True)
    return [
        (
            float(np.mean((frames.read_frame(folder / f"plate_{n}.png").pixels - truth_cv) ** 2)),
            float(
                np.mean(
                    (frames.read_frame(folder / f"plate_{n}.exr").pixels.astype(float) * 255 - truth_cv) ** 2
                )
            ),
        )
        for n, truth_cv in enumerate(truths_cv, 1001)
    ]


def _log_truth(path: Path) -> tuple[npt.NDArray[np.float32], frames.FrameInfo]:
    """Return a scene-linear plate as ACEScct code values of 8 bits, not rounded: float32 (H, W, 3)."""
    plate = frames.read_frame(path)
    to_log = color.conversion(color.load_config(color.PINNED_CONFIG), LINEAR, LOG, lossless=True)
    plate_log = to_log.apply(plate.pixels[..., :3].astype(np.float32))
    return np.clip(plate_log, 0, 1) * np.float32(255), plate.info


def _gain(before: float, after: float) -> float:
    return float(10 * np.log10(before / after))


if __name__ == "__main__":
    main()
