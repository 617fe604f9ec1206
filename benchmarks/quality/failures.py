"""Pictures of where a model does worst, for its card: truth, 8 bits, result, and what got better and worse.

``python -m benchmarks.quality.failures --models A,B [--prepared FOLDER] [-o FOLDER]``

The crop that lost most, or won least, is shown in green alone, with the contrast raised alike in all parts. The map
at the right tells squared errors, averaged over 9 pixels a side: red is worse than the code values were, blue is
better, full colour at the error of rounding.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality.command_line import CommandLine
from benchmarks.quality.plates import ACESCCT, cg_trials, prepared_trials
from benchmarks.quality.ramps import ramp_trials
from benchmarks.quality.trial import Trial
from bitexpand.code_values import Floats
from bitexpand.errors import BitexpandError
from bitexpand.models.registry import WEIGHTS_FOLDER

PICTURES = WEIGHTS_FOLDER / "pictures"
CROP = (160, 160)  # px, height and width
GAP = 4  # px between the parts
MOST_BYTES = 60_000
_LEAST_CONTRAST = 3.0  # LSB from black to white
_BLUR = 9  # px, of the map
_VARIANCE = 1 / 12  # LSB squared: of rounding
_GREEN = 1
_RED, _BLUE = (200, 0, 0), (0, 60, 200)


@dataclass(frozen=True)
class Case:
    """A picture that models fail on.

    Attributes:
        name: part of the file's name.
        trial: what is expanded.
        shrink: pixels of the trial, along each side, to one of the picture.
    """

    name: str
    trial: Trial
    shrink: int = 1


@dataclass(frozen=True)
class Shown:
    """The worst crop of a picture.

    Attributes:
        pixels: uint8 (H, W, 3): truth, 8 bits, result, map.
        rise: of the mean squared error, LSB squared; below 0 where it fell.
        gain: of the crop, in dB.
    """

    pixels: np.ndarray
    rise: float
    gain: float


def cases(prepared: Path | None) -> Iterator[Case]:
    """Yield the slowest ramp, every clean CG plate, and the grainy photograph if there are prepared plates."""
    for name, edge in (("slow_ramp", False), ("slow_ramp_edge", True)):
        yield Case(name, next(t for t in ramp_trials(256, edge=edge) if t.name.endswith("/20")), 3)
    for trial in cg_trials(ACESCCT):
        yield Case("clean", trial)
    for trial in prepared_trials(ACESCCT, prepared) if prepared else ():
        if trial.name.endswith("StillLife"):
            yield Case("still_life", trial)


def picture(trial: Trial, result_cv: Floats, shrink: int = 1) -> Shown:
    """Find the crop of a trial whose squared error rose most, or fell least."""
    before, after = (np.square(plate - trial.truth_cv) for plate in (trial.untouched_cv, result_cv))
    change = after.mean(2) - before.mean(2)
    height, width = (shrink * side for side in CROP)
    means = _means(change, height, width)
    top, left = (int(at) for at in np.unravel_index(int(means.argmax()), means.shape))
    crop = (slice(top, top + height, shrink), slice(left, left + width, shrink))
    grey = [plate[(*crop, _GREEN)] for plate in (trial.truth_cv, trial.untouched_cv, result_cv)]
    blurred = _means(np.pad(change, _BLUR // 2, mode="edge"), _BLUR, _BLUR)[crop]
    parts = [*(_stretched(plate, grey[0]) for plate in grey), _map(blurred)]
    pixels = np.concatenate([piece for part in parts for piece in (part, _gap(part))][:-1], 1)
    error = float(before[top : top + height, left : left + width].mean())
    rise = float(means.max())
    return Shown(pixels, rise, 10 * float(np.log10(error / (error + rise))))


def write(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG of at most ``MOST_BYTES``, with as many greys, reds and blues as fit."""
    for shades in (64, 32, 16, 8):
        file = io.BytesIO()
        few = Image.fromarray(pixels).quantize(palette=_palette(shades), dither=Image.Dither.NONE)
        few.save(file, "png", optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())


def _palette(shades: int) -> Image.Image:
    ramp = np.linspace(0, 1, shades)[:, None]
    greys = 255 * np.repeat(ramp, 3, 1)
    colours = [255 + ramp * (np.array(end) - 255) for end in (_RED, _BLUE)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([greys, *colours]).round().astype(np.uint8).tobytes())
    return palette


def _means(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the mean of every window of a size that lies inside, by its upper left corner."""
    sums = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    down = sums[height:] - sums[:-height]
    return (down[:, width:] - down[:, :-width]) / (height * width)


def _stretched(plate: Floats, truth: Floats) -> np.ndarray:
    """Return greys of a plate, with the middle 98 % of the truth from black to white."""
    low, high = np.percentile(truth, (1, 99))
    middle, contrast = (low + high) / 2, max(float(high - low), _LEAST_CONTRAST)
    grey = np.clip((plate - middle) / contrast + 0.5, 0, 1)
    return np.repeat((255 * grey).astype(np.uint8)[..., None], 3, 2)


def _map(change: np.ndarray) -> np.ndarray:
    worse = np.clip(change / _VARIANCE, -1, 1)[..., None]
    end = np.where(worse > 0, np.array(_RED), np.array(_BLUE))
    return (255 + np.abs(worse) * (end - 255.0)).astype(np.uint8)


def _gap(part: np.ndarray) -> np.ndarray:
    return np.full((len(part), GAP, 3), 255, np.uint8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Expand, write the pictures of each model, say what each shows, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.failures", description=__doc__)
    parser.add_argument(
        "--models", required=True, metavar="A,B", help="names of `bitexpand models`, or weights files"
    )
    parser.add_argument("--prepared", type=Path, metavar="FOLDER", help="of `python -m training prepare`")
    parser.add_argument("-o", "--output", type=Path, default=PICTURES, metavar="FOLDER")
    chosen = parser.parse_args(arguments)
    try:
        _write_all(chosen.models.split(","), list(cases(chosen.prepared)), chosen.output)
    except BitexpandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _write_all(models: Sequence[str], known: Sequence[Case], folder: Path) -> None:
    trials = [case.trial for case in known]
    for model in models:
        worst: dict[str, tuple[Trial, Shown]] = {}
        with tempfile.TemporaryDirectory(prefix="bitexpand-failures-") as work:
            results = CommandLine(model, Path(work), "results").expand(trials)
            for case, result_cv in zip(known, results, strict=True):
                shown = picture(case.trial, result_cv, case.shrink)
                if case.name not in worst or shown.rise > worst[case.name][1].rise:
                    worst[case.name] = case.trial, shown
        for name, (trial, shown) in worst.items():
            path = folder / f"{Path(model).stem}_{name}.png"
            write(path, shown.pixels)
            print(f"{path}: {trial.name}, {shown.gain:+.2f} dB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
