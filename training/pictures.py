"""What TensorBoard shows of a plate: input, output, truth and error, stretched until fractions of a step show."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import Floats, to_signal
from bitexpand.errors import UsageError
from bitexpand.pictures import Bytes, draw_text
from bitexpand.preview import stretched

ERROR_REACH = 0.5  # LSB: what is drawn white, and minus this black: the bin
LABELS = ("input", "output", "truth", f"error, ±{ERROR_REACH:g} LSB")
HEADER, GUTTER = 26, 8  # px
LARGEST, SMALLEST = 640, 160  # px: largest side of a panel; smallest width, where the label still fits
_BACKGROUND = 24


def strip(input_cv: Floats, output_cv: Floats, truth_cv: Floats) -> Bytes:
    """Return input, output, truth and the error of the output side by side, below their names.

    The first three get one and the same stretch, which the input alone decides: fine contrast is amplified, the
    rest only hinted at. The error is output minus truth: grey is 0, white +0.5 LSB or more, black -0.5 LSB or less.

    Args:
        input_cv, output_cv, truth_cv: float32 (H, W, 3), code values in LSB of any bit depth.

    Returns:
        uint8 (HEADER + h, 4 w + 3 GUTTER, 3), for display. h and w are H and W, of which a large plate keeps every
        n-th pixel, as a mean would flatter bands and errors, and a small one repeats each; w is SMALLEST or more.

    Raises:
        UsageError: the pictures differ in shape or are not (H, W, 3).
    """
    shapes = {plate.shape for plate in (input_cv, output_cv, truth_cv)}
    if len(shapes) != 1 or input_cv.ndim != 3 or input_cv.shape[2] != 3 or not input_cv.size:
        raise UsageError(
            f"three RGB plates of one size are needed, not {', '.join(map(str, sorted(shapes)))}"
        )
    plates = [_sized(plate) for plate in (input_cv, output_cv, truth_cv)]
    # as if of 8 bits: a step is then amplified to the same 12 display levels whatever the bit depth
    panels = stretched([to_signal(plate, 8) for plate in plates], 1 / 255)
    return _joined([*map(_zoomed, panels), _zoomed(_error(plates[1] - plates[2]))])


def _error(difference_cv: npt.NDArray[np.floating]) -> Bytes:
    return np.rint((np.clip(difference_cv / ERROR_REACH, -1, 1) + 1) * 127.5).astype(np.uint8)


def _sized(plate: Floats) -> Floats:
    every = -(-max(plate.shape[:2]) // LARGEST)
    return plate[::every, ::every]


def _zoomed(panel: Bytes) -> Bytes:
    height, width, _ = panel.shape
    zoom = max(1, min(-(-SMALLEST // width), LARGEST // height))
    return panel.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _joined(panels: list[Bytes]) -> Bytes:
    height, width, _ = panels[0].shape
    cell = max(width, SMALLEST)  # of a plate that is narrow and high
    page = np.full((HEADER + height, len(panels) * (cell + GUTTER) - GUTTER, 3), _BACKGROUND, np.uint8)
    for number, (panel, label) in enumerate(zip(panels, LABELS, strict=True)):
        left = number * (cell + GUTTER)
        header = page[:HEADER, left : left + cell]
        header[:] = draw_text(header, 2, HEADER - 8, label, 17)
        page[HEADER:, left : left + width] = panel
    return page
