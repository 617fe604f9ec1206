"""What ships: weights that are what was trained, and a card whose numbers were measured on the file beside it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import hidden_files
from plates import TINY
from prepared import prepare, trained

from bitexpand.errors import CheckpointError, DiskFullError, MissingInputError, UsageError
from bitexpand.models import checkpoint, registry
from bitexpand.models.base import ModelConfig, PlateModel
from bitexpand.models.pyramid import Pyramid, PyramidConfig
from bitexpand.models.registry import ModelSpec
from training import checkpoints
from training.evaluate import Evaluation, evaluate
from training.export import Exported, Origin, export, kmac_per_pixel
from training.manifest import Manifest

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = {
    "data": "/secret/prepared",
    "run": "/secret/run",
    "model": {"architecture": "pyramid", "config": {"channels": [4, 4]}, "weights": ""},
    "phases": [{"name": "baseline", "losses": {"l1": 1.0}}],
    "learning_rate": 0.001,
    "cache": "/secret/cache",
}


@dataclass(frozen=True)
class Trained:
    """A run that is over: its data, its folder, what the card says of it."""

    data: Path
    manifest: Manifest
    origin: Origin

    @property
    def measure(self) -> Callable[[str], Evaluation]:
        return functools.partial(evaluate, folder=self.data)

    def checkpoint(self, seed: int = 0) -> Path:
        path = self.origin.run / f"best{seed}.pt"
        return trained(path, seed, steps=1234, identity={"manifest": self.manifest.digest()})

    def export(self, output: Path, seed: int = 0, *, half: bool = False, force: bool = False) -> Exported:
        return export(self.checkpoint(seed), output, self.measure, self.origin, half=half, force=force)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder, data = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("data")
    manifest = prepare(data)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    (folder / "run.json").write_text(json.dumps({"git": "abc123-dirty"}))
    origin = Origin(
        "studio", manifest, folder, ("python -m training prepare a.yaml", "python -m training run b.yaml")
    )
    return Trained(data, manifest, origin)


@pytest.fixture(scope="module")
def worse_and_better(run: Trained) -> tuple[int, int]:
    """Return two seeds, the second of which makes a model that gains more."""
    gains = [evaluate(str(run.checkpoint(seed)), run.data).mean_gain for seed in range(3)]
    return int(np.argmin(gains)), int(np.argmax(gains))


def test_the_weights_are_the_moving_average_bit_for_bit(run: Trained, tmp_path: Path) -> None:
    exported = run.export(tmp_path / "new" / "studio")
    assert exported.weights == tmp_path / "new" / "studio.safetensors"
    module, _, _ = checkpoints.load_model(run.checkpoint())
    loaded, _ = checkpoint.read(exported.weights)
    assert loaded.config == module.config == TINY
    state = loaded.state_dict()
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    assert exported.sha256 == hashlib.sha256(exported.weights.read_bytes()).hexdigest()
    assert not hidden_files(tmp_path)


def test_the_same_checkpoint_gives_the_same_files(run: Trained, tmp_path: Path) -> None:
    one, other = (run.export(tmp_path / name / "studio") for name in ("one", "other"))
    assert one.weights.read_bytes() == other.weights.read_bytes()
    assert one.card.read_bytes() == other.card.read_bytes()


def test_the_numbers_are_those_of_the_file_that_was_written(run: Trained, tmp_path: Path) -> None:
    whole, half = (run.export(tmp_path / str(h) / "studio", half=h) for h in (False, True))
    assert half.weights.stat().st_size < 0.7 * whole.weights.stat().st_size
    for exported in (whole, half):
        again = evaluate(str(exported.weights), run.data)
        assert again.weights_sha256 == exported.evaluation.weights_sha256
        assert again.mean_gain == exported.evaluation.mean_gain
        card = exported.card.read_text()
        assert f"| mean of plates | {again.mean_gain:+.2f} |" in card
        assert f"`{exported.sha256}`" in card
    assert half.evaluation.mean_gain != whole.evaluation.mean_gain
    assert half.evaluation.mean_gain == pytest.approx(whole.evaluation.mean_gain, abs=0.05)
    assert ", float16, " in half.card.read_text()
    assert ", float32, " in whole.card.read_text()


def test_the_card_says_where_the_weights_come_from(run: Trained, tmp_path: Path) -> None:
    card = run.export(tmp_path / "studio").card.read_text()
    count = sum(parameter.numel() for parameter in Pyramid(TINY).parameters())
    for part in (
        "# studio\n",
        f"| parameters | {count:,} |",
        "`pyramid`: `PyramidConfig(channels=(4, 4), factor=2, fits=(3,), posterior=False, refits=(), widths=False",
        "| own | CC0-1.0 | 1 | 3 | 0 |",
        "| all |  | 1 | 3 | 0 |",
        run.manifest.digest(),
        "1,234 optimizer steps, with the code of revision `abc123-dirty`",
        "learning_rate: 0.001",
        "python -m training prepare a.yaml\npython -m training run b.yaml\n",
        "checkpoints are chosen by it",
        "rounded to 8 bits in ACEScct",
    ):
        assert part in card, part
    assert "/secret" not in card
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert recipe == {key: CONFIG[key] for key in ("model", "phases", "learning_rate")}


def test_tables_are_whole_and_losses_are_not_hidden(run: Trained, tmp_path: Path) -> None:
    exported = run.export(tmp_path / "studio")
    card = exported.card.read_text()
    for block in card.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block
    lost = exported.evaluation.losses()
    assert lost  # what was never trained loses somewhere
    assert "**Where it loses.** Worse than doing nothing:" in card
    for loss in lost:
        assert f"- {loss.plate} (" in card
        assert f"{loss.gain:+.2f} dB" in card


def test_the_row_of_the_registry_is_python_that_loads_it(
    run: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = run.export(tmp_path / "studio")
    names = {"ModelSpec": ModelSpec, "Pyramid": Pyramid, "PyramidConfig": PyramidConfig}
    (spec,) = eval(f"({exported.registry_row})", names)
    assert (spec.name, spec.sha256, spec.config) == ("studio", exported.sha256, TINY)
    monkeypatch.setattr(registry, "WEIGHTS_FOLDER", tmp_path)
    monkeypatch.setitem(registry._BY_NAME, "studio", spec)
    assert registry.load("studio").weights_sha256 == exported.evaluation.weights_sha256


def test_better_weights_replace_worse_ones_and_not_the_other_way(
    run: Trained, tmp_path: Path, worse_and_better: tuple[int, int]
) -> None:
    worse, better = worse_and_better
    output = tmp_path / "studio.safetensors"  # with its extension, as a person may write it
    run.export(output, worse)
    exported = run.export(output, better)
    assert exported.weights == output
    kept = exported.weights.read_bytes(), exported.card.read_bytes()
    with pytest.raises(
        UsageError, match=r"studio\.safetensors: is better \(.* dB\) than what would replace it"
    ):
        run.export(output, worse)
    assert (exported.weights.read_bytes(), exported.card.read_bytes()) == kept
    run.export(output, better)  # as good is good enough
    assert run.export(output, worse, force=True).weights.read_bytes() != kept[0]


def test_what_cannot_be_compared_is_not_replaced(run: Trained, tmp_path: Path) -> None:
    output = tmp_path / "studio.safetensors"
    output.write_bytes(b"something of mine")
    with pytest.raises(UsageError, match=r"exists and cannot be compared .* use --force to replace it"):
        run.export(output)
    assert output.read_bytes() == b"something of mine"
    run.export(output, force=True)
    measure = functools.partial(evaluate, folder=run.data, split="train", on_training_data=True)
    with pytest.raises(UsageError, match="gains on training data do not say which is better"):
        export(run.checkpoint(), output, measure, run.origin)
    card = export(run.checkpoint(), output, measure, run.origin, force=True).card.read_text()
    assert "TRAINING DATA" in card


def test_a_gain_on_plates_that_were_trained_on_is_refused(run: Trained, tmp_path: Path) -> None:
    rows = tuple(replace(row, split="val") for row in run.manifest.plates)
    everything = replace(run.manifest, plates=rows)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in run.data.glob("*.npy"):
        (elsewhere / file.name).symlink_to(file)
    everything.save(elsewhere)
    with pytest.raises(
        UsageError, match="plate 'own/dawn' was measured as split 'val', but the model was trained on"
    ):
        export(
            run.checkpoint(), tmp_path / "studio", functools.partial(evaluate, folder=elsewhere), run.origin
        )
    assert not (tmp_path / "studio.safetensors").exists()


def test_other_data_than_it_was_trained_on(run: Trained, tmp_path: Path) -> None:
    other = replace(run.origin, data=replace(run.manifest, plates=run.manifest.plates[:2]))
    with pytest.raises(UsageError, match="give the folder that it was trained on") as raised:
        export(run.checkpoint(), tmp_path / "studio", run.measure, other)
    assert run.manifest.digest() in str(raised.value)


def test_bad_input_writes_nothing(run: Trained, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"gone\.pt: no such checkpoint"):
        export(tmp_path / "gone.pt", tmp_path / "studio", run.measure, run.origin)
    weights = run.export(tmp_path / "first" / "studio").weights
    with pytest.raises(CheckpointError, match=r"not a checkpoint of `python -m training run`"):
        export(weights, tmp_path / "studio", run.measure, run.origin)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(UsageError, match=r"run\.json: does not say which code trained"):
        export(run.checkpoint(), tmp_path / "studio", run.measure, replace(run.origin, run=bare))
    (bare / "config.yaml").unlink()
    (bare / "run.json").write_text('{"git": null}')
    with pytest.raises(MissingInputError, match=r"config\.yaml: no such file"):
        export(run.checkpoint(), tmp_path / "studio", run.measure, replace(run.origin, run=bare))
    assert not list(tmp_path.glob("studio*"))


def test_a_full_disk_leaves_what_lay_there(
    run: Trained, small_disk: Callable[[int], Path], worse_and_better: tuple[int, int]
) -> None:
    worse, better = worse_and_better
    folder = small_disk(64)
    exported = run.export(folder / "studio", worse)
    kept = exported.weights.read_bytes()
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"\0" * 1024):
            pass
    with pytest.raises(DiskFullError, match=r"studio\.safetensors: the disk is full"):
        run.export(folder / "studio", better)
    assert exported.weights.read_bytes() == kept
    assert not hidden_files(folder)


def test_multiplications_are_counted_as_by_hand() -> None:
    class Two(PlateModel):
        config_type, multiple = ModelConfig, 48

        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Conv2d(5, 7, 1, stride=2)

        def forward(self, plate: torch.Tensor) -> torch.Tensor:
            return self.coarse(self.fine(plate))

    assert kmac_per_pixel(Two()) == pytest.approx((3 * 5 * 9 + 5 * 7 / 4) / 1000)


def test_the_shipped_network_costs_what_its_card_says() -> None:
    assert kmac_per_pixel(Pyramid()) == pytest.approx(28, abs=0.5)
