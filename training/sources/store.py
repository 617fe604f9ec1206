"""Files in a folder of any fsspec file system, above all S3: list them, read, write, and fetch them safely.

Credentials are the store's own business: from the environment, its profile files, or the machine's role; they never
stand in a recipe. Every refusal becomes an error that names the URL and says what to do.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import fsspec
from fsspec.registry import available_protocols
from fsspec.utils import get_protocol

from bitexpand.errors import BitexpandError, MissingInputError, UnknownNameError, UsageError
from training.sources.download import CHUNK, DownloadError, Expected, InterruptedDownloadError, download

Options: TypeAlias = Mapping[str, str | bool | int]
"""What fsspec calls storage options: ``endpoint_url``, ``anon`` and the like."""

_BLOCK = 4 << 20  # bytes of one range read
_LOCAL = ("file", "local")
_SECRET = re.compile(r"secret|password|passwd|token|^key$|access_key|credential", re.IGNORECASE)
_PLAIN_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_DENIED = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound")
_VERSION_KEYS = ("size", "ETag", "etag", "md5Hash", "mtime", "created", "LastModified", "Last-Modified")
_CREDENTIALS = (
    "they come from the environment: for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
)


class RemoteError(BitexpandError):
    """A store that cannot be reached, or refuses."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a store: its path in the folder, with slashes, and its size in bytes."""

    name: str
    size: int | None


@dataclass(frozen=True)
class Store:
    """A folder in a file system of fsspec; several threads may use it.

    Attributes:
        url: of the folder, as given.
        root: the folder, as its file system calls it.
    """

    url: str
    root: str
    _fs: Any

    def files(self) -> list[RemoteFile]:
        """List all files below the folder, sorted by name; an empty list where there is no such folder.

        Raises:
            MissingInputError: there is no such bucket.
            UsageError, RemoteError: the store refuses, or cannot be reached.
        """
        with self._asked(self.url):
            self._fs.invalidate_cache()
            found = self._fs.find(self.root, detail=True)
        prefix = self.root.rstrip("/") + "/"
        return sorted(
            (
                RemoteFile(path.removeprefix(prefix), info.get("size"))
                for path, info in found.items()
                if path.startswith(prefix) and not path.endswith("/")
            ),
            key=lambda file: file.name,
        )

    def kind(self) -> str:
        """Say what lies under the URL: "directory", "file" or, as fsspec may, "other".

        Raises:
            MissingInputError: nothing does.
        """
        with self._asked(self.url):
            self._fs.invalidate_cache()
            return self._fs.info(self.root)["type"]

    def url_of(self, name: str) -> str:
        """Return the URL of a file in the folder."""
        return f"{self.url.rstrip('/')}/{name}"

    def fetch_version(self, name: str, cache: Path, stem: str, suffix: str) -> Path:
        """Fetch a file in its present version into a cache, where each version has a name of its own.

        The version is the size and what the store says of its content (an ETag, or times); it is checked by the
        size, and by its MD5 where the store is S3 and the ETag is one.
        """
        path = self._path(name)
        with self._asked(self.url_of(name)):
            self._fs.invalidate_cache()
            info = self._fs.info(path)
            md5 = self._md5(path, info)
        checksum = ("md5", md5) if md5 else None
        expected = Expected(self.url_of(name), _version(info), info.get("size"), checksum)
        target = cache / f"{stem}.{expected.token}{suffix}"
        self.download(name, target, expected, same_version=True)
        return target

    def download(self, name: str, target: Path, expected: Expected, *, same_version: bool = False) -> None:
        """Download a file of the folder; see :func:`training.sources.download.download`.

        ``same_version`` demands that it stays the version of ``expected``: without a checksum nothing else would
        tell that a file was put together out of two.
        """
        with contextlib.ExitStack() as open_files:

            def read_from(offset: int) -> tuple[int, Iterable[bytes]]:
                open_files.close()
                with self._asked(self.url_of(name)):
                    file = open_files.enter_context(self._fs.open(self._path(name), "rb", block_size=_BLOCK))
                    file.seek(offset)
                    self._fs.invalidate_cache()
                    now = _version(self._fs.info(self._path(name)))
                if same_version and now != expected.version:
                    raise DownloadError(
                        f"{self.url_of(name)}: was replaced while it was fetched; run it again"
                    )
                return offset, self._chunks(name, file)

            download(target, expected, read_from)

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, or None if there is none."""
        with self._asked(self.url_of(name)):
            try:
                self._fs.invalidate_cache()
                return self._fs.cat_file(self._path(name))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self._asked(self.url_of(name)):
            self._make_parent(name)
            self._fs.pipe_file(self._path(name), content)

    def put(self, file: Path, name: str) -> None:
        """Copy a local file to the store."""
        with self._asked(self.url_of(name)):
            self._make_parent(name)
            self._fs.put_file(str(file), self._path(name))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._asked(self.url_of(name)), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _make_parent(self, name: str) -> None:
        if not self._is_s3:  # which has no folders; s3fs would try to create the bucket
            self._fs.makedirs(str(PurePosixPath(self._path(name)).parent), exist_ok=True)

    @property
    def _is_s3(self) -> bool:
        protocol = self._fs.protocol
        return "s3" in ((protocol,) if isinstance(protocol, str) else protocol)

    def _md5(self, path: str, info: Mapping[str, Any]) -> str | None:
        """Return the MD5 that S3 calls an ETag; it is none for uploads in parts and those encrypted by a key."""
        plain = _PLAIN_MD5.fullmatch(str(info.get("ETag")))
        if not plain or not self._is_s3:
            return None
        bucket, key, _ = self._fs.split_path(path)
        head = self._fs.call_s3("head_object", Bucket=bucket, Key=key)
        by_key = head.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in head
        return None if by_key else plain[1]

    def _chunks(self, name: str, file: Any) -> Iterator[bytes]:  # noqa: ANN401  (fsspec's file)
        try:
            while chunk := file.read(CHUNK):
                yield chunk
        except (OSError, *_client_errors()) as error:
            raise InterruptedDownloadError(f"reading {name} broke off ({_line(error)})") from error

    @contextlib.contextmanager
    def _asked(self, url: str) -> Iterator[None]:
        """Turn what file systems raise into our errors, which name the URL and what to do."""
        try:
            yield
        except FileNotFoundError as error:
            raise MissingInputError(f"{url}: is not there ({_line(error)})") from error
        except PermissionError as error:
            raise UsageError(
                f"{url}: access is denied ({_line(error)}); check your credentials: {_CREDENTIALS}"
            ) from error
        except TypeError as error:
            if "keyword argument" not in str(error):
                raise  # a bug of ours, no option that the file system does not know
            raise UsageError(f"{url}: the options do not fit ({_line(error)})") from error
        except (OSError, ValueError, *_client_errors()) as error:
            if type(error).__name__ in _DENIED:
                raise UsageError(
                    f"{url}: there are no credentials ({_line(error)}); {_CREDENTIALS}"
                ) from error
            reason = f"cannot be had ({_line(error)}); check the address, the network and its proxy"
            raise RemoteError(f"{url}: {reason}") from error


def open_store(url: str, options: Options) -> Store:
    """Open the folder under a URL; nothing is asked of it yet.

    Raises:
        UnknownNameError: no file system of fsspec has this protocol.
        UsageError: the package for it is missing, or the options do not fit it.
    """
    protocol = get_protocol(url)
    try:
        fs, root = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise UsageError(
            f"{url}: '{protocol}://' needs a package that is missing ({_line(error)})"
        ) from error
    except TypeError as error:
        raise UsageError(f"{url}: the options do not fit ({_line(error)})") from error
    except ValueError as error:
        if protocol not in available_protocols():
            raise UnknownNameError("protocol", protocol, available_protocols()) from error
        raise UsageError(f"{url}: cannot be opened ({_line(error)})") from error
    return Store(url, root, fs)


def is_local(url: str) -> bool:
    """Tell whether a path or URL is a folder of this machine, which needs no copy."""
    return get_protocol(url) in _LOCAL


def local_path(url: str) -> Path:
    """Return the path of a local folder, given as a path or a ``file://`` URL; ``~`` is the home folder."""
    bare = re.sub(r"^(file|local)://", "", url)
    return Path(bare).expanduser()


def check_url(url: str, options: Options) -> None:
    """Check what a recipe says of a store.

    Raises:
        ValueError: a protocol that there is not, or a secret that should not be in a file.
    """
    protocol = get_protocol(url)
    if protocol not in available_protocols():
        raise ValueError(str(UnknownNameError("protocol", protocol, available_protocols())))
    if "://" in url and urlsplit(url).password:
        raise ValueError(f"the URL holds a password; credentials do not belong in a file: {_CREDENTIALS}")
    secret = next((name for name in options if _SECRET.search(name)), None)
    if secret:
        raise ValueError(
            f"option '{secret}' would be a secret in a file; credentials do not belong there: {_CREDENTIALS}"
        )


def _version(info: Mapping[str, Any]) -> str:
    return json.dumps({key: str(info[key]) for key in _VERSION_KEYS if key in info})


def _client_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the HTTP clients under the file systems; one not imported cannot have raised any."""
    wanted = (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError"))
    return tuple(getattr(sys.modules[module], name) for module, name in wanted if module in sys.modules)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
