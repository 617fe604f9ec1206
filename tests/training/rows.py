"""Rows of a manifest, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from training.manifest import PlateRow, Split


def row(name: str, split: Split = "train", scene: str = "", **changes: Any) -> PlateRow:  # noqa: ANN401
    """Return the row of a plate of 6x4 px; ``changes`` are its other fields."""
    plate = PlateRow(
        name=name,
        file=f"{name}.npy",
        unknown=None,
        height=4,
        width=6,
        scene=scene or name,
        split=split,
        source="here",
        licence="CC0-1.0",
        origin=f"/pictures/{name}.exr",
        original_sha256="0" * 64,
        sha256="1" * 64,
        notes=("alpha left out",),
    )
    return replace(plate, **changes)
