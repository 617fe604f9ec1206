"""What a file holds, judged by the values that occur in it and not only by what its header says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bitexpand import frames, provenance, sequence
from bitexpand.artefacts import Finding
from bitexpand.code_values import MAX_BITS, peak
from bitexpand.errors import BitexpandError, MissingInputError, PlateError
from bitexpand.examination import examine, findings_table
from bitexpand.header import FrameInfo, Window
from bitexpand.location import Location
from bitexpand.plate import check_plate
from bitexpand.samples import Channel, Depth, Layout, float_samples, integer_samples
from bitexpand.storage import header_fetched

_BEHIND_A_CURVE = 256  # so few float values in a whole picture were 8-bit codes before some curve
_SAMPLES = {"uint8": "8-bit integer", "uint16": "16-bit integer", "half": "half", "float": "32-bit float"}
_EXIF_SPACES = {1: "sRGB", 2: "Adobe RGB", 65535: "uncalibrated"}
_NO_TRANSFER = ("Undefined", "User defined")
_ODD = ("below 0", "NaN", "Inf")


@dataclass(frozen=True)
class Inspection:
    """What was found in one file; the fields are the keys of ``--json``.

    Attributes:
        path, format, sample_type: the file, and OpenImageIO's names of its format and its container type.
        data_window_pixels, display_window_pixels: x, y, width and height.
        header_bits: bits a sample as the header states them.
        true_bits: bits that the values of the colour channels need, None where that cannot be told.
        effective_bits: bits that would number the distinct values of the channel that has most.
        smallest_step: smallest difference of two values of the colour channels; None for integers.
        layout: how fewer true bits lie in the file, None where that cannot be told.
        channels: in file order.
        alpha: "associated" or "straight", as the format says; None without.
        alpha_outside_count: samples of alpha that are not 0 to 1; None without.
        artefacts: what the detectors of ``bitexpand.artefacts`` say of half, float and 16-bit files; else empty.
        color_tags: what the file itself says of its colour, never what OpenImageIO assumes of an untagged one.
        timecode, frames_per_second, pixel_aspect: None where the file does not say.
        bitexpand: what bitexpand wrote of the file's making; empty for files of others.
        verdict: expandable, expandable_with_bits, expanded, low_bit_source, nothing_to_expand, not_a_plate or
            too_few_values.
        option_bits: what ``read_plate`` takes as ``--bits``, where the header states more.
        advice: the verdict in words.
    """

    path: str
    format: str
    sample_type: str
    data_window_pixels: Window
    display_window_pixels: Window
    header_bits: int
    true_bits: int | None
    effective_bits: int
    smallest_step: float | None
    layout: Layout | None
    channels: tuple[Channel, ...]
    alpha: str | None
    alpha_outside_count: int | None
    artefacts: tuple[Finding, ...]
    color_tags: dict[str, object]
    timecode: str | None
    frames_per_second: float | None
    pixel_aspect: float | None
    bitexpand: dict[str, object]
    verdict: str
    option_bits: int | None
    advice: str


def inspect_all(
    paths: Iterable[str], *, artefacts: bool = True
) -> Iterator[tuple[str, Inspection | BitexpandError]]:
    """Inspect files and sequences in order; an error stands where something is missing or unreadable."""
    for path in paths:
        try:
            found = sequence.find_frames(path, None, "skip")
        except BitexpandError as error:
            yield path, error
            continue
        for frame in found.present:
            try:
                yield str(frame.path), inspect_file(frame.path, artefacts=artefacts)
            except BitexpandError as error:
                yield str(frame.path), error
        if found.missing:
            missing = sequence.format_frames(found.missing)
            yield path, MissingInputError(f"{path}: frames {missing} are missing")


def inspect_file(path: Location, *, artefacts: bool = True) -> Inspection:
    """Inspect one file; ``artefacts`` False does not look for these, which takes most of the time.

    Raises:
        MissingInputError: there is no such file.
        PlateError: it cannot be read.
    """
    frame = frames.read_frame(path)
    info, pixels = frame.info, frame.pixels
    is_integer = pixels.dtype in (np.uint8, np.uint16)
    header_bits = info.bits if is_integer else 8 * pixels.itemsize
    if is_integer:
        depth, channels = integer_samples(pixels, info.channels, header_bits)
    else:
        depth, channels = float_samples(pixels, info.channels)
    made = _provenance(info)
    examined = examine(frame, artefacts=artefacts)
    verdict, advice = _verdict(info, depth, channels, made)
    return Inspection(
        path=str(path),
        format=info.format,
        sample_type=info.container,
        data_window_pixels=info.data,
        display_window_pixels=info.display,
        header_bits=header_bits,
        true_bits=depth.bits,
        effective_bits=(max(max(c.distinct_count for c in channels), 1) - 1).bit_length(),
        smallest_step=examined.smallest_step,
        layout=depth.layout,
        channels=channels,
        alpha=None if "A" not in info.channels else "associated" if info.associated_alpha else "straight",
        alpha_outside_count=examined.alpha_outside_count,
        artefacts=examined.artefacts,
        color_tags=_color_tags(info),
        timecode=_timecode(info),
        frames_per_second=_frame_rate(info),
        pixel_aspect=info.pixel_aspect(),
        bitexpand=made,
        verdict=verdict,
        option_bits=depth.option,
        advice=advice,
    )


def facts(path: str, result: Inspection | BitexpandError) -> dict[str, object]:
    """Return an inspection, or the error in its place, as JSON's kinds."""
    return {"path": path, "error": str(result)} if isinstance(result, BitexpandError) else asdict(result)


def exit_code(results: Iterable[Inspection | BitexpandError]) -> int:
    """Return 0 where all could be read, the code that all errors share, or else 1."""
    codes = {result.exit_code for result in results if isinstance(result, BitexpandError)}
    return codes.pop() if len(codes) == 1 else min(len(codes), 1)


def describe(result: Inspection) -> str:
    """Return an inspection as aligned lines for a person."""
    aspect, rate = result.pixel_aspect, result.frames_per_second
    tags = (f"{tag} {value}" for tag, value in result.color_tags.items())
    made = (f"{name} {value}" for name, value in result.bitexpand.items() if len(str(value)) < 64)
    rows = {
        "format": f"{result.format}, {_SAMPLES.get(result.sample_type, result.sample_type)} samples",
        "size": _size(result.data_window_pixels, result.display_window_pixels),
        "bit depth": _depth_text(result),
        "faults": _fault_text(result),
        "alpha": _alpha_text(result),
        "color tags": ", ".join(tags) or "none",
        "timecode": result.timecode,
        "frame rate": f"{rate:.5g} fps" if rate else None,
        "pixel aspect": f"{aspect:.5g}" if aspect and aspect != 1 else None,
        "bitexpand": ", ".join(made),
    }
    lines = [result.path, *(f"  {name:<14}{text}" for name, text in rows.items() if text)]
    lines += [*_table(result.channels), *_remarks(result.channels), *findings_table(result.artefacts)]
    return "\n".join([*lines, f"  => {result.advice}"])


def _verdict(
    info: FrameInfo, depth: Depth, channels: Sequence[Channel], made: dict[str, object]
) -> tuple[str, str]:
    """Return the kind of verdict, and the advice in words."""
    option, most_bits = depth.option, depth.option or info.bits
    if made:
        source = f" from {made['source']}" if "source" in made else ""
        return "expanded", f"expanded by bitexpand {made['version']}{source}"
    if info.container not in ("uint8", "uint16"):
        return _float_verdict(info, depth, channels)
    if info.bits > MAX_BITS and not depth.can_tell:
        hint = f"; if the source had {option} bits, pass --bits {option}" if option else ""
        return "too_few_values", f"too few distinct values to tell the bit depth{hint}"
    if most_bits > MAX_BITS:
        return "nothing_to_expand", f"already more than {MAX_BITS} bits: nothing to expand"
    try:
        check_plate(info, option)
    except PlateError as error:
        return "not_a_plate", str(error).removeprefix(f"{info.path}: ")
    if option and depth.can_tell:
        return "expandable_with_bits", f"{info.bits}-bit file with {option}-bit data: pass --bits {option}"
    return "expandable", f"{info.bits}-bit plate: bitexpand can expand it"


def _float_verdict(info: FrameInfo, depth: Depth, channels: Sequence[Channel]) -> tuple[str, str]:
    if not depth.can_tell:
        return "too_few_values", "too few distinct values to tell the bit depth"
    if depth.bits:
        what = f"{info.container} file with {depth.bits}-bit data"
        return "low_bit_source", f"{what}: save it as {depth.bits}-bit integers, and bitexpand can expand it"
    most, pixels = max(channel.distinct_count for channel in channels), info.data.width * info.data.height
    if most <= _BEHIND_A_CURVE and pixels >= 16 * most:
        what = f"only {most} different values in a channel, as 8-bit data have behind a curve"
        return "low_bit_source", f"{what}: expand its 8-bit source"
    return "nothing_to_expand", f"no sign of data of {MAX_BITS} bits or fewer: nothing to expand"


def _color_tags(info: FrameInfo) -> dict[str, object]:
    # oiio:ColorSpace is left out: OpenImageIO derives it from these tags, and where there are none makes it up.
    profile = info.attribute("ICCProfile:profile_description") or "unnamed"
    found = {
        "colorInteropID": info.attribute("colorInteropID"),
        "chromaticities": _numbers(info.attribute("chromaticities")),
        "ICC": profile if info.icc_profile() else None,
        "CICP": _numbers(info.attribute("CICP")),
        "PNG": "sRGB" if info.format == "png" and _has_srgb_chunk(info.path) else None,
        "gamma": info.attribute("oiio:Gamma"),
        "Exif": _EXIF_SPACES.get(info.attribute("Exif:ColorSpace")),
        "DPX": info.attribute("dpx:Transfer"),
    }
    return {tag: value for tag, value in found.items() if value is not None and value not in _NO_TRANSFER}


def _numbers(values: Sequence[float] | None) -> str | None:
    return None if values is None else " ".join(f"{value:.5g}" for value in values)


def _has_srgb_chunk(path: Location) -> bool:
    # OpenImageIO tells a PNG that says sRGB and one that says nothing by the same words.
    with header_fetched(path) as ends, ends.open("rb") as file:
        return b"\0\0\0\1sRGB" in file.read(1 << 16).partition(b"IDAT")[0]


def _provenance(info: FrameInfo) -> dict[str, object]:
    """Return what bitexpand wrote; formats that keep no attributes still have the version in ``Software``."""
    if provenance.read_fingerprint(info) is None:
        return {}
    told = {
        a.name.removeprefix("bitexpand:"): a.value for a in info.attributes if a.name.startswith("bitexpand:")
    }
    return {"version": info.attribute("Software").split()[1], **told}


def _timecode(info: FrameInfo) -> str | None:
    """Return the SMPTE timecode, with a semicolon before the frames where frames are dropped."""
    packed = info.attribute("smpte:TimeCode")
    if packed is None:
        return None
    hours, minutes, seconds, images = (packed[0] >> shift & 0xFF for shift in (24, 16, 8, 0))
    before = ";" if images & 0x40 else ":"
    return f"{hours & 0x3F:02x}:{minutes & 0x7F:02x}:{seconds & 0x7F:02x}{before}{images & 0x3F:02x}"


def _frame_rate(info: FrameInfo) -> float | None:
    rate = next((a.value for a in info.kept_attributes() if a.name == "FramesPerSecond"), None)
    if isinstance(rate, tuple):
        return rate[0] / rate[1] if rate[1] else None
    return rate


def _size(data: Window, display: Window) -> str:
    size = f"{data.width} x {data.height}"
    if data == display:
        return size
    return (
        f"{size} at {data.x}, {data.y}; frame {display.width} x {display.height} at {display.x}, {display.y}"
    )


def _depth_text(result: Inspection) -> str:
    header = f"{result.header_bits} in the header"
    if result.true_bits is not None:
        return f"{header}, {result.true_bits} in the values" + (f", {result.layout}" if result.layout else "")
    if result.channels[0].code_bits is not None:
        return f"{header}, too few distinct values to tell more"
    most = max(channel.distinct_count for channel in result.channels)
    step = f", smallest step {result.smallest_step:.3g}" if result.smallest_step else ""
    distinct = f"{most:,} distinct value{'s' * (most != 1)} a channel (about {result.effective_bits} bits)"
    return f"{header}, {distinct}{step}"


def _fault_text(result: Inspection) -> str:
    counts = {
        "NaN": sum(channel.nan_count for channel in result.channels),
        "Inf": sum(channel.inf_count for channel in result.channels),
        "alpha outside 0 to 1": result.alpha_outside_count or 0,
    }
    return ", ".join(f"{count:,} samples {what}" for what, count in counts.items() if count)


def _alpha_text(result: Inspection) -> str | None:
    channel = next((channel for channel in result.channels if channel.name == "A"), None)
    if channel is None or channel.min is None:
        return result.alpha
    opaque = peak(channel.code_bits) if channel.code_bits else 1
    if channel.min == channel.max:
        return f"{result.alpha}, {'opaque' if channel.min == opaque else f'{channel.min:.6g}'} everywhere"
    return f"{result.alpha}, {channel.min:.6g} to {channel.max:.6g}"


def _table(channels: Sequence[Channel]) -> Iterator[str]:
    """Yield a line a channel, in columns."""
    is_float = channels[0].code_bits is None
    rows = [
        ["channel", "values", "min", "max", "at 0", "at max", *(_ODD if is_float else ["unused between"])]
    ]
    for c in channels:
        ends = ["-" if end is None else f"{end:.6g}" for end in (c.min, c.max)]
        used = f"{c.distinct_count:,}" + ("" if c.code_bits is None else f" of {1 << c.code_bits:,}")
        gaps = [f"{c.unused_count or 0:,} ({_percent(c.unused_share or 0)})"]
        odd = [f"{count:,}" for count in (c.negative_count, c.nan_count, c.inf_count)]
        shares = map(_percent, (c.at_zero_share, c.at_max_share))
        rows.append([c.name, used, *ends, *shares, *(odd if is_float else gaps)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        yield f"  {name:<{max(widths[0], 12)}}" + "".join(
            f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)
        )


def _remarks(channels: Sequence[Channel]) -> Iterator[str]:
    """Yield what is odd about channels, in one line where several share it."""
    remarks: dict[str, list[str]] = {}
    for channel in channels:
        if channel.distinct_count == 1 and channel.name != "A":
            remarks.setdefault(f"constant, {channel.min:.6g} everywhere", []).append(channel.name)
        if channel.stretch_factor:
            remarks.setdefault(_stretch_text(channel.stretch_factor), []).append(channel.name)
    for remark, names in remarks.items():
        yield f"  {', '.join(names):<14}{remark}"


def _stretch_text(factor: float) -> str:
    whole, unused = round(factor), f"{1 - 1 / factor:.0%} of the values unused"
    if factor < 1.5:
        unused = f"one in {round(factor / (factor - 1))} values unused"
    elif abs(factor - whole) < 0.05:
        unused = "every 2nd value unused" if whole == 2 else f"{whole - 1} of {whole} values unused"
    return f"{unused}: the levels were stretched by about {factor:{'.2g' if factor > 1.1 else '.3g'}}"


def _percent(share: float) -> str:
    if 0 < share < 1e-4:
        return "<0.01 %"
    return ">99.99 %" if 1 - 1e-4 < share < 1 else f"{100 * share:.2f} %"
