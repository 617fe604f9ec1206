"""Slow ramps: a code value lasts for 8 to 256 pixels, at several angles, with and without an edge across."""

from __future__ import annotations

import numpy as np

from benchmarks.quality.trial import Trial
from bitexpand.code_values import Floats

WIDTHS = (8, 16, 32, 64, 128, 256)  # px that a code value lasts for
ANGLES = (0.0, 20.0, 45.0, 90.0)  # degrees from the rows
SIDE = 512  # px
_MIDDLE = 100.0  # LSB
_EDGE_HEIGHT = 40.0  # LSB
_EDGE_TURN = 50.0  # degrees, from the ramp to the edge
_EDGE_BEYOND = 23.0  # px from the middle of the picture


def ramp_trials(width: int, edge: bool, side: int = SIDE) -> list[Trial]:
    """Return a ramp of 1 LSB in ``width`` px at each angle."""
    series = f"{width}_edge" if edge else str(width)
    return [
        Trial.rounded("ramps", f"{series}/{angle:g}", ramp(width, angle, edge=edge, side=side))
        for angle in ANGLES
    ]


def all_ramp_trials() -> dict[tuple[int, bool], list[Trial]]:
    """Return every ramp, by the px that a code value lasts for and whether an edge crosses it."""
    return {(width, edge): ramp_trials(width, edge) for width in WIDTHS for edge in (False, True)}


def ramp(width: float, angle: float, *, edge: bool = False, side: int = SIDE) -> Floats:
    """Return a plane of equal slope in all channels, a third of an LSB apart in phase, beside whole LSBs.

    Args:
        width: px that it takes to rise by 1 LSB, along its slope.
        angle: of the slope in degrees from the rows.
        edge: a step of 40 LSB, smoothed over a pixel, crosses it at 50 degrees.
        side: of the square picture in px.

    Returns:
        float32 (side, side, 3) in LSB of 8 bits.
    """
    plane = _along(side, angle) / width
    if edge:
        plane = plane + _EDGE_HEIGHT * np.clip(_along(side, angle + _EDGE_TURN) - _EDGE_BEYOND + 0.5, 0, 1)
    levels = _MIDDLE + np.array((0, 11 + 1 / 3, -14 + 2 / 3))
    return (plane[..., None] + levels).astype(np.float32)


def _along(side: int, angle: float) -> np.ndarray:
    """Return the position in px along a direction, 0 in the middle."""
    x = np.arange(side) - (side - 1) / 2
    return x[None] * np.cos(np.deg2rad(angle)) + x[:, None] * np.sin(np.deg2rad(angle))
