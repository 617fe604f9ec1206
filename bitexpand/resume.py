"""Whether a target is there already, complete, and what this very run would write."""

from __future__ import annotations

from bitexpand import frames, provenance, sniff
from bitexpand.errors import MissingInputError, PlateError, WriteError
from bitexpand.jobs import Task
from bitexpand.location import Location, RemotePath
from bitexpand.storage import fetched, is_there

_NO_FINGERPRINT = ""


def is_done(task: Task, fingerprint: str) -> bool:
    """Tell whether a target is complete and what this run would write.

    Another run may replace or remove it at any moment: what vanishes under the look is not done.

    Raises:
        WriteError: it is a file that bitexpand did not write.
        StorageError: the store of a remote one refuses or cannot be reached.
    """
    try:
        return is_there(task.target) and _is_ours(task.target, fingerprint) and _is_complete(task.target)
    except (MissingInputError, FileNotFoundError):
        return False


def _is_ours(target: Location, fingerprint: str) -> bool:
    try:
        stored = provenance.read_fingerprint(frames.read_info(target))
    except PlateError:
        stored = _NO_FINGERPRINT if _is_cut_off(target) else None
    if stored is None:
        raise WriteError(
            f"{target}: exists and bitexpand did not write it; choose another -o,"
            " or replace it with --existing overwrite"
        )
    return stored == fingerprint


def _is_complete(target: Location) -> bool:
    if isinstance(target, RemotePath):
        return True  # a store shows whole objects only, and what was sent had been read back
    try:
        frames.read_frame(target)
    except PlateError:
        return False
    return True


def _is_cut_off(target: Location) -> bool:
    """Tell an image without its end, as a copy that was cut off leaves, from a file that was never one."""
    with fetched(target) as file:
        if not file.stat().st_size:
            return True
        try:
            sniff.check_head(file, "")
        except PlateError:
            return False
    return True
