"""A download that may be killed at any moment: gone on with where it stopped, checked, and seen only when complete.

What arrives lies in a hidden partial file beside the target, whose name says which version of which object it is
of; so a partial file of an object that was replaced in the meantime is never gone on with.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bitexpand.errors import BitexpandError, DiskFullError, WriteError

if sys.platform == "win32":  # no advisory locks: two runs into one cache are the user's to avoid there

    def _wait_for(lock: int) -> None: ...

else:
    import fcntl

    def _wait_for(lock: int) -> None:
        fcntl.flock(lock, fcntl.LOCK_EX)


CHUNK = 1 << 20  # bytes read at a time; what a killed run loses at most
TRIES = 4  # in a row without a new byte, before giving up
BACKOFF = 0.25  # seconds before the first new try, doubled with each

ReadFrom: TypeAlias = Callable[[int], tuple[int, Iterable[bytes]]]
"""Takes an offset in bytes; returns the offset that the server really starts at (it or 0), and what follows."""

_logger = logging.getLogger(__name__)


class DownloadError(BitexpandError):
    """A file that a server does not give, or not as it promised."""


class InterruptedDownloadError(DownloadError):
    """The connection broke; another try may go on from there."""


@dataclass(frozen=True)
class Expected:
    """What a download must turn out to be.

    Attributes:
        origin: the URL, for messages.
        version: any text that changes when the object's content does.
        size: in bytes, or None where the server does not tell.
        checksum: the name of a hashlib algorithm and the hexadecimal digest, or None where there is none to trust.
    """

    origin: str
    version: str
    size: int | None
    checksum: tuple[str, str] | None

    @property
    def token(self) -> str:
        """Return 12 hexadecimal digits that stand for this version of this object, to put into file names."""
        return hashlib.sha256(f"{self.origin}\n{self.version}".encode()).hexdigest()[:12]


def download(target: Path, expected: Expected, read_from: ReadFrom) -> None:
    """Download into ``target``, which appears complete and checked, or not at all.

    Connections that break are taken up again as long as each try brings new bytes, and TRIES times without. A file
    whose checksum is wrong is fetched once more from its beginning. Two processes that want the same file take
    turns, and the second finds it there.

    Raises:
        DownloadError: the server stopped giving, or gave something else twice.
        DiskFullError, WriteError: it cannot be stored; a full disk keeps what has arrived.
    """
    partial = target.parent / f".{target.name}.{expected.token}.part"
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with locked(partial.with_suffix(".lock")):
        if target.exists() and _problem(target, expected) is None:
            return
        versions = _literal(target.name).replace(expected.token, "[0-9a-f]" * 12)
        for left in set(target.parent.glob(f".{versions}.*.part")) - {partial}:
            left.unlink()
        problem = _download_once(partial, expected, read_from)
        if problem:
            _logger.warning("%s: %s; fetched again from its beginning", expected.origin, problem)
            problem = _download_once(partial, expected, read_from)
        if problem:
            raise DownloadError(
                f"{expected.origin}: {problem}, twice; nothing was kept; try again later, or tell its owner"
            )
        with storing(target):
            os.replace(partial, target)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, for which other processes and threads wait; it is removed in the end."""
    with storing(path):
        lock = _open_lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write ``path`` into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full; free some room and run the command again"
            raise DiskFullError(f"{path}: {reason}") from error
        reason = f"cannot be written ({error.strerror or error}); choose another folder"
        raise WriteError(f"{path}: {reason}") from error


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


def _open_lock(path: Path) -> int:
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        _wait_for(lock)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        os.close(lock)  # its holder removed it while we waited: what we hold is nobody's name any more


def _download_once(partial: Path, expected: Expected, read_from: ReadFrom) -> str | None:
    """Fill the partial file to its end; return what is wrong with it (then it is gone), or None."""
    _fill(partial, expected, read_from)
    problem = _problem(partial, expected)
    if not problem and expected.checksum:
        algorithm, wanted = expected.checksum
        found = digest(partial, algorithm)
        problem = None if found == wanted else f"its {algorithm} is {found}, not {wanted}"
    if problem:
        partial.unlink()
    return problem


def _fill(partial: Path, expected: Expected, read_from: ReadFrom) -> None:
    furthest, fruitless = 0, 0
    while True:
        try:
            _append(partial, expected, read_from)
            return
        except InterruptedDownloadError as error:
            size = partial.stat().st_size if partial.exists() else 0
            fruitless = 0 if size > furthest else fruitless + 1
            furthest = max(size, furthest)
            if fruitless >= TRIES:
                raise DownloadError(
                    f"{expected.origin}: {error}, {TRIES} times in a row; {furthest} bytes are kept: "
                    "run the command again to go on from there"
                ) from error
            time.sleep(BACKOFF * 2**fruitless)


def _append(partial: Path, expected: Expected, read_from: ReadFrom) -> None:
    """Add to the partial file what it lacks; stop at once when more comes than was promised."""
    have = partial.stat().st_size if partial.exists() else 0
    if expected.size is not None and have >= expected.size:
        return
    start, chunks = read_from(have)
    assert start in (0, have), start
    with storing(partial), partial.open("r+b" if have else "wb") as file:
        file.truncate(start)
        file.seek(start)
        for chunk in chunks:
            file.write(chunk)
            if expected.size is not None and file.tell() > expected.size:
                break
        file.flush()
        os.fsync(file.fileno())
        have = file.tell()
    if have < (expected.size or 0):
        raise InterruptedDownloadError(f"ended after {have} of {expected.size} bytes")


def _problem(path: Path, expected: Expected) -> str | None:
    size = path.stat().st_size
    if expected.size is None or size == expected.size:
        return None
    return f"it has {size if size < expected.size else 'more'} bytes, not {expected.size}"


def _literal(name: str) -> str:
    """Return a glob pattern that matches this name alone."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
