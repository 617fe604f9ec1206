"""Other programs that turn a shot of PNG into half EXR, by one command each."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import imageio_ffmpeg

from benchmarks.speed.figures import YARDSTICK
from benchmarks.speed.plates import FIRST


def conversions(shot: Path, count: int) -> dict[str, list[str]]:
    """Return a command a program; the results lie in folders of the shot."""
    return {YARDSTICK: _oiiotool(shot, count), "ffmpeg `deband`: PNG to half EXR": _ffmpeg(shot, count)}


def _oiiotool(shot: Path, count: int) -> list[str]:
    program = shutil.which("oiiotool", path=str(Path(sys.executable).parent)) or "oiiotool"
    frames = ["--frames", f"{FIRST}-{FIRST + count - 1}", str(shot / "plate_%04d.png")]
    return [program, *frames, "-d", "half", "-o", str(_folder(shot, "oiiotool") / "o_%04d.exr")]


def _ffmpeg(shot: Path, count: int) -> list[str]:
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    source = ["-start_number", str(FIRST), "-i", str(shot / "plate_%04d.png"), "-frames:v", str(count)]
    chain = ["-vf", "format=gbrp16le,deband,format=gbrpf32le"]
    written = ["-c:v", "exr", "-format", "half", "-compression", "zip16", "-start_number", str(FIRST)]
    return [*program, *source, *chain, *written, str(_folder(shot, "ffmpeg") / "o_%04d.exr")]


def _folder(shot: Path, name: str) -> Path:
    (shot / name).mkdir(exist_ok=True)
    return shot / name
