"""OpenCue: a pyoutline script that submits the job, a layer for each of expanding, verifying and the QC page.

The layers hold whole commands (no pycuerun on the workers); Cuebot puts a task's frames, such as ``1-9x2``, for
``#FRAMESPEC#``. See https://www.opencue.io/docs/reference/commands/pyoutline/ and OpenCue's own samples.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from bitexpand.errors import FarmError, UsageError
from bitexpand.farm.handover import hand_over
from bitexpand.farm.job import FarmJob

SCRIPT = "submit.py"
_TOKEN = "#FRAMESPEC#"
_OF_OUTLINE = ("show", "shot", "user")

_HEAD = '''\
"""Submit {name} to OpenCue: python {script}. Needs opencue-pyoutline, and CUEBOT_HOSTS set."""

import getpass

import outline
import outline.cuerun
from outline.modules.shell import Shell


def build():
    """Return the job's outline."""
    about = {{"show": "testing", "shot": {name!r}, "user": getpass.getuser(), **{about!r}}}
    job = outline.Outline({name!r}, **about)
'''
_LAYER = """\
    {step} = Shell({step!r}, command={command!r}, range={frames!r}, chunk={chunk}{more})
    job.add_layer({step})
"""
_DEPEND = "    {step}.depend_all({before})\n"
_TAIL = """\
    return job


if __name__ == "__main__":
    for launched in outline.cuerun.launch(build(), use_pycuerun=False, **{options!r}):
        print(launched.name())
"""


def write(job: FarmJob, folder: Path) -> list[Path]:
    """Write the script.

    Raises:
        UsageError: an option's name that is none.
    """
    for key, _ in job.farm_options:
        if not key.isidentifier():
            raise UsageError(
                f"farm option '{key}': give show, shot, user, or an option of outline.cuerun.launch"
            )
    about = {key: value for key, value in job.farm_options if key in _OF_OUTLINE}
    options = {key: value for key, value in job.farm_options if key not in _OF_OUTLINE}
    cores = f", cores={job.expansion.threads}" if job.expansion.threads else ""
    layers = [_layer(job, "expand", job.seq_command(_TOKEN), cores + (", gpus=1" if job.gpu else ""))]
    if job.verify:
        layers += [
            _layer(job, "verify", job.verify_command()),
            _DEPEND.format(step="verify", before="expand"),
        ]
    if job.qc:
        before = "verify" if job.verify else "expand"
        layers += [_layer(job, "qc_page", job.qc_command()), _DEPEND.format(step="qc_page", before=before)]
    head = _HEAD.format(name=job.name, script=SCRIPT, about=about)
    path = folder / SCRIPT
    path.write_text(head + "".join(layers) + _TAIL.format(options=options), encoding="utf-8")
    return [path]


def submit(job: FarmJob, folder: Path) -> str:
    """Run the script.

    Raises:
        FarmError: pyoutline is not installed, or Cuebot cannot be reached or refuses.
    """
    if not find_spec("outline"):
        raise FarmError("this needs OpenCue's pyoutline: pip install opencue-pyoutline")
    said = hand_over((sys.executable, str(folder / SCRIPT)), folder, "")
    return f"{job.name}: {said.strip()}"


def how(job: FarmJob, folder: Path) -> str:
    """Return the command that submits by hand."""
    return f"python {folder / SCRIPT}"


def _layer(job: FarmJob, step: str, command: Sequence[str], more: str = "") -> str:
    expanding = step == "expand"
    frames, chunk = (job.frame_range, job.chunk) if expanding else ("1", 1)
    line = " ".join(_quoted(word) for word in command)
    return _LAYER.format(step=step, command=line, frames=frames, chunk=chunk, more=more)


def _quoted(word: str) -> str:
    """Quote a word for the shell that RQD runs it in, and refuse what Cuebot would take for a token of its own."""
    if re.search(r"#[A-Z_]+#", word.replace(_TOKEN, "")):
        raise UsageError(f"'{word}' holds a token of OpenCue's, such as #FRAME#; rename it")
    return word if _TOKEN in word else shlex.quote(word)
