"""Scan lines: rows that are lighter or darker at a regular distance, across the whole plate."""

from __future__ import annotations

import functools
from math import lcm
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitexpand.artefacts.box import box_mean
from bitexpand.artefacts.finding import Finding, Region, Verdict, cannot_tell, is_small, root
from bitexpand.code_values import Floats

Reals = npt.NDArray[np.floating]
Spectrum = npt.NDArray[np.complexfloating]

LIMIT = 0.03  # steps
_LONGEST = 32  # px, the longest period
_STRIPS = 16  # parts of the width
_CONTENT = 2.0  # steps, RMS around a sample: where there is more, the picture is not calm ...
_MEDIANS = 2.0  # ... or, where half of the plate has more, above twice the median
_ROWS_ALONE = 0.7  # of a line's strength: where columns have more, it is no matter of rows
_HARMONIC = 0.1  # of the strongest line's strength: where another has less, it tells nothing of the period
_CELL = 9  # px, of which that is taken; no period that a network has
_STANDS_OUT = 4.0  # times the strongest of the frequencies beside a line in the spectrum
# bins: the line itself, and what is outside of a Hann window's main lobe
_ASIDE = (0, -7, -6, -5, -4, -3, 3, 4, 5, 6, 7)
_LOBE = 2.0  # bins, half of it
_ENOUGH = 0.1  # share of a strip's samples that are calm
_SHOWN = 90  # px


class _Strips(NamedTuple):
    """What is calm in each row of each strip: sums and numbers of samples, (H, strips), and a strip's width."""

    sums: Reals
    counts: Reals
    width: int


def scanlines(plate_cv: Floats, unit: str = "LSB") -> Finding:
    """Look for rows that repeat every 2 to 32 pixels.

    The mean of 33 rows is taken off, and where an RMS of more than two steps is left, the picture is left out.
    Each of 16 strips of the width gives a spectrum down its rows, under a Hann window; the median of the strips
    keeps what all have with one phase, and loses window blinds that cover a part of the width. A line of a whole
    period must be 4 times as strong as anything beside it in the spectrum, and be there in both halves of what is
    calm. What repeats from column to column as well is left to the checkerboards.

    Clean plates stay below 0.02 steps.

    Args:
        plate_cv: float32 (H, W, C), in steps.
        unit: what a step is called.

    Returns:
        The strength is the RMS of the pattern of rows in steps, of the channel that has most: 0.1 where every other
        row is 0.1 above the mean, and the others 0.1 below.
    """
    name = "scan lines"
    if is_small(plate_cv):
        return cannot_tell(name, unit, plate_cv, LIMIT, "the plate is too small")
    found = [_rows(plate_cv[..., channel]) for channel in range(plate_cv.shape[2])]
    if not any(found):
        return cannot_tell(name, unit, plate_cv, LIMIT, "too little of the plate is calm")
    strength, period, where = max((each for each in found if each), key=itemgetter(0))
    verdict: Verdict = "present" if strength >= LIMIT else "absent"
    return Finding(name, strength, unit, where, verdict, LIMIT, f"period {period} rows" if period else "")


def _rows(plane_cv: Floats) -> tuple[float, int, Region] | None:
    """Return the RMS of what repeats from row to row, its period or 0, and where it is clearest."""
    strips = _calm_strips(plane_cv)
    if strips is None:
        return None
    spectrum = np.abs(_common(_amplitudes(strips, _ASIDE)))
    lines, beside = spectrum[0], spectrum[1:].max(0)
    stands_out = (lines > _STANDS_OUT * beside) & _throughout(strips, lines)
    chosen, period = _harmonics(np.where(stands_out, lines, 0), len(strips.sums))
    power = lines[chosen] ** 2
    columns = _calm_strips(plane_cv.T) if chosen else None
    if columns is not None:
        power *= np.abs(_common(_amplitudes(columns, (0,)))[0, chosen]) < _ROWS_ALONE * lines[chosen]
    doubled = np.where(_frequencies()[chosen] < 0.5, 2, 1)  # the wave at -f is the same one
    return root(float((power * doubled).sum())), period, _clearest(strips, chosen)


def _throughout(strips: _Strips, lines: Reals) -> npt.NDArray[np.bool_]:
    """Tell of each line whether both halves of what is calm have it, with one phase; content is in one place."""
    below = strips.counts.sum(1).cumsum()
    is_upper = (below < below[-1] / 2)[:, None]
    upper, lower = (
        _common(_amplitudes(_Strips(strips.sums * half, strips.counts * half, strips.width), (0,)))[0]
        for half in (is_upper, ~is_upper)
    )
    return (upper * lower.conj()).real > (lines / 2) ** 2


def _calm_strips(plane_cv: Floats) -> _Strips | None:
    """Sum what is calm; None where too little is in most strips."""
    rest = plane_cv - box_mean(plane_cv, _LONGEST // 2, axis=0)
    rows, columns = (side // _CELL for side in plane_cv.shape)
    cells = rest[: rows * _CELL, : columns * _CELL].reshape(rows, _CELL, columns, _CELL)
    # A sample's own value must not decide on it, or what is added to it would hardly show in the mean.
    size = np.sqrt(np.square(cells).mean((1, 3)))
    calm = size < max(_CONTENT, _MEDIANS * float(np.median(size)))
    width = columns // _STRIPS  # cells
    shape = (rows * _CELL, _STRIPS, width)
    sums = (cells.sum(3) * calm[:, None])[..., : _STRIPS * width].reshape(shape).sum(2)
    counts = calm[:, : _STRIPS * width].reshape(rows, _STRIPS, width).sum(2, dtype=np.float32)
    counts = counts.repeat(_CELL, axis=0) * _CELL
    width *= _CELL
    used = counts.mean(0) >= _ENOUGH * width
    return _Strips(sums[:, used], counts[:, used], width) if used.sum() > _STRIPS // 2 else None


def _common(amplitudes: Spectrum) -> Spectrum:
    """Return the complex amplitude that strips have in common, from (..., strips)."""
    return np.median(amplitudes.real, axis=-1) + 1j * np.median(amplitudes.imag, axis=-1)


def _amplitudes(strips: _Strips, aside: tuple[int, ...]) -> Spectrum:
    """Return every strip's amplitude, as if its rows were all there: (aside, F, strips).

    At each of the frequencies of whole periods, moved by so many bins of the plate's height.
    """
    height = len(strips.sums)
    window = np.hanning(height + 2)[1:-1, None].astype(np.float32)
    moves = np.exp(-2j * np.pi * np.outer(np.arange(height), aside) / height).astype(np.complex64)
    data = (window * strips.sums)[:, None] * moves[:, :, None]
    spectrum = np.tensordot(_waves(height), data, 1).swapaxes(0, 1)
    return spectrum / np.maximum((window * strips.counts).sum(0), 1e-6)


@functools.cache
def _fractions() -> list[tuple[int, int]]:
    """Return the frequencies of whole periods and their harmonics as fractions in lowest terms, up to 1/2."""
    found = {
        (above // np.gcd(above, below), below // np.gcd(above, below))
        for below in range(2, _LONGEST + 1)
        for above in range(1, below // 2 + 1)
    }
    return sorted((int(above), int(below)) for above, below in found)


def _frequencies() -> Reals:
    """Return the same in cycles a row, (F,)."""
    return np.array([above / below for above, below in _fractions()])


@functools.lru_cache(maxsize=2)
def _waves(height: int) -> Spectrum:
    """Return the conjugate wave of each of them, (F, height)."""
    return np.exp(-2j * np.pi * np.outer(_frequencies(), np.arange(height))).astype(np.complex64)


def _harmonics(strengths: Reals, height: int) -> tuple[list[int], int]:
    """Return the lines that are harmonics of one period, the strongest first, and the period; 0 for none."""
    fractions = _fractions()
    chosen: list[int] = []
    period = 1
    for index in np.argsort(-strengths):
        above, below = fractions[index]
        if strengths[index] <= _HARMONIC * strengths.max() or lcm(period, below) > _LONGEST:
            continue
        taken = (fractions[other] for other in chosen)
        if all(abs(above / below - a / b) * height > _LOBE for a, b in taken):
            chosen.append(int(index))
            period = lcm(period, below)
    return chosen, period if chosen else 0


def _clearest(strips: _Strips, chosen: list[int]) -> Region:
    """Return the calmest rows of the strip that has most of some frequencies, or that is calmest."""
    height = len(strips.sums)
    strength = np.abs(_amplitudes(strips, (0,))[0, chosen]).sum(0) if chosen else strips.counts.sum(0)
    strip = int(np.argmax(strength))
    shown = min(_SHOWN, height)
    sums = np.concatenate([[0], strips.counts[:, strip].cumsum()])
    top = int(np.argmax(sums[shown:] - sums[:-shown]))
    return Region(strip * strips.width, top, strips.width, shown)
