"""A second look at verified frames, for the pictures and histograms of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from bitexpand import color, frames, provenance
from bitexpand.code_values import Codes, Floats
from bitexpand.encoding import Encoding
from bitexpand.errors import BitexpandError
from bitexpand.location import location
from bitexpand.plate import Plate, read_plate
from bitexpand.report import charts, pictures
from bitexpand.report.facts import FrameFacts, Measure, worst_first
from bitexpand.verify import VerifyJob

CLOSE_UPS = 8
"""Frames that get a large picture and a detail: the worst, and others evenly spaced."""

LARGE, ALL = 500_000, 19_000_000
"""Characters that a picture of those may take at most, and that all other frames' pictures may take together.

With the page itself (at most 1 MB, and 0.3 MB of a view) that keeps 200 frames under 30 MB.
"""


@dataclass(frozen=True)
class Look:
    """A frame's facts with its pictures, and the header of its result; None where it could not be read."""

    facts: FrameFacts
    info: frames.FrameInfo | None = None


def looks(
    job: VerifyJob, facts: Sequence[FrameFacts], measures: Sequence[Measure], threads: int
) -> list[Look]:
    """Read frames again and draw them.

    Args:
        job: bits and spaces, where they are known.
        facts: of the frames; those with an error are passed over.
        measures: by which the worst frame is told.
        threads: frames that are read at a time.
    """
    close_ups = _close_ups(facts, measures)
    limit = min(LARGE, ALL // max(len(facts) - len(close_ups), 1))
    conversion = None
    if job.in_space and job.out_space:
        conversion = color.conversion(color.load_config(job.config), job.in_space, job.out_space)

    def look(index: int) -> Look:
        return _look(job, conversion, facts[index], limit=limit, is_close=index in close_ups)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(look, range(len(facts))))


def _close_ups(facts: Sequence[FrameFacts], measures: Sequence[Measure]) -> set[int]:
    """Return the indices of the worst frame and of others, evenly spaced, that can be shown."""
    can_be_shown = [i for i, frame in enumerate(facts) if not frame.error]
    if not can_be_shown:
        return set()
    spaced = np.linspace(0, len(can_be_shown) - 1, min(CLOSE_UPS - 1, len(can_be_shown)))
    return {worst_first(facts, measures)[0], *(can_be_shown[round(i)] for i in spaced)}


def _look(
    job: VerifyJob, conversion: color.Conversion | None, facts: FrameFacts, *, limit: int, is_close: bool
) -> Look:
    """Read a frame again and draw it."""
    if facts.error:
        return Look(facts)
    try:
        written = frames.read_frame(location(facts.result))
        bits = job.bits or int(provenance.read_number(written.info, "bits") or 0) or None
        plate = read_plate(location(facts.source), bits)
    except BitexpandError as error:  # it could be read a moment ago, when it was verified
        return Look(replace(facts, error=str(error)))
    codes, result_cv = _pair(written, plate, conversion)
    whole = pictures.whole(codes, result_cv, plate.bits, LARGE if is_close else limit)
    detail = pictures.detail(codes, result_cv, plate.bits, LARGE) if is_close and whole.stride > 1 else None
    moved = np.abs(result_cv - codes)
    mean_move = float(np.mean(moved, where=np.isfinite(moved))) if np.isfinite(moved).any() else math.nan
    return Look(
        replace(
            facts,
            measures={**facts.measures, "mean_move": mean_move},
            whole=whole,
            detail=detail,
            histogram=charts.comb(codes, result_cv, plate.bits),
        ),
        written.info,
    )


def _pair(written: frames.Frame, plate: Plate, conversion: color.Conversion | None) -> tuple[Codes, Floats]:
    """Return the source's code values and the result's, not rounded, in LSB, both (H, W, C)."""
    encoding = Encoding(plate.bits, "float", conversion=conversion)
    channels = encoding.channels(plate.codes.shape[2])
    pixels = written.pixels[..., :channels]
    result_cv = encoding.decode(pixels)
    if pixels.dtype.kind == "f":  # a curve may take Inf to a number
        result_cv[~np.isfinite(pixels)] = np.nan
    # a conversion that mixes channels makes a grey plate RGB
    codes = plate.codes if plate.codes.shape[2] == channels else plate.codes.repeat(channels, axis=2)
    return codes, result_cv
