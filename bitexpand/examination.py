"""What is wrong with an expanded picture, judged by its own samples: artefacts, alpha, precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bitexpand import color, provenance
from bitexpand.artefacts import Finding, find_artefacts
from bitexpand.code_values import MAX_BITS, MIN_BITS, Floats, from_signal, peak
from bitexpand.encoding import Encoding
from bitexpand.errors import BitexpandError
from bitexpand.frames import Frame, Pixels

_COLOR = (("R", "G", "B"), ("Y",))
_LINEAR, _LOG = "ACEScg", "ACEScct"  # of one gamut: the path between them is the curve alone
_LINEAR_TAG = "lin_"  # how the ids of the ASWF Color Interop Forum begin for scene-linear spaces
_BRIGHTEST_LOG = 1.5  # no encoding in use stores a brighter value; without a tag, more is scene-linear
_ASSUMED_BITS = 8
_UNIT = "1/255"


@dataclass(frozen=True)
class Examination:
    """What was found of a file's samples.

    Attributes:
        smallest_step: smallest difference between two values of the colour channels; None for integers, and where
            there is one value only.
        alpha_outside_count: samples of alpha that are not 0 to 1, NaN included; None without alpha.
        artefacts: what each detector says; empty where the file has no colour channels of ours, or has so few bits
            that it is no expanded picture.
    """

    smallest_step: float | None
    alpha_outside_count: int | None
    artefacts: tuple[Finding, ...]


def examine(frame: Frame, *, artefacts: bool = True) -> Examination:
    """Examine one image; ``artefacts`` False leaves these out, which take a second for a 1536x864 frame."""
    names, pixels = frame.info.channels, frame.pixels
    is_float = pixels.dtype.kind == "f"
    alpha = pixels[..., names.index("A")] if "A" in names else None
    outside = None
    if alpha is not None:
        outside = (
            int(alpha.size - np.count_nonzero(np.abs(alpha.astype(np.float32) - 0.5) <= 0.5))
            if is_float
            else 0
        )
    color_at = [i for i, name in enumerate(names) if name != "A"]
    step = _smallest_step(pixels[..., color_at]) if is_float else None
    findings: tuple[Finding, ...] = ()
    if artefacts and frame.info.bits > MAX_BITS:
        plate = in_steps(frame)
        findings = find_artefacts(*plate) if plate else ()
    return Examination(step, outside, findings)


def in_steps(frame: Frame) -> tuple[Floats, str] | None:
    """Return the colour channels in steps of the source, (H, W, 1 or 3) float32, finite, and what a step is.

    A file that says how bitexpand made it is taken back to its source's code values. Of others the bit depth is not
    known: a step is 1/255 of the stored values, or where these are scene-linear, of their ACEScct encoding, which
    makes steps alike in light and shade. None where there are neither R, G and B nor Y.
    """
    names = frame.info.channels
    chosen = next((wanted for wanted in _COLOR if set(wanted) <= set(names)), None)
    if chosen is None:
        return None
    pixels = frame.pixels[..., [names.index(name) for name in chosen]]
    with np.errstate(invalid="ignore", over="ignore"):  # a damaged file may hold anything
        plate_cv, unit = _of_source(frame, pixels) or _of_values(frame, pixels)
    plate_cv[~np.isfinite(pixels) | ~np.isfinite(plate_cv)] = np.nan
    return _filled(plate_cv), unit


def findings_table(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line of text for every finding, in columns; nothing where there are none."""
    if not findings:
        return
    width = max(len(each.name) for each in findings)
    yield f"  {'artefact':<{width}}  strength  limit  in {findings[0].unit}"
    for each in findings:
        is_dull = each.verdict == "absent" and each.strength < each.limit
        said = [each.verdict.replace("_", " "), "" if is_dull else each.detail]
        if each.severity:
            said.append(f"see {each.where.width}x{each.where.height} at {each.where.x}, {each.where.y}")
        text = ", ".join(part for part in said if part)
        yield f"  {each.name:<{width}}  {each.strength:8.3f}  {each.limit:5.2f}  {text}"


def _of_source(frame: Frame, pixels: Pixels) -> tuple[Floats, str] | None:
    """Return the source's code values; None where the file does not say, or names a config that is not here."""
    bits = provenance.read_number(frame.info, "bits")
    if bits is None or not MIN_BITS <= bits <= MAX_BITS:
        return None
    config, *spaces = (provenance.read_text(frame.info, name) for name in ("config", "in_space", "out_space"))
    conversion = None
    if all(spaces):
        try:
            conversion = color.conversion(color.load_config(config), *(space for space in spaces if space))
        except BitexpandError:
            return None
    decoded = Encoding(int(bits), "float", conversion=conversion).decode(pixels)
    return decoded, f"LSB of {int(bits)} bits"


def _of_values(frame: Frame, pixels: Pixels) -> tuple[Floats, str]:
    """Return the values themselves, scene-linear ones encoded, in steps of 8 bits."""
    if pixels.dtype.kind == "u":
        return from_signal(pixels / np.float32(peak(8 * pixels.itemsize)), _ASSUMED_BITS), _UNIT
    signal = pixels.astype(np.float32)
    tag = str(frame.info.attribute("colorInteropID", ""))
    if not tag.startswith(_LINEAR_TAG) and (tag or np.nanmax(signal, initial=0) <= _BRIGHTEST_LOG):
        return from_signal(signal, _ASSUMED_BITS), _UNIT
    to_log = color.conversion(color.load_config(color.PINNED_CONFIG), _LINEAR, _LOG)
    rgb = np.ascontiguousarray(np.broadcast_to(signal, (*signal.shape[:2], 3)))
    return from_signal(to_log.apply(rgb)[..., : pixels.shape[2]], _ASSUMED_BITS), f"{_UNIT} in {_LOG}"


def _filled(plate_cv: Floats) -> Floats:
    """Put the median of its channel in the place of every NaN: nothing that stands out."""
    for channel in range(plate_cv.shape[2]):
        broken = np.isnan(plate_cv[..., channel])
        if broken.any():
            known = plate_cv[..., channel][~broken]
            plate_cv[..., channel][broken] = np.median(known) if known.size else 0
    return plate_cv


def _outside(alpha: Pixels) -> int:
    return alpha.size - int(np.count_nonzero(np.abs(alpha.astype(np.float32) - 0.5) <= 0.5))


def _smallest_step(pixels: Pixels) -> float | None:
    values = np.unique(pixels[np.isfinite(pixels)].astype(np.float32))
    return float(np.diff(values).min()) if len(values) > 1 else None
