"""Random lit scenes, rendered by Blender: as many clean float plates as there is time for."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import os
import random
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bitexpand.errors import BitexpandError, DiskFullError, MissingInputError, PlateError, WriteError
from bitexpand.frames import read_frame
from bitexpand.temporaries import prepare_folder, temporary_name, write_text
from training.sources.base import Original, SourceSettings

SCRIPT = Path(__file__).parents[1] / "blender_scenes.py"
OWN_PYTHON = Path(__file__).parents[2] / ".venv-blender" / "bin" / "python"
VARIABLE = "BITEXPAND_BLENDER"
BATCH = 16
"""Pictures per start of Blender at most: a start takes seconds, and a list is not to be rendered unasked."""
HDRI_SHARE = 0.5

_LOG = logging.getLogger("training")
_ONE_AT_A_TIME = threading.Lock()  # Blender takes all cores by itself
_LAST_LINES = 6
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")  # our libraries must not get into Blender's Python
_Count = Annotated[int, Field(ge=0, le=99_999)]
_Side = Annotated[int, Field(ge=16, le=16_384)]


@dataclass(frozen=True, kw_only=True)
class Blender(SourceSettings):
    """Stills and short sequences of random scenes, rendered by Blender's Cycles on the CPU.

    Scene-linear Rec.709 as 32-bit float EXR, denoised, without grain. Blender is only ever a process of its own:
    its Python package ``bpy`` is GPL and needs numpy below 2, ours needs 2 or newer. What a picture shows is
    decided by ``seed`` and its number: asking for more leaves those that are there as they are.

    Attributes:
        stills: how many, each a scene of its own.
        sequences: how many, each a scene of its own with a slow camera move of about a pixel a frame.
        frames: of a sequence.
        size: width and height in pixels.
        samples: light paths a pixel.
        seed: of all scenes.
        hdris: folder of .exr and .hdr panoramas that light half of the scenes; "" takes Blender's sky models alone.
            All pictures under one panorama are one scene, named after its file, as its sky must not get from
            training into validation. ``licence`` must be one that the panoramas' allows.
        blender: an executable of Blender 5.0 or newer, or of a Python that has ``bpy``; "" takes what
            $BITEXPAND_BLENDER names, else what ``scripts/install-blender`` made, else ``blender`` on the PATH.
    """

    kind: Literal["blender"]
    licence: str = "CC0-1.0"
    stills: _Count = 0
    sequences: _Count = 0
    frames: Annotated[int, Field(ge=2, le=9_999)] = 16
    size: tuple[_Side, _Side] = (640, 360)
    samples: Annotated[int, Field(ge=1, le=65_536)] = 64
    seed: int = 0
    hdris: str = ""
    blender: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stills and not self.sequences:
            raise ValueError("nothing to render: give a number of stills or sequences")

    def list(self) -> Sequence[Original]:
        """Say what there is to render, sorted by name.

        Raises:
            MissingInputError: ``hdris`` is no folder, or holds no panorama.
        """
        panoramas = self._panoramas()
        return [self._original(self._picture(name, panoramas)) for name in self._names()]

    def fetch(self, original: Original, cache: Path) -> Path:
        """Return a picture's file, rendered unless it lies in the cache whole and made with the same settings.

        Those of the next pictures that are missing are rendered in the same go.

        Raises:
            MissingInputError: there is no Blender; the message says how to get it.
            PlateError: Blender failed; the message has its last lines.
            UsageError, WriteError: the cache cannot be written to; DiskFullError if it is full.
        """
        panoramas = self._panoramas()
        wanted = self._picture(original.name, panoramas)
        with _ONE_AT_A_TIME:
            if not _is_whole(wanted.file(cache)):
                later = [name for name in self._names() if name > wanted.name and not self._skips(name)]
                missing = [self._picture(name, panoramas) for name in later[: BATCH - 1]]
                missing = [picture for picture in missing if not _is_whole(picture.file(cache))]
                _render([wanted, *missing], cache, find_blender(self.blender))
        return wanted.file(cache)

    def _names(self) -> Sequence[str]:
        """Return the names of all pictures, sorted."""
        stills = [f"still_{i:04d}" for i in range(1, self.stills + 1)]
        shots = [f"sequence_{i:04d}" for i in range(1, self.sequences + 1)]
        return sorted(stills + [f"{shot}/frame_{i:04d}" for shot in shots for i in range(1, self.frames + 1)])

    def _skips(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.skip)

    def _panoramas(self) -> Sequence[Path]:
        if not self.hdris:
            return ()
        folder = Path(self.hdris)
        if not folder.is_dir():
            raise MissingInputError(
                f"{folder}: no such folder; key 'hdris' names a folder of panoramas, or ''"
            )
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".exr", ".hdr"))
        if not found:
            raise MissingInputError(
                f"{folder}: holds no .exr or .hdr; key 'hdris' names a folder of panoramas"
            )
        return found

    def _picture(self, name: str, panoramas: Sequence[Path]) -> _Picture:
        shot, _, frame = name.partition("/frame_")
        seed = f"{self.seed}/{shot}"
        rng = random.Random(f"{seed}/hdri")
        hdri = rng.choice(panoramas) if panoramas and rng.random() < HDRI_SHARE else None
        return _Picture(name, seed, int(frame or 1) - 1, self.size, self.samples, hdri)

    def _original(self, picture: _Picture) -> Original:
        origin = f"blender:seed={picture.seed}"
        scene = picture.hdri.stem if picture.hdri else origin
        scene = self.scene_of(picture.name) if self.scene else scene
        return Original(picture.name, ".exr", scene, origin, self.licence)


@dataclass(frozen=True)
class _Picture:
    """One picture, and all that decides what it shows."""

    name: str
    seed: str
    frame: int
    size: tuple[int, int]
    samples: int
    hdri: Path | None

    def job(self, output: Path) -> dict[str, Any]:
        """Return what ``blender_scenes.py`` is told."""
        hdri = str(self.hdri.resolve()) if self.hdri else ""
        return {"name": self.name, "output": str(output.resolve()), "hdri": hdri, **self._settings()}

    def card(self, sha256: str) -> str:
        """Return the text that lies beside the finished file: how it was made, and its checksum."""
        return (
            json.dumps({**self._settings(), "hdri": self._hdri_version(), "sha256": sha256}, indent=1) + "\n"
        )

    def file(self, cache: Path) -> Path:
        """Return the finished file, whose name changes with whatever changes the picture."""
        decisive = [self._settings(), self._hdri_version(), *(path.read_text("utf-8") for path in _scripts())]
        version = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:12]
        return cache / f"{self.name}.{version}.exr"

    def _settings(self) -> dict[str, Any]:
        return {"seed": self.seed, "frame": self.frame, "size": [*self.size], "samples": self.samples}

    def _hdri_version(self) -> str:
        return f"{self.hdri.name}, {self.hdri.stat().st_size} bytes" if self.hdri else ""


def find_blender(given: str = "") -> Path:
    """Return the executable of a Blender, or of a Python with ``bpy``.

    Args:
        given: a path or a command; "" takes what $BITEXPAND_BLENDER names, else what ``scripts/install-blender``
            made, else ``blender`` on the PATH.

    Raises:
        MissingInputError: there is none; the message says how to get one.
    """
    asked = given or os.environ.get(VARIABLE, "")
    for candidate in [asked] if asked else [str(OWN_PYTHON), "blender"]:
        if found := shutil.which(candidate):
            return Path(found).absolute()  # not resolved, as a virtual environment's Python is a link
    advice = "run scripts/install-blender, or install Blender 5.0 or newer"
    if asked:
        where = "key 'blender'" if given else f"${VARIABLE}"
        raise MissingInputError(f"{asked}: no executable, named by {where}; {advice}")
    raise MissingInputError(
        f"no Blender found: no {OWN_PYTHON}, no ${VARIABLE}, no 'blender' on the PATH; {advice} and name its"
        f" executable in key 'blender' or in ${VARIABLE}"
    )


def _scripts() -> Sequence[Path]:
    return sorted(SCRIPT.parent.glob("blender_*.py"))


def _is_whole(file: Path) -> bool:
    """Whether a picture and its card lie there, and belong together."""
    try:
        card = json.loads(file.with_suffix(".json").read_text("utf-8"))
        return card["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _render(pictures: Sequence[_Picture], cache: Path, blender: Path) -> None:
    """Render pictures in one start of Blender.

    Raises:
        PlateError, WriteError: the first one failed. A later one's failure is a warning: it is tried again, and
            raised, when that one is asked for.
    """
    waiting = deque(pictures)
    unfinished = {picture.name: _unfinished(picture.file(cache)) for picture in pictures}
    jobs = [picture.job(unfinished[picture.name]) for picture in pictures]
    _LOG.info("Blender renders %d pictures, %s first", len(pictures), pictures[0].name)
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        with _running(blender, jobs) as process:
            for line in process.stdout or ():
                lines.append(" ".join(line.split()))
                if waiting and lines[-1] == f"rendered {waiting[0].name}":
                    _finish(waiting[0], unfinished[waiting[0].name], cache)
                    _LOG.info("rendered %s, %d to go", waiting.popleft().name, len(waiting))
            code = process.wait()
        if waiting:
            raise PlateError(f"Blender stopped with exit code {code}")
    except (BitexpandError, OSError) as error:
        error = _explained(error, waiting[0].name, cache, lines)
        if waiting[0] is pictures[0]:
            raise error from None
        _LOG.warning("%s", error)
    finally:
        for path in unfinished.values():
            path.unlink(missing_ok=True)


def _unfinished(file: Path) -> Path:
    """Return a temporary's path beside a file; what killed runs left there is swept."""
    prepare_folder(file.parent)
    return file.parent / temporary_name(file.suffix)


def _finish(picture: _Picture, unfinished: Path, cache: Path) -> None:
    """Give a rendered picture its name; its card, written last, says that it is whole."""
    file = picture.file(cache)
    read_frame(unfinished)  # Blender takes a picture for saved that a full disk has cut off
    sha256 = hashlib.sha256(unfinished.read_bytes()).hexdigest()
    unfinished.replace(file)
    write_text(file.with_suffix(".json"), picture.card(sha256))


@contextmanager
def _running(blender: Path, jobs: Sequence[dict[str, Any]]) -> Iterator[subprocess.Popen[str]]:
    """Start Blender on a list of pictures; it is gone when the block ends, however that is."""
    is_python = blender.name.lower().startswith("python")
    options = (
        ["-I"] if is_python else ["--background", "--factory-startup", "--python-exit-code", "1", "--python"]
    )
    with tempfile.TemporaryDirectory(prefix="bitexpand-") as folder:
        file = Path(folder) / "jobs.json"
        file.write_text(json.dumps(jobs), encoding="utf-8")
        arguments = [str(blender), *options, str(SCRIPT), *([] if is_python else ["--"]), str(file)]
        environment = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env=environment,
            )
        except OSError as error:
            raise PlateError(f"{blender} cannot be started ({error.strerror})") from error
        with process:
            try:
                yield process
            finally:
                process.kill()  # does nothing to one that has ended


def _explained(
    error: BitexpandError | OSError, name: str, cache: Path, lines: Sequence[str]
) -> BitexpandError:
    """Say which picture failed, and what Blender said last."""
    if isinstance(error, DiskFullError) or any("No space left" in line for line in lines):
        return DiskFullError(f"{cache}: the disk is full; free some room and run the same command again")
    said = f"; its last lines: {' | '.join(lines)}" if lines else ""
    kind = type(error) if isinstance(error, BitexpandError) else WriteError
    return kind(f"picture '{name}' could not be rendered: {error}{said}")
