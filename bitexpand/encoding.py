"""From expanded code values to the samples of the file, and back: where the promise is kept and checked.

Going there: signal, colour conversion where one is asked for, rounding to the file's sample type. Each band of
rows is taken back at once; what would not return to its code value is moved towards it until it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import (
    HALF_BIN,
    ROUNDED,
    STORAGE_DTYPE,
    Bins,
    Codes,
    Floats,
    SourceKind,
    Storage,
    bins,
    from_signal,
    middles,
    peak,
    requantise,
    to_signal,
)
from bitexpand.errors import GuardError
from bitexpand.frames import Pixels
from bitexpand.halves import from_half, to_half

if TYPE_CHECKING:
    from bitexpand.color import Conversion

_BAND_ROWS = 128  # keeps the temporaries of an 8K frame small, and in the cache
_ADVICE: dict[Storage, str] = {
    "half": "use --depth float",
    "float": "this conversion clips or folds colours: choose another --out-space",
    "uint16": "integers hold 0 to 1 only: write .exr",
}
_RETREAT = (0.75, 0.5, 0.25, 0.0)  # shares of the move that a sample falls back to, in turn
_BOUND_TOLERANCE = 1e-2  # LSB: what colour conversions there and back may add to a bound that is not the bin
_READER_SLACK = np.float32(1e-3)  # share of a move: what the arithmetic of other readers may add to it
_CLEAR = 2e-3  # LSB inside of a bin's end, where no rounding of float32 can tell otherwise
_OPEN_BIN = 1.0  # LSB: how far they may carry black and white, whose bins are open, out of the range


@dataclass(frozen=True)
class Faults:
    """How a file's samples compare with the source.

    Attributes:
        samples: colour samples compared.
        mismatched: samples that do not quantise to the source's code value (bound 0.5 and below), or lie beyond the
            bound.
        not_finite: samples that are NaN or Inf.
        largest_move: largest distance from the bin's middle, the code value of a rounded source, in LSB, of the
            finite samples.
    """

    samples: int
    mismatched: int
    not_finite: int
    largest_move: float


@dataclass(frozen=True)
class Encoding:
    """How expanded code values become file samples.

    Attributes:
        bits: bits of the source.
        storage: sample type of the file.
        bound: largest move in LSB from the bin's middle that is allowed.
        conversion: from the plate's space to the file's; None where they are the same.
        kind: what made the source.
    """

    bits: int
    storage: Storage
    bound: float = HALF_BIN
    conversion: Conversion | None = None
    kind: SourceKind = ROUNDED

    def limits(self) -> Bins:
        """Return the bins for the engine, tightened to the file's sample type where nothing lies between."""
        return bins(self.bits, self.bound, "float" if self.conversion else self.storage, self.kind)

    def encode(self, expanded_cv: Floats, codes: Codes) -> Pixels:
        """Return the colour samples of the file.

        Args:
            expanded_cv: float32 (H, W, C), in LSB, C 1 or 3.
            codes: uint16 (H, W, C), the source.

        Returns:
            (H, W, C) in the storage's dtype; C becomes 3 where a grey plate meets a conversion that mixes
            channels.

        Raises:
            GuardError: samples that the storage cannot hold within their bound.
        """
        height, width, channels = codes.shape
        pixels = np.empty((height, width, self.channels(channels)), STORAGE_DTYPE[self.storage])
        lost = 0
        for rows in _bands(height):
            pixels[rows], still_bad = self._encode_band(expanded_cv[rows], codes[rows])
            lost += still_bad
        if lost:
            raise GuardError(
                f"{lost} pixels do not come back to within {self.bound} LSB of the source from {self.storage}"
                f" samples; {_ADVICE[self.storage]}, or allow a wider --bound"
            )
        return pixels

    def decode(self, pixels: Pixels) -> Floats:
        """Return file samples, (H, W, 1 or 3), as float32 code values in LSB, same shape, not rounded."""
        signal = self._as_float(pixels)
        if self.conversion:
            signal = self.conversion.invert(np.ascontiguousarray(_as_rgb(signal)))
        with np.errstate(over="ignore"):  # a damaged file may hold anything
            return from_signal(signal[..., : pixels.shape[2]], self.bits)

    def compare(self, pixels: Pixels, codes: Codes) -> Faults:
        """Compare the colour samples of a file, (H, W, 1 or 3), with the source's (H, W, C) code values.

        Where a grey source became three channels, each of them is compared.
        """
        mismatched, not_finite, largest = 0, 0, 0.0
        for rows in _bands(codes.shape[0]):
            decoded_cv = self.decode(pixels[rows])
            moved = self._moved(decoded_cv, codes[rows])
            mismatched += int(self._broken(decoded_cv, codes[rows], moved).sum())
            most = float(moved.max(initial=0))
            if self.conversion or not np.isfinite(most):  # it can hide what is not finite
                not_finite += int((~np.isfinite(pixels[rows])).sum())
                most = float(moved[np.isfinite(moved)].max(initial=0))
            largest = max(largest, most)
        return Faults(pixels.size, mismatched, not_finite, largest)

    def channels(self, channels: int) -> int:
        """Return how many colour channels the file has for a source of ``channels``."""
        return 3 if self.conversion and self.conversion.mixes_channels else channels

    def _encode_band(self, band_cv: Floats, codes: Codes) -> tuple[Pixels, int]:
        pixels = self._store(band_cv)
        broken = self._broken_pixels(pixels, codes)
        for share in _RETREAT:
            if not broken.any():
                break
            # With channels mixed, one sample out of its bin can be another's doing: the whole pixel moves.
            source_cv = self._middles(codes[broken][None])
            retreated = self._store(source_cv + np.float32(share) * (band_cv[broken][None] - source_cv))
            pixels[broken] = retreated[0]
            broken[broken] = self._broken_pixels(retreated, codes[broken][None])[0]
        return pixels, int(broken.sum())

    def _store(self, band_cv: Floats) -> Pixels:
        """Convert float32 (h, w, C) code values in LSB and round them to the file's sample type."""
        signal = to_signal(band_cv, self.bits)
        if self.conversion:
            signal = self.conversion.apply(np.ascontiguousarray(_as_rgb(signal)))
            signal = signal[..., : self.channels(band_cv.shape[2])]
        if self.storage == "uint16":
            return np.rint(np.clip(signal, 0, 1) * np.float32(65535)).astype(np.uint16)
        # beyond half becomes Inf, which is not in any bin
        return to_half(signal) if self.storage == "half" else signal.astype(STORAGE_DTYPE[self.storage])

    def _as_float(self, pixels: Pixels) -> Floats:
        if pixels.dtype == np.uint16:
            return np.divide(pixels, np.float32(65535), dtype=np.float32)
        return from_half(pixels.view(np.float16)) if pixels.dtype == np.float16 else pixels.astype(np.float32)

    def _broken_pixels(self, pixels: Pixels, codes: Codes) -> npt.NDArray[np.bool_]:
        decoded_cv = self.decode(pixels)
        decoded_cv += _READER_SLACK * (decoded_cv - self._middles(codes))
        broken = self._broken(decoded_cv, codes, self._moved(decoded_cv, codes))
        if (
            self.conversion
        ):  # Inf, from an overflow of half, can decode to a value that clips into the top bin
            broken |= ~np.isfinite(pixels)
        # by pixel only where there are any, as that takes a third of all the time here
        if not broken.any():
            return np.zeros(broken.shape[:2], np.bool_)
        return np.any(broken, axis=2)

    def _moved(self, decoded_cv: Floats, codes: Codes) -> Floats:
        moved = decoded_cv - self._middles(codes)
        return np.abs(moved, out=moved)

    def _broken(self, decoded_cv: Floats, codes: Codes, moved: Floats) -> npt.NDArray[np.bool_]:
        """Tell which samples break the promise; ``moved`` is how far each is from its bin's middle, in LSB."""
        broken = np.logical_not(moved < min(self.bound, HALF_BIN) - _CLEAR)  # NaN may be
        doubtful = np.flatnonzero(broken)  # only these are worth a closer look
        if doubtful.size:
            codes = np.broadcast_to(codes, broken.shape)  # a grey source may have become three channels
            broken.reshape(-1)[doubtful] = self._breaks(
                decoded_cv.reshape(-1)[doubtful], codes.reshape(-1)[doubtful], moved.reshape(-1)[doubtful]
            )
        return broken

    def _breaks(self, decoded_cv: Floats, codes: Codes, moved: Floats) -> npt.NDArray[np.bool_]:
        reach = _OPEN_BIN if self.bound == HALF_BIN else self.bound + _BOUND_TOLERANCE
        within = np.less_equal(moved, reach)  # NaN is not within anything
        if self.bound <= HALF_BIN:
            clipped_cv = np.clip(decoded_cv, 0, peak(self.bits))
            if self.kind.middle:  # rounding down is rounding half a step further down
                np.subtract(clipped_cv, self._middles(codes) - codes, out=clipped_cv)
            within &= np.equal(requantise(clipped_cv), codes)
        return np.logical_not(within)

    def _middles(self, codes: Codes) -> Floats:
        return middles(codes, self.bits, self.kind)


def encode_alpha(alpha: Codes, bits: int, storage: Storage) -> Pixels:
    """Return alpha samples for the file: the same share of full, (H, W, 1), nothing multiplied.

    Raises:
        GuardError: the storage would not give the source's alpha back.
    """
    signal = alpha / float(peak(bits))
    stored = np.rint(signal * 65535) if storage == "uint16" else signal
    pixels = stored.astype(STORAGE_DTYPE[storage])
    if not np.array_equal(decode_alpha(pixels, bits), alpha):
        raise GuardError(f"{storage} samples are too coarse for a {bits}-bit alpha; use --depth float")
    return pixels


def decode_alpha(pixels: Pixels, bits: int) -> npt.NDArray[np.float32]:
    """Return alpha samples of a file as the source's rounded code values, float32 (H, W, 1)."""
    scale = peak(bits) / (65535 if pixels.dtype == np.uint16 else 1)
    with np.errstate(over="ignore"):  # a damaged file may hold anything
        return requantise((pixels.astype(np.float64) * scale).astype(np.float32))


def _bands(height: int) -> Iterator[slice]:
    for start in range(0, height, _BAND_ROWS):
        yield slice(start, start + _BAND_ROWS)


def _as_rgb(signal: Floats) -> Floats:
    return np.repeat(signal, 3, axis=2) if signal.shape[2] == 1 else signal
