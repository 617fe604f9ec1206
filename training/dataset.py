"""From a prepared folder to batches: sample ``number`` is the same crop on any worker, process or day.

::

    plate  ──► cut ──► exposure, curve ─┐
                                        ├──► channels, tone ──► truth + grain ──► code values
    formula ────────────────────────────┘

Everything up to the grain changes the truth; the code values are made from it last, so the two never drift apart.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bitexpand.code_values import Floats, from_signal, peak
from bitexpand.errors import BitexpandError, MissingInputError, PlateError
from training import crops
from training.augmentation import Augmentation
from training.clipping import clip, crush
from training.curves import Curves
from training.degrade import DEGRADATIONS, draw_kind
from training.grain import draw_grain, draw_unevenness
from training.manifest import Manifest, PlateRow, Split
from training.procedural import scene
from training.sample import Batch

BITS = 8  # of validation plates, and what the sigma of grain is in
PLATES_TRIED = 32  # for one crop without unknown pixels
Mask: TypeAlias = npt.NDArray[np.bool_]
WholePlate: TypeAlias = "tuple[PlateRow, Floats, Mask | None]"
Made: TypeAlias = "tuple[Tensor, ...] | BitexpandError"


@dataclass(frozen=True)
class CropDataset(Dataset[Batch]):
    """Endless random crops of one split of a prepared folder; ``dataset[number]`` is a :class:`Batch` of one.

    Attributes:
        folder: the prepared folder.
        manifest: of it.
        split: which of its plates; they are drawn with a probability that rises with the root of their pixels.
        augmentation: what is done to them.
        crop: side in pixels.
        seed: another one gives other crops under the same numbers.

    Raises:
        UsageError: the split has no plates and not every crop is procedural, or a curve cannot be used.
    """

    folder: Path
    manifest: Manifest
    split: Split
    augmentation: Augmentation
    crop: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.augmentation.procedural < 1:
            _ = self._rows, self._curves  # found out here what cannot work, not in a worker

    def __getitem__(self, number: int) -> Batch:
        """Make a sample.

        Raises:
            MissingInputError: a plate's file is not there.
            PlateError: a plate cannot be read, or is not what the manifest says.
        """
        random = np.random.default_rng([self.seed, number])
        if random.random() < self.augmentation.procedural:
            return self._finish(random, scene(random, self.crop))
        row, window_log = self._cut(random)
        with _about(row, number):
            curve = self._curves.drawn[random.integers(len(self._curves.drawn))]
            exposure = float(random.uniform(*self.augmentation.exposure))
            relight = (
                functools.partial(crush, random) if random.random() < self.augmentation.crushed else None
            )
            return self._finish(random, self._curves.change(window_log, curve, exposure, relight))

    @functools.cached_property
    def _rows(self) -> tuple[PlateRow, ...]:
        return self.manifest.of_split(self.split, self.folder)

    @functools.cached_property
    def _curves(self) -> Curves:
        return Curves.of(self.manifest.config, self.manifest.encoding, self.augmentation.curves)

    @functools.cached_property
    def _shares(self) -> npt.NDArray[np.float64]:
        roots = np.sqrt([row.height * row.width for row in self._rows])
        return roots / roots.sum()

    def _cut(self, random: np.random.Generator) -> tuple[PlateRow, Floats]:
        """Draw plates until a crop of one holds no unknown pixels."""
        row = self._rows[0]
        for _ in range(PLATES_TRIED):
            row = self._rows[int(random.choice(len(self._rows), p=self._shares))]
            plate, unknown = _open(self.folder, self.manifest, row)
            window_log = crops.cut(random, plate, unknown, self.crop, self.augmentation)
            if window_log is not None:
                if not np.isfinite(window_log).all():
                    raise PlateError(
                        f"plate '{row.name}' of {self.folder} holds NaN or Inf; prepare it again"
                    )
                return row, window_log
        raise PlateError(
            f"{self.folder}: no crop of {self.crop} px without unknown pixels in {PLATES_TRIED} plates of "
            f"split '{self.split}', the last of them '{row.name}'; lower 'crop', raise the smallest 'zoom', or "
            "leave such plates out"
        )

    def _finish(self, random: np.random.Generator, plate_log: Floats) -> Batch:
        """Change a log plate in ways that need no colour space, and make the code values."""
        settings = self.augmentation
        if settings.shuffle_channels:
            plate_log = plate_log[..., random.permutation(3)]
        plate_log = np.clip(_tone(random, plate_log, settings.tone), 0, 1)
        degradation = DEGRADATIONS[draw_kind(random, settings.kinds)]
        top = peak(degradation.bits)
        truth_cv = from_signal(plate_log, degradation.bits)
        if random.random() < settings.grain:
            low, high = (sigma * top / peak(BITS) for sigma in settings.grain_sigma)
            grain_cv = draw_grain(
                random, self.crop, (low, high), settings.grain_correlated, settings.grain_skewed
            )
            if random.random() < settings.grain_uneven:
                grain_cv = grain_cv * draw_unevenness(random, truth_cv)
            truth_cv += grain_cv
            clipped = settings.grain_clipped
        else:
            clipped = settings.clipped
        if random.random() < clipped:
            truth_cv = clip(random, truth_cv)
        truth_cv = np.clip(truth_cv, 0, top).astype(np.float32)
        input_cv = degradation.apply(random, truth_cv, settings)
        below, above = (
            side + settings.extra_bound for side in (degradation.truth.below, degradation.truth.above)
        )
        return Batch(_tensor(input_cv), _tensor(truth_cv), _scalar(below), _scalar(above), _scalar(top))


@dataclass(frozen=True)
class Turn:
    """Where every so many-th micro-batch comes from: ``count`` samples of a dataset."""

    dataset: Dataset[Batch]
    count: int


def loader(turns: Sequence[Turn], micro_batches: Iterable[int], workers: int) -> Iterator[Batch]:
    """Yield micro-batches in order, made ahead of time by other processes.

    Args:
        turns: where samples come from, by their number; sent to the workers. Micro-batch ``m`` is from number
            ``m % len(turns)`` of them, its first sample is ``m`` times the largest count.
        micro_batches: their numbers, as many as wanted. Read a little ahead. What one process of several takes is
            the caller's choice.
        workers: processes that make them, started anew for each call (seconds); 0 makes them in between.

    Raises:
        BitexpandError: a sample cannot be made, as the dataset said it; or a worker died.
    """
    collated = _Collated(tuple(turns))
    if not workers:
        yield from map(collated.batch, micro_batches)
        return
    made = DataLoader(
        collated,
        batch_size=None,  # what it returns is a batch already
        sampler=micro_batches,
        num_workers=workers,
        worker_init_fn=_start_worker,
        # a fork would copy the threads' locks of torch and OpenColorIO in whatever state they are
        multiprocessing_context="spawn",
        pin_memory=torch.cuda.is_available(),
        # torch would take the seed of the workers from the random numbers of the training run
        generator=torch.Generator(),
    )
    for fields in _watched(iter(made)):
        if isinstance(fields, BitexpandError):
            raise fields
        yield Batch(*fields)


def whole_plates(folder: Path, manifest: Manifest, split: Split, limit: int | None) -> Iterator[WholePlate]:
    """Yield the plates of a split as 8-bit truth in the encoding that they are stored in, not augmented.

    Args:
        folder: the prepared folder.
        manifest: of it.
        split: which plates.
        limit: the largest side in pixels; what is larger is cropped around its centre.

    Yields:
        The plate's row; float32 (H, W, 3) code values in LSB of 8 bits, within 0 .. 255, not rounded; and bool
        (H, W), where that is to be trusted, or None for everywhere.

    Raises:
        UsageError: the split has no plates.
        MissingInputError, PlateError: as for a sample of :class:`CropDataset`.
    """
    for row in manifest.of_split(split, folder):
        plate, unknown = _open(folder, manifest, row)
        at = tuple(_centred(length, limit) for length in plate.shape[:2])
        truth_cv = from_signal(np.clip(crops.as_signal(plate[at]), 0, 1), BITS)
        if not np.isfinite(truth_cv).all():
            raise PlateError(f"plate '{row.name}' of {folder} holds NaN or Inf; prepare it again")
        yield row, truth_cv, None if unknown is None else ~unknown[at]


def _centred(length: int, limit: int | None) -> slice:
    size = min(length, limit or length)
    return slice((length - size) // 2, (length - size) // 2 + size)


def _open(folder: Path, manifest: Manifest, row: PlateRow) -> tuple[crops.Plate, Mask | None]:
    """Map a plate and its unknown pixels into memory, checked against the manifest."""
    dtype = np.uint16 if manifest.storage == "uint16" else np.float32
    plate = _map(folder, row, row.file, (row.height, row.width, 3), dtype)
    if row.unknown is None:
        return plate, None
    return plate, _map(folder, row, row.unknown, (row.height, row.width), np.bool_)


def _map(folder: Path, row: PlateRow, file: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray:
    path = folder / file
    try:
        found = np.load(path, mmap_mode="r")
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}, of plate '{row.name}', is not there; run prepare again") from error
    except (OSError, ValueError, EOFError) as error:
        raise PlateError(
            f"{path}, of plate '{row.name}', cannot be read ({error}); run prepare again"
        ) from error
    if found.shape != shape or found.dtype != dtype:
        raise PlateError(
            f"{path}, of plate '{row.name}', is {found.dtype} {found.shape}, and not {np.dtype(dtype)} {shape} "
            "as the manifest says; run prepare again"
        )
    return found


def _tone(random: np.random.Generator, plate_log: Floats, tone: float) -> Floats:
    """Return a log signal raised to a random power and times a random gain; log2 of both within ``tone``."""
    gain, gamma = 2.0 ** random.uniform(-tone, tone, 2)
    return np.power(np.clip(plate_log, 0, None), np.float32(gamma)) * np.float32(gain) if tone else plate_log


def _tensor(plate: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(plate.transpose(2, 0, 1)[None]))


def _scalar(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=torch.float32)


@contextmanager
def _about(row: PlateRow, number: int) -> Iterator[None]:
    """Say which plate it was, whatever goes wrong."""
    try:
        yield
    except Exception as error:
        raise PlateError(f"plate '{row.name}', sample {number}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class _Collated(Dataset[Made]):
    """Makes whole batches, and returns errors, which torch would wrap up in its own tracebacks.

    Fields instead of a Batch, because torch pins the memory of tuples.
    """

    turns: tuple[Turn, ...]

    def batch(self, micro_batch: int) -> Batch:
        turn = self.turns[micro_batch % len(self.turns)]
        first = micro_batch * max(turn.count for turn in self.turns)
        return Batch.of([turn.dataset[number] for number in range(first, first + turn.count)])

    def __getitem__(self, index: int) -> Made:
        try:
            joined = self.batch(index)
        except BitexpandError as error:
            # of its own kind where that can be sent to another process
            return error if type(error).__init__ is Exception.__init__ else PlateError(str(error))
        return joined.input_cv, joined.truth_cv, joined.below, joined.above, joined.peak_cv


def _start_worker(_worker: int) -> None:
    """Leave Ctrl-C to the process that trains, which then stops its workers; torch gave each one thread already.

    A worker that is done ends at once. Python would first end its threads in the midst of what they do, and with
    the one that sends tensors the whole process may abort ("terminate called without an active exception").
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit.register(os._exit, 0)  # batches that were asked for are sent by then; errors go the same way


def _watched(batches: Iterator[Made]) -> Iterator[Made]:
    """Name what torch says when a worker died, or failed in a way that is none of ours."""
    try:
        yield from batches
    except RuntimeError as error:
        raise BitexpandError(
            f"a process that makes crops failed ('workers: 0' shows more): {error}"
        ) from error
