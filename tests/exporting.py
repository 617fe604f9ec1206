"""Small models of every architecture, and plates as other programs hold them: signals in torch."""

from __future__ import annotations

from pathlib import Path

import torch
from plates import natural
from torch import Tensor

from bitexpand.code_values import to_signal
from bitexpand.models import checkpoint
from bitexpand.models.base import PlateModel
from bitexpand.models.convnext import ConvNextConfig, ConvNextUNet
from bitexpand.models.dequant import DequantConfig, DequantUNet
from bitexpand.models.pyramid import Pyramid, PyramidConfig
from bitexpand.models.smooth import Smooth, SmoothConfig
from bitexpand.models.unet import UNet, UNetConfig

BELIEF = PyramidConfig(channels=(4, 4), factor=2, fits=(3,), posterior=True, refits=(3,))
SMALL: dict[str, PlateModel] = {
    "pyramid": Pyramid(BELIEF),
    "mixture": Pyramid(PyramidConfig(channels=(4, 4), factor=2, fits=(3,))),
    "smooth": Smooth(SmoothConfig(levels=1, iterations=1)),
    "unet": UNet(UNetConfig(channels=2)),
    "transposed": UNet(UNetConfig(channels=2, upsampling="transposed")),
    "believing unet": UNet(UNetConfig(channels=2, scales=2, posterior=True)),
    "dequant": DequantUNet(DequantConfig(channels=(4, 4), scales=2)),
    "believing dequant": DequantUNet(DequantConfig(channels=(4, 4), scales=2, posterior=True)),
    "convnext": ConvNextUNet(
        ConvNextConfig(channels=(8, 8), blocks=(1, 1), attention=1, heads=2, scales=2, window=3)
    ),
    "believing convnext": ConvNextUNet(
        ConvNextConfig((8, 8), blocks=(1, 1), attention=1, heads=2, scales=2, window=3, posterior=True)
    ),
}


def lively(name: str) -> PlateModel:
    """Return one of ``SMALL`` with random weights, also where training starts from nothing."""
    module = SMALL[name].eval().requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in module.parameters():
            parameter.normal_(0, 0.1)
    return module


def weights_file(folder: Path) -> str:
    """Write the weights of a small belief network and return their path."""
    path = folder / "small.safetensors"
    checkpoint.save(path, lively("pyramid"), "pyramid", BELIEF)
    return str(path)


def plate_signal(height: int, width: int, bits: int = 8, seed: int = 0) -> Tensor:
    """Return a plate as (1, 3, H, W) float32 in [0, 1]."""
    signal = torch.from_numpy(to_signal(natural(height, width, 3, bits, seed), bits))
    return signal.permute(2, 0, 1)[None].contiguous()


def codes_of(signal: Tensor, bits: int = 8) -> Tensor:
    """Round a signal to code values, in float64."""
    return torch.floor(signal.double() * (2**bits - 1) + 0.5)
