"""Camera RAW into scene-linear light through LibRaw, with the same transfer for every camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rawpy

from bitexpand.code_values import Floats
from bitexpand.errors import MissingInputError, PlateError

_SATURATION = 0.75  # of the nominal white: LibRaw takes a largest sample above it for the sensor's true limit
_NEAR_WHITE = 0.99  # of that limit: noise and the two greens scatter clipped samples a little


@dataclass(frozen=True)
class Developed:
    """A developed RAW picture.

    Attributes:
        plate_linear: float32 (H, W, 3), ACES2065-1; 1.0 is where the sensor's least sensitive channel is full.
        clipped: bool (H, W), where the sensor was full.
        notes: what its owner might want to know.
    """

    plate_linear: Floats
    clipped: npt.NDArray[np.bool_]
    notes: tuple[str, ...]


def read_raw(path: Path) -> Developed:
    """Develop a RAW file at half its size: a pixel is a 2x2 cell of the sensor, so that nothing is interpolated.

    Black is subtracted, the camera's white balance applied (daylight where it states none), its colours brought to
    ACES2065-1 by LibRaw's matrix, and nothing else: no tone curve, no brightening, no scaling by the picture's own
    maximum. X-Trans sensors have cells without red or without blue; LibRaw fills those from the cells beside them.

    Raises:
        MissingInputError: there is no such file.
        PlateError: LibRaw cannot read it, or it has no three colours.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file")
    try:
        with rawpy.imread(str(path)) as raw:
            notes = _notes(raw)
            clipped = _clipped(raw)
            pixels = raw.postprocess(
                half_size=True,
                use_camera_wb=_has_white_balance(raw),
                output_color=rawpy.ColorSpace.ACES,
                output_bps=16,
                gamma=(1, 1),
                no_auto_bright=True,
                adjust_maximum_thr=0.0,
                highlight_mode=rawpy.HighlightMode.Clip,
                user_flip=0,  # so that pixels stay where the sensor has them
            )
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:  # pyright: ignore[reportAttributeAccessIssue]
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise PlateError(
            f"{path}: LibRaw cannot read it ({reason}); copy it again, or convert to DNG"
        ) from error
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise PlateError(f"{path}: its sensor does not see three colours; only RGB pictures can be used")
    plate_linear = np.divide(pixels, np.float32(65535), dtype=np.float32)
    return Developed(plate_linear, _to_size(path, clipped, plate_linear.shape[:2]), notes)


def _has_white_balance(raw: rawpy.RawPy) -> bool:
    return all(multiplier > 0 for multiplier in raw.camera_whitebalance[:3])


def _notes(raw: rawpy.RawPy) -> tuple[str, ...]:
    notes = [
        "developed at half size" if raw.raw_pattern is not None else "developed from full colour samples"
    ]
    if raw.raw_pattern is not None and raw.raw_pattern.shape == (6, 6):
        notes.append(
            "X-Trans sensor: where a 2x2 cell lacks red or blue, it is filled from the cells beside it"
        )
    if not _has_white_balance(raw):
        notes.append("no white balance in the file, daylight taken")
    return tuple(notes)


def _clipped(raw: rawpy.RawPy) -> npt.NDArray[np.bool_]:
    """Return where the sensor was full: bool (H, W), at the sensor's own size."""
    samples = raw.raw_image_visible
    largest = int(samples.max())
    full = largest if largest > _SATURATION * raw.white_level else raw.white_level
    clipped = samples >= _NEAR_WHITE * full
    return clipped if clipped.ndim == 2 else np.logical_or.reduce(clipped, axis=2)


def _to_size(path: Path, clipped: npt.NDArray[np.bool_], size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Bring the sensor's mask to the developed size: where any sample of a cell is clipped, the cell is."""
    height, width = clipped.shape
    if size == (height, width):
        return clipped
    if size != ((height + 1) // 2, (width + 1) // 2):
        raise PlateError(f"{path}: its sensor's cells are not square; convert it to EXR with another tool")
    padded = np.pad(clipped, ((0, height % 2), (0, width % 2)), mode="edge")
    return np.logical_or.reduce(padded.reshape(size[0], 2, size[1], 2), axis=(1, 3))
