"""bitexpand turns 8-bit plates into true 16-bit EXR, and proves that it changed nothing else.

Data flows one way, and the modules say so::

    read ──► expand ────────────────────────► encode ──► write
    frames   engine                           color      frames
             tile ► model ► clipped ► guard   encoding

``pipeline`` is the only module that sees all stages, ``cli`` only parses and prints. From Python::

    from bitexpand import Expander, Job, expand_sequence

    expanded_cv = Expander("pyramid").expand(plate_cv)  # uint8 (H, W, 3) -> float32, in code values
    for result in expand_sequence(Job(input="shot_####.png", output="shot_####.exr")):
        print(result.task.number, result.status)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bitexpand.engine import Expander
    from bitexpand.errors import BitexpandError
    from bitexpand.guard import GuardReport
    from bitexpand.jobs import Batch, Job, Plan, Settings, Task, plan_batch, plan_sequence
    from bitexpand.pipeline import expand_sequence, run
    from bitexpand.results import FrameResult
    from bitexpand.verify import Check, VerifyJob, verify_sequence

_HOMES = {
    "Batch": "jobs",
    "BitexpandError": "errors",
    "Check": "verify",
    "Expander": "engine",
    "FrameResult": "results",
    "GuardReport": "guard",
    "Job": "jobs",
    "Plan": "jobs",
    "Settings": "jobs",
    "Task": "jobs",
    "VerifyJob": "verify",
    "expand_sequence": "pipeline",
    "plan_batch": "jobs",
    "plan_sequence": "jobs",
    "run": "pipeline",
    "verify_sequence": "verify",
}

__all__ = [
    "Batch",
    "BitexpandError",
    "Check",
    "Expander",
    "FrameResult",
    "GuardReport",
    "Job",
    "Plan",
    "Settings",
    "Task",
    "VerifyJob",
    "expand_sequence",
    "plan_batch",
    "plan_sequence",
    "run",
    "verify_sequence",
]


def __getattr__(name: str) -> object:
    # Imported when asked for, so that `bitexpand --help` need not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'bitexpand' has no attribute '{name}'")
    return getattr(importlib.import_module(f"bitexpand.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
