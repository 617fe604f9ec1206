"""Faults that expanding a plate can leave in it: one file per artefact, each a detector that measures its strength.

A detector takes a plate in steps, float32 (H, W, C), C 1 or 3, finite, and the name of a step; it returns a
``Finding``. A step is one LSB of the source where that is known. Limits are set well above what clean plates show:
renders with and without grain, textures, and what the shipped models make of them.
"""

from __future__ import annotations

from functools import partial

from bitexpand.artefacts.banding import residual_banding
from bitexpand.artefacts.checkerboard import PERIODS, checkerboard
from bitexpand.artefacts.finding import Detector, Finding, Region, Verdict
from bitexpand.artefacts.fringes import color_fringes
from bitexpand.artefacts.scanlines import scanlines
from bitexpand.artefacts.seams import tile_seams
from bitexpand.code_values import Floats

DETECTORS: tuple[Detector, ...] = (
    *(partial(checkerboard, period=period) for period in PERIODS),
    scanlines,
    color_fringes,
    tile_seams,
    residual_banding,
)

__all__ = ["DETECTORS", "Finding", "Region", "Verdict", "find_artefacts", "worst"]


def find_artefacts(plate_cv: Floats, unit: str = "LSB") -> tuple[Finding, ...]:
    """Run all detectors on float32 (H, W, C) ``plate_cv``, in steps that are called ``unit``."""
    return tuple(detect(plate_cv, unit) for detect in DETECTORS)


def worst(findings: tuple[Finding, ...]) -> Finding | None:
    """Return the finding that exceeds its limit most, what is present before what is possible; None for none."""
    found = [each for each in findings if each.severity]
    return max(found, key=lambda each: (each.verdict == "present", each.severity), default=None)
