"""What a detector says, and the limits by which it says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from bitexpand.code_values import Floats

Verdict: TypeAlias = Literal["absent", "possible", "present", "cannot_tell"]

SMALLEST = 64  # px: a side below which no detector says anything
STRONGEST = 1.0  # steps; what repeats with more is rather content, since no expansion moves a value that far


@dataclass(frozen=True)
class Region:
    """A rectangle of the plate, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Finding:
    """What a detector found in a plate.

    Attributes:
        name: of the artefact.
        strength: its size in ``unit``; 0 where nothing was measured. What of it is measured, its detector says.
        unit: of the strength; one step of the plate's values.
        where: the part of the plate that shows it best.
        verdict: absent; possible, where content could look the same; present; cannot_tell, where the plate has too
            little that is calm, or too few edges.
        limit: the strength from which on it is called present.
        detail: what else was measured, such as the period, in words; may be empty.
    """

    name: str
    strength: float
    unit: str
    where: Region
    verdict: Verdict
    limit: float
    detail: str = ""

    @property
    def severity(self) -> float:
        """How bad it is: the strength in limits, 0 where it is absent."""
        return self.strength / self.limit if self.verdict in ("possible", "present") else 0.0


Detector: TypeAlias = Callable[[Floats, str], Finding]


def cannot_tell(name: str, unit: str, plate_cv: Floats, limit: float, why: str) -> Finding:
    """Return the finding of a detector that has too little to go by."""
    height, width = plate_cv.shape[:2]
    return Finding(name, 0.0, unit, Region(0, 0, width, height), "cannot_tell", limit, why)


def is_small(plate_cv: Floats) -> bool:
    """Tell whether a plate is too small for any detector."""
    return min(plate_cv.shape[:2]) < SMALLEST


def root(mean_square: float) -> float:
    """Return the root of an estimate of a mean square, which noise may carry below 0."""
    return float(np.sqrt(max(mean_square, 0.0)))
