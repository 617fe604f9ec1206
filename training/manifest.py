"""What a prepared folder holds: its plates, where each came from, and in which split it is."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

import numpy as np

from bitexpand import provenance, temporaries
from bitexpand.errors import MissingInputError, PlateError, UsageError
from training.settings import STRICT, build

Split: TypeAlias = Literal["train", "val", "test"]
Storage: TypeAlias = Literal["float", "uint16"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
FILE_NAME = "manifest.json"
VERSION = 1
STORAGE_DTYPE: dict[Storage, str] = {"float": "float32", "uint16": "uint16"}


@dataclass(frozen=True)
class PlateRow:
    """One plate of a prepared folder.

    Attributes:
        name: unique in the folder, such as "polyhaven/kloofendal".
        file: of the plate, relative to the folder: NumPy (H, W, 3), float32 or uint16 (65535 is 1.0), a log signal.
        unknown: of a NumPy bool (H, W), relative to the folder: True where the truth is not to be trusted; None
            where all of it is.
        height, width: in pixels.
        scene: what must stay within one split.
        split: "train", "val" or "test".
        source, licence, origin: the source's name, an SPDX identifier, where the original came from.
        original_sha256: of the file that it was made from.
        sha256: of the plate's file.
        notes: what was done to the original that its owner might want to know, such as "alpha left out".
    """

    __pydantic_config__ = STRICT

    name: str
    file: str
    unknown: str | None
    height: int
    width: int
    scene: str
    split: Split
    source: str
    licence: str
    origin: str
    original_sha256: str
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """All plates of a prepared folder, and the log space that they are in.

    Attributes:
        encoding: canonical name of the OCIO space of the plates.
        config: the OCIO config that has it, as ``--config`` takes it.
        storage: "float" or "uint16".
        plates: sorted by name.
    """

    __pydantic_config__ = STRICT

    encoding: str
    config: str
    storage: Storage
    plates: tuple[PlateRow, ...]

    @staticmethod
    def load(folder: Path) -> Manifest:
        """Read the manifest of a prepared folder and check that its plates are there.

        Raises:
            MissingInputError: there is no manifest, or a plate is not there.
            UsageError: it is no manifest, of another version, has a wrong key, or a scene in two splits.
            PlateError: a plate's file is not what the manifest says.
        """
        path = folder / FILE_NAME
        manifest = build(Manifest, _content(path), path)
        manifest.check(path)
        for row in manifest.plates:
            _check_file(folder, row.file, (row.height, row.width, 3), STORAGE_DTYPE[manifest.storage])
            if row.unknown is not None:
                _check_file(folder, row.unknown, (row.height, row.width), "bool")
        return manifest

    def save(self, folder: Path) -> None:
        """Write the manifest into a prepared folder, complete or not at all.

        Raises:
            UsageError: as :meth:`check`.
            DiskFullError, WriteError: it could not be written.
        """
        self.check(folder / FILE_NAME)
        temporaries.write_text(
            folder / FILE_NAME, json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n"
        )

    def digest(self) -> str:
        """Return the SHA-256 of what the manifest says, and so of every plate, as hexadecimal."""
        return provenance.digest({"version": VERSION, **asdict(self)})

    def of_split(self, split: Split, folder: Path) -> tuple[PlateRow, ...]:
        """Return the plates of a split; ``folder`` is for the message.

        Raises:
            UsageError: there are none.
        """
        rows = tuple(row for row in self.plates if row.split == split)
        if not rows:
            raise UsageError(
                f"no plates in split '{split}' of {folder}; give it a share, or pin scenes to it"
            )
        return rows

    def check(self, path: Path) -> None:
        """Check what no single row tells; ``path`` is for the message.

        Raises:
            UsageError: two plates of one name, or a scene in two splits; the message names the plates.
        """
        twice = [name for name, count in Counter(row.name for row in self.plates).items() if count > 1]
        if twice:
            raise UsageError(f"{path}: two plates are called '{twice[0]}'; prepare the folder again")
        first: dict[str, PlateRow] = {}
        for row in self.plates:
            other = first.setdefault(row.scene, row)
            if other.split != row.split:
                raise UsageError(
                    f"{path}: scene '{row.scene}' is in two splits: '{other.name}' in '{other.split}',"
                    f" '{row.name}' in '{row.split}'; prepare the folder again"
                )


def _content(path: Path) -> dict[str, Any]:
    """Return what a manifest's file holds, its version checked and taken off."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        advice = "run `python -m training prepare` to make it"
        raise MissingInputError(
            f"{path.parent}: is no prepared folder, it has no {path.name}; {advice}"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error}); prepare the folder again") from error
    if not isinstance(content, dict) or "version" not in content:
        raise UsageError(f"{path}: is no manifest of a prepared folder")
    version = content.pop("version")
    if version != VERSION:
        raise UsageError(
            f"{path}: has version {version}, this program reads {VERSION}; prepare the folder again"
        )
    return content


def _check_file(folder: Path, name: str, shape: tuple[int, ...], dtype: str) -> None:
    path = folder / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise UsageError(f"{folder / FILE_NAME}: the file '{name}' is not within the folder")
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise MissingInputError(
            f"{path}: is in the manifest and not there; prepare the folder again"
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise PlateError(f"{path}: is damaged ({error}); prepare the folder again") from error
    if not isinstance(stored, np.ndarray) or (stored.shape, str(stored.dtype)) != (shape, dtype):
        found = f"{stored.dtype} {stored.shape}" if isinstance(stored, np.ndarray) else "no array"
        raise PlateError(
            f"{path}: holds {found}, the manifest says {dtype} {shape}; prepare the folder again"
        )
