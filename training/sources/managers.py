"""Files out of packages of apt and npm, as the machine has them set up; nothing is installed, no root needed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO

from bitexpand.errors import BitexpandError, DiskFullError

TIMEOUT = 1800  # seconds for one command of a package manager

_NO_SPACE = re.compile(rb"no space left|enough free space|ENOSPC", re.IGNORECASE)
_NO_ROOM = 1 << 16  # bytes


class PackageError(BitexpandError):
    """A package that cannot be had, or that does not hold what it should."""


def read_apt(package: str, version: str, members: Collection[str], work: Path) -> Mapping[str, bytes]:
    """Download a Debian package and return files of it, by their path in it.

    The package lists of the system come first; where they lack it, lists are fetched into a hidden folder beside
    ``work``, as only root may renew the system's. Where ``version`` is not to be had, any is taken.

    Args:
        package, version: as apt calls them.
        members: paths in the package, without a leading slash.
        work: an empty folder for the download.

    Raises:
        PackageError: apt is not there, cannot get the package, or the package lacks a file.
        DiskFullError: there is no room for the package in ``work``.
    """
    _need(package, "apt-get", "dpkg-deb")
    _download_apt(package, version, work)
    archive = next(work.glob("*.deb"))
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            return _members(package, process.stdout, members, work)
        finally:
            process.kill()  # the rest of a large package is of no interest


def read_npm(package: str, version: str, members: Collection[str], work: Path) -> Mapping[str, bytes]:
    """Download an npm package and return files of it; as :func:`read_apt` otherwise."""
    _need(package, "npm")
    cache = str(work / "npm")
    _run(package, ["npm", "pack", f"{package}@{version}", "--ignore-scripts", "--cache", cache], work)
    with next(work.glob("*.tgz")).open("rb") as archive:
        return _members(package, archive, members, work)


def _need(package: str, *programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            raise PackageError(f"package '{package}': this machine has no '{program}', which would get it")


def _download_apt(package: str, version: str, work: Path) -> None:
    """Try the system's package lists, then our own as they are, then our own renewed."""
    own = work.parent / ".apt"
    (own / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    private = ["-o", f"Dir::State::Lists={own / 'lists'}", "-o", f"Dir::Cache={own / 'cache'}"]
    for options in ([], private):
        with contextlib.suppress(PackageError):
            _download_any(package, version, options, work)
            return
    _run(package, ["apt-get", "update", *private], work)
    _download_any(package, version, private, work)


def _download_any(package: str, version: str, options: Sequence[str], work: Path) -> None:
    try:
        _run(package, ["apt-get", "download", *options, f"{package}={version}"], work)
    except PackageError:
        _run(package, ["apt-get", "download", *options, package], work)


def _run(package: str, command: Sequence[str], work: Path) -> None:
    env = {**os.environ, "LC_ALL": "C"}
    try:
        subprocess.run(
            command,
            cwd=work,
            env=env,
            check=True,
            capture_output=True,
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"package '{package}': '{' '.join(command[:2])}' took over {TIMEOUT} s") from error
    except subprocess.CalledProcessError as error:
        _check_room(work, error.stderr)
        said = [line for line in error.stderr.decode(errors="replace").splitlines() if line.strip()]
        serious = [line for line in said if "warn" not in line.lower() and not line.startswith("W:")] or said
        raise PackageError(
            f"package '{package}': '{' '.join(command[:2])}' cannot get it ({'; '.join(serious[:3])}); "
            "check the network and how the package manager is set up"
        ) from error


def _check_room(work: Path, said: bytes = b"") -> None:
    """Tell a full disk from other failures; apt itself may leave half a package there and say that all is well."""
    if _NO_SPACE.search(said) or shutil.disk_usage(work).free < _NO_ROOM:
        raise DiskFullError(f"{work.parent}: the disk is full; free some room and run the command again")


def _members(package: str, archive: IO[bytes], wanted: Collection[str], work: Path) -> Mapping[str, bytes]:
    """Read named files of a tar archive in one pass; nothing is unpacked to the disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=archive, mode="r|*") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name in wanted and member.isreg():
                    content = tar.extractfile(member)
                    assert content is not None, name
                    found[name] = content.read()
                if len(found) == len(wanted):
                    break
    except (tarfile.TarError, EOFError) as error:
        _check_room(work)
        raise PackageError(f"package '{package}': its archive cannot be read ({error})") from error
    missing = sorted(set(wanted) - found.keys())
    if missing:
        raise PackageError(f"package '{package}': has no file '{missing[0]}'; it may be of another version")
    return found
