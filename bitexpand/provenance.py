"""What a written frame says of its making: for people to read, for reruns to skip, for ``verify`` to check by."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping

import bitexpand
from bitexpand.frames import Attribute, FrameInfo

_SOFTWARE = re.compile(r"^bitexpand \S+ (?P<fingerprint>[0-9a-f]{64})$")


def digest(values: Mapping[str, object]) -> str:
    """Return the SHA-256 of settings, independent of their order, as hexadecimal."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def fingerprint(settings_digest: str, source_digest: str) -> str:
    """Return what identifies a frame: the same source under the same settings, by the same version."""
    return digest({"version": bitexpand.__version__, "settings": settings_digest, "source": source_digest})


def attributes(
    frame_fingerprint: str, facts: Mapping[str, str | float | int | None], *, typed: bool = True
) -> tuple[Attribute, ...]:
    """Return the metadata to write: ``Software``, which every format keeps, and ``bitexpand:*`` for the facts.

    Args:
        frame_fingerprint: as ``fingerprint`` returns it.
        facts: name to value; None is left out.
        typed: write numbers as numbers, which EXR keeps; PNG keeps text only, TIFF and DPX keep no facts.
    """
    software = f"bitexpand {bitexpand.__version__} {frame_fingerprint}"
    kinds = {str: "string", int: "int", float: "float"}
    said = {k: v for k, v in {"version": bitexpand.__version__, **facts}.items() if v is not None}
    if not typed:
        said = {k: str(v) for k, v in said.items()}
    return (
        Attribute("Software", "string", software),
        *(Attribute(f"bitexpand:{k}", kinds[type(v)], v) for k, v in said.items()),
    )


def says_how(info: FrameInfo) -> bool:
    """Tell whether a file holds the facts of its making."""
    return info.attribute("bitexpand:version") is not None


def read_text(info: FrameInfo, name: str) -> str | None:
    """Return a fact that is text, or None where the file does not hold it."""
    value = info.attribute(f"bitexpand:{name}")
    return value if isinstance(value, str) else None


def read_number(info: FrameInfo, name: str) -> float | None:
    """Return a fact that is a number, or None where the file does not hold one."""
    try:
        value = float(info.attribute(f"bitexpand:{name}"))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def read_fingerprint(info: FrameInfo) -> str | None:
    """Return the fingerprint of a frame, or None if bitexpand did not write it."""
    match = _SOFTWARE.match(str(info.attribute("Software", "")))
    return match["fingerprint"] if match else None
