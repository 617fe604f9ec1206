"""Finds the files that ship beside the code: OpenColorIO configs and the example plates."""

from __future__ import annotations

from pathlib import Path

from bitexpand.errors import MissingInputError

_PACKAGE = Path(__file__).resolve().parent


def shipped_file(*parts: str) -> Path:
    """Return the path of a shipped file or folder, such as ``shipped_file("ocio", "bitexpand.ocio")``.

    A wheel carries ``ocio/`` and ``examples/`` inside the package; in a checkout, which an editable
    install points at, they lie beside it.

    Raises:
        MissingInputError: neither place has it, so the installation is incomplete.
    """
    for root in (_PACKAGE, _PACKAGE.parent):
        candidate = root.joinpath(*parts)
        if candidate.exists():
            return candidate
    wanted = "/".join(parts)
    raise MissingInputError(f"{wanted} is missing from this installation of bitexpand; install it again")
