"""Training as it is started: by the command line, killed, stopped, out of memory, and spread over two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_runs import phase, small_run

from training import checkpoints
from training.run_config import ModelChoice, Run, write_run

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[2]


def command(run: Run, *options: str) -> list[str]:
    config = Path(run.run).with_suffix(".yaml")
    write_run(run, config)
    return ["-m", "training", "run", str(config), *options]


def start(arguments: list[str], launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str], expect: int = 0) -> str:
    said, _ = process.communicate(timeout=100)
    assert process.returncode == expect, said
    assert "Traceback" not in said
    return said


def steps(run: Run) -> list[dict[str, Any]]:
    file = Path(run.run) / "steps.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [{"step": row["step"], "loss": row["loss"]} for row in rows if row["event"] == "step"]


def wait_for_step(run: Run, number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if steps(run) and steps(run)[-1]["step"] >= number:
                return
        except ValueError:  # a line half read
            pass
        time.sleep(0.02)
    raise AssertionError(f"step {number} never came")


def test_killed_stopped_and_gone_on_with(tmp_path: Path) -> None:
    """One run that is left alone and one that is killed, then stopped, end with the same bits."""
    straight = small_run(tmp_path, phase(epochs=12), run=str(tmp_path / "straight"))
    finish(start(command(straight)))
    hurt = replace(straight, run=str(tmp_path / "hurt"))
    killed = start(command(hurt, "--resume"))
    wait_for_step(hurt, 8)
    killed.kill()
    killed.communicate()
    assert checkpoints.read(Path(hurt.run) / "last.pt").position.total_step >= 6
    stopped = start(command(hurt, "--resume"))
    wait_for_step(hurt, len(steps(hurt)) + 4)
    stopped.send_signal(signal.SIGTERM)
    said = finish(stopped, expect=130)
    assert "--resume goes on" in said
    last = checkpoints.read(Path(hurt.run) / "last.pt").position.total_step
    assert last == steps(hurt)[-1]["step"]
    said = finish(start(command(hurt, "--resume")))
    assert "best.pt" in said
    assert steps(hurt) == steps(straight)
    ends = [checkpoints.read(Path(run.run) / "last.pt") for run in (straight, hurt)]
    assert ends[0].position == ends[1].position
    assert all(value.equal(ends[1].model[key]) for key, value in ends[0].model.items())


def test_two_processes_train_as_one_that_accumulates(tmp_path: Path) -> None:
    one = small_run(tmp_path, phase("first"), phase("second"), accumulate=2, run=str(tmp_path / "one"))
    two = replace(one, accumulate=1, run=str(tmp_path / "two"))
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
    both = start(command(one)), start(command(two), launcher)
    for process in both:
        finish(process)
    losses = [[row["loss"] for row in steps(run)] for run in (one, two)]
    assert len(losses[0]) == 12
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    facts = [json.loads((Path(run.run) / "run.json").read_text())["processes"] for run in (one, two)]
    assert facts == [1, 2]
    gains = [checkpoints.read(Path(run.run) / "best.pt").position.best_gain for run in (one, two)]
    assert gains[1] == pytest.approx(gains[0], abs=1e-3)


def test_out_of_memory_says_what_to_lower(tmp_path: Path) -> None:
    wide = ModelChoice(architecture="pyramid", config={"channels": [512, 512], "fits": []})
    run = small_run(tmp_path, phase(epochs=1), model=wide, crop=512, batch=8)
    limited = ["-c", "import resource, sys, runpy; resource.setrlimit(resource.RLIMIT_AS, (9 << 29,) * 2);"]
    limited[1] += "sys.argv[0:1] = []; runpy.run_module('training', run_name='__main__')"
    said = finish(start([*limited, *command(run)[1:]]), expect=1)
    assert "out of memory with batch 8 and crop 512 on cpu: lower 'batch'" in said


def test_a_mistake_in_the_yaml_exits_with_2(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("data: plates\nrun: here\nmodel: {architecture: pyramid}\nbach: 2\n")
    said = finish(start(["-m", "training", "run", str(config)]), expect=2)
    assert f"error: {config}: unknown key 'bach'; did you mean 'batch'" in said


def test_a_missing_yaml_exits_with_3(tmp_path: Path) -> None:
    assert "no such file" in finish(start(["-m", "training", "run", str(tmp_path / "no.yaml")]), expect=3)
