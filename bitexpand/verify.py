"""Written frames against their sources: read again from disk, taken back, compared with the code values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from bitexpand import color, frames, provenance, sequence
from bitexpand.code_values import (
    HALF_BIN,
    MAX_BITS,
    MIN_BITS,
    ROUNDED,
    SourceKind,
    Storage,
    source_kind,
)
from bitexpand.encoding import Encoding, Faults, decode_alpha
from bitexpand.errors import (
    MemoryShortageError,
    MissingInputError,
    PlateError,
    StorageError,
    UnknownNameError,
    UsageError,
)
from bitexpand.location import Location
from bitexpand.plate import Plate, read_plate

_Convert: TypeAlias = Callable[[str | None, str, str], color.Conversion | None]

_ASSUMED = (
    "the results do not say how they were made, as TIFF and DPX cannot: repeat the --bits, --source, --bound,"
    " --config, --in-space and --out-space of their run"
)
_STORAGE: dict[str, Storage] = {"half": "half", "float": "float", "uint16": "uint16"}


@dataclass(frozen=True, kw_only=True)
class VerifyJob:
    """Which frames to check, and what was promised of them.

    ``None`` takes a setting from what the written file says of itself, else from the source, else its default.

    Attributes:
        source, result: patterns, or single files.
        frames: range; None is all sources that are there.
        bits: true bit depth of the sources.
        bound: largest move in LSB that was allowed; 0.5 asks for equal code values.
        source_kind: what made the sources.
        config, in_space, out_space: the colour conversion that was made.
    """

    source: str
    result: str
    frames: str | None = None
    bits: int | None = None
    bound: float | None = None
    source_kind: str | None = None
    config: str | None = None
    in_space: str | None = None
    out_space: str | None = None

    def __post_init__(self) -> None:
        if self.bits is not None and not MIN_BITS <= self.bits <= MAX_BITS:
            raise UsageError(f"--bits {self.bits}: give {MIN_BITS} to {MAX_BITS}")
        if self.bound is not None and not self.bound > 0:
            raise UsageError(f"--bound {self.bound}: give a distance in LSB above 0; 0.5 is the bin")
        if self.source_kind is not None:
            source_kind(self.source_kind)


@dataclass(frozen=True)
class Check:
    """What was found of one frame.

    Attributes:
        number: of the frame, or None.
        source, result: the files.
        bound: the bound in LSB that was checked; 0.5 is the requantisation match.
        faults: the comparison, or None where there was nothing to compare.
        alpha_mismatched: alpha samples that are not the source's.
        error: why there is no comparison: missing, truncated, another size.
        says_how: the result holds the facts of its making, so that nothing had to be assumed.
    """

    number: int | None
    source: Location
    result: Location
    bound: float = HALF_BIN
    faults: Faults | None = None
    alpha_mismatched: int = 0
    error: str | None = None
    says_how: bool = True

    @property
    def passed(self) -> bool:
        """True where every sample keeps the promise."""
        faults = self.faults
        return faults is not None and not (faults.mismatched or faults.not_finite or self.alpha_mismatched)


def verify_sequence(job: VerifyJob, threads: int = 2) -> Iterator[Check]:
    """Check written frames, yielding what was found of each in the order of the range.

    Raises:
        MissingInputError: sources are not there (a missing result is a fault, not an error).
        UsageError: a pattern, range, config or space that cannot be used.
    """
    found = sequence.find_frames(job.source, job.frames, "skip" if job.frames is None else "error")
    pairs = [(f, sequence.output_path(job.result, f.number, f.path)) for f in found.present]
    convert = lru_cache(maxsize=16)(_conversion)
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda pair: _check(job, pair[0], pair[1], convert), pairs)


def _check(job: VerifyJob, frame: sequence.NumberedPath, result: Location, convert: _Convert) -> Check:
    check = Check(frame.number, frame.path, result)
    try:
        written = frames.read_frame(result)
    except MissingInputError:
        return replace(check, error=f"{result}: missing")
    except (PlateError, MemoryShortageError, StorageError) as error:
        return replace(check, error=str(error))
    check = replace(check, says_how=provenance.says_how(written.info))
    stated_bits = int(provenance.read_number(written.info, "bits") or 0)
    try:
        plate = read_plate(frame.path, job.bits or stated_bits or None)
        encoding = _encoding(job, plate, written.info, convert)
        color_pixels, alpha_pixels = _split(written, plate, encoding)
    except (PlateError, MemoryShortageError, StorageError) as error:
        return replace(check, error=str(error))
    faults = encoding.compare(color_pixels, plate.codes)
    mismatched_alpha = 0
    if alpha_pixels is not None:
        mismatched_alpha = int((decode_alpha(alpha_pixels, plate.info.bits) != plate.alpha).sum())
    return replace(check, bound=encoding.bound, faults=faults, alpha_mismatched=mismatched_alpha)


def _encoding(job: VerifyJob, plate: Plate, info: frames.FrameInfo, convert: _Convert) -> Encoding:
    storage = _STORAGE.get(info.container)
    if storage is None:
        raise PlateError(
            f"{info.path}: holds {info.container} samples; an expanded frame has 16 bits or float"
        )
    kind = _kind(job, info)
    bound = job.bound or provenance.read_number(info, "bound") or kind.half_width
    in_space = job.in_space or provenance.read_text(info, "in_space")
    out_space = job.out_space or provenance.read_text(info, "out_space")
    config = job.config or provenance.read_text(info, "config")
    conversion = convert(config, in_space, out_space) if in_space and out_space else None
    return Encoding(plate.bits, storage, bound, conversion, kind)


def _kind(job: VerifyJob, info: frames.FrameInfo) -> SourceKind:
    name = job.source_kind or provenance.read_text(info, "source_kind") or ROUNDED.name
    try:
        return source_kind(name)
    except UnknownNameError as error:
        raise PlateError(f"{info.path}: written by another version: {error}") from error


def _conversion(config: str | None, in_space: str, out_space: str) -> color.Conversion | None:
    conversion = color.conversion(color.load_config(config), in_space, out_space)
    return None if conversion.is_identity else conversion


def _split(
    written: frames.Frame, plate: Plate, encoding: Encoding
) -> tuple[frames.Pixels, frames.Pixels | None]:
    """Return the colour and the alpha samples of a written frame, once its shape is what it must be."""
    channels = encoding.channels(plate.codes.shape[2])
    expected = (*plate.codes.shape[:2], channels + (plate.alpha is not None))
    if written.pixels.shape != expected:
        actual, wanted = ("x".join(map(str, s)) for s in (written.pixels.shape, expected))
        raise PlateError(f"{written.info.path}: is {actual} (height x width x channels) instead of {wanted}")
    alpha = None if plate.alpha is None else written.pixels[..., channels:]
    return written.pixels[..., :channels], alpha


def describe_check(check: Check) -> str:
    """Return a line about a checked frame."""
    name = f"frame {check.number}" if check.number is not None else str(check.source)
    faults = check.faults
    if faults is None:
        return f"{name} FAULT {check.error}"
    what = "requantisation match" if check.bound <= HALF_BIN else f"within {check.bound:g} LSB"
    share = 100 * (1 - faults.mismatched / max(faults.samples, 1))
    line = f"{name} {what} {_percent(share)}, largest move {faults.largest_move:.3f} LSB"
    if faults.not_finite:
        line += f", {faults.not_finite} NaN or Inf"
    if check.alpha_mismatched:
        line += f", {check.alpha_mismatched} alpha samples differ"
    return line if check.passed else f"{line} FAULT"


def summarize(checks: Sequence[Check]) -> str:
    """Return the verdict over all frames."""
    failed = [check for check in checks if not check.passed]
    compared = [check.faults for check in checks if check.faults]
    samples = sum(faults.samples for faults in compared)
    matched = samples - sum(faults.mismatched for faults in compared)
    largest = max((faults.largest_move for faults in compared), default=0.0)
    what = (
        f"{_percent(100 * matched / samples)} of {samples} samples match" if samples else "nothing compared"
    )
    verdict = f"FAULT: {len(failed)} of {len(checks)} frames" if failed else f"OK: {len(checks)} frames"
    hint = "" if all(check.says_how for check in failed) else f"; {_ASSUMED}"
    return f"{verdict}; {what}, largest move {largest:.3f} LSB{hint}"


def check_facts(check: Check) -> dict[str, object]:
    """Return a check as JSON's kinds."""
    faults = check.faults
    return {
        "frame": check.number,
        "source": str(check.source),
        "result": str(check.result),
        "passed": check.passed,
        "bound_lsb": check.bound,
        "samples": faults and faults.samples,
        "mismatched": faults and faults.mismatched,
        "not_finite": faults and faults.not_finite,
        "largest_move_lsb": faults and round(faults.largest_move, 6),
        "alpha_mismatched": check.alpha_mismatched,
        "error": check.error,
    }


def _percent(share: float) -> str:
    # Never rounds up to 100: one sample in a billion is a fault.
    return "100 %" if share == 100 else f"{min(share, 99.9999):.4f} %"
