"""Prepared folders that lie elsewhere, on any fsspec URL, above all ``s3://``: copy them there, and back.

``SHA256SUMS``, as ``sha256sum --check`` reads it, lists what has arrived and is right. A file that changes is taken
off the list before it is overwritten and put back after; the manifest is the first to go and the last to come, and
is on the list too. So half a folder is never taken for a whole one, and a killed copy is gone on with.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from bitexpand.errors import BitexpandError, MissingInputError
from training.manifest import FILE_NAME as MANIFEST
from training.sources.download import Expected, digest, storing
from training.sources.store import Options, Store, is_local, local_path, open_store

SUMS = "SHA256SUMS"
NOTE_BYTES = 256 << 20  # sent between two notes of what has arrived: what a killed upload sends again at most

Sums: TypeAlias = dict[str, str]
"""SHA-256 of files, by their path in the folder, with slashes."""

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_logger = logging.getLogger(__name__)


class UnfinishedFolderError(BitexpandError):
    """A folder whose upload has not ended, or that changed while it was copied."""


def upload(folder: Path, url: str, options: Options) -> int:
    """Copy a prepared folder to a URL; files that lie there already, equal, are not sent again.

    Hidden files stay here. What lies there and is no part of ``folder`` is left alone, and is no part of the copy.

    Returns:
        How many files were sent.

    Raises:
        MissingInputError: ``folder`` has no manifest, or the bucket is not there.
        BitexpandError: the store refuses or cannot be reached; the same call goes on.
    """
    if not (folder / MANIFEST).is_file():
        raise MissingInputError(f"{folder}: has no {MANIFEST}, so there is nothing complete to upload")
    store = open_store(url, options)
    sums = {path.relative_to(folder).as_posix(): digest(path) for path in _visible(folder)}
    there = {file.name: file.size for file in store.files()}
    arrived = {
        name: known
        for name, known in _read_sums(store).items()
        if sums.get(name) == known and there.get(name) == (folder / name).stat().st_size
    }
    if arrived == sums:
        return 0
    arrived.pop(MANIFEST, None)
    waiting = len(sums) - len(arrived)
    store.remove(MANIFEST)
    _send(folder, store, sums, arrived)
    return waiting


def mirror(url: str, cache: Path, options: Options) -> Path:
    """Bring a prepared folder to this machine and return where it lies; a local one is returned as it is.

    Each URL has a folder of its own in ``cache``, where files that are equal are not fetched again and those that
    are no part of it any more are removed. Interrupted files are gone on with. One process at a time.

    Raises:
        MissingInputError: there is no such folder.
        UnfinishedFolderError: its upload has not ended, or a new one began.
        BitexpandError: the store refuses or cannot be reached; a file stays wrong; the disk is full.
    """
    if is_local(url):
        return local_path(url)
    store = open_store(url, options)
    sums = _complete_sums(store)
    target = cache / Expected(url.rstrip("/"), "", None, None).token
    for name in sorted(sums, key=lambda name: (name == MANIFEST, name)):
        _bring(store, name, sums[name], target)
    for left in set(_visible(target)) - {target / name for name in sums}:
        left.unlink()
    return target


def _send(folder: Path, store: Store, sums: Sums, arrived: Sums) -> None:
    """Send what has not arrived, the manifest last, and keep the list of what has."""
    _write_sums(store, arrived)
    unnoted = 0
    for name in sorted(sums.keys() - arrived.keys() - {MANIFEST}):
        store.put(folder / name, name)
        arrived[name] = sums[name]
        unnoted += (folder / name).stat().st_size
        if unnoted >= NOTE_BYTES:
            _write_sums(store, arrived)
            unnoted = 0
    _write_sums(store, sums)
    store.put(folder / MANIFEST, MANIFEST)
    _logger.info("%s: %d files, complete", store.url, len(sums))


def _bring(store: Store, name: str, sha256: str, target: Path) -> None:
    file = target / name
    if file.exists():
        if digest(file) == sha256:
            return
        with storing(file):
            (target / MANIFEST).unlink(missing_ok=True)  # what lies here is no whole folder until it is back
            file.unlink(missing_ok=True)
    store.download(name, file, Expected(store.url_of(name), sha256, None, ("sha256", sha256)))


def _complete_sums(store: Store) -> Sums:
    """Return the list of a folder that is complete by its own account."""
    manifest, sums = store.read(MANIFEST), _read_sums(store)
    if manifest is None and not sums:
        raise MissingInputError(f"{store.url}: holds no prepared folder; prepare one and upload it there")
    if manifest is None or MANIFEST not in sums:
        raise UnfinishedFolderError(
            f"{store.url}: has no {SUMS if manifest else MANIFEST}: its upload was not finished; run it again"
        )
    return sums


def _visible(folder: Path) -> list[Path]:
    """Return all files below a folder but hidden ones, such as a sum list of another copy or temporaries."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def _read_sums(store: Store) -> Sums:
    content = store.read(SUMS)
    lines = content.decode("utf-8", "replace").splitlines() if content else []
    matches = [_LINE.fullmatch(line) for line in lines]
    if not all(matches):
        raise UnfinishedFolderError(
            f"{store.url_of(SUMS)}: is no list of SHA-256; remove it and upload again"
        )
    sums = {match[2]: match[1] for match in matches if match}
    for name in sums:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UnfinishedFolderError(f"{store.url_of(SUMS)}: '{name}' is outside of the folder")
    return sums


def _write_sums(store: Store, sums: Sums) -> None:
    text = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items()))
    store.write(SUMS, text.encode("utf-8"))
