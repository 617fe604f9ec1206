"""OpenColorIO and nothing else: configs, conversions between colour spaces, and the tag of the result.

The network works in the plate's own encoding. What happens to the code values before and after it is
a deterministic OpenColorIO conversion from here, which can be walked backwards to check a written frame.
"""

# PyOpenColorIO is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PyOpenColorIO as ocio  # noqa: N813  lower case, as in OpenColorIO's own documentation

from bitexpand.errors import BitexpandError, ColorError, MissingInputError, UnknownNameError, UsageError
from bitexpand.shipped import shipped_file

PINNED_CONFIG = "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3"
"""The built-in config used where neither the user nor ``$OCIO`` names one; ``ocio://default`` moves."""

SHIPPED_CONFIG = "bitexpand"
"""Name of the config in ``ocio/``: the pinned one plus the spaces that plates come in and it lacks."""

# OpenColorIO's own statement of which maths each interop id means; its spaces all carry their id.
_INTEROP_REFERENCE = "ocio://studio-config-v4.0.0_aces-v2.0_ocio-v2.5"
_INTERCHANGE_ROLES = {
    ocio.REFERENCE_SPACE_SCENE: ocio.ROLE_INTERCHANGE_SCENE,
    ocio.REFERENCE_SPACE_DISPLAY: ocio.ROLE_INTERCHANGE_DISPLAY,
}
# The fast logarithm and power are twice as fast, but an sRGB round trip is then off by more than a step
# of 16 bits (1.7e-5), and by a different amount on each kind of CPU.
_OUTPUT_FLAGS = ocio.OptimizationFlags(
    int(ocio.OPTIMIZATION_DEFAULT) & ~int(ocio.OPTIMIZATION_FAST_LOG_EXP_POW)
)
_LUT_FILE = re.compile(r'<FileTransform> \{[^}]*?\bsrc: ("[^"]*"|[^,}]*)')
# Both are plain subclasses of Exception, unrelated to each other.
_OCIO_ERRORS = (ocio.Exception, ocio.ExceptionMissingFile)


@dataclass(frozen=True)
class ColorConfig:
    """An OpenColorIO config that was loaded once; safe to share between threads.

    ``name`` is what a user would pass to load it again. ``identity`` is a hash of its text and of the
    LUT files it refers to, wherever they lie, so it tells whether two runs saw the same colours.
    """

    name: str
    identity: str
    _config: ocio.Config = field(repr=False, compare=False)

    def spaces(self) -> tuple[str, ...]:
        """Return the canonical name of every colour space, inactive ones included."""
        return tuple(space.getName() for space in self._spaces())

    def canonical(self, space: str) -> str:
        """Return the canonical name of a space given by name, alias or role, in any case.

        Raises:
            UnknownNameError: no such space; the message suggests close names and aliases.
            UsageError: the name is a curve without primaries, from which nothing can be converted.
        """
        found = self._config.getColorSpace(space)
        if found is not None:
            return found.getName()
        if self._config.getNamedTransform(space) is not None:
            # OpenColorIO would take it and silently ignore the space on the other side.
            raise UsageError(
                f"'{space}' is a named transform of {self.name}, a curve without primaries; "
                "convert between a log space and the linear space of the same camera instead"
            )
        known = {name for s in self._spaces() for name in (s.getName(), *s.getAliases())}
        error = UnknownNameError("colour space", space, known | set(self._config.getRoleNames()))
        error.args = (f"{error} (in the config {self.name})",)
        raise error

    def _spaces(self) -> Iterable[ocio.ColorSpace]:
        return self._config.getColorSpaces(ocio.SEARCH_REFERENCE_SPACE_ALL, ocio.COLORSPACE_ALL)


class Conversion:
    """A path between two colour spaces and the same path backwards; several threads may use it at once.

    ``is_identity``: nothing changes. ``mixes_channels``: red out depends on more than red in, so an
    error bound per channel does not carry over. ``round_trip_error``: the largest difference after
    there and back in float32, over greys and a lattice of colours with codes in 0..1: 1e-5 to 1e-4 for
    a camera log, 1e-3 for a pure gamma, infinite if a result is not finite. Above 1/510, half an
    8-bit step, the path clips some colours.
    """

    def __init__(
        self, forward: ocio.Processor, backward: ocio.Processor, flags: ocio.OptimizationFlags
    ) -> None:
        optimized = forward.getOptimizedProcessor(flags)
        self.is_identity: bool = optimized.isNoOp()
        # The processor as written always mixes: it goes through the reference space.
        self.mixes_channels: bool = optimized.hasChannelCrosstalk()
        self._forward = forward.getOptimizedCPUProcessor(flags)
        self._backward = backward.getOptimizedCPUProcessor(flags)
        self.round_trip_error: float = self._measure_round_trip()

    def apply(self, plate: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Convert a plate from the source to the destination space; nothing is clamped.

        Args:
            plate: (H, W, 3) float32 in the source space, any strides, such as a slice of rows.
            out: where to write, (H, W, 3) float32 and contiguous; ``plate`` itself to work in place.

        Returns:
            ``out``, or a new contiguous (H, W, 3) float32 array, in the destination space.

        Raises:
            ColorError: OpenColorIO refused the array.
        """
        return _run(self._forward, plate, out)

    def invert(self, plate: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Convert a plate from the destination back to the source space; as ``apply`` otherwise."""
        return _run(self._backward, plate, out)

    def _measure_round_trip(self) -> float:
        error = np.abs(self.invert(self.apply(_PROBES)) - _PROBES)
        return float(error.max()) if np.isfinite(error).all() else float("inf")


def load_config(name: str | None = None) -> ColorConfig:
    """Load a config: ``bitexpand``, an ``ocio://`` built-in, or the path of an .ocio or .ocioz file.

    None means ``$OCIO`` where it is set, as in every other tool of a show, else the pinned built-in.

    Raises:
        MissingInputError: a path that is not there.
        UsageError: a config that OpenColorIO cannot read, with its reason.
    """
    name = name or os.environ.get(ocio.OCIO_CONFIG_ENVVAR) or PINNED_CONFIG
    source = str(shipped_file("ocio", "bitexpand.ocio")) if name == SHIPPED_CONFIG else name
    builtin = source.startswith(ocio.OCIO_BUILTIN_URI_PREFIX)
    if not builtin and not Path(source).is_file():
        raise MissingInputError(f"there is no OpenColorIO config at {source}")
    with _refusals(f"cannot read the OpenColorIO config {source}", UsageError):
        config = ocio.Config.CreateFromFile(source)
        return ColorConfig(name, _identity(config, source), config)


def conversion(config: ColorConfig, src: str, dst: str, *, lossless: bool = False) -> Conversion:
    """Prepare the conversion from ``src`` to ``dst``, each a name, alias or role of ``config``.

    ``lossless`` also gives up OpenColorIO's shortcuts through lookup tables, which only a config that
    is made of tables has; it can be far slower and is meant for training targets.

    Raises:
        UnknownNameError: a space that the config does not have.
        UsageError: a space that holds data, not colour.
        ColorError: the config cannot make the conversion, or not its inverse.
    """
    src, dst = _color_space(config, src), _color_space(config, dst)
    flags = ocio.OPTIMIZATION_LOSSLESS if lossless else _OUTPUT_FLAGS
    with _refusals(f"cannot convert '{src}' to '{dst}' and back with {config.name}"):
        return Conversion(config._config.getProcessor(src, dst), config._config.getProcessor(dst, src), flags)


def interop_id(config: ColorConfig, space: str) -> str | None:
    """Return the ASWF Color Interop ID of a space, or None where it is not known for certain.

    The config's own statement counts. Failing that, a space is known by its maths and not by its
    name: if it decodes codes of 0..1 to the same ACES2065-1 as a space of OpenColorIO's own ACES
    config, within 1e-4, it has that space's id. A config without an ``aces_interchange`` role has none.

    Source: ASWF Color Interop Forum, "An ID for Color Interop" and "Color Space Encodings for Texture
    Assets and CG Rendering".

    Raises:
        UnknownNameError: a space that the config does not have.
    """
    found = config._config.getColorSpace(config.canonical(space))
    if found.getInteropID() or found.isData():
        return found.getInteropID() or None
    try:
        decoded = _decode_probes(config._config, found)
    except _OCIO_ERRORS:
        return None
    for candidate, reference in _interop_references(found.getReferenceSpaceType()):
        if np.allclose(decoded, reference, rtol=1e-4, atol=1e-5):
            return candidate
    return None


def _color_space(config: ColorConfig, space: str) -> str:
    canonical = config.canonical(space)
    if config._config.getColorSpace(canonical).isData():
        raise UsageError(
            f"'{canonical}' holds data, not colour, so nothing can be converted to or from it; name the "
            "encoding of the plate, or leave both spaces out to keep the code values"
        )
    return canonical


def _identity(config: ocio.Config, source: str) -> str:
    """Hash what a config says, not where it lies: its text and the bytes of its LUT files."""
    text = config.serialize()
    digest = hashlib.sha256(text.encode())
    if source.endswith(ocio.OCIO_CONFIG_ARCHIVE_FILE_EXT):
        digest.update(Path(source).read_bytes())
        return digest.hexdigest()
    context = config.getCurrentContext()
    for lut in sorted(set(_LUT_FILE.findall(text))):
        # A LUT that is missing stops only the spaces that need it, and then OpenColorIO says so.
        with suppress(*_OCIO_ERRORS, OSError):
            digest.update(Path(context.resolveFileLocation(lut.strip('"'))).read_bytes())
    return digest.hexdigest()


def _run(processor: ocio.CPUProcessor, plate: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    assert plate.shape[2:] == (3,), plate.shape
    result = np.empty(plate.shape, np.float32) if out is None else out
    assert plate.dtype == result.dtype == np.float32, (plate.dtype, result.dtype)
    # Of a strided array OpenColorIO would convert a copy, and the caller would see nothing.
    assert result.flags.c_contiguous, "out must be contiguous"
    if result is not plate:
        np.copyto(result, plate)
    with _refusals("OpenColorIO cannot convert the frame"):
        processor.apply(ocio.PackedImageDesc(result, plate.shape[1], plate.shape[0], 3))
    return result


@contextmanager
def _refusals(what: str, kind: type[BitexpandError] = ColorError) -> Iterator[None]:
    """Say what was attempted when OpenColorIO raises one of its bare exceptions."""
    try:
        yield
    except _OCIO_ERRORS as error:
        raise kind(f"{what}: {error}") from error


def _probe_codes() -> np.ndarray:
    """Return (1, N, 3) float32 codes of 0..1: the 256 greys of 8 bits and a lattice of colours."""
    greys = np.repeat(np.arange(256) / 255, 3).reshape(-1, 3)
    lattice = np.stack(np.meshgrid(*[np.linspace(0, 1, 13)] * 3), axis=-1).reshape(-1, 3)
    return np.concatenate([greys, lattice])[np.newaxis].astype(np.float32)


_PROBES = _probe_codes()


def _decode_probes(config: ocio.Config, space: ocio.ColorSpace) -> np.ndarray:
    role = _INTERCHANGE_ROLES[space.getReferenceSpaceType()]
    processor = config.getProcessor(space.getName(), role).getOptimizedCPUProcessor(_OUTPUT_FLAGS)
    return _run(processor, _PROBES, None)


@functools.cache
def _interop_references(kind: ocio.ReferenceSpaceType) -> tuple[tuple[str, np.ndarray], ...]:
    """Return the interop id and the decoded probes of each reference space of one kind."""
    config = ocio.Config.CreateFromFile(_INTEROP_REFERENCE)
    spaces = config.getColorSpaces(ocio.SEARCH_REFERENCE_SPACE_ALL, ocio.COLORSPACE_ALL)
    return tuple(
        (space.getInteropID(), _decode_probes(config, space))
        for space in spaces
        if space.getReferenceSpaceType() == kind and not space.isData()
    )
