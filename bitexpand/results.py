"""What became of each frame of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from bitexpand.jobs import Task

if TYPE_CHECKING:  # guard brings torch, and telling of results must not wait for it
    from bitexpand.guard import GuardReport

Status: TypeAlias = Literal["written", "skipped", "failed"]


@dataclass(frozen=True)
class Timing:
    """Seconds that a frame spent in each stage."""

    read: float = 0.0
    expand: float = 0.0
    write: float = 0.0


@dataclass(frozen=True)
class FrameResult:
    """What became of one frame.

    Attributes:
        task: number, source and target.
        status: "written"; "skipped": was there, complete, from the same source and settings; "failed".
        error: what went wrong, for a failed frame.
        guard: what the guard saw, for a written frame.
        timing: seconds by stage.
    """

    task: Task
    status: Status
    error: str | None = None
    guard: GuardReport | None = None
    timing: Timing = Timing()
