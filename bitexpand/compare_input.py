"""One frame of each file to compare, taken to the plate's own encoding in LSB, once it is sure to be comparable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np

from bitexpand import color, frames, provenance
from bitexpand.code_values import HALF_BIN, ROUNDED, Floats, peak, requantise
from bitexpand.compare_checks import check_pair, check_precision, refuse_encoding, wide
from bitexpand.encoding import Encoding
from bitexpand.errors import PlateError, UsageError
from bitexpand.location import Location
from bitexpand.metrics.banding import distinct_values
from bitexpand.plate import read_plate

_COLOR_CHANNELS = (("Y",), ("R", "G", "B"))
_DEFAULT_BITS = 8


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read; ``None`` takes a setting from what a file says of itself, else its default.

    Attributes:
        bits: true bit depth of the source.
        config: OpenColorIO config of all spaces.
        in_space: of the plate, so also of the source; out_space: of the candidate; truth_space: of the truth.
    """

    bits: int | None = None
    config: str | None = None
    in_space: str | None = None
    out_space: str | None = None
    truth_space: str | None = None


class Spaces:
    """Configs, conversions and interop ids, made once each; several threads may use it at once."""

    def __init__(self) -> None:
        self.config = lru_cache(maxsize=8)(color.load_config)
        self.conversion = lru_cache(maxsize=32)(self._conversion)
        self.interop_id = lru_cache(maxsize=32)(self._interop_id)

    def _conversion(self, config: str | None, src: str, dst: str) -> color.Conversion:
        return color.conversion(self.config(config), src, dst)

    def _interop_id(self, config: str | None, space: str) -> str | None:
        return color.interop_id(self.config(config), space)


@dataclass(frozen=True)
class Loaded:
    """The same frame from each file, as code values of the plate.

    Attributes:
        source_cv: float32 (H, W, C) in LSB, whole numbers; the rounded truth where no source was given.
        result_cv, truth_cv: float32 (H, W, C) in LSB, not rounded, any value; truth_cv None without a truth.
        bits: of the source.
        space: of the plate, None where unknown; config: the OpenColorIO config that has it.
        distinct: different values that each file has in a channel, on the average of its channels.
        bound, strength, source_kind: what the result says of its making, else the defaults.
        notes: what is to be known of the numbers.
    """

    source_cv: Floats
    result_cv: Floats
    truth_cv: Floats | None
    bits: int
    space: str | None
    config: str | None
    distinct: Mapping[str, float]
    bound: float
    strength: float
    source_kind: str = ROUNDED.name
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _File:
    """The colour samples of a file, (H, W, 1 or 3), as they are and over full scale; and what it is to us."""

    pixels: frames.Pixels
    signal: Floats
    info: frames.FrameInfo
    what: str

    @property
    def name(self) -> str:
        return f"{self.what} {self.info.path}"


def load(
    settings: Reading, spaces: Spaces, result: Location, truth: Location | None, source: Location | None
) -> Loaded:
    """Read one frame; a truth, a source or both stand beside the result.

    Raises:
        MissingInputError: a file is not there.
        PlateError: one cannot be read, or holds NaN or Inf; sizes, channels or encodings differ; the truth is no
            finer than the source.
        ColorError, UsageError: a space that the config does not have, or cannot convert.
    """
    candidate = _read(result, "candidate" if truth else "result")
    settings = _completed(settings, candidate.info)
    plate = None if source is None else read_plate(source, settings.bits)
    bits = plate.bits if plate else settings.bits or _DEFAULT_BITS
    plates = {"result": _decode(candidate, settings, settings.out_space, bits, spaces)}
    names, distinct = {"result": candidate.name}, {"result": _distinct(candidate.pixels)}
    notes: list[str] = []
    if truth:
        original = _read(truth, "truth")
        _check_tags(candidate, original, settings)
        plates["truth"] = _decode(original, settings, settings.truth_space, bits, spaces)
        names["truth"], distinct["truth"] = original.name, _distinct(original.pixels)
        notes += check_precision(original.name, original.pixels, plates["truth"], bits)
    if plate:
        plates["source"], names["source"] = plate.codes.astype(np.float32), f"source {source}"
    for (role, plate_cv), (next_role, next_cv) in pairwise(plates.items()):
        check_pair(names[role], plate_cv, names[next_role], next_cv, bits)
    if not plate:
        plates["source"] = requantise(np.clip(plates["truth"], 0, peak(bits)))
        notes.append(f"no source was given: it is taken to be the truth, rounded to {bits} bits")
    distinct["source"] = _distinct(plates["source"].astype(np.uint16))
    strength = provenance.read_number(candidate.info, "strength")
    channels = max(plate_cv.shape[2] for plate_cv in plates.values())
    same = {role: wide(plate_cv, channels) for role, plate_cv in plates.items()}
    return Loaded(
        same["source"],
        same["result"],
        same.get("truth"),
        bits=bits,
        space=settings.in_space,
        config=settings.config,
        distinct=distinct,
        bound=provenance.read_number(candidate.info, "bound") or HALF_BIN,
        strength=1.0 if strength is None else strength,
        source_kind=provenance.read_text(candidate.info, "source_kind") or ROUNDED.name,
        notes=tuple(notes),
    )


def _read(path: Location, what: str) -> _File:
    frame = frames.read_frame(path)
    names = frame.info.channels
    color_at = [i for i, name in enumerate(names) if name != "A"]
    if tuple(names[i] for i in color_at) not in _COLOR_CHANNELS:
        raise PlateError(
            f"{what} {path}: has channels {', '.join(names)}; accepted are grey or RGB, with or without A"
        )
    pixels = frame.pixels[..., color_at]
    if np.issubdtype(pixels.dtype, np.integer):
        signal = np.divide(pixels, np.float32(peak(8 * pixels.itemsize)), dtype=np.float32)
    else:
        signal = pixels.astype(np.float32)
    return _File(pixels, signal, frame.info, what)


def _completed(settings: Reading, info: frames.FrameInfo) -> Reading:
    """Fill what was not given from what a candidate says of its making."""
    completed = replace(
        settings,
        bits=settings.bits or int(provenance.read_number(info, "bits") or 0) or None,
        config=settings.config or provenance.read_text(info, "config"),
        in_space=settings.in_space or provenance.read_text(info, "in_space"),
        out_space=settings.out_space or provenance.read_text(info, "out_space"),
    )
    if completed.in_space is None and (completed.out_space or completed.truth_space):
        given = "--out-space" if completed.out_space else "--truth-space"
        raise UsageError(f"{given} needs --in-space, the colour space of the plate; it is never guessed")
    return completed


def _decode(file: _File, settings: Reading, space: str | None, bits: int, spaces: Spaces) -> Floats:
    """Return a file as (H, W, 1 or 3) code values in LSB; ``space`` None is the plate's own."""
    conversion = None
    if settings.in_space:
        _check_tag(file, settings, space or settings.in_space, spaces)
        found = spaces.conversion(settings.config, settings.in_space, space or settings.in_space)
        conversion = None if found.is_identity else found
    # Whether a file is finite is asked of its own samples too: a curve may take Inf to a number.
    plate_cv = Encoding(bits, "float", conversion=conversion).decode(file.signal)
    broken = ~(np.isfinite(plate_cv) & np.isfinite(file.signal))
    if broken.any():
        row, column, channel = np.argwhere(broken)[0]
        raise PlateError(
            f"{file.name}: {np.count_nonzero(broken)} samples are NaN or Inf, the first at x {column}, y {row},"
            f" channel {channel}; no number would mean anything"
        )
    return plate_cv


def _distinct(pixels: frames.Pixels) -> float:
    return float(np.mean(distinct_values(pixels)))


def _check_tag(file: _File, settings: Reading, space: str, spaces: Spaces) -> None:
    """Refuse a file that says it is in another space than it would be read as."""
    tag = file.info.attribute("colorInteropID")
    expected = spaces.interop_id(settings.config, space) if tag else None
    if expected and expected != tag:
        refuse_encoding(f"{file.name} says that it is {tag}, and would be read as {space}, {expected}")


def _check_tags(candidate: _File, truth: _File, settings: Reading) -> None:
    """Refuse files that say they are in different spaces, where nothing was said of these."""
    tags = [file.info.attribute("colorInteropID") for file in (candidate, truth)]
    if settings.in_space is None and all(tags) and tags[0] != tags[1]:
        refuse_encoding(f"{candidate.name} says that it is {tags[0]}, and {truth.name} that it is {tags[1]}")
