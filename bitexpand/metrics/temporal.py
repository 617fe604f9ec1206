"""Flicker: how much a result moves from frame to frame where its plate stands still."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Floats
from bitexpand.errors import UsageError
from bitexpand.metrics.checks import check_pair, check_shapes

Frame: TypeAlias = tuple[Floats, npt.NDArray[np.generic], Floats | None]  # result, source, truth


@dataclass(frozen=True)
class Flicker:
    """Squared changes between neighbouring frames, summed over what stands still; add two to pool them.

    Attributes:
        pixels: pixels of all pairs of frames.
        still: of these, how many have the same code values in both frames.
        channels: samples a pixel.
        result, error, truth: sums of squared changes in LSB², of the result, of its error against the truth, and of
            the truth itself; the latter two None where there is no truth.
    """

    pixels: int = 0
    still: int = 0
    channels: int = 0
    result: float = 0.0
    error: float | None = None
    truth: float | None = None

    def __add__(self, other: Flicker) -> Flicker:
        if not self.pixels:
            return other
        if not other.pixels:
            return self
        return Flicker(
            self.pixels + other.pixels,
            self.still + other.still,
            self.channels,
            self.result + other.result,
            _sum(self.error, other.error),
            _sum(self.truth, other.truth),
        )

    @property
    def still_share(self) -> float:
        """Share of the pixels that stand still, 0 to 1; 0 of no pairs."""
        return self.still / self.pixels if self.pixels else 0.0

    @property
    def result_lsb(self) -> float:
        """Flicker of the result in LSB: needs no truth, but counts what the truth itself changes inside its bin."""
        return self._deviation(self.result)

    @property
    def error_lsb(self) -> float | None:
        """Flicker of the error against the truth in LSB; None without a truth."""
        return None if self.error is None else self._deviation(self.error)

    @property
    def truth_lsb(self) -> float | None:
        """Flicker of the truth in LSB, such as its grain below a code step; None without a truth."""
        return None if self.truth is None else self._deviation(self.truth)

    def _deviation(self, squares: float) -> float:
        """Return the standard deviation over time, sqrt(mean squared successive difference / 2); NaN of nothing.

        Von Neumann, Kent, Bellinson & Hart 1941 ("The mean square successive difference"): it follows what jumps
        from frame to frame and leaves out slow drifts, as the eye does.
        """
        samples = self.still * self.channels
        return math.sqrt(squares / samples / 2) if samples else math.nan


class FlickerMeter:
    """Takes the frames of a sequence one at a time, in order, and remembers one."""

    def __init__(self) -> None:
        self.total = Flicker()
        self._previous: Frame | None = None

    def add(
        self, result_cv: Floats, source_cv: npt.NDArray[np.generic], truth_cv: Floats | None = None
    ) -> Flicker:
        """Add a frame; return its flicker against the one before, empty of the first.

        The arrays are kept until the next frame: do not write to them.

        Args:
            result_cv: float32 (H, W, C), code values in LSB.
            source_cv: code values of the plate, of any type, same shape.
            truth_cv: as the result; for all frames or for none.

        Raises:
            PlateError: another shape than the other pictures' or the frame's before, or NaN or Inf.
            UsageError: a truth for some frames only.
        """
        before, self._previous = self._previous, None
        check_shapes(result_cv, source_cv, ("result", "source"))
        check_pair(result_cv, result_cv if truth_cv is None else truth_cv)
        frame = result_cv, source_cv, truth_cv
        found = Flicker()
        if before is not None:
            check_shapes(result_cv, before[0], ("frame", "frame before it"))
            if (truth_cv is None) != (before[2] is None):
                raise UsageError("flicker against a truth needs the truth of every frame")
            found = _between(before, frame)
        self.total += found
        self._previous = frame
        return found

    def skip(self) -> None:
        """Stand for a frame that is missing: the next one has none before it. So has one after an error."""
        self._previous = None


def flicker(frames: Iterable[Frame]) -> Flicker:
    """Return the flicker of a sequence, of which two frames at a time are held.

    Args:
        frames: in order, of each the arguments of ``FlickerMeter.add``: result, source, truth or None.

    Raises:
        PlateError, UsageError: as of ``FlickerMeter.add``.
    """
    meter = FlickerMeter()
    for result_cv, source_cv, truth_cv in frames:
        meter.add(result_cv, source_cv, truth_cv)
    return meter.total


def _between(before: Frame, after: Frame) -> Flicker:
    still = (before[1] == after[1]).all(axis=2)
    result_change: Floats = (after[0] - before[0])[still]
    error, truth = None, None
    if before[2] is not None and after[2] is not None:
        truth_change: Floats = (after[2] - before[2])[still]
        error, truth = _squares(result_change - truth_change), _squares(truth_change)
    return Flicker(
        still.size, int(np.count_nonzero(still)), after[0].shape[2], _squares(result_change), error, truth
    )


def _squares(change_cv: Floats) -> float:
    return float(np.sum(np.square(change_cv), dtype=np.float64))


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
