"""The command that hands shots to a farm: parse, plan, print, exit code."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from bitexpand.cli_options import FRAMES, F, added, settings_options
from bitexpand.errors import BitexpandError, UsageError, WriteError

if TYPE_CHECKING:
    from bitexpand.farm.job import FarmJob, Handling
    from bitexpand.farm.registry import Farm

_TASKS_SHOWN = 3


def _farm_options(command: F) -> F:
    """Add the options of a job; those of seq come after them."""
    options = [
        click.option("-o", "--output", default=None, help="Pattern of the result, as for seq."),
        click.option("--frames", type=FRAMES, default=None, metavar="RANGE", help="As for seq.  [default: all that are there]"),
        click.option("--on-missing", type=click.Choice(["error", "skip"]), default="error", show_default=True, help="What to do about frames that are not there."),
        click.option("--shots", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE", help="Many shots, a job each: .csv or .yaml with the columns input, output, frames, in-space, out-space, config, model, name. Options fill what a row leaves out."),
        click.option("--bundle", type=click.Path(file_okay=False, path_type=Path), default=None, metavar="DIR", help="Write the job here; with --shots, each into a folder of its name. New or empty, and where the farm's workers see it."),
        click.option("--run", is_flag=True, help="Also hand the written job to the farm."),
        click.option("--dry-run", is_flag=True, help="Check everything and say what would be done; write nothing."),
        click.option("--chunk", type=int, default=10, show_default=True, metavar="N", help="Frames a task. A task takes seconds to start: short frames want more."),
        click.option("--verify/--no-verify", default=True, show_default=True, help="A second step that verifies the whole sequence."),
        click.option("--qc/--no-qc", default=True, show_default=True, help="A third step that makes the QC page."),
        click.option("--review", default=None, metavar="DIR", help="Folder of the QC page and of a report a task.  [default: NAME_review beside the results]"),
        click.option("--name", default=None, help="What the farm calls the job.  [default: the output's name]"),
        click.option("--gpu", is_flag=True, help="Ask for workers with a GPU."),
        click.option("--command", default="bitexpand", show_default=True, help="Starts bitexpand on a worker, such as 'rez env bitexpand -- bitexpand'."),
        click.option("--farm-option", "farm_options", multiple=True, metavar="KEY=VALUE", help="Passed on in the farm's own words, such as partition=short (Slurm) or Pool=comp (Deadline). May be repeated."),
        click.option("--scheduler", default=None, metavar="ADDRESS", help="Of Dask, such as tcp://head:8786."),
    ]  # fmt: skip
    return added(settings_options(command), options)


@click.command()
@click.argument("target", metavar="FARM")
@click.argument("input", metavar="[INPUT]", required=False)
@_farm_options
def submit(
    target: str,
    shots: Path | None,
    bundle: Path | None,
    run: bool,
    dry_run: bool,
    name: str | None,
    review: str | None,
    command: str,
    farm_options: tuple[str, ...],
    **options: Any,
) -> None:
    """Write a sequence as a job for a render farm: in tasks of some frames each, then verified, with a QC page.

    FARM is openjd (runs anywhere, AWS Deadline Cloud too), slurm, dask, deadline, deadline-cloud, opencue or
    tractor. The farm schedules and retries; a task that is run again skips the frames that are done.

    \b
    bitexpand submit openjd shot_####.png -o out/shot_####.exr --chunk 20 --bundle job
    bitexpand submit slurm --shots shots.csv --bundle jobs --run --farm-option partition=short
    """  # noqa: D301  (click's \b)
    from bitexpand.farm.job import Handling
    from bitexpand.farm.registry import farm

    chosen = farm(target)
    if not dry_run and bundle is None:
        raise UsageError("give --bundle DIR, where the job is written, or --dry-run")
    cutting = {key: options.pop(key) for key in ("chunk", "gpu", "verify", "qc", "scheduler")}
    handling = Handling(command=_words(command), farm_options=_pairs(farm_options), **cutting)
    jobs = _plan(options, handling, shots, name, review)
    _describe(chosen, jobs)
    if dry_run or bundle is None:
        _rehearse(chosen, jobs[0])
    else:
        _hand_over(chosen, jobs, bundle, run, many=shots is not None)


def _plan(
    options: dict[str, Any],
    handling: Handling,
    shots: Path | None,
    name: str | None,
    review: str | None,  # noqa: ANN401
) -> Sequence[FarmJob]:
    from bitexpand.farm.checks import check_settings
    from bitexpand.farm.job import plan_job
    from bitexpand.farm.shots import plan_shots
    from bitexpand.jobs import Job

    if shots:
        if options["input"] or options["output"] or name:
            raise UsageError("--shots names inputs, outputs and jobs itself: leave INPUT, -o and --name out")
        defaults = {key: value for key, value in options.items() if key not in ("input", "output")}
        return plan_shots(shots, defaults, handling, review)
    if not options["input"] or not options["output"]:
        raise UsageError("give INPUT and -o OUTPUT, or a table of them with --shots")
    expansion = Job(**options)
    check_settings(expansion)
    return [plan_job(expansion, handling, name, review)]


def _describe(farm: Farm, jobs: Sequence[FarmJob]) -> None:
    for job in jobs:
        click.echo(
            f"{job.name}: {len(job.frames)} frames in {job.task_count} tasks, {_brief(job.frame_range)}"
        )
        click.echo(f"  {job.expansion.input} -> {job.expansion.output}")
    if len(jobs) == 1:
        _describe_tasks(jobs[0])
    frames, tasks = sum(len(job.frames) for job in jobs), sum(job.task_count for job in jobs)
    click.echo(
        f"{_count(len(jobs), 'job')}, {_count(frames, 'frame')}, {_count(tasks, 'task')} for {farm.name}"
    )
    if not farm.tried:
        click.echo(
            f"note: no {farm.name} farm was at hand when this was made; its format alone is checked", err=True
        )


def _describe_tasks(job: FarmJob) -> None:
    for number, chunk in enumerate(job.chunks()):
        if number == _TASKS_SHOWN:
            click.echo(f"  ... {job.task_count - number} more tasks")
            break
        click.echo(f"  {shlex.join(job.seq_command(chunk))}")
    for follows, command in ((job.verify, job.verify_command()), (job.qc, job.qc_command())):
        if follows:
            click.echo(f"  then {shlex.join(command)}")


def _rehearse(farm: Farm, job: FarmJob) -> None:
    """Write one job where nobody looks, so that what its farm refuses is told now."""
    with TemporaryDirectory() as folder:
        files = farm.write(job, Path(folder))
    click.echo(f"a job is {', '.join(file.name for file in files)}; nothing was written")


def _hand_over(farm: Farm, jobs: Sequence[FarmJob], bundle: Path, run: bool, many: bool) -> None:
    bundle = bundle.absolute()
    folders = [bundle / job.name if many else bundle for job in jobs]
    _prepare(bundle, folders)
    try:
        for job, folder in zip(jobs, folders, strict=True):
            farm.write(job, folder)
    except (OSError, BitexpandError) as error:
        rmtree(bundle, ignore_errors=True)  # it was new or empty
        if isinstance(error, OSError):
            raise WriteError(f"--bundle {bundle}: cannot be written ({error.strerror})") from error
        raise
    click.echo(f"written to {bundle}")
    for job, folder in zip(jobs, folders, strict=True):
        if run:
            click.echo(farm.submit(job, folder))
        elif not many:
            click.echo(f"submit it with: {farm.how(job, folder)}")
    if many and not run:
        click.echo(f"submit each as the first: {farm.how(jobs[0], folders[0])}")


def _prepare(bundle: Path, folders: Sequence[Path]) -> None:
    try:
        if bundle.exists() and any(bundle.iterdir()):
            raise UsageError(
                f"--bundle {bundle}: is not empty; name a new folder, so that no job is mixed with another"
            )
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--bundle {bundle}: cannot be made ({error.strerror}); choose another folder"
        ) from error


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"--command {command}: cannot be read ({error})") from error


def _pairs(options: Sequence[str]) -> tuple[tuple[str, str], ...]:
    for option in options:
        if "=" not in option:
            raise UsageError(f"--farm-option {option}: give KEY=VALUE")
    return tuple((key, value) for key, _, value in (option.partition("=") for option in options))


def _brief(text: str) -> str:
    return text if len(text) <= 100 else text[:100].rpartition(",")[0] + ",..."


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


COMMANDS = (submit,)
