"""Plots as inline SVG: lines over the sequence, and the comb of code values that fills in.

Colours and type are classes of ``page.css``, so that the page decides how they look, on screen and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Codes, Floats, peak

WIDTH, HEIGHT = 640, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 22  # margins around the plot
COMB_CODES = 24  # code values that a histogram shows ...
COMB_PARTS = 8  # ... and into how many each is divided
_COMB = 640, 80, 26  # width, height of each half, and of the line of text above it
_TICKS = 4
_NICE = (1, 2, 2.5, 5, 10)
_DOTS = 60  # frames; with more, dots would hide the line


@dataclass(frozen=True)
class Line:
    """One line of a plot: its name, and a value for each frame, NaN where there is none."""

    name: str
    values: Sequence[float]


def plot(title: str, labels: Sequence[str], lines: Sequence[Line], faulty: Sequence[int] = ()) -> str:
    """Return lines over the frames of a sequence; "" where no line has two values.

    Args:
        title: what is plotted, with its unit.
        labels: of the frames.
        lines: at most four.
        faulty: indices of frames that are marked below the axis.
    """
    values = np.array([line.values for line in lines], np.float64).reshape(len(lines), len(labels))
    values[~np.isfinite(values)] = np.nan
    if not (np.isfinite(values).sum(axis=1) > 1).any():
        return ""
    # from zero, which means something for everything plotted, and keeps the last digits from looking like a trend
    ticks = _ticks(min(0.0, float(np.nanmin(values))), max(0.0, float(np.nanmax(values))))
    x = LEFT + (WIDTH - LEFT - RIGHT) * np.arange(len(labels)) / max(len(labels) - 1, 1)
    span = HEIGHT - TOP - BOTTOM
    y = TOP + span * (ticks[-1] - values) / (ticks[-1] - ticks[0])
    grid = "".join(_tick(TOP + span * (ticks[-1] - t) / (ticks[-1] - ticks[0]), t) for t in ticks)
    drawn = "".join(_line(x, row, f"line line{i}") for i, row in enumerate(y))
    marks = "".join(f'<path class="fault" d="M{x[i]:.1f} {HEIGHT - BOTTOM}v6"/>' for i in faulty)
    ends = (
        f'<text class="tick" x="{LEFT}" y="{HEIGHT - 5}">{escape(labels[0])}</text>'
        f'<text class="tick end" x="{WIDTH - RIGHT}" y="{HEIGHT - 5}">{escape(labels[-1])}</text>'
    )
    return (
        f'<figure class="plot"><figcaption>{escape(title)}{_legend(lines)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_summary(title, lines))}">'
        f'{grid}{drawn}{marks}{ends}<path class="here" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}"/></svg></figure>'
    )


def comb(codes: Codes, result_cv: Floats, bits: int) -> str:
    """Return the histograms before and after around the code values that occur most.

    Args:
        codes: uint16 (H, W, C), the source. All channels count together.
        result_cv: float32 (H, W, C) in LSB; NaN and Inf are left out.
        bits: of the source.
    """
    first = _busiest(codes, bits)
    parts = COMB_CODES * COMB_PARTS
    after = np.histogram(result_cv[np.isfinite(result_cv)], parts, (first - 0.5, first + COMB_CODES - 0.5))[0]
    before = np.zeros(parts, np.int64)
    counts = np.bincount(codes.ravel(), minlength=first + COMB_CODES)[first : first + COMB_CODES]
    before[COMB_PARTS // 2 :: COMB_PARTS] = counts  # a code value lies in the middle of its bin
    width, height, text = _COMB
    ticks = "".join(
        f'<text class="tick middle" x="{width * (i + 0.5) / COMB_CODES:.1f}" y="{2 * (text + height) + 22}">'
        f"{first + i}</text>"
        for i in range(1, COMB_CODES, 4)
    )
    filled = [f"{np.count_nonzero(h)} of {parts}" for h in (before, after)]
    said = (
        f"Code values {first} to {first + COMB_CODES - 1}, each in {COMB_PARTS} parts: {filled[0]} parts occur"
        f" before, {filled[1]} after"
    )
    halves = "".join(
        f'<g transform="translate(0 {i * (text + height)})"><text class="tick" x="2" y="{text - 7}">{name}:'
        f' {filled[i]} levels</text><path class="{name}" transform="translate(0 {text})"'
        f' d="{_bars(counts, width, height)}"/></g>'
        for i, (name, counts) in enumerate((("before", before), ("after", after)))
    )
    return (
        f'<svg class="comb" viewBox="0 0 {width} {2 * (text + height) + 28}" role="img" aria-label="{said}">'
        f"{halves}{ticks}</svg>"
    )


def _busiest(codes: Codes, bits: int) -> int:
    """Return the first of ``COMB_CODES`` that hold most samples, apart from black and white."""
    counts = np.bincount(codes.ravel(), minlength=peak(bits) + 1).astype(np.float64)
    counts[[0, -1]] = 0
    held = np.convolve(counts, np.ones(min(COMB_CODES, len(counts))), mode="valid")
    return int(held.argmax())


def _bars(counts: npt.NDArray[np.int64], width: int, height: int) -> str:
    tops = height - np.rint(counts / max(int(counts.max()), 1) * height).astype(int)
    wide = width / len(counts)
    bars = (
        f"M{i * wide:.1f} {height}V{top}h{wide:.1f}V{height}" for i, top in enumerate(tops) if top < height
    )
    return "".join(bars)


def _ticks(low: float, high: float) -> list[float]:
    """Return up to six round numbers that hold ``low``, at most 0, and ``high``, at least 0, between them."""
    raw = (high - low or 1.0) / _TICKS
    unit = 10.0 ** math.floor(math.log10(raw))
    size = next(n * unit for n in _NICE if n * unit >= raw)
    first, last = math.floor(low / size + 1e-9), max(math.ceil(high / size - 1e-9), 1)
    return [i * size for i in range(first, last + 1)]


def _tick(y: float, value: float) -> str:
    text = f"{value:.6g}"
    return (
        f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{text}</text>'
    )


def _line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], kind: str) -> str:
    """Return a polyline that is interrupted where values are missing, and dots where frames are few."""
    known = np.isfinite(y)
    points = [f"{'L' if i and known[i - 1] else 'M'}{x[i]:.1f} {y[i]:.1f}" for i in range(len(x)) if known[i]]
    path = f'<path class="{kind}" d="{"".join(points)}"/>'
    if len(x) > _DOTS:
        return path
    dots = "".join(
        f'<circle class="{kind}" cx="{x[i]:.1f}" cy="{y[i]:.1f}" r="2.5"/>' for i in np.flatnonzero(known)
    )
    return path + dots


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    return "".join(f' <span class="key key{i}">{escape(line.name)}</span>' for i, line in enumerate(lines))


def _summary(title: str, lines: Sequence[Line]) -> str:
    told = []
    for line in lines:
        values = np.array([v for v in line.values if math.isfinite(v)])
        if values.size:
            told.append(f"{line.name}: {values.min():.4g} to {values.max():.4g}, mean {values.mean():.4g}")
    return f"{title} over the sequence. {'; '.join(told)}"
