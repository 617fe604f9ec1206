"""Files under way: hidden names that no other process has, files written whole or not at all, the end of dead ones.

Nothing here locks, and no clock is trusted but that of the storage, so that it holds on NFS with many machines.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import psutil

from bitexpand.errors import DiskFullError, UsageError, WriteError
from bitexpand.location import remote_text

_NAME = re.compile(r"^\.bitexpand-(?P<host>[\w.]+)-(?P<pid>\d+)-[\da-f]+\.\w+$")
_ABANDONED = 24 * 3600  # seconds; no frame takes that long, so a temporary this old has no writer any more
_serial = itertools.count()


def _host() -> str:
    """Return what process numbers are unique in: this start of this machine, and this container of it.

    A host name alone is not: machines cloned from one image share theirs, and nodes restart.
    """
    name = re.sub(r"[^\w.]", "_", socket.gethostname())[:40] or "host"
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    with suppress(OSError):  # no Linux
        name += f".{boot.read_text()[:8]}.{namespace.stat().st_ino}"
    return name


_HOST = _host()


def temporary_name(suffix: str) -> str:
    """Return a hidden name like no other, which ``sweep`` removes when its writer is gone."""
    return f".bitexpand-{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}{next(_serial):x}{suffix or '.part'}"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary beside a file; it takes the file's place when the block ends well, else it is gone.

    What a killed process leaves is swept by :func:`prepare_folder`.

    Raises:
        DiskFullError: no room is left.
        WriteError: anything else that keeps the file from being complete.
    """
    temporary = path.parent / temporary_name(path.suffix)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8 text, what is no text in a file's name escaped; raises as :func:`replacing`."""
    with replacing(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def prepare_file(option: str, path: Path, beginning: bytes, content: str) -> None:
    """Make the folder of a file and prove that it can be written, before hours of work and not after.

    Args:
        option: what the path was given to, such as "--report".
        path: of the file.
        beginning: what a file there must begin with to be replaced.
        content: what the file is called, such as "report".

    Raises:
        UsageError: it cannot be written, or another file would be lost.
    """
    if url := remote_text(path):
        raise UsageError(f"{option} {url}: give a file of this machine; only frames go to a store")
    probe = path.parent / temporary_name(".probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        is_other = path.exists() and not path.read_bytes().startswith(beginning)
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot write there ({error.strerror})") from error
    if is_other:
        raise UsageError(f"{option} {path}: exists and is no {content}; choose another name")


def prepare_folder(folder: Path) -> None:
    """Make an output folder ready: create it, prove that it can be written, sweep what dead runs left.

    Raises:
        UsageError: it cannot be created or written.
    """
    if url := remote_text(folder):
        raise UsageError(
            f"cannot write to '{url}': give a folder of this machine; of all results only frames go to a store"
        )
    probe = folder / temporary_name(".probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        now = probe.stat().st_mtime  # by the clock of the storage, whose times the others bear
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write to folder '{folder}': {error.strerror}; choose another -o") from error
    sweep(folder, now)


def sweep(folder: Path, now: float) -> None:
    """Remove temporaries of processes of this machine that are gone, and any older than a frame can take.

    Args:
        folder: where to look, not below.
        now: the time by the folder's own storage, in seconds.
    """
    with suppress(
        OSError
    ):  # what cannot be listed or is swept by another run at this moment may as well stay
        for left in sorted(folder.glob(".bitexpand-*")):
            with suppress(OSError):
                if _is_abandoned(left, now):
                    left.unlink()


def _write_error(path: Path, error: OSError) -> WriteError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{path}: the disk is full; free some room and run the same command again")
    return WriteError(f"{path}: could not be written ({error.strerror}); nothing was left in its place")


def _is_abandoned(temporary: Path, now: float) -> bool:
    match = _NAME.match(temporary.name)
    if not match:
        return False
    writer_is_gone = match["host"] == _HOST and not psutil.pid_exists(int(match["pid"]))
    return writer_is_gone or now - temporary.stat().st_mtime > _ABANDONED
