"""What is to be done: the settings of a run, and the plan of source and target files that follows from a job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from bitexpand import code_values, formats, sequence, stills
from bitexpand.code_values import EDGE_MARGIN, HALF_BIN, MAX_BITS, MIN_BITS, ROUNDED, Storage, bins, peak
from bitexpand.errors import BitexpandError, UsageError
from bitexpand.location import Location, remote_text
from bitexpand.models.table import default_bound
from bitexpand.storage import those_there

if TYPE_CHECKING:  # a plan needs no pixels, and refusals must not wait for what reads them
    from bitexpand import color
    from bitexpand.engine import Expander, Precision

_LONGEST_NAME = 255  # bytes, on every file system in use

Existing: TypeAlias = Literal["skip", "overwrite", "error"]
OnMissing: TypeAlias = Literal["error", "skip"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How frames are expanded; the command line's options of the same names.

    Attributes:
        model: a name of ``bitexpand models``, or a weights file.
        device, precision, strength, tile, overlap, post_smooth, threads: as ``Expander`` takes them.
        source_kind: what made the sources: a name of :data:`bitexpand.code_values.SOURCE_KINDS`.
        bound: largest move in LSB; 0.5 is the bin itself. None is what the source kind allows, or the model's own
            bound where that is wider.
        bits: true bit depth of the sources; None takes it from each file.
        config: OpenColorIO config; None is $OCIO, else the pinned built-in.
        in_space: the plates' colour space; out_space: the files'. None keeps the encoding as it is.
        depth: sample type of the files; None is uint16, and for EXR half, or float where half could not keep the
            promise: above 8 bits, or when the colour conversion mixes channels.
        compression: one of the format's; None is its default.
        existing: what to do where a target exists: skip what this very run would write again, overwrite, error.

    Raises:
        UsageError: a value out of range, or values that do not go together.
    """

    model: str = "pyramid"
    device: str = "auto"
    precision: Precision = "auto"
    strength: float = 1.0
    source_kind: str = ROUNDED.name
    bound: float | None = None
    bits: int | None = None
    config: str | None = None
    in_space: str | None = None
    out_space: str | None = None
    depth: Storage | None = None
    compression: str | None = None
    tile: int | None = None
    overlap: int | None = None
    post_smooth: float = 0.0
    existing: Existing = "skip"
    threads: int | None = None

    def __post_init__(self) -> None:
        _check_choice("existing", self.existing, get_args(Existing))
        _check_choice("depth", self.depth, (None, *get_args(Storage)))
        if self.bits is not None and not MIN_BITS <= self.bits <= MAX_BITS:
            raise UsageError(f"--bits {self.bits}: give {MIN_BITS} to {MAX_BITS}")
        code_values.source_kind(self.source_kind)
        if not EDGE_MARGIN < self.largest_move <= peak(MAX_BITS):
            raise UsageError(
                f"--bound {self.bound}: give a distance in LSB above {EDGE_MARGIN}; 0.5 is the bin"
            )
        if self.out_space and not self.in_space:
            raise UsageError(
                "--out-space needs --in-space, the colour space of the plate; it is never guessed"
            )
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads {self.threads}: give 1 or more")
        if self.compression and formats.is_lossy(self.compression) and self.largest_move <= HALF_BIN:
            raise UsageError(
                f"--compression {self.compression} is lossy and would move values out of their bins;"
                " take a lossless one, or allow it with a wider --bound"
            )

    @property
    def largest_move(self) -> float:
        """The bound in LSB: as given, else what the source kind and the model ask for."""
        half_width = code_values.source_kind(self.source_kind).half_width
        return default_bound(self.model, half_width) if self.bound is None else self.bound

    def storage(self, bits: int, target: Location, conversion: color.Conversion | None) -> Storage:
        """Return the sample type of a target for a source of ``bits`` bits and the conversion on the way."""
        if formats.output_format(target) != "openexr":
            return "uint16"
        # A rounded half in one channel comes back through a matrix as an error in the others: on saturated
        # pixels by several LSB.
        mixes_channels = conversion is not None and conversion.mixes_channels
        return self.depth or ("half" if bits <= 8 and not mixes_channels else "float")

    def check_target(self, target: Location) -> None:
        """Raise UsageError unless the target's format can hold the depth and compression asked for."""
        format_name = formats.output_format(target)
        accepted = ("half", "float") if format_name == "openexr" else ("uint16",)
        if self.depth and self.depth not in accepted:
            raise UsageError(f"--depth {self.depth}: a {target.suffix} file takes {' or '.join(accepted)}")
        if self.compression:
            formats.check_compression(self.compression, format_name)

    def pixel_settings(self) -> dict[str, object]:
        """Return what the pixels of a frame depend on, apart from the model and the config's text."""
        values = {
            name: value for name, value in asdict(self).items() if name in Settings.__dataclass_fields__
        }
        for name in ("model", "device", "existing", "threads", "config"):
            values.pop(name)
        values["bound"] = self.largest_move
        for name in ("strength", "bound", "post_smooth"):
            values[name] = float(values[name])  # 1 is 1.0  # type: ignore[arg-type]
        return values


@dataclass(frozen=True, kw_only=True)
class Job(Settings):
    """A sequence or a single file to expand.

    Attributes:
        input: pattern of the source (``shot_####.png``, ``%04d``, ``@@@@``, ``$F4``, a glob) or one file; on this
            machine, or in a store: ``s3://bucket/shot_####.png``.
        output: pattern of the result, here or in a store; its extension chooses the format.
        frames: range such as ``1001-1100x2``; None is all that are there.
        on_missing: "error" stops before anything is written; "skip" goes on without them.
    """

    input: str
    output: str
    frames: str | None = None
    on_missing: OnMissing = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("on-missing", self.on_missing, get_args(OnMissing))


@dataclass(frozen=True, kw_only=True)
class Batch(Settings):
    """Unrelated stills to expand.

    Attributes:
        inputs: files, folders and globs.
        folder: where results go, sub-folders mirrored.
        recursive: look into sub-folders of folders.
        list_file: a text file with one path a line, or None.
        extension: of the results, with its dot.
    """

    inputs: tuple[str, ...]
    folder: Path
    recursive: bool = False
    list_file: Path | None = None
    extension: str = ".exr"

    def __post_init__(self) -> None:
        super().__post_init__()
        if urls := [url for given in (*self.inputs, self.folder) if (url := remote_text(given))]:
            raise UsageError(f"{urls[0]}: a batch reads and writes folders of this machine; `seq` takes URLs")


@dataclass(frozen=True)
class Task:
    """One frame: its number, if it has one, its source and its target."""

    number: int | None
    source: Location
    target: Location


@dataclass(frozen=True)
class Plan:
    """The frames of a run.

    Attributes:
        tasks: in the order of the range.
        missing: frame numbers that are not there and will be left out.
        uniform: all frames must agree in size, channels and bit depth.
        passed_over: files in the folders of a batch that are no images of ours.
    """

    tasks: tuple[Task, ...]
    missing: tuple[int, ...] = ()
    uniform: bool = True
    passed_over: int = 0


def plan_sequence(job: Job) -> Plan:
    """Find the frames of a sequence and where each goes.

    Raises:
        MissingInputError: frames, or all of them, are not there.
        UsageError: a pattern, range or output that cannot be used.
        StorageError: a store that refuses or cannot be reached.
    """
    found = sequence.find_frames(job.input, job.frames, job.on_missing)
    sequence.check_output(job.output, found)
    tasks = tuple(
        Task(f.number, f.path, sequence.output_path(job.output, f.number, f.path)) for f in found.present
    )
    return _checked(Plan(tasks, found.missing), job)


def plan_batch(batch: Batch) -> Plan:
    """Find the stills of a batch and where each goes; raises as ``plan_sequence``."""
    found = stills.find_stills(batch.inputs, batch.recursive, batch.list_file, formats.SOURCE_EXTENSIONS)
    pairs = stills.still_outputs(found, batch.folder, batch.extension)
    tasks = tuple(Task(None, source, target) for source, target in pairs)
    return _checked(Plan(tasks, uniform=False, passed_over=found.passed_over), batch)


def _check_choice(option: str, value: str | None, accepted: tuple[str | None, ...]) -> None:
    if value not in accepted:
        raise UsageError(f"--{option} {value}: give one of {', '.join(word for word in accepted if word)}")


def _checked(plan: Plan, settings: Settings) -> Plan:
    for name in (task.target.name for task in plan.tasks):
        if len(os.fsencode(name)) > _LONGEST_NAME:
            raise UsageError(f"output name '{name[:40]}...' is longer than {_LONGEST_NAME} bytes; shorten -o")
    for target in {task.target.suffix: task.target for task in plan.tasks}.values():
        settings.check_target(target)
    if settings.existing == "error":
        there = those_there(task.target for task in plan.tasks)
        if there:
            raise UsageError(f"{len(there)} of {len(plan.tasks)} outputs exist, the first is {there[0]}")
    return plan


@dataclass(frozen=True)
class ColorPath:
    """The colour side of a run.

    Attributes:
        config: None where no space was named.
        conversion: from the plates' space to the files'; None where the encoding stays.
        interop_id: tag of the files' space, where that is known for certain.
    """

    config: color.ColorConfig | None = None
    conversion: color.Conversion | None = None
    interop_id: str | None = None


def color_path(settings: Settings) -> ColorPath:
    """Load the config and make the conversion that the settings ask for.

    Raises:
        MissingInputError, UsageError, ColorError: as ``color.load_config`` and ``color.conversion``.
    """
    if not settings.in_space:
        return ColorPath()
    from bitexpand import color

    config = color.load_config(settings.config)
    space = settings.out_space or settings.in_space
    conversion = color.conversion(config, settings.in_space, space)
    return ColorPath(config, None if conversion.is_identity else conversion, color.interop_id(config, space))


def expander(settings: Settings) -> Expander:
    """Return the engine that the settings ask for; raises as ``Expander``."""
    from bitexpand.engine import Expander  # torch takes a while

    return Expander(
        settings.model,
        device=settings.device,
        precision=settings.precision,
        strength=settings.strength,
        tile=settings.tile,
        overlap=settings.overlap,
        post_smooth=settings.post_smooth,
        threads=settings.threads,
    )


def rehearse(plan: Plan, settings: Settings) -> Iterator[tuple[str, bool]]:
    """Check the settings and the headers of all frames, yielding a line for each frame and whether it is a fault.

    Raises:
        BitexpandError: a model, device or colour space that the run could not start with.
    """
    from bitexpand import frames
    from bitexpand.plate import check_plate

    expected: tuple[object, ...] | None = None
    colors = color_path(settings)
    expander(settings)
    for task in plan.tasks:
        try:
            info = frames.read_info(task.source)
            check_plate(info, settings.bits)
            bits = settings.bits or info.bits
            storage = settings.storage(bits, task.target, colors.conversion)
            kind = code_values.source_kind(settings.source_kind)
            bins(bits, settings.largest_move, "float" if colors.conversion else storage, kind)
        except BitexpandError as error:
            yield f"FAULT {error}", True
            continue
        shape = (info.data.width, info.data.height, info.channels, bits)
        expected = expected or shape
        size = f"{info.data.width}x{info.data.height} {''.join(info.channels)} {bits} bits"
        if plan.uniform and shape != expected:
            yield f"FAULT {task.source}: is {size}, unlike the first frame", True
            continue
        yield f"{task.source} ({size}) -> {task.target} ({storage})", False
