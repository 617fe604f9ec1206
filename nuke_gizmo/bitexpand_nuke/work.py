"""What a node asks for: its knobs and the plate above it, as the arguments of the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass

import nuke

from . import frames, paths, spaces
from .errors import NodeError
from .upstream import OWN_MARK, Plate, find_plate


@dataclass(frozen=True)
class Work:
    """One run of ``bitexpand seq``.

    Attributes:
        plate: what is expanded.
        output: pattern of the result, with ``%04d`` where the plate has a number.
        frames: numbers of the files that are asked for; empty for a single file.
        frame_range: the same as ``--frames`` says it; '' for a single file.
        in_space, out_space: as given or followed; '' where the encoding stays.
        options: all further options of ``seq``.
    """

    plate: Plate
    output: str
    frames: tuple[int, ...]
    frame_range: str
    in_space: str
    out_space: str
    options: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """What follows ``bitexpand seq``, and with other first words ``submit``."""
        ranged = ["--frames=" + self.frame_range] if self.frame_range else []
        return [self.plate.pattern, "--output", self.output, *ranged, *self.options]

    def expected(self) -> set[int]:
        """Return the frames that a complete result has: those asked for, less the missing ones it may skip."""
        wanted = set(self.frames)
        return wanted & paths.on_disk(self.plate.pattern) if self.skips_missing else wanted

    def clashes(self, other: Work) -> bool:
        """Return whether another would write some of the same files, and not the same into them."""
        same_files = os.path.normcase(self.output) == os.path.normcase(other.output)
        shared = set(self.frames) & set(other.frames) or not self.frames
        return bool(same_files and shared) and (self.plate.pattern, self.options) != (
            other.plate.pattern,
            other.options,
        )

    @property
    def skips_missing(self) -> bool:
        """Whether missing frames are left out and not an error."""
        return "--on-missing=skip" in self.options


def work_of(node: nuke.Node) -> Work:
    """Return what a node asks for.

    Raises:
        NodeError: no plate, or knobs that cannot be used.
    """
    plate = find_plate(node)
    frame_range = _frame_range(node, plate)
    in_space, out_space = _spaces(node, plate)
    return Work(
        plate=plate,
        output=_output(node, plate),
        frames=tuple(frames.parse(frame_range)) if frame_range else (),
        frame_range=frame_range,
        in_space=in_space,
        out_space=out_space,
        options=tuple(_options(node, plate, in_space, out_space)),
    )


def check_alone(node: nuke.Node, work: Work) -> None:
    """Check that no other node of the script writes the same files from other settings.

    Raises:
        NodeError: one does.
    """
    for other in nuke.allNodes("Group", nuke.root(), recurseGroups=True):
        if other == node or not other.knob(OWN_MARK):
            continue
        try:
            theirs = work_of(other)
        except NodeError:
            continue  # it has nothing to write
        if work.clashes(theirs):
            raise NodeError(
                f"{other.fullName()} writes the same files with other settings: {work.output}; "
                f"give one of the two another output"
            )


def text(node: nuke.Node, knob: str) -> str:
    """Return a knob's value as text without outer blanks."""
    return str(node[knob].value() or "").strip()  # pyright: ignore[reportAttributeAccessIssue]


def number(node: nuke.Node, knob: str) -> float:
    """Return a knob's value as a number."""
    return float(node[knob].getValue())


def _frame_range(node: nuke.Node, plate: Plate) -> str:
    if not paths.is_sequence(plate.pattern):
        return ""
    origin = text(node, "range_from")
    if origin == "range":
        return text(node, "frames") or _refuse(
            "frames: give a range such as 1001-1100, or take those of the Read"
        )
    if origin == "project":
        if plate.shifts_frames:
            _refuse(
                f"{plate.read} shifts its frames in time; take the frames of the Read, or a range of its files"
            )
        root = nuke.root()
        return f"{root.firstFrame()}-{root.lastFrame()}"  # pyright: ignore[reportAttributeAccessIssue]
    return f"{plate.first}-{plate.last}"


def _output(node: nuke.Node, plate: Plate) -> str:
    pattern = paths.knob_path(node["output"]) or _refuse("output: name the files of the result")
    script = os.path.splitext(os.path.basename(nuke.root().name()))[0]
    directory = nuke.root()["project_directory"].evaluate()  # pyright: ignore[reportAttributeAccessIssue]
    values = {
        "folder": os.path.dirname(plate.pattern),
        "plate": paths.stem(plate.pattern),
        "project": paths.project_directory() if directory else "",
        "script": "" if script == "Root" else script,
        "node": node.name(),
        "model": _model(node) if text(node, "model") != "weights file" else paths.stem(_model(node)),
    }
    filled = paths.fill_tokens(pattern, values)
    if paths.is_sequence(plate.pattern) and not paths.is_sequence(filled):
        _refuse(f"output: {filled} names one file for all frames; add #### for the frame number")
    if not paths.is_sequence(plate.pattern) and paths.is_sequence(filled):
        folder, slash, name = filled.rpartition("/")
        extension = os.path.splitext(name)[1]
        return folder + slash + paths.stem(name) + extension  # a still has no number
    return filled


def _spaces(node: nuke.Node, plate: Plate) -> tuple[str, str]:
    in_space, out_space = text(node, "in_space"), text(node, "out_space")
    if out_space and not in_space:
        if plate.raw or not plate.colorspace:
            _refuse(
                f"in space: {plate.read} is raw, so say which colour space the plate has; it is never guessed"
            )
        in_space = spaces.plain(plate.colorspace)
    return in_space, out_space


def _options(node: nuke.Node, plate: Plate, in_space: str, out_space: str) -> list[str]:
    chosen = [f"--model={_model(node)}", f"--strength={number(node, 'strength'):g}"]
    if text(node, "source_kind") != "rounded":
        chosen.append("--source=" + text(node, "source_kind"))
    if node["own_bound"].getValue():
        chosen.append(f"--bound={number(node, 'bound'):g}")
    for option, space in (("--in-space", in_space), ("--out-space", out_space)):
        if space:
            chosen.append(f"{option}={space}")
    if in_space:
        chosen += _config(node)
    if text(node, "depth") != "auto":
        chosen.append("--depth=" + text(node, "depth"))
    if number(node, "tile"):
        chosen.append(f"--tile={number(node, 'tile'):.0f}")
    skips = plate.skips_missing and node["follow_missing"].getValue()
    chosen.append("--on-missing=" + ("skip" if skips else "error"))
    return [*chosen, "--existing=" + text(node, "existing"), "--device=" + text(node, "device")]


def _model(node: nuke.Node) -> str:
    if text(node, "model") != "weights file":
        return text(node, "model")
    return paths.knob_path(node["model_file"]) or _refuse(
        "model: name the weights file, or choose a model by name"
    )


def _config(node: nuke.Node) -> list[str]:
    chosen = text(node, "config")
    if chosen == "studio":
        return []
    return ["--config=" + ("bitexpand" if chosen == "bitexpand" else _project_config())]


def _project_config() -> str:
    root = nuke.root()
    custom = root.knob("customOCIOConfigPath")
    if custom and text(root, "OCIO_config") == "custom":
        path = paths.knob_path(custom)
    else:
        path = os.environ.get("OCIO", "")
    if not path:
        _refuse(
            "config: this project uses one of Nuke's own OpenColorIO configs, which has no file to hand on; "
            "take 'studio' or 'bitexpand', or give the project a config file of its own"
        )
    return path


def _refuse(message: str) -> str:
    raise NodeError(message)
