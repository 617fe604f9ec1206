"""What a prepared folder holds: its plates, where each came from, and in which split it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["train", "val", "test"]
Storage: TypeAlias = Literal["float", "uint16"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
FILE_NAME = "manifest.json"


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

    encoding: str
    config: str
    storage: Storage
    plates: tuple[PlateRow, ...]
