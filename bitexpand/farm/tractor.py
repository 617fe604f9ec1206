"""Tractor: a job script in Alfred's Tcl, where a task runs when its subtasks are done.

Format: https://rmanwiki.pixar.com/display/TRA/Job+Scripting+Operators
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bitexpand.errors import UsageError
from bitexpand.farm.handover import hand_over
from bitexpand.farm.job import FarmJob

_SERVICE = "PixarRender"  # what Tractor's own blade profiles provide
_OURS = ("title", "subtasks", "cmds")


def write(job: FarmJob, folder: Path) -> list[Path]:
    """Write the job script.

    Raises:
        UsageError: a GPU asked for, or an option's name that is none.
    """
    if job.gpu:
        raise UsageError(
            "Tractor has no request for a GPU: name what your GPU blades provide, such as --farm-option service=gpu"
        )
    options = dict(job.farm_options)
    service = options.pop("service", _SERVICE)
    for key in options:
        if key in _OURS or not re.fullmatch(r"[a-z]+", key):
            raise UsageError(
                f"farm option '{key}': give service, or an option of Tractor's Job, such as priority"
            )
    chunks = [_task(chunk, job.seq_command(chunk, "tractor"), service) for chunk in job.chunks()]
    tree = _group("expand", chunks)
    if job.verify:
        tree = _task("verify", job.verify_command(), service, [tree])
    if job.qc:
        tree = _task("QC page", job.qc_command(), service, [tree])
    about = "".join(f" -{key} {_word(value)}" for key, value in options.items())
    path = folder / f"{job.name}.alf"
    path.write_text(
        f"##AlfredToDo 3.0\nJob -title {_word(job.name)}{about} -subtasks {{\n{tree}}}\n", encoding="utf-8"
    )
    return [path]


def submit(job: FarmJob, folder: Path) -> str:
    """Spool the job script.

    Raises:
        FarmError: ``tractor-spool`` is not there or refuses.
    """
    command = ("tractor-spool", str(folder / f"{job.name}.alf"))
    return f"{job.name}: {hand_over(command, folder, 'submit from a machine with Tractor').strip()}"


def how(job: FarmJob, folder: Path) -> str:
    """Return the command that submits by hand."""
    return f"tractor-spool {folder / job.name}.alf"


def _task(title: str, command: Sequence[str], service: str, subtasks: Iterable[str] = ()) -> str:
    launch = f"{{{' '.join(map(_word, command))}}}"
    return f"Task {_word(title)}{_subtasks(subtasks)} -cmds {{\nRemoteCmd {launch} -service {_word(service)}\n}}\n"


def _group(title: str, subtasks: Iterable[str]) -> str:
    return f"Task {_word(title)}{_subtasks(subtasks)}\n"


def _subtasks(subtasks: Iterable[str]) -> str:
    text = "".join(subtasks)
    return f" -subtasks {{\n{text}}}" if text else ""


def _word(text: str) -> str:
    """Quote a word for Tcl, in whose braces nothing but braces and backslashes means anything."""
    if re.fullmatch(r"[\w./:=,+-]+", text, re.ASCII):
        return text
    if re.search(r"[{}\\\n]", text):
        raise UsageError(
            f"'{text}' holds a brace, backslash or line break, which a job script cannot; rename it"
        )
    return f"{{{text}}}"
