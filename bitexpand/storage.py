"""Frames in a store, above all S3, as files of this machine while they are needed; the only user of fsspec.

What is read is fetched to a temporary copy, what is written is sent when it is whole: a store shows an object under
its key before or after, never in between. Credentials and endpoints are the store's own business, from its
environment variables, profiles and roles. Every refusal becomes an error that names the URL and says what to do.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bitexpand.errors import (
    AccessError,
    BitexpandError,
    DiskFullError,
    MissingInputError,
    StorageError,
    UnknownNameError,
    UsageError,
    WriteError,
)
from bitexpand.location import Location, RemotePath
from bitexpand.temporaries import prepare_folder, temporary_name

_END_BYTES = 64 << 10  # of each end of an object; our headers and TIFF's directories take a few thousand
_S3 = ("s3", "s3a")
_S3_OPTIONS = {"max_concurrency": 1}  # parts one by one: little memory, and what is read is of one version
_REFUSED = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound")
_CREDENTIALS = (
    "for S3 they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role"
)


@contextmanager
def fetched(path: Location) -> Iterator[Path]:
    """Yield a file with the content: the path itself, or a copy of what is remote.

    Raises:
        MissingInputError: there is no such object.
        StorageError: the store refuses or cannot be reached.
    """
    if isinstance(path, Path):
        yield path
        return
    with _standing_in(path) as copy:
        with _asked(path):
            _files(path).get_file(str(path), str(copy))
        yield copy


@contextmanager
def header_fetched(path: Location) -> Iterator[Path]:
    """Yield a file to read the header of, as ``fetched``; of a large object the middle is not fetched but zero."""
    if isinstance(path, Path):
        yield path
        return
    with _standing_in(path) as copy:
        with _asked(path):
            files, url = _files(path), str(path)
            size = files.info(url)["size"]
            ends = [(0, size)] if size <= 4 * _END_BYTES else [(0, _END_BYTES), (size - _END_BYTES, size)]
            with copy.open("wb") as file:
                for start, end in ends:
                    file.seek(start)
                    file.write(files.cat_file(url, start=start, end=end) if size else b"")
        yield copy


@contextmanager
def uploading(path: RemotePath) -> Iterator[Path]:
    """Yield the name of a local file to write, which is sent when the context ends without an error.

    Raises:
        DiskFullError: the disk of temporary copies is full.
        WriteError: the store refuses or cannot be reached; what lay there lies there still.
    """
    with _standing_in(path) as local:
        try:
            yield local
        except DiskFullError as error:
            raise DiskFullError(f"{path}: {_no_room(local)}") from error
        with _asked(path, WriteError):
            _files(path).put_file(
                str(local), str(path)
            )  # large ones in parts, which are dropped if one fails


def prepare(folder: Location) -> None:
    """Prove before any work that a folder, or a store, can be written; nothing stays there.

    Raises:
        UsageError: it cannot be.
    """
    if isinstance(folder, Path):
        prepare_folder(folder)
        return
    probe = folder / temporary_name(".probe")
    _scratch_folder()
    with _asked(folder, UsageError):
        file = _files(folder).open(str(probe), "wb", autocommit=False)  # S3: an upload in parts, then dropped
        try:
            file.write(b"bitexpand")
            file.close()
        finally:
            file.discard()
        if folder.protocol not in _S3:  # other stores may not know of files that are dropped
            with suppress(FileNotFoundError):
                _files(folder).rm_file(str(probe))


def is_file(path: Location) -> bool:
    """Tell whether there is such a file or object."""
    return os.path.isfile(path) if isinstance(path, Path) else _kind(path) == "file"


def is_folder(path: Location) -> bool:
    """Tell whether there is such a folder, or objects whose keys begin so."""
    return os.path.isdir(path) if isinstance(path, Path) else _kind(path) == "directory"


def is_there(path: Location) -> bool:
    """Tell whether anything is there that a result would replace."""
    return path.exists() if isinstance(path, Path) else is_file(path)


def names_in(folder: RemotePath) -> list[str]:
    """Return the names of the objects in a folder, without hidden ones, in no order, by one listing.

    Raises:
        MissingInputError: there is no such bucket, or nothing in it whose key begins so.
        StorageError: the store refuses or cannot be reached.
    """
    with _asked(folder):
        entries = _files(folder).ls(str(folder).rstrip("/") + "/", detail=True)
    names = [str(e["name"]).rpartition("/")[2] for e in entries if e["type"] == "file"]
    return [name for name in names if name and not name.startswith(".")]


def those_there(paths: Iterable[Location]) -> list[Location]:
    """Return the paths that are there; a folder of a store is listed once."""

    @functools.cache
    def listed(folder: RemotePath) -> frozenset[str]:
        with suppress(MissingInputError):
            return frozenset(names_in(folder))
        return frozenset()

    return [p for p in paths if (p.exists() if isinstance(p, Path) else p.name in listed(p.parent))]


def _kind(path: RemotePath) -> str | None:
    try:
        with _asked(path):
            return _files(path).info(str(path))["type"]
    except MissingInputError:
        return None


def _files(path: RemotePath) -> Any:  # noqa: ANN401  (fsspec's file system)
    """Return the file system of a URL: one a thread, as fsspec keeps them, that remembers no listing.

    Raises:
        UsageError: its package is not installed.
        UnknownNameError: there is no such protocol.
    """
    try:
        import fsspec
    except ImportError as error:
        raise UsageError(f"{path}: {_install(path)}") from error
    try:
        options = _S3_OPTIONS if path.protocol in _S3 else {}
        return fsspec.filesystem(path.protocol, use_listings_cache=False, **options)
    except ImportError as error:
        raise UsageError(f"{path}: {_install(path)} ({_line(error)})") from error
    except ValueError as error:
        known = fsspec.available_protocols()
        if path.protocol in known:
            raise UsageError(f"{path}: cannot be opened ({_line(error)})") from error
        raise UnknownNameError("protocol", path.protocol, known) from error


def _install(path: RemotePath) -> str:
    needed = "run: pip install 'bitexpand[s3]'" if path.protocol in _S3 else "install fsspec's for it"
    return f"{path.protocol}:// needs a package that is not installed; {needed}"


@contextmanager
def _standing_in(path: RemotePath) -> Iterator[Path]:
    """Yield a local name for an object, removed at the end; errors that name it come to name the URL."""
    local = _scratch_folder() / temporary_name(path.suffix)
    try:
        yield local
    except BitexpandError as error:
        error.args = (str(error).replace(str(local), str(path)),)
        raise
    finally:
        with suppress(OSError):
            local.unlink(missing_ok=True)


@functools.cache
def _scratch_folder() -> Path:
    try:
        folder = Path(tempfile.gettempdir())
        prepare_folder(folder)
    except (OSError, UsageError) as error:
        raise UsageError("remote frames need a folder for temporary copies: set TMPDIR to one") from error
    return folder


@contextmanager
def _asked(path: RemotePath, refusal: type[BitexpandError] | None = None) -> Iterator[None]:
    """Turn what file systems raise into ``refusal``, or into the error that fits."""
    try:
        yield
    except FileNotFoundError as error:
        detail = _line(error)
        said = "" if detail in str(path) else f" ({detail})"
        raise (refusal or MissingInputError)(f"{path}: is not there{said}") from error
    except (OSError, ValueError, asyncio.TimeoutError, *_client_errors()) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise (refusal or StorageError)(f"{path}: {_no_room(_scratch_folder())}") from error
        if isinstance(error, PermissionError) or type(error).__name__ in _REFUSED:
            reason = f"access is refused ({_line(error)}); check the credentials: {_CREDENTIALS}"
            raise (refusal or AccessError)(f"{path}: {reason}") from error
        reason = f"the store failed ({_line(error)}); check its address and the network"
        raise (refusal or StorageError)(f"{path}: {reason}; the same command goes on") from error


def _client_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the HTTP clients under the file systems; one not imported cannot have raised any."""
    wanted = (
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("aiohttp", "ClientError"),
    )
    return tuple(getattr(sys.modules[module], name) for module, name in wanted if module in sys.modules)


def _no_room(local: Path) -> str:
    folder = local if local.is_dir() else local.parent
    return f"no room for a temporary copy in {folder}; free some, or set TMPDIR to a larger disk"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
