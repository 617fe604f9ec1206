"""A run's YAML: what it means, what ships with the package, and every mistake in it by file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from plates import tiny_model

from bitexpand.errors import MissingInputError, UsageError
from bitexpand.models import registry
from bitexpand.models.pyramid import Pyramid, PyramidConfig
from bitexpand.models.unet import UNet
from training.run_config import PHASES, ModelChoice, load_run, write_run

CONFIGS = [
    path
    for path in sorted((PHASES.parent / "configs").glob("*.yaml"))
    if "model" in yaml.safe_load(path.read_text())
]
GOING_ON = [path for path in CONFIGS if "weights" in yaml.safe_load(path.read_text())["model"]]
PHASE = {"name": "a", "losses": {"l1": 1.0}}
MINIMAL: dict[str, Any] = {
    "data": "plates",
    "run": "runs/a",
    "model": {"architecture": "unet"},
    "phases": [PHASE],
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    return path


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_runs_can_be_made(config: Path) -> None:
    run = load_run(config)
    if run.model.weights and run.model.weights not in registry.names():
        return  # goes on from another run's weights
    module = run.model.create()
    assert module.training
    assert run.crop % module.multiple == 0


@pytest.mark.parametrize("config", GOING_ON, ids=lambda path: path.stem)
def test_what_goes_on_from_a_run_goes_on_from_one_that_ships(config: Path) -> None:
    run = load_run(config)
    before = {str(folder) for folder in Path(run.model.weights).parents}  # of a run, or of a phase of one
    assert before & {load_run(shipped).run for shipped in CONFIGS}


def test_the_five_phases_are_those_of_the_recipe(tmp_path: Path) -> None:
    run = load_run(written(tmp_path, phases="phases.yaml"))
    assert [phase.name for phase in run.phases] == ["baseline", "perceptual", "color", "frequency", "polish"]
    assert [phase.learning_rate for phase in run.phases] == [5e-5, 2e-5, 1e-5, 5e-6, 2e-6]
    assert [phase.epochs for phase in run.phases] == [200, 50, 30, 30, 50]
    added = [set(b.losses) - set(a.losses) for a, b in zip(run.phases[:-1], run.phases[1:], strict=True)]
    assert set(run.phases[0].losses) == {"l1", "gradient", "ssim"}
    assert added == [{"lpips"}, {"color_consistency"}, {"fft", "multiscale_gradient"}, {"laplacian"}]
    assert all(phase.losses["gradient"] == 1.5 for phase in run.phases)
    assert run.phases[4].losses["color_consistency"] == 0.2
    assert [phase.balance for phase in run.phases] == [False, False, False, False, True]


def test_a_resolved_run_reads_as_itself(tmp_path: Path) -> None:
    run = load_run(written(tmp_path, augmentation={"exposure": [-1, 1]}, learning_rate=3e-4))
    write_run(run, tmp_path / "elsewhere.yaml")
    assert load_run(tmp_path / "elsewhere.yaml") == run


def test_paths_are_relative_to_the_file_and_weights_too(tmp_path: Path) -> None:
    weights = Path(tiny_model(tmp_path))
    run = load_run(written(tmp_path, model={"weights": weights.name}, data="s3://bucket/plates"))
    assert (run.run, run.data) == (str(tmp_path / "runs" / "a"), "s3://bucket/plates")
    assert run.model.weights == str(weights)
    assert load_run(written(tmp_path, model={"weights": "pyramid"})).model.weights == "pyramid"


def test_phases_inherit_what_they_do_not_say(tmp_path: Path) -> None:
    own = {**PHASE, "name": "b", "learning_rate": 1e-6, "augmentation": {"tone": 0.5}}
    run = load_run(
        written(
            tmp_path, learning_rate=3e-4, augmentation={"zoom": [0.5, 2], "tone": 0.1}, phases=[PHASE, own]
        )
    )
    first, second = run.phases
    assert (first.learning_rate, second.learning_rate) == (3e-4, 1e-6)
    assert (first.augmentation.tone, second.augmentation.tone) == (0.1, 0.5)
    assert first.augmentation.zoom == second.augmentation.zoom == (0.5, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"phases": [{**PHASE, "losses": {"l1": 1, "lpip": 1}}]},
            "unknown loss 'lpip'; did you mean 'lpips'",
        ),
        ({"phases": [{**PHASE, "losses": {"l1": 0}}]}, "weight of loss 'l1' is 0, must be above 0"),
        ({"phases": [{**PHASE, "losses": {}}]}, "losses is empty"),
        (
            {"phases": [{**PHASE, "learning_rat": 1}]},
            "unknown key 'learning_rat'; did you mean 'learning_rate'",
        ),
        ({"phases": [{**PHASE, "learning_rate": 0}]}, "key 'phases.1': learning_rate is 0"),
        ({"phases": [{**PHASE, "epochs": 0}]}, "epochs is 0, must be 1 or more"),
        ({"phases": [{**PHASE, "warmup": 5}]}, "'warmup' goes with 'schedule: cosine'"),
        ({"phases": [{**PHASE, "schedule": "cosin"}]}, "'plateau' or 'cosine', not 'cosin'"),
        ({"phases": [PHASE, PHASE]}, "two phases are named 'a'"),
        ({"phases": [PHASE, 3]}, "phase 2 must hold keys and values"),
        ({"phases": []}, "phases is empty"),
        ({"phases": 3}, "key 'phases' must be a file or a list"),
        ({"bach": 2}, "unknown key 'bach'; did you mean 'batch'"),
        ({"batch": 0}, "batch is 0, must be 1 or more"),
        ({"batch": "many"}, "key 'batch': input should be a valid integer"),
        ({"ema": 1}, "ema is 1, must be from 0 to 0.99999"),
        ({"gradient_clip": 0}, "gradient_clip and save_minutes must be above 0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch is 0"),
        ({"model": {}}, "give either 'architecture' or 'weights'"),
        ({"phases": [{**PHASE, "harm": -1}]}, "harm is -1, must be 0 or more"),
        ({"betas": [0.9, 1]}, "betas are 0.9 and 1, must be from 0 to below 1"),
        (
            {"model": {"architecture": "pyramide"}},
            "key 'model': unknown architecture 'pyramide'; did you mean 'pyramid'",
        ),
        (
            {"model": {"architecture": "pyramid", "config": {"chanels": [4]}}},
            "'chanels'; did you mean 'channels'",
        ),
        ({"model": {"architecture": "pyramid", "config": {"channels": [0, 4]}}}, "channels is 0, must be"),
        ({"augmentation": {"kinds": {"rounded": 0}}}, "kinds must have weights"),
    ],
)
def test_mistakes_are_named_with_file_and_key(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(UsageError) as raised:
        load_run(path)
    assert message in str(raised.value)
    assert "run.yaml" in str(raised.value)


def test_a_schedule_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"phasen.yaml: no such file"):
        load_run(written(tmp_path, phases="phasen.yaml"))


def test_models_by_architecture() -> None:
    small = ModelChoice(architecture="pyramid", config={"channels": [4, 4], "fits": [3]}).create()
    assert isinstance(small, Pyramid)
    assert small.config == PyramidConfig(channels=(4, 4), fits=(3,))
    assert isinstance(ModelChoice(architecture="unet", config={"channels": 2}).create(), UNet)


def test_models_by_weights_can_be_trained(tmp_path: Path) -> None:
    module = ModelChoice(weights=tiny_model(tmp_path)).create()
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    with pytest.raises(UsageError, match="has no weights that could be trained"):
        ModelChoice(weights="smooth").create()
    with pytest.raises(MissingInputError, match="no such weights file"):
        ModelChoice(weights=str(tmp_path / "gone.safetensors")).create()


def test_new_weights_come_from_the_seed() -> None:
    def weights() -> list[torch.Tensor]:
        torch.manual_seed(3)
        return list(ModelChoice(architecture="pyramid", config={"channels": [4, 4]}).create().parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))
