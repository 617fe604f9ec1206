"""Banding: CAMBI, and how long neighbouring samples stay equal once a picture is graded.

Neither knows what should be there: a blue sky has some of both. Hold them against the truth's, or the source's; a
result that is too smooth scores below its truth.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Floats, peak
from bitexpand.errors import PlateError, UsageError
from bitexpand.metrics.checks import (
    check_channels,
    check_finite,
    check_picture,
    check_shapes,
    check_signal,
    missing_package,
)

if TYPE_CHECKING:
    from bitexpand.color import Conversion

CAMBI_BITS = 10  # what CAMBI works in, whatever it is given
LEAST_SIDE = 216  # px, of CAMBI; it then asks for as much of one side only, but crashes on strips
LONGEST_SHAPE = 8  # how many times longer the long side may be
DISPLAY_BITS = 10  # a graded picture is looked at, and delivered, in so many bits
GAMMAS = (0.6, 1.6)
STOPS = 3
_WINDOW = 65  # px: CAMBI's, one degree at 3840x2160; it shrinks in proportion, and cannot grow
_WINDOW_SIDES = 3840 + 2160
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. ITU-R BT.709
_LINES = 256  # rows and columns that runs are measured along: 100 000 runs tell enough of the others


class Runs(NamedTuple):
    """Mean and 99th percentile of the lengths of runs of equal neighbours, in px."""

    mean: float
    percentile_99: float


class Grade(NamedTuple):
    """A grade that makes bands visible: its name, and the function from a signal to a signal, float32 (H, W, C)."""

    name: str
    apply: Callable[[Floats], Floats]


def cambi(signals: Sequence[Floats], bits: int) -> list[float]:
    """Return the CAMBI of each picture: 0 is no banding, from about 5 on it annoys, 24 is the most.

    Tandon et al. 2021 ("CAMBI: contrast-aware multiscale banding index"), by libvmaf in the ffmpeg that
    ``imageio-ffmpeg`` brings, with its defaults: steps of up to 4 in 10 bits, which is one of 8 bits; window of one
    degree; mean of the worst 60 % of the pixels; BT.1886. It sees luma only, read as on a display: give what an eye
    would see, such as sRGB or a log encoding, not scene-linear light.

    All go through in 10 bits, where an LSB of the source is a whole number of steps, or a fraction: 8-bit sources
    too, as libvmaf would else smooth these and not the results beside them.

    Args:
        signals: float32 (H, W, 3) or (H, W, 1), all of one size, black 0, white 1; what lies beyond is clipped.
        bits: bits of the source.

    Raises:
        PlateError: different sizes, NaN or Inf, or fewer than 216 px a side, or a strip.
        UsageError: code values instead of signals; the package is not installed; its ffmpeg lacks libvmaf.
    """
    for number, signal in enumerate(signals, 1):
        check_shapes(signal, signals[0], (f"picture {number}", "first"))
        check_finite(f"picture {number}", signal)
        check_signal(f"picture {number}", signal)
        check_channels(signal)
    if not signals:
        return []
    height, width, _ = signals[0].shape
    if min(height, width) < LEAST_SIDE or max(height, width) > LONGEST_SHAPE * min(height, width):
        raise PlateError(
            f"CAMBI needs pictures of at least {LEAST_SIDE}x{LEAST_SIDE} px, no side more than {LONGEST_SHAPE} "
            f"times the other, not {width}x{height}"
        )
    chroma = np.full(2 * ((height + 1) // 2) * ((width + 1) // 2), 1 << (CAMBI_BITS - 1), "<u2").tobytes()
    planes = b"".join(_luma_levels(signal, bits).tobytes() + chroma for signal in signals)
    return _libvmaf(planes, width, height, len(signals))


def zero_runs(plate: npt.NDArray[Any], bits: int = DISPLAY_BITS) -> Runs:
    """Return how long neighbours stay equal along rows and columns, at the bits of a display.

    Runs of black and of white are left out: they are clipped, not banded. Of large pictures evenly spaced rows and
    columns count, about 256 of each.

    Args:
        plate: float (H, W, C), a signal, usually graded, black 0, white 1.
        bits: of the display.

    Returns:
        Runs of 0 px where all is black or white.

    Raises:
        PlateError: NaN or Inf, or no picture.
    """
    return _run_statistics([_quantised(lines, bits) for lines in _lines(plate)], peak(bits))


def graded_runs(signal: Floats, among: Sequence[Grade], bits: int = DISPLAY_BITS) -> dict[str, Runs]:
    """Return ``zero_runs`` of a signal after each grade, by its name; only the lines that count are graded."""
    lines = _lines(signal)
    return {
        grade.name: _run_statistics([_quantised(grade.apply(part), bits) for part in lines], peak(bits))
        for grade in among
    }


def grades(to_linear: Conversion | None = None, to_display: Conversion | None = None) -> tuple[Grade, ...]:
    """Return the grades that a plate has to stand: gamma 0.6 and 1.6, the display, and 3 stops up on it.

    Gamma is as in every viewer, signal^(1/gamma).

    Args:
        to_linear: from the plate's encoding to scene-linear; None where the encoding is unknown, which leaves
            the two gammas.
        to_display: from there to the display's signal.
    """
    found = [
        Grade(f"gamma {gamma:g}", lambda signal, power=1 / gamma: _power(signal, power)) for gamma in GAMMAS
    ]
    if to_linear is not None and to_display is not None:
        found += [
            Grade("display", lambda signal: _viewed(signal, 1.0, to_linear, to_display)),
            Grade(f"+{STOPS} stops", lambda signal: _viewed(signal, 2.0**STOPS, to_linear, to_display)),
        ]
    return tuple(found)


def distinct_values(plate: npt.NDArray[Any]) -> tuple[int, ...]:
    """Return how many different values occur in each channel of (H, W, C), of any type.

    Raises:
        PlateError: NaN or Inf, or no picture.
    """
    check_picture("picture", plate)
    return tuple(_distinct(np.ascontiguousarray(plate[..., c]).reshape(-1)) for c in range(plate.shape[2]))


def _luma_levels(signal: Floats, bits: int) -> npt.NDArray[np.uint16]:
    """Return luma in CAMBI's levels, of which an LSB of the source is 2**(10 - bits)."""
    luma = signal[..., 0] if signal.shape[2] == 1 else signal @ _LUMA
    levels = luma * np.float32(peak(bits) * 2.0 ** (CAMBI_BITS - bits)) + np.float32(0.5)
    return np.clip(levels, 0, peak(CAMBI_BITS)).astype("<u2")


def _libvmaf(planes: bytes, width: int, height: int, count: int) -> list[float]:
    """Return the CAMBI of so many yuv420p10le pictures; grey formats would come out of ffmpeg's scaler altered."""
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise missing_package("CAMBI", "imageio-ffmpeg", error) from error
    window = min(_WINDOW, _WINDOW * _WINDOW_SIDES // (width + height))
    # CAMBI needs no reference, but the filter wants one; it would also run VMAF, unless its model is empty
    measure = f"split[a][b];[a][b]libvmaf=model=:feature=name=cambi\\\\:window_size={window}"
    log = "log_fmt=json:log_path=cambi.json"  # by the folder it runs in: the filter's own syntax forbids most paths
    source = [
        "-f",
        "rawvideo",
        "-pixel_format",
        "yuv420p10le",
        "-video_size",
        f"{width}x{height}",
        "-i",
        "pipe:0",
    ]
    command = [program, "-v", "error", *source, "-filter_complex", f"{measure}:{log}", "-f", "null", "-"]
    with tempfile.TemporaryDirectory(prefix="bitexpand-cambi-") as folder:
        done = subprocess.run(command, input=planes, capture_output=True, cwd=folder, check=False)
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode != 0:
            raise UsageError(_refusal(program, said))
        frames = json.loads(Path(folder, "cambi.json").read_text("utf-8"))["frames"]
    # the one metric of a frame, whose name tells the options that are not the default
    scores = [float(score) for frame in frames for score in frame["metrics"].values()]
    assert len(scores) == count, (len(scores), said)
    return scores


def _refusal(program: str, said: str) -> str:
    if "No such filter" in said:
        return (
            f"CAMBI needs an ffmpeg with libvmaf, which {program} lacks; point $IMAGEIO_FFMPEG_EXE at one that "
            "lists it in `ffmpeg -filters`"
        )
    return f"CAMBI: {program} failed ({' '.join(said.split())[:300]})"


def _lines(plate: npt.NDArray[Any]) -> list[Floats]:
    """Return evenly spaced rows, and columns laid down as rows: float32 (lines, length, C) each."""
    check_picture("picture", plate)
    height, width, _ = plate.shape
    rows, columns = plate[:: max(1, height // _LINES)], plate[:, :: max(1, width // _LINES)]
    return [np.ascontiguousarray(lines, np.float32) for lines in (rows, columns.transpose(1, 0, 2))]


def _quantised(lines: Floats, bits: int) -> npt.NDArray[np.uint16]:
    """Return a signal's lines as a display shows them, (lines * C, length)."""
    shown = np.clip(lines, 0, 1) * np.float32(peak(bits)) + np.float32(0.5)
    return np.ascontiguousarray(shown.astype(np.uint16).transpose(0, 2, 1)).reshape(-1, lines.shape[1])


def _run_statistics(parts: Sequence[npt.NDArray[np.uint16]], white: int) -> Runs:
    longest = max(lines.shape[1] for lines in parts)
    counts = sum((_run_lengths(lines, white, longest) for lines in parts), np.zeros(longest + 1, np.int64))
    total = int(counts.sum())
    if not total:
        return Runs(0.0, 0.0)
    mean = float(counts @ np.arange(longest + 1)) / total
    return Runs(mean, float(np.searchsorted(np.cumsum(counts), 0.99 * total)))


def _run_lengths(lines: npt.NDArray[np.uint16], white: int, longest: int) -> npt.NDArray[np.int64]:
    """Return how many runs of each length there are, 0 to ``longest``, in (lines, length) values."""
    starts = np.ones(lines.shape, bool)
    np.not_equal(lines[:, 1:], lines[:, :-1], out=starts[:, 1:])
    at = np.flatnonzero(starts)
    lengths, values = np.diff(at, append=lines.size), lines.reshape(-1)[at]
    return np.bincount(lengths[(values > 0) & (values < white)], minlength=longest + 1)


def _power(signal: Floats, power: float) -> Floats:
    return np.power(np.maximum(signal, 0), np.float32(power))


def _viewed(signal: Floats, exposure: float, to_linear: Conversion, to_display: Conversion) -> Floats:
    """Return a signal on the display, exposed up; a grey one comes back grey."""
    grey = signal.shape[2] == 1
    plate_linear = to_linear.apply(np.repeat(signal, 3, axis=2) if grey else signal)
    plate_linear *= np.float32(exposure)
    displayed = to_display.apply(plate_linear, plate_linear)
    return displayed[..., :1] if grey else displayed


def _distinct(values: npt.NDArray[Any]) -> int:
    if values.itemsize <= 2:
        values = values + values.dtype.type(0)  # -0 is 0
        return int(np.count_nonzero(np.bincount(values.view(f"u{values.itemsize}"))))
    ordered = np.sort(values)
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
