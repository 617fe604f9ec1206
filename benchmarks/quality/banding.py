"""CAMBI of a truth, of its 8-bit plate and of results: how much closer to the truth's banding a method comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.trial import BITS, Method, Trial
from bitexpand.code_values import to_signal
from bitexpand.metrics.banding import LEAST_SIDE, cambi


@dataclass(frozen=True)
class Banding:
    """The CAMBI of a plate in all its states.

    Attributes:
        name: of the plate.
        truth, before, after: CAMBI.
    """

    name: str
    truth: float
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """|after - truth| / |before - truth|; below 1 is better. NaN where the plate has no banding to lose."""
        return _ratio(abs(self.after - self.truth), abs(self.before - self.truth))


def bandings(method: Method, trials: Sequence[Trial]) -> list[Banding]:
    """Expand trials and take their CAMBI; those below 216 px a side are left out.

    Raises:
        UsageError: imageio-ffmpeg is not installed, or without libvmaf.
    """
    large = [trial for trial in trials if min(trial.codes.shape[:2]) >= LEAST_SIDE]
    found = []
    for trial, result_cv in zip(large, method.expand(large), strict=True):
        states = (trial.truth_cv, trial.codes, result_cv)
        found.append(Banding(trial.name, *cambi([to_signal(cv, BITS) for cv in states], BITS)))
    return found


def pooled_ratio(found: Sequence[Banding]) -> float:
    """Return the sum of all distances from the truth after, over that before."""
    after = sum(abs(banding.after - banding.truth) for banding in found)
    return _ratio(after, sum(abs(banding.before - banding.truth) for banding in found))


def _ratio(after: float, before: float) -> float:
    return after / before if before else float(np.nan)
