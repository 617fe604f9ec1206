"""Exposure and a change of curve, as a camera would have made them: through scene-linear light, by OpenColorIO."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bitexpand.code_values import Floats
from bitexpand.color import Conversion, conversion, load_config
from bitexpand.errors import UnknownNameError, UsageError

LINEAR = "scene_linear"  # the role that every config gives its linear working space
LARGEST = 65504.0  # of half: more light than an EXR can hold; keeps infinity, and so NaN, out of the matrices


@dataclass(frozen=True)
class Curves:
    """The curves that crops may be given; only names, so that it can be sent to another process.

    Attributes:
        config: OCIO config, as :func:`bitexpand.color.load_config` takes it.
        stored: its space that the plates are in.
        drawn: canonical names of the spaces that crops may be changed to.
    """

    config: str
    stored: str
    drawn: tuple[str, ...]

    @staticmethod
    def of(config: str, stored: str, drawn: Sequence[str]) -> Curves:
        """Look names up, aliases too, and prepare every conversion once, so that what cannot work fails here.

        Raises:
            UsageError: a space that the config does not have or cannot convert; the message names the key.
        """
        loaded = load_config(config)
        encoding = loaded.canonical(stored)
        try:
            curves = Curves(config, encoding, tuple(map(loaded.canonical, drawn)))
        except UnknownNameError as error:
            raise UsageError(f"key 'curves': {error}") from error
        for space in {curves.stored, *curves.drawn}:
            _to_linear(config, space)
        return curves

    def change(
        self,
        plate_log: Floats,
        curve: str,
        exposure: float,
        relight: Callable[[Floats], Floats] | None = None,
    ) -> Floats:
        """Return a plate exposed by so many stops, in another curve.

        A gain of light is the same in any primaries, so the linear space between does not matter.

        Args:
            plate_log: float32 (H, W, 3), contiguous, in the stored space; overwritten.
            curve: one of ``drawn``.
            exposure: stops; the light is multiplied by 2 to this power.
            relight: changes the light, float32 (H, W, 3), scene-linear, after that; None leaves it.

        Returns:
            float32 (H, W, 3) in the space ``curve``, finite, not clipped to [0, 1]. With no exposure, the stored
            curve and the light as it is the plate itself, bit for bit.
        """
        if exposure == 0 and curve == self.stored and relight is None:
            return plate_log
        plate_linear = _to_linear(self.config, self.stored).apply(plate_log, plate_log)
        np.clip(plate_linear, -LARGEST, LARGEST, out=plate_linear)
        plate_linear *= np.float32(2.0**exposure)
        if relight is not None:
            plate_linear = np.ascontiguousarray(relight(plate_linear), np.float32)
        return _to_linear(self.config, curve).invert(plate_linear, plate_linear)


@functools.cache
def _to_linear(config: str, space: str) -> Conversion:
    """Prepare a conversion to scene-linear light and back, once in each process."""
    return conversion(load_config(config), space, LINEAR, lossless=True)
