"""Medians of several runs, in turns, so that whatever else the machine does hits all alike."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import torch

Call: TypeAlias = Callable[[], object]
K = TypeVar("K", bound=Hashable)


def take_turns(calls: Mapping[K, Call], repeats: int) -> dict[K, float]:
    """Return the median seconds of each call; a round is one of each."""
    spent: dict[K, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            spent[name].append(seconds(call))
    return {name: statistics.median(times) for name, times in spent.items()}


def seconds(call: Call) -> float:
    """Return the seconds of one call, with what it left to a GPU."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def command(words: Sequence[object]) -> Call:
    """Return a call that runs a program; it raises where the program fails."""
    # Python may keep what it compiled, as in any installation.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run(
        [str(word) for word in words], check=True, stdout=subprocess.DEVNULL, env=environment
    )
