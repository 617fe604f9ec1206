"""The command line: parse, call, print, exit code. What a command needs is imported when it runs.

Exit codes: 0 ok, 1 some frames failed, 2 usage, 3 missing input, 130 interrupted.
"""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click

from bitexpand import __version__, cli_review
from bitexpand.cli_review import say_error
from bitexpand.errors import BitexpandError

F = TypeVar("F", bound=Callable[..., Any])

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


class _Tile(click.ParamType[int | None]):
    """``auto`` or a number of pixels."""

    name = "auto|PIXELS"

    def convert(
        self, value: str | int | None, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        if value is None or value == "auto":
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"'{value}' is neither auto nor a number of pixels", param, ctx)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    _interrupt.asked = False
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold what a terminal cannot show
    try:
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _interrupt)
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
    sys.exit(code or 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bitexpand")
def cli() -> None:
    """Turn 8-bit plates into true 16-bit EXR, and prove that nothing else changed."""


def settings_options(command: F) -> F:
    """Add the options that ``seq`` and ``batch`` share."""
    options = [
        click.option("--model", default="pyramid", show_default=True, help="A name of `bitexpand models`, or a weights FILE."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
        click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True, help="Of the network's inside; auto is fp32. The plate itself stays float32."),
        click.option("--strength", type=float, default=1.0, show_default=True, help="Share of the predicted move that is made, 0 to 1."),
        click.option("--bound", type=float, default=0.5, show_default=True, metavar="LSB", help="Largest move of a value, in code steps of the source; 0.5 is its bin, so rounding gives the source back."),
        click.option("--bits", type=int, default=None, metavar="N", help="True bit depth of the source, 2 to 12.  [default: from the file]"),
        click.option("--config", default=None, metavar="OCIO", help="OpenColorIO config: a path, an ocio:// name, or `bitexpand` (adds Cineon, LogC3 at every EI, Rec.709 curves).  [default: $OCIO, else the built-in studio config]"),
        click.option("--in-space", default=None, metavar="SPACE", help="Colour space of the plate, such as ACEScct; never guessed."),
        click.option("--out-space", default=None, metavar="SPACE", help="Colour space of the result, such as ACEScg.  [default: the encoding stays]"),
        click.option("--depth", type=click.Choice(["half", "float", "uint16"]), default=None, help="Samples of the result.  [default: EXR half, or float above 8 bits; others uint16]"),
        click.option("--compression", default=None, help="Of the format, such as zip, zips, piz (EXR) or lzw (TIFF).  [default: zip]"),
        click.option("--tile", type=_Tile(), default="auto", show_default=True, help="Largest tile side in pixels."),
        click.option("--overlap", type=int, default=None, metavar="PIXELS", help="What neighbouring tiles share.  [default: the model's]"),
        click.option("--post-smooth", type=float, default=0.0, metavar="SIGMA", help="Edge-gated blur after the model, sigma in pixels.  [default: none]"),
        click.option("--existing", type=click.Choice(["skip", "overwrite", "error"]), default="skip", show_default=True, help="For outputs that are there: skip those that this run would write again, overwrite all, or stop."),
        click.option("--progress", default="auto", show_default=True, metavar="auto|bar|plain|json|openjd|none", help="How progress is told on stdout."),
        click.option("--report", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE.json", help="Write what became of each frame."),
        click.option("--dry-run", is_flag=True, help="Check everything and say what would be done; write nothing."),
        click.option("--threads", type=click.IntRange(min=1), default=None, metavar="N", help="CPU threads of the network.  [default: all cores]"),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("input", metavar="INPUT")
@click.option("-o", "--output", required=True, help="Pattern of the result; .exr, .png, .tif or .dpx.")
@click.option(
    "--frames",
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
def seq(progress: str, report: Path | None, dry_run: bool, **options: Any) -> int:
    """Expand a sequence, or one file.

    INPUT is a pattern (shot_####.png, %04d, @@@@, $F4, or a quoted glob) or a file: PNG, JPEG, TIFF, TGA, BMP,
    WebP or DPX of 8, 10 or 12 bits.

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
def batch(progress: str, report: Path | None, dry_run: bool, extension: str, **options: Any) -> int:
    """Expand unrelated stills: files, folders and globs, of mixed sizes, depths and formats."""
    from bitexpand.jobs import Batch, plan_batch

    job = Batch(extension=f".{extension}", **options)
    return _expand(plan_batch(job), job, progress, report, dry_run)


for _command in cli_review.COMMANDS:
    cli.add_command(_command)


@cli.command()
def models() -> None:
    """List the models."""
    from bitexpand.models.registry import MODELS

    for row in MODELS:
        shipped = "ships" if row.weights else "needs --model FILE" if row.needs_weights else "no weights"
        click.echo(f"{row.name:<12}{row.summary}  [{shipped}, {row.licence}]")


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
        progress.prepare_report(report)
    from bitexpand import pipeline  # torch takes a while: what can be refused without it was refused above

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


def _dry_run(plan: Any, settings: Any) -> int:  # noqa: ANN401
    from bitexpand.jobs import rehearse

    faults = 0
    for line, is_fault in rehearse(plan, settings):
        faults += is_fault
        click.echo(line)
    return 1 if faults else 0
