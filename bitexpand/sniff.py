"""What a file's own bytes tell, where OpenImageIO must not be asked or answers wrongly."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitexpand.errors import MissingInputError, PlateError

_MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",  # JPEG
    b"II*\0",  # TIFF, and with a plus its 64-bit form
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"BM",
    b"SDPX",
    b"XPDS",
    b"\x76\x2f\x31\x01",  # EXR, for results that are read back, and for training
    b"#?RADIANCE",  # for training alone, as a picture of float light is no plate
    b"#?RGBE",
)
_COLOR_MAP = 320  # the TIFF tag
_SHORT = 3  # its type
_PACK = np.array([1 << 16, 1 << 8, 1])  # three 8-bit samples to one number


def check_head(path: Path, accepted: str) -> None:
    """Refuse, before OpenImageIO sees it, what is not there or is no image.

    OpenImageIO would try every format it knows, at the risk of all their readers. A TGA has no magic number and
    goes by its name.

    Raises:
        MissingInputError: there is no such file.
        PlateError: it is empty, cannot be opened, or is none of ours; ``accepted`` says what is.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise PlateError(f"{path}: cannot be opened ({error})") from error
    if not head:
        raise PlateError(f"{path}: is empty (0 bytes); copy or render it again")
    is_webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    if not (head.startswith(_MAGIC) or is_webp or path.suffix.lower() == ".tga"):
        raise PlateError(f"{path}: not an image that bitexpand reads; accepted are {accepted}")


def restore_palette(path: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the colours that a palette TIFF means.

    Its palette has 16-bit entries. Most writers store an 8-bit value ``v`` as ``257 * v``, some as ``256 * v``;
    libtiff and Pillow read ``v`` from both, OpenImageIO 3.2 reads the latter as ``v - 1``.

    Args:
        path: the file.
        pixels: (H, W, 3), as OpenImageIO returned them.

    Raises:
        PlateError: two colours of the palette have become one.
    """
    stored = _color_map(path)
    if stored is None or not stored.any() or (stored & 255).any():
        return pixels
    returned, intended = stored // 257 @ _PACK, (stored >> 8).astype(np.uint8)
    keys, first, group = np.unique(returned, return_index=True, return_inverse=True)
    at = np.searchsorted(keys, pixels @ _PACK).clip(max=keys.size - 1)
    merged = np.unique(group[(intended != intended[first[group]]).any(axis=1)])
    if (keys[at] != pixels @ _PACK).any() or np.isin(at, merged).any():
        raise PlateError(f"{path}: its palette cannot be read exactly; convert it to RGB")
    return intended[first[at]]


def _color_map(path: Path) -> npt.NDArray[np.uint16] | None:
    """Return the palette of a TIFF as (entries, 3), or None where it is not found at the first image."""
    content = path.read_bytes()
    order = "<" if content[:2] == b"II" else ">"
    try:
        (directory,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, directory)
        for i in range(count):
            tag, kind, length, offset = struct.unpack_from(f"{order}HHII", content, directory + 2 + 12 * i)
            if (tag, kind) == (_COLOR_MAP, _SHORT) and content[2:4] in (b"*\0", b"\0*"):
                values = np.frombuffer(content, f"{order}u2", length, offset)
                return values.astype(np.uint16).reshape(3, -1).T
    except (struct.error, ValueError):
        return None
    return None
