"""The Read inside the node: where its files are, how they are decoded, whether they are all there."""

from __future__ import annotations

import os

import nuke

from . import paths, spaces
from .errors import NodeError
from .frames import brief
from .work import Work

READ = "Result"
SOURCE, RESULT = 0, 1
"""Values of the ``show`` knob; the Switch inside follows it, so a render needs no Python of ours."""


def missing(work: Work) -> list[int]:
    """Return the frames of a result that are not there; a still has the one frame 0."""
    if work.frames:
        return sorted(work.expected() - paths.on_disk(work.output))
    return [] if os.path.exists(work.output) else [0]


def show(node: nuke.Node, work: Work) -> str:
    """Put the result in the place of the plate, and return a line that says how it is read.

    Raises:
        NodeError: the node lost its Read.
    """
    read = read_of(node)
    first, last = (min(work.frames), max(work.frames)) if work.frames else (work.plate.first, work.plate.last)
    values = dict(work.plate.mirrored)
    values.update(file=work.output, first=first, last=last, origfirst=first, origlast=last, origset=True)
    colorspace, raw, told = decoding(work, _offered(read))
    values["raw"] = raw
    if colorspace:
        values["colorspace"] = colorspace
    for name, value in values.items():
        knob = read.knob(name)
        if knob:
            knob.setValue(value)
    node["show"].setValue(RESULT)
    reload(node)
    return told


def reload(node: nuke.Node) -> None:
    """Have the Read look at its files again."""
    knob = read_of(node).knob("reload")
    if knob:
        knob.execute()  # pyright: ignore[reportAttributeAccessIssue]  a button has it


def decoding(work: Work, offered: list[str]) -> tuple[str, bool, str]:
    """Return the colorspace and raw knobs of a result, and a line that says why.

    Without an out space the encoding is the plate's, and so is its decoding. With one it is that space where
    Nuke's config has it; otherwise raw, as any other choice would change the picture.
    """
    plate = work.plate
    if not work.out_space:
        if plate.raw or not plate.colorspace:
            return "", True, "raw, as the plate"
        name = spaces.matching(plate.colorspace, offered)
        return (name, False, f"{name}, as the plate") if name else ("", True, _unknown(plate.colorspace))
    name = spaces.matching(work.out_space, offered)
    return (name, False, name) if name else ("", True, _unknown(work.out_space))


def incomplete(work: Work) -> str:
    """Return a line about what lacks, or ''."""
    lacking = missing(work)
    if not lacking:
        return ""
    if not work.frames:
        return f"{work.output} is not there"
    return f"{len(lacking)} of {len(work.expected())} frames are not there: {brief(lacking)}"


def read_of(node: nuke.Node) -> nuke.Node:
    """Return the Read inside the node."""
    read = node.node(READ) if isinstance(node, nuke.Group) else None
    if read is None:
        raise NodeError(f"{node.name()} lost the Read '{READ}' inside it; make a new BitExpand node")
    return read


def _offered(read: nuke.Node) -> list[str]:
    return [str(name) for name in nuke.getColorspaceList(read["colorspace"])]


def _unknown(space: str) -> str:
    return f"raw, as Nuke's colour config has no '{space}'"
