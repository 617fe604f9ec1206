"""Reruns: what is done and whole is left alone, everything else is done again, and nothing foreign is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expansions import (
    SHOW_CONFIG,
    codes_in,
    digests,
    source,
    states,
    statuses,
    target,
)
from plates import natural, save, tiny_model

from bitexpand import frames
from bitexpand.frames import Attribute, FrameInfo, Window
from bitexpand.jobs import Job
from bitexpand.pipeline import expand_sequence


def test_a_rerun_skips_what_is_done(job: Job) -> None:
    assert statuses(job) == "wwwwww"
    before = states(target(job, 1001).parent)
    assert statuses(job) == "ssssss"
    assert statuses(replace(job, threads=1)) == "ssssss"
    assert states(target(job, 1001).parent) == before


def test_a_rerun_does_the_rest(job: Job) -> None:
    assert statuses(replace(job, frames="1002-1003")) == "ww"
    assert statuses(job) == "wsswww"


@pytest.mark.parametrize(
    "change",
    [
        {"strength": 0.5},
        {"bound": 0.4},
        {"bits": 8, "depth": "float"},
        {"compression": "piz"},
        {"in_space": "ACEScct"},
        {"precision": "bf16"},
        {"post_smooth": 1.0},
    ],
)
def test_another_setting_is_done_again(job: Job, change: dict[str, Any]) -> None:
    one = replace(job, frames="1001")
    assert statuses(one) == "w"
    assert statuses(replace(one, **change)) == "w"
    assert statuses(replace(one, **change)) == "s"
    assert statuses(one) == "w"


def test_another_model_is_done_again(job: Job, tmp_path: Path) -> None:
    one = replace(job, frames="1001")
    assert statuses(one) == "w"
    assert statuses(replace(one, model=tiny_model(tmp_path, seed=1))) == "w"


def test_another_config_of_the_same_name_is_done_again(job: Job, tmp_path: Path) -> None:
    config = tmp_path / "show.ocio"
    one = replace(job, frames="1001", config=str(config), in_space="log", out_space="raw")
    config.write_text(SHOW_CONFIG.format(power=2))
    assert statuses(one) == "w"
    assert statuses(one) == "s"
    config.write_text(SHOW_CONFIG.format(power=3))
    assert statuses(one) == "w"


def test_a_changed_source_is_done_again_and_a_touched_one_is_not(job: Job) -> None:
    assert statuses(job) == "wwwwww"
    save(source(job, 1003), natural(24, 32, seed=77))
    os.utime(source(job, 1004), (1, 1))
    assert statuses(job) == "sswsss"
    assert np.array_equal(codes_in(target(job, 1003)), natural(24, 32, seed=77))


@pytest.mark.parametrize("extension", ["exr", "png", "tif", "dpx"])
def test_a_damaged_result_is_done_again(job: Job, extension: str) -> None:
    job = replace(job, output=job.output.replace("exr", extension))
    assert statuses(job) == "wwwwww"
    good = digests(target(job, 1001).parent)
    whole = target(job, 1002).read_bytes()
    target(job, 1002).write_bytes(whole[: len(whole) // 2])
    target(job, 1003).write_bytes(b"")
    target(job, 1004).unlink()
    target(job, 1005).write_bytes(whole[:60])
    assert statuses(job) == "swwwws"
    assert digests(target(job, 1001).parent) == good


def test_a_bit_that_flipped_in_a_compressed_result_is_noticed(job: Job) -> None:
    job = replace(job, frames="1001")
    assert statuses(job) == "w"
    damaged = bytearray(target(job, 1001).read_bytes())
    damaged[-40] ^= 0x10
    target(job, 1001).write_bytes(damaged)
    assert statuses(job) == "w"


def test_overwrite_does_all_again(job: Job) -> None:
    assert statuses(job) == "wwwwww"
    before = states(target(job, 1001).parent)
    assert statuses(replace(job, existing="overwrite")) == "wwwwww"
    assert all(state != before[name] for name, state in states(target(job, 1001).parent).items())


def foreign_exr(path: Path) -> None:
    window = Window(0, 0, 32, 24)
    info = FrameInfo(path, "openexr", ("R", "G", "B"), "half", 16, window, window)
    frames.write_frame(
        path, np.zeros((24, 32, 3), np.float16), info, (Attribute("Software", "string", "Nuke"),)
    )


def cut_foreign_exr(path: Path) -> None:
    foreign_exr(path)
    path.write_bytes(path.read_bytes()[:-50])


@pytest.mark.parametrize(
    "make",
    [
        foreign_exr,
        cut_foreign_exr,
        lambda path: path.write_text("notes of the compositor"),
        lambda path: save(path.with_suffix(".png"), natural(4, 4)).rename(path),
        lambda path: path.mkdir(),
    ],
    ids=["exr", "cut exr", "text", "png", "folder"],
)
def test_what_bitexpand_did_not_write_is_not_replaced(job: Job, make: Callable[[Path], object]) -> None:
    target(job, 1003).parent.mkdir()
    make(target(job, 1003))
    before = states(target(job, 1003).parent)
    results = list(expand_sequence(job))
    assert [r.status[0] for r in results] == list("wwfwww")
    assert results[2].error is not None
    assert "exists and bitexpand did not write it; choose another -o" in results[2].error
    assert states(target(job, 1003).parent)["shot_1003.exr"] == before["shot_1003.exr"]
    if target(job, 1003).is_file():
        assert statuses(replace(job, existing="overwrite")) == "wwwwww"


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        (natural(24, 30), "width 30 instead of 32"),
        (natural(20, 32), "height 20 instead of 24"),
        (natural(24, 32, 1), "colour channels 1 instead of 3"),
    ],
)
def test_a_frame_of_another_shape_fails_alone_and_on_every_rerun(
    job: Job, odd: np.ndarray, what: str
) -> None:
    save(source(job, 1003), odd)
    for expected in ("wwfwww", "ssfsss"):
        results = list(expand_sequence(job))
        assert "".join(r.status[0] for r in results) == expected
        assert results[2].error is not None
        assert f"shot_1003.png: differs from the first frame of the sequence ({what})" in results[2].error
    assert not target(job, 1003).exists()
