"""Losses on structure as the eye compares it, on signals: SSIM, and LPIPS, which has a network of its own."""

from __future__ import annotations

from pathlib import Path

import torch
from pytorch_msssim import ssim as ssim_index
from torch import Tensor

from bitexpand.metrics.lpips_weights import LEAST_SIDE, Net, load_network
from bitexpand.models.base import full_precision
from training.losses.pixel import require_side

WINDOW = 11  # pixels: of SSIM's Gaussian, sigma 1.5, as in its paper


def ssim(expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
    """1 - SSIM (Wang et al. 2004) of the signals in [0, 1], the mean over channels.

    Raises:
        UsageError: a crop smaller than the window.
    """
    require_side("ssim", expanded_cv, WINDOW)
    # contiguous, as channels last would send its filter to cuDNN, which rounds to TF32
    expanded, truth = ((plate_cv / peak_cv).contiguous() for plate_cv in (expanded_cv, truth_cv))
    with full_precision(expanded):
        return 1 - ssim_index(expanded, truth, data_range=1.0, win_size=WINDOW)


class Lpips:
    """Learned perceptual distance (Zhang et al. 2018), version 0.1, of the signals mapped to [-1, 1].

    A loss that holds a network: it is frozen, in eval mode, and on the device from the start. AlexNet is the
    fast one and agrees best with people; VGG's gradients are what "perceptual loss" usually means.

    Attributes:
        name: as in ``LOSSES``.
        network: of the ``lpips`` package.
    """

    def __init__(self, net: Net, device: torch.device, folder: Path | None = None) -> None:
        """Load the network; of ``folder``, and of what it raises, see ``lpips_weights.load_network``."""
        self.name = "lpips" if net == "alex" else f"lpips_{net}"
        self.network = load_network(net, folder).to(device)
        self._least_side = LEAST_SIDE[net]

    def __call__(self, expanded_cv: Tensor, truth_cv: Tensor, peak_cv: Tensor) -> Tensor:
        """Return the distance, as a loss.

        Raises:
            UsageError: a crop too small for the network.
        """
        require_side(self.name, expanded_cv, self._least_side)
        with full_precision(expanded_cv):
            return self.network(2 * expanded_cv / peak_cv - 1, 2 * truth_cv / peak_cv - 1).mean()
