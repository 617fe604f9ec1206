"""Open Job Description: a bundle that ``openjd run`` and AWS Deadline Cloud take as it is.

Template schema 2023-09 with the TASK_CHUNKING extension:
https://github.com/OpenJobDescription/openjd-specifications/wiki/2023-09-Template-Schemas
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import yaml

from bitexpand import jobs, sequence
from bitexpand.code_values import SOURCE_KINDS, Storage
from bitexpand.errors import FarmError, UsageError
from bitexpand.farm.handover import hand_over
from bitexpand.farm.job import REVIEWED, SETTINGS, FarmJob, option

TEMPLATE, VALUES, PARAMETERS = "template.yaml", "parameter_values.yaml", "openjd_parameters.yaml"
LONGEST_VALUE = 1024  # characters of a parameter, by the specification
NOTICE = 120  # seconds between the signal and the end: a frame or two that is being written

_RANGE = re.compile(r"-?\d+(?:\s*-\s*-?\d+(?::-?\d+)?)?", re.ASCII)
_CHOICES: dict[str, tuple[str, ...]] = {
    "source_kind": tuple(SOURCE_KINDS),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "depth": ("auto", *get_args(Storage)),
    "existing": get_args(jobs.Existing),
    "on_missing": get_args(jobs.OnMissing),
}
_EMPTY_IF_UNSET = ("in_space", "out_space")  # any word could name a space
_FILES = ("model", "config")
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times faster where there is libyaml


def to_openjd(frames: Iterable[int]) -> str:
    """Return frames in OpenJD's grammar: ascending, ``1-9:2`` where ``seq`` has ``1-9x2``."""
    return sequence.format_frames(frames).replace("x", ":")


def from_openjd(text: str) -> str:
    """Return a range of OpenJD's grammar in the one of ``seq --frames``.

    The two agree but for steps: what is a step here means a staggered order there.

    Raises:
        UsageError: it is no such range.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(_RANGE.fullmatch(part) for part in parts):
        raise UsageError(
            f"cannot read '{text[:120]}' as a range of Open Job Description; accepted are 1-10, 1-9:2 and 1,5,7"
        )
    return ",".join(parts).replace(":-", "x").replace(":", "x")


def write(job: FarmJob, folder: Path) -> list[Path]:
    """Write the bundle of a job.

    Returns:
        The template, its values as ``deadline bundle`` reads them, and the same for ``openjd run``.

    Raises:
        UsageError: a value is longer than the specification allows.
    """
    parameters = _parameters(job)
    values = [{"name": p["name"], "value": p["default"]} for p in parameters]
    for value in values:
        if len(str(value["value"])) > LONGEST_VALUE:
            raise UsageError(
                f"{value['name']} of job '{job.name}' has {len(str(value['value']))} characters,"
                f" Open Job Description takes {LONGEST_VALUE}; for frames, submit parts with --frames"
            )
    extra = [{"name": name, "value": value} for name, value in job.farm_options]
    for parameter in parameters:
        if parameter["type"] == "PATH":  # a default would have to lie in the bundle
            del parameter["default"]
    documents: list[tuple[str, Any]] = [
        (TEMPLATE, _template(job, parameters)),
        (VALUES, {"parameterValues": values + extra}),
        (PARAMETERS, {value["name"]: value["value"] for value in values}),
    ]
    for name, document in documents:
        text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name, _ in documents]


def run_command(folder: Path) -> tuple[str, ...]:
    """Return the command that runs a bundle on this machine."""
    return ("openjd", "run", str(folder / TEMPLATE), "-p", f"file://{folder / PARAMETERS}")


def run(job: FarmJob, folder: Path) -> str:
    """Run the bundle on this machine, as one worker.

    Raises:
        FarmError: ``openjd`` is not installed, or a task failed.
    """
    advice = "pip install openjd-cli, or give the bundle to a farm that takes it"
    hand_over(run_command(folder), folder, advice, shown=True)
    return f"{job.name}: done on this machine, {job.task_count} tasks"


def how(job: FarmJob, folder: Path) -> str:
    """Return the command that runs a bundle on this machine."""
    return shlex.join(run_command(folder))


def how_in_cloud(job: FarmJob, folder: Path) -> str:
    """Return the command that gives a bundle to AWS Deadline Cloud."""
    return shlex.join(("deadline", "bundle", "submit", str(folder)))


def submit_to_cloud(job: FarmJob, folder: Path) -> str:
    """Give the bundle to AWS Deadline Cloud, with the defaults that ``deadline config`` holds.

    Raises:
        FarmError: ``deadline`` is not installed or refuses.
    """
    said = hand_over(("deadline", "bundle", "submit", "--yes", str(folder)), folder, "pip install deadline")
    found = re.search(r"job-[0-9a-f]{32}", said)
    if found is None:
        raise FarmError(f"deadline bundle submit named no job for '{job.name}':\n{said[-2000:]}")
    return f"{job.name}: {found[0]}"


def _template(job: FarmJob, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    steps = [_expansion(job)]
    if job.verify:
        steps.append(_review("Verify", "Expand", [*job.command, "verify"], []))
    if job.qc:
        arguments = ["--output={{Param.ReviewFolder}}/qc.html"]
        steps.append(_review("QC", steps[-1]["name"], [*job.command, "qc"], arguments))
    return {
        "specificationVersion": "jobtemplate-2023-09",
        "extensions": ["TASK_CHUNKING"],
        "name": job.name,
        "parameterDefinitions": parameters,
        "steps": steps,
    }


def _expansion(job: FarmJob) -> dict[str, Any]:
    command = ["{{Param.Bitexpand}}", *job.command[1:], "seq", "{{Param.InputFolder}}/{{Param.InputPattern}}"]
    arguments = [
        "--output={{Param.OutputFolder}}/{{Param.OutputPattern}}",
        "--frames=openjd:{{Task.Param.Frames}}",
        *map(_option, SETTINGS),
        "--report={{Param.ReviewFolder}}/frames_####.json",
        "--progress=openjd",
    ]
    step: dict[str, Any] = {
        "name": "Expand",
        "parameterSpace": {
            "taskParameterDefinitions": [
                {
                    "name": "Frames",
                    "type": "CHUNK[INT]",
                    "range": "{{Param.Frames}}",
                    "chunks": {"defaultTaskCount": "{{Param.ChunkSize}}", "rangeConstraint": "NONCONTIGUOUS"},
                }
            ]
        },
        **_script(command + arguments),
    }
    amounts = []
    if job.gpu:
        amounts.append({"name": "amount.worker.gpu", "min": 1})
    if job.expansion.threads:
        amounts.append({"name": "amount.worker.vcpu", "min": job.expansion.threads})
    return step | ({"hostRequirements": {"amounts": amounts}} if amounts else {})


def _review(name: str, after: str, command: list[str], arguments: list[str]) -> dict[str, Any]:
    """Return a step of one task that reads all results once another step is done."""
    reading = [
        "{{Param.InputFolder}}/{{Param.InputPattern}}",
        "{{Param.OutputFolder}}/{{Param.OutputPattern}}",
        "--frames=openjd:{{Param.Frames}}",
        *map(_option, REVIEWED),
    ]
    words = ["{{Param.Bitexpand}}", *command[1:], *reading, *arguments]
    return {"name": name, "dependencies": [{"dependsOn": after}], **_script(words)}


def _script(words: list[str]) -> dict[str, Any]:
    cancelation = {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": NOTICE}
    action = {"command": words[0], "args": words[1:], "cancelation": cancelation}
    return {"script": {"actions": {"onRun": action}}}


def _parameters(job: FarmJob) -> list[dict[str, Any]]:
    """Return the definitions of the job's parameters, its own values as their defaults."""
    expansion = job.expansion
    input_folder, _, input_name = expansion.input.rpartition("/")
    output_folder, _, output_name = expansion.output.rpartition("/")
    return [
        _folder("InputFolder", input_folder, "IN", "Folder of the plate."),
        _text("InputPattern", input_name, "The plate's files, such as shot_####.png."),
        _folder("OutputFolder", output_folder, "OUT", "Folder of the results."),
        _text("OutputPattern", output_name, "The results' files; the extension chooses the format."),
        _folder("ReviewFolder", job.review, "OUT", "Folder of the QC page and of a report a task."),
        _text("Frames", to_openjd(job.frames), "Such as 1001-1100 or 1001-1099:2."),
        {
            "name": "ChunkSize",
            "type": "INT",
            "minValue": 1,
            "default": job.chunk,
            "description": "Frames a task.",
        },
        _text("Bitexpand", job.command[0], "Starts bitexpand on a worker."),
        *(_setting(name, getattr(expansion, name)) for name in SETTINGS),
    ]


def _option(setting: str) -> str:
    return f"{option(setting)}={{{{Param.{_camel(setting)}}}}}"


def _setting(name: str, value: object) -> dict[str, Any]:
    about = f"Option {option(name)} of bitexpand seq."
    if name in _FILES and Path(str(value)).is_absolute():
        file = {"name": _camel(name), "type": "PATH", "objectType": "FILE", "dataFlow": "IN"}
        return {**file, "default": value, "description": about}
    if isinstance(value, float):
        return {"name": _camel(name), "type": "FLOAT", "default": value, "description": about}
    unset = "" if name in _EMPTY_IF_UNSET else "auto"
    definition = _text(_camel(name), unset if value is None else str(value), about)
    if name in _CHOICES:
        definition["allowedValues"] = list(_CHOICES[name])
    return definition


def _folder(name: str, value: str, flow: str, about: str) -> dict[str, Any]:
    if "://" in value:  # an address is no path that a farm could map
        return _text(name, value, about)
    kind = {"name": name, "type": "PATH", "objectType": "DIRECTORY", "dataFlow": flow}
    return {**kind, "default": value, "description": about}


def _text(name: str, value: str, about: str) -> dict[str, Any]:
    return {"name": name, "type": "STRING", "default": value, "description": about}


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
