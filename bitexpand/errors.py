"""Every error a user can meet, with the exit code that the command line gives it.

::

    BitexpandError            1
    ├── UsageError            2   an argument cannot be used as given
    │   ├── UnknownNameError  2   a model or colour space that does not exist
    │   ├── CheckpointError   2   a weights file that is not what it says
    │   └── DeviceError       2   a device that this machine does not have
    ├── MissingInputError     3   a file or frame that is not there
    ├── StorageError          1   a store, such as S3, that cannot be reached
    │   └── AccessError       2   a store that refuses: credentials, rights
    ├── PlateError            1   a frame that cannot be read or is not a plate
    ├── ColorError            1   a conversion that fails
    ├── GuardError            1   a result that would break the promise, never written
    ├── ExportError           1   an exported model that does not do what the engine does
    ├── MemoryShortageError   1   a frame that does not fit even in small tiles
    ├── FarmError             1   a farm that does not take a job
    ├── ShotsError            2   a table of shots, with what is wrong in each of its rows; 3 for missing sources
    └── WriteError            1   a frame that could not be written
        └── DiskFullError     1   no room left: the run stops

Only ``cli`` catches them. A message says what happened, to which frame or path, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class BitexpandError(Exception):
    """Root of the tree; ``exit_code`` is what the command line returns for it."""

    exit_code = 1


class UsageError(BitexpandError):
    """An argument cannot be used as given."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in its list; the message suggests the closest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(f"unknown {kind} '{name}'; {_suggestion(name, self.known)}")


class CheckpointError(UsageError):
    """A weights file that is missing parts, was altered, or holds another architecture."""


class DeviceError(UsageError):
    """A device that was asked for and is not there."""


class MissingInputError(BitexpandError):
    """A source file or frame that does not exist."""

    exit_code = 3


class StorageError(BitexpandError):
    """A store that cannot be reached, or breaks off; the same command goes on later."""


class AccessError(StorageError):
    """A store that refuses: no credentials, wrong ones, or no right to the object."""

    exit_code = 2


class PlateError(BitexpandError):
    """A source frame that cannot be read, or that is no 8, 10 or 12-bit plate."""


class ColorError(BitexpandError):
    """OpenColorIO refused a conversion."""


class GuardError(BitexpandError):
    """A result that is not finite, or that the file could not hold inside its bins."""


class ExportError(BitexpandError):
    """An exported model that would not do what the engine does; nothing was written."""


class MemoryShortageError(BitexpandError):
    """A frame that does not fit into memory even in the smallest tiles."""


class FarmError(BitexpandError):
    """A farm's own tools are not there, or refuse a job."""


class WriteError(BitexpandError):
    """A frame that could not be written; no partial file is left."""


class DiskFullError(WriteError):
    """No room is left on the output's disk; frames written before are complete."""


class ShotsError(BitexpandError):
    """Rows of a table of shots that cannot be done; the exit code is that of the first."""

    shown = 20

    def __init__(self, path: object, rows: int, faults: Sequence[tuple[str, BitexpandError]]) -> None:
        lines = [f"\n  {where}: {error}" for where, error in faults[: self.shown]]
        if len(faults) > self.shown:
            lines.append(f"\n  and {len(faults) - self.shown} more")
        super().__init__(
            f"{len(faults)} of {rows} shots in {path} cannot be done; none was submitted:{''.join(lines)}"
        )
        self.exit_code = faults[0][1].exit_code


def _suggestion(name: str, known: list[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=5, cutoff=0.5)
    close += [k for k in folded if name.casefold() in k and k not in close][: 5 - len(close)]
    if close:
        return "did you mean " + ", ".join(f"'{folded[c]}'" for c in close) + "?"
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"known are: {listed}" if known else "none are known"
