"""A plan from files to files: bounded stages that read, expand and write at the same time.

The only module that sees all stages. Frames are read ahead by a thread, expanded, then encoded, written and read
back by threads; a handful is in flight, however long the shot. On a CPU two small frames are expanded side by side,
each by half of the threads: no core then waits for the others at the end of every operation. A frame counts as done
only when its file lies complete under its name, so any run can be stopped anywhere and started again.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeVar

import numpy as np

from bitexpand import formats, frames, provenance
from bitexpand.code_values import Codes, source_kind
from bitexpand.encoding import Encoding, encode_alpha
from bitexpand.engine import Expanded, Expander, use_threads
from bitexpand.errors import BitexpandError, DiskFullError, GuardError, PlateError, UsageError
from bitexpand.frames import Attribute
from bitexpand.jobs import Job, Plan, Settings, Task, color_path, expander, plan_sequence
from bitexpand.location import Location
from bitexpand.plate import Plate, file_digest, pixel_shape, read_plate
from bitexpand.results import FrameResult, Timing
from bitexpand.resume import is_done
from bitexpand.storage import fetched, prepare

T = TypeVar("T")

_WRITERS = 2
_SIDE_BY_SIDE = 2
_SMALL_FRAME = 4 << 20  # pixels; up to here frames go side by side, in the memory that a large one takes
_LARGE_FRAME = 16 << 20  # pixels; from here on one frame a stage is in flight: an 8K shot stays within 6 GiB
_TRIM_EVERY = 64  # frames; costs less than 1 % of their time
_KEPT_BLOCK = 1 << 30  # bytes; smaller ones go back to the system every _TRIM_EVERY frames only


def expand_sequence(job: Job) -> Iterator[FrameResult]:
    """Expand a sequence, yielding a result a frame in the order of the range.

    Raises:
        BitexpandError: nothing could be started (see ``plan_sequence`` and ``Expander``), or the disk is full.
    """
    return run(plan_sequence(job), job)


def run(plan: Plan, settings: Settings) -> Generator[FrameResult, None, None]:
    """Carry a plan out, yielding a result a frame in its order.

    A frame that fails does not stop the others. Closing the iterator, or an exception in the caller's thread such
    as KeyboardInterrupt, lets the frames that are being written finish and drops the others; no partial file stays.

    Raises:
        UsageError: a setting that fits none of the frames; in a batch, where it may fit others, that frame fails.
        DiskFullError: raised after the frame that met it was yielded as failed.
    """
    keep_freed_memory()
    work = _Work(settings)
    for folder in sorted({task.target.parent for task in plan.tasks}, key=str):
        prepare(folder)
    with _pool(1) as readers, side_by_side(work.expander) as expanders, _pool(_WRITERS) as writers:
        for done, result in enumerate(_flow(plan, work, readers, expanders, writers), 1):
            if done % _TRIM_EVERY == 0:
                _return_freed_memory()
            yield result


def frames_at_once(pixels: int, expander: Expander) -> int:
    """Return how many frames of so many pixels are expanded side by side."""
    is_small = pixels <= _SMALL_FRAME and expander.threads > 1 and expander.device.type == "cpu"
    return _SIDE_BY_SIDE if is_small else 1


def side_by_side(expander: Expander) -> AbstractContextManager[ThreadPoolExecutor]:
    """Run frames that are expanded side by side, each with its share of the threads."""
    return _pool(_SIDE_BY_SIDE, partial(use_threads, max(1, expander.threads // _SIDE_BY_SIDE)))


@dataclass(frozen=True)
class _Loaded:
    """A task after the read stage; ``plate`` is None where the target is already there."""

    task: Task
    plate: Plate | None
    source_digest: str
    fingerprint: str
    seconds: float


@contextmanager
def _pool(threads: int, prepare: Callable[[], None] | None = None) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(threads, initializer=prepare)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _flow(
    plan: Plan,
    work: _Work,
    readers: ThreadPoolExecutor,
    expanders: ThreadPoolExecutor,
    writers: ThreadPoolExecutor,
) -> Iterator[FrameResult]:
    waiting = deque(plan.tasks)
    reading: deque[tuple[Task, Future[_Loaded]]] = deque()
    writing: deque[tuple[Task, Future[Future[FrameResult]]]] = deque()  # or still being expanded
    in_flight = 1
    expected: tuple[object, ...] | None = None
    while waiting or reading:
        while waiting and len(reading) <= in_flight:
            task = waiting.popleft()
            reading.append((task, readers.submit(work.load, task)))
        task, loading = reading.popleft()
        try:
            loaded = loading.result()
            if plan.uniform and (loaded.plate or not expected):
                # A first frame that is done counts too, or a rerun would let pass what the first run refused.
                shape = pixel_shape(loaded.plate or work.read(task))
                expected = expected or shape
                _check_shape(task.source, shape, expected)
            pixels = loaded.plate.codes[..., 0].size if loaded.plate else 0
            at_once = frames_at_once(pixels, work.expander) if len(plan.tasks) > 1 else 1
            in_flight = (1 if pixels > _LARGE_FRAME else _WRITERS) + at_once - 1
            if at_once > 1:
                expanding = expanders.submit(_expanded, work, loaded, writers)
            else:
                expanding = _finished(_expanded(work, loaded, writers))
        except BitexpandError as error:
            if isinstance(error, UsageError) and plan.uniform:
                raise
            expanding = _finished(_finished(FrameResult(task, "failed", str(error))))
        writing.append((task, expanding))
        while writing and (len(writing) > in_flight or _is_done(writing[0][1])):
            yield from _result(*writing.popleft(), plan.uniform)
    while writing:
        yield from _result(*writing.popleft(), plan.uniform)


def _expanded(work: _Work, loaded: _Loaded, writers: ThreadPoolExecutor) -> Future[FrameResult]:
    """Expand a loaded frame in this thread and hand it to a writer."""
    if loaded.plate is None:
        return _finished(FrameResult(loaded.task, "skipped", timing=Timing(loaded.seconds)))
    started = time.perf_counter()
    encoding = work.encoding(loaded)
    expanded = work.expander.expand_frame(loaded.plate.codes, encoding.limits())
    timing = Timing(loaded.seconds, time.perf_counter() - started)
    return writers.submit(work.store, loaded, expanded, encoding, timing)


def _is_done(expanding: Future[Future[FrameResult]]) -> bool:
    return expanding.done() and (expanding.exception() is not None or expanding.result().done())


def _result(task: Task, expanding: Future[Future[FrameResult]], uniform: bool) -> Iterator[FrameResult]:
    try:
        writing = expanding.result()
    except BitexpandError as error:
        if isinstance(error, UsageError) and uniform:
            raise
        yield FrameResult(task, "failed", str(error))
        return
    try:
        yield writing.result()
    except DiskFullError as error:
        yield FrameResult(task, "failed", str(error))
        raise
    except BitexpandError as error:
        yield FrameResult(task, "failed", str(error))


def keep_freed_memory() -> None:
    """Let freed memory be used again as it is: to clear it anew took a tenth of a frame's time."""
    if sys.platform == "linux":
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # of glibc's mallopt
        with suppress(AttributeError):  # another C library
            set_option = ctypes.CDLL(None).mallopt
            set_option(mmap_threshold, _KEPT_BLOCK)
            set_option(trim_threshold, -1)  # never: an 8K frame leaves more than 2 GiB behind
            set_option(arena_max, 1)  # threads' own give whole blocks back whatever the threshold


def _return_freed_memory() -> None:
    """Give freed memory back, which glibc would scatter over its arenas: a shot grew by 2 MB a frame of 640x360."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _finished(result: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(result)
    return future


def _check_shape(source: Location, actual: tuple[object, ...], expected: tuple[object, ...]) -> None:
    if actual == expected:
        return
    names = ("height", "width", "colour channels", "alpha", "bits")
    changed = [f"{n} {a} instead of {e}" for n, a, e in zip(names, actual, expected, strict=True) if a != e]
    raise PlateError(
        f"{source}: differs from the first frame of the sequence ({', '.join(changed)});"
        " expand it by itself or with `bitexpand batch`"
    )


class _Work:
    """What the stages of one run share: the model, the conversion, the settings' digest."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._color = color_path(settings)
        self.expander = expander(settings)

    def load(self, task: Task) -> _Loaded:
        """Read stage: the source's pixels, unless its target is already there."""
        started = time.perf_counter()
        with fetched(task.source) as source:
            try:
                source_digest = file_digest(source)
            except OSError as error:
                raise PlateError(f"{task.source}: cannot be read ({error.strerror})") from error
            fingerprint = provenance.fingerprint(self._settings_digest, source_digest)
            done = self._settings.existing == "skip" and is_done(task, fingerprint)
            plate = None if done else read_plate(source, self._settings.bits)
        return _Loaded(task, plate, source_digest, fingerprint, time.perf_counter() - started)

    def read(self, task: Task) -> Plate:
        """Read a source."""
        return read_plate(task.source, self._settings.bits)

    def encoding(self, loaded: _Loaded) -> Encoding:
        """Return how a loaded frame is encoded."""
        bits = _plate(loaded).bits
        conversion = self._color.conversion
        storage = self._settings.storage(bits, loaded.task.target, conversion)
        kind = source_kind(self._settings.source_kind)
        return Encoding(bits, storage, self._settings.largest_move, conversion, kind)

    def store(self, loaded: _Loaded, expanded: Expanded, encoding: Encoding, timing: Timing) -> FrameResult:
        """Write stage: encode, write, read back."""
        started = time.perf_counter()
        plate, task = _plate(loaded), loaded.task
        pixels = encoding.encode(expanded.plate_cv, plate.codes)
        channels = ("Y",) if pixels.shape[2] == 1 else ("R", "G", "B")
        if plate.alpha is not None:
            alpha = encode_alpha(plate.alpha, plate.info.bits, encoding.storage)
            pixels, channels = np.concatenate([pixels, alpha], axis=2), (*channels, "A")
        info = replace(plate.info, channels=channels)
        compression = self._settings.compression
        attributes = self._attributes(loaded, encoding)
        check = None
        if compression and formats.is_lossy(compression):
            check = partial(_check_lossy, codes=plate.codes, encoding=encoding)
        frames.write_frame(task.target, pixels, info, attributes, compression, check)
        return FrameResult(
            task, "written", None, expanded.report, replace(timing, write=time.perf_counter() - started)
        )

    @cached_property
    def _settings_digest(self) -> str:
        model = {"model": self.expander.model_name, "weights": self.expander.weights_sha256}
        config = self._color.config.identity if self._color.config else None
        return provenance.digest(self._settings.pixel_settings() | model | {"config": config})

    def _attributes(self, loaded: _Loaded, encoding: Encoding) -> tuple[Attribute, ...]:
        """Return the whole metadata of a written frame."""
        settings, plate = self._settings, _plate(loaded)
        facts = {
            "model": self.expander.model_name,
            "weights": self.expander.weights_sha256,
            "strength": settings.strength,
            "bound": encoding.bound,
            "bits": encoding.bits,
            "source_kind": encoding.kind.name,
            "source": loaded.task.source.name,
            "source_sha256": loaded.source_digest,
            "settings": self._settings_digest,
            "config": self._color.config.name if self._color.config else None,
            "in_space": settings.in_space,
            "out_space": settings.out_space,
        }
        kept = plate.info.kept_attributes()
        is_exr = formats.output_format(loaded.task.target) == "openexr"
        if encoding.conversion is None and not is_exr:
            kept += plate.info.icc_profile()
        if is_exr and self._color.interop_id:
            kept += (Attribute("colorInteropID", "string", self._color.interop_id),)
        return kept + provenance.attributes(loaded.fingerprint, facts, typed=is_exr)


def _plate(loaded: _Loaded) -> Plate:
    assert loaded.plate is not None, "a skipped frame went past the read stage"
    return loaded.plate


def _check_lossy(pixels: frames.Pixels, codes: Codes, encoding: Encoding) -> None:
    color_channels = encoding.channels(codes.shape[2])
    faults = encoding.compare(pixels[..., :color_channels], codes)
    if faults.mismatched or faults.not_finite:
        raise GuardError(
            f"the compression moves {faults.mismatched} samples by up to {faults.largest_move:.2f} LSB, beyond"
            f" --bound {encoding.bound}; take a lossless compression or a wider bound"
        )
