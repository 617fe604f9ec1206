"""Checkerboards: patterns that repeat every 2 or 4 pixels, as networks that enlarge their features leave them.

A transposed convolution covers some pixels more often than others, and a pixel shuffle fills neighbouring pixels
from different channels; either way what was learned unevenly repeats with the factor of the enlargement (Odena,
Dumoulin & Olah 2016, "Deconvolution and Checkerboard Artifacts").
"""

from __future__ import annotations

import functools
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from bitexpand.artefacts.finding import STRONGEST, Finding, Region, Verdict, cannot_tell, is_small, root
from bitexpand.code_values import Floats

PERIODS = (2, 4)
LIMIT = 0.03  # steps
_BLOCK = 32  # px, a multiple of the periods: a pattern locked to the pixel grid has one phase in all blocks
_ASIDE = 2  # bins: the nearest where a Hann window keeps nothing of a pattern that repeats exactly
_AGREEING, _SOME_AGREEING = 0.8, 0.65  # shares of the calm pairs of blocks; chance has 0.5 ...
_CHANCE = 1.5  # ... and with n pairs strays from it by 1.5 / sqrt(n) once in a thousand plates
_ENOUGH = 10  # calm pairs


def checkerboard(plate_cv: Floats, unit: str = "LSB", *, period: int = 2) -> Finding:
    """Look for what repeats every ``period`` pixels, from column to column and not only from row to row.

    The spectrum of every 32x32 block is taken under a Hann window, and at the frequencies of the period each block
    is multiplied by the conjugate of its neighbour's. What is locked to the pixel grid has the same phase in both
    and adds up; grain and texture have any phase and cancel, even those of a fence of nearly the same period. The
    median over the calmer half of the pairs is the pattern's mean square, of the channel that has most.

    Clean plates, with grain and without, stay below 0.02 steps, and below 65 % of pairs that agree.

    Args:
        plate_cv: float32 (H, W, C), in steps.
        unit: what a step is called.
        period: 2 or 4 pixels.

    Returns:
        The strength is the RMS of the pattern in steps: 0.1 for a checkerboard of plus and minus 0.1.
    """
    name = f"checkerboard, period {period}"
    if is_small(plate_cv):
        return cannot_tell(name, unit, plate_cv, LIMIT, "the plate is too small")
    found = [_locked(plate_cv[..., channel], period) for channel in range(plate_cv.shape[2])]
    if not any(found):
        return cannot_tell(name, unit, plate_cv, LIMIT, "too few blocks that are not flat")
    strength, agreeing, pairs, where = max((each for each in found if each), key=itemgetter(0))
    verdict: Verdict = "absent"
    chance = 0.5 + _CHANCE / np.sqrt(pairs)
    if strength >= LIMIT and agreeing >= max(_SOME_AGREEING, chance):
        verdict = "present" if agreeing >= _AGREEING and strength <= STRONGEST else "possible"
    return Finding(name, strength, unit, where, verdict, LIMIT, f"in {agreeing:.0%} of the calm blocks")


def _locked(plane_cv: Floats, period: int) -> tuple[float, float, int, Region] | None:
    """Return the RMS of the pattern, the share of the calm pairs that agree on it, their number, and the best."""
    spectra, flat = _spectra(plane_cv)
    lattice, beside = _bins(period)
    pattern = spectra[..., lattice[0], lattice[1]]
    noise = (np.abs(spectra[..., beside[0], beside[1]]) ** 2).mean(-1)
    shared, noises, corners = [], [], []
    for axis in (0, 1):
        one, other = (slice(None, -1), slice(1, None))
        first, second = (one, other) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        used = ~(flat[first] | flat[second])
        shared.append((pattern[first] * pattern[second].conj()).real.sum(-1)[used])
        noises.append((noise[first] + noise[second])[used])
        corners.append(np.argwhere(used))
    powers, floors = np.concatenate(shared), np.concatenate(noises)
    calm = floors <= np.median(floors) if len(floors) else np.zeros(0, bool)
    if calm.sum() < _ENOUGH:
        return None
    clearest = np.argmax(np.where(calm, powers, -np.inf))
    row, column = np.concatenate(corners)[clearest]
    where = Region(int(column) * _BLOCK, int(row) * _BLOCK, _BLOCK, _BLOCK)
    agreeing = float((powers[calm] > 0).mean())
    return root(float(np.median(powers[calm]))), agreeing, int(calm.sum()), where


def _spectra(plane_cv: Floats) -> tuple[npt.NDArray[np.complexfloating], npt.NDArray[np.bool_]]:
    """Return the spectrum of every block, (rows, columns, 32, 32), scaled so that a wave's bin holds its amplitude.

    And which blocks have one value only, as clipped ones do.
    """
    rows, columns = (side // _BLOCK for side in plane_cv.shape)
    blocks = (
        plane_cv[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2)
    )
    flat = blocks.max((2, 3)) == blocks.min((2, 3))
    window = np.hanning(_BLOCK + 1)[:-1].astype(np.float32)
    window /= window.sum()
    centred = blocks - blocks.mean((2, 3), keepdims=True)
    return np.fft.fft2(centred * np.outer(window, window)), flat


@functools.cache
def _bins(period: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the bins of a period that are not of half of it, and those beside them, (2, N) rows and columns.

    Rows alone are left out: scan lines are another detector's. Beside a bin on an axis are bins of that axis, where
    the walls and horizons of a picture have their energy as well.
    """
    step = _BLOCK // period
    lattice = [
        (row, column)
        for row in range(0, _BLOCK, step)
        for column in range(step, _BLOCK, step)
        if row % (2 * step) or column % (2 * step)
    ]
    aside = (-_ASIDE, 0, _ASIDE)
    beside = [
        ((row + down) % _BLOCK, (column + right) % _BLOCK)
        for row, column in lattice
        for down in (aside if row else (0,))
        for right in aside
        if down or right
    ]
    return np.array(lattice).T, np.array(beside).T
