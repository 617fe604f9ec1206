"""Code values and their bins: the integers of a plate, the interval that each one stands for.

A source of ``bits`` bits holds code values (CV) 0 .. ``peak(bits)``. One step is one LSB, our unit of error.
The *bin* of code value ``c`` is every signal that rounds to ``c``: ``(c - 0.5, c + 0.5)`` in LSB.
A *signal* is the encoded picture as floating point, ``cv / peak``, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bitexpand.errors import PlateError, UnknownNameError, UsageError

Storage: TypeAlias = Literal["half", "float", "uint16"]
Codes: TypeAlias = npt.NDArray[np.uint16]
Floats: TypeAlias = npt.NDArray[np.float32]

MIN_BITS, MAX_BITS = 2, 12
HALF_BIN = 0.5  # LSB: the distance from a code value to the edge of its bin
EDGE_MARGIN = 1e-3  # LSB: keeps readers that round in float32 on the right side of the edge
STORAGE_DTYPE: dict[Storage, npt.DTypeLike] = {"half": np.float16, "float": np.float32, "uint16": np.uint16}
_CONTAINER_TOLERANCE = 1.0  # container steps: what bit replication, or a detour over 15 bits, may be off


def peak(bits: int) -> int:
    """Return the largest code value of ``bits`` bits."""
    return (1 << bits) - 1


def to_signal(plate_cv: npt.NDArray[np.generic], bits: int) -> Floats:
    """Return code values, float or integer of any shape, in LSB, as a float32 signal in [0, 1]."""
    return np.divide(plate_cv, np.float32(peak(bits)), dtype=np.float32)


def from_signal(signal: npt.NDArray[np.floating], bits: int) -> Floats:
    """Return a float signal as float32 code values in LSB, neither rounded nor clipped."""
    return np.multiply(signal, np.float32(peak(bits)), dtype=np.float32)


def requantise(plate_cv: Floats) -> npt.NDArray[np.float32]:
    """Round float code values in LSB to the nearest step, halves upwards; NaN and Inf stay what they are."""
    return np.floor(plate_cv + np.float32(HALF_BIN))


def codes_in_container(values: npt.NDArray[np.integer], container_bits: int, bits: int) -> Codes:
    """Return the code values that a wider integer file holds.

    Args:
        values: integers of any shape, 0 .. ``peak(container_bits)``, as stored in the file.
        container_bits: bits of the file's samples, 8 or 16.
        bits: bits of the data, at most ``container_bits``.

    Returns:
        uint16 of the same shape, 0 .. ``peak(bits)``. Both conventions in use are read: scaled (which bit
        replication equals within one container step) and zero-padded below.

    Raises:
        PlateError: the values need more than ``bits`` bits.
    """
    if bits == container_bits:
        return values.astype(np.uint16)
    stored = np.arange(peak(container_bits) + 1, dtype=np.float64)
    step = peak(container_bits) / peak(bits)  # container steps in one LSB
    codes = np.rint(stored / step)
    if (np.abs(codes * step - stored) <= _CONTAINER_TOLERANCE)[values].all():
        return codes.astype(np.uint16)[values]
    shift = container_bits - bits
    padded = values >> shift
    if np.array_equal(padded << shift, values):
        return padded.astype(np.uint16)
    raise PlateError(f"the values do not fit {bits} bits; leave --bits out or name the true bit depth")


@dataclass(frozen=True)
class SourceKind:
    """How a plate became code values, and so where the truth behind one may lie.

    Attributes:
        name: what it is called.
        below, above: how far in LSB the truth may lie under and over the code value.
    """

    name: str
    below: float
    above: float

    @property
    def half_width(self) -> float:
        """Half the width of the interval in LSB: how far a value may move from its middle."""
        return (self.below + self.above) / 2

    @property
    def middle(self) -> float:
        """Where the middle of the interval lies in LSB, from the code value."""
        return (self.above - self.below) / 2


SOURCE_KINDS: Mapping[str, SourceKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            SourceKind("rounded", HALF_BIN, HALF_BIN),
            SourceKind("truncated", 0.0, 1.0),
            SourceKind("dithered", HALF_BIN + 0.5, HALF_BIN + 0.5),
            SourceKind("triangular", HALF_BIN + 1.0, HALF_BIN + 1.0),
            SourceKind("lossy", 4.0, 4.0),
        )
    }
)
"""Where the truth may lie around code value ``c``, in LSB, by what made the plate.

- rounded: to the nearest step, so in the bin, ``c - 0.5 .. c + 0.5``.
- truncated: the fraction was cut off, so ``c .. c + 1``.
- dithered: noise of 1 LSB width was added before rounding (rectangular density), so ``c - 1 .. c + 1``.
- triangular: the sum of two such noises was, so ``c - 1.5 .. c + 1.5``.
- lossy: JPEG or video. Nothing bounds its error; 4 LSB hold nearly all of it on smooth parts and grain, where there
  is something to win, but not along sharp edges.

Dither as in Lipshitz, Wannamaker & Vanderkooy 1992 ("Quantization and dither: a theoretical survey").
"""


ROUNDED = SOURCE_KINDS["rounded"]


def source_kind(name: str) -> SourceKind:
    """Look up a source kind.

    Raises:
        UnknownNameError: there is none of that name; the message suggests close ones.
    """
    if name not in SOURCE_KINDS:
        raise UnknownNameError("source kind", name, SOURCE_KINDS)
    return SOURCE_KINDS[name]


def middles(codes: npt.NDArray[np.integer], bits: int, kind: SourceKind) -> Floats:
    """Return where the bins' middles lie: what is written of a plate that is left as it is.

    Args:
        codes: integers of any shape, 0 .. ``peak(bits)``.
        bits: bits of the source.
        kind: what made it. Truncated values move up by half a step, but for white, which stays white.

    Returns:
        float32, same shape, in LSB, at most ``peak(bits)``.
    """
    middles_cv = codes.astype(np.float32)
    if kind.middle:
        np.minimum(middles_cv + np.float32(kind.middle), peak(bits), out=middles_cv)
    return middles_cv


@dataclass(frozen=True)
class Bins:
    """The smallest and largest value that may be written for each code value.

    Attributes:
        lower, upper: float32 (2**bits,), in LSB, indexed by code value. Rounding anything between them to the
            storage type stays between them, so the file keeps the promise. They never leave [0, peak].
        bits: bits of the source.
        bound: largest move in LSB from the middle; 0.5 is the bin itself.
        kind: what made the source.
    """

    lower: Floats
    upper: Floats
    bits: int
    bound: float
    kind: SourceKind = ROUNDED


def bins(
    bits: int, bound: float | None = None, storage: Storage = "float", kind: SourceKind = ROUNDED
) -> Bins:
    """Return the limits of every bin, tightened to values that ``storage`` represents exactly.

    Args:
        bits: bits of the source, 2 to 12.
        bound: largest move in LSB from the middle, above 0; None is half the width of the source kind.
        storage: sample type of the file that will hold the signal.
        kind: what made the source.

    Raises:
        UsageError: a bad bound or bit depth, or a storage too coarse to hold a value in each bin.
    """
    if not MIN_BITS <= bits <= MAX_BITS:
        raise UsageError(f"{bits} bits a sample; sources of {MIN_BITS} to {MAX_BITS} bits can be expanded")
    bound = kind.half_width if bound is None else bound
    if not EDGE_MARGIN < bound <= peak(bits):
        raise UsageError(
            f"--bound {bound}: give a distance in LSB above {EDGE_MARGIN}; 0.5 is the bin itself"
        )
    middle = middles(np.arange(peak(bits) + 1), bits, kind).astype(np.float64)
    reach = bound - EDGE_MARGIN
    lower = np.maximum(middle - reach, 0) / peak(bits)
    upper = np.minimum(middle + reach, peak(bits)) / peak(bits)
    lower, upper = _inward(lower, storage, 1), _inward(upper, storage, -1)
    if (lower > upper).any():
        raise UsageError(f"{storage} samples are too coarse for {bits}-bit code values; use --depth float")
    scale = float(peak(bits))
    return Bins((lower * scale).astype(np.float32), (upper * scale).astype(np.float32), bits, bound, kind)


def _inward(limit: npt.NDArray[np.float64], storage: Storage, direction: int) -> npt.NDArray[np.float64]:
    """Move each limit to the nearest representable value that is not outside of it."""
    if storage == "uint16":
        steps = limit * 65535
        return (np.ceil(steps) if direction > 0 else np.floor(steps)) / 65535
    dtype = np.float16 if storage == "half" else np.float32
    rounded = limit.astype(dtype)
    outside = (rounded.astype(np.float64) - limit) * direction < 0
    rounded[outside] = np.nextafter(rounded[outside], dtype(2 * direction))
    return rounded.astype(np.float64)
