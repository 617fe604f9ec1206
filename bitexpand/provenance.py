"""What a written frame says of its making: for people to read, for reruns to skip, for ``verify`` to check by."""

from __future__ import annotations

import hashlib
import json
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
    frame_fingerprint: str, facts: Mapping[str, str | float | int | None]
) -> tuple[Attribute, ...]:
    """Return the metadata to write: ``Software``, which every format keeps, and ``bitexpand:*`` for the facts.

    Args:
        frame_fingerprint: as ``fingerprint`` returns it.
        facts: name to value; None is left out.
    """
    software = f"bitexpand {bitexpand.__version__} {frame_fingerprint}"
    kinds = {str: "string", int: "int", float: "float"}
    said = {"version": bitexpand.__version__, **facts}
    return (
        Attribute("Software", "string", software),
        *(Attribute(f"bitexpand:{k}", kinds[type(v)], v) for k, v in said.items() if v is not None),
    )


def read_fingerprint(info: FrameInfo) -> str | None:
    """Return the fingerprint of a frame, or None if bitexpand did not write it."""
    match = _SOFTWARE.match(str(info.attribute("Software", "")))
    return match["fingerprint"] if match else None
