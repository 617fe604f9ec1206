"""A prepared folder and a run on it, as small as they can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training import arrays
from training.augmentation import Augmentation
from training.manifest import Manifest, PlateRow, Split
from training.procedural import scene
from training.run_config import ModelChoice, Phase, Run

SPLITS: tuple[Split, ...] = ("train", "train", "train", "val", "val", "test")
SIDE = 64
TINY = {"channels": [4, 4], "factor": 2, "fits": [3]}


def prepared(folder: Path, splits: tuple[Split, ...] = SPLITS) -> Path:
    """Write smooth plates of 64x64 px in the named splits, and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, split in enumerate(splits):
        plate_log = scene(np.random.default_rng(number), SIDE).astype(np.float32)
        name = f"plate{number}"
        rows.append(
            PlateRow(
                name=name,
                file=f"{name}.npy",
                unknown=None,
                height=SIDE,
                width=SIDE,
                scene=name,
                split=split,
                source="made",
                licence="CC0-1.0",
                origin="made",
                original_sha256=f"{number:064x}",
                sha256=arrays.write_array(folder / f"{name}.npy", plate_log),
            )
        )
    Manifest("ACEScct", "bitexpand", "float", tuple(rows)).save(folder)
    return folder


def small_run(folder: Path, *phases: Phase, **changes: Any) -> Run:  # noqa: ANN401  (fields of Run)
    """Return a run of a tiny network, three steps to an epoch, whose phases are of two."""
    if not (folder / "plates").exists():
        prepared(folder / "plates")
    run = Run(
        data=str(folder / "plates"),
        run=str(folder / "run"),
        model=ModelChoice(architecture="pyramid", config=TINY),
        phases=phases or (phase(),),
        batch=2,
        crop=32,
        steps_per_epoch=3,
        ema=0.5,
        threads=1,
        workers=0,
        device="cpu",
        pictures=1,
    )
    return replace(run, **changes)


def phase(name: str = "first", **changes: Any) -> Phase:  # noqa: ANN401  (fields of Phase)
    """Return a phase of two epochs on one loss."""
    given = {
        "losses": {"l2": 1.0},
        "learning_rate": 4e-3,
        "epochs": 2,
        "augmentation": Augmentation(procedural=0.5),
    }
    return Phase(name, **{**given, **changes})
