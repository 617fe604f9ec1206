"""Files that appear under their names complete, or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bitexpand.errors import DiskFullError, WriteError
from bitexpand.temporaries import temporary_name


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary beside a file; it takes the file's place when the block ends well, else it is gone.

    What a killed process leaves is swept by :func:`bitexpand.temporaries.prepare_folder`.

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
    """Write a file of UTF-8 text; raises as :func:`replacing`."""
    with replacing(path) as file:
        file.write(text.encode())


def write_array(path: Path, array: npt.NDArray[Any]) -> str:
    """Write a contiguous array in NumPy's own format and return the SHA-256 of the file, as hexadecimal.

    Raises:
        DiskFullError, WriteError: as :func:`replacing`; ``numpy.save`` would not say which.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    digest = hashlib.sha256()
    with replacing(path) as file:
        for part in (header.getvalue(), array.reshape(-1).view(np.uint8).data):
            file.write(part)
            digest.update(part)
    return digest.hexdigest()


def _write_error(path: Path, error: OSError) -> WriteError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{path}: the disk is full; free some room and run the same command again")
    return WriteError(f"{path}: could not be written ({error.strerror}); nothing was left in its place")
