"""Patterns and frame ranges to numbered paths, and back; the only user of fileseq.

A pattern is ``shot_####.png``, ``shot_%04d.png``, ``shot_@@@@.png``, ``shot_$F4.png``, a wildcard such as
``shot_*.png``, or one file. Tokens and wildcards count in the file name only, and a name that exists is
always taken literally, so that folders called ``v#2`` and files called ``sky[1].png`` just work.
"""

from __future__ import annotations

import difflib
import fnmatch
import heapq
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fileseq.constants import PAD_STYLE_HASH1
from fileseq.exceptions import ParseException
from fileseq.filesequence import FileSequence
from fileseq.frameset import FrameSet

from bitexpand import storage
from bitexpand.errors import MissingInputError, UsageError
from bitexpand.listing import NUMBER, Group, file_names, grouped
from bitexpand.location import Location, RemotePath, location

MAX_FRAMES = 1_000_000
"""More frames than this in one range is a typing error: at 24 fps it is eleven hours."""

_TOKEN = re.compile(r"#+|@+|%\d{0,3}d|\$F\d{1,3}|\$F(?![A-Za-z\d])")
# Stricter than fileseq, which reads "1 5" as 15 and passes over what an empty variable leaves in a list.
_RANGE_PART = re.compile(
    r"(-?\d{1,15}) (?: \s*-\s* (-?\d{1,15}) (?: \s*([xy:])\s* (-?\d{1,15}) )? )?", re.ASCII | re.VERBOSE
)
_ACCEPTED_RANGES = (
    "accepted are 1001-1100, 1001-1100x2 (every second), 1-10:3 (staggered), 1-10y3 (all but every third), "
    "1,5,7 (a list) and negative numbers such as -5-10"
)


@dataclass(frozen=True)
class NumberedPath:
    """One file of a plate; ``number`` is None for a single file whose name ends in no number."""

    number: int | None
    path: Location


@dataclass(frozen=True)
class Frames:
    """The frames of one plate, as found on disk.

    ``present`` and ``missing`` follow the order of the frame range and hold no number twice.
    ``is_sequence`` is False for a single file that was named literally.
    """

    pattern: str
    present: tuple[NumberedPath, ...]
    missing: tuple[int, ...]
    is_sequence: bool

    def __str__(self) -> str:
        numbers = [frame.number for frame in self.present if frame.number is not None]
        return f"{self.pattern} {_brief(numbers)}" if self.is_sequence else self.pattern


def parse_frames(text: str) -> list[int]:
    """Return the frame numbers of ``text``, in its order and each once.

    Raises:
        UsageError: ``text`` is not a frame range, holds no frame, or holds more than ``MAX_FRAMES``.
    """
    numbers: dict[int, None] = {}
    parts = text.split(",")
    total = sum(_part_size(part, text) for part in parts)
    if total > MAX_FRAMES:
        raise UsageError(f"frame range '{_cut(text)}' holds {total:,} frames; the limit is {MAX_FRAMES:,}")
    for part in parts:
        # One FrameSet per part: fileseq compares each part with all before it, which takes 37 s for a
        # list of 10,000 frames.
        try:
            numbers.update(dict.fromkeys(int(frame) for frame in FrameSet(part)))
        except ParseException as error:
            raise UsageError(_bad_range(part, text)) from error
    if not numbers:
        raise UsageError(f"frame range '{_cut(text)}' holds no frame; {_ACCEPTED_RANGES}")
    return list(numbers)


def format_frames(numbers: Iterable[int]) -> str:
    """Return ``numbers`` as a compact ascending range, such as ``1001-1003,1005-1009x2``; '' for none.

    ``parse_frames`` reads it back.
    """
    return FrameSet.framesToFrameRange(sorted(set(numbers)))


def find_frames(
    pattern: str,
    frames: str | None,
    on_missing: Literal["error", "skip"],
    names: Sequence[str] | None = None,
) -> Frames:
    """Find the frames of ``pattern`` on disk.

    ``names`` are those of the files in its folder, where they are known already; None lists it.

    Padding is strict: ``####`` is neither ``1`` nor ``01001``, while ``10001`` is the frame after ``9999``.
    Without ``frames`` the range runs from the first to the last frame on disk, and gaps count as missing.

    Raises:
        UsageError: the pattern or range cannot be used, or a wildcard matches several sequences.
        MissingInputError: the folder, every frame, or with ``on_missing="error"`` any frame is not there.
        StorageError: the store of a remote pattern refuses or cannot be reached.
    """
    wanted = None if frames is None else parse_frames(frames)
    if not pattern.strip():
        raise UsageError("the input pattern is empty; give one such as 'shot_####.png'")
    path = location(pattern)
    if storage.is_file(path):
        return _single_file(pattern, path, wanted)
    if storage.is_folder(path):
        groups = grouped(file_names(path))
        example = max(groups, key=lambda g: len(g.numbered)).pattern if groups else "shot_####.png"
        raise UsageError(f"'{pattern}' is a folder; give a file pattern, such as '{path / example}'")
    names = file_names(path.parent) if names is None else names
    # `cam@2_*.png` is a wildcard, and `sky[1]_####.png` holds a token
    by_token = _TOKEN.search(path.name) and not re.search(r"[*?]", path.name)
    group = _match_token(path.name, names) if by_token else _match_wildcard(pattern, names)
    if group is None:
        raise MissingInputError(_nothing_found(path, names))
    if not group.numbered:
        return _single_file(pattern, path.parent / group.pattern, wanted)
    return _select(pattern, path.parent, dict(group.numbered), wanted, on_missing)


def output_path(pattern: str, number: int | None, source: Location) -> Location:
    """Return the output ``pattern`` with its frame token, if any, replaced by ``number``.

    Text that looks like a token and also stands in the name of ``source`` is literal: the output
    ``cam@2_####.exr`` of ``cam@2_1001.png`` has one token.

    Raises:
        UsageError: there are several tokens, or there is one and ``number`` is None.
    """
    path = location(pattern)
    token = _output_token(pattern, source)
    if token is None:
        return path
    if number is None:
        raise UsageError(
            f"output '{pattern}' asks for a frame number, and '{source}' has none; drop {token[0]}"
        )
    digits = str(number).zfill(_width(token[0]))
    return path.with_name(path.name[: token.start()] + digits + path.name[token.end() :])


def check_output(pattern: str, frames: Frames) -> None:
    """Check that every frame has an output of its own, and that none overwrites a source.

    Paths are compared with links resolved and letter case ignored, since render farms write to storage
    that ignores it.

    Raises:
        UsageError: the pattern is a folder or a wildcard, lacks a token for many frames, or collides.
    """
    name, first = location(pattern).name, frames.present[0].path
    if not name or pattern.endswith(("/", os.sep)) or os.path.isdir(pattern):
        example = os.path.join(pattern, "shot_####.exr")
        raise UsageError(f"output '{pattern}' is a folder; give a file pattern, such as '{example}'")
    if "*" in name and "*" not in first.name:
        raise UsageError(f"output '{pattern}' holds a wildcard; give a frame token, such as '####'")
    if len(frames.present) > 1 and _output_token(pattern, first) is None:
        stem, extension = os.path.splitext(name)
        raise UsageError(
            f"output '{pattern}' names one file for {len(frames.present)} frames; "
            f"add #### for the frame number, such as '{stem}_####{extension}'"
        )
    written = [output_path(pattern, frame.number, frame.path) for frame in frames.present]
    sources = dict(zip(_identities(frame.path for frame in frames.present), frames.present, strict=True))
    taken: dict[str, NumberedPath] = {}
    for frame, path, identity in zip(frames.present, written, _identities(written), strict=True):
        if identity in sources:
            raise UsageError(f"output '{path}' would overwrite the source '{sources[identity].path}'")
        if identity in taken:
            raise UsageError(f"'{taken[identity].path}' and '{frame.path}' would both be written to '{path}'")
        taken[identity] = frame


def _part_size(part: str, text: str) -> int:
    """Return an upper bound of the numbers in one part, without expanding it."""
    match = _RANGE_PART.fullmatch(part.strip())
    if match is None:
        raise UsageError(_bad_range(part, text))
    first, last, mode, step = match.groups()
    span = abs(int(last if last is not None else first) - int(first)) + 1
    stride = abs(int(step)) if step is not None else 1
    if mode == "x" and stride:
        return (span - 1) // stride + 1
    # fileseq's stagger loops over every stride down to one, however short the range is
    return max(span, stride)


def _bad_range(part: str, text: str) -> str:
    where = "" if part == text else f" (at '{_cut(part)}')"
    return f"cannot read frame range '{_cut(text)}'{where}; {_ACCEPTED_RANGES}"


def _cut(text: str, length: int = 120) -> str:
    return text if len(text) <= length else text[:length] + "..."


def _brief(numbers: Iterable[int]) -> str:
    text = format_frames(numbers)
    return text if len(text) <= 120 else text[:120].rpartition(",")[0] + ",..."


def _width(token: str) -> int:
    return FileSequence.getPaddingNum(token, pad_style=PAD_STYLE_HASH1)


def _single_file(pattern: str, path: Location, wanted: Sequence[int] | None) -> Frames:
    number, guess = None, path.stem
    numbers = list(NUMBER.finditer(path.stem))
    if numbers and numbers[-1].end() == len(path.stem):
        digits = numbers[-1][0]
        number, guess = int(digits), path.stem[: numbers[-1].start()] + "#" * len(digits)
    if wanted is not None and wanted != [number]:
        raise UsageError(
            f"'{pattern}' is one file, so a frame range cannot be given with it; "
            f"for a sequence give a pattern, such as '{path.with_name(guess + path.suffix)}'"
        )
    return Frames(pattern, (NumberedPath(number, path),), (), is_sequence=False)


def _match_token(name: str, names: Iterable[str]) -> Group | None:
    token = _only_token(name, list(_TOKEN.finditer(name)), "input")
    prefix, suffix, width = name[: token.start()], name[token.end() :], _width(token[0])
    found: list[tuple[int, str]] = []
    for candidate in names:
        digits = candidate[len(prefix) : len(candidate) - len(suffix)]
        if candidate.startswith(prefix) and candidate.endswith(suffix) and re.fullmatch("-?[0-9]+", digits):
            number = int(digits)
            # Strict padding is this and no more: the number, written with the token, gives the name back.
            if str(number).zfill(width) == digits:
                found.append((number, candidate))
    return Group(prefix, suffix, tuple(found)) if found else None


def _only_token(name: str, tokens: Sequence[re.Match[str]], role: str) -> re.Match[str]:
    if len(tokens) > 1:
        listed = ", ".join(f"'{token[0]}'" for token in tokens)
        wildcard = name[: tokens[-1].start()] + "*" + name[tokens[-1].end() :]
        hint = f"; where the rest is part of the name, give '{wildcard}'" if role == "input" else ""
        raise UsageError(f"{role} '{name}' holds {len(tokens)} frame tokens ({listed}); keep one{hint}")
    return tokens[0]


def _match_wildcard(pattern: str, names: Iterable[str]) -> Group | None:
    matches = re.compile(fnmatch.translate(location(pattern).name)).match
    groups = grouped([name for name in names if matches(name)])
    if len(groups) > 1:
        listed = _listed(groups)
        if all(len(group.numbered) < 2 for group in groups):
            raise UsageError(
                f"'{pattern}' matches {len(groups)} unrelated files ({listed}); "
                f"for stills use: bitexpand batch '{pattern}' -o FOLDER"
            )
        raise UsageError(f"'{pattern}' matches {len(groups)} sequences: {listed}; give the pattern of one")
    for group in groups:
        seen: dict[int, str] = {}
        for number, name in group.numbered:
            if number in seen:
                raise UsageError(f"'{pattern}' matches frame {number} twice: {seen[number]} and {name}")
            seen[number] = name
    return groups[0] if groups else None


def _nearest(names: Sequence[str], wanted: str) -> list[Group]:
    # difflib is slow: let a cheap measure pick its candidates in folders of many thousand stills
    close = heapq.nlargest(50, grouped(names), key=lambda g: len(os.path.commonprefix([g.pattern, wanted])))
    return heapq.nlargest(3, close, key=lambda g: difflib.SequenceMatcher(None, g.pattern, wanted).ratio())


def _listed(groups: Sequence[Group]) -> str:
    found = [f"{g.pattern} {_brief(number for number, _ in g.numbered)}".strip() for g in groups[:5]]
    return ", ".join(found) + (", ..." if len(groups) > 5 else "")


def _nothing_found(path: Location, names: Sequence[str]) -> str:
    found = _listed(_nearest(names, path.name))
    hint = f"found {found}" if found else "it holds no files"
    if _TOKEN.search(path.name) and re.search(r"[*?]", path.name):
        hint += "; a wildcard and a frame token cannot be mixed"
    folder = path.parent.absolute() if isinstance(path, Path) else path.parent
    return f"nothing in '{folder}' matches '{path.name}'; {hint}"


def _select(
    pattern: str,
    folder: Location,
    on_disk: dict[int, str],
    wanted: Sequence[int] | None,
    on_missing: Literal["error", "skip"],
) -> Frames:
    if wanted is None:
        wanted = range(min(on_disk), max(on_disk) + 1)
        if len(wanted) > MAX_FRAMES:
            raise UsageError(
                f"'{pattern}' runs from {wanted[0]} to {wanted[-1]} with only {len(on_disk)} files; "
                "give the frames you mean with --frames"
            )
    present = tuple(NumberedPath(n, folder / on_disk[n]) for n in wanted if n in on_disk)
    missing = tuple(n for n in wanted if n not in on_disk)
    if not present:
        raise MissingInputError(
            f"none of the frames {_brief(missing)} of '{pattern}' is there; on disk are {_brief(on_disk)}"
        )
    if missing and on_missing == "error":
        raise MissingInputError(
            f"{len(missing)} of {len(wanted)} frames of '{pattern}' are missing: {_brief(missing)}; "
            "to go on without them: --on-missing skip"
        )
    return Frames(pattern, present, missing, is_sequence=True)


def _output_token(pattern: str, source: Location) -> re.Match[str] | None:
    name = location(pattern).name
    literal = set(_TOKEN.findall(source.name))
    tokens = [token for token in _TOKEN.finditer(name) if token[0] not in literal]
    return _only_token(name, tokens, "output") if tokens else None


def _identities(paths: Iterable[Location]) -> Iterator[str]:
    """Yield per path a text that two paths share when they name one file, where case may not count."""
    folders: dict[str, str] = {}
    for path in paths:
        if isinstance(path, RemotePath):
            yield str(path)  # where case counts
            continue
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = os.path.realpath(path) if os.path.islink(path) else os.path.join(folders[folder], name)
        yield real.casefold()
