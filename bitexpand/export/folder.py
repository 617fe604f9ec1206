"""Writes the files of an export: all or none, and over nothing that is not ours.

``bitexpand_export.json`` in the folder lists what an export wrote, with SHA-256: a file is ours as long as it is
what is listed there. Other files in the folder are left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitexpand.errors import UsageError, WriteError

RECORD = "bitexpand_export.json"


class ExportFolder:
    """A folder to export to, found fit before the work begins.

    Args:
        folder: made if it is not there.
        names: paths of the files to come, in the folder.

    Raises:
        UsageError: it is a file, or holds files of these names that are not ours or that were changed since.
        WriteError: it cannot be written to.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"-o {folder}: this is a file; name a folder")
        record = self._record()
        strangers = [name for name in names if not self._is_ours(name, record.get(name))]
        if strangers:
            raise UsageError(
                f"-o {folder}: {', '.join(strangers)}: there already, and not as an export left it; move it away or"
                " choose another folder"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise self._failure(error) from error

    def write(self, files: Mapping[str, bytes], facts: Mapping[str, str]) -> list[Path]:
        """Write the files and the record, each whole, and return the files' paths.

        Raises:
            WriteError: no room, or no right to; what was there before still is.
        """
        entries = {n: {**facts, "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()}
        record = json.dumps({"files": {**self._record(), **entries}}, indent=2, sort_keys=True) + "\n"
        try:
            stage = Path(tempfile.mkdtemp(prefix=".bitexpand-export-", dir=self._folder))
        except OSError as error:
            raise self._failure(error) from error
        try:
            staged = {**files, RECORD: record.encode()}
            for i, contents in enumerate(staged.values()):
                (stage / str(i)).write_bytes(contents)
            for i, name in enumerate(staged):
                target = self._folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(stage / str(i), target)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        return [self._folder / name for name in files]

    def _record(self) -> dict[str, Any]:
        """Return what the record says, by file; an unreadable one claims nothing."""
        try:
            return dict(json.loads((self._folder / RECORD).read_text("utf-8"))["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _is_ours(self, name: str, entry: Any) -> bool:  # noqa: ANN401  what a stranger may have written
        path = self._folder / name
        if not os.path.lexists(path):
            return True
        digest = entry.get("sha256") if isinstance(entry, dict) else None
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest

    def _failure(self, error: OSError) -> WriteError:
        return WriteError(f"{self._folder}: cannot be written to ({error.strerror}); nothing was exported")
