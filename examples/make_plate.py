"""Make the example plate: a slow sub-pixel pan across a real HDR panorama, in 8-bit ACEScct.

The panorama is encoded first and sampled afterwards, so that the cubic filter cannot ring below black
beside the sun. Every frame is computed in float and rounded once; ``--truth`` keeps what rounding drops.
"""

# PyOpenColorIO is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import PyOpenColorIO as ocio

CONFIG = "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3"
FRAMES = range(1001, 1011)
EXPOSURE = -1.5  # stops; keeps the sky in the middle of the curve
SUBSAMPLES = 3


@dataclass(frozen=True)
class Camera:
    """A rectilinear camera inside the panorama; angles in degrees, ``pan`` in pixels a frame.

    At 90 degrees one texel of a 1024 x 512 panorama covers two pixels in the middle of the frame.
    """

    width: int = 640
    height: int = 360
    field_of_view: float = 90.0
    yaw: float = 70.0
    pitch: float = 14.0
    pan: float = 0.37

    @property
    def focal_length(self) -> float:
        """In pixels."""
        return self.width / 2 / np.tan(np.radians(self.field_of_view) / 2)


def read_panorama(path: Path) -> np.ndarray:
    """Return the (H, W, 3) float32 scene-linear panorama."""
    file = oiio.ImageInput.open(str(path))
    pixels = file.read_image(0, 0, 0, 3, oiio.FLOAT) if file is not None else None
    if pixels is None:
        sys.exit(f"{path} cannot be read: {oiio.geterror()}")
    return np.ascontiguousarray(pixels, np.float32)


def encode(linear_rec709: np.ndarray, exposure: float = EXPOSURE) -> np.ndarray:
    """Return the panorama in ACEScct, ``exposure`` stops brighter."""
    encoded = linear_rec709 * np.float32(2.0**exposure)
    config = ocio.Config.CreateFromFile(CONFIG)
    processor = config.getProcessor("Linear Rec.709 (sRGB)", "ACEScct")
    height, width, channels = encoded.shape
    cpu = processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)
    cpu.apply(ocio.PackedImageDesc(encoded, width, height, channels))
    return encoded


def render(panorama: np.ndarray, camera: Camera, offset: float) -> np.ndarray:
    """Return the (H, W, 3) float64 view after a pan of ``offset`` pixels, box filtered over each pixel."""
    total = np.zeros((camera.height, camera.width, 3))
    for x, y in _subpixels():
        longitude, latitude = _directions(camera, offset, x, y)
        total += _sample(panorama, longitude, latitude)
    return total / SUBSAMPLES**2


def _subpixels() -> Iterator[tuple[float, float]]:
    steps = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES
    return ((float(x), float(y)) for y in steps for x in steps)


def _directions(camera: Camera, offset: float, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    right = (np.arange(camera.width) + x - camera.width / 2)[None, :] / camera.focal_length
    up = (camera.height / 2 - np.arange(camera.height) - y)[:, None] / camera.focal_length
    pitch, yaw = np.radians(camera.pitch), np.radians(camera.yaw) + offset / camera.focal_length
    forward = np.cos(pitch) - up * np.sin(pitch)
    height = np.sin(pitch) + up * np.cos(pitch)
    longitude = np.arctan2(np.broadcast_to(right, (camera.height, camera.width)), forward) + yaw
    return longitude, np.arctan2(height, np.hypot(right, forward))


def _sample(panorama: np.ndarray, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Sample with the Catmull-Rom cubic; the panorama wraps around, and ends at its poles."""
    height, width, _ = panorama.shape
    column = (longitude / (2 * np.pi) + 0.5) * width - 0.5
    row = (0.5 - latitude / np.pi) * height - 0.5
    columns, rows = np.floor(column).astype(int), np.floor(row).astype(int)
    across, down = _cubic(column - columns), _cubic(row - rows)
    sampled = np.zeros((*longitude.shape, 3))
    for j in range(4):
        line = np.zeros_like(sampled)
        below = np.clip(rows + j - 1, 0, height - 1)
        for i in range(4):
            line += across[i][..., None] * panorama[below, (columns + i - 1) % width]
        sampled += down[j][..., None] * line
    return sampled


def _cubic(t: np.ndarray) -> tuple[np.ndarray, ...]:
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


def write(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 or float32 ``pixels``, with the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, oiio.UINT8 if pixels.dtype == np.uint8 else oiio.FLOAT)
    spec.attribute("compression", "zip")
    spec.attribute("png:compressionLevel", 9)
    spec.attribute("DateTime", "")
    # Otherwise OpenImageIO declares a PNG to be sRGB, which it has words for, unlike ACEScct.
    spec.attribute("oiio:ColorSpace", "acescct_ap1")
    file = oiio.ImageOutput.create(str(path))
    if file is None or not (file.open(str(path), spec) and file.write_image(pixels) and file.close()):
        sys.exit(f"{path} cannot be written: {file.geterror() if file is not None else oiio.geterror()}")


def main() -> None:
    """Write the frames, and with ``--truth`` their float originals."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("panorama", type=Path, help="scene-linear Rec.709 panorama, such as sunset.exr")
    parser.add_argument("--out", type=Path, default=here / "plate", help="folder of the 8-bit frames")
    parser.add_argument("--truth", type=Path, help="folder of the float frames, as EXR")
    arguments = parser.parse_args()

    camera = Camera()
    panorama = encode(read_panorama(arguments.panorama))
    for number in FRAMES:
        truth = render(panorama, camera, camera.pan * (number - FRAMES[0]))
        plate_cv = np.floor(np.clip(truth, 0, 1) * 255 + 0.5).astype(np.uint8)
        write(arguments.out / f"dusk_{number:04d}.png", plate_cv)
        if arguments.truth is not None:
            write(arguments.truth / f"dusk_{number:04d}.exr", truth.astype(np.float32))


if __name__ == "__main__":
    main()
