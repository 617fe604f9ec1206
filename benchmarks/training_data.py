"""Share of a training step that waits for its crops: ``python -m benchmarks.training_data PREPARED [--steps N]``.

Trains ``pyramid`` as ``training/configs/pyramid.yaml`` says, on a prepared folder, and reads the waits from the
run's own log. The first step, which waits for the worker to start, is told apart.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.loop import train
from training.run_config import PHASES, load_run
from training.start import begin


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the share, and the seconds of a step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="a folder of `python -m training prepare`")
    parser.add_argument("--steps", type=int, default=40)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        shipped = load_run(PHASES.parent / "configs" / "pyramid.yaml")
        run = replace(
            shipped, data=str(chosen.data), run=str(Path(folder) / "run"), validation_crop=64, pictures=0
        )
        train(begin(run), max_steps=chosen.steps)
        lines = (Path(run.run) / "steps.jsonl").read_text().splitlines()
    steps = [row for row in map(json.loads, lines) if row["event"] == "step"]
    first, others = steps[0], steps[1:]
    seconds = sum(row["seconds"] for row in others)
    share = sum(row["waited"] for row in others) / seconds
    print(f"first step: {first['waited']:.1f} s of {first['seconds']:.1f} s waited for the worker to start")
    print(f"{len(others)} steps: {100 * share:.1f} % of the time waited for crops")
    print(f"{seconds / len(others):.2f} s a step")


if __name__ == "__main__":
    main()
