"""Plates with a scene-linear truth, as code values in the curves that plates come in."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.quality.trial import BITS, Mask, Trial
from bitexpand import color, frames
from bitexpand.code_values import Floats, from_signal, to_signal
from training.curves import Curves
from training.dataset import whole_plates
from training.manifest import Manifest

PLATES = Path(__file__).parents[1] / "plates"
ACESCCT = "ACEScct"
CURVES = (
    ACESCCT,
    "ARRI LogC3 (EI800)",
    "ARRI LogC4",
    "S-Log3 S-Gamut3",
    "Cineon Rec.709",
    "sRGB - Texture",
)
RENDERED_IN = "Linear Rec.709 (sRGB)"  # what Blender renders in


def cg_trials(curve: str, folder: Path = PLATES, limit: int | None = None) -> list[Trial]:
    """Return every scene-linear EXR of a folder in a curve, rounded to 8 bits.

    Args:
        curve: colour space of the config ``bitexpand``.
        folder: of EXR files in linear Rec.709.
        limit: largest side in pixels; what is larger is cropped around its centre.
    """
    return [
        Trial.rounded(curve, path.stem, from_signal(_to_curve(curve).apply(_linear(path, limit)), BITS))
        for path in sorted(folder.glob("*.exr"))
    ]


def prepared_trials(curve: str, folder: Path, limit: int | None = None) -> list[Trial]:
    """Return the validation plates of a prepared folder in a curve, but for those that are benchmark plates.

    Args:
        curve: colour space of the folder's OCIO config.
        folder: made by ``python -m training prepare``.
        limit: as for ``cg_trials``.

    Raises:
        MissingInputError, UsageError, PlateError: the folder is not what its manifest says.
    """
    manifest = Manifest.load(folder)
    curves = Curves.of(manifest.config, manifest.encoding, [curve])
    trials = []
    for name, truth_cv, known in _validation_plates(folder, manifest, limit):
        changed = curves.change(to_signal(truth_cv, BITS), curves.drawn[0], 0)
        trials.append(Trial.rounded(curve, name, from_signal(changed, BITS), known))
    return trials


def _validation_plates(
    folder: Path, manifest: Manifest, limit: int | None
) -> Iterator[tuple[str, Floats, Mask | None]]:
    ours = _digests(tuple(sorted(PLATES.glob("*.exr"))))
    for row, truth_cv, known in whole_plates(folder, manifest, "val", limit):
        if row.original_sha256 not in ours:
            yield row.name, truth_cv, known


def _digests(paths: Sequence[Path]) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _linear(path: Path, limit: int | None) -> Floats:
    pixels = frames.read_frame(path).pixels[..., :3]
    height, width = (min(side, limit or side) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width], np.float32)


@functools.cache
def _to_curve(curve: str) -> color.Conversion:
    config = color.load_config(color.SHIPPED_CONFIG)
    return color.conversion(config, RENDERED_IN, curve, lossless=True)
