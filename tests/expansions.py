"""Runs for tests: a small job, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from PIL import Image
from plates import natural, save_shot

from bitexpand.code_values import peak
from bitexpand.frames import read_frame
from bitexpand.jobs import Job
from bitexpand.location import Location
from bitexpand.pipeline import expand_sequence

SHOW_CONFIG = """
ocio_profile_version: 2.1
roles: {{default: raw}}
file_rules: [!<Rule> {{name: Default, colorspace: raw}}]
displays: {{d: [!<View> {{name: v, colorspace: raw}}]}}
colorspaces:
  - !<ColorSpace> {{name: raw}}
  - !<ColorSpace>
    name: log
    to_scene_reference: !<ExponentTransform> {{value: [{power}, {power}, {power}, 1]}}
"""
P = ParamSpec("P")
R = TypeVar("R")


def six_frames(folder: Path, model: str) -> Job:
    """Return a job over frames 1001 to 1006, which lie in ``in`` and go to ``out``."""
    return Job(
        input=save_shot(folder / "in", 6),
        output=str(folder / "out" / "shot_####.exr"),
        model=model,
        device="cpu",
        threads=1,
    )


def source(job: Job, number: int) -> Path:
    """Return the source of a frame."""
    return Path(job.input.replace("####", str(number)))


def target(job: Job, number: int) -> Path:
    """Return the result of a frame."""
    return Path(job.output.replace("####", str(number)))


def save_16(path: Path, bits: int) -> None:
    """Write a grey 16-bit PNG of 12x16 pixels that holds ``bits`` bits, padded below."""
    Image.fromarray((natural(12, 16, 1, bits) << (16 - bits)).squeeze()).save(path)


def statuses(job: Job) -> str:
    """Expand and return the first letter of each status: w, s or f."""
    return "".join(result.status[0] for result in expand_sequence(job))


def codes_in(path: Location, bits: int = 8) -> np.ndarray:
    """Read a written frame and round it as anyone would."""
    pixels = read_frame(path).pixels
    signal = pixels.astype(np.float64) / (65535 if pixels.dtype == np.uint16 else 1)
    return np.floor(signal * peak(bits) + 0.5).astype(np.uint16)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what changes when a file is written again, even with the same bytes."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def preceded(function: Callable[P, R], act: Callable[..., object]) -> Callable[P, R]:
    """Return ``function`` with ``act`` before every call."""

    def both(*args: P.args, **kwargs: P.kwargs) -> R:
        act(*args, **kwargs)
        return function(*args, **kwargs)

    return both
