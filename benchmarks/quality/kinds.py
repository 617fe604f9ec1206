"""CG plates that were not simply rounded: truncated, dithered, or through JPEG or H.264."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.quality.plates import ACESCCT, PLATES, cg_trials
from benchmarks.quality.trial import CodeValues, Trial
from bitexpand.code_values import SOURCE_KINDS, Floats, requantise
from training.augmentation import Augmentation
from training.degrade import DEGRADATIONS
from training.video import h264_frame

JPEG_QUALITIES = (75, 90, 98)
H264_RATE_FACTORS = (10, 18, 23)

Encode = Callable[[int, Floats], Floats]


@dataclass(frozen=True)
class Kind:
    """A way to make code values, and what it is called.

    Attributes:
        name: for the tables and for a folder.
        source: what ``--source`` calls it.
        encode: from a number that all chance comes from, and float32 (H, W, 3) in LSB, to whole code values.
    """

    name: str
    source: str
    encode: Encode

    def trials(self, folder: Path = PLATES, limit: int | None = None) -> list[Trial]:
        """Return the CG plates in ACEScct, made so; ``limit`` is the largest side in pixels."""
        return [
            replace(
                trial,
                group="kinds",
                name=f"{self.name}/{trial.name}",
                codes=self._codes(number, trial.truth_cv),
                kind=self.source,
                source=self.source,
            )
            for number, trial in enumerate(cg_trials(ACESCCT, folder, limit))
        ]

    def _codes(self, number: int, truth_cv: Floats) -> CodeValues:
        return self.encode(number, truth_cv).astype(np.uint8)


def as_rounded(trials: Sequence[Trial]) -> list[Trial]:
    """Return the same trials as someone gives them who does not know what made them."""
    return [replace(trial, source="rounded") for trial in trials]


def _drawn(kind: Literal["truncated", "dithered", "triangular"]) -> Encode:
    return lambda seed, truth_cv: DEGRADATIONS[kind].apply(
        np.random.default_rng(seed), truth_cv, Augmentation()
    )


def _jpeg(quality: int) -> Encode:
    """Return JPEG of one quality; 4:4:4 or 4:2:0, and where its blocks begin, come by chance, as in footage."""
    settings = Augmentation(jpeg_quality=(quality, quality))
    return lambda seed, truth_cv: DEGRADATIONS["jpeg"].apply(np.random.default_rng(seed), truth_cv, settings)


def _h264(rate_factor: int) -> Encode:
    return lambda _seed, truth_cv: h264_frame(requantise(truth_cv).astype(np.uint8), rate_factor)


KINDS: tuple[Kind, ...] = (
    Kind("truncated", SOURCE_KINDS["truncated"].name, _drawn("truncated")),
    Kind("dithered", SOURCE_KINDS["dithered"].name, _drawn("dithered")),
    Kind("triangular", SOURCE_KINDS["triangular"].name, _drawn("triangular")),
    *(Kind(f"JPEG {quality}", "lossy", _jpeg(quality)) for quality in JPEG_QUALITIES),
    *(Kind(f"H.264 crf {factor}", "lossy", _h264(factor)) for factor in H264_RATE_FACTORS),
)
