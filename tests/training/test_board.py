"""TensorBoard: read back with its own reader, as a person would see it."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.board import Board
from training.pictures import strip

PLATE = np.linspace(20, 30, 40 * 50 * 3, dtype=np.float32).reshape(40, 50, 3)


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return events.Reload()


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def draw(board: Board, steps: range, phase: str = "baseline", shift: float = 0.0) -> None:
    for step in steps:
        board.losses(step, phase, {"l1": step + shift, "ssim": 0.5}, 2.0 * step, 1e-4, 0.25)


def test_losses_rate_and_norm_become_curves(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        draw(board, range(1, 4))
        draw(board, range(4, 6), "perceptual")
    events = read(tmp_path)
    assert scalars(events, "loss/l1") == [(step, step) for step in range(1, 6)]
    assert scalars(events, "loss/ssim") == [(step, 0.5) for step in range(1, 6)]
    assert scalars(events, "total/baseline") == [(1, 2), (2, 4), (3, 6)]
    assert scalars(events, "total/perceptual") == [(4, 8), (5, 10)]
    assert scalars(events, "optimizer/learning_rate")[0] == (1, pytest.approx(1e-4))
    assert scalars(events, "optimizer/gradient_norm")[0] == (1, 0.25)
    phases = events.Tensors("phase/text_summary")
    assert [(e.step, e.tensor_proto.string_val[0].decode()) for e in phases] == [
        (1, "baseline"),
        (4, "perceptual"),
    ]


def test_gains_by_stratum_leave_out_what_has_none(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        board.gains(10, {"all": 2.5, "flat": 6.0, "edge": math.nan})
        assert scalars(read(tmp_path), "gain/all") == [(10, 2.5)]  # while the run goes on
    events = read(tmp_path)
    assert scalars(events, "gain/flat") == [(10, 6.0)]
    assert "gain/edge" not in events.Tags()["scalars"]


def test_pictures_are_the_strip_bit_for_bit(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        board.pictures(3, "folder/sunset", np.rint(PLATE), PLATE + np.float32(0.1), PLATE)
    (event,) = read(tmp_path).Images("plate/folder/sunset")
    assert event.step == 3
    shown = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    np.testing.assert_array_equal(shown, strip(np.rint(PLATE), PLATE + np.float32(0.1), PLATE))


def test_a_resumed_run_draws_no_step_twice(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        draw(board, range(1, 11))
        board.gains(0, {"all": 0.0})
        board.gains(10, {"all": 9.0})
    with Board(tmp_path, resume_at=6) as board:
        draw(board, range(7, 13), shift=0.5)
        board.gains(12, {"all": 3.0})
    events = read(tmp_path)
    expected = [(step, step + (0.5 if step > 6 else 0)) for step in range(1, 13)]
    assert scalars(events, "loss/l1") == expected
    assert scalars(events, "gain/all") == [(0, 0.0), (12, 3.0)]


@pytest.mark.parametrize(("resume_at", "kept"), [(None, []), (0, [(0, 1.0)])])
def test_a_run_killed_before_its_first_step(
    tmp_path: Path, resume_at: int | None, kept: list[tuple[int, float]]
) -> None:
    with Board(tmp_path) as board:
        board.gains(0, {"all": 1.0})
        board.gains(1, {"all": 2.0})
    with Board(tmp_path, resume_at=resume_at) as board:
        board.gains(2, {"all": 3.0})
    assert scalars(read(tmp_path), "gain/all") == [*kept, (2, 3.0)]


def test_workers_write_nothing_and_import_nothing(tmp_path: Path) -> None:
    code = f"""
import sys
from collections.abc import Callable
from pathlib import Path
import numpy as np
from training.board import Board
plate = np.zeros((8, 8, 3), np.float32)
with Board(Path({str(tmp_path / "board")!r}), enabled=False) as board:
    board.losses(1, "one", {{"l1": 1.0}}, 1.0, 1e-4, 1.0)
    board.gains(1, {{"all": 1.0}})
    board.pictures(1, "plate", plate, plate, plate)
sys.exit(any(name.split(".")[0] == "tensorboard" for name in sys.modules))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ, check=False)
    assert done.returncode == 0
    assert not (tmp_path / "board").exists()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        board.close()
    board.gains(1, {"all": 1.0})


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # TensorBoard's own thread
def test_a_full_disk_ends_the_curves_and_not_the_run(
    small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda error: None)  # of TensorBoard's own thread
    disk = small_disk(64)
    with Board(disk / "board") as board:
        (disk / "filler").write_bytes(b"x" * 40_000)
        for step in range(1000):
            board.gains(step, {"all": 1.0})
    assert "TensorBoard's curves end here" in caplog.text
