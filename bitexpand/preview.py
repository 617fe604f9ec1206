"""One picture that shows what an expansion did: the plate before and after, stretched until banding shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitexpand import compare_input, temporaries
from bitexpand.code_values import Floats, peak, to_signal
from bitexpand.compare_input import Reading, Spaces
from bitexpand.encoding import Encoding
from bitexpand.errors import PlateError, UsageError
from bitexpand.jobs import Settings, expander
from bitexpand.page import (
    FRAME_GAIN,
    PANEL,
    ZOOM,
    Bytes,
    Crop,
    Float,
    as_bytes,
    fit,
    magnified,
    outline,
    paired_page,
    stretched,
)
from bitexpand.pictures import write_picture
from bitexpand.plate import read_plate

MAX_CROP_GAIN = 32.0
DEFAULT_MODEL = Settings().model
CROP = (PANEL[0] // ZOOM, PANEL[1] // ZOOM)  # px of the plate, width and height


def preview(
    source: Path,
    result: Path | None,
    picture: Path,
    *,
    model: str | None = None,
    reading: Reading | None = None,
) -> None:
    """Draw a plate before and after its expansion.

    Args:
        source: the plate.
        result: what became of it, in the plate's encoding or in one that is known; None expands it now.
        picture: the PNG to write; its folder is made if it is not there.
        model: what expands it, where there is no result; None is the default model.
        reading: the true bit depth; and the spaces of a result that does not state them.

    Raises:
        MissingInputError: a file is not there.
        PlateError: one cannot be read, or is smaller than a crop; sizes or encodings differ.
        UsageError: the picture is no PNG, or would replace one of the files; options that do not go together.
        WriteError: the picture cannot be written.
    """
    reading = reading or Reading()
    _check(source, result, picture, model, reading)
    if result is None:
        source_cv, result_cv, bits = _expanded(source, model or DEFAULT_MODEL, reading.bits)
    else:
        loaded = compare_input.load(reading, Spaces(), result, None, source)
        source_cv, result_cv, bits = loaded.source_cv, loaded.result_cv, loaded.bits
    height, width = source_cv.shape[:2]
    if width < CROP[0] or height < CROP[1]:
        raise PlateError(
            f"{source}: is {width}x{height}; a preview magnifies crops of {CROP[0]}x{CROP[1]}, give a larger plate"
        )
    before, after = (_as_rgb(to_signal(plate_cv, bits)) for plate_cv in (source_cv, result_cv))
    page = before_after(before, after, (f"{bits}-bit source", "bitexpand"), 1 / peak(bits))
    temporaries.prepare_folder(picture.parent)
    write_picture(picture, page)


def _check(source: Path, result: Path | None, picture: Path, model: str | None, reading: Reading) -> None:
    if picture.suffix.lower() != ".png":
        raise UsageError(f"-o {picture}: a preview is a .png")
    for path in (source, result):
        if path and picture.resolve() == path.resolve():
            raise UsageError(f"-o {picture}: would replace {path}")
    if result and model:
        raise UsageError(f"--model {model}: {result} is expanded already; leave one of them out")
    if result is None and (reading.config or reading.in_space or reading.out_space):
        raise UsageError(
            "--config, --in-space and --out-space say how to read a RESULT; a plate is shown as it is"
        )


def _expanded(source: Path, model: str, bits: int | None) -> tuple[Floats, Floats, int]:
    """Return a plate and what a half EXR of it would hold, float32 (H, W, C) in LSB, and its bits."""
    settings = Settings(model=model, bits=bits)
    plate = read_plate(source, bits)
    encoding = Encoding(plate.bits, settings.storage(plate.bits, source.with_suffix(".exr"), None))
    expanded = expander(settings).expand_frame(plate.codes, encoding.limits())
    pixels = encoding.encode(expanded.plate_cv, plate.codes)
    return plate.codes.astype(np.float32), encoding.decode(pixels), plate.bits


def _as_rgb(signal: Float) -> Float:
    return signal if signal.shape[2] == 3 else signal.repeat(3, axis=2)


def before_after(
    before: Float,
    after: Float,
    labels: tuple[str, str] = ("8-bit source", "bitexpand"),
    lsb: float = 1 / 255,
) -> Bytes:
    """Return a page with ``before`` on the left and ``after`` on the right.

    On top stands the whole frame, its fine contrast amplified; below stand two crops, the source's worst
    banding, magnified without smoothing. Left and right always get one and the same stretch, which is
    computed from ``before`` alone.

    Args:
        before: (H, W, 3) float32 in the plate's encoding, 0 to 1.
        after: the same, expanded.
        labels: what stands above each side.
        lsb: one code step of the source, in the same units.

    Returns:
        The page, (h, w, 3) uint8, ready for display.

    Raises:
        UsageError: the pictures differ in shape or are not (H, W, 3).
    """
    if before.shape != after.shape or before.ndim != 3 or before.shape[2] != 3:
        raise UsageError(f"two RGB frames of one size are needed, not {before.shape} and {after.shape}")
    before, after = before.astype(np.float32, copy=False), after.astype(np.float32, copy=False)
    pairs = [_whole_frames(before, after, lsb)]
    titles = [f"whole frame, fine contrast \u00d7{FRAME_GAIN:g}"]
    for number, crop in enumerate(worst_banding(before, lsb), 1):
        left, right, gain = _crops(before, after, crop, lsb)
        pairs.append((left, right))
        titles.append(f"crop {number}, pixels \u00d7{ZOOM}, contrast \u00d7{gain:g}")
        for picture in pairs[0]:
            outline(picture, crop, before.shape[1], str(number))
    sides = [(f"{labels[0]}:  {title}", f"{labels[1]}:  {title}") for title in titles]
    return paired_page(pairs, sides)


def worst_banding(plate: Float, lsb: float = 1 / 255, count: int = 2) -> list[Crop]:
    """Return up to ``count`` crops, apart from each other, where (H, W, 3) ``plate`` bands most.

    Banding is steps of one ``lsb`` between long runs of equal values. Grain, which changes by a step at
    every other pixel, and flat areas, which never change, score low.
    """
    height, width = plate.shape[:2]
    size = min(width, CROP[0]), min(height, CROP[1])
    calm, steps = _slow_gradients(plate, lsb)
    xs = np.unique(np.linspace(0, width - size[0], 1 + 4 * (width // size[0])).astype(int))
    ys = np.unique(np.linspace(0, height - size[1], 1 + 4 * (height // size[1])).astype(int))
    share_calm, share_steps = _window_means(calm, xs, ys, size), _window_means(steps, xs, ys, size)
    # Runs of 16 pixels band worst: shorter ones look like texture, longer ones are few.
    runs = np.maximum(share_steps, 1e-9) * 16
    score = share_calm**8 * np.minimum(runs, 1 / runs)
    crops: list[Crop] = []
    for index in np.argsort(-score, axis=None, kind="stable"):
        row, column = np.unravel_index(index, score.shape)
        crop = Crop(int(xs[column]), int(ys[row]), *size)
        if all(abs(crop.x - c.x) >= size[0] or abs(crop.y - c.y) >= size[1] for c in crops):
            crops.append(crop)
        if len(crops) == count:
            break
    return crops


def _slow_gradients(plate: Float, lsb: float) -> tuple[Float, Float]:
    """Return per pixel whether it is at most one step from its neighbours, and how much it steps."""
    height, width = plate.shape[:2]
    calm, steps = np.ones((height, width), np.float32), np.zeros((height, width), np.float32)
    for axis in (0, 1):
        change = np.abs(np.diff(plate, axis=axis)).max(axis=2) / lsb
        here = np.s_[1:, :] if axis == 0 else np.s_[:, 1:]
        calm[here] *= change < 1.5
        steps[here] += (change > 0.5) & (change < 1.5)
    return calm, steps * np.float32(0.5)


def _window_means(
    values: Float, xs: npt.NDArray[np.int_], ys: npt.NDArray[np.int_], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the mean over each window whose corner is at one of ``xs`` and ``ys``."""
    sums = np.pad(values.cumsum(0, np.float64).cumsum(1), ((1, 0), (1, 0)))
    right, below = xs + size[0], ys + size[1]
    total = (
        sums[np.ix_(below, right)] - sums[np.ix_(ys, right)] - sums[np.ix_(below, xs)] + sums[np.ix_(ys, xs)]
    )
    return total / (size[0] * size[1])


def _whole_frames(before: Float, after: Float, lsb: float) -> tuple[Bytes, Bytes]:
    left, right = stretched((fit(before), fit(after)), lsb)
    return left, right


def _crops(before: Float, after: Float, crop: Crop, lsb: float) -> tuple[Bytes, Bytes, float]:
    mean = crop.of(before).mean(axis=(0, 1))
    low, high = np.percentile(crop.of(before) - mean, (1, 99))
    gain = float(np.clip(round(0.9 / max(float(high - low), lsb)), 1, MAX_CROP_GAIN))
    left, right = (as_bytes((crop.of(plate) - mean) * gain + 0.5) for plate in (before, after))
    return magnified(left), magnified(right), gain
