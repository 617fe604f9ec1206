"""What an eye would see: against colour-science and the packages themselves, and what they are not given."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.code_values import Floats, requantise
from bitexpand.errors import MissingInputError, PlateError, UsageError
from bitexpand.metrics import perceptual
from bitexpand.metrics.lpips_weights import BACKBONES, COMMAND, Net, default_folder
from bitexpand.metrics.perceptual import PIXELS_PER_DEGREE, cvvdp, flip, lpips, oklab_delta_e

pytestmark = pytest.mark.usefixtures("one_thread")

quick = settings(deadline=None, max_examples=25)
Metric = Callable[[Floats, Floats], object]
ON_DISPLAY: list[Metric] = [lpips, flip, cvvdp]
PACKAGES: list[tuple[Metric, str, str]] = [
    (lpips, "lpips", "LPIPS needs the package lpips .*`pip install 'bitexpand"),
    (flip, "flip_evaluator", "FLIP needs the package flip-evaluator .*`pip install 'bitexpand"),
    (cvvdp, "pycvvdp", "ColorVideoVDP needs the package cvvdp .*`pip install cvvdp`"),
]
real_weights = pytest.mark.skipif(
    not all((default_folder() / backbone.file).is_file() for backbone in BACKBONES.values()),
    reason=f"there are no LPIPS weights in {default_folder()}; `{COMMAND}` downloads them",
)


def plates(height: int, width: int, noise: float = 0.02, seed: int = 0) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    truth = np.stack([0.2 + 0.6 * x, 0.3 + 0.5 * y, 0.8 - 0.6 * x * y], -1)
    result = truth + random.normal(0, noise, truth.shape)
    return result.astype(np.float32).clip(0, 1), truth.astype(np.float32)


@pytest.fixture
def nothing_loaded() -> Iterator[None]:
    """Forget the networks that other tests loaded."""
    perceptual._network.cache_clear()
    perceptual._video_difference_predictor.cache_clear()
    yield
    perceptual._network.cache_clear()


# --- Oklab


def reference_lab(plate_linear: Floats) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            sys.modules, "OpenImageIO", None
        )  # else it keeps what makes the library complain at exit
        import colour  # here, as it takes seconds

    space = colour.RGB_COLOURSPACES["sRGB"]
    # the rounded matrix of IEC 61966-2-1, which that space holds, is off by as much as is to be shown
    to_xyz = colour.normalised_primary_matrix(space.primaries, space.whitepoint)
    return colour.XYZ_to_Oklab(plate_linear.astype(np.float64) @ to_xyz.T)


@pytest.mark.parametrize("noise", [1e-4, 0.02, 0.3])
@pytest.mark.parametrize("exposure", [0.05, 1.0, 40.0])
def test_delta_e_is_that_of_colour_science(noise: float, exposure: float) -> None:
    result, truth = (plate * np.float32(exposure) for plate in plates(60, 80, noise))
    expected = np.linalg.norm(reference_lab(result) - reference_lab(truth), axis=2)
    found = oklab_delta_e(result, truth)
    assert found.mean == pytest.approx(expected.mean(), rel=1e-4)
    assert found.percentile_99 == pytest.approx(np.percentile(expected, 99), rel=1e-4)


def test_black_and_white_are_one_apart() -> None:
    black = np.zeros((4, 5, 3), np.float32)
    assert oklab_delta_e(black + np.float32(1), black) == pytest.approx((1, 1), abs=1e-5)
    assert oklab_delta_e(black, black) == (0, 0)


@quick
@given(st.floats(0, 60), st.floats(0, 60))
def test_greys_are_apart_by_their_cube_roots(one: float, other: float) -> None:
    grey = [np.full((1, 1, 1), value, np.float32) for value in (one, other)]
    expected = abs(one ** (1 / 3) - other ** (1 / 3))
    assert oklab_delta_e(*grey).mean == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert oklab_delta_e(*(-plate for plate in grey)).mean == pytest.approx(expected, rel=1e-3, abs=1e-5)


# --- LPIPS


@real_weights
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_that_of_its_package(net: Net) -> None:
    result, truth = plates(48, 40)
    planes = (torch.from_numpy(plate).permute(2, 0, 1)[None] for plate in (result, truth))
    with torch.inference_mode():
        expected = float(perceptual._network(net, default_folder())(*planes, normalize=True))
    assert expected > 0.01
    assert lpips(result, truth, net) == pytest.approx(expected, rel=1e-4)
    assert lpips(truth, truth, net) == 0


@real_weights
def test_lpips_of_grey_is_that_of_three_equal_channels() -> None:
    result, truth = (plate[..., :1] for plate in plates(40, 40))
    assert lpips(result, truth) == lpips(result.repeat(3, 2), truth.repeat(3, 2))


@pytest.mark.parametrize(("net", "least"), [("alex", 31), ("vgg", 16)])
def test_lpips_says_how_many_pixels_it_needs(net: Net, least: int) -> None:
    with pytest.raises(
        PlateError,
        match=rf"LPIPS \({net}\) needs pictures of at least {least}x{least} px, not 40x{least - 1}",
    ):
        lpips(*plates(least - 1, 40), net)


@pytest.mark.usefixtures("nothing_loaded")
def test_lpips_without_weights_says_where_it_looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITEXPAND_LPIPS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # discard, where nobody listens
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(MissingInputError, match="LPIPS has no weights: there is no .*alexnet.ckpt"):
        lpips(*plates(40, 40))


# --- FLIP and ColorVideoVDP


def test_flip_is_that_of_its_package() -> None:
    import flip_evaluator

    result, truth = plates(30, 40)
    options = {"ppd": PIXELS_PER_DEGREE}
    expected = flip_evaluator.evaluate(truth, result, "LDR", True, False, True, options)[1]
    assert expected > 0.01
    assert flip(result, truth) == pytest.approx(expected, rel=1e-4)
    assert flip(truth, truth) == 0
    assert flip(result[..., :1], truth[..., :1]) == flip(
        result[..., :1].repeat(3, 2), truth[..., :1].repeat(3, 2)
    )


def test_cvvdp_is_that_of_its_package_and_leaves_the_module_path_alone() -> None:
    path = list(sys.path)
    pycvvdp = pytest.importorskip("pycvvdp", reason="ColorVideoVDP is not installed: `pip install cvvdp`")
    sys.path[:] = path
    result, truth = plates(40, 50)
    reference = pycvvdp.cvvdp(display_name="standard_fhd", device=torch.device("cpu"))
    with torch.inference_mode():
        expected = float(reference.predict(result, truth, dim_order="HWC")[0])
    assert expected < 9.9
    assert cvvdp(result, truth) == pytest.approx(expected, rel=1e-4)
    assert cvvdp(truth, truth) == 10
    assert cvvdp(*plates(2, 2)) > 0
    with pytest.raises(PlateError, match="ColorVideoVDP needs pictures of at least 2x2 px, not 2x1"):
        cvvdp(*plates(1, 2))
    assert sys.path == path


# --- what all of them refuse


def measured(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> Metric:
    """Return a metric whose package is not there: what it refuses, it must refuse before it asks for it."""
    for package in ("lpips", "flip_evaluator", "pycvvdp"):
        monkeypatch.setitem(sys.modules, package, None)
    return metric


@pytest.mark.parametrize("metric", [oklab_delta_e, *ON_DISPLAY])
def test_bad_pictures_are_refused(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = measured(metric, monkeypatch)
    result, truth = plates(40, 44)
    with pytest.raises(PlateError, match=r"the result is 39x44x3 .* and the truth 40x44x3"):
        metric(result[1:], truth)
    with pytest.raises(PlateError, match="a picture of 2 channels; colour is judged of 3, or of 1 as grey"):
        metric(result[..., :2], truth[..., :2])
    result[0, :2, 0] = math.nan, math.inf
    with pytest.raises(PlateError, match="the result holds 2 samples that are NaN or Inf"):
        metric(result, truth)


@pytest.mark.parametrize("metric", ON_DISPLAY)
def test_code_values_are_no_signal(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    result, truth = plates(40, 44)
    code_values = requantise(truth * 255)
    with pytest.raises(
        UsageError, match=r"half of the truth is above \d+.*, where white is 1; divide code values"
    ):
        measured(metric, monkeypatch)(result, code_values)


@pytest.mark.parametrize("metric", [lpips, flip])
@real_weights
def test_highlights_are_clipped_as_on_a_display(metric: Callable[[Floats, Floats], float]) -> None:
    result, truth = plates(40, 44, noise=0)
    truth = truth.copy()
    truth[:8] = 1
    bright, dark = truth.copy(), truth.copy()
    bright[:8] = 3.5
    assert metric(bright, dark) == 0


@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize(("metric", "package", "message"), PACKAGES)
def test_a_missing_package_is_named_with_what_brings_it(
    metric: Metric, package: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=message):
        metric(*plates(40, 44))
