"""What samples show of themselves: true bit depth, stretched levels, clipping, NaN. Pure numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import MAX_BITS, MIN_BITS, codes_in_container, peak
from bitexpand.errors import PlateError

Integers: TypeAlias = npt.NDArray[np.integer[Any]]
Floating: TypeAlias = npt.NDArray[np.floating[Any]]
Layout: TypeAlias = Literal["scaled", "zero-padded"]

_MIN_DISTINCT = 8  # fewer values than this, the ends of the range left aside, tell nothing
_MIN_EVIDENCE = 32.0  # bits: a bit depth is claimed where chance would produce it once in 2**32
_COMB_EVIDENCE = 16.0  # the same of stretched levels
_COMB_SHARE = 0.98  # of the distances in a comb; what scarce tails and valleys add is no part of it
_ON_GRID = 1.0  # container steps, below which ``codes_in_container`` takes values as scaled
_MIN_PADDED = 8  # nobody pads fewer bits than these with zeros: there the levels were stretched
_CURVED = 0.2  # share of the mean distance by which the two halves of a comb may differ
_FLOAT_STEP = 2.0**-22  # 255 times 1/255 in float32 may miss 1 by less
_BAND_ROWS = 256  # bincount widens to int64: a band at a time keeps an 8K frame's temporaries small


@dataclass(frozen=True)
class Depth:
    """How many bits the values of the colour channels need.

    Attributes:
        bits: true bit depth; None where too few values occur to tell, or where float values are on no grid.
        can_tell: False where too few distinct values occur.
        layout: how fewer bits lie in more; None where they do not, or where both would look the same.
        option: a bit depth below the header's that ``read_plate`` takes; where nothing can be told, maybe 8.
    """

    bits: int | None
    can_tell: bool = True
    layout: Layout | None = None
    option: int | None = None


@dataclass(frozen=True)
class Channel:
    """The values of one channel.

    Attributes:
        name: as in the file.
        code_bits: integers are told as code values of so many bits; None for float.
        distinct_count: how many different finite values occur.
        min, max: smallest and largest finite value, None where there is none.
        at_zero_share: share of the samples that are 0.
        at_max_share: share that is the largest code value, or for float the largest value that occurs.
        unused_count: code values between min and max that do not occur; None for float.
        unused_share: their share of all from min to max.
        stretch_factor: by how much the levels were stretched, where the unused values form a regular comb.
        negative_count, nan_count, inf_count: samples.
    """

    name: str
    code_bits: int | None
    distinct_count: int
    min: float | None
    max: float | None
    at_zero_share: float
    at_max_share: float
    unused_count: int | None = None
    unused_share: float | None = None
    stretch_factor: float | None = None
    negative_count: int = 0
    nan_count: int = 0
    inf_count: int = 0


def integer_samples(
    pixels: npt.NDArray[Any], names: Sequence[str], header_bits: int
) -> tuple[Depth, tuple[Channel, ...]]:
    """Return the bit depth of the colour channels, and what each channel holds.

    Args:
        pixels: uint8 or uint16 (H, W, C), as stored.
        names: the C channels; "A" is alpha and does not count for the bit depth.
        header_bits: bits a sample as the header states them.
    """
    container_bits = 8 * pixels.itemsize
    histograms = [_histogram(pixels[..., i]) for i in range(len(names))]
    of_color = [h for h, name in zip(histograms, names, strict=True) if name != "A"]
    values = np.flatnonzero(np.sum(of_color or histograms, axis=0))
    depth = integer_depth(*_narrowed(values, container_bits, [header_bits]))
    option = depth.bits if depth.can_tell else 8
    # What is advised must be what read_plate can do: from the container to the header's bits, then to fewer.
    if (
        option
        and option < header_bits
        and _narrowed(values, container_bits, [header_bits, option])[1] == option
    ):
        depth = replace(depth, option=option)
    channels: list[Channel] = []
    for name, histogram in zip(names, histograms, strict=True):
        depths = [header_bits, depth.bits] if depth.bits and name != "A" else [header_bits]
        codes, bits = _narrowed(np.flatnonzero(histogram), container_bits, depths)
        counts = np.bincount(codes, histogram[histogram > 0], minlength=1 << bits).astype(np.int64)
        channels.append(_integer_channel(name, bits, counts))
    return depth, tuple(channels)


def float_samples(pixels: npt.NDArray[Any], names: Sequence[str]) -> tuple[Depth, tuple[Channel, ...]]:
    """Return the bit depth of the colour channels, and what each channel holds.

    Args:
        pixels: (H, W, C) of any type, as stored.
        names: the C channels; "A" is alpha and does not count for the bit depth.
    """
    channels: list[Channel] = []
    values = [np.zeros(0, np.float32)]
    for i, name in enumerate(names):
        distinct = _distinct(pixels[..., i])
        channels.append(_float_channel(name, pixels[..., i], distinct))
        if name != "A":
            # One value more than the finest grid has rules out a grid as well as millions would.
            inner = distinct[(distinct > 0) & (distinct < 1)][: peak(MAX_BITS) + 1]
            values += [distinct[:_MIN_DISTINCT], inner, distinct[-_MIN_DISTINCT:]]
    return float_depth(np.unique(np.concatenate(values))), tuple(channels)


def integer_depth(codes: Integers, width: int) -> Depth:
    """Return the bit depth of integer data.

    Args:
        codes: the distinct values of all colour channels, (N,), 0 .. ``peak(width)``.
        width: bits a sample as the header states them.
    """
    inner = codes[(codes > 0) & (codes < peak(width))]  # the ends of the range are on every grid
    if len(inner) < _MIN_DISTINCT:
        return Depth(None, can_tell=False)
    can_tell = True
    # 7 bits in 8 are not looked for: every 8-bit value is within a rounding of them, as with 15 in 16.
    for bits in range(MIN_BITS, width - 1):
        layout, evidence = _layout(codes, width, bits)
        if len(inner) * evidence >= _MIN_EVIDENCE:
            return Depth(bits, layout=layout)
        can_tell &= evidence == 0
    return Depth(width if can_tell else None, can_tell)


def float_depth(values: Floating) -> Depth:
    """Return the bit depth n of float data that are ``k / (2**n - 1)``, rounded to half or to float32.

    Args:
        values: the distinct finite values of all colour channels, (N,), ascending.
    """
    inner = values[(values > 0) & (values < 1)].astype(np.float64)
    on_no_grid = Depth(None, can_tell=len(values) >= _MIN_DISTINCT)
    is_beyond = len(values) and (values[0] < 0 or values[-1] > 1 + _FLOAT_STEP)
    if is_beyond or not _MIN_DISTINCT <= len(inner) <= peak(MAX_BITS):
        return on_no_grid
    reach = _rounding(inner)
    for bits in range(MIN_BITS, MAX_BITS + 1):
        off = np.abs(np.rint(inner * peak(bits)) / peak(bits) - inner)
        # Near white a 12-bit grid is finer than half itself: there every value is on it and proves nothing.
        chance = np.minimum(2 * reach * peak(bits), 1)
        if (off <= reach).all() and -np.log2(chance).sum() >= _MIN_EVIDENCE:
            return Depth(bits)
    return on_no_grid


def stretch_of(counts: Integers) -> float | None:
    """Return the factor by which levels were stretched, or None where the unused values form no comb.

    Args:
        counts: how often each code value occurs, (2**bits,).
    """
    inner = counts[1:-1]  # clipping piles up at the ends
    below = np.cumsum(inner)
    first, last = np.searchsorted(below, below[-1] * np.array([0.01, 0.99]))  # gaps in the tails are chance
    is_used = inner[first : last + 1] > 0
    steps = np.diff(np.flatnonzero(is_used))
    if steps.max(initial=1) == 1:
        return None
    if factor := _comb_period(steps, 1.0):
        return factor
    lone = np.flatnonzero(~is_used[1:-1] & is_used[:-2] & is_used[2:])
    period = _comb_period(np.diff(lone), 1.2)  # who rounds halves to even moves a gap by one
    return period and period / (period - 1)


def _narrowed(values: Integers, width: int, depths: Iterable[int]) -> tuple[Integers, int]:
    """Return values of ``width`` bits as code values of the last of ``depths`` up to which all fit, and it."""
    for bits in depths:
        try:
            values, width = codes_in_container(values, width, bits), bits
        except PlateError:
            break
    return values, width


def _layout(codes: Integers, width: int, bits: int) -> tuple[Layout | None, float]:
    """Return how ``bits`` lie in ``width``, and the evidence in bits that each value is; 0 where they do not."""
    narrow, found = _narrowed(codes, width, [bits])
    off = np.abs(narrow * (peak(width) / peak(bits)) - codes).max()
    is_scaled, is_padded = off < _ON_GRID, not (codes & peak(width - bits)).any()
    if found != bits or not (is_scaled or bits >= _MIN_PADDED):
        return None, 0.0
    layout = None if is_scaled and is_padded else "scaled" if is_scaled else "zero-padded"
    near = 2 if is_scaled and off > 0.5 else 1  # replicated bits can lie on either side of the exact value
    return layout, max(width - bits - float(np.log2(near)), 0.0)


def _rounding(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far rounding may have moved each value: in half where all of them are half, else in float32."""
    as_half = values.astype(np.float16)
    if np.array_equal(as_half, values):
        return np.spacing(as_half).astype(np.float64) * 0.51
    # A product with 1/255 in float32 misses the quotient by up to 1.3 ulp.
    return np.spacing(values.astype(np.float32)).astype(np.float64) * 1.5


def _comb_period(distances: Integers, slack: float) -> float | None:
    """Return the mean distance where nearly all lie within ``slack`` of it, more than chance would have it.

    A curve stretches one end of the range more than the other, and has no such factor.
    """
    if len(distances) < 2:
        return None
    middle = np.sort(distances)[len(distances) // 2]
    typical = distances[np.abs(distances - middle) <= np.ceil(slack)]
    period = float(typical.mean())
    near = np.abs(distances - period) < slack
    # Where each value were used or not by chance, distances would follow a geometric distribution.
    possible = np.arange(1, int(period) + 3)
    by_chance = (1 - 1 / period) ** (possible - 1) / period
    share = float(by_chance[np.abs(possible - period) < slack].sum())
    ends = [part.mean() for part in np.array_split(typical, 2) if len(part)]
    if share >= _COMB_SHARE or np.ptp(ends) > _CURVED * period:
        return None
    evidence = near.sum() * np.log2(_COMB_SHARE / share)
    evidence += (~near).sum() * np.log2((1 - _COMB_SHARE) / (1 - share))
    return period if evidence >= _COMB_EVIDENCE else None


def _histogram(samples: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Count the bit patterns of (H, W) samples of 8 or 16 bits."""
    patterns = samples.view(f"u{samples.itemsize}")
    counts = np.zeros(1 << 8 * samples.itemsize, np.int64)
    for start in range(0, len(patterns), _BAND_ROWS):
        counts += np.bincount(patterns[start : start + _BAND_ROWS].ravel(), minlength=len(counts))
    return counts


def _distinct(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the different finite values of (H, W) samples, ascending."""
    if samples.dtype == np.float16:  # far quicker than sorting every sample
        samples = np.flatnonzero(_histogram(samples)).astype(np.uint16).view(np.float16)
    return np.unique(samples[np.isfinite(samples)])


def _integer_channel(name: str, bits: int, counts: npt.NDArray[np.int64]) -> Channel:
    used, total = np.flatnonzero(counts), int(counts.sum())
    reach = int(used[-1] - used[0]) + 1
    return Channel(
        name,
        bits,
        distinct_count=len(used),
        min=int(used[0]),
        max=int(used[-1]),
        at_zero_share=int(counts[0]) / total,
        at_max_share=int(counts[-1]) / total,
        unused_count=reach - len(used),
        unused_share=1 - len(used) / reach,
        stretch_factor=stretch_of(counts),
    )


def _float_channel(name: str, samples: npt.NDArray[Any], distinct: npt.NDArray[Any]) -> Channel:
    ends = (distinct[0].item(), distinct[-1].item()) if len(distinct) else (None, None)
    return Channel(
        name,
        None,
        len(distinct),
        *ends,
        at_zero_share=float(np.mean(samples == 0)),
        at_max_share=float(np.mean(samples == distinct[-1])) if len(distinct) else 0.0,
        negative_count=int(np.count_nonzero(samples < 0)),
        nan_count=int(np.count_nonzero(np.isnan(samples))),
        inf_count=int(np.count_nonzero(np.isinf(samples))),
    )
