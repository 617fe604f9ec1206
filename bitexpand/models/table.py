"""Names of the shipped models, and how far each may move a pixel: what must be known without torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

BOUNDS: Mapping[str, float | None] = MappingProxyType(
    {
        "pyramid": None,
        "smooth": None,
        "unet28m": None,
        "dequant-unet": None,
        "dequant-unet-aug": 1.0,
        "dequant-convnext": None,
    }
)
"""Models by name, with the bound in LSB that each is meant for whatever made the plate; None is the source kind's.

The rows of ``registry.MODELS`` have these names, in this order, and so has the menu of the Nuke node.
"""


def default_bound(model: str, half_width: float) -> float:
    """Return the largest move in LSB where nobody asked for another.

    Args:
        model: a name, or a weights file, which has no bound of its own.
        half_width: of the bins of the source kind, in LSB; a model's own bound never narrows it.
    """
    return max(half_width, BOUNDS.get(model) or 0.0)
