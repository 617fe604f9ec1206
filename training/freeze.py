"""Training some of a model's parameters, while the others keep their values to the bit."""

from __future__ import annotations

import re

from torch import nn

from bitexpand.errors import UsageError


def freeze(module: nn.Module, pattern: str) -> list[nn.Parameter]:
    """Let gradients reach only those parameters in whose names a regular expression is found.

    Args:
        module: its other parameters are frozen, those that were frozen before and match no more.
        pattern: empty finds all.

    Returns:
        The parameters to train, in the module's order.

    Raises:
        UsageError: no name has it.
    """
    named = dict(module.named_parameters())
    found = {name for name in named if re.search(pattern, name)}
    if not found:
        parts = ", ".join(sorted({name.partition(".")[0] for name in named}))
        raise UsageError(f"no parameter's name has '{pattern}' in it; the model's parts are {parts}")
    for name, parameter in named.items():
        parameter.requires_grad_(name in found)
    return [parameter for name, parameter in named.items() if name in found]


def rest_frozen_norms(module: nn.Module) -> None:
    """Put norms that hold running statistics, but nothing that is trained, into eval mode.

    In training mode they would normalise by each batch, and take its statistics over.
    """
    for part in module.modules():
        if hasattr(part, "running_mean") and not any(p.requires_grad for p in part.parameters()):
            part.eval()
