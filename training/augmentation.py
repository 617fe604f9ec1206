"""What is done to plates before they are quantised, and how: the settings, as a person writes them in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from training.settings import STRICT

SourceKind: TypeAlias = Literal["rounded", "truncated", "dithered", "triangular", "jpeg", "h264", "ten_bit"]


@dataclass(frozen=True)
class Augmentation:
    """How crops are varied. Everything that changes the plate happens before it is quantised, to truth and input.

    Attributes:
        curves: OCIO spaces, one drawn for each crop: log curves, or sRGB.
        exposure: smallest and largest, in stops, in scene-linear light.
        zoom: smallest and largest scale; below 1 by area, above by bicubic resampling, in the plate's log space.
        flip, transpose, shuffle_channels: whether crops are mirrored, transposed, their channels permuted.
        tone: largest log2 of a random gain and a random gamma of the signal, alike for all channels; 0 is none.
        procedural: share of crops that are procedural gradients and piecewise smooth scenes instead of plates.
        crushed: share of the plates' crops whose darkest parts lie at scene-linear black, with noise around it.
        grain: share of crops that get grain.
        grain_sigma: smallest and largest sigma of the grain in LSB of 8 bits, drawn evenly on a log scale.
        grain_correlated: share of the grainy crops whose grain is blurred, as scanned film's is.
        grain_skewed: share of the grainy crops whose grain is light specks, most samples lying just below the mean.
        grain_uneven: share of the grainy crops whose grain is weaker in the lights or in the darks.
        grain_clipped: share of the grainy crops whose blacks or whites are clipped, grain and all.
        clipped: share of the crops without grain whose blacks or whites are clipped.
        kinds: how crops become code values, with their weights.
        jpeg_quality: lowest and highest quality of kind "jpeg".
        h264_crf: lowest and highest rate factor of kind "h264".
        extra_bound: LSB added to every kind's distance between code value and truth; 0 is the bin.
    """

    __pydantic_config__ = STRICT

    curves: tuple[str, ...] = ("ACEScct",)
    exposure: tuple[float, float] = (0.0, 0.0)
    zoom: tuple[float, float] = (1.0, 1.0)
    flip: bool = True
    transpose: bool = True
    shuffle_channels: bool = False
    tone: float = 0.0
    procedural: float = 0.0
    crushed: float = 0.0
    grain: float = 0.0
    grain_sigma: tuple[float, float] = (0.0625, 2.0)
    grain_correlated: float = 0.3
    grain_skewed: float = 0.0
    grain_uneven: float = 0.0
    grain_clipped: float = 0.0
    clipped: float = 0.0
    kinds: Mapping[SourceKind, float] = field(default_factory=lambda: {"rounded": 1.0})
    jpeg_quality: tuple[int, int] = (75, 98)
    h264_crf: tuple[int, int] = (10, 23)
    extra_bound: float = 0.0

    def __post_init__(self) -> None:
        shares = ("grain_correlated", "grain_skewed", "grain_uneven", "grain_clipped", "clipped")
        for name in ("procedural", "crushed", "grain", *shares):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name):g}, must be a share from 0 to 1")
        for name, low, high in (
            ("exposure", -20, 20),
            ("zoom", 1 / 16, 16),
            ("grain_sigma", 1e-3, 64),
            ("jpeg_quality", 1, 100),
            ("h264_crf", 1, 51),
        ):
            least, most = getattr(self, name)
            if not low <= least <= most <= high:
                raise ValueError(f"{name} is {least:g} to {most:g}, must rise within {low:g} to {high:g}")
        if not self.curves:
            raise ValueError("curves is empty, must name at least one OCIO space")
        if (
            not self.kinds
            or any(weight < 0 for weight in self.kinds.values())
            or not sum(self.kinds.values())
        ):
            raise ValueError("kinds must have weights of 0 or more, one of them above 0")
        if not 0 <= self.tone <= 2 or not 0 <= self.extra_bound <= 16:
            raise ValueError("tone must be from 0 to 2, extra_bound from 0 to 16")
