"""What a file holds, judged by the values that occur in it and not only by what its header says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitexpand import frames, provenance, sequence
from bitexpand.bit_depth import Depth, Integers, Layout, float_depth, integer_depth, narrowed, stretch_of
from bitexpand.code_values import MAX_BITS, peak
from bitexpand.errors import BitexpandError, MissingInputError, PlateError
from bitexpand.plate import check_plate

_BAND_ROWS = 256  # bincount widens to int64: a band at a time keeps an 8K frame's temporaries small
_BEHIND_A_CURVE = 256  # so few float values in a whole picture were 8-bit codes before some curve
_SAMPLES = {"uint8": "8-bit integer", "uint16": "16-bit integer", "half": "half", "float": "32-bit float"}
_EXIF_SPACES = {1: "sRGB", 2: "Adobe RGB", 65535: "uncalibrated"}
_NO_TRANSFER = ("Undefined", "User defined", "Printing density", "Unspecified video")


@dataclass(frozen=True)
class Channel:
    """The values of one channel.

    Attributes:
        name: as in the file.
        code_bits: integers are told as code values of so many bits; None for float.
        distinct: how many different finite values occur.
        min, max: smallest and largest finite value, None where there is none.
        at_zero_share: share of the samples that are 0.
        at_max_share: share that is the largest code value, or for float the largest value that occurs.
        unused_between: code values between min and max that do not occur; None for float.
        unused_share: their share of all from min to max.
        stretch: by how much the levels were stretched, where the unused values form a regular comb.
        negative, nan, inf: numbers of samples.
    """

    name: str
    code_bits: int | None
    distinct: int
    min: float | None
    max: float | None
    at_zero_share: float
    at_max_share: float
    unused_between: int | None = None
    unused_share: float | None = None
    stretch: float | None = None
    negative: int = 0
    nan: int = 0
    inf: int = 0


@dataclass(frozen=True)
class Inspection:
    """What was found in one file; the fields are the keys of ``--json``.

    Attributes:
        path, format, sample_type: the file, and OpenImageIO's names of its format and its container type.
        data_window, display_window: x, y, width and height in pixels.
        header_bits: bits a sample as the header states them.
        true_bits: bits that the values of the colour channels need, None where that cannot be told.
        layout: how they lie in the file, None where all of the header's bits are used.
        channels: in file order.
        alpha: "associated" or "straight", as the format says; None without.
        color_tags: what the file itself says of its colour, never what OpenImageIO assumes of an untagged one.
        timecode, frames_per_second, pixel_aspect: None where the file does not say.
        bitexpand: what bitexpand wrote of the file's making; empty for files of others.
        verdict: expandable, expandable_with_bits, expanded, low_bit_float, nothing_to_expand, not_a_plate or
            too_few_values.
        option_bits: what ``read_plate`` takes as ``--bits``, where the header states more.
        advice: the verdict in words.
    """

    path: str
    format: str
    sample_type: str
    data_window: frames.Window
    display_window: frames.Window
    header_bits: int
    true_bits: int | None
    layout: Layout | None
    channels: tuple[Channel, ...]
    alpha: str | None
    color_tags: dict[str, object]
    timecode: str | None
    frames_per_second: float | None
    pixel_aspect: float | None
    bitexpand: dict[str, object]
    verdict: str
    option_bits: int | None
    advice: str


def inspect_all(paths: Iterable[str]) -> Iterator[tuple[str, Inspection | BitexpandError]]:
    """Inspect files and sequences in order; an error stands where something is missing or unreadable."""
    for path in paths:
        try:
            found = sequence.find_frames(path, None, "skip")
        except BitexpandError as error:
            yield path, error
            continue
        for frame in found.present:
            try:
                yield str(frame.path), inspect_file(frame.path)
            except BitexpandError as error:
                yield str(frame.path), error
        if found.missing:
            missing = sequence.format_frames(found.missing)
            yield path, MissingInputError(f"{path}: missing frames {missing}")


def inspect_file(path: Path) -> Inspection:
    """Inspect one file.

    Raises:
        MissingInputError: there is no such file.
        PlateError: it cannot be read.
    """
    frame = frames.read_frame(path)
    info = frame.info
    is_integer = frame.pixels.dtype in (np.uint8, np.uint16)
    depth, option, channels = _integers(frame) if is_integer else _floats(frame)
    made = _provenance(info)
    verdict, advice = _verdict(info, depth, option, channels, made)
    return Inspection(
        path=str(path),
        format=info.format,
        sample_type=info.container,
        data_window=info.data,
        display_window=info.display,
        header_bits=info.bits if is_integer else 8 * frame.pixels.itemsize,
        true_bits=depth.bits,
        layout=depth.layout,
        channels=channels,
        alpha=None if "A" not in info.channels else "associated" if info.associated_alpha else "straight",
        color_tags=_color_tags(info),
        timecode=_timecode(info),
        frames_per_second=_frame_rate(info),
        pixel_aspect=info.attribute("PixelAspectRatio"),
        bitexpand=made,
        verdict=verdict,
        option_bits=option,
        advice=advice,
    )


def describe(result: Inspection) -> str:
    """Return an inspection as aligned lines for a person."""
    aspect, rate = result.pixel_aspect, result.frames_per_second
    made = (f"{name} {value}" for name, value in result.bitexpand.items() if len(str(value)) < 64)
    rows = {
        "format": f"{result.format}, {_SAMPLES.get(result.sample_type, result.sample_type)} samples",
        "size": _size(result.data_window, result.display_window),
        "bit depth": _depth_text(result),
        "alpha": _alpha_text(result),
        "color tags": ", ".join(f"{tag} {value}" for tag, value in result.color_tags.items()) or "none",
        "timecode": result.timecode,
        "frame rate": f"{rate:.6g} fps" if rate else None,
        "pixel aspect": f"{aspect:.6g}" if aspect not in (None, 1) else None,
        "bitexpand": ", ".join(made),
    }
    lines = [result.path, *(f"  {name:<13} {text}" for name, text in rows.items() if text)]
    return "\n".join([*lines, *_table(result.channels), *_remarks(result.channels), f"  => {result.advice}"])


def _integers(frame: frames.Frame) -> tuple[Depth, int | None, tuple[Channel, ...]]:
    """Return the bit depth, what to pass as ``--bits`` where the header states more, and the channels."""
    stated, container_bits = frame.info.bits, 8 * frame.pixels.itemsize
    histograms = {name: _histogram(frame.pixels[..., i]) for i, name in enumerate(frame.info.channels)}
    of_color = [h for name, h in histograms.items() if name != "A"] or list(histograms.values())
    values = np.flatnonzero(np.sum(of_color, axis=0))
    depth = integer_depth(*narrowed(values, container_bits, [stated]))
    option = depth.bits if depth.can_tell else 8
    # What is advised must be what read_plate can do: it goes from container to bits in one step.
    is_readable = option and option < stated and narrowed(values, container_bits, [option])[1] == option
    channels = []
    for name, histogram in histograms.items():
        depths = [stated, depth.bits] if depth.bits and name != "A" else [stated]
        codes, bits = narrowed(np.flatnonzero(histogram), container_bits, depths)
        counts = np.bincount(codes, histogram[histogram > 0], minlength=1 << bits).astype(np.int64)
        channels.append(_integer_channel(name, bits, counts))
    return depth, option if is_readable else None, tuple(channels)


def _integer_channel(name: str, bits: int, counts: npt.NDArray[np.int64]) -> Channel:
    used, total = np.flatnonzero(counts), int(counts.sum())
    reach = int(used[-1] - used[0]) + 1
    return Channel(
        name,
        bits,
        distinct=len(used),
        min=int(used[0]),
        max=int(used[-1]),
        at_zero_share=int(counts[0]) / total,
        at_max_share=int(counts[-1]) / total,
        unused_between=reach - len(used),
        unused_share=1 - len(used) / reach,
        stretch=stretch_of(counts),
    )


def _floats(frame: frames.Frame) -> tuple[Depth, None, tuple[Channel, ...]]:
    channels: list[Channel] = []
    values = [np.zeros(0, np.float32)]
    for i, name in enumerate(frame.info.channels):
        distinct = _distinct(frame.pixels[..., i])
        channels.append(_float_channel(name, frame.pixels[..., i], distinct))
        if name != "A":
            # One value more than the finest grid has rules out a grid as well as millions would.
            inner = distinct[(distinct > 0) & (distinct < 1)][: peak(MAX_BITS) + 1]
            values += [distinct[:1], inner, distinct[-1:]]
    return float_depth(np.unique(np.concatenate(values))), None, tuple(channels)


def _float_channel(name: str, samples: frames.Pixels, distinct: npt.NDArray[Any]) -> Channel:
    lowest, highest = (distinct[0], distinct[-1]) if len(distinct) else (None, None)
    return Channel(
        name,
        None,
        distinct=len(distinct),
        min=None if lowest is None else float(lowest),
        max=None if highest is None else float(highest),
        at_zero_share=np.count_nonzero(samples == 0) / samples.size,
        at_max_share=np.count_nonzero(samples == highest) / samples.size,
        negative=np.count_nonzero(samples < 0),
        nan=np.count_nonzero(np.isnan(samples)),
        inf=np.count_nonzero(np.isinf(samples)),
    )


def _histogram(samples: frames.Pixels) -> npt.NDArray[np.int64]:
    """Count the bit patterns of (H, W) samples of 8 or 16 bits."""
    patterns: Integers = samples.view(f"u{samples.itemsize}")
    counts = np.zeros(1 << 8 * samples.itemsize, np.int64)
    for start in range(0, len(patterns), _BAND_ROWS):
        counts += np.bincount(patterns[start : start + _BAND_ROWS].ravel(), minlength=len(counts))
    return counts


def _distinct(samples: frames.Pixels) -> npt.NDArray[Any]:
    """Return the different finite values of (H, W) samples, ascending."""
    if samples.dtype == np.float16:  # far quicker than sorting every sample
        samples = np.flatnonzero(_histogram(samples)).astype(np.uint16).view(np.float16)
    return np.unique(samples[np.isfinite(samples)])


def _verdict(
    info: frames.FrameInfo,
    depth: Depth,
    option: int | None,
    channels: Sequence[Channel],
    made: dict[str, object],
) -> tuple[str, str]:
    """Return the kind of verdict, and the advice in words."""
    if made:
        source = f" from {made['source']}" if "source" in made else ""
        return "expanded", f"expanded by bitexpand {made['version']}{source}"
    if info.container not in ("uint8", "uint16"):
        return _float_verdict(info, depth, channels)
    if info.bits > MAX_BITS and not depth.can_tell:
        hint = f"; if the source had {option} bits, pass --bits {option}" if option else ""
        return "too_few_values", f"too few distinct values to tell the bit depth{hint}"
    bits = option or info.bits
    if bits > MAX_BITS:
        return "nothing_to_expand", f"already more than {MAX_BITS} bits: nothing to expand"
    try:
        check_plate(info, option)
    except PlateError as error:
        return "not_a_plate", str(error).removeprefix(f"{info.path}: ")
    if option:
        return "expandable_with_bits", f"{info.bits}-bit file with {bits}-bit data: pass --bits {bits}"
    return "expandable", f"{bits}-bit plate: bitexpand can expand it"


def _float_verdict(info: frames.FrameInfo, depth: Depth, channels: Sequence[Channel]) -> tuple[str, str]:
    if not depth.can_tell:
        return "too_few_values", "too few distinct values to tell the bit depth"
    if depth.bits:
        what = f"{depth.bits}-bit data in a {info.container} file"
        return "low_bit_float", f"{what}: save it as {depth.bits}-bit integers, and bitexpand can expand it"
    most, pixels = max(channel.distinct for channel in channels), info.data.width * info.data.height
    if most <= _BEHIND_A_CURVE and pixels >= 16 * most:
        what = f"only {most} different values in a channel, as 8-bit data have behind a curve"
        return "low_bit_float", f"{what}: expand its 8-bit source"
    return "nothing_to_expand", f"no sign of data of {MAX_BITS} bits or fewer: nothing to expand"


def _color_tags(info: frames.FrameInfo) -> dict[str, object]:
    # oiio:ColorSpace is left out: OpenImageIO derives it from these tags, and makes it up where there are none.
    found = {
        "colorInteropID": info.attribute("colorInteropID"),
        "chromaticities": _rounded(info.attribute("chromaticities")),
        "ICC": info.attribute("ICCProfile:profile_description")
        or ("unnamed profile" if info.icc_profile() else None),
        "CICP": _rounded(info.attribute("CICP")),
        "PNG": "sRGB chunk" if info.format == "png" and _has_srgb_chunk(info.path) else None,
        "gamma": info.attribute("oiio:Gamma"),
        "Exif": _EXIF_SPACES.get(info.attribute("Exif:ColorSpace")),
        "DPX": info.attribute("dpx:Transfer"),
    }
    return {tag: value for tag, value in found.items() if value is not None and value not in _NO_TRANSFER}
