"""How good results are: frames of a candidate held against the truth, or against their source alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from bitexpand import sequence
from bitexpand.code_values import MAX_BITS, MIN_BITS
from bitexpand.compare_input import Loaded, Reading, Spaces, load
from bitexpand.compare_values import EXTRA_METRICS, Meter, Sums
from bitexpand.errors import (
    BitexpandError,
    ColorError,
    GuardError,
    MemoryShortageError,
    MissingInputError,
    PlateError,
    UnknownNameError,
    UsageError,
)
from bitexpand.location import Location
from bitexpand.metrics.temporal import FlickerMeter


@dataclass(frozen=True, kw_only=True)
class CompareJob(Reading):
    """What is to be compared, beside how it is read.

    Attributes:
        candidate: pattern of the results, or one file.
        truth: of the originals that the source was rounded from, 16 bits or float; None compares with the source.
        source: of the plate that was expanded; None takes the rounded truth instead.
        frames: range; None is every frame that any of them has.
        also: metrics beyond the usual ones, of ``EXTRA_METRICS``.
        model: a name of ``bitexpand models`` or a weights file, run again on the rounded results to tell whether
            they are its own; None does not.

    Raises:
        UsageError: neither a truth nor a source, the candidate itself as one, or a value out of range.
    """

    candidate: str
    truth: str | None = None
    source: str | None = None
    frames: str | None = None
    also: tuple[str, ...] = ()
    model: str | None = None

    def __post_init__(self) -> None:
        patterns = self.patterns()
        if len(patterns) == 1:
            raise UsageError("nothing to compare with: give --truth TRUTH, or SOURCE and RESULT")
        (role, candidate), (other_role, other), *_ = patterns.items()
        if candidate == other:  # a source as the candidate of a truth is well: what doing nothing comes to
            raise UsageError(f"{role} and {other_role} are the same files: {candidate}")
        if self.bits is not None and not MIN_BITS <= self.bits <= MAX_BITS:
            raise UsageError(f"--bits {self.bits}: give {MIN_BITS} to {MAX_BITS}")
        for name in self.also:
            if name not in EXTRA_METRICS:
                raise UnknownNameError("metric", name, EXTRA_METRICS)
        if self.also and not self.truth:
            raise UsageError(f"--also {self.also[0]} compares with a truth: give --truth")

    def patterns(self) -> dict[str, str]:
        """Return what was given, by what it is to the comparison."""
        named = {"candidate": self.candidate, "truth": self.truth, "source": self.source}
        if self.truth is None:
            named = {"result": self.candidate, "source": self.source}
        return {role: pattern for role, pattern in named.items() if pattern is not None}


@dataclass(frozen=True)
class FrameComparison:
    """What was measured of one frame.

    Attributes:
        number: of the frame, or None.
        candidate, truth, source: the files; None where there is none.
        values: metrics by name, whose end tells the unit; of a ``_share``, 0 to 1. NaN where one is not defined.
        sums: what of these can be pooled over frames.
        notes: what is to be known of the numbers.
        error: why there are none: a file is missing, truncated, of another size or encoding.
    """

    number: int | None
    candidate: Location | None
    truth: Location | None
    source: Location | None
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    sums: Sums = field(default_factory=Sums)
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def name(self) -> str:
        """The frame as a table names it."""
        return str(self.number) if self.number is not None else self.candidate.name if self.candidate else "-"


def job_of(first: str, second: str | None, **options: object) -> CompareJob:
    """Return the job that the command line's arguments mean: CANDIDATE with a truth, SOURCE RESULT without.

    Raises:
        UsageError: one argument too many or too few.
    """
    if options.get("truth") is None:
        if second is None:
            raise UsageError("give --truth TRUTH to compare CANDIDATE with, or SOURCE and RESULT")
        if options.get("source") is not None:
            raise UsageError("--source goes with --truth; without a truth give SOURCE and RESULT")
        options["source"], first = first, second
    elif second is not None:
        raise UsageError(
            f"'{second}' is one argument too many: with --truth give CANDIDATE alone, and --source"
        )
    return CompareJob(candidate=first, **options)  # pyright: ignore[reportArgumentType]  (click typed them)


def compare_sequences(job: CompareJob, threads: int = 2) -> Generator[FrameComparison, None, None]:
    """Compare frames, yielding what was measured of each in the order of the range.

    At most ``threads`` + 2 frames are in memory. What cannot be compared yields its error.

    Raises:
        MissingInputError: there is no frame that all patterns have.
        UsageError: a pattern, range, config, space or optional library that cannot be used.
    """
    pairs = find_pairs(job)
    comparer = _Comparer(job)
    with _torch_threads(1), ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Measured]] = deque()
        try:
            for pair in pairs:
                waiting.append(pool.submit(comparer.measure, pair))
                if len(waiting) > threads:
                    yield comparer.in_time(waiting.popleft().result())
            while waiting:
                yield comparer.in_time(waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()


def find_pairs(job: CompareJob) -> list[FrameComparison]:
    """Return every frame that any pattern has, yet without values; one that a pattern lacks has its error.

    Raises:
        MissingInputError: there is no frame that all of them have.
        UsageError: a single file without a number beside a sequence; a pattern or range that cannot be used.
    """
    found = {
        role: sequence.find_frames(pattern, job.frames, "skip") for role, pattern in job.patterns().items()
    }
    if not any(frames.is_sequence for frames in found.values()):
        only = {role: frames.present[0] for role, frames in found.items()}
        result = only.get("candidate") or only["result"]
        return [_pair(result.number, {role: numbered.path for role, numbered in only.items()}, {})]
    paths = {role: _by_number(frames) for role, frames in found.items()}
    singles = [role for role, frames in found.items() if not frames.is_sequence]
    numbers = dict.fromkeys(
        n for role in singles or paths for n in paths[role]
    )  # a lone file picks its frame
    order = sequence.parse_frames(job.frames) if job.frames else sorted(numbers)
    patterns = job.patterns()
    pairs = [
        _pair(n, {role: at[n] for role, at in paths.items() if n in at}, patterns)
        for n in order
        if n in numbers
    ]
    if all(pair.error for pair in pairs):
        listed = ", ".join(f"{role} {frames}" for role, frames in found.items())
        raise MissingInputError(f"no frame is in all of them: {listed}")
    return pairs


def _by_number(frames: sequence.Frames) -> dict[int, Location]:
    numbered = {frame.number: frame.path for frame in frames.present if frame.number is not None}
    if not numbered:
        raise UsageError(
            f"'{frames.pattern}' is one file without a frame number, and the others are sequences"
        )
    return numbered


def _pair(number: int | None, paths: Mapping[str, Location], patterns: Mapping[str, str]) -> FrameComparison:
    lacking = [f"{role} {pattern}" for role, pattern in patterns.items() if role not in paths]
    error = f"missing in {' and '.join(lacking)}" if lacking else None
    candidate = paths.get("candidate", paths.get("result"))
    return FrameComparison(number, candidate, paths.get("truth"), paths.get("source"), error=error)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Frames run side by side: inside of one, threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Measured:
    """A frame's comparison, and its pictures for what is measured over time."""

    comparison: FrameComparison
    loaded: Loaded | None = None


class _Comparer:
    """What the frames of one comparison share: conversions, models, the frame before."""

    def __init__(self, job: CompareJob) -> None:
        self._job, self._spaces = job, Spaces()
        if job.config:
            self._spaces.config(job.config)
        self._meter = Meter(self._spaces, job.also, job.model)
        self._flicker, self._last = FlickerMeter(), None

    def measure(self, pair: FrameComparison) -> _Measured:
        """Read and measure one frame; called by several threads."""
        if pair.error is not None:
            return _Measured(pair)
        assert pair.candidate is not None, "what lacks a file has an error"
        try:
            loaded = load(self._job, self._spaces, pair.candidate, pair.truth, pair.source)
        except UsageError:  # the same in every frame
            raise
        except BitexpandError as error:
            return _Measured(replace(pair, error=str(error)))
        try:
            found = self._meter.measure(loaded)
        except (PlateError, ColorError, GuardError, MemoryShortageError) as error:
            return _Measured(replace(pair, error=str(error)))
        notes = (*loaded.notes, *found.notes)
        return _Measured(replace(pair, values=found.values, sums=found.sums, notes=notes), loaded)

    def in_time(self, measured: _Measured) -> FrameComparison:
        """Add what shows only beside the frame before; called in the order of the frames."""
        found, loaded = measured.comparison, measured.loaded
        before, self._last = self._last, found.number
        if loaded is None or before is None or found.number != before + 1:
            self._flicker.skip()
        if loaded is None:
            return found
        try:
            flicker = self._flicker.add(loaded.result_cv, loaded.source_cv, loaded.truth_cv)
        except PlateError as error:
            return replace(found, notes=(*found.notes, f"no flicker: {error}"))
        sums = replace(found.sums, flicker=flicker)
        return replace(found, sums=sums, values={**found.values, **sums.values()})
