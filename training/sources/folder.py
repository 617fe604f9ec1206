"""A folder of pictures, on this machine or on any fsspec URL such as ``s3://bucket/plates``."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from bitexpand.errors import MissingInputError, UsageError
from training.sources.base import RAW_SUFFIXES, Original, SourceSettings
from training.sources.store import check_url, is_local, local_path, open_store

SUFFIXES = RAW_SUFFIXES | {".exr", ".hdr", ".png", ".tif", ".tiff"}

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*]|[. ]+(?=/|$)')  # refused by one file system or another


@dataclass(frozen=True, kw_only=True)
class Folder(SourceSettings):
    """All pictures in a folder and the folders in it; hidden ones are left out.

    Attributes:
        path: the folder, or a URL of one.
        options: what fsspec calls storage options, such as ``endpoint_url`` or ``anon``; never secrets.
    """

    kind: Literal["folder"]
    path: str
    options: Mapping[str, str | bool | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url(self.path, self.options)
        if is_local(self.path) and self.options:
            raise ValueError(f"options are for URLs, and '{self.path}' is a folder of this machine")

    def list(self) -> Sequence[Original]:
        """List the pictures by name; links are followed, each folder once."""
        names = sorted(name for name in self._files() if _is_picture(name))
        if not names:
            known = " ".join(sorted(SUFFIXES))
            raise MissingInputError(f"{self.path}: has no picture in it ({known})")
        return sorted(self._originals(names), key=lambda original: original.name)

    def fetch(self, original: Original, cache: Path) -> Path:
        """Return a local picture as it lies, or fetch a remote one in its present version."""
        name = original.origin.removeprefix(self._origin(""))
        if is_local(self.path):
            file = local_path(self.path) / name
            if not file.is_file():
                raise MissingInputError(f"{file}: no such file; it was there when the folder was listed")
            return file
        return open_store(self.path, self.options).fetch_version(name, cache, original.name, original.suffix)

    def _files(self) -> Iterator[str]:
        """Yield the path of every visible file in the folder, with slashes."""
        if is_local(self.path):
            root = local_path(self.path)
            return (path.relative_to(root).as_posix() for path in _walk(root))
        store = open_store(self.path, self.options)
        if store.kind() != "directory":
            raise UsageError(f"{self.path}: is no folder; name the folder that holds the pictures")
        return (file.name for file in store.files() if not _is_hidden(file.name))

    def _originals(self, names: Sequence[str]) -> Iterator[Original]:
        stems = {name: _safe(str(PurePosixPath(name).with_suffix(""))) for name in names}
        alike = Counter(stem.casefold() for stem in stems.values())
        taken: dict[str, str] = {}
        for name, stem in stems.items():
            suffix = PurePosixPath(name).suffix.lower()
            # shot.exr beside shot.nef: two pictures, most likely of one scene.
            unique = f"{stem}_{suffix[1:]}" if alike[stem.casefold()] > 1 else stem
            other = taken.setdefault(unique.casefold(), name)
            if other != name:
                raise UsageError(
                    f"{self.path}: '{other}' and '{name}' would both be called '{unique}'; rename one of them"
                )
            yield Original(unique, suffix, self.scene_of(stem), self._origin(name), self.licence)

    def _origin(self, name: str) -> str:
        base = local_path(self.path).as_posix() if is_local(self.path) else self.path
        return f"{base.rstrip('/')}/{name}"


def _walk(root: Path) -> Iterator[Path]:
    """Yield all visible files below a folder; real folders come before links, and none twice.

    Raises:
        MissingInputError, UsageError: a folder that is not there, is none, or cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        status, entries = _scan(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(Path(entry.path))
            elif entry.is_file() or entry.is_symlink():  # a link to nowhere is told of when it is fetched
                yield Path(entry.path)


def _scan(folder: Path) -> tuple[os.stat_result, Sequence[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            return folder.stat(), tuple(entries)
    except FileNotFoundError as error:
        raise MissingInputError(f"{folder}: no such folder") from error
    except NotADirectoryError as error:
        raise UsageError(f"{folder}: is no folder; name the folder that holds the pictures") from error
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read ({error.strerror}); mend that or move it away") from error


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _safe(name: str) -> str:
    """Return a name that every common file system takes."""
    return _UNSAFE.sub("_", name)
