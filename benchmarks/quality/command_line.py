"""Our models as their users run them: PNG files in, ``bitexpand batch``, EXR files out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality.trial import BITS, Trial
from bitexpand import frames
from bitexpand.code_values import Floats, from_signal
from bitexpand.errors import BitexpandError


@dataclass(frozen=True)
class CommandLine:
    """A model by the command line.

    Attributes:
        name: of ``bitexpand models``, or a weights file.
        work: folder for sources and results, shared by all models; what lies there is not expanded again.
        results: name of this model's own folder in it.
        depth: samples of the EXR, "float" or "half".
        threads: of the network; None is all cores.
    """

    name: str
    work: Path
    results: str
    depth: str = "float"
    threads: int | None = None

    def expand(self, trials: Sequence[Trial]) -> Iterator[Floats]:
        """Yield what the command line wrote of each trial, float32 (H, W, 3) in LSB of 8 bits.

        Raises:
            BitexpandError: the command failed; it has said why.
        """
        for trial in trials:
            self._write(trial)
        for folder in dict.fromkeys(_folder(trial) for trial in trials):
            self._batch(folder)
        for trial in trials:
            result = self.work / self.results / _folder(trial) / f"{trial.name}.exr"
            yield from_signal(frames.read_frame(result).pixels.astype(np.float32), BITS)

    def _write(self, trial: Trial) -> None:
        path = self.work / "sources" / _folder(trial) / f"{trial.name}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(trial.codes).save(path)

    def _batch(self, folder: Path) -> None:
        command = ["bitexpand", "batch", str(self.work / "sources" / folder), "--recursive"]
        command += ["-o", str(self.work / self.results / folder), "--source", folder.name]
        command += ["--model", self.name, "--depth", self.depth, "--progress", "none"]
        command += ["--threads", str(self.threads)] if self.threads else []
        code = subprocess.run([sys.executable, "-m", *command], check=False).returncode
        if code:
            raise BitexpandError(f"`{' '.join(command)}` failed with exit code {code}; it said why")


def _folder(trial: Trial) -> Path:
    """Return where a trial lies, below the folders of sources and of results."""
    return Path(trial.group, trial.source)
