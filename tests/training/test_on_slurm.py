"""Training on a real Slurm: plates prepared by an array of tasks, one run over two nodes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from originals import light, save
from slurm_cluster import SlurmCluster, slurm_cluster
from small_runs import phase, small_run

from training.loop import train
from training.manifest import Manifest
from training.run_config import Run, write_run
from training.start import begin

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("one_thread")]
RECIPE = "{output: OUT, split: {train: 100, val: 0, test: 0}, sources: [{kind: folder, path: in}]}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with slurm_cluster() as running:
        running.environment["PATH"] = f"{Path(sys.executable).parent}:{running.environment['PATH']}"
        yield running


def ran(cluster: SlurmCluster, log: Path, *arguments: str) -> None:
    """Submit a job and wait for its end."""
    job = cluster.run("sbatch", "--parsable", f"--chdir={ROOT}", f"--output={log}", *arguments).strip()
    states = [task["JobState"] for task in cluster.wait(job, 200)]
    assert set(states) == {"COMPLETED"}, "\n".join(path.read_text() for path in log.parent.glob("*.log"))


def test_prepared_by_an_array_of_tasks(cluster: SlurmCluster, tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / "in" / f"plate_{number}.exr", light(seed=number))
    for output in ("alone", "shared"):
        (tmp_path / f"{output}.yaml").write_text(RECIPE.replace("OUT", output))
    prepare = f"python -m training prepare {tmp_path}"
    share = f"{prepare}/shared.yaml --chunk $SLURM_ARRAY_TASK_ID/2"
    ran(cluster, tmp_path / "share_%a.log", "--array=1-2", "--wrap", share)
    assert not (tmp_path / "shared" / "manifest.json").exists()
    both = f"{prepare}/shared.yaml && {prepare}/alone.yaml"
    ran(cluster, tmp_path / "whole.log", "--wrap", both)
    said = (tmp_path / "whole.log").read_text()
    assert "0 plates made, 5 lay there already, 0 left out" in said
    assert "5 plates made, 0 lay there already, 0 left out" in said
    assert Manifest.load(tmp_path / "shared") == Manifest.load(tmp_path / "alone")


def test_two_nodes_train_as_one_process_that_accumulates(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = small_run(tmp_path, phase(), accumulate=2, run=str(tmp_path / "one"))
    two = replace(one, accumulate=1, run=str(tmp_path / "two"))
    write_run(two, tmp_path / "two.yaml")
    train(begin(one))
    monkeypatch.setitem(cluster.environment, "MASTER_ADDR", "127.0.0.1")  # no name server knows n1
    script = ("--nodes=2", str(ROOT / "training" / "slurm.sh"), f"{tmp_path}/two.yaml")
    ran(cluster, tmp_path / "two.log", *script)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert len(losses(one)) == 6


def losses(run: Run) -> list[float]:
    rows = map(json.loads, (Path(run.run) / "steps.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["event"] == "step"]
