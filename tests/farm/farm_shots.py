"""Small shots as jobs for a farm."""

from __future__ import annotations

import sys
from pathlib import Path

from plates import save_shot

from bitexpand.farm.job import FarmJob, Handling, plan_job
from bitexpand.jobs import Job

BITEXPAND = (sys.executable, "-m", "bitexpand")
ROOT = Path(__file__).parents[2]


def small_job(
    folder: Path,
    frames: int,
    chunk: int,
    model: str = "smooth",
    size: tuple[int, int] = (24, 32),
    on_missing: str = "error",
    **handling: object,
) -> FarmJob:
    """Return a job over frames 1001 and on, which lie in ``in`` and go to ``out``."""
    expansion = Job(
        input=save_shot(folder / "in", frames, *size),
        output=str(folder / "out" / "shot_####.exr"),
        model=model,
        device="cpu",
        threads=1,
        on_missing=on_missing,  # pyright: ignore[reportArgumentType]
    )
    return plan_job(expansion, Handling(chunk=chunk, command=BITEXPAND, **handling))  # pyright: ignore[reportArgumentType]


def results(job: FarmJob) -> list[Path]:
    """Return the frames that are there."""
    return sorted(Path(job.expansion.output).parent.glob("shot_*.exr"))


def states(job: FarmJob) -> dict[str, tuple[int, int]]:
    """Return what changes when a frame is written again, even with the same bytes."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in results(job)}


def source(job: FarmJob, number: int) -> Path:
    """Return the source of a frame."""
    return Path(job.expansion.input.replace("####", str(number)))
