"""Recipes of a few small pictures, and what is prepared from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from originals import light, save

from training.prepare import Prepared
from training.recipe import Recipe, Shares
from training.sources.folder import Folder

ONLY_TRAIN = Shares(100, 0, 0)


def pictures(folder: Path, count: int) -> Path:
    for number in range(count):
        save(folder / f"plate_{number:04d}.exr", light(seed=number))
    return folder


def recipe(folder: Path, *sources: Folder, **changes: Any) -> Recipe:  # noqa: ANN401
    taken = sources or (Folder(kind="folder", path=str(folder / "in")),)
    settled = Recipe(output=str(folder / "out"), sources=taken, cache=str(folder / "cache"), split=ONLY_TRAIN)
    return replace(settled, **changes)


def plate(prepared: Prepared, name: str) -> npt.NDArray[Any]:
    row = next(row for row in prepared.manifest.plates if row.name == name)
    return np.load(prepared.folder / row.file)
