"""File knobs to paths: what Nuke evaluates, frame numbers, and the tokens of the output knob."""

from __future__ import annotations

import os
import re

import nuke

from .errors import NodeError

_NUMBER = re.compile(r"#+|%\d*d")
_VIEW = re.compile(r"%[vV]")
_EXPRESSION = re.compile(r"\[[^\]]*\]")
_TOKEN = re.compile(r"\{(\w*)\}")


def knob_path(knob: nuke.Knob) -> str:
    """Return the pattern in a file knob: Nuke's expressions and path mapping applied, the frame number kept.

    ``####`` and ``%04d`` come out as ``%04d``, separators as ``/``, and a relative path starts at the project
    directory. An empty knob gives ''.

    Raises:
        NodeError: a view token, or an expression that Nuke cannot evaluate or that makes the frame number.
    """
    written = percent(str(knob.value() or "").strip().replace("\\", "/"))  # pyright: ignore[reportAttributeAccessIssue]
    if not written:
        return ""
    place = f"{knob.node().fullName()}.{knob.name()}"
    if _VIEW.search(written):
        raise NodeError(
            f"{place}: {written} holds a view; give the files of one view, as bitexpand takes one"
        )
    _check_expressions(written, place)
    if _NUMBER.search(_EXPRESSION.sub("", written).rpartition("/")[0]):
        raise NodeError(f"{place}: {written}: the frame number belongs in the file's name, not in a folder's")
    path = _with_number(written, _evaluated(knob, written, place), place)
    if _is_absolute(path) or _TOKEN.match(path):
        return path
    return f"{project_directory()}/{path}"


def percent(pattern: str) -> str:
    """Return a pattern with ``####`` written as ``%04d``, where that is in the file's name."""
    folder, slash, name = pattern.rpartition("/")
    return folder + slash + re.sub("#+", lambda found: f"%0{len(found.group())}d", name)


def is_sequence(pattern: str) -> bool:
    """Return whether a pattern holds a frame number."""
    return _NUMBER.search(os.path.basename(pattern)) is not None


def numbered(pattern: str, frame: int) -> str:
    """Return the path of a frame; a pattern without a number is its own path."""
    folder, slash, name = pattern.rpartition("/")
    return folder + slash + _NUMBER.sub(lambda found: str(frame).zfill(_width(found.group())), name, count=1)


def on_disk(pattern: str) -> set[int]:
    """Return the frames of a pattern that are there, by one look into its folder."""
    folder, _, name = pattern.rpartition("/")
    before, after = _NUMBER.split(name, maxsplit=1)
    frames = set()
    try:
        names = os.listdir(folder or "/")
    except OSError:
        return frames
    for found in names:
        digits = found[len(before) : len(found) - len(after)]
        if found.startswith(before) and found.endswith(after) and re.match(r"-?\d+$", digits):
            frames.add(int(digits))
    return {frame for frame in frames if os.path.basename(numbered(pattern, frame)) in set(names)}


def stem(pattern: str) -> str:
    """Return the name of a pattern without its frame number, what joins it, and its extension."""
    name = os.path.splitext(os.path.basename(pattern))[0]
    return _NUMBER.sub("", name, count=1).rstrip("._- ") or "plate"


def fill_tokens(pattern: str, values: dict[str, str]) -> str:
    """Return an output pattern with ``{folder}`` and its like replaced.

    Raises:
        NodeError: a token that is not in ``values``, or one that has no value here.
    """

    def value(found: re.Match[str]) -> str:
        token = found.group(1)
        if token not in values:
            known = ", ".join(f"{{{name}}}" for name in sorted(values))
            raise NodeError(f"output: there is no token {{{token}}}; the tokens are {known}")
        if not values[token]:
            raise NodeError(
                f"output: {{{token}}} has no value here; {_HOW_TO_SET.get(token, 'leave it out')}"
            )
        return values[token]

    return _TOKEN.sub(value, pattern)


_HOW_TO_SET = {
    "project": "set the project directory in the Project Settings, or leave it out",
    "script": "save the script first, or leave it out",
}


def project_directory() -> str:
    """Return the project's directory, or the working directory where it has none."""
    knob = nuke.root()["project_directory"]
    text = str(knob.evaluate() or "").replace("\\", "/").rstrip("/")  # pyright: ignore[reportAttributeAccessIssue]
    return text or os.getcwd().replace("\\", "/")


def _evaluated(knob: nuke.Knob, written: str, place: str) -> str:
    try:
        text = knob.evaluate()  # pyright: ignore[reportAttributeAccessIssue]  every file knob has it
    except (RuntimeError, ValueError) as error:
        raise NodeError(f"{place}: Nuke cannot evaluate {written}: {error}") from error
    return str(text or "").replace("\\", "/")


def _check_expressions(written: str, place: str) -> None:
    for expression in _EXPRESSION.findall(written):
        if re.search(r"\bframe\b", expression) or _NUMBER.search(expression):
            raise NodeError(
                f"{place}: the expression {expression} makes the frame number; "
                "write it as #### or %04d, so that the files of the whole range are known"
            )


def _with_number(written: str, evaluated: str, place: str) -> str:
    # Nuke evaluates the frame number with the rest: everything before the name's last part is taken from
    # what Nuke says, and the name's last part, which holds the number, from what was written.
    tail = re.split(r"[/\]]", written)[-1]
    pattern = "".join(r"-?\d+" if _NUMBER.match(part) else re.escape(part) for part in _split(tail))
    match = re.search(pattern + "$", evaluated)
    if not match or _EXPRESSION.search(evaluated[: match.start()]):
        raise NodeError(
            f"{place}: Nuke does not evaluate the expression in {written} (it gives '{evaluated}'); "
            "write the path out, with #### for the frame number"
        )
    return evaluated[: match.start()] + tail


def _split(text: str) -> list[str]:
    return re.split(f"({_NUMBER.pattern})", text)


def _width(token: str) -> int:
    return len(token) if token[0] == "#" else int(token[1:-1] or 0)


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or re.match(r"[A-Za-z]:/", path) is not None
