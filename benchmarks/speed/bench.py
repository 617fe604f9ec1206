"""What all sections share: the options, and the shots and commands that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.command import seq_command
from benchmarks.speed.figures import Size
from benchmarks.speed.plates import SIZE, make_frames
from bitexpand.engine import Expander

DEFAULT = "pyramid"  # the model that aims are set for
SECOND = 24  # frames of film; no shot of larger ones is shorter, if as many are asked for
FEWEST = 6  # frames of any shot, or its first ones count too much


@dataclass(frozen=True)
class Bench:
    """A run of the benchmark.

    Attributes:
        folder: for frames and results.
        sizes: width and height of the frames.
        models: names, or weights files.
        frames: of 1536x864 in a shot; of larger ones there are fewer.
        repeats: of which the median counts.
        long_shot: frames of the shot that may need no more memory than one of 20.
        threads: CPU threads of the network; None leaves the choice to torch.
        device: as ``--device``.
    """

    folder: Path
    sizes: tuple[Size, ...] = (SIZE,)
    models: tuple[str, ...] = (DEFAULT,)
    frames: int = 100
    repeats: int = 3
    long_shot: int = 200
    threads: int | None = None
    device: str = "cpu"
    _shots: dict[tuple[Size, int], Path] = field(default_factory=dict)

    def count(self, size: Size) -> int:
        """Return the frames of a shot of this size: fewer of larger ones, but a second where it is as long."""
        share = SIZE[0] * SIZE[1] / (size[0] * size[1])
        return max(FEWEST, min(self.frames, SECOND), round(self.frames * min(share, 1)))

    def shot(self, size: Size, count: int | None = None) -> Path:
        """Return the folder of a shot of ``plate_1001.png`` and so on, made when first asked for."""
        count = count or self.count(size)
        if (size, count) not in self._shots:
            folder = self.folder / f"{size[0]}x{size[1]}_{count}"
            folder.mkdir()
            make_frames(folder, count, size)
            self._shots[size, count] = folder
        return self._shots[size, count]

    def expander(self, model: str, tile: int | None = None) -> Expander:
        """Return an engine of the chosen device and threads."""
        return Expander(model, device=self.device, tile=tile, threads=self.threads)

    def seq(self, shot: Path, model: str, *options: str) -> list[str]:
        """Return the command that expands a shot, whatever is there already."""
        chosen = ("--model", model, "--device", self.device, "--existing", "overwrite", *options)
        threads = ("--threads", str(self.threads)) if self.threads else ()
        return seq_command(shot / "plate_####.png", shot / "expanded" / "o_####.exr", *chosen, *threads)
