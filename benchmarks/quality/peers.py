"""Other ways to deband: ffmpeg's three filters, G'MIC, and POCS, fed as favourably as each can be.

ffmpeg's filters run twice: as they come, and with the parameters that won most on the CG plates. They get 16 bits,
each code value times 257, since on 8 bits a filter can add nothing, and since ffmpeg's own way from an 8-bit PNG to
16 bits is off by up to 1 LSB; ``gradfun`` takes nothing but 8 bits. G'MIC works and writes in float.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from benchmarks.quality.blur import gaussian
from benchmarks.quality.trial import BITS, CodeValues, Trial
from bitexpand.code_values import HALF_BIN, Floats, from_signal, peak
from bitexpand.errors import BitexpandError

ExpandAll = Callable[[npt.NDArray[np.uint8]], Floats]

_GBR, _RGB = [1, 2, 0], [2, 0, 1]  # ffmpeg's order of planes from ours, and back
_VULKAN = ("-init_hw_device", "vulkan=v:0", "-filter_hw_device", "v")  # else it refuses software Vulkan
_PATIENCE = 600.0  # s, for all pictures of one size together
_POCS_SIGMA, _POCS_ITERATIONS = 1.0, 50  # px


@dataclass(frozen=True)
class Peer:
    """Another way to deband.

    Attributes:
        name: with its parameters, for the tables.
        expand_all: from uint8 (N, H, W, 3) code values to float32 of the same shape in LSB of 8 bits.
    """

    name: str
    expand_all: ExpandAll

    def expand(self, trials: Sequence[Trial]) -> Iterator[Floats]:
        """Yield float32 (H, W, 3) in LSB of each trial; trials of one size in a row go through together.

        Raises:
            BitexpandError: the peer's program failed.
        """
        start = 0
        for end in range(1, len(trials) + 1):
            if end == len(trials) or trials[end].codes.shape != trials[start].codes.shape:
                yield from self.expand_all(np.stack([trial.codes for trial in trials[start:end]]))
                start = end


def ffmpeg_filter(chain: str, bits: int, options: Sequence[str] = ()) -> ExpandAll:
    """Return a way through a chain of ffmpeg's filters, of 8 or 16 bits in and out, planar RGB."""
    dtype, pixel_format = (np.dtype("<u2"), "gbrp16le") if bits > BITS else (np.dtype("u1"), "gbrp")

    def expand_all(codes: CodeValues) -> Floats:
        count, height, width, _ = codes.shape
        scaled = codes[..., _GBR].astype(dtype) * dtype.type(peak(bits) // peak(BITS))
        layout = ("-f", "rawvideo", "-pix_fmt", pixel_format)
        size = ("-s", f"{width}x{height}", "-i", "-")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *options, *layout, *size]
        planes = _output([*command, "-vf", chain, *layout, "-"], scaled.transpose(0, 3, 1, 2).tobytes())
        levels = np.frombuffer(planes, dtype).reshape(count, 3, height, width)[:, _RGB]
        return from_signal(levels.transpose(0, 2, 3, 1) / np.float32(peak(bits)), BITS)

    return expand_all


def gmic_commands(*commands: str) -> ExpandAll:
    """Return a way through commands of G'MIC, a picture at a time."""

    def expand_one(codes: CodeValues) -> Floats:
        height, width, _ = codes.shape
        with tempfile.TemporaryDirectory() as folder:
            source, result = Path(folder, "source.raw"), Path(folder, "result.raw")
            source.write_bytes(codes.transpose(2, 0, 1).tobytes())
            read = ("gmic", "-v", "-1", f"{source},uchar,{width},{height},1,3")
            _output([*read, *commands, "-o", f"{result},float"], b"")
            planes = np.fromfile(result, np.float32).reshape(3, height, width)
        return planes.transpose(1, 2, 0)

    return lambda codes: np.stack([expand_one(plate) for plate in codes])


def pocs(codes: CodeValues) -> Floats:
    """Blur and clamp to the bin, again and again: projection onto convex sets (Youla & Webb 1982)."""
    return np.stack([_pocs(plate.astype(np.float32)) for plate in codes])


def available() -> tuple[list[Peer], list[str]]:
    """Return the peers that work on this machine, and a line on each that does not, with what to do."""
    found, missing = [Peer(f"POCS: {_POCS_ITERATIONS} times blur {_POCS_SIGMA:g} px, clamp", pocs)], []
    for peer, needs in _PEERS:
        try:
            peer.expand_all(np.zeros((1, 64, 64, 3), np.uint8))
            found.append(peer)
        except BitexpandError as error:
            missing.append(f"{peer.name} left out ({error}); it needs {needs}")
    return found, missing


def _pocs(codes_cv: Floats) -> Floats:
    result_cv, half = codes_cv, np.float32(HALF_BIN)
    for _ in range(_POCS_ITERATIONS):
        result_cv = np.clip(gaussian(result_cv, _POCS_SIGMA), codes_cv - half, codes_cv + half)
    return result_cv


def _output(command: Sequence[str], given: bytes) -> bytes:
    if shutil.which(command[0]) is None:
        raise BitexpandError(f"{command[0]} is not installed")
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise BitexpandError(f"{Path(command[0]).name} did not end within {_PATIENCE:g} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BitexpandError(f"{Path(command[0]).name} failed: {said[-1]}")
    return done.stdout


def _libplacebo(parameters: str) -> ExpandAll:
    # its planar 16 bits come back rounded to 15, its packed ones exact
    return ffmpeg_filter(f"libplacebo=deband=1:dithering=none:format=rgb48le{parameters}", 16, _VULKAN)


def _deband(threshold: float, more: str) -> str:
    return f"deband={':'.join(f'{plane}thr={threshold:.6f}' for plane in (1, 2, 3))}{more}"


_LAVAPIPE = "Vulkan: a GPU's, or apt's mesa-vulkan-drivers"
_PACKAGE = "an ffmpeg with this filter: pip's imageio-ffmpeg"
_PEERS = (
    (Peer("ffmpeg deband", ffmpeg_filter("deband", 16)), _PACKAGE),
    (
        Peer("ffmpeg deband, 1.01 LSB, no blur", ffmpeg_filter(_deband(1.01 / 255, ":blur=0"), 16)),
        _PACKAGE,
    ),
    (Peer("ffmpeg gradfun (8 bits)", ffmpeg_filter("gradfun", 8)), _PACKAGE),
    (Peer("ffmpeg gradfun=0.51:4 (8 bits)", ffmpeg_filter("gradfun=0.51:4", 8)), _PACKAGE),
    (Peer("libplacebo deband", _libplacebo("")), _LAVAPIPE),
    (
        Peer(
            "libplacebo deband, threshold 2, radius 8, no grain",
            _libplacebo(":deband_threshold=2:deband_radius=8:deband_grain=0"),
        ),
        _LAVAPIPE,
    ),
    (Peer("G'MIC guided 5,0.25", gmic_commands("guided", "5,0.25")), "apt's gmic"),
)
