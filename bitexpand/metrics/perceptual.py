"""How different two pictures look: Oklab, and three models of the eye that other packages bring.

Not one of them was made for what this product adds, fractions of an 8-bit step: a plate that nothing was done to
scores near perfect. They tell whether something went visibly wrong, and little of how much was won.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from bitexpand.code_values import Floats
from bitexpand.errors import PlateError
from bitexpand.metrics.checks import check_channels, check_pair, check_signal, missing_package
from bitexpand.metrics.lpips_weights import LEAST_SIDE, Net, default_folder, load_network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lpips import LPIPS

DISPLAY = "standard_fhd"  # ColorVideoVDP's: 24 inches, 1920x1080, seen from 0.6 m, 200 cd/m2
PIXELS_PER_DEGREE = 67.0  # FLIP's own choice: 3840 px over 0.7 m, seen from 0.7 m
# Linear Rec.709 to cone responses, and their cube roots to Oklab: Ottosson 2020, as revised in 2021.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)


class DeltaE(NamedTuple):
    """Mean and 99th percentile, over the pixels, of a colour difference."""

    mean: float
    percentile_99: float


def oklab_delta_e(result_linear: Floats, truth_linear: Floats) -> DeltaE:
    """Return the Euclidean distances in Oklab, in which black and white are 1 apart and 0.02 is just visible.

    Ottosson 2020 ("A perceptual color space for image processing"). Below 0, where wide gamuts and grain lead, its
    cube root goes on point-symmetrically.

    Args:
        result_linear, truth_linear: float32 (H, W, 3) or (H, W, 1), scene-linear, primaries of Rec.709, white at 1
            and highlights above.

    Raises:
        PlateError: another shape, or NaN or Inf.
    """
    check_pair(result_linear, truth_linear)
    result, truth = _rgb(result_linear), _rgb(truth_linear)
    roots, truth_roots = np.cbrt(result @ _TO_CONES.T), np.cbrt(truth @ _TO_CONES.T)
    # a^3 - b^3 is (a - b)(a^2 + ab + b^2): float32 keeps no digits of small differences of large roots
    slope = roots * roots + roots * truth_roots + truth_roots * truth_roots
    cones = (result - truth) @ _TO_CONES.T
    apart = np.divide(cones, slope, out=np.zeros_like(cones), where=slope > 0) @ _TO_LAB.T
    distances = np.sqrt(np.square(apart).sum(axis=2))
    return DeltaE(float(distances.mean(dtype=np.float64)), float(np.percentile(distances, 99)))


def lpips(result_srgb: Floats, truth_srgb: Floats, net: Net = "alex") -> float:
    """Return the learned perceptual distance, 0 for equal pictures; 0.1 is plain to see.

    Zhang, Isola, Efros, Shechtman & Wang 2018 ("The unreasonable effectiveness of deep features as a perceptual
    metric"), version 0.1, by the package ``lpips``.

    Args:
        result_srgb, truth_srgb: float32 (H, W, 3) or (H, W, 1), sRGB-encoded signals, black 0, white 1; what lies
            beyond is clipped, as on a display.
        net: "alex", which agrees best with people, or "vgg".

    Raises:
        PlateError: another shape, NaN or Inf, or fewer pixels than the network needs.
        UsageError: code values instead of a signal, or the package is not installed.
        MissingInputError: the network's weights are not there.
    """
    result, truth = _displayed(result_srgb, truth_srgb)
    height, width = truth.shape[:2]
    if min(height, width) < LEAST_SIDE[net]:
        least = LEAST_SIDE[net]
        raise PlateError(f"LPIPS ({net}) needs pictures of at least {least}x{least} px, not {width}x{height}")
    network = _network(net, default_folder())
    planes = (torch.from_numpy(picture).permute(2, 0, 1)[None] * 2 - 1 for picture in (result, truth))
    with torch.inference_mode():
        return float(network(*planes))


def flip(result_srgb: Floats, truth_srgb: Floats) -> float:
    """Return the mean of the FLIP map, 0 for equal pictures, at most 1.

    Andersson et al. 2020 ("FLIP: a difference evaluator for alternating images"), at ``PIXELS_PER_DEGREE``, by the
    package ``flip-evaluator``, which holds Python's lock for 1.5 s a megapixel: threads do not help.

    Args:
        result_srgb, truth_srgb: as of ``lpips``.

    Raises:
        PlateError: another shape, or NaN or Inf.
        UsageError: code values instead of a signal, or the package is not installed.
    """
    result, truth = _displayed(result_srgb, truth_srgb)
    try:
        import flip_evaluator
    except ImportError as error:
        raise missing_package("FLIP", "flip-evaluator", error) from error
    return float(
        flip_evaluator.evaluate(truth, result, "LDR", True, False, True, {"ppd": PIXELS_PER_DEGREE})[1]
    )


def cvvdp(result_srgb: Floats, truth_srgb: Floats) -> float:
    """Return the quality that ColorVideoVDP predicts, in just-objectionable differences (JOD): 10 is perfect.

    Mantiuk, Hanji, Ashraf, Asano & Chapiro 2024 ("ColorVideoVDP: a visual difference predictor for image, video and
    display distortions"), of a still on ``DISPLAY``, by the package ``cvvdp``; about 2 s a megapixel.

    Args:
        result_srgb, truth_srgb: as of ``lpips``.

    Raises:
        PlateError: another shape, NaN or Inf, or a side of 1 px.
        UsageError: code values instead of a signal, or the package is not installed.
    """
    result, truth = _displayed(result_srgb, truth_srgb)
    height, width = truth.shape[:2]
    if min(height, width) < 2:
        raise PlateError(f"ColorVideoVDP needs pictures of at least 2x2 px, not {width}x{height}")
    with torch.inference_mode():
        return float(_video_difference_predictor().predict(result, truth, dim_order="HWC")[0])


def _displayed(result_srgb: Floats, truth_srgb: Floats) -> tuple[Floats, Floats]:
    check_pair(result_srgb, truth_srgb)
    check_signal("result", result_srgb)
    check_signal("truth", truth_srgb)
    result, truth = (np.ascontiguousarray(_rgb(s), np.float32).clip(0, 1) for s in (result_srgb, truth_srgb))
    return result, truth


def _rgb(plate: Floats) -> Floats:
    check_channels(plate)
    return np.repeat(plate, 3, axis=2) if plate.shape[2] == 1 else plate


@lru_cache(maxsize=2)
def _network(net: Net, folder: Path) -> LPIPS:
    return load_network(net, folder)


@lru_cache(maxsize=1)
def _video_difference_predictor() -> Any:  # noqa: ANN401  a class without types
    try:
        with _same_module_path():
            import pycvvdp  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing_package("ColorVideoVDP", "cvvdp", error, install="cvvdp") from error
    return pycvvdp.cvvdp(display_name=DISPLAY, device=torch.device("cpu"))


@contextmanager
def _same_module_path() -> Iterator[None]:
    """Undo what importing cvvdp does: it puts its own folder, with a module ``utils``, on everyone's path."""
    path = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
