"""The loop: gone on with to the same bit, honest about its phases, clear about what stops it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from small_runs import phase, prepared, small_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bitexpand.errors import CheckpointError, DeviceError, DiskFullError, MissingInputError, UsageError
from training import checkpoints
from training.augmentation import Augmentation
from training.loop import DivergedError, train
from training.remote import upload
from training.run_config import PHASES, ModelChoice, Run, load_run
from training.start import begin

pytestmark = pytest.mark.usefixtures("one_thread")


def lines(run: Run, event: str = "step") -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (Path(run.run) / "steps.jsonl").read_text().splitlines()]
    return [row for row in rows if row["event"] == event]


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("seconds", "waited")} for row in rows]


def assert_same_checkpoint(one: Path, other: Path) -> None:
    a, b = checkpoints.read(one), checkpoints.read(other)
    assert a.position == b.position
    for name in ("model", "ema"):
        assert all(torch.equal(value, getattr(b, name)[key]) for key, value in getattr(a, name).items())
    for key, state in a.optimizer["state"].items():
        assert all(torch.equal(value, b.optimizer["state"][key][name]) for name, value in state.items())
    assert a.scheduler == b.scheduler
    assert torch.equal(a.random, b.random)


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_two_steps_and_two_more_are_four_straight(tmp_path: Path, schedule: str) -> None:
    phases = phase("first", schedule=schedule), phase("second", losses={"l1": 1.0, "l2": 1.0}, balance=True)
    straight = small_run(tmp_path, *phases, run=str(tmp_path / "straight"))
    train(begin(straight), max_steps=8)
    halves = small_run(tmp_path, *phases, run=str(tmp_path / "halves"))
    for steps in (2, 4, 6, 7, 8):  # within an epoch, at the end of a phase, within the next phase
        assert not train(begin(halves, resume=True), max_steps=steps).finished
    assert untimed(lines(halves)) == untimed(lines(straight))
    assert_same_checkpoint(Path(straight.run) / "last.pt", Path(halves.run) / "last.pt")


def test_crops_from_other_processes_are_the_same_crops(tmp_path: Path) -> None:
    runs = [small_run(tmp_path, workers=n, run=str(tmp_path / f"workers{n}")) for n in (0, 1)]
    for run in runs:
        train(begin(run), max_steps=2)
    assert untimed(lines(runs[0])) == untimed(lines(runs[1]))
    assert_same_checkpoint(*(Path(run.run) / "last.pt" for run in runs))


def test_all_five_phases_run_in_order(tmp_path: Path) -> None:
    shipped = load_run(PHASES.parent / "configs" / "unet28m.yaml").phases
    with_lpips = (Path.home() / ".cache/bitexpand/lpips/alexnet.ckpt").is_file()
    phases = []
    for row in shipped:
        losses = {name: w for name, w in row.losses.items() if with_lpips or name != "lpips"}
        phases.append(
            phase(row.name, losses=losses, balance=row.balance, learning_rate=row.learning_rate, epochs=1)
        )
    run = small_run(tmp_path, *phases, crop=64, accumulate=2)
    outcome = train(begin(run))
    assert outcome.finished
    names = [row["phase"] for row in lines(run, "phase_end")]
    assert names == ["baseline", "perceptual", "color", "frequency", "polish"]
    assert [row["phase"] for row in lines(run)] == [name for name in names for _ in range(3)]
    assert set(lines(run)[-1]["losses"]) == set(phases[-1].losses)
    ends = lines(run, "phase_end")
    assert all(later["start"] >= before["start"] for before, later in zip(ends[:-1], ends[1:], strict=True))
    assert outcome.gain == max(end["best"] for end in ends)


def test_a_phase_begins_with_the_best_of_the_one_before(tmp_path: Path) -> None:
    run = small_run(tmp_path, phase("first"), phase("second"))
    train(begin(run))
    first, second = lines(run, "phase_end")
    assert first["accepted"]
    assert second["start"] == first["best"] == max(row["gain"] for row in lines(run, "validation")[:3])


def test_a_phase_that_costs_fidelity_is_rejected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wild = phase("wild", learning_rate=0.5)
    run = small_run(tmp_path, phase("first"), wild, phase("third"))
    train(begin(run))
    first, second, third = lines(run, "phase_end")
    assert (first["accepted"], second["accepted"]) == (True, False)
    assert third["start"] == first["best"] == second["start"]
    assert "phase 'wild' is rejected" in caplog.text
    (warning,) = lines(run, "warning")
    assert "phase 'wild' is rejected" in warning["text"]
    assert "the next phase begins there too" in warning["text"]


def test_a_first_phase_that_is_rejected_leaves_the_start(tmp_path: Path) -> None:
    run = small_run(
        tmp_path, phase(learning_rate=0.05, epochs=1), model=ModelChoice(weights="pyramid"), crop=64
    )
    train(begin(run))
    assert not lines(run, "phase_end")[0]["accepted"]
    (warning,) = lines(run, "warning")
    assert f"{run.run}/best.pt stays what it began with" in warning["text"]
    assert f"the weights that it ended with are in {run.run}/last.pt" in warning["text"]
    start = ModelChoice(weights="pyramid").create().state_dict()
    kept, _, _ = checkpoints.load_model(Path(run.run) / "best.pt")
    assert all(torch.equal(value, start[key]) for key, value in kept.state_dict().items())
    ended, _, _ = checkpoints.load_model(Path(run.run) / "last.pt")
    assert any(not torch.equal(value, start[key]) for key, value in ended.state_dict().items())


def test_a_run_begins_with_the_weights_of_another(tmp_path: Path) -> None:
    first = small_run(tmp_path, run=str(tmp_path / "one"))
    gain = train(begin(first)).gain
    second = small_run(tmp_path, run=str(tmp_path / "two"), model=ModelChoice(weights=f"{first.run}/best.pt"))
    train(begin(second), max_steps=1)
    assert lines(second, "validation")[0]["gain"] == gain


def test_a_phase_ends_early_without_progress(tmp_path: Path) -> None:
    run = small_run(tmp_path, phase(learning_rate=1e-12, epochs=50, patience=2))
    train(begin(run))
    assert len(lines(run)) < 15


def test_one_phase_alone(tmp_path: Path) -> None:
    run = small_run(tmp_path, phase("first"), phase("second"))
    with pytest.raises(UsageError, match=r"--phase 2 starts from the best of the phases before it"):
        begin(run, phase=1)
    train(begin(run, phase=0), phase=0)
    assert {row["phase"] for row in lines(run)} == {"first"}
    train(begin(run, phase=1), phase=1)
    assert [row["step"] for row in lines(run)] == list(range(1, 13))
    with pytest.raises(UsageError, match="holds a run already"):
        begin(run, phase=1)
    with pytest.raises(UsageError, match="--phase 3: the schedule has phases 1 to 2"):
        begin(run, phase=2)


def test_training_gains_something(tmp_path: Path) -> None:
    """On slow ramps a network of 2,000 parameters wins a decibel in seconds, if all signs are right."""
    augmentation = Augmentation(procedural=1.0)
    run = small_run(
        tmp_path,
        phase(epochs=8, schedule="cosine", warmup=10, augmentation=augmentation),
        batch=8,
        steps_per_epoch=30,
        ema=0.9,
        crop=64,
    )
    outcome = train(begin(run))
    assert outcome.gain > lines(run, "validation")[0]["gain"] + 1
    assert outcome.gain > 0


def test_a_run_says_what_it_was(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    setup = begin(run)
    train(setup)
    facts = json.loads((Path(run.run) / "run.json").read_text())
    assert facts["manifest"] == setup.manifest.digest()
    assert facts["plates"] == {"train": 3, "val": 2, "test": 1}
    assert facts["git"] is None or len(facts["git"].removesuffix("-dirty")) == 40
    assert load_run(Path(run.run) / "config.yaml") == replace(run, cache=str(Path(run.cache).expanduser()))
    events = EventAccumulator(str(Path(run.run) / "tensorboard"), size_guidance={"images": 0}).Reload()
    tags = events.Tags()
    assert {"loss/l2", "optimizer/learning_rate", "gain/all", "gain/smooth"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("loss/l2")] == [1, 2, 3, 4, 5, 6]
    assert tags["images"] == ["plate/plate3"]


def test_a_used_folder_is_not_taken(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    train(begin(run), max_steps=2)
    before = (Path(run.run) / "last.pt").read_bytes()
    with pytest.raises(UsageError, match="holds a run already; go on with --resume"):
        begin(run)
    assert (Path(run.run) / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 7}, "the run began with seed 0, now it is 7"),
        ({"batch": 3}, "the run began with batch 2, now it is 3"),
        ({"accumulate": 2}, "micro-batches of a step 1, now it is 2"),
        ({"phases": (phase(learning_rate=1e-6),)}, "the run began with phase 1"),
        ({"model": ModelChoice(architecture="unet", config={"channels": 2})}, "holds a 'pyramid'"),
    ],
)
def test_going_on_with_something_else_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    train(begin(small_run(tmp_path)), max_steps=1)
    with pytest.raises(CheckpointError, match=message):
        begin(small_run(tmp_path, **changes), resume=True)


def test_other_plates_are_refused(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    train(begin(run), max_steps=1)
    prepared(tmp_path / "plates", ("train", "val", "val"))
    with pytest.raises(CheckpointError, match="the run began with manifest"):
        begin(run, resume=True)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"crop": 30}, UsageError, "key 'crop': 30 is no multiple of 4"),
        ({"checkpointing": True}, UsageError, "key 'checkpointing': Pyramid has none"),
        ({"data": "/nowhere/plates"}, MissingInputError, "is no prepared folder"),
    ],
)
def test_what_cannot_begin(
    tmp_path: Path, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        begin(small_run(tmp_path, **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="this machine has 0 CUDA devices; use cpu or auto"):
        begin(small_run(tmp_path, device="cuda"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split(tmp_path: Path, split: str) -> None:
    others = tuple(s for s in ("train", "val", "test") if s != split)
    prepared(tmp_path / "plates", others)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=f"no plates in split '{split}' of .*plates"):
        begin(small_run(tmp_path))


def test_a_loss_that_explodes_stops_before_the_weights_do(tmp_path: Path) -> None:
    run = small_run(tmp_path, phase(losses={"l2": 1e38}))
    with pytest.raises(
        DivergedError, match=r"phase 'first', step 1: the gradient is not finite; begin another run"
    ):
        train(begin(run))
    kept = checkpoints.read(Path(run.run) / "last.pt")
    assert all(torch.isfinite(value).all() for value in kept.model.values())


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # TensorBoard's own thread
def test_a_full_disk_leaves_a_checkpoint_to_go_on_from(
    tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda error: None)  # of TensorBoard's own thread
    disk = small_disk(400)
    run = small_run(tmp_path, phase(epochs=400), run=str(disk / "run"))
    (disk / "filler").write_bytes(b"x" * 200_000)
    with pytest.raises(DiskFullError, match=r"free some room and run the same command again|--resume"):
        train(begin(run))
    done = checkpoints.read(disk / "run" / "last.pt").position.total_step
    (disk / "filler").unlink()
    train(begin(run, resume=True), max_steps=done + 1)
    assert checkpoints.read(disk / "run" / "last.pt").position.total_step == done + 1


def test_bfloat16_stays_close(tmp_path: Path) -> None:
    plain = small_run(tmp_path, run=str(tmp_path / "plain"))
    low = small_run(tmp_path, run=str(tmp_path / "low"), precision="bf16")
    train(begin(plain))
    AcceleratorState._reset_state()  # accelerate has one precision a process
    train(begin(low))
    AcceleratorState._reset_state()
    losses = [[row["loss"] for row in lines(run)] for run in (plain, low)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_a_unet_with_checkpointing_trains_as_one_without(tmp_path: Path) -> None:
    model = ModelChoice(architecture="unet", config={"channels": 2})
    runs = [
        small_run(tmp_path, model=model, checkpointing=again, run=str(tmp_path / str(again)))
        for again in (False, True)
    ]
    for run in runs:
        train(begin(run))
    assert untimed(lines(runs[0])) == untimed(lines(runs[1]))


def test_a_compiler_that_fails_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: torch.nn.Module) -> torch.nn.Module:
        raise RuntimeError("no compiler")  # compiling for real takes minutes

    monkeypatch.setattr(torch, "compile", refuse)
    run = small_run(tmp_path, compile=True)
    train(begin(run))
    assert "torch.compile does not work here" in lines(run, "warning")[0]["text"]
    assert len(lines(run)) == 6


def test_validation_is_of_the_kinds_that_a_phase_trains(tmp_path: Path) -> None:
    wider = Augmentation(kinds={"truncated": 1, "jpeg": 1, "ten_bit": 1, "rounded": 0}, procedural=0.5)
    run = small_run(tmp_path, phase(epochs=1, augmentation=wider))
    train(begin(run))
    plates = set(lines(run, "validation")[-1]["plates"])
    assert plates == {f"plate{n} ({kind})" for n in (3, 4) for kind in ("truncated", "jpeg", "ten_bit")}


def test_plates_of_a_url_are_fetched_first(tmp_path: Path) -> None:
    prepared(tmp_path / "plates")
    upload(tmp_path / "plates", "memory://studio/plates", {})
    here = small_run(tmp_path, run=str(tmp_path / "here"))
    there = small_run(
        tmp_path, run=str(tmp_path / "there"), data="memory://studio/plates", cache=str(tmp_path / "cache")
    )
    for run in (here, there):
        train(begin(run), max_steps=2)
    assert untimed(lines(here)) == untimed(lines(there))
