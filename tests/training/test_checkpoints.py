"""Checkpoints: whole or not there, strictly read, and clear about what they are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import hidden_files
from plates import TINY, tiny_model

from bitexpand.errors import CheckpointError, DiskFullError, MissingInputError, WriteError
from bitexpand.models.pyramid import Pyramid, PyramidConfig
from training import checkpoints
from training.checkpoints import Checkpoint, Position

pytestmark = pytest.mark.usefixtures("one_thread")


def checkpoint(config: PyramidConfig = TINY, seed: int = 0) -> Checkpoint:
    torch.manual_seed(seed)
    module = Pyramid(config)
    return Checkpoint(
        architecture="pyramid",
        config=config,
        model=module.state_dict(),
        ema=Pyramid(config).state_dict(),
        optimizer={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        scheduler={"last_epoch": 3},
        position=Position(1, 2, 3, -0.5, 1.25, 4, 5, {"l1": 0.25}),
        identity={"manifest": "abc", "seed": "0"},
        random=torch.get_rng_state(),
    )


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    saved = checkpoint()
    checkpoints.save(tmp_path / "last.pt", saved)
    read = checkpoints.read(tmp_path / "last.pt")
    for name in ("architecture", "config", "position", "identity", "scheduler"):
        assert getattr(read, name) == getattr(saved, name)
    for name in ("model", "ema"):
        state, other = getattr(saved, name), getattr(read, name)
        assert state.keys() == other.keys()
        assert all(torch.equal(state[key], other[key]) for key in state)
    assert torch.equal(read.random, saved.random)
    assert read.optimizer["param_groups"] == [{"lr": 0.1}]
    assert not hidden_files(tmp_path)


def test_the_averaged_weights_are_the_model(tmp_path: Path) -> None:
    saved = checkpoint()
    checkpoints.save(tmp_path / "best.pt", saved)
    before = torch.get_rng_state()
    module, architecture, config = checkpoints.load_model(tmp_path / "best.pt")
    assert torch.equal(torch.get_rng_state(), before)
    assert (architecture, config, module.training) == ("pyramid", TINY, False)
    assert all(torch.equal(value, saved.ema[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "not a readable checkpoint"),
        (lambda path: path.write_bytes(b""), "not a readable checkpoint"),
        (lambda path: path.write_bytes(b"PK\x03\x04 but no more"), "not a readable checkpoint"),
        (lambda path: torch.save({"format": "other"}, path), "not a checkpoint of"),
        (lambda path: torch.save([1, 2], path), "not a checkpoint of"),
        (
            lambda path: path.write_bytes(Path(tiny_model(path.parent)).read_bytes()),
            "not a readable checkpoint",
        ),
    ],
)
def test_damaged_and_foreign_files(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save(path, checkpoint())
    damage(path)
    with pytest.raises(CheckpointError, match=message) as raised:
        checkpoints.read(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "another version of bitexpand"),
        ({"extra": 1}, "another version of bitexpand"),
        ({"architecture": "transformer"}, "architecture or config is unknown"),
        ({"config": {"channels": [4, 4], "depth": 3}}, "architecture or config is unknown"),
        ({"config": {"channels": [0]}}, "architecture or config is unknown"),
        ({"position": {"fase": 1}}, "architecture or config is unknown"),
    ],
)
def test_other_contents(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save(path, checkpoint())
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.read(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"format": checkpoints.FORMAT, "model": _Evil(tmp_path / "ran")}, path)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        checkpoints.read(path)
    assert not (tmp_path / "ran").exists()


class _Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such checkpoint"):
        checkpoints.read(tmp_path / "last.pt")


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    other = PyramidConfig(channels=(8, 8), factor=2, fits=(3,))
    checkpoints.save(path, replace(checkpoint(), ema=checkpoint(other).ema))
    with pytest.raises(CheckpointError, match="do not fit the model"):
        checkpoints.load_model(path)


def test_going_on_with_other_settings_is_refused() -> None:
    saved, path = checkpoint(), Path("runs/a/last.pt")
    checkpoints.check_goes_on(saved, Pyramid(TINY), {"manifest": "abc"}, path)
    with pytest.raises(CheckpointError, match=r"manifest abc, now it is xyz; .* another 'run' folder"):
        checkpoints.check_goes_on(saved, Pyramid(TINY), {"manifest": "xyz"}, path)
    other = PyramidConfig(channels=(8, 8), factor=2, fits=(3,))
    with pytest.raises(CheckpointError, match="set 'model' back"):
        checkpoints.check_goes_on(saved, Pyramid(other), {"manifest": "abc"}, path)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(256)
    path = disk / "last.pt"
    checkpoints.save(path, checkpoint())
    before = path.read_bytes()
    large = PyramidConfig(channels=(64, 64), factor=2, fits=(3,))
    with pytest.raises(DiskFullError, match=r"last.pt: the disk is full; free some room"):
        checkpoints.save(path, checkpoint(large))
    assert path.read_bytes() == before
    assert not hidden_files(disk)


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="could not be written"):
        checkpoints.save(tmp_path / "gone" / "last.pt", checkpoint())
