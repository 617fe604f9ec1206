"""Slurm: an array job with a task a chunk, a job that verifies the shot after it, and one that makes the QC page.

``submit.sh`` hands them over, by hand and by ``--run`` alike; the folder can lie anywhere that all nodes see. Where
a node dies or a task is preempted, Slurm queues the task again (``--requeue``), and frames that are done are passed
over. Before the time limit and on ``scancel`` a task is told to end, and leaves no half a frame.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bitexpand.errors import FarmError, UsageError
from bitexpand.farm.handover import hand_over
from bitexpand.farm.job import FarmJob

CHUNKS_NAME = "chunks.txt"
_NOTICE = 30  # seconds between notice and the time limit; a frame of 8K is written in less
_FRAMES = "--frames=$frames"
_OURS = (
    "array", "chdir", "dependency", "error", "job-name", "open-mode", "output", "requeue", "signal", "wrap",
)  # fmt: skip

_EXPAND = """\
frames=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {chunks})
if [ -z "$frames" ]; then
    echo "$PWD/{chunks} has no line for task $SLURM_ARRAY_TASK_ID" >&2
    exit 2
fi
exec {command}
"""

_SUBMIT = """\
#!/usr/bin/env bash
# Hand {name} to Slurm: {tasks} tasks, then what checks them. Arguments go to every sbatch.
# Doing it again costs little: frames that are done are passed over.
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"
mkdir -p logs
queued=()
trap '[ ${{#queued[@]}} = 0 ] || scancel "${{queued[@]}}"' ERR  # all of it, or nothing
expand=$(sbatch --parsable "$@" expand.sh)
expand=${{expand%%;*}}
queued+=("$expand")
said="Slurm job $expand: {tasks} tasks; logs in $PWD/logs"
"""

_FOLLOWING = """\
{step}=$(sbatch --parsable "$@" --dependency={condition}:"${before}" --kill-on-invalid-dep=yes {step}.sh)
{step}=${{{step}%%;*}}
queued+=("${step}")
said="$said; {what} by job ${step}"
"""


def write(job: FarmJob, folder: Path) -> list[Path]:
    """Write the scripts of a job and its chunk list into a folder.

    Returns:
        The files, ``submit.sh`` first.

    Raises:
        UsageError: an option for Slurm that this writes itself, or that a script cannot hold.
    """
    expand = _EXPAND.format(chunks=CHUNKS_NAME, command=_shell(_expand_command(job)))
    array = (f"array=0-{job.task_count - 1}", "requeue", f"signal=B:TERM@{_NOTICE}")
    texts = {
        "submit.sh": _submit_script(job),
        "expand.sh": _script(job, "expand", "%A_%a", (*array, *_resources(job)), expand),
        CHUNKS_NAME: "".join(f"{frames}\n" for frames in job.chunks()),
    }
    if job.verify:
        texts["verify.sh"] = _script(
            job, "verify", "%j", ("requeue",), f"exec {_shell(job.verify_command())}\n"
        )
    if job.qc:
        texts["qc.sh"] = _script(job, "qc", "%j", ("requeue",), f"exec {_shell(job.qc_command())}\n")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "submit.sh").chmod(0o755)
    return [folder / name for name in texts]


def submit(job: FarmJob, folder: Path) -> str:
    """Hand a written job to Slurm and return its own words on it.

    Raises:
        FarmError: Slurm is not installed here, or refuses the job; then nothing of it is queued.
    """
    if not shutil.which("sbatch"):
        raise FarmError(
            f"'sbatch' is not installed on this machine; on one of the cluster, run: {how(job, folder)}"
        )
    try:
        return hand_over(["bash", "submit.sh"], folder, "").strip()
    except FarmError as error:
        advice = f"a larger --chunk makes fewer tasks than {job.task_count}" if "array" in str(error) else ""
        raise FarmError("; ".join(filter(None, (str(error), "nothing is queued", advice)))) from error


def how(job: FarmJob, folder: Path) -> str:
    """Return the command that hands a written job over."""
    return shlex.join(["bash", str(folder / "submit.sh")])


def _submit_script(job: FarmJob) -> str:
    text = _SUBMIT.format(name=job.name, tasks=job.task_count)
    before = "expand"
    if job.verify:
        # afterany, as verification is what says which frames a failed task still owes
        text += _FOLLOWING.format(step="verify", condition="afterany", before=before, what="verified")
        before = "verify"
    if job.qc:
        text += _FOLLOWING.format(step="qc", condition="afterok", before=before, what="QC page")
    return text + 'echo "$said"\n'


def _script(job: FarmJob, step: str, log: str, directives: Iterable[str], body: str) -> str:
    ours = (f"job-name={job.name}_{step}", f"output=logs/{step}_{log}.log", "open-mode=append", *directives)
    lines = [f"#SBATCH --{words}" for words in (*ours, *_farm_options(job))]
    return "\n".join(["#!/usr/bin/env bash", *lines, "set -euo pipefail", body])


def _expand_command(job: FarmJob) -> tuple[str, ...]:
    """Return the command of a task, with as many threads as Slurm gives it where none were asked for."""
    command = job.seq_command(_FRAMES.partition("=")[2])
    return command if job.expansion.threads else (*command, "--threads=$SLURM_CPUS_ON_NODE")


def _resources(job: FarmJob) -> tuple[str, ...]:
    threads = job.expansion.threads
    return (*(["gres=gpu:1"] if job.gpu else []), *([f"cpus-per-task={threads}"] if threads else []))


def _farm_options(job: FarmJob) -> tuple[str, ...]:
    for key, value in job.farm_options:
        if key in _OURS:
            raise UsageError(f"farm option '{key}': the job sets it itself; leave it out")
        if not re.fullmatch(r"[a-z][a-z-]+", key) or re.search(r'["\\\n\r]', value):
            raise UsageError(
                f"farm option '{key}={value}': give a long option of sbatch, such as partition=short,"
                " without quotes, backslashes and line breaks"
            )
    return tuple(f'{key}="{value}"' if value else key for key, value in job.farm_options)


def _shell(command: Sequence[str]) -> str:
    """Return a command as a line of the shell, with the two words that the shell fills in."""
    filled = (_FRAMES, "--threads=$SLURM_CPUS_ON_NODE")
    return " ".join(f'"{word}"' if word in filled else shlex.quote(word) for word in command)
