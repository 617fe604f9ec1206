"""Sends a node's work to a farm: ``bitexpand submit`` writes the job and, if asked, hands it over."""

from __future__ import annotations

import os

import nuke

from . import paths
from .work import Work, number, text


def arguments(node: nuke.Node, work: Work) -> list[str]:
    """Return the arguments of ``bitexpand`` that write a node's job."""
    chosen = [
        f"--chunk={max(number(node, 'chunk'), 1):.0f}",
        "--bundle=" + folder(node, work),
        "--command=" + (text(node, "farm_command") or "bitexpand"),
        "--name=" + paths.stem(work.output),
    ]
    if text(node, "device").startswith("cuda"):
        chosen.append("--gpu")
    if node["farm_run"].getValue():
        chosen.append("--run")
    return ["submit", text(node, "farm_target"), *work.arguments, *chosen]


def folder(node: nuke.Node, work: Work) -> str:
    """Return where the job is written: the knob's folder, else a new one beside the result."""
    said = paths.knob_path(node["farm_folder"])
    if said:
        return said
    wanted = f"{os.path.dirname(work.output)}/{paths.stem(work.output)}_{text(node, 'farm_target')}"
    name, serial = wanted, 1
    while os.path.exists(name):
        serial += 1
        name = f"{wanted}_{serial}"
    return name
