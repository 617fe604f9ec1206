"""The farms by name: one visible table. Adding a farm is a file beside this one and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bitexpand.errors import UnknownNameError
from bitexpand.farm import dask, deadline, opencue, openjd, slurm, tractor
from bitexpand.farm.job import FarmJob


@dataclass(frozen=True)
class Farm:
    """One row of the table.

    Attributes:
        name: what ``bitexpand submit`` takes.
        summary: one line for a list.
        write: writes a job into a folder that is there and empty, and returns its files; the first is the one
            that ``submit`` starts from.
        submit: hands the written job over (``--run``) and returns a line that says where it went.
        how: the shell command that does the same by hand, for a folder.
        tried: False where no such farm was at hand; the format alone is checked.
    """

    name: str
    summary: str
    write: Callable[[FarmJob, Path], list[Path]]
    submit: Callable[[FarmJob, Path], str]
    how: Callable[[FarmJob, Path], str]
    tried: bool


FARMS: tuple[Farm, ...] = (
    Farm(
        name="openjd",
        summary="Open Job Description: any farm that takes its bundles; --run runs it on this machine",
        write=openjd.write,
        submit=openjd.run,
        how=openjd.how,
        tried=True,
    ),
    Farm(
        name="deadline-cloud",
        summary="AWS Deadline Cloud: the same bundle, by `deadline bundle submit`",
        write=openjd.write,
        submit=openjd.submit_to_cloud,
        how=openjd.how_in_cloud,
        tried=False,
    ),
    Farm(
        name="slurm",
        summary="Slurm: array job, verification and QC page after it",
        write=slurm.write,
        submit=slurm.submit,
        how=slurm.how,
        tried=True,
    ),
    Farm(
        name="dask",
        summary="Dask: a cluster without a farm; --scheduler ADDRESS",
        write=dask.write,
        submit=dask.submit,
        how=dask.how,
        tried=True,
    ),
    Farm(
        name="deadline",
        summary="Thinkbox Deadline 10: CommandLine jobs",
        write=deadline.write,
        submit=deadline.submit,
        how=deadline.how,
        tried=False,
    ),
    Farm(
        name="opencue",
        summary="OpenCue: a pyoutline script",
        write=opencue.write,
        submit=opencue.submit,
        how=opencue.how,
        tried=False,
    ),
    Farm(
        name="tractor",
        summary="Pixar Tractor: an .alf job script",
        write=tractor.write,
        submit=tractor.submit,
        how=tractor.how,
        tried=False,
    ),
)

NAMES = tuple(farm.name for farm in FARMS)


def farm(name: str) -> Farm:
    """Look up a farm.

    Raises:
        UnknownNameError: there is none of that name; the message suggests close ones.
    """
    found = {row.name: row for row in FARMS}.get(name)
    if found is None:
        raise UnknownNameError("farm", name, NAMES)
    return found
