"""The commands that look at what is there: parse, call, print, exit code. They write no frames."""

from __future__ import annotations

from typing import Any

import click

from bitexpand.errors import BitexpandError


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("result", metavar="DST")
@click.option("--frames", default=None, metavar="RANGE", help="Such as 1001-1100.  [default: all sources]")
@click.option(
    "--bits", type=int, default=None, help="True bit depth of the source.  [default: as written in DST]"
)
@click.option(
    "--bound",
    type=float,
    default=None,
    metavar="LSB",
    help="Largest move allowed.  [default: as written in DST, else 0.5]",
)
@click.option(
    "--config",
    default=None,
    metavar="OCIO",
    help="OpenColorIO config of the conversion.  [default: as written in DST]",
)
@click.option(
    "--in-space", default=None, metavar="SPACE", help="Colour space of SRC.  [default: as written in DST]"
)
@click.option(
    "--out-space", default=None, metavar="SPACE", help="Colour space of DST.  [default: as written in DST]"
)
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(paths: tuple[str, ...], as_json: bool) -> int:
    """Tell what images really hold: true bit depth, unused levels, clipping, colour tags, what to do.

    A PATH is a file or the pattern of a sequence.
    """
    from bitexpand.inspection import describe, exit_code, facts, inspect_all

    found = []
    for path, result in inspect_all(paths):
        if isinstance(result, BitexpandError):
            say_error(str(result))
        elif not as_json:
            click.echo(("\n" if found else "") + describe(result))
        found.append((path, result))
    if as_json:
        click.echo(to_json([facts(path, result) for path, result in found]))
    return exit_code(result for _, result in found)


def to_json(value: object) -> str:
    """Return a value as JSON that a person can read too."""
    import json

    return json.dumps(value, indent=2)


def say_error(message: str) -> None:
    """Print an error on stderr."""
    click.echo(f"bitexpand: error: {message}", err=True)
