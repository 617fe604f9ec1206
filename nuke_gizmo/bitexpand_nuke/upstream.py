"""Finds the Read that a node follows, and what that Read says of its plate."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import nuke

from . import paths
from .errors import NodeError

MOVIES = (".mov", ".mp4", ".m4v", ".mxf", ".avi", ".mkv", ".webm", ".r3d", ".braw", ".ari", ".arx", ".mpg")
PASSING = ("Dot", "NoOp", "PostageStamp", "Output")
"""Classes that hand their input on as it is."""
MIRRORED = ("frame_mode", "frame", "before", "after", "premultiplied", "auto_alpha")
"""Knobs of the Read that its result shares: the same frame at the same time, the same alpha."""
OWN_MARK = "node_version"
"""A knob that only BitExpand nodes have."""

_DEEPEST = 10000
_DEFAULT = re.compile(r"default\s*\((.*)\)$", re.IGNORECASE)
_ROOT_DEFAULTS = ((".dpx", "logLut"), (".cin", "logLut"), (".tif", "int8Lut"), (".tiff", "int8Lut"))


@dataclass(frozen=True)
class Plate:
    """What a Read says of its files.

    Attributes:
        read: full name of the Read.
        pattern: path with ``%04d``, or of one file.
        first, last: the Read's range, in numbers of the files.
        skips_missing: the Read goes on where a frame is missing.
        colorspace: what Nuke decodes with, its default resolved; '' where that is not known.
        raw: the Read does not decode.
        mirrored: name and value of each of ``MIRRORED`` that the Read has.
    """

    read: str
    pattern: str
    first: int
    last: int
    skips_missing: bool
    colorspace: str
    raw: bool
    mirrored: tuple[tuple[str, object], ...]

    @property
    def shifts_frames(self) -> bool:
        """Whether the Read puts its files at other times than their numbers."""
        values = dict(self.mirrored)
        return bool(values.get("frame")) or values.get("frame_mode", "expression") not in (
            "expression",
            0,
            "0",
        )


def find_plate(node: nuke.Node) -> Plate:
    """Return the plate that a node follows.

    Raises:
        NodeError: no Read above, something that changes pixels on the way, or a Read that cannot be expanded.
    """
    read = find_read(node)
    name = read.fullName()
    if _value(read, "disable"):
        raise NodeError(f"{name} is disabled; enable it")
    pattern = paths.knob_path(read["file"])
    if not pattern:
        raise NodeError(f"{name} names no file")
    extension = os.path.splitext(pattern)[1].lower()
    if extension in MOVIES:
        raise NodeError(
            f"{name} reads a movie, {pattern}; bitexpand takes numbered frames: "
            "write the movie out as PNG, TIFF or DPX, read those, and expand them"
        )
    if read.hasError():
        raise NodeError(f"{name} has an error at frame {nuke.frame()}; put the Read right first: {pattern}")
    return Plate(
        read=name,
        pattern=pattern,
        first=int(read["first"].getValue()),
        last=int(read["last"].getValue()),
        skips_missing=str(_value(read, "on_error") or "error") not in ("error", "0"),
        colorspace=_colorspace(read, extension),
        raw=bool(_value(read, "raw")),
        mirrored=tuple((knob, _value(read, knob)) for knob in MIRRORED if read.knob(knob)),
    )


def find_read(node: nuke.Node) -> nuke.Node:
    """Return the Read above a node: through Dot, NoOp, Switch, Groups in and out, and disabled nodes.

    Raises:
        NodeError: there is none, or a node on the way changes the picture.
    """
    here = node.input(0)
    for _ in range(_DEEPEST):
        if here is None:
            break
        kind = here.Class()
        if kind == "Read":
            return here
        if kind == "Input":
            here = _outside(here)
        elif _value(here, "disable") or kind in PASSING:
            here = here.input(0)
        elif kind == "Switch":
            here = here.input(int(here["which"].getValue()))
        elif isinstance(here, nuke.Group):
            here = _inside(here)
        else:
            raise NodeError(
                f"between {node.name()} and its Read is {here.fullName()} ({kind}), which changes the picture; "
                f"bitexpand expands files, so put {node.name()} straight below the Read"
            )
    raise NodeError(f"{node.name()} has no Read above it; connect it to the Read of the plate")


def _inside(group: nuke.Group) -> nuke.Node | None:
    if group.knob(OWN_MARK):
        raise NodeError(f"{group.fullName()} above expands this plate already; connect to its Read instead")
    outputs = [inner for inner in group.nodes() if inner.Class() == "Output"]
    return outputs[0] if outputs else None


def _outside(entry: nuke.Node) -> nuke.Node | None:
    number = entry.knob("number")
    return entry.parent().input(int(number.getValue()) if number else 0)


def _colorspace(read: nuke.Node, extension: str) -> str:
    said = str(_value(read, "colorspace") or "")
    default = _DEFAULT.match(said)
    if default:
        return default.group(1).strip()
    if said.lower() != "default":
        return said
    knob = nuke.root().knob(dict(_ROOT_DEFAULTS).get(extension, "int8Lut"))
    return str(knob.value()) if knob else ""  # pyright: ignore[reportAttributeAccessIssue]


def _value(node: nuke.Node, name: str) -> object:
    knob = node.knob(name)
    return knob.value() if knob else None  # pyright: ignore[reportAttributeAccessIssue]  every knob kind has it
