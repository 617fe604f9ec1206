"""What the QC page tells: plain facts of each frame and of the sequence, and the verdict that follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bitexpand.code_values import HALF_BIN
from bitexpand.report.pictures import Picture
from bitexpand.report.view import View


@dataclass(frozen=True)
class Measure:
    """A number that is told of every frame.

    Attributes:
        key: its name in ``FrameFacts.measures``.
        title: what it is, with its unit.
        worst: which end is worse: "low", "high", or "" where neither is.
        chart: title of the chart that it is drawn in; measures of one chart share its axis. "" draws none.
        line: its name in that chart.
    """

    key: str
    title: str
    worst: str = ""
    chart: str = ""
    line: str = ""


@dataclass(frozen=True)
class FrameFacts:
    """What is known of one frame.

    Attributes:
        number: of the frame, or None for a still without one.
        source, result: the files.
        error: why there is no comparison, or None.
        missing: the result is not there.
        bound: largest move in LSB that was allowed; 0.5 is the bin.
        samples, mismatched, not_finite, alpha_mismatched: counts of samples.
        largest_move: in LSB.
        measures: numbers by ``Measure.key``; what is not known is left out or NaN.
        whole, detail: the frame, and its worst banding pixel by pixel; None without a comparison, or where
            ``whole`` shows every pixel.
        histogram: SVG, "" without a comparison.
        notes: what is to be known of the numbers.
    """

    number: int | None
    source: str
    result: str
    error: str | None = None
    missing: bool = False
    bound: float = HALF_BIN
    samples: int = 0
    mismatched: int = 0
    not_finite: int = 0
    alpha_mismatched: int = 0
    largest_move: float = 0.0
    measures: Mapping[str, float] = field(default_factory=dict[str, float])
    whole: Picture | None = None
    detail: Picture | None = None
    histogram: str = ""
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The number, or what stands for it."""
        return "still" if self.number is None else str(self.number)

    @property
    def passed(self) -> bool:
        """True where every sample keeps the promise."""
        return not (self.error or self.mismatched or self.not_finite or self.alpha_mismatched)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in words."""
        if self.missing:
            return ("missing",)
        if self.error:
            return (self.error,)
        wrong = "samples leave their bin" if self.bound <= HALF_BIN else f"samples beyond {self.bound:g} LSB"
        told = (
            (self.mismatched - self.not_finite, wrong),
            (self.not_finite, "NaN or Inf"),
            (self.alpha_mismatched, "alpha samples differ"),
        )
        return tuple(f"{count:,} {what}" for count, what in told if count > 0)


@dataclass(frozen=True)
class ReportFacts:
    """What is known of the sequence.

    Attributes:
        source, result, truth: the patterns; truth "" without one.
        frames: in order.
        missing_sources: frame numbers that the source lacks, as a range; "" for none.
        measures: what is told of the frames, in order.
        provenance: name to value of what the results say of their making.
        notes: what is not known, and what was assumed.
        view: how the browser shows code values, None where the plate's encoding is not known.
        version: of bitexpand.
    """

    source: str
    result: str
    truth: str
    frames: tuple[FrameFacts, ...]
    missing_sources: str
    measures: tuple[Measure, ...]
    provenance: Mapping[str, str]
    notes: tuple[str, ...]
    view: View | None
    version: str

    @property
    def passed(self) -> bool:
        """True where every frame passed."""
        return all(frame.passed for frame in self.frames)

    @property
    def worst(self) -> int:
        """Index of the frame to look at first: see ``worst_first``."""
        return worst_first(self.frames, self.measures)[0]


def worst_first(frames: Iterable[FrameFacts], measures: Iterable[Measure]) -> list[int]:
    """Return the indices of frames from the worst on.

    Frames with a picture to look at come before those without. Then faults count, more of them first; then the
    first of ``measures`` that has a worse end; then the largest move.
    """
    judged = next((m for m in measures if m.worst), None)

    def rank(indexed: tuple[int, FrameFacts]) -> tuple[float, ...]:
        index, frame = indexed
        value = frame.measures.get(judged.key, math.nan) if judged else math.nan
        if judged and judged.worst == "high":
            value = -value
        known = math.inf if math.isnan(value) else value
        faults = frame.mismatched + frame.not_finite + frame.alpha_mismatched
        return bool(frame.error), -faults, known, -frame.largest_move, index

    return [index for index, _ in sorted(enumerate(frames), key=rank)]


def percent(part: int, whole: int) -> str:
    """Return a share as text that never rounds up to 100 %: one sample in a billion is a fault."""
    if not whole:
        return "nothing compared"
    return "100 %" if part == whole else f"{min(100 * part / whole, 99.9999):.4f} %"
