"""Which image formats are read and written, and how each may be compressed."""

from __future__ import annotations

import itertools

from bitexpand.errors import UnknownNameError, UsageError
from bitexpand.location import Location

SOURCE_FORMATS = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg", ".jpe"),
    "tiff": (".tif", ".tiff"),
    "targa": (".tga",),
    "bmp": (".bmp",),
    "webp": (".webp",),
    "dpx": (".dpx",),
}
SOURCE_EXTENSIONS = frozenset(itertools.chain.from_iterable(SOURCE_FORMATS.values()))
OUTPUT_FORMATS = {".exr": "openexr", ".png": "png", ".tif": "tiff", ".tiff": "tiff", ".dpx": "dpx"}
COMPRESSIONS = {
    "openexr": ("zip", "zips", "rle", "piz", "htj2k", "none", "pxr24", "b44", "b44a", "dwaa", "dwab"),
    "tiff": ("zip", "lzw", "packbits", "none"),
    "png": ("zip",),
    "dpx": ("none",),
}
LOSSY_COMPRESSIONS = frozenset({"pxr24", "b44", "b44a", "dwaa", "dwab"})


def output_format(path: Location) -> str:
    """Return OpenImageIO's format name for an output path.

    Raises:
        UsageError: the extension is not one that bitexpand writes.
    """
    name = OUTPUT_FORMATS.get(path.suffix.lower())
    if name is None:
        raise UsageError(f"cannot write '{path.name}': give it one of {', '.join(OUTPUT_FORMATS)}")
    return name


def check_compression(compression: str, format_name: str) -> None:
    """Raise UnknownNameError unless ``compression``, with or without ``:level``, is one of the format's."""
    name, _, level = compression.partition(":")
    if name not in COMPRESSIONS[format_name] or (level and not level.isdigit()):
        raise UnknownNameError(f"{format_name} compression", compression, COMPRESSIONS[format_name])


def is_lossy(compression: str) -> bool:
    """Tell whether an EXR compression changes half or float pixels."""
    return compression.partition(":")[0] in LOSSY_COMPRESSIONS
