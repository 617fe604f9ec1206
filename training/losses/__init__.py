"""What training can minimise, by name.

Every loss is a pure function ``(expanded_cv, truth_cv, peak_cv) -> Tensor``:

- ``expanded_cv``, ``truth_cv``: float32 (N, 3, H, W), code values in LSB; the expanded ones may leave 0 .. peak.
- ``peak_cv``: float32 (N, 1, 1, 1), the largest code value of each crop.
- returns a float32 scalar, 0 for equal pictures, the mean over the batch, differentiable in ``expanded_cv``.

All of them compute in the precision of their arguments, under autocast too, and have finite gradients everywhere,
at a difference of zero above all. A crop too small for a loss is a UsageError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from bitexpand.errors import UnknownNameError
from training.losses.color import color_consistency, oklab
from training.losses.frequency import fft, laplacian
from training.losses.pixel import gradient, l1, l2, multiscale_gradient
from training.losses.relative import harm, log_l2
from training.losses.structure import Lpips, ssim

__all__ = ["LOSSES", "Factory", "Loss", "harm", "load"]

Loss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
Factory: TypeAlias = Callable[[torch.device], Loss]


def _stateless(loss: Loss) -> Factory:
    return lambda device: loss


LOSSES: Mapping[str, Factory] = {
    "l1": _stateless(l1),
    "l2": _stateless(l2),
    "log_l2": _stateless(log_l2),
    "gradient": _stateless(gradient),
    "multiscale_gradient": _stateless(multiscale_gradient),
    "laplacian": _stateless(laplacian),
    "fft": _stateless(fft),
    "ssim": _stateless(ssim),
    "lpips": partial(Lpips, "alex"),
    "lpips_vgg": partial(Lpips, "vgg"),
    "color_consistency": _stateless(color_consistency),
    "oklab": _stateless(oklab),
}


def load(names: Iterable[str], device: torch.device) -> dict[str, Loss]:
    """Return losses by name; those with a network of their own have it on ``device``.

    Raises:
        UnknownNameError: a name that is not in ``LOSSES``; the message suggests close ones.
        MissingInputError: LPIPS was asked for and its weights are neither here nor to be had.
        UsageError: the file with them cannot be used.
    """
    chosen = list(names)
    for name in chosen:
        if name not in LOSSES:
            raise UnknownNameError("loss", name, LOSSES)
    return {name: LOSSES[name](device) for name in chosen}
