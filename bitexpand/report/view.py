"""How the browser shows code values: an OpenColorIO view, in a form that takes exposure in between.

Code values of nearly every plate encoding become scene-linear by one curve and a 3x3 matrix. Those go to the page
as they are, so that the browser can multiply by the exposure in scene-linear light; the view (tone mapping,
display) is baked to a lattice over the logarithm of it. Before and after pass the same, continuous, mapping.
"""

# PyOpenColorIO is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PyOpenColorIO as ocio  # noqa: N813

from bitexpand import color
from bitexpand.errors import ColorError, UnknownNameError

NODES = 49
"""Nodes of the lattice along each axis, 0.4 stops apart.

The example plate is then off by 0.4 display codes of 8 bits in the mean and 3 at most; saturated colours that the
display clips, by tens. Before and after are off alike.
"""

FLOOR, CEILING = -12, 8  # log2 of scene-linear: what the lattice covers; 0 and below is its first node
_CURVE = 4096  # entries over code values 0 to 1
_FIT = 1e-2  # of the value or of 1: how nearly curve and matrix must meet the conversion

Lattice = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class View:
    """A view of one encoding.

    Attributes:
        name: of display and view.
        space: of the plate.
        curve: float32 (4096,), scene-linear light of neutral codes over 0 to 1.
        matrix: float32 (3, 3), applied after the curve, to column vectors.
        lattice: uint16 (NODES, NODES, NODES, 3), blue, green, red: display values 0 to 65535 at ``nodes()``.
    """

    name: str
    space: str
    curve: npt.NDArray[np.float32]
    matrix: npt.NDArray[np.float32]
    lattice: Lattice

    def packed(self) -> str:
        """Return base64 of a zlib stream: the curve, the matrix, then the lattice, little-endian.

        The lattice comes as differences along red, modulo 65536, all high bytes before all low ones.
        """
        deltas = np.diff(self.lattice.astype(np.int32), axis=2, prepend=0).astype(np.uint16)
        halves = (deltas >> 8).astype(np.uint8).tobytes() + (deltas & 255).astype(np.uint8).tobytes()
        raw = self.curve.astype("<f4").tobytes() + self.matrix.astype("<f4").tobytes() + halves
        return base64.b64encode(zlib.compress(raw, 9)).decode()


def nodes() -> npt.NDArray[np.float32]:
    """Return the scene-linear values of the lattice's nodes: float32 (NODES,), from 0 on.

    The j-th is 2^(FLOOR + j d) - 2^FLOOR, whose logarithm is even away from 0.
    """
    highest = np.log2(2.0**CEILING + 2.0**FLOOR)
    return (2.0 ** np.linspace(FLOOR, highest, NODES) - 2.0**FLOOR).astype(np.float32)


def bake(config: color.ColorConfig, space: str, display: str | None = None, view: str | None = None) -> View:
    """Prepare the view of a plate.

    Args:
        config: has the space, the display and the view.
        space: encoding of the plate.
        display, view: None is the config's default.

    Raises:
        UnknownNameError: the config has no such space, display or view.
        ColorError: the config cannot make the view, or the space is no curve and matrix.
    """
    curve, matrix = _curve_and_matrix(color.conversion(config, space, ocio.ROLE_SCENE_LINEAR))
    display, view = _display_and_view(config, display, view)
    transform = ocio.DisplayViewTransform(ocio.ROLE_SCENE_LINEAR, display, view)
    axis = nodes()
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    lattice = np.stack([red, green, blue], axis=-1).astype(np.float32).reshape(1, -1, 3)
    try:
        processor = config._config.getProcessor(transform).getDefaultCPUProcessor()
        processor.apply(ocio.PackedImageDesc(lattice, lattice.shape[1], 1, 3))
    except (ocio.Exception, ocio.ExceptionMissingFile) as error:
        raise ColorError(
            f"cannot make the view '{view}' of '{display}' with {config.name}: {error}"
        ) from error
    shown = np.rint(np.clip(np.nan_to_num(lattice), 0, 1) * 65535).astype(np.uint16)
    return View(f"{view}, {display}", config.canonical(space), curve, matrix, shown.reshape(*(NODES,) * 3, 3))


def _display_and_view(config: color.ColorConfig, display: str | None, view: str | None) -> tuple[str, str]:
    held = config._config
    display = display or held.getDefaultDisplay()
    if display not in held.getDisplays():
        raise UnknownNameError("display", display, list(held.getDisplays()))
    view = view or held.getDefaultView(display)
    if view not in held.getViews(display):
        raise UnknownNameError(f"view of {display}", view, list(held.getViews(display)))
    return display, view


def _curve_and_matrix(
    to_linear: color.Conversion,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Split a conversion to scene-linear; the curve is its green of neutrals, the matrix what then fits colours."""
    greys = np.linspace(0, 1, _CURVE, dtype=np.float32)
    curve = to_linear.apply(np.repeat(greys, 3).reshape(1, -1, 3))[0, :, 1]
    lattice = np.stack(np.meshgrid(*[greys[:: _CURVE // 12]] * 3), axis=-1).reshape(1, -1, 3)
    linear = to_linear.apply(np.ascontiguousarray(lattice))[0].astype(np.float64)
    curved = np.interp(lattice[0], greys, curve)
    # Relative errors count: unweighted, the brightest colours of a log space would decide alone.
    weight = 1 / (1 + np.abs(linear).max(axis=1, keepdims=True))
    matrix = np.linalg.lstsq(curved * weight, linear * weight, rcond=None)[0]
    error = np.abs(curved @ matrix - linear) * weight
    if not error.max() <= _FIT:
        raise ColorError("its conversion to scene-linear is no curve and matrix")
    return curve.astype(np.float32), matrix.T.astype(np.float32)
