"""Whether a result keeps the promise: every sample in its bin, the source back after rounding, nothing drifting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import HALF_BIN, Codes, Floats, peak, requantise
from bitexpand.metrics.checks import check_picture, check_shapes


class Expands(Protocol):
    """What ``idempotence`` needs of ``bitexpand.engine.Expander``."""

    def expand(
        self, plate_cv: npt.NDArray[np.integer], bits: int | None = None, bound: float = HALF_BIN
    ) -> Floats:
        """Expand integer code values, (H, W, C), to float32 ones in LSB."""
        ...


@dataclass(frozen=True)
class Safety:
    """How a result's samples lie around the code values that they came from.

    Attributes:
        samples: how many there are.
        in_bin: samples at most half an LSB away.
        matched: samples that round to their code value, after clipping to the range of the source.
        not_finite: samples that are NaN or Inf; they are in no bin and match nothing.
        largest_move: largest distance from the code value, in LSB, of the finite samples.
    """

    samples: int
    in_bin: int
    matched: int
    not_finite: int
    largest_move: float

    @property
    def in_bin_share(self) -> float:
        """Share of the samples in their bin, 0 to 1."""
        return self.in_bin / self.samples

    @property
    def match_share(self) -> float:
        """Share of the samples that round to the source, 0 to 1: the requantisation match."""
        return self.matched / self.samples

    def __add__(self, other: Safety) -> Safety:
        return Safety(
            self.samples + other.samples,
            self.in_bin + other.in_bin,
            self.matched + other.matched,
            self.not_finite + other.not_finite,
            max(self.largest_move, other.largest_move),
        )


def safety(result_cv: Floats, source_cv: npt.NDArray[np.generic], bits: int) -> Safety:
    """Hold a result against the code values of its source; two can be added to pool them.

    Args:
        result_cv: float32 (H, W, C), code values in LSB; NaN and Inf are counted.
        source_cv: whole code values, 0 .. 2**bits - 1, of any type, same shape.
        bits: bits of the source.

    Raises:
        PlateError: another shape.
    """
    check_shapes(result_cv, source_cv, ("result", "source"))
    codes_cv = source_cv.astype(np.float32, copy=False)
    with np.errstate(invalid="ignore"):
        moved_cv = np.abs(result_cv - codes_cv)
        in_bin = np.count_nonzero(moved_cv <= np.float32(HALF_BIN))
        matched = np.count_nonzero(_rounded(result_cv, bits) == codes_cv)
    largest, not_finite = float(moved_cv.max()), 0
    if not np.isfinite(largest):
        finite = np.isfinite(moved_cv)
        not_finite = int(moved_cv.size - np.count_nonzero(finite))
        largest = float(moved_cv[finite].max(initial=0))
        # Inf clips to white, but no reader should have to
        matched = np.count_nonzero(finite & (_rounded(result_cv, bits) == codes_cv))
    return Safety(moved_cv.size, int(in_bin), int(matched), not_finite, largest)


def idempotence(expander: Expands, result_cv: Floats, bits: int, bound: float = HALF_BIN) -> float:
    """Return the largest difference in LSB between a result and the model run again on it, rounded to code values.

    Rounding gives the source back, and the model is a function of that: so this is 0 but for the rounding of the
    file's sample type, unless the file was altered, or made by another model, strength or version.

    Args:
        expander: the model that made the result, as it was set up then.
        result_cv: float32 (H, W, 1 or 3), code values in LSB.
        bits: bits of the source.
        bound: largest move in LSB that the run allowed.

    Raises:
        PlateError: NaN or Inf in the result, or no picture.
    """
    check_picture("result", result_cv)
    codes: Codes = _rounded(result_cv, bits).astype(np.uint16)
    return float(np.abs(expander.expand(codes, bits, bound) - result_cv).max())


def _rounded(plate_cv: Floats, bits: int) -> Floats:
    return np.clip(requantise(plate_cv), 0, np.float32(peak(bits)))
