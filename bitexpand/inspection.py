"""What a file holds, judged by the values that occur in it and not only by what its header says."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bitexpand import frames, provenance, sequence
from bitexpand.code_values import MAX_BITS, MIN_BITS, codes_in_container, peak
from bitexpand.errors import BitexpandError, MissingInputError, PlateError
from bitexpand.plate import check_plate

Integers: TypeAlias = npt.NDArray[np.integer]
Layout: TypeAlias = Literal["scaled", "zero-padded"]

_BAND_ROWS = 256  # bincount widens to int64: a band at a time keeps an 8K frame's temporaries small
_MIN_DISTINCT = 8  # fewer values than this, the ends of the range left aside, tell nothing of a bit depth
_MIN_EVIDENCE = 32.0  # a bit depth is claimed where chance would produce it once in 2**32
_REGULAR = 0.9  # share of equal distances that makes gaps a comb
_BEHIND_A_CURVE = 256  # so few float values in a large channel were 8-bit codes, whatever curve they went through
_SAMPLES = {"uint8": "8-bit integer", "uint16": "16-bit integer", "half": "half float", "float": "32-bit float"}
_EXIF_SPACES = {1: "sRGB", 2: "Adobe RGB", 65535: "uncalibrated"}


@dataclass(frozen=True)
class Depth:
    """How many bits the values of the colour channels need.

    Attributes:
        bits: true bit depth; None where too few values occur to tell, or where float values are on no grid.
        can_tell: False where too few distinct values occur.
        layout: how fewer bits lie in more; None where they do not, or where both would look the same.
        option: a bit depth below the header's at which ``read_plate`` takes the values.
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
        distinct: how many different finite values occur.
        min, max: smallest and largest finite value, None where there is none.
        at_zero_share: share of the samples that are 0.
        at_max_share: share that is the largest code value, or for float the largest value that occurs.
        unused_between: code values between min and max that do not occur; None for float.
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
    stretch: float | None = None
    negative: int = 0
    nan: int = 0
    inf: int = 0


@dataclass(frozen=True)
class Inspection:
    """What was found in one file.

    Attributes:
        info: the file's header.
        depth: bits a sample as the values show them.
        channels: in file order.
        tags: what the file itself says of its colour.
        made: what bitexpand wrote about its making; empty for files of others.
        verdict: expandable, expandable_with_bits, expanded, low_bit_float, nothing_to_expand, not_a_plate or
            too_few_values.
        advice: the verdict in words.
    """

    info: frames.FrameInfo
    depth: Depth
    channels: tuple[Channel, ...]
    tags: dict[str, object]
    made: dict[str, object]
    verdict: str
    advice: str


def inspect_all(paths: Iterable[str]) -> Iterator[tuple[str, Inspection | BitexpandError]]:
    """Inspect files and sequences in order; an error takes the place of what is missing or unreadable."""
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
            yield path, MissingInputError(f"{path}: frames {missing} are missing")


def inspect_file(path: Path) -> Inspection:
    """Inspect one file.

    Raises:
        MissingInputError: there is no such file.
        PlateError: it cannot be read.
    """
    frame = frames.read_frame(path)
    depth, channels = (_integers if frame.pixels.dtype in (np.uint8, np.uint16) else _floats)(frame)
    made = _provenance(frame.info)
    verdict, advice = _verdict(frame.info, depth, channels, made)
    return Inspection(frame.info, depth, channels, _color_tags(frame.info), made, verdict, advice)


def facts(path: str, result: Inspection | BitexpandError) -> dict[str, object]:
    """Return one file's inspection, or its error, as JSON's kinds."""
    if isinstance(result, BitexpandError):
        return {"path": path, "error": str(result)}
    info, depth = result.info, result.depth
    alpha = any(channel.name == "A" for channel in result.channels)
    return {
        "path": path,
        "format": info.format,
        "sample_type": info.container,
        "data_window_pixels": asdict(info.data),
        "display_window_pixels": asdict(info.display),
        "header_bits": info.bits,
        "true_bits": depth.bits,
        "true_bits_layout": depth.layout,
        "channels": [asdict(channel) for channel in result.channels],
        "alpha": ("associated" if info.associated_alpha else "straight") if alpha else None,
        "color_tags": result.tags,
        "timecode": _timecode(info),
        "frames_per_second": _frame_rate(info),
        "pixel_aspect": info.attribute("PixelAspectRatio", 1.0),
        "bitexpand": result.made or None,
        "verdict": result.verdict,
        "advice": result.advice,
        "option_bits": depth.option,
    }


def describe(path: str, result: Inspection) -> str:
    """Return an inspection as lines for a person."""
    info = result.info
    rate, aspect = _frame_rate(info), info.attribute("PixelAspectRatio", 1.0)
    rows = {
        "format": f"{info.format}, {_SAMPLES.get(info.container, info.container)} samples",
        "size": _size(info),
        "bit depth": _depth_text(result),
        "alpha": _alpha_text(result),
        "color tags": ", ".join(f"{k} {v}" for k, v in result.tags.items()) or "none",
        "timecode": _timecode(info),
        "frame rate": rate and f"{rate:.6g} fps",
        "pixel aspect": aspect != 1 and f"{aspect:.6g}",
        "made by": result.made and ", ".join(f"{k} {v}" for k, v in result.made.items() if len(str(v)) < 64),
    }
    lines = [path, *(f"  {name:<14}{text}" for name, text in rows.items() if text)]
    return "\n".join([*lines, *_table(result.channels), *_remarks(result.channels), f"  => {result.advice}"])


def integer_depth(codes: Integers, width: int) -> Depth:
    """Return the bit depth of integer data.

    Args:
        codes: the distinct values of all colour channels, (N,), 0 .. ``peak(width)``.
        width: bits that the header states.
    """
    inner = codes[(codes > 0) & (codes < peak(width))]  # the ends of the range are on every grid
    can_tell = len(inner) >= _MIN_DISTINCT
    # 7 bits in 8 are left out: every 8-bit value is one rounding away from them, as it is from 15 in 16.
    for bits in range(MIN_BITS, width - 1):
        layout, evidence = _layout(codes, width, bits)
        if len(inner) >= _MIN_DISTINCT and len(inner) * evidence >= _MIN_EVIDENCE:
            return Depth(bits, layout=layout)
        can_tell &= not evidence
    return Depth(width if can_tell else None, can_tell)


def float_depth(values: npt.NDArray[np.floating]) -> Depth:
    """Return the bit depth n of float data that are ``k / (2**n - 1)``, rounded to half or float32.

    Args:
        values: the distinct finite values of all colour channels, (N,), ascending.
    """
    inner = values[(values > 0) & (values < 1)].astype(np.float64)
    nothing = Depth(None, can_tell=len(values) >= _MIN_DISTINCT)
    if len(inner) < _MIN_DISTINCT or len(inner) > peak(MAX_BITS) or values[0] < 0 or values[-1] > 1:
        return nothing
    as_half = inner.astype(np.float16)
    is_half = np.array_equal(as_half, inner)
    ulp = np.spacing(as_half if is_half else inner.astype(np.float32)).astype(np.float64)
    reach = ulp * (0.51 if is_half else 1.01)  # times 1/255 in float32 misses the quotient by one ulp
    for bits in range(MIN_BITS, MAX_BITS + 1):
        off = np.abs(np.rint(inner * peak(bits)) / peak(bits) - inner)
        # Near white a 12-bit grid is finer than half itself: there every value is on it and proves nothing.
        chance = np.minimum(2 * reach * peak(bits), 1)
        if (off <= reach).all() and -np.log2(chance).sum() >= _MIN_EVIDENCE:
            return Depth(bits)
    return nothing


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
    if len(steps) < _MIN_DISTINCT or steps.max() == 1:
        return None
    if steps.mean() >= 1.5:
        return _regular(steps)
    lone = np.flatnonzero(~is_used[1:-1] & is_used[:-2] & is_used[2:])
    period = _regular(np.diff(lone))
    return period and period / (period - 1)


def _integers(frame: frames.Frame) -> tuple[Depth, tuple[Channel, ...]]:
    info, container_bits = frame.info, 8 * frame.pixels.itemsize
    histograms = [_histogram(frame.pixels[..., i]) for i in range(len(info.channels))]
    used = [h for h, name in zip(histograms, info.channels, strict=True) if name != "A"] or histograms
    depth = integer_depth(*_narrow(np.flatnonzero(sum(used)), container_bits, [info.bits]))
    option = depth.bits if depth.can_tell else 8
    if option and option < info.bits and _narrow(np.flatnonzero(sum(used)), container_bits, [option])[1] == option:
        depth = replace(depth, option=option)
    channels = []
    for name, histogram in zip(info.channels, histograms, strict=True):
        chain = [info.bits] if name == "A" or not depth.bits else [info.bits, depth.bits]
        codes, width = _narrow(np.flatnonzero(histogram), container_bits, chain)
        counts = np.bincount(codes, histogram[histogram > 0], minlength=1 << width).astype(np.int64)
        used = np.flatnonzero(counts)
        unused = int(np.ptp(used)) + 1 - len(used)
        shares = [float(counts[end] / counts.sum()) for end in (0, -1)]
        channels.append(
            Channel(name, width, len(used), int(used[0]), int(used[-1]), *shares, unused, stretch_of(counts))
        )
    return depth, tuple(channels)


def _floats(frame: frames.Frame) -> tuple[Depth, tuple[Channel, ...]]:
    values, channels = [np.zeros(0, np.float32)], []
    for i, name in enumerate(frame.info.channels):
        samples = frame.pixels[..., i]
        distinct = _distinct(samples)
        ends = (float(distinct[0]), float(distinct[-1])) if len(distinct) else (None, None)
        shares = [np.count_nonzero(samples == value) / samples.size for value in (0, ends[1])]
        odd = [np.count_nonzero(test(samples)) for test in (lambda s: s < 0, np.isnan, np.isinf)]
        channels.append(Channel(name, None, len(distinct), *ends, *shares, None, None, *odd))
        if name != "A":
            # A few values more than the finest grid has rule it out as well as all would.
            values.append(distinct[: peak(MAX_BITS) + 4])
    return float_depth(np.unique(np.concatenate(values))), tuple(channels)


def _histogram(samples: frames.Pixels) -> npt.NDArray[np.int64]:
    """Count the bit patterns of (H, W) samples of 8 or 16 bits."""
    patterns, size = samples.view(f"u{samples.itemsize}"), 1 << 8 * samples.itemsize
    bands = (patterns[start : start + _BAND_ROWS] for start in range(0, len(patterns), _BAND_ROWS))
    return sum(np.bincount(band.ravel(), minlength=size) for band in bands)


def _distinct(samples: frames.Pixels) -> npt.NDArray[np.floating]:
    """Return the different finite values of (H, W) float samples, ascending."""
    if samples.dtype == np.float16:  # far quicker than sorting every sample
        samples = np.flatnonzero(_histogram(samples)).astype(np.uint16).view(np.float16)
    return np.unique(samples[np.isfinite(samples)])


def _narrow(values: Integers, width: int, chain: Sequence[int]) -> tuple[Integers, int]:
    """Return ``values`` of ``width`` bits as code values of the last bit depth of ``chain`` that holds them."""
    for bits in chain:
        try:
            values, width = codes_in_container(values, width, bits), bits
        except PlateError:
            break
    return values, width


def _layout(codes: Integers, width: int, bits: int) -> tuple[Layout | None, float]:
    """Return how ``bits`` lie in ``width``, and how many bits of evidence each value is; 0 where they do not."""
    narrow, found = _narrow(codes, width, [bits])
    off = np.abs(narrow * (peak(width) / peak(bits)) - codes).max(initial=0)
    is_padded = not (codes & peak(width - bits)).any()
    if found != bits or (off > 1.01 and bits < 8):
        return None, 0.0  # nobody pads below 8 bits: there the levels were stretched
    near = 3 if 0.5 < off <= 1.01 else 1  # values beside the grid count too, where bits are replicated
    layout = "scaled" if not is_padded else "zero-padded" if off > 1.01 else None
    return layout, max(width - bits - float(np.log2(near)), 0.0)


def _regular(distances: Integers) -> float | None:
    """Return the mean distance where nearly all are the whole numbers next to it, else None."""
    if len(distances) < 4:
        return None
    mean = distances[np.abs(distances - np.median(distances)) <= 1].mean()
    return float(mean) if (np.abs(distances - mean) < 1).mean() >= _REGULAR else None


def _verdict(
    info: frames.FrameInfo, depth: Depth, channels: Sequence[Channel], made: dict[str, object]
) -> tuple[str, str]:
    if made:
        source = f" from {made['source']}" if "source" in made else ""
        return "expanded", f"expanded by bitexpand {made['version']}{source}"
    if info.container not in ("uint8", "uint16"):
        return _float_verdict(info, depth, channels)
    if info.bits > MAX_BITS and not depth.can_tell:
        hint = f"; if the source had {depth.option} bits, pass --bits {depth.option}" if depth.option else ""
        return "too_few_values", f"too few distinct values to tell the bit depth{hint}"
    if (depth.option or info.bits) > MAX_BITS:
        return "nothing_to_expand", f"already more than {MAX_BITS} bits: nothing to expand"
    try:
        check_plate(info, depth.option)
    except PlateError as error:
        return "not_a_plate", str(error).removeprefix(f"{info.path}: ")
    if depth.option:
        return "expandable_with_bits", (
            f"{info.bits}-bit file with {depth.option}-bit data: pass --bits {depth.option}"
        )
    return "expandable", f"{info.bits}-bit plate: bitexpand can expand it"


def _float_verdict(
    info: frames.FrameInfo, depth: Depth, channels: Sequence[Channel]
) -> tuple[str, str]:
    if not depth.can_tell:
        return "too_few_values", "too few distinct values to tell the bit depth"
    if depth.bits:
        how = f"save it as {depth.bits}-bit integers and bitexpand can expand it"
        return "low_bit_float", f"{info.container} file with {depth.bits}-bit data: {how}"
    most, pixels = max(c.distinct for c in channels), info.data.width * info.data.height
    if most <= _BEHIND_A_CURVE and pixels >= 16 * most:
        return "low_bit_float", f"only {most} different values a channel, as of 8 bits: expand its 8-bit source"
    return "nothing_to_expand", f"no sign of {MAX_BITS} bits or fewer: nothing to expand"
