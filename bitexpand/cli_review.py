"""The commands that look at what is there: parse, call, print, exit code. They write no frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bitexpand.cli_options import promise_options
from bitexpand.errors import BitexpandError, UsageError


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("result", metavar="DST")
@promise_options("SRC", "DST")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(as_json: bool, **options: Any) -> int:
    """Read written frames again and hold them against their sources; exit 1 on any fault."""
    from bitexpand.verify import VerifyJob, check_facts, describe_check, summarize, verify_sequence

    checks = []
    for check in verify_sequence(VerifyJob(**options)):
        checks.append(check)
        if not as_json:
            click.echo(describe_check(check))
    summary = summarize(checks)
    click.echo(to_json([check_facts(c) for c in checks]) if as_json else summary)
    return 0 if all(check.passed for check in checks) else 1


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--artefacts/--no-artefacts",
    default=True,
    show_default=True,
    help="Look for what networks leave behind: checkerboards, scanlines, fringes, tile seams, banding.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="OUT.png",
    help="Draw the worst artefact, amplified, beside the plate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(paths: tuple[str, ...], artefacts: bool, picture: Path | None, as_json: bool) -> int:
    """Tell what images really hold: bit depth, levels, clipping, NaN, artefacts, colour tags, what to do.

    A PATH is a file or the pattern of a sequence.
    """
    from bitexpand.artefact_pictures import draw_worst
    from bitexpand.inspection import Inspection, describe, exit_code, facts, inspect_all

    if picture and not artefacts:
        raise UsageError("--picture shows the worst artefact: leave --no-artefacts out")
    found = []
    for path, result in inspect_all(paths, artefacts=artefacts):
        if isinstance(result, BitexpandError):
            say_error(str(result))
        elif not as_json:
            click.echo(("\n" if found else "") + describe(result))
        found.append((path, result))
    if as_json:
        click.echo(to_json([facts(path, result) for path, result in found]))
    if picture:
        drawn = draw_worst((result for _, result in found if isinstance(result, Inspection)), picture)
        told = (
            f"{picture}: {drawn[1].name} in {drawn[0]}" if drawn else "no artefact found, so no picture drawn"
        )
        click.echo(told, err=as_json)
    return exit_code(result for _, result in found)


@click.command()
@click.argument("first", metavar="CANDIDATE|SOURCE")
@click.argument("second", metavar="[RESULT]", required=False)
@click.option(
    "--truth",
    default=None,
    metavar="TRUTH",
    help="Pattern of the originals that the plate was rounded from: 16 bits or float.",
)
@click.option(
    "--source",
    default=None,
    metavar="SOURCE",
    help="With --truth: the plate that was expanded.  [default: the rounded truth]",
)
@click.option("--frames", default=None, metavar="RANGE", help="Such as 1001-1100.  [default: all]")
@click.option(
    "--bits", type=int, default=None, help="True bit depth of the source.  [default: from the files]"
)
@click.option(
    "--config",
    default=None,
    metavar="OCIO",
    help="OpenColorIO config of the spaces.  [default: as written in the result]",
)
@click.option(
    "--in-space",
    default=None,
    metavar="SPACE",
    help="Colour space of the plate.  [default: as written in the result]",
)
@click.option(
    "--out-space",
    default=None,
    metavar="SPACE",
    help="Colour space of the candidate.  [default: as written in it]",
)
@click.option(
    "--truth-space", default=None, metavar="SPACE", help="Colour space of the truth.  [default: the plate's]"
)
@click.option(
    "--model",
    default=None,
    help="A name of `bitexpand models`, or a weights FILE: also tell its idempotence.",
)
@click.option(
    "--also",
    multiple=True,
    metavar="lpips|flip|cvvdp",
    help="A metric that takes seconds a frame; needs `pip install 'bitexpand[metrics]'`. May be repeated.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    default=None,
    metavar="FILE|-",
    help="Write every number as JSON; - prints it instead of the table.",
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    default=None,
    metavar="FILE|-",
    help="Write a row a frame.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Frames measured at a time.",
)
def compare(
    first: str,
    second: str | None,
    json_file: Path | None,
    csv_file: Path | None,
    threads: int,
    **options: Any,
) -> int:
    """Measure how good results are: fidelity, banding, flicker, safety; a row a frame and a summary.

    \b
    bitexpand compare out_####.exr --truth original_####.exr --source shot_####.png
    bitexpand compare shot_####.png out_####.exr
    """  # noqa: D301  (click's \b)
    from bitexpand.compare import job_of
    from bitexpand.compare_output import tell

    return tell(job_of(first, second, **options), click.echo, json_file, csv_file, threads)


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("result", metavar="RESULT")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="REPORT.html",
    help="The page; it needs no network and no other file.",
)
@click.option("--truth", default=None, metavar="TRUTH", help="Pattern of the originals: adds the gain in dB.")
@promise_options("SOURCE", "RESULT")
@click.option(
    "--truth-space", default=None, metavar="SPACE", help="Colour space of TRUTH.  [default: SOURCE's]"
)
@click.option(
    "--display",
    default=None,
    metavar="NAME",
    help="OpenColorIO display to look through.  [default: the config's]",
)
@click.option("--view", default=None, metavar="NAME", help="Its view.  [default: the display's]")
@click.option("--quick", is_flag=True, help="Verify and show only; measure no banding and flicker.")
def qc(output: Path, quick: bool, **options: Any) -> int:
    """Write one self-contained page that a supervisor reads in a minute; exit 1 if its verdict is a fault."""
    from bitexpand.report.qc import QcJob, write_report

    facts = write_report(QcJob(metrics=not quick, **options), output, lambda line: click.echo(line, err=True))
    click.echo(f"{output}: {'passed' if facts.passed else 'FAULTS, see the page'}")
    return 0 if facts.passed else 1


@click.command()
@click.argument("source", metavar="SOURCE", type=click.Path(path_type=Path))
@click.argument("result", metavar="[RESULT]", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "picture",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT.png",
    help="The picture.",
)
@click.option(
    "--model", default=None, help="What expands SOURCE where no RESULT is given.  [default: pyramid]"
)
@click.option("--bits", type=int, default=None, help="True bit depth of SOURCE.  [default: from the file]")
@click.option("--config", default=None, metavar="OCIO", help="OpenColorIO config of the spaces of RESULT.")
@click.option(
    "--in-space",
    default=None,
    metavar="SPACE",
    help="Colour space of SOURCE.  [default: as written in RESULT]",
)
@click.option(
    "--out-space", default=None, metavar="SPACE", help="Colour space of RESULT.  [default: as written in it]"
)
def preview(source: Path, result: Path | None, picture: Path, model: str | None, **reading: Any) -> None:
    """Draw a plate before and after, gradients stretched, where it bands worst; expands it if there is no RESULT."""
    from bitexpand.compare_input import Reading
    from bitexpand.preview import preview as draw

    draw(source, result, picture, model=model, reading=Reading(**reading))
    click.echo(picture)


COMMANDS = (verify, inspect, compare, qc, preview)


def to_json(value: object) -> str:
    """Return a value as JSON that a person can read too."""
    import json

    return json.dumps(value, indent=2)


def say_error(message: str) -> None:
    """Print an error on stderr."""
    click.echo(f"bitexpand: error: {message}", err=True)
