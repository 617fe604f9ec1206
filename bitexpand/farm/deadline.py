"""Deadline 10: info files for its CommandLine plug-in, a job for each of expanding, verifying and the QC page.

Format: https://docs.thinkboxsoftware.com/products/deadline/10.4/1_User%20Manual/manual/manual-submission.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bitexpand import sequence
from bitexpand.errors import FarmError, UsageError
from bitexpand.farm.handover import hand_over
from bitexpand.farm.job import FarmJob

_OURS = ("Plugin", "Name", "BatchName", "Frames", "ChunkSize", "JobDependencies")


def write(job: FarmJob, folder: Path) -> list[Path]:
    """Write a pair of info files a step.

    Returns:
        Job info and plug-in info of each step, in order.

    Raises:
        UsageError: an argument that the plug-in's one line of arguments cannot hold, or a GPU asked for.
    """
    if job.gpu:
        raise UsageError(
            "Deadline has no request for a GPU: name a group of GPU workers, such as --farm-option Group=gpu"
        )
    frames, task_frames, chunk = _tasks(job)
    steps = [("expand", frames, chunk, job.seq_command(task_frames, "deadline"))]
    if job.verify:
        steps.append(("verify", "0", 1, job.verify_command()))
    if job.qc:
        steps.append(("qc", "0", 1, job.qc_command()))
    written: list[Path] = []
    for step, frames, chunk, command in steps:
        plugin_info = {
            "Executable": command[0],
            "Arguments": _arguments(command[1:]),
            "SingleFramesOnly": "False",
        }
        for name, info in (
            (f"{step}_job.txt", _job_info(job, step, frames, chunk)),
            (f"{step}_plugin.txt", plugin_info),
        ):
            text = "".join(f"{key}={value}\n" for key, value in info.items())
            (folder / name).write_text(text, encoding="utf-8")
            written.append(folder / name)
    return written


def submit(job: FarmJob, folder: Path) -> str:
    """Submit the steps, each depending on the one before.

    Raises:
        FarmError: ``deadlinecommand`` is not there, refuses, or names no job.
    """
    submitted: list[str] = []
    for step in _steps(job):
        info = folder / f"{step}_job.txt"
        if submitted:
            with info.open("a", encoding="utf-8") as file:
                file.write(f"JobDependencies={submitted[-1]}\n")
        command = ("deadlinecommand", str(info), str(folder / f"{step}_plugin.txt"))
        said = hand_over(command, folder, "submit from a machine with the Deadline Client")
        found = re.search(r"^JobID=(\w+)", said, re.MULTILINE)
        if found is None:
            raise FarmError(
                f"deadlinecommand named no job for step '{step}' of {job.name}: {said.strip()[-1000:]}"
            )
        submitted.append(found[1])
    return f"{job.name}: Deadline jobs {', '.join(submitted)}"


def how(job: FarmJob, folder: Path) -> str:
    """Return the command that submits by hand; the ID that it prints goes into the next step's info."""
    first = f"deadlinecommand {folder}/expand_job.txt {folder}/expand_plugin.txt"
    rest = " and ".join(_steps(job)[1:])
    return f"{first}; then {rest} with JobDependencies=THE ID BEFORE" if rest else first


def _steps(job: FarmJob) -> list[str]:
    return ["expand", *(["verify"] if job.verify else []), *(["qc"] if job.qc else [])]


def _tasks(job: FarmJob) -> tuple[str, str, int]:
    """Return Deadline's frame list, a task's frames in its placeholders, and its chunk size.

    It tells a task its first and last frame only: with a regular step that says all, else each frame is a task.
    """
    frames = sorted(job.frames)
    steps = {later - earlier for earlier, later in zip(frames, frames[1:], strict=False)}
    if len(steps) > 1:
        return sequence.format_frames(frames), "<STARTFRAME>", 1
    step = f"x{steps.pop()}" if steps - {1} else ""
    return f"{frames[0]}-{frames[-1]}{step}", f"<STARTFRAME>-<ENDFRAME>{step}", job.chunk


def _job_info(job: FarmJob, step: str, frames: str, chunk: int) -> dict[str, object]:
    for key, value in job.farm_options:
        if key in _OURS or not re.fullmatch(r"\w+", key) or "\n" in value:
            raise UsageError(
                f"farm option '{key}={value}': give a key of Deadline's job info, other than {_OURS}"
            )
    folder, _, name = job.expansion.output.rpartition("/")
    return {
        "Plugin": "CommandLine",
        "Name": f"{job.name} {step}",
        "BatchName": job.name,
        "Frames": frames,
        "ChunkSize": chunk,
        "OutputDirectory0": folder if step != "qc" else job.review,
        **({"OutputFilename0": name} if step == "expand" else {}),
        **dict(job.farm_options),
    }


def _arguments(words: Sequence[str]) -> str:
    """Return words as one line: those with blanks between ``<QUOTE>``, which the plug-in makes quotes of."""
    for word in words:
        bare = re.sub(r"<(START|END)FRAME>", "", word)
        if re.search(r'["<>\n\r]', bare):
            raise UsageError(
                f"'{word}' holds a quote, angle bracket or line break, which Deadline cannot pass on"
            )
    return " ".join(f"<QUOTE>{word}<QUOTE>" if re.search(r"\s", word) else word for word in words)
