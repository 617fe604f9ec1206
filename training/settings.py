"""YAML files into frozen dataclasses; every error names the file, the key and what would have been accepted."""

from __future__ import annotations

import dataclasses
import os
import typing
from pathlib import Path
from typing import Any, TypeVar, overload

import pydantic
import yaml
from pydantic import ConfigDict, TypeAdapter

from bitexpand.errors import MissingInputError, UnknownNameError, UsageError

T = TypeVar("T")
C = TypeVar("C", dict[str, Any], list[Any])

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""What a settings dataclass sets as ``__pydantic_config__``: unknown keys are errors, NaN and Inf too."""


@overload
def read_yaml(path: Path) -> dict[str, Any]: ...
@overload
def read_yaml(path: Path, kind: type[C]) -> C: ...
def read_yaml(path: Path, kind: type[Any] = dict) -> Any:
    """Read a YAML file that holds keys and values, or with ``kind=list`` a list.

    Raises:
        MissingInputError: there is no such file.
        UsageError: it is no YAML, or holds something else; the message has the line.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, kind):
        raise UsageError(f"{path}: must hold {'a list' if kind is list else 'keys and values'}")
    return content


def resolve(place: str, settings_file: Path) -> str:
    """Return a path of a settings file, relative to that file's folder; URLs stay what they are."""
    if "://" in place:
        return place
    return os.path.normpath((settings_file.parent / Path(place).expanduser()).absolute())


def build(kind: type[T], content: object, path: Path, key: str = "") -> T:
    """Make a settings dataclass from what a YAML file holds.

    Args:
        kind: a dataclass with ``__pydantic_config__ = STRICT``.
        content: what the file holds, or a part of it.
        path: the file, for messages.
        key: where ``content`` stands in it, such as "phases.0".

    Raises:
        UsageError: a key that is unknown (with close matches), missing, of the wrong type or out of range.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except pydantic.ValidationError as error:
        raise UsageError("; ".join(_explain(kind, e, path, key) for e in error.errors()[:3])) from None


def plain(settings: Any) -> Any:  # noqa: ANN401  (any dataclass)
    """Return settings as YAML's own kinds, for a file that :func:`build` reads again."""
    return TypeAdapter(type(settings)).dump_python(settings, mode="json")


def _explain(kind: type, error: Any, path: Path, key: str) -> str:  # noqa: ANN401  (pydantic's ErrorDetails)
    parts = [part for part in (key, *map(str, error["loc"])) if part]
    where = f"{path}: key '{'.'.join(parts)}'"
    if error["type"] == "unexpected_keyword_argument":
        unknown = UnknownNameError("key", parts[-1], sorted(_field_names(kind)))
        return f"{path}: {unknown}" + (f" (under '{'.'.join(parts[:-1])}')" if parts[:-1] else "")
    if error["type"] == "missing":
        return f"{where} is missing"
    reason = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    given = error["input"]
    shown = f", not {given!r}" if isinstance(given, (str, int, float, bool, type(None))) else ""
    return f"{where}: {reason[:1].lower()}{reason[1:]}{shown}"


def _field_names(kind: Any) -> set[str]:  # noqa: ANN401  (a type expression)
    """Return the keys of a dataclass and of all that it holds."""
    found: set[str] = set()
    waiting, seen = [kind], set()
    while waiting:
        current = waiting.pop()
        if isinstance(current, type) and dataclasses.is_dataclass(current):
            if current in seen:
                continue
            seen.add(current)
            hints = typing.get_type_hints(current, include_extras=False)
            found |= {field.name for field in dataclasses.fields(current)}
            waiting += [hints[field.name] for field in dataclasses.fields(current)]
        waiting += typing.get_args(current)
    return found
