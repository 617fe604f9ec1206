"""One prepared plate on disk: made once, found again by what it was made of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pydantic

from bitexpand import provenance, temporaries
from bitexpand.code_values import Floats
from bitexpand.color import ColorConfig, conversion
from bitexpand.errors import PlateError
from training import arrays, statistics
from training.linear import LinearPlate, Reading, read_linear
from training.manifest import STORAGE_DTYPE, Storage
from training.settings import STRICT
from training.statistics import PlateStatistics

VERSION = 1
"""Raised when the same original becomes another plate, so that old ones are made again."""


@dataclass(frozen=True)
class Target:
    """The space and the samples that plates are stored in.

    Attributes:
        config: has ``encoding``.
        encoding: canonical name of an OCIO space.
        storage: "float", or "uint16", which is clipped to 0..1 and rounded to 1/65535.
    """

    config: ColorConfig
    encoding: str
    storage: Storage

    def fingerprint(self, original_sha256: str, reading: Reading) -> str:
        """Return what decides a plate's every bit, as a SHA-256."""
        said = {"version": VERSION, "original": original_sha256, "config": self.config.identity}
        return provenance.digest(
            {**said, **asdict(reading), "encoding": self.encoding, "storage": self.storage}
        )

    def encode(self, plate: LinearPlate) -> Floats:
        """Return float32 (H, W, 3) in ``encoding``, nothing clipped.

        Raises:
            UnknownNameError, UsageError, ColorError: OCIO cannot convert it.
        """
        return conversion(self.config, plate.space, self.encoding, lossless=True).apply(plate.plate_linear)

    def stored(self, plate_log: Floats) -> np.ndarray:
        """Return a log plate in the samples of ``storage``."""
        if self.storage == "float":
            return plate_log
        return np.rint(plate_log.clip(0, 1) * np.float32(65535)).astype(np.uint16)


@dataclass(frozen=True)
class Made:
    """What lies beside a plate as JSON, written last: a plate without it is not complete.

    Attributes:
        fingerprint: of what it was made of.
        sha256: of the plate's file.
        height, width: in pixels.
        has_unknown: there is a mask.
        notes: see ``PlateRow``.
        statistics: counts.
    """

    __pydantic_config__ = STRICT

    fingerprint: str
    sha256: str
    height: int
    width: int
    has_unknown: bool
    notes: tuple[str, ...]
    statistics: PlateStatistics


def plate_file(name: str) -> str:
    """Return the file of a plate, relative to the prepared folder."""
    return f"{name}.npy"


def unknown_file(name: str) -> str:
    """Return the file of a plate's mask, relative to the prepared folder; no plate's ends like it."""
    return f"{name}.unknown"


def find(folder: Path, name: str, fingerprint: str, storage: Storage) -> Made | None:
    """Return what is known of a plate that lies there complete, made of the same; None where it must be made."""
    try:
        made = pydantic.TypeAdapter(Made).validate_json((folder / _sidecar(name)).read_bytes())
        plate = np.load(folder / plate_file(name), mmap_mode="r")
        unknown = np.load(folder / unknown_file(name), mmap_mode="r") if made.has_unknown else None
    except (OSError, ValueError, EOFError):
        return None
    size = (made.height, made.width)
    fits = plate.shape == (*size, 3) and plate.dtype == STORAGE_DTYPE[storage]
    fits = fits and (unknown is None or (unknown.shape == size and unknown.dtype == bool))
    return made if fits and made.fingerprint == fingerprint else None


def exists(folder: Path, name: str) -> bool:
    """Tell whether a plate that was finished once lies there."""
    return (folder / _sidecar(name)).exists()


def remove(folder: Path, name: str) -> None:
    """Remove a plate and what lies beside it; what vouches for it goes first."""
    for file in (_sidecar(name), plate_file(name), unknown_file(name)):
        (folder / file).unlink(missing_ok=True)


def make(original: Path, folder: Path, name: str, reading: Reading, target: Target, fingerprint: str) -> Made:
    """Read an original, encode it, and store it under ``name`` in the prepared folder, whose folders exist.

    Raises:
        PlateError: it cannot be truth; nothing is stored.
        BitexpandError: as ``read_linear`` and ``Target.encode`` do.
        DiskFullError, WriteError: it could not be stored; nothing half is left.
    """
    plate = read_linear(original, reading, target.config)
    plate_log = target.encode(plate)
    if not np.isfinite(plate_log).all():
        raise PlateError(
            f"{original}: has values that are none in {target.encoding}; choose an encoding that takes"
            " negative and very bright light, such as ACEScct, or give its source a 'ceiling'"
        )
    if plate.unknown is not None and plate.unknown.all():
        raise PlateError(
            f"{original}: no pixel of it is to be trusted; leave it out with 'skip', or raise 'ceiling'"
        )
    # While a plate is replaced, nothing may vouch for it.
    (folder / _sidecar(name)).unlink(missing_ok=True)
    made = Made(
        fingerprint=fingerprint,
        sha256=arrays.write_array(folder / plate_file(name), np.ascontiguousarray(target.stored(plate_log))),
        height=plate_log.shape[0],
        width=plate_log.shape[1],
        has_unknown=plate.unknown is not None,
        notes=plate.notes,
        statistics=statistics.measure(plate_log, plate.plate_linear, plate.unknown),
    )
    if plate.unknown is not None:
        arrays.write_array(folder / unknown_file(name), np.ascontiguousarray(plate.unknown))
    temporaries.write_text(folder / _sidecar(name), json.dumps(asdict(made)))
    return made


def _sidecar(name: str) -> str:
    return f"{name}.json"
