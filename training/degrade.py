"""From the truth to the code values that a plate would have held: rounding, dither, JPEG and the like.

The truth is never changed here, so whatever was done to the plate before is in both. How far the two may lie apart
comes from the table that inference uses, :data:`bitexpand.code_values.SOURCE_KINDS`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from PIL import Image

from bitexpand import code_values as cv
from bitexpand.code_values import Floats
from training.augmentation import Augmentation, SourceKind
from training.video import h264_frame

_SUBSAMPLING = (0, 2)  # Pillow's numbers of 4:4:4 and 4:2:0
_JPEG_CELL = (
    16  # px: the largest cell of either, whose phase against the crop is random as in a cropped plate
)

Encode: TypeAlias = Callable[[np.random.Generator, Floats, Augmentation], Floats]


@dataclass(frozen=True)
class Degradation:
    """One way to make code values.

    Attributes:
        bits: bits of the code values; truth and input are in LSB of them.
        truth: where the truth may lie around a code value.
        encode: makes code values from a truth, which is not clipped again.
    """

    bits: int
    truth: cv.SourceKind
    encode: Encode

    def apply(self, random: np.random.Generator, truth_cv: Floats, augmentation: Augmentation) -> Floats:
        """Return the code values of a truth.

        Args:
            random: where dither and JPEG's quality come from.
            truth_cv: float32 (H, W, 3) in LSB of ``bits``, within 0 .. peak.
            augmentation: has the range of qualities.

        Returns:
            float32 (H, W, 3), integers within 0 .. peak.
        """
        return np.clip(self.encode(random, truth_cv, augmentation), 0, cv.peak(self.bits))


def draw_kind(random: np.random.Generator, kinds: Mapping[SourceKind, float]) -> SourceKind:
    """Draw a kind by its weight."""
    names, weights = list(kinds), np.array(list(kinds.values()))
    return names[int(random.choice(len(names), p=weights / weights.sum()))]


def _rounded(_random: np.random.Generator, truth_cv: Floats, _augmentation: Augmentation) -> Floats:
    return cv.requantise(truth_cv)


def _truncated(_random: np.random.Generator, truth_cv: Floats, _augmentation: Augmentation) -> Floats:
    return np.floor(truth_cv)


def _dithered(random: np.random.Generator, truth_cv: Floats, _augmentation: Augmentation) -> Floats:
    return cv.requantise(truth_cv + _rectangular(random, truth_cv.shape))


def _triangular(random: np.random.Generator, truth_cv: Floats, _augmentation: Augmentation) -> Floats:
    dither = _rectangular(random, truth_cv.shape) + _rectangular(random, truth_cv.shape)
    return cv.requantise(np.add(truth_cv, dither))


def _jpeg(random: np.random.Generator, truth_cv: Floats, augmentation: Augmentation) -> Floats:
    """Round, then write and read a JPEG of random quality and chroma subsampling.

    Its error has no bound. The truth stays what the plate was: pulling it towards the code value would teach the
    model that artefacts are the plate. Where the truth lies beyond 4 LSB, it is a target out of reach.
    """
    lowest, highest = augmentation.jpeg_quality
    quality, subsampling = int(random.integers(lowest, highest + 1)), int(random.choice(_SUBSAMPLING))
    top, left = (int(shift) for shift in random.integers(0, _JPEG_CELL, 2))
    rounded = np.pad(cv.requantise(truth_cv).astype(np.uint8), ((top, 0), (left, 0), (0, 0)), mode="edge")
    file = io.BytesIO()
    Image.fromarray(rounded).save(file, "jpeg", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))[top:, left:].astype(np.float32)


def _h264(random: np.random.Generator, truth_cv: Floats, augmentation: Augmentation) -> Floats:
    """Round, then write and read a frame of H.264, 4:2:0 and 8 bits, of a random rate factor.

    As with JPEG, the truth stays what the plate was.
    """
    lowest, highest = augmentation.h264_crf
    return h264_frame(cv.requantise(truth_cv).astype(np.uint8), int(random.integers(lowest, highest + 1)))


def _rectangular(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return noise spread evenly over [-0.5, 0.5) LSB."""
    return random.random(shape, np.float32) - np.float32(0.5)


DEGRADATIONS: Mapping[SourceKind, Degradation] = MappingProxyType(
    {
        "rounded": Degradation(8, cv.SOURCE_KINDS["rounded"], _rounded),
        "truncated": Degradation(8, cv.SOURCE_KINDS["truncated"], _truncated),
        "dithered": Degradation(8, cv.SOURCE_KINDS["dithered"], _dithered),
        "triangular": Degradation(8, cv.SOURCE_KINDS["triangular"], _triangular),
        "jpeg": Degradation(8, cv.SOURCE_KINDS["lossy"], _jpeg),
        "h264": Degradation(8, cv.SOURCE_KINDS["lossy"], _h264),
        "ten_bit": Degradation(10, cv.SOURCE_KINDS["rounded"], _rounded),
    }
)
"""Every kind of ``augmentation.SourceKind``."""
