"""A larger model that computes what a smaller one does, to go on training from.

Net2Net (Chen, Goodfellow & Shlens 2016, arXiv:1511.05641): channels are repeated, and whoever reads them divides by
how often. Copies would stay equal for ever, so a little noise tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import nn

from bitexpand.errors import UsageError
from bitexpand.models.base import PlateModel
from bitexpand.models.convnext import ConvNextUNet
from bitexpand.models.dequant import DequantUNet
from bitexpand.models.pyramid import Pyramid
from bitexpand.models.unet import UNet

NOISE = 0.005  # of a weight's root mean square: what tells copies apart


def grown(module: PlateModel, changes: Mapping[str, Any], noise: float = NOISE) -> PlateModel:
    """Return a model of a larger config that computes the same, but for the noise.

    Args:
        module: a ``Pyramid``, which can be told of ``widths``; a ``UNet``, whose ``channels`` can be multiplied; a
            ``DequantUNet`` or ``ConvNextUNet``, whose ``reach`` can change: moves well below both stay the same.
            All but the first can be given a ``posterior``, of little doubt at first: moves lose a tenth or two.
        changes: fields of its config with new values.
        noise: added to repeated channels, as a share of the root mean square of their weights.

    Raises:
        UsageError: this config cannot grow so; the message says what can.
    """
    if changes.get("posterior") is True and isinstance(module, UNet | DequantUNet | ConvNextUNet):
        module = _believing(module)
    config = replace(module.config, **changes)
    different = {f.name for f in fields(config) if getattr(config, f.name) != getattr(module.config, f.name)}
    larger = type(module)(config)
    if not different or (isinstance(module, DequantUNet | ConvNextUNet) and different == {"reach"}):
        larger.load_state_dict(module.state_dict())
    elif isinstance(module, Pyramid) and different == {"widths"} and changes["widths"]:
        _tell_widths(module, larger)
    elif isinstance(module, UNet) and different == {"channels"} and not changes["channels"] % module.channels:
        _widen(module, larger)
        _tell_apart(larger, noise)
    else:
        raise UsageError(
            f"weights of {type(module).__name__} cannot go on as one of other {', '.join(sorted(different))}: a"
            " pyramid can be told of widths, a unet's channels can be multiplied by a whole number, the reach of a"
            " dequant or a convnext can change, and all but a pyramid can be given a posterior"
        )
    return larger


def _believing(module: PlateModel) -> PlateModel:
    """Return the same network with a belief of little doubt, so that its mean is nearly the answer."""
    larger = type(module)(replace(module.config, posterior=True))  # pyright: ignore[reportCallIssue]
    larger.load_state_dict({**larger.state_dict(), **module.state_dict()})
    return larger


def _tell_widths(module: Pyramid, larger: PlateModel) -> None:
    state, own = module.state_dict(), larger.state_dict()
    known = state["stem.weight"]
    state["stem.weight"] = torch.zeros_like(own["stem.weight"])
    state["stem.weight"][:, : known.shape[1]] = known
    larger.load_state_dict(state)


def _widen(module: UNet, larger: PlateModel) -> None:
    """Repeat every channel but the plate's; where two layers are joined, those of each by itself."""
    first = "encoder.0.0.weight"
    own = larger.state_dict()
    state = {}
    for name, value in module.state_dict().items():
        wanted = own[name].shape
        if value.ndim < 4:  # batch norm, biases
            state[name] = value.repeat(wanted[0] // len(value)) if value.ndim else value
            continue
        times_out, times_in = wanted[0] // value.shape[0], wanted[1] // value.shape[1]
        value = value.repeat(times_out, 1, 1, 1)
        if name != first:
            joined = 2 if name.startswith("decoder") and ".0.weight" in name else 1
            value = (
                torch.cat([part.repeat(1, times_in, 1, 1) for part in value.chunk(joined, 1)], 1) / times_in
            )
        state[name] = value
    larger.load_state_dict(state)


@torch.no_grad()
def _tell_apart(module: nn.Module, noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.add_(drawn * noise * parameter.square().mean().sqrt())
