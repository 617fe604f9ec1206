"""Plates and models for tests: small, made on the spot, alike on every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from bitexpand.code_values import Codes, peak
from bitexpand.models import checkpoint
from bitexpand.models.pyramid import Pyramid, PyramidConfig

TINY = PyramidConfig(channels=(4, 4), factor=2, fits=(3,))


def natural(height: int, width: int, channels: int = 3, bits: int = 8, seed: int = 0) -> Codes:
    """Return uint16 (H, W, C) code values with ramps, a soft blob, an edge, grain, black and white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) / max(height, width, 2)
    tint = random.uniform(0.5, 1, channels)
    plate = 0.2 + 0.5 * np.stack([y, x, (x + y) / 2][:channels], -1) * tint
    plate += 0.3 * np.exp(-40 * ((x - 0.4) ** 2 + (y - 0.3) ** 2))[..., None]
    plate[(x + 2 * y) > 1.6] *= 0.4
    plate[:, width // 2 :] += random.normal(0, 0.01, (height, width - width // 2, channels))
    plate[: height // 16] = 0
    plate[height - height // 16 :] = 1
    return np.rint(plate.clip(0, 1) * peak(bits)).astype(np.uint16)


def save(path: Path, codes: npt.NDArray[np.integer], alpha: npt.NDArray[np.integer] | None = None) -> Path:
    """Write (H, W, 1 or 3) 8-bit code values, with (H, W, 1) alpha where given, by an unrelated library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = codes if alpha is None else np.concatenate([codes, alpha], axis=2)
    pillow_shape = samples.shape[:2] if samples.shape[2] == 1 else samples.shape
    Image.fromarray(samples.astype(np.uint8).reshape(pillow_shape)).save(path)
    return path


def save_shot(folder: Path, frames: int, height: int = 24, width: int = 32, channels: int = 3) -> str:
    """Write frames 1001, 1002... of a shot and return its pattern."""
    for i in range(frames):
        save(folder / f"shot_{1001 + i}.png", natural(height, width, channels, seed=i))
    return str(folder / "shot_####.png")


def tiny_model(folder: Path, seed: int = 0) -> str:
    """Write the weights of a random network that runs in a millisecond and return their path."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Pyramid(TINY)
    path = folder / f"tiny{seed}.safetensors"
    checkpoint.save(path, module, "pyramid", TINY)
    return str(path)
