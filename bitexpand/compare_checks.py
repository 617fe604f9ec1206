"""Whether pictures can be held against each other, judged by their samples."""

from __future__ import annotations

from math import gcd
from typing import NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import HALF_BIN, Floats, peak
from bitexpand.errors import PlateError
from bitexpand.header import Pixels
from bitexpand.samples import float_samples, integer_samples

_MIN_DISTINCT = 8  # values; fewer tell nothing of a bit depth
_RANGES = 16  # of values, darkest to brightest, that two pictures are compared in
_FAR = 3 / 255  # of full scale: mean over the ranges of their median moves above which encodings differ
_ALIKE = 0.8  # rank correlation above which they show the same
_PROBES = 1 << 16  # pixels that are enough to judge a frame by
_FEW = 1e-3  # share of samples that may be off a grid by chance
_OFF_GRID = 0.1  # LSB; half rounds by up to 0.06, and a fifth of true fractions lies nearer to a whole LSB

_Sample = TypeVar("_Sample", bound=np.generic)


def check_pair(name: str, one_cv: Floats, other_name: str, other_cv: Floats, bits: int) -> None:
    """Refuse what cannot be two versions of one plate in one encoding, whatever their files say.

    Expanding moves code values by an LSB or so, lossy sources by a few, and grain in either direction. What moves
    whole ranges of values by more is another encoding where one picture gets brighter where the other does, and
    another picture where it does not.

    Args:
        name, other_name: what to call them in the message.
        one_cv, other_cv: float32 (H, W, 1 or 3), code values in LSB.
        bits: of a code value.

    Raises:
        PlateError: sizes or encodings differ.
    """
    sizes = [f"{plate_cv.shape[1]}x{plate_cv.shape[0]}" for plate_cv in (one_cv, other_cv)]
    if sizes[0] != sizes[1]:
        raise PlateError(f"{name} is {sizes[0]} and {other_name} is {sizes[1]}; give frames of one size")
    channels = max(one_cv.shape[2], other_cv.shape[2])
    one_cv, other_cv = (wide(_probe(plate_cv), channels).ravel() for plate_cv in (one_cv, other_cv))
    ranges = np.array_split(np.argsort(one_cv + other_cv), _RANGES)
    move = float(np.mean([abs(np.median((one_cv - other_cv)[among])) for among in ranges if len(among)]))
    if move <= _FAR * peak(bits):
        return
    difference = f"{name} and {other_name} differ by about {move:.3g} LSB"
    if _rank_correlation(one_cv, other_cv) < _ALIKE:
        raise PlateError(f"{difference}: not the same picture; check the patterns and the frame numbers")
    refuse_encoding(f"{difference}, yet show the same picture: they are in different encodings")


def refuse_encoding(what: str) -> NoReturn:
    """Refuse files for what is said of their encodings, and say how to name these.

    Raises:
        PlateError: always.
    """
    raise PlateError(
        f"{what}; name the spaces: --in-space of the plate, --out-space of the result, --truth-space of the truth"
    )


def _rank_correlation(one: Floats, other: Floats) -> float:
    """Return the correlation of the ranks of (N,) samples, -1 to 1, which no curve changes; 0 of a constant."""
    one_rank, other_rank = (np.unique(values, return_inverse=True)[1] for values in (one, other))
    if not (one_rank.any() and other_rank.any()):
        return 0.0
    return float(np.asarray(np.corrcoef(one_rank, other_rank))[0, 1])


def check_precision(name: str, truth: Pixels, truth_cv: Floats, bits: int) -> list[str]:
    """Refuse a truth that is no finer than the source: every number would say how well rounding was imitated.

    It is none where its samples lie on the grid of integers of so few bits, in its own encoding or in the plate's.
    Where it holds no more than about one value for each code value, as 8-bit data behind a curve do and a test
    chart may, a remark says so.

    Args:
        name: what to call it in the message.
        truth: (H, W, 1 or 3), its samples as stored.
        truth_cv: the same as float32 code values of the plate, in LSB.
        bits: of the source.

    Returns:
        Remarks, at most one.

    Raises:
        PlateError: it is no finer.
    """
    depth, distinct = _depth(_probe(truth))
    probes_cv = _probe(truth_cv)
    # black and white are on every grid
    inner_cv = probes_cv[(probes_cv > HALF_BIN) & (probes_cv < peak(bits) - HALF_BIN)]
    off_grid = np.abs(inner_cv - np.rint(inner_cv)) > _OFF_GRID
    if truth.dtype == np.uint8:
        why = "an 8-bit file"
    elif depth is not None and depth <= bits:
        why = f"only {depth}-bit data"
    elif len(np.unique(np.rint(inner_cv))) >= _MIN_DISTINCT and off_grid.mean() < _FEW:
        why = f"only code values of {bits} bits"
    else:
        used = max(len(np.unique(np.rint(probes_cv[..., i]))) for i in range(probes_cv.shape[2]))
        if distinct > 2 * used or probes_cv.shape[1] < 16 * distinct:
            return []
        return [f"{name} holds only {distinct} different values: is it really finer than the source?"]
    raise PlateError(
        f"{name}: is itself no finer than the source ({why}), so the numbers would mean nothing;"
        " give the original, of 16 bits or float, that the source was rounded from"
    )


def _depth(samples: Pixels) -> tuple[int | None, int]:
    """Return the true bit depth of (1, N, C) samples, None where none shows, and how many values a channel has."""
    names = ("Y",) if samples.shape[2] == 1 else ("R", "G", "B")
    if np.issubdtype(samples.dtype, np.integer):
        depth, channels = integer_samples(samples, names, 8 * samples.itemsize)
    else:
        depth, channels = float_samples(samples, names)
    return depth.bits, max(channel.distinct_count for channel in channels)


def _probe(plate: npt.NDArray[_Sample]) -> npt.NDArray[_Sample]:
    """Return (1, N, C) pixels from all over an (H, W, C) plate, enough to judge it by."""
    step = max(1, plate.shape[0] * plate.shape[1] // _PROBES)
    while gcd(step, plate.shape[1]) > 1:  # else they would stand in a few columns
        step += 1
    return plate.reshape(1, -1, plate.shape[2])[:, ::step]


def wide(plate_cv: Floats, channels: int) -> Floats:
    """Make a grey picture RGB beside RGB: a conversion that mixes channels makes a grey plate RGB."""
    return plate_cv if plate_cv.shape[2] == channels else plate_cv.repeat(channels, axis=2)
