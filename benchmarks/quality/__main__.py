"""Print what the models win over doing nothing, and other filters beside them, as Markdown tables."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality.command_line import CommandLine
from benchmarks.quality.sections import SECTIONS, Subject
from benchmarks.quality.tables import Table
from bitexpand.errors import BitexpandError, UnknownNameError, UsageError
from bitexpand.models import registry

DEFAULT = ("pyramid", "smooth")  # the others take up to ten times as long


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print each table as soon as it is known, and return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        names, sections = _models(chosen.models), _sections(chosen.only)
        if chosen.json and not chosen.json.parent.is_dir():
            raise UsageError(f"--json {chosen.json}: its folder is not there; make it first")
        with tempfile.TemporaryDirectory(prefix="bitexpand-quality-") as work:
            models = [
                CommandLine(name, Path(work), f"results_{number}", chosen.depth, chosen.threads)
                for number, name in enumerate(names)
            ]
            tables = _measure(Subject(models, chosen.prepared, chosen.limit), sections)
    except BitexpandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if chosen.json:
        facts = {"depth": chosen.depth, "limit": chosen.limit, "tables": [table.facts() for table in tables]}
        chosen.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


def _measure(subject: Subject, sections: Sequence[str]) -> list[Table]:
    tables = []
    for section in sections:
        print(f"measuring {section} ...", file=sys.stderr, flush=True)
        for table in SECTIONS[section](subject):
            tables.append(table)
            print(table.markdown() + "\n", flush=True)
    return tables


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    add = parser.add_argument
    add(
        "--models",
        metavar="A,B",
        help=f"names of `bitexpand models`, or weights files; `all` takes hours  [default: {','.join(DEFAULT)}]",
    )
    add("--only", metavar="A,B", help=f"some of {', '.join(SECTIONS)}  [default: all]")
    add(
        "--prepared",
        type=Path,
        metavar="FOLDER",
        help="validation plates of `python -m training prepare` too",
    )
    add("--limit", type=_count, metavar="PIXELS", help="use only the centres of larger plates")
    add("--depth", default="float", choices=("float", "half"), help="samples of the EXR  [default: float]")
    add("--threads", type=_count, metavar="N", help="CPU threads of the network  [default: all cores]")
    add("--json", type=Path, metavar="FILE", help="write all numbers, too")
    return parser


def _models(listed: str | None) -> list[str]:
    """Return the models asked for.

    Raises:
        BitexpandError: one cannot be loaded; better now than after minutes.
    """
    if listed == "all":
        return [row.name for row in registry.MODELS if row.weights or not row.needs_weights]
    names = list(dict.fromkeys(listed.split(",") if listed else DEFAULT))
    for name in names:
        registry.load(name)
    return names


def _sections(listed: str | None) -> list[str]:
    """Return the sections asked for, in the order in which they run.

    Raises:
        UnknownNameError: there is none of that name.
    """
    wanted = SECTIONS if listed is None else listed.split(",")
    for name in wanted:
        if name not in SECTIONS:
            raise UnknownNameError("section", name, SECTIONS)
    return [name for name in SECTIONS if name in wanted]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
