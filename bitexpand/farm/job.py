"""What a farm is to do for one shot: the one description that every writer turns into its farm's own words.

A task is a whole command line: ``bitexpand seq`` on exact frames, stateless and safe to run again. Nothing here
schedules, retries or queues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from bitexpand import jobs, sequence
from bitexpand.errors import UsageError

SETTINGS = tuple(f.name for f in fields(jobs.Job) if f.name not in ("input", "output", "frames"))
REVIEWED = ("bits", "source_kind", "bound", "config", "in_space", "out_space")  # what verify and qc go by


@dataclass(frozen=True, kw_only=True)
class Handling:
    """How jobs are cut up and what follows them; the options of ``submit`` of the same names.

    Attributes:
        chunk: frames a task.
        command: starts bitexpand on a worker, as arguments.
        gpu: ask the farm for workers with a GPU.
        verify: a second step verifies the whole sequence when the first is done.
        qc: a third step writes the QC page.
        farm_options: names and values in the farm's own words, passed on as they are: ``partition=short`` is
            ``#SBATCH --partition=short`` for Slurm, ``Pool=comp`` a line of Deadline's job info.
        scheduler: address of a Dask scheduler; the other farms have no use for it.

    Raises:
        UsageError: a value out of range.
    """

    chunk: int = 10
    command: tuple[str, ...] = ("bitexpand",)
    gpu: bool = False
    verify: bool = True
    qc: bool = True
    farm_options: tuple[tuple[str, str], ...] = ()
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise UsageError(f"--chunk {self.chunk}: give 1 frame a task or more")
        if not self.command or not all(self.command):
            raise UsageError(
                "--command is empty; give what starts bitexpand on a worker, such as 'bitexpand'"
            )


@dataclass(frozen=True, kw_only=True)
class FarmJob(Handling):
    """One shot for a farm.

    Attributes:
        name: what the farm calls the job: letters, digits, ``_``, ``.`` and ``-``.
        expansion: the settings of every task, with absolute paths; its ``frames`` are not used.
        frames: the exact frames, each once, in the order in which they are to be done.
        review: absolute folder of the QC page and of a report a task.
    """

    name: str
    expansion: jobs.Job
    frames: Sequence[int]
    review: str

    def chunks(self) -> Iterator[str]:
        """Yield each task's frames in the grammar of ``seq --frames``."""
        for start in range(0, len(self.frames), self.chunk):
            yield sequence.format_frames(self.frames[start : start + self.chunk])

    @property
    def task_count(self) -> int:
        """The number of chunks."""
        return -(-len(self.frames) // self.chunk)

    @cached_property
    def frame_range(self) -> str:
        """All frames in the grammar of ``seq --frames``."""
        return sequence.format_frames(self.frames)

    @property
    def report_pattern(self) -> str:
        """Where a task says what became of its frames; ``####`` is the first of them."""
        return f"{self.review}/frames_####.json"

    @property
    def page(self) -> str:
        """Where the QC page goes."""
        return f"{self.review}/qc.html"

    def seq_command(self, frames: str, progress: str = "plain") -> tuple[str, ...]:
        """Return the whole command of a task over ``frames``, in the grammar of ``seq --frames``."""
        return (
            *self.command,
            "seq",
            self.expansion.input,
            f"--output={self.expansion.output}",
            f"--frames={frames}",
            *option_arguments(self.expansion),
            f"--report={self.report_pattern}",
            f"--progress={progress}",
        )

    def verify_command(self) -> tuple[str, ...]:
        """Return the command that verifies all frames."""
        return (*self.command, "verify", *self._review_arguments())

    def qc_command(self) -> tuple[str, ...]:
        """Return the command that writes the QC page."""
        return (*self.command, "qc", *self._review_arguments(), f"--output={self.page}")

    def _review_arguments(self) -> tuple[str, ...]:
        # Said again, as results other than EXR do not say how they were made.
        made_by = option_arguments(replace(self.expansion, bound=self.expansion.largest_move), REVIEWED)
        return (self.expansion.input, self.expansion.output, f"--frames={self.frame_range}", *made_by)


def option(setting: str) -> str:
    """Return what the command line calls a setting."""
    return "--source" if setting == "source_kind" else f"--{setting.replace('_', '-')}"


def option_arguments(expansion: jobs.Job, settings: Iterable[str] = SETTINGS) -> tuple[str, ...]:
    """Return the options whose values are not the defaults, apart from paths and frames."""
    defaults = {field.name: field.default for field in fields(expansion)}
    values = {name: getattr(expansion, name) for name in settings}
    return tuple(f"{option(name)}={value}" for name, value in values.items() if value != defaults[name])


def plan_job(
    expansion: jobs.Job, handling: Handling, name: str | None = None, review: str | None = None
) -> FarmJob:
    """Find the frames of a shot on this machine's view of the storage, and describe the job.

    Args:
        expansion: as for ``seq``; relative paths are taken from here.
        handling: how to cut it up.
        name: None takes the output's, without its frame token.
        review: folder of the QC page and reports; None is ``NAME_review`` beside the results.

    Raises:
        MissingInputError: frames, or all of them, are not there.
        UsageError: a pattern, range, name or output that cannot be used, or a file without a frame number.
    """
    plan = jobs.plan_sequence(expansion)
    frames = tuple(task.number for task in plan.tasks if task.number is not None)
    return describe_job(expansion, frames, handling, name, review)


def describe_job(
    expansion: jobs.Job, frames: Sequence[int], handling: Handling, name: str | None, review: str | None
) -> FarmJob:
    """Describe a job over frames that are known to be there; raises UsageError as ``plan_job``."""
    if not frames:
        raise UsageError(
            f"'{expansion.input}' has no frame number, and a farm's tasks are ranges of frames;"
            " expand it here with `bitexpand seq`"
        )
    if review is None and "://" in expansion.output:
        raise UsageError(
            f"'{expansion.output}': give --review, a folder that workers see, for reports and QC page"
        )
    paths = {key: absolute(getattr(expansion, key)) for key in ("input", "output")}
    files = {key: _absolute_file(getattr(expansion, key)) for key in ("model", "config")}
    name = name or _name_of(paths["output"], frames[0])
    folder = paths["output"].rpartition("/")[0]
    return FarmJob(
        **{field.name: getattr(handling, field.name) for field in fields(Handling)},
        name=_checked_name(name),
        expansion=replace(expansion, **paths, **files),
        frames=_compact(frames),
        review=absolute(review) if review else f"{folder}/{name}_review",
    )


def absolute(path: str) -> str:
    """Return a path that does not depend on where a worker starts; addresses such as ``s3://`` are kept."""
    return path if "://" in path else Path(path).absolute().as_posix()


def _absolute_file(value: str | None) -> str | None:
    """Return what names a file of this machine as an absolute path, and other names as they are."""
    return absolute(value) if value and Path(value).is_file() else value


def _compact(frames: Sequence[int]) -> Sequence[int]:
    """Return frames as a range where they are one, which takes no room: there may be millions in all."""
    span = range(frames[0], frames[-1] + 1)
    return span if len(span) == len(frames) and all(map(int.__eq__, span, frames)) else tuple(frames)


def _name_of(output: str, number: int) -> str:
    """Return the output's name without its frame number."""
    stem = sequence.output_path(output, number, Path()).stem
    return re.sub(r"[^\w.-]+", "_", re.sub(rf"[._-]*0*{abs(number)}$", "", stem) or stem, flags=re.ASCII)


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,100}", name, re.ASCII):
        raise UsageError(
            f"job name '{name[:120]}': give a --name of up to 100 letters, digits, '_', '.' and '-';"
            " farms take no more"
        )
    return name
