"""What the buttons of a BitExpand node do, and what it says while it is edited.

With a GUI each button returns at once and tells its errors in a message; without one it works to its end and raises
NodeError, for scripts.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import wraps
from typing import Callable

import nuke

from . import executable, farm, opener, paths, result, runner
from .errors import NodeError
from .upstream import find_plate
from .work import Work, check_alone, text, work_of


@dataclass(frozen=True)
class _Running:
    node: nuke.Node
    output: str
    job: runner.Job


_running: list[_Running] = []

Button = Callable[[nuke.Node], None]


def _told(button: Button) -> Button:
    @wraps(button)
    def pressed(node: nuke.Node) -> None:
        try:
            button(node)
        except NodeError as error:
            if not nuke.GUI:
                raise
            _say(node, str(error))
            nuke.message(str(error))

    return pressed


@_told
def expand(node: nuke.Node) -> None:
    """Expand the frames in the background, then show the result."""
    work = work_of(node)
    _check_free(node, work)
    check_alone(node, work)
    command = _command(node)
    _check_writable(work.output)
    _start(node, [command, "seq", *work.arguments, "--progress=json"], work, _expanded)


@_told
def cancel(node: nuke.Node) -> None:
    """Stop what this node has running."""
    for running in _running:
        if _same(running.node, node):
            running.job.cancel()
            return
    _say(node, "nothing is running")


@_told
def reload(node: nuke.Node) -> None:
    """Look at the output again: show the result if all of it is there, else the plate."""
    try:
        work = work_of(node)
    except NodeError:
        result.reload(node)  # a script whose plate is not here still has its result
        raise
    lacking = result.incomplete(work)
    if lacking:
        node["show"].setValue(result.SOURCE)
        _say(node, f"shows the plate: {lacking}")
    else:
        _say(node, f"shows the result, read as {result.show(node, work)}")


@_told
def reveal(node: nuke.Node) -> None:
    """Open the folder of the result."""
    opener.open_path(os.path.dirname(work_of(node).output))


@_told
def open_qc(node: nuke.Node) -> None:
    """Open the QC page; write it first if it is not there or older than the result."""
    work = work_of(node)
    lacking = result.incomplete(work)
    if lacking:
        raise NodeError(f"there is nothing to check yet: {lacking}")
    page = f"{os.path.dirname(work.output)}/{paths.stem(work.output)}_qc.html"
    if os.path.exists(page) and os.path.getmtime(page) >= _newest(work):
        opener.open_path(page)
        return
    ranged = ["--frames=" + work.frame_range] if work.frame_range else []
    arguments = [_command(node), "qc", work.plate.pattern, work.output, "-o", page, *ranged]
    _start(node, arguments, work, lambda node, work, outcome: _checked(node, page, outcome))


@_told
def send_to_farm(node: nuke.Node) -> None:
    """Write the job of a farm with this node's settings."""
    work = work_of(node)
    check_alone(node, work)
    _start(node, [_command(node), *farm.arguments(node, work)], work, _sent)


def created(node: nuke.Node) -> None:
    """Say which plate a new node follows; one that is being loaded has no input yet and knows it from its file."""
    if nuke.GUI and node.input(0):
        _follow(node)


def changed(node: nuke.Node, knob: nuke.Knob) -> None:
    """Keep the panel true while it is edited."""
    if not nuke.GUI:
        return
    if knob.name() in ("inputChange", "showPanel"):
        _follow(node)
    node["model_file"].setEnabled(text(node, "model") == "weights file")
    node["bound"].setEnabled(bool(node["own_bound"].getValue()))
    node["frames"].setEnabled(text(node, "range_from") == "range")


def _follow(node: nuke.Node) -> None:
    try:
        plate = find_plate(node)
    except NodeError as error:
        node["plate"].setValue(str(error))
    else:
        node["plate"].setValue(f"{plate.read}: {os.path.basename(plate.pattern)} {plate.first}-{plate.last}")


def _command(node: nuke.Node) -> str:
    command = executable.find(text(node, "executable"))
    executable.check_version(command, text(node, "node_version"))
    return command


def _check_free(node: nuke.Node, work: Work) -> None:
    for running in _running:
        if _same(running.node, node):
            raise NodeError(f"{node.name()} is still running; cancel it first")
        if os.path.normcase(running.output) == os.path.normcase(work.output):
            raise NodeError(
                f"another node is writing {work.output} at this moment; wait for it, or press Reload then"
            )


def _check_writable(output: str) -> None:
    folder = os.path.dirname(output)
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise NodeError(f"output: {output} cannot be written, as {folder} is no folder that you may write to")


Ending = Callable[[nuke.Node, Work, runner.Outcome], None]


def _start(node: nuke.Node, command: list[str], work: Work, ending: Ending) -> None:
    try:
        job = runner.Job(command)
    except OSError as error:
        raise NodeError(f"{command[0]} does not start: {error}") from error
    running = _Running(node, work.output, job)
    _running.append(running)
    title = f"{node.name()}: bitexpand {command[1]}"
    _say(node, "running")
    if not nuke.GUI:
        _end(running, work, ending, job.follow(title))
        return

    def wait() -> None:
        outcome = job.follow(title)
        nuke.executeInMainThread(_told_end, args=(running, work, ending, outcome))

    threading.Thread(target=wait, name="bitexpand", daemon=True).start()


def _told_end(running: _Running, work: Work, ending: Ending, outcome: runner.Outcome) -> None:
    _told(lambda _: _end(running, work, ending, outcome))(running.node)


def _end(running: _Running, work: Work, ending: Ending, outcome: runner.Outcome) -> None:
    _running.remove(running)
    if not _is_there(running.node):
        return
    if outcome.cancelled:
        done = outcome.count("written") + outcome.count("skipped")
        _say(running.node, f"cancelled; {done} frames are complete, the next run does the rest")
    else:
        ending(running.node, work, outcome)


def _expanded(node: nuke.Node, work: Work, outcome: runner.Outcome) -> None:
    if outcome.failures:
        listed = "\n".join(outcome.failures[:10]) + ("\n..." if len(outcome.failures) > 10 else "")
        raise NodeError(f"{len(outcome.failures)} of {len(outcome.frames)} frames failed:\n{listed}")
    if outcome.code:
        raise NodeError(outcome.reason())
    lacking = result.incomplete(work)
    if lacking:
        raise NodeError(f"bitexpand is done, but {lacking}")
    written, skipped = outcome.count("written"), outcome.count("skipped")
    told = result.show(node, work)
    _say(node, f"{written} frames written, {skipped} were there; read as {told}")


def _checked(node: nuke.Node, page: str, outcome: runner.Outcome) -> None:
    if not os.path.exists(page):
        raise NodeError(outcome.reason())
    _say(node, f"QC {'passed' if outcome.code == 0 else 'found FAULTS'}: {page}")
    opener.open_path(page)


def _sent(node: nuke.Node, work: Work, outcome: runner.Outcome) -> None:
    if outcome.code:
        raise NodeError(outcome.reason())
    _say(node, "\n".join(outcome.said[-6:]) + "\nPress Reload when the farm is done.")


def _newest(work: Work) -> float:
    files = [paths.numbered(work.output, frame) for frame in work.expected()] or [work.output]
    return max(os.path.getmtime(file) for file in files)


def _say(node: nuke.Node, words: str) -> None:
    node["status"].setValue(words)


def _same(one: nuke.Node, other: nuke.Node) -> bool:
    return _is_there(one) and one.fullName() == other.fullName()


def _is_there(node: nuke.Node) -> bool:
    try:
        return bool(node.name())
    except ValueError:  # what Nuke raises for a node that was deleted
        return False
