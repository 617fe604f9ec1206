"""Many shots from a table, YAML or CSV: a row a shot, a job a row.

A shot is planned in a few milliseconds however many files lie beside it, so that tens of thousands can be looked
through before the first is submitted: a folder is listed once, and what all frames have in common is checked once.
"""

from __future__ import annotations

import bisect
import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from bitexpand import jobs, sequence
from bitexpand.errors import BitexpandError, MissingInputError, ShotsError, UnknownNameError, UsageError
from bitexpand.farm.checks import check_settings
from bitexpand.farm.job import FarmJob, Handling, describe_job
from bitexpand.listing import file_names

_SETTINGS = ("input", "output", "frames", "in_space", "out_space", "config", "model")
COLUMNS = ("name", *_SETTINGS)
_UNSET = ("", "~", "null")
_FOLDERS_KNOWN = 64  # listings that are kept; tables name a folder in neighbouring rows
_NEIGHBOURS = 2000  # names looked through for a suggestion where nothing matches
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # all scalars are text: no octal, no dates


@dataclass(frozen=True)
class Row:
    """A row of the table: where it stands, and its values by column, as text."""

    where: str
    values: dict[str, str]


def plan_shots(path: Path, defaults: dict[str, Any], handling: Handling, review: str | None) -> list[FarmJob]:
    """Describe a job for each row of a table.

    Args:
        path: ``.csv`` with a header, or YAML: a list of mappings.
        defaults: settings of ``jobs.Job`` for what a row leaves out.
        handling: the same for all.
        review: folder below which each job has its own for QC page and reports; None is beside the results.

    Raises:
        ShotsError: the table, or any of its rows; says each row's number and what is wrong with it.
    """
    rows = read_rows(path)
    planned: list[tuple[Row, FarmJob]] = []
    faults: list[tuple[Row, BitexpandError]] = []
    for row in rows:
        try:
            planned.append((row, _plan_shot(row, defaults, handling)))
        except BitexpandError as error:
            faults.append((row, error))
    faults += _collisions(planned)
    if faults:
        raise ShotsError(path, len(rows), [(row.where, error) for row, error in faults])
    return _named(path, planned, review)


def read_rows(path: Path) -> list[Row]:
    """Read a table.

    Raises:
        MissingInputError: it is not there.
        UsageError: it cannot be read, has no row, or a row or column that is not one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            raw = list(_csv_rows(file) if path.suffix.lower() == ".csv" else _yaml_rows(file))
    except FileNotFoundError as error:
        raise MissingInputError(f"--shots {path}: there is no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error, yaml.YAMLError) as error:
        raise UsageError(f"--shots {path}: cannot be read ({' '.join(str(error).split())})") from error
    except UsageError as error:
        raise UsageError(f"--shots {path}, {error}") from error
    if not raw:
        raise UsageError(f"--shots {path}: holds no shots; columns are {', '.join(map(_column, COLUMNS))}")
    return raw


def _csv_rows(lines: Iterable[str]) -> Iterator[Row]:
    reader = csv.DictReader(lines, restkey="more", strict=True)
    columns = [_known_column(name, "header") for name in reader.fieldnames or ()]
    if len(set(columns)) < len(columns):
        raise UsageError("header: names a column twice")
    for raw in reader:
        where = f"row {reader.line_num}"
        if "more" in raw:
            raise UsageError(
                f"{where}: has more values than the header has columns; quote those with a comma"
            )
        values = zip(columns, raw.values(), strict=True)
        yield Row(where, {column: value.strip() for column, value in values if (value or "").strip()})


def _yaml_rows(file: Any) -> Iterator[Row]:  # noqa: ANN401  (an open file)
    document = yaml.load(file, Loader=_Loader)  # noqa: S506  (it makes text, lists and mappings alone)
    if isinstance(document, dict) and list(document) == ["shots"]:
        document = document["shots"]
    if not isinstance(document, list):
        raise UsageError("top: is no list of shots; begin each shot with '- input: ...'")
    for number, raw in enumerate(document, 1):
        where = f"row {number}"
        if not isinstance(raw, dict):
            raise UsageError(f"{where}: is no mapping; begin each shot with '- input: ...'")
        values: dict[str, str] = {}
        for key, value in raw.items():
            column = _known_column(str(key), where)
            if not isinstance(value, str):
                raise UsageError(f"{where}: {key} is no text; give one value")
            if column in values:
                raise UsageError(f"{where}: gives {_column(column)} twice")
            if value not in _UNSET:
                values[column] = value
        yield Row(where, values)


def _known_column(name: str, where: str) -> str:
    column = name.strip().casefold().replace("-", "_")
    column = "frames" if column == "range" else column
    if column not in COLUMNS:
        error = UnknownNameError("column", name, map(_column, COLUMNS))
        raise UsageError(f"{where}: {error}")
    return column


def _column(name: str) -> str:
    return name.replace("_", "-")


def _plan_shot(row: Row, defaults: dict[str, Any], handling: Handling) -> FarmJob:
    values: dict[str, Any] = defaults | {name: row.values[name] for name in _SETTINGS if name in row.values}
    for needed in ("input", "output"):
        if not values.get(needed):
            raise UsageError(f"gives no {needed}")
    expansion = jobs.Job(**values)
    check_settings(expansion)
    frames = _find(expansion)
    return describe_job(expansion, frames, handling, row.values.get("name"), None)


def _find(expansion: jobs.Job) -> tuple[int, ...]:
    """Return the frames of a shot that are there.

    The first and the last stand for all in what is checked of outputs; ``seq`` checks each.
    """
    if expansion.existing == "error":  # a question to every output
        return tuple(task.number for task in jobs.plan_sequence(expansion).tasks if task.number is not None)
    names = _names_near(expansion.input)
    found = sequence.find_frames(expansion.input, expansion.frames, expansion.on_missing, names)
    ends = found.present[:: max(len(found.present) - 1, 1)]
    targets = [sequence.output_path(expansion.output, end.number, end.path) for end in ends]
    alike = len(ends) > 1 and targets[0] == targets[1]
    sequence.check_output(expansion.output, found if alike else replace(found, present=ends))
    expansion.check_target(targets[0])
    return tuple(frame.number for frame in found.present if frame.number is not None)


def _names_near(pattern: str) -> Sequence[str] | None:
    """Return the names in a pattern's folder that begin as it does, or its neighbours if none does."""
    if "://" in pattern:
        return None
    folder, name = os.path.split(pattern)
    names = _sorted_names(folder)
    prefix = re.split(r"[#@%$*?\[]", name, maxsplit=1)[0]
    first = bisect.bisect_left(names, prefix)
    last = bisect.bisect_right(names, prefix + "\U0010ffff", lo=first)
    return names[first:last] or names[max(first - _NEIGHBOURS, 0) : first + _NEIGHBOURS]


@lru_cache(maxsize=_FOLDERS_KNOWN)
def _sorted_names(folder: str) -> list[str]:
    names = file_names(Path(folder))
    names.sort()
    return names


def _collisions(planned: Sequence[tuple[Row, FarmJob]]) -> list[tuple[Row, BitexpandError]]:
    """Find shots that would write the same files, or over another's source."""
    folders: dict[str, str] = {}
    sources = {_identity(job.expansion.input, folders): row for row, job in planned}
    writers: defaultdict[str, list[tuple[Row, FarmJob]]] = defaultdict(list)
    faults: list[tuple[Row, BitexpandError]] = []
    for row, job in planned:
        identity = _identity(job.expansion.output, folders)
        if identity in sources:
            text = f"output '{job.expansion.output}' would overwrite the source of {sources[identity].where}"
            faults.append((row, UsageError(text)))
        for other, earlier in writers[identity]:
            both = set(job.frames) & set(earlier.frames)
            if both:
                text = f"writes {len(both)} frames of '{job.expansion.output}' that {other.where} writes too"
                faults.append((row, UsageError(text)))
                break
        writers[identity].append((row, job))
    return faults


def _identity(pattern: str, folders: dict[str, str]) -> str:
    """Return a text that two patterns share when they name the same files, however they write the number."""
    folder, name = os.path.split(pattern)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    name = sequence.output_path(name, 0, Path()).name
    return os.path.join(folders[folder], name).casefold()


def _named(path: Path, planned: Sequence[tuple[Row, FarmJob]], review: str | None) -> list[FarmJob]:
    """Give every job a name of its own: where results of several shots are alike, with their folder's before it."""
    counts = Counter(job.name for _, job in planned)
    named: list[FarmJob] = []
    taken: dict[str, Row] = {}
    faults: list[tuple[str, BitexpandError]] = []
    for row, job in planned:
        name = job.name
        if counts[name] > 1 and "name" not in row.values:
            folder = re.sub(r"[^\w.-]+", "_", Path(job.expansion.output).parent.name, flags=re.ASCII)
            name = f"{folder}_{name}"[-100:]
        if name in taken:
            text = f"is named '{name}', as {taken[name].where}; give them a 'name' each"
            faults.append((row.where, UsageError(text)))
        taken.setdefault(name, row)
        beside = job.review.removesuffix(f"{job.name}_review") + f"{name}_review"
        named.append(replace(job, name=name, review=f"{review}/{name}" if review else beside))
    if faults:
        raise ShotsError(path, len(planned), faults)
    return named
