"""Where a frame lies: a path of this machine, or a URL of a store such as ``s3://bucket/shot_1001.png``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

_URL = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
_LOCAL = ("file", "local")
_STORES = ("s3:", "s3a:", "gs:", "gcs:", "az:", "abfs:", "http:", "https:", "memory:")


@dataclass(frozen=True, order=True)
class RemotePath:
    """An object or folder of a store, with the part of ``Path``'s interface that only looks at the name."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url.rstrip('/')}/{name}")

    @property
    def protocol(self) -> str:
        """What stands before ``://``."""
        return self.url.partition("://")[0].lower()

    @property
    def parent(self) -> RemotePath:
        """The folder; that of a bucket is the bucket."""
        protocol, _, path = self.url.partition("://")
        folder, slash, _ = path.rpartition("/")
        return RemotePath(f"{protocol}://{folder}") if slash else self

    @property
    def name(self) -> str:
        """What stands after the last slash; "" for a folder written with one at its end."""
        return self.url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its extension."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The extension with its dot."""
        return PurePosixPath(self.name).suffix

    def with_name(self, name: str) -> RemotePath:
        """Return what has another name in the same folder."""
        return RemotePath(self.url[: len(self.url) - len(self.name)] + name)


Location: TypeAlias = Path | RemotePath


def location(text: str) -> Location:
    """Return what a text names; ``file://`` is a path."""
    match = _URL.fullmatch(text)
    if not match:
        return Path(text)
    return Path(match["rest"]) if match["protocol"].lower() in _LOCAL else RemotePath(text)


def remote_text(given: str | Path) -> str | None:
    """Return the URL of a store as it was given, or None; a path that was made of one has lost a slash."""
    if isinstance(given, str):
        return given if isinstance(location(given), RemotePath) else None
    is_store = bool(given.parts) and given.parts[0].lower() in _STORES
    return str(given).replace(":/", "://", 1) if is_store else None
