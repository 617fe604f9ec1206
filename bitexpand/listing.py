"""What a folder holds: its files, and the sequences that they form."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bitexpand import storage
from bitexpand.errors import MissingInputError
from bitexpand.location import Location, RemotePath

# A minus belongs to the number only where it cannot be a hyphen: `shot_-5`, but not `shot-5`.
NUMBER = re.compile(r"((?:(?<![^._])-)?[0-9]+)")


@dataclass(frozen=True)
class Group:
    """Files of one folder whose names differ in one number.

    ``numbered`` holds each file's number and name in ascending order, and is empty for a name without
    any number, which is then ``prefix + suffix``.
    """

    prefix: str
    suffix: str
    numbered: tuple[tuple[int, str], ...] = ()

    @property
    def pattern(self) -> str:
        """The name with ``#`` for the number, as many as the shortest number has digits."""
        if not self.numbered:
            return self.prefix + self.suffix
        width = min(len(name) for _, name in self.numbered) - len(self.prefix) - len(self.suffix)
        return f"{self.prefix}{'#' * width}{self.suffix}"


def file_names(folder: Location) -> list[str]:
    """Return the names of the files in ``folder``, without hidden ones and broken links, in no order.

    Raises:
        MissingInputError: the folder is not there or cannot be listed.
        StorageError: the store of a remote one refuses or cannot be reached.
    """
    if isinstance(folder, RemotePath):
        return storage.names_in(folder)
    try:
        with os.scandir(folder) as entries:
            visible = (entry for entry in entries if not entry.name.startswith("."))  # there may be millions
            # a link to itself makes entry.is_file raise
            return [e.name for e in visible if (os.path.isfile(e) if e.is_symlink() else e.is_file())]
    except FileNotFoundError as error:
        known = next((p for p in folder.absolute().parents if os.path.exists(p)), Path(folder.anchor))
        message = f"the folder '{folder}' is not there; what exists of it is '{known}'"
        if re.search(r"[#@%$*?\[]", str(folder)):
            message += "; frame tokens and wildcards work in the file name only"
        raise MissingInputError(message) from error
    except OSError as error:
        raise MissingInputError(f"the folder '{folder}' cannot be listed: {error.strerror}") from error


def grouped(names: Iterable[str]) -> list[Group]:
    """Group names that differ in one number: the last that varies, since versions stand before frames."""
    alike: defaultdict[tuple[str, ...], list[tuple[str, list[str]]]] = defaultdict(list)
    for name in sorted(names):
        stem, extension = os.path.splitext(name)
        parts = NUMBER.split(stem)
        alike[(*parts[::2], extension)].append((name, [*parts, extension]))
    groups: list[Group] = []
    for members in alike.values():
        groups += _split(members)
    return groups


def _split(members: list[tuple[str, list[str]]]) -> list[Group]:
    """Split names that are alike but for their numbers; in each list of parts those stand at 1, 3, 5..."""
    fields = range(1, len(members[0][1]) - 1, 2)
    if not fields:
        return [Group(name, "") for name, _ in members]
    field = next((i for i in reversed(fields) if len({parts[i] for _, parts in members}) > 1), fields[-1])
    found: defaultdict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for name, parts in members:
        found["".join(parts[:field]), "".join(parts[field + 1 :])].append((int(parts[field]), name))
    return [Group(prefix, suffix, tuple(sorted(numbered))) for (prefix, suffix), numbered in found.items()]
