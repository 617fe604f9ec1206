"""Shots to compare: a truth, the 8-bit source that was rounded from it, and results made of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from plates import natural, save, save_shot

from bitexpand import frames
from bitexpand.compare import CompareJob
from bitexpand.header import Attribute, FrameInfo, Window
from bitexpand.jobs import Job
from bitexpand.pipeline import expand_sequence

Floats = npt.NDArray[np.float32]
Convert = Callable[[Floats], Floats]
Make = Callable[[Floats, Floats], npt.NDArray[Any]]


def write_exr(path: Path, signal: npt.NDArray[Any], *attributes: Attribute) -> Path:
    """Write (H, W, 1 or 3) samples as they are; uint16 ones go into other formats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    window = Window(0, 0, signal.shape[1], signal.shape[0])
    channels = ("Y",) if signal.shape[2] == 1 else ("R", "G", "B")
    info = FrameInfo(path, "", channels, str(signal.dtype), 8 * signal.itemsize, window, window)
    frames.write_frame(path, signal, info, attributes)
    return path


class Shot:
    """Truth and source of so many frames from 1001 on.

    Args:
        folder: where they are written, the truth as float EXR.
        count: of frames.
        picture: from height, width and the number of the frame, from 0, to 16-bit code values.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        picture: Callable[[int, int, int], npt.NDArray[np.uint16]] | None = None,
        height: int = 24,
        width: int = 32,
    ) -> None:
        make = picture or (lambda height, width, i: natural(height, width, bits=16, seed=i))
        self.truths_cv = [(make(height, width, i) / 257).astype(np.float32) for i in range(count)]
        self.sources_cv = [np.floor(truth_cv + np.float32(0.5)) for truth_cv in self.truths_cv]
        self.truth, self.source, self.result = (
            str(folder / name) for name in ("truth/a_####.exr", "source/a_####.png", "result/a_####.exr")
        )
        for path, source_cv in zip(self.paths(self.source), self.sources_cv, strict=True):
            save(path, source_cv.astype(np.uint8))
        self.write_truth()

    def paths(self, pattern: str) -> list[Path]:
        """Return the files of a pattern."""
        return [Path(pattern.replace("####", str(1001 + i))) for i in range(len(self.truths_cv))]

    def write_truth(self, convert: Convert = np.asarray) -> None:
        """Write the truth, its signal converted."""
        for path, truth_cv in zip(self.paths(self.truth), self.truths_cv, strict=True):
            write_exr(path, convert((truth_cv / 255).astype(np.float32)))

    def write_result(self, make: Make, convert: Convert = np.asarray) -> None:
        """Write results, made of source and truth in LSB, their signal converted."""
        for path, source_cv, truth_cv in zip(
            self.paths(self.result), self.sources_cv, self.truths_cv, strict=True
        ):
            write_exr(path, convert((make(source_cv, truth_cv) / 255).astype(np.float32)))

    def job(self, **options: Any) -> CompareJob:  # noqa: ANN401  (a CompareJob's fields)
        """Return what compares the result with the truth and the source."""
        return CompareJob(candidate=self.result, truth=self.truth, source=self.source, **options)


def expanded(folder: Path, model: str, channels: int = 3, **options: Any) -> CompareJob:  # noqa: ANN401
    """Expand three frames, and return what compares them with their sources."""
    source = save_shot(folder / "in", 3, channels=channels)
    job = Job(
        input=source, output=f"{folder}/out/a_####.exr", model=model, device="cpu", threads=1, **options
    )
    assert [r.error for r in expand_sequence(job) if r.status == "failed"] == []
    return CompareJob(candidate=job.output, source=source)
