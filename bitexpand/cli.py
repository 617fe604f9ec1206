"""The command line: parse, call, print, exit code. What a command needs is imported when it runs.

Exit codes: 0 ok, 1 some frames failed, 2 usage, 3 missing input, 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import importlib
import io
import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from bitexpand import __version__, cli_export, cli_farm, cli_nuke, cli_review, parent_watch
from bitexpand.cli_options import FRAMES, run_options, settings_options
from bitexpand.cli_review import say_error
from bitexpand.errors import BitexpandError

INTERRUPTED = 130


class _Interrupt:
    """The signal handler: the first signal stops the run, and further ones do not cut its clean-up short.

    Not SIG_IGN for those: Python complains of a signal that arrives while its handler is taken away.
    """

    asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            raise KeyboardInterrupt


_interrupt = _Interrupt()


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    _interrupt.asked = False
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold what a terminal cannot show
    try:
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _interrupt)
        parent_watch.start()
        code = cli.main(arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        say_error("interrupted; finished frames are complete, the same command goes on where it stopped")
        code = INTERRUPTED
    except BitexpandError as error:
        say_error(str(error))
        code = error.exit_code
    except BrokenPipeError:
        sys.stdout = None  # whoever read our output is gone, and flushing to it would fail again
        code = 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stdout = None  # which it may have been
        where = error.filename or "where the output is printed or a file was being written"
        say_error(f"no space is left: {where}; finished files are complete, run it again once there is room")
        code = 1
    sys.exit(code or 0)


def run() -> NoReturn:
    """As :func:`main`, for a process that has nothing else to do.

    It ends at once: to take down what PyTorch set up, object by object, took a fifth as long as to set it up.
    """
    code = 0
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            code = code or 1
    os._exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bitexpand")
def cli() -> None:
    """Turn 8-bit plates into true 16-bit EXR, and prove that nothing else changed."""


@cli.command()
@click.argument("input", metavar="INPUT")
@click.option("-o", "--output", required=True, help="Pattern of the result; .exr, .png, .tif or .dpx.")
@click.option(
    "--frames",
    type=FRAMES,
    default=None,
    metavar="RANGE",
    help="Such as 1001-1100, 1001-1100x2 or 1,5,7.  [default: all that are there]",
)
@click.option(
    "--on-missing",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What to do about frames that are not there.",
)
@settings_options
@run_options
def seq(progress: str, report: Path | None, dry_run: bool, **options: Any) -> int:
    """Expand a sequence, or one file.

    INPUT is a pattern (shot_####.png, %04d, @@@@, $F4, or a quoted glob) or a file: PNG, JPEG, TIFF, TGA, BMP,
    WebP or DPX of 8, 10 or 12 bits. Either end may lie on S3: s3://bucket/shot_####.png.

    \b
    bitexpand seq shot_####.png -o shot_####.exr
    bitexpand seq shot_####.png -o out/shot_####.exr --in-space ACEScct --out-space ACEScg --frames 1001-1100
    """  # noqa: D301  (click's \b)
    from bitexpand.jobs import Job, plan_sequence

    job = Job(**options)
    return _expand(plan_sequence(job), job, progress, report, dry_run)


@cli.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the results; sub-folders are mirrored.",
)
@click.option("--recursive", is_flag=True, help="Look into sub-folders.")
@click.option(
    "--list",
    "list_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="A text file with one path a line.",
)
@click.option(
    "--format",
    "extension",
    type=click.Choice(["exr", "png", "tif", "dpx"]),
    default="exr",
    show_default=True,
    help="Format of the results.",
)
@settings_options
@run_options
def batch(progress: str, report: Path | None, dry_run: bool, extension: str, **options: Any) -> int:
    """Expand unrelated stills: files, folders and globs, of mixed sizes, depths and formats."""
    from bitexpand.jobs import Batch, plan_batch

    job = Batch(extension=f".{extension}", **options)
    return _expand(plan_batch(job), job, progress, report, dry_run)


for _command in (*cli_export.COMMANDS, *cli_nuke.COMMANDS, *cli_review.COMMANDS, *cli_farm.COMMANDS):
    cli.add_command(_command)


@cli.command()
def models() -> None:
    """List the models."""
    from bitexpand.models.registry import MODELS

    for row in MODELS:
        shipped = "ships" if row.weights else "needs --model FILE" if row.needs_weights else "no weights"
        click.echo(f"{row.name:<18}{row.summary}  [{shipped}, {row.licence}]")


@cli.command()
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bitexpand_demo"),
    show_default=True,
    help="Folder of the results.",
)
@click.option(
    "--model", default="pyramid", show_default=True, help="A name of `bitexpand models`, or a weights FILE."
)
def demo(folder: Path, model: str) -> int:
    """Expand the example plate, verify it, and draw a picture of before and after."""
    _import_torch()
    from bitexpand.demo import demo as run_demo

    return 0 if run_demo(folder, model, click.echo) else 1


def _expand(plan: Any, settings: Any, style: str, report: Path | None, dry_run: bool) -> int:  # noqa: ANN401
    from bitexpand import progress

    if plan.missing:
        click.echo(f"warning: {progress.missing_text(plan)} left out", err=True)
    if plan.passed_over:
        click.echo(f"{plan.passed_over} files of other kinds passed over", err=True)
    if dry_run:
        return _dry_run(plan, settings)
    teller = progress.reporter(style, len(plan.tasks))
    if report:
        report = _report_path(report, plan)
        progress.prepare_report(report)
    _import_torch()  # takes a while: what can be refused without it was refused above
    from bitexpand import pipeline

    results: list[pipeline.FrameResult] = []
    try:
        with teller, closing(pipeline.run(plan, settings)) as frames:
            for result in frames:
                results.append(result)
                teller.add(result)
                if _interrupt.asked:  # Python drops what a handler raises inside a destructor
                    raise KeyboardInterrupt
    finally:
        if report:
            progress.write_report(report, plan, settings, results)
    teller.finish()
    return 1 if teller.tally.counts["failed"] else 0


def _import_torch() -> None:
    """Import torch, and leave its hundreds of thousands of objects out of every search for garbage.

    The searches during the import, and those when the process ends, took half as long as the import itself. What
    OpenImageIO makes has to be found by the last of them, or it complains of leaks: it is imported afterwards.
    """
    if sys.modules.keys() & {"torch", "OpenImageIO"}:
        return
    # Threads that wait for others sleep: while they spin, frames are not read, written or compressed on their cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    gc.disable()
    try:
        importlib.import_module("torch")
        gc.freeze()
    finally:
        gc.enable()


def _report_path(report: Path, plan: Any) -> Path:  # noqa: ANN401
    """Put the first frame's number in, so that each task of a farm has a report of its own."""
    from bitexpand.sequence import output_path

    first = plan.tasks[0]
    return Path(str(output_path(str(report), first.number, first.source))) if plan.uniform else report


def _dry_run(plan: Any, settings: Any) -> int:  # noqa: ANN401
    from bitexpand.jobs import rehearse

    faults = 0
    for line, is_fault in rehearse(plan, settings):
        faults += is_fault
        click.echo(line)
    return 1 if faults else 0
