"""Training the head alone: everything else stays what it was, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import phase, small_run

from bitexpand.errors import UsageError
from bitexpand.models import checkpoint
from bitexpand.models.unet import UNet, UNetConfig
from training import checkpoints
from training.freeze import freeze, rest_frozen_norms
from training.loop import train
from training.run_config import ModelChoice, Run
from training.start import begin

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIG = UNetConfig(channels=2, scales=2, posterior=True)
HEAD = r"^(head|belief)\."


def unet_run(folder: Path, name: str, *trained: str) -> Run:
    """Return a run of a small U-Net from the weights of a file, with a phase for each pattern."""
    start = folder / "start.safetensors"
    if not start.exists():
        module = UNet(CONFIG)
        module.train()(200 * torch.rand(2, 3, 32, 32))  # statistics that are not those of new norms
        checkpoint.save(start, module, "unet", CONFIG)
    phases = [phase(f"phase{n}", train=pattern) for n, pattern in enumerate(trained)]
    return small_run(folder, *phases, run=str(folder / name), model=ModelChoice(weights=str(start)))


def test_only_what_is_named_is_trained_and_norms_rest(tmp_path: Path) -> None:
    run = unet_run(tmp_path, "head", HEAD)
    before = run.model.create().state_dict()
    train(begin(run))
    last = checkpoints.read(tmp_path / "head" / "last.pt")
    for state in (last.model, last.ema):
        moved = {name for name, value in state.items() if not torch.equal(value, before[name])}
        assert moved == {"head.weight", "head.bias", "belief.weight", "belief.bias"}
    assert len(last.optimizer["state"]) == 4


def test_the_next_phase_trains_everything_again(tmp_path: Path) -> None:
    run = unet_run(tmp_path, "both", HEAD, "")
    before = run.model.create().state_dict()
    train(begin(run))
    after = checkpoints.read(tmp_path / "both" / "last.pt").model
    assert not [name for name, value in after.items() if torch.equal(value, before[name])]


def test_a_phase_of_the_head_is_gone_on_with_to_the_bit(tmp_path: Path) -> None:
    train(begin(unet_run(tmp_path, "straight", HEAD)), max_steps=4)
    halves = unet_run(tmp_path, "halves", HEAD)
    for steps in (2, 4):
        train(begin(halves, resume=True), max_steps=steps)
    one, other = (checkpoints.read(tmp_path / name / "last.pt").model for name in ("straight", "halves"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_name_that_no_parameter_has_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'phases.2.train': no parameter's name has 'tail'.*belief, decoder"
    ):
        begin(unet_run(tmp_path, "none", "", "tail"))


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train is '\(', must be a regular expression"):
        phase(train="(")


def test_freezing_is_taken_back() -> None:
    module = UNet(CONFIG)
    assert len(freeze(module, r"^encoder\.0\.")) == 6
    module.train()
    rest_frozen_norms(module)
    norms = {name: part.training for name, part in module.named_modules() if hasattr(part, "running_mean")}
    assert {name for name, training in norms.items() if training} == {"encoder.0.1", "encoder.0.4"}
    assert len(freeze(module, "")) == len(list(module.parameters()))
    assert all(parameter.requires_grad for parameter in module.parameters())
