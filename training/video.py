"""A frame through H.264 and back, by the ffmpeg that the package imageio-ffmpeg brings."""

from __future__ import annotations

import functools
import subprocess

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Floats
from bitexpand.errors import BitexpandError

_EVEN = 2  # px: 4:2:0 halves both sides


def h264_frame(plate_cv: npt.NDArray[np.uint8], crf: int) -> Floats:
    """Encode one frame and decode it: 4:2:0, 8 bits, limited range, BT.709's matrix, as cameras and the web do.

    Args:
        plate_cv: uint8 (H, W, 3), display or log code values.
        crf: constant rate factor, 0 to 51.

    Returns:
        float32 (H, W, 3), whole code values.

    Raises:
        BitexpandError: ffmpeg failed; the message is its last line.
    """
    height, width = plate_cv.shape[:2]
    even = np.pad(plate_cv, ((0, height % _EVEN), (0, width % _EVEN), (0, 0)), mode="edge")
    size = f"{even.shape[1]}x{even.shape[0]}"
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-i", "-")
    to_video = (
        "-vf",
        "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd",
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx264",
    )
    video = _ffmpeg(
        *raw, *to_video, "-crf", str(crf), "-preset", "veryfast", "-f", "h264", "-", given=even.tobytes()
    )
    back = (
        "-vf",
        "scale=in_color_matrix=bt709:in_range=tv:flags=accurate_rnd+full_chroma_int",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    )
    decoded = np.frombuffer(_ffmpeg("-f", "h264", "-i", "-", *back, given=video), np.uint8)
    return decoded.reshape(even.shape)[:height, :width].astype(np.float32)


def _ffmpeg(*arguments: str, given: bytes) -> bytes:
    command = (_program(), "-v", "error", "-threads", "1", *arguments)
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BitexpandError(f"ffmpeg, which makes crops of kind 'h264', failed: {said[-1]}")
    return done.stdout


@functools.cache
def _program() -> str:
    return imageio_ffmpeg.get_ffmpeg_exe()
