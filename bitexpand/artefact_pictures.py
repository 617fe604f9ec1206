"""The picture that proves an artefact: the plate, and beside it what the detector saw, amplified."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bitexpand import frames, temporaries
from bitexpand.artefacts import Finding, fringes, worst
from bitexpand.code_values import Floats
from bitexpand.errors import UsageError
from bitexpand.examination import in_steps
from bitexpand.inspection import Inspection
from bitexpand.location import location
from bitexpand.page import (
    PANEL,
    ZOOM,
    Bytes,
    Crop,
    as_bytes,
    edge_aware_mean,
    fit,
    magnified,
    outline,
    paired_page,
)
from bitexpand.pictures import write_picture

CROP = (PANEL[0] // ZOOM, PANEL[1] // ZOOM)  # px of the plate, width and height
_SHOWN_AS = 0.25  # of the display's range, that the strength of a finding is amplified to
_AROUND = 6  # px: what is amplified is what differs from the mean over so many on each side
_TEXTURE = 8.0  # strengths; where much more is going on than the artefact, that mean keeps edges


def draw_worst(inspections: Iterable[Inspection], picture: Path) -> tuple[str, Finding] | None:
    """Draw the worst artefact of several files, and return its file and what it is; None where there is none.

    Raises:
        UsageError: the picture is no PNG, or would replace one of the files.
        WriteError: it cannot be written.
    """
    found = {inspection.path: worst(inspection.artefacts) for inspection in inspections}
    if picture.suffix.lower() != ".png":
        raise UsageError(f"--picture {picture}: give a .png")
    if picture.resolve() in {Path(path).resolve() for path in found}:
        raise UsageError(f"--picture {picture}: would replace a file that is inspected")
    finding = worst(tuple(each for each in found.values() if each))
    if finding is None:
        return None
    path = next(path for path, each in found.items() if each is finding)
    plate = in_steps(frames.read_frame(location(path)))
    assert plate is not None, "a finding without colour channels"
    temporaries.prepare_folder(picture.parent)
    write_picture(picture, artefact_picture(plate[0], finding))
    return path, finding


def artefact_picture(plate_cv: Floats, finding: Finding) -> Bytes:
    """Return a page: a part of the plate and all of it, on the left as it is, on the right the artefact amplified.

    Args:
        plate_cv: float32 (H, W, 1 or 3), in steps.
        finding: what to show of it.

    Returns:
        The page, (h, w, 3) uint8, ready for display.
    """
    rest = _amplified(plate_cv, finding)
    plate = plate_cv if plate_cv.shape[2] == 3 else plate_cv.repeat(3, axis=2)
    crop = _crop(finding, plate.shape)
    low, high = np.percentile(fit(plate), (0.5, 99.5))
    whole = as_bytes((fit(plate) - low) / max(float(high - low), 1))
    where = as_bytes(fit(np.abs(rest - 0.5)) * 2)
    for side in (whole, where):
        outline(side, crop, plate.shape[1], "")
    near = crop.of(plate)
    low, high = np.percentile(near, (0.5, 99.5))
    near = as_bytes(0.05 + 0.9 * (near - low) / max(float(high - low), 4 * finding.strength))
    said = f"{finding.name}, {finding.strength:.2g} \u00d7 {finding.unit}, {finding.verdict}"
    gain = _SHOWN_AS / finding.strength
    titles = [
        (f"plate, pixels \u00d7{ZOOM}", said),
        ("whole plate", f"where it is: white is {0.5 / gain:.2g} \u00d7 {finding.unit} and more"),
    ]
    return paired_page([(magnified(near), magnified(as_bytes(crop.of(rest)))), (whole, where)], titles)


def _amplified(plate_cv: Floats, finding: Finding) -> Floats:
    """Return what differs from its surroundings, (H, W, 3) around 0.5, where a finding's strength is a quarter.

    Of fringes, the chroma along the edges that they were found at.
    """
    gain = np.float32(_SHOWN_AS / finding.strength)
    if finding.name == fringes.NAME:
        chroma = fringes.fringe_map(plate_cv, finding.limit)[..., None]
        return 0.5 + gain * chroma * np.array([-1, 1, -1], np.float32)
    rest = plate_cv - edge_aware_mean(plate_cv, _AROUND, _TEXTURE * finding.strength)
    return 0.5 + gain * (rest if rest.shape[2] == 3 else rest.repeat(3, axis=2))


def _crop(finding: Finding, shape: tuple[int, ...]) -> Crop:
    """Return a crop around the place that shows a finding best."""
    height, width = shape[:2]
    size = min(CROP[0], width), min(CROP[1], height)
    where = finding.where
    x, y = where.x + where.width // 2 - size[0] // 2, where.y + where.height // 2 - size[1] // 2
    return Crop(min(max(x, 0), width - size[0]), min(max(y, 0), height - size[1]), *size)
