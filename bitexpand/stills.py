"""Unrelated stills for a batch: files, folders, wildcards and lists, and where each result goes."""

from __future__ import annotations

import functools
import glob
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitexpand.errors import MissingInputError, UsageError


@dataclass(frozen=True)
class Still:
    """One image; ``relative`` is its place under the output folder, still with its own extension."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Stills:
    """What the inputs of a batch hold; ``passed_over`` counts files in folders that are no plates."""

    found: tuple[Still, ...]
    passed_over: int

    def __iter__(self) -> Iterator[Still]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def find_stills(
    inputs: Sequence[str], recursive: bool, list_file: Path | None, extensions: frozenset[str]
) -> Stills:
    """Find the stills that ``inputs`` and the lines of ``list_file`` name, in that order, each once.

    Folders are listed by name, with ``recursive`` also those below, linked ones included; hidden files and
    folders are passed over, which leaves out our own temporaries. In a list ``#`` begins a comment line,
    and paths are relative to the list's folder. ``extensions`` are lower case, such as ``.png``.

    Raises:
        UsageError: nothing is named, the list is not UTF-8, or a file that is named is no image of ours.
        MissingInputError: a path is not there or cannot be listed, or no still is found.
    """
    named = [*inputs, *(_read_list(list_file) if list_file is not None else ())]
    if not named:
        raise UsageError("no input; give images, folders, wildcards, or a text file of paths with --list")
    expanded = {text: _expand(text) for text in named}
    if absent := [text for text, paths in expanded.items() if not paths]:
        raise MissingInputError(f"{len(absent)} of {len(named)} inputs are not there: {_listed(absent)}")
    # What a wildcard or a folder turns up may be anything, while a file that is named is meant.
    wrong = [text for text in named if os.path.isfile(text) and Path(text).suffix.lower() not in extensions]
    if wrong:
        raise UsageError(
            f"no image that can be expanded: {_listed(wrong)}; accepted are {_known(extensions)}"
        )
    stills: dict[str, Still] = {}
    passed_over: set[str] = set()
    real = functools.cache(os.path.realpath)
    for path in (path for paths in expanded.values() for path in paths):
        for still in _walk(path, recursive) if path.is_dir() else [Still(path, Path(path.name))]:
            key = os.path.join(real(still.path.parent), still.path.name)
            if still.path.suffix.lower() in extensions:
                stills.setdefault(key, still)
            else:
                passed_over.add(key)
    if not stills:
        hint = "" if recursive else "; to look into sub-folders: --recursive"
        raise MissingInputError(f"no image ({_known(extensions)}) in {_listed(named)}{hint}")
    return Stills(tuple(stills.values()), len(passed_over))


def still_outputs(stills: Iterable[Still], folder: Path, extension: str) -> tuple[tuple[Path, Path], ...]:
    """Return source and output path of each still, outputs below ``folder`` with ``extension``.

    A still that an earlier run wrote, because ``folder`` lies inside an input folder, is left out.

    Raises:
        UsageError: two stills would share an output where case does not count, one would overwrite a
            source, or ``folder`` is a file.
        MissingInputError: no still is left.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"the output folder '{folder}' is a file")
    real_folder = os.path.realpath(folder)
    kept = [still for still in stills if not _is_result(still, Path(real_folder))]
    if not kept:
        raise MissingInputError(f"the inputs hold nothing but what lies in the output folder '{folder}'")
    sources = {_folded(os.path.realpath(still.path)): still.path for still in kept}
    taken: dict[str, Path] = {}
    pairs: list[tuple[Path, Path]] = []
    for still in kept:
        output = folder / still.relative.with_suffix("." + extension.removeprefix("."))
        key = _folded(os.path.realpath(output))
        if key in sources:
            raise UsageError(f"'{output}' would overwrite the source '{sources[key]}'; choose another folder")
        if key in taken:
            raise UsageError(
                f"'{taken[key]}' and '{still.path}' would both be written to '{output}'; "
                "rename one, or write them to different folders"
            )
        taken[key] = still.path
        pairs.append((still.path, output))
    return tuple(pairs)


def _read_list(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MissingInputError(f"the list '{file}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the list '{file}' is not UTF-8 text; save it so, one path a line") from error
    lines = [line.strip(" \t\r") for line in text.split("\n")]
    paths = [line for line in lines if line and not line.startswith("#")]
    if not paths:
        raise UsageError(f"the list '{file}' names no image")
    return [str(file.parent / path) for path in paths]


def _expand(text: str) -> list[Path]:
    """Return the paths that ``text`` stands for; a name that exists is taken literally."""
    if os.path.exists(text):
        return [Path(text)]
    # No `**`: it follows links, and two that lead back would keep it busy for ever.
    return [Path(path) for path in sorted(glob.glob(text))] if glob.has_magic(text) else []


def _walk(root: Path, recursive: bool) -> Iterator[Still]:
    """Yield every visible file in ``root``, each folder once however many links lead to it."""
    waiting, seen = [Path()], set[str]()
    while waiting:
        below = waiting.pop()
        real = os.path.realpath(root / below)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(root / below) as listing:
                entries = sorted((e for e in listing if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            message = f"the folder '{root / below}' cannot be listed: {error.strerror}"
            raise MissingInputError(message) from error
        folders = [entry for entry in entries if recursive and os.path.isdir(entry)]
        # popped from the end: real folders come before links to them, and both by name
        waiting += [below / e.name for e in sorted(folders, key=lambda e: e.is_symlink())][::-1]
        yield from (Still(root / below / e.name, below / e.name) for e in entries if os.path.isfile(e))


def _is_result(still: Still, output_folder: Path) -> bool:
    source = Path(os.path.realpath(still.path.parent), still.path.name)
    root = Path(os.path.realpath(still.path.parents[len(still.relative.parts) - 1]))
    return root in output_folder.parents and output_folder in source.parents


def _folded(path: str) -> str:
    # storage that ignores case mostly ignores how accents are composed as well
    return unicodedata.normalize("NFC", path).casefold()


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - 10} more" if len(texts) > 10 else ""
    return ", ".join(f"'{text}'" for text in texts[:10]) + more


def _known(extensions: Iterable[str]) -> str:
    return " ".join(sorted(extensions))
