"""NumPy's files, which appear under their names complete or not at all."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitexpand.temporaries import replacing


def write_array(path: Path, array: npt.NDArray[Any]) -> str:
    """Write a contiguous array in NumPy's own format and return the SHA-256 of the file, as hexadecimal.

    Raises:
        DiskFullError, WriteError: as :func:`bitexpand.temporaries.replacing`; ``numpy.save`` would not say which.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    digest = hashlib.sha256()
    with replacing(path) as file:
        for part in (header.getvalue(), array.reshape(-1).view(np.uint8).data):
            file.write(part)
            digest.update(part)
    return digest.hexdigest()
