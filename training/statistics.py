"""What prepared plates are like, in numbers and as a picture: levels, dynamic range, strata, what is clipped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitexpand import temporaries
from bitexpand.code_values import Floats, from_signal
from bitexpand.metrics.strata import STRATA, strata
from training.manifest import SPLITS, Manifest, PlateRow
from training.settings import STRICT

FILE_NAME = "statistics.json"
PICTURE_NAME = "statistics.png"
MAX_ROWS = 40  # of the picture; more could not be read
_BITS = 8  # of the code values that the strata are told by
_BAND, _MARGIN = 512, 8  # rows at a time, and rows around them that a stratum may depend on
_SAMPLES = 1 << 20  # pixels that the percentiles are taken of


@dataclass(frozen=True)
class PlateStatistics:
    """Counts of one plate.

    Attributes:
        pixels: all of it.
        unknown: pixels whose truth is not to be trusted.
        clipped: samples of the log plate at or below 0, or at or above 1: 3 a pixel.
        levels: different values of R, G and B within 0..1, told apart at 16 bits.
        stops: dynamic range of the scene-linear light: log2 of the 99.9th over the 0.1th percentile of the means of
            R, G and B that are above 0 and to be trusted; None where there are none.
        strata: samples in each of ``bitexpand.metrics.strata.STRATA``, without unknown pixels.
    """

    __pydantic_config__ = STRICT

    pixels: int
    unknown: int
    clipped: int
    levels: tuple[int, int, int]
    stops: float | None
    strata: tuple[int, ...]


def measure(
    plate_log: Floats, plate_linear: Floats, unknown: npt.NDArray[np.bool_] | None
) -> PlateStatistics:
    """Count one plate.

    Args:
        plate_log: float32 (H, W, 3), the stored signal.
        plate_linear: float32 (H, W, 3), the same plate in scene-linear light.
        unknown: bool (H, W), or None.
    """
    codes = np.rint(plate_log.clip(0, 1) * np.float32(65535)).astype(np.uint16)
    red, green, blue = (int(np.count_nonzero(np.bincount(codes[..., c].ravel()))) for c in range(3))
    return PlateStatistics(
        pixels=plate_log.shape[0] * plate_log.shape[1],
        unknown=0 if unknown is None else int(unknown.sum()),
        clipped=int(((plate_log <= 0) | (plate_log >= 1)).sum()),
        levels=(red, green, blue),
        stops=_stops(plate_linear, unknown),
        strata=_strata(plate_log, unknown),
    )


def summary(plates: Sequence[PlateStatistics]) -> dict[str, Any]:
    """Pool plates into shares of 0 to 1; levels and stops are the least, the median and the most of all plates."""
    pixels = sum(plate.pixels for plate in plates)
    counts = [sum(plate.strata[at] for plate in plates) for at in range(len(STRATA))]
    levels = [level for plate in plates for level in plate.levels]
    stops = [plate.stops for plate in plates if plate.stops is not None]
    return {
        "plates": len(plates),
        "pixels": pixels,
        "levels": _spread(levels),
        "stops": _spread(stops),
        "strata": {s: _share(n, sum(counts)) for s, n in zip(STRATA, counts, strict=True)},
        "clipped": _share(sum(plate.clipped for plate in plates), 3 * pixels),
        "unknown": _share(sum(plate.unknown for plate in plates), pixels),
    }


def save(folder: Path, manifest: Manifest, measured: Mapping[str, PlateStatistics]) -> None:
    """Write the statistics of a prepared folder as JSON and as a picture.

    Args:
        folder: the prepared folder.
        manifest: its manifest.
        measured: by the plate's name.

    Raises:
        DiskFullError, WriteError: a file could not be written.
    """
    by_split = {s: [measured[row.name] for row in manifest.plates if row.split == s] for s in SPLITS}
    content = {
        "encoding": manifest.encoding,
        "overall": summary([measured[row.name] for row in manifest.plates]),
        "splits": {split: summary(plates) for split, plates in by_split.items() if plates},
        "plates": {row.name: summary([measured[row.name]]) for row in manifest.plates},
    }
    temporaries.write_text(folder / FILE_NAME, json.dumps(content, indent=1) + "\n")
    rows = [(label, summary(plates)) for label, plates in _rows(manifest.plates, measured)]
    with temporaries.replacing(folder / PICTURE_NAME) as file:
        from training.statistics_picture import draw  # matplotlib takes a second to load

        file.write(draw(f"{len(manifest.plates)} plates in {manifest.encoding}", rows))


def _strata(plate_log: Floats, unknown: npt.NDArray[np.bool_] | None) -> tuple[int, ...]:
    """Count the samples of each stratum, a band of rows at a time, as a whole 16K plate would fill the memory."""
    counts = np.zeros(len(STRATA), np.int64)
    for top in range(0, len(plate_log), _BAND):
        start, stop = max(top - _MARGIN, 0), top + _BAND + _MARGIN
        labels = strata(from_signal(plate_log[start:stop].clip(0, 1), _BITS))[top - start :][:_BAND]
        if unknown is not None:
            labels = labels[~unknown[top : top + _BAND]]
        counts += np.bincount(labels.ravel(), minlength=len(STRATA))
    return tuple(map(int, counts))


def _stops(plate_linear: Floats, unknown: npt.NDArray[np.bool_] | None) -> float | None:
    step = max(plate_linear.shape[0] * plate_linear.shape[1] // _SAMPLES, 1)
    light = plate_linear.reshape(-1, 3)[::step].mean(axis=1, dtype=np.float64)
    known = light > 0 if unknown is None else (light > 0) & ~unknown.ravel()[::step]
    if not known.any():
        return None
    dark, bright = np.percentile(light[known], (0.1, 99.9))
    return float(np.log2(bright / dark))


def _rows(
    plates: Sequence[PlateRow], measured: Mapping[str, PlateStatistics]
) -> list[tuple[str, list[PlateStatistics]]]:
    """Return what the picture shows, a row each: plates, scenes, sources or splits, whichever are few enough."""
    ordered = sorted(plates, key=lambda row: (SPLITS.index(row.split), row.name))
    groups: dict[str, list[PlateStatistics]] = {}
    for key in ("name", "scene", "source", "split"):
        groups = {}
        for row in ordered:
            label = row.split if key == "split" else f"{row.split}: {getattr(row, key)}"
            groups.setdefault(label, []).append(measured[row.name])
        if len(groups) <= MAX_ROWS:
            break
    return [(f"{name} ({len(found)})" if len(found) > 1 else name, found) for name, found in groups.items()]


def _spread(values: Iterable[float]) -> dict[str, float] | None:
    found = sorted(values)
    if not found:
        return None
    return {"min": found[0], "median": float(np.median(found)), "max": found[-1]}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
