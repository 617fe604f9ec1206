"""A small prepared folder, and a training checkpoint, for the tests of what comes out of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from plates import TINY

from bitexpand.code_values import Floats
from bitexpand.models.pyramid import Pyramid
from training import checkpoints
from training.checkpoints import Checkpoint, Position
from training.manifest import Manifest, PlateRow, Split

ENCODING, CONFIG = "ACEScct", "bitexpand"
PLACES: tuple[tuple[str, Split], ...] = (("dawn", "train"), ("dusk", "val"), ("noon", "val"), ("rain", "val"))
NOON_UNKNOWN = np.s_[:20, :10]  # pixels of one plate


def row(name: str, split: Split, height: int, width: int, unknown: str | None = None) -> PlateRow:
    """Return the row of a plate that is a scene of its own."""
    return PlateRow(
        name=f"own/{name}",
        file=f"{name}.npy",
        unknown=unknown,
        height=height,
        width=width,
        scene=name,
        split=split,
        source="own",
        licence="CC0-1.0",
        origin=name,
        original_sha256=name,
        sha256=name,
    )


def signal(number: int, height: int = 48, width: int = 64) -> Floats:
    """Return a calm sky over a hard horizon; each number has more grain than the one before."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[0:height, 0:width]
    sky = 0.3 + (0.11 * x + 0.07 * y)[..., None] / 255 * np.array([1, 1.3, 0.7])
    sky[-height // 6 :] *= 0.5
    return (sky + random.normal(0, 0.2 * number / 255, sky.shape)).astype(np.float32)


def prepare(folder: Path) -> Manifest:
    """Write a training plate and three validation plates, one of them with unknown pixels."""
    rows = []
    for number, (name, split) in enumerate(PLACES):
        plate = signal(number)
        height, width, _ = plate.shape
        unknown = np.zeros((height, width), bool)
        if name == "noon":
            unknown[NOON_UNKNOWN] = True
            np.save(folder / "noon_unknown.npy", unknown)
        np.save(folder / f"{name}.npy", plate)
        rows.append(row(name, split, height, width, "noon_unknown.npy" if unknown.any() else None))
    manifest = Manifest(ENCODING, CONFIG, "float", tuple(rows))
    manifest.save(folder)
    return manifest


def trained(path: Path, seed: int = 0, steps: int = 0, identity: Mapping[str, str] | None = None) -> Path:
    """Write a training checkpoint of a tiny model whose moving average is not what was trained last."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        average, last = Pyramid(TINY).state_dict(), Pyramid(TINY).state_dict()
    content = Checkpoint(
        architecture="pyramid",
        config=TINY,
        model=last,
        ema=average,
        optimizer={},
        scheduler={},
        position=Position(total_step=steps),
        identity=identity or {},
        random=torch.get_rng_state(),
    )
    checkpoints.save(path, content)
    return path
