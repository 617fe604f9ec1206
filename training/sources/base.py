"""The interface of every source of plates: say what there is, and fetch it into a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from training.manifest import Split
from training.settings import STRICT

RAW_SUFFIXES = frozenset(
    (".nef", ".dng", ".cr2", ".cr3", ".arw", ".rw2", ".orf", ".raf", ".srw", ".pef", ".nrw")
)
"""Of camera RAW files."""


@dataclass(frozen=True)
class Original:
    """One picture that a source offers, before it is fetched.

    Attributes:
        name: unique within its source, without an extension, may have folders: "shots/sunset_0001". Characters that
            a file system may refuse are replaced.
        suffix: of the fetched file, lower case with its dot: ".exr", ".hdr", ".cr2", ".png".
        scene: what must stay within one split: a shot, an HDRI, a photographed place.
        origin: where it comes from: a URL, a package and the path in it, or a path.
        licence: SPDX identifier, or "unknown".
        split: pinned split, or None for one by the hash of the scene.
        space: OCIO space of this picture, float or integer, where it is not its source's.
        ceiling: of this picture, where it is not its source's (:class:`SourceSettings`).
    """

    name: str
    suffix: str
    scene: str
    origin: str
    licence: str
    split: str | None = None
    space: str | None = None
    ceiling: float | None = None


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """What a person may say of every source, in the YAML of ``prepare``.

    Attributes:
        name: of the source, unique in the file, a folder in the output; "" is its kind.
        space: OCIO space of float pictures; camera RAW is ACES2065-1, whatever stands here.
        integer_space: OCIO space of 16-bit PNG and TIFF pictures; None refuses them.
        licence: SPDX identifier of all its pictures, where the source itself does not know.
        scene: regular expression searched in a picture's name; its first group is the scene. "" takes the whole
            name, and so does a name in which it is not found.
        pinned: file name patterns by split: names that match go there, whatever their hash says.
        skip: file name patterns of pictures to leave out.
        force: take pictures with fewer values than real HDR pictures have.
        ceiling: scene-linear values above it, and 16 px around them, are not to be trusted (ringing of lossy EXR);
            negative ones, the other side of the ringing, become 0.
    """

    __pydantic_config__ = STRICT

    name: str = ""
    space: str = "Linear Rec.709 (sRGB)"
    integer_space: str | None = None
    licence: str = "unknown"
    scene: str = ""
    pinned: Mapping[Split, tuple[str, ...]] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    force: bool = False
    ceiling: float | None = None

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.scene).groups
        except re.error as error:
            raise ValueError(f"scene '{self.scene}' is no regular expression ({error})") from error
        if self.scene and groups != 1:
            raise ValueError(f"scene '{self.scene}' must have one group, in parentheses, which is the scene")

    def scene_of(self, name: str) -> str:
        """Return the scene of a picture by its name."""
        found = re.search(self.scene, name) if self.scene else None
        return (found and found[1]) or name


class Source(Protocol):
    """A place that linear plates come from: a :class:`SourceSettings` with these two methods."""

    def list(self) -> Sequence[Original]:
        """Say what there is, sorted by name; may ask a server, fetches no picture.

        Raises:
            MissingInputError: the place is not there, or offers nothing.
            BitexpandError: it cannot be reached; the message says what was tried and what to do.
        """
        ...

    def fetch(self, original: Original, cache: Path) -> Path:
        """Return a local file of a picture, fetched into the folder ``cache`` unless it lies there complete.

        A file appears under its name only when it is complete and its checksum is right; what a killed run left is
        gone on with, or fetched again. A local file is returned as it lies, not copied.

        Raises:
            BitexpandError: it cannot be had; the message names it, says what was tried and what to do.
        """
        ...
