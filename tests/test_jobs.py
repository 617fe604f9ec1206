"""Jobs: settings are checked when they are made, and a plan says everything before anything is written."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plates import natural, save, save_shot

from bitexpand import color
from bitexpand.errors import BitexpandError, MissingInputError, UnknownNameError, UsageError
from bitexpand.jobs import Batch, Job, Settings, color_path, expander, plan_batch, plan_sequence, rehearse


def snapshot(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 1}, "--bits 1: give 2 to 12"),
        ({"bits": 16}, "--bits 16: give 2 to 12"),
        ({"bound": 0}, "--bound 0: give a distance in LSB above 0.001; 0.5 is the bin"),
        ({"bound": float("nan")}, "--bound nan"),
        ({"out_space": "ACEScg"}, "--out-space needs --in-space"),
        ({"threads": 0}, "--threads 0: give 1 or more"),
        ({"existing": "replace"}, "--existing replace: give one of skip, overwrite, error"),
        ({"depth": "double"}, "--depth double: give one of half, float, uint16"),
        ({"compression": "dwaa"}, "--compression dwaa is lossy and would move values out of their bins"),
        ({"compression": "b44:3", "bound": 0.5}, "lossy"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        Settings(**options)


def test_a_wider_bound_allows_lossy_compression() -> None:
    assert Settings(compression="dwaa", bound=2.0).compression == "dwaa"


@pytest.mark.parametrize(
    ("options", "largest_move"),
    [
        ({}, 0.5),
        ({"model": "dequant-unet"}, 0.5),
        ({"model": "dequant-unet-aug"}, 1.0),
        ({"model": "dequant-unet-aug", "bound": 0.5}, 0.5),
        ({"model": "dequant-unet-aug", "source_kind": "truncated"}, 1.0),
        ({"model": "dequant-unet-aug", "source_kind": "lossy"}, 4.0),
        ({"model": "weights/dequant-unet-aug.safetensors"}, 0.5),
    ],
)
def test_a_model_has_a_bound_of_its_own_where_none_is_given(
    options: dict[str, Any], largest_move: float
) -> None:
    settings = Settings(**options)
    assert settings.largest_move == largest_move
    assert settings.pixel_settings()["bound"] == largest_move


def test_a_job_checks_what_it_adds() -> None:
    with pytest.raises(UsageError, match="--on-missing hold: give one of error, skip"):
        Job(input="a", output="b", on_missing="hold")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="--bits 1"):
        Job(input="a", output="b", bits=1)


OTHERS: dict[str, Any] = {
    "precision": "bf16",
    "strength": 0.5,
    "source_kind": "lossy",
    "bound": 0.7,
    "bits": 10,
    "in_space": "ACEScct",
    "out_space": "ACEScg",
    "depth": "float",
    "compression": "piz",
    "tile": 1024,
    "overlap": 512,
    "post_smooth": 1.0,
}
NOT_OF_THE_PIXELS: dict[str, Any] = {"device": "cpu", "existing": "overwrite", "threads": 2}
ELSEWHERE = {"model", "config"}  # the digest takes the weights and the config's text instead of their names


def test_pixel_settings_hold_what_pixels_depend_on_and_nothing_else() -> None:
    assert {field.name for field in fields(Settings)} == {*OTHERS, *NOT_OF_THE_PIXELS, *ELSEWHERE}
    base = Settings(in_space="ACES2065-1")
    seen = [base.pixel_settings()]
    for name, value in OTHERS.items():
        seen.append(replace(base, **{name: value}).pixel_settings())
    assert all(a != b for i, a in enumerate(seen) for b in seen[:i])
    for name, value in NOT_OF_THE_PIXELS.items():
        assert replace(base, **{name: value}).pixel_settings() == seen[0]
    job = Job(input="a", output="b", frames="1-2", on_missing="skip", in_space="ACES2065-1")
    assert job.pixel_settings() == seen[0]


def test_a_whole_number_is_the_number_it_equals() -> None:
    assert str(Settings(strength=1, bound=2).pixel_settings()) == str(
        Settings(strength=1.0, bound=2.0).pixel_settings()
    )


def test_samples_are_half_unless_half_could_not_keep_the_promise() -> None:
    config = color.load_config(color.PINNED_CONFIG)
    pure = color.conversion(config, "ACEScct", "ACEScg")
    mixing = color.conversion(config, "ACEScct", "ACES2065-1")
    exr, png = Path("a.exr"), Path("a.png")
    storage = Settings().storage
    assert [storage(8, exr, c) for c in (None, pure, mixing)] == ["half", "half", "float"]
    assert [storage(b, exr, None) for b in (8, 10, 12)] == ["half", "float", "float"]
    assert [storage(b, png, mixing) for b in (8, 12)] == ["uint16", "uint16"]
    assert Settings(depth="float").storage(8, exr, None) == "float"
    assert Settings(depth="half").storage(8, exr, mixing) == "half"


def test_a_plan_lists_sources_and_targets_in_order(tmp_path: Path) -> None:
    pattern = save_shot(tmp_path / "in", 4)
    output = str(tmp_path / "out" / "plate.%04d.exr")
    plan = plan_sequence(Job(input=pattern, output=output, frames="1004,1001-1002"))
    assert [task.number for task in plan.tasks] == [1004, 1001, 1002]
    assert [task.source.name for task in plan.tasks][0] == "shot_1004.png"
    assert [task.target.name for task in plan.tasks][0] == "plate.1004.exr"
    assert (plan.missing, plan.uniform) == ((), True)
    assert not (tmp_path / "out").exists(), "a plan writes nothing"


def test_missing_frames_stop_the_plan_or_are_left_out(tmp_path: Path) -> None:
    job = Job(input=save_shot(tmp_path, 4), output=str(tmp_path / "o_####.exr"))
    (tmp_path / "shot_1002.png").unlink()
    with pytest.raises(MissingInputError, match="1002"):
        plan_sequence(job)
    plan = plan_sequence(replace(job, on_missing="skip"))
    assert plan.missing == (1002,)
    assert [task.number for task in plan.tasks] == [1001, 1003, 1004]


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("o_####.jpg", {}, ": give it one of .exr, .png, .tif, .tiff, .dpx"),
        ("o_####", {}, "cannot write"),
        ("o_####.png", {"depth": "half"}, "--depth half: a .png file takes uint16"),
        ("o_####.exr", {"depth": "uint16"}, "--depth uint16: a .exr file takes half or float"),
        ("o_####.exr", {"compression": "lzw"}, "unknown openexr compression 'lzw'"),
        ("o_####.tif", {"compression": "zips"}, "unknown tiff compression 'zips'; did you mean 'zip'"),
        ("o.exr", {}, "names one file for 2 frames"),
    ],
)
def test_an_output_that_cannot_be_is_refused(
    tmp_path: Path, output: str, options: dict[str, Any], message: str
) -> None:
    pattern = save_shot(tmp_path, 2)
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match=re.escape(message)):
        plan_sequence(Job(input=pattern, output=str(tmp_path / "new" / output), **options))
    assert snapshot(tmp_path) == before


def test_existing_error_says_what_is_there(tmp_path: Path) -> None:
    job = Job(input=save_shot(tmp_path, 3), output=str(tmp_path / "o_####.exr"), existing="error")
    assert len(plan_sequence(job).tasks) == 3
    (tmp_path / "o_1002.exr").touch()
    with pytest.raises(UsageError, match=r"1 of 3 outputs exist, the first is .*o_1002\.exr"):
        plan_sequence(job)


def test_a_batch_mirrors_folders_and_mixes_sizes(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", natural(4, 5))
    save(tmp_path / "in/deep/er/b.tif", natural(7, 3))
    (tmp_path / "in/notes.txt").write_text("no plate")
    batch = Batch(inputs=(str(tmp_path / "in"),), folder=tmp_path / "out", recursive=True, extension=".png")
    plan = plan_batch(batch)
    assert not plan.uniform
    assert [task.target for task in plan.tasks] == [
        tmp_path / "out/a.png",
        tmp_path / "out/deep/er/b.png",
    ]
    with pytest.raises(UsageError, match="--depth half: a .png file takes uint16"):
        plan_batch(replace(batch, depth="half"))


def lines(job: Job) -> list[tuple[str, bool]]:
    return list(rehearse(plan_sequence(job), job))


def test_a_rehearsal_tells_what_would_be_done_and_writes_nothing(tmp_path: Path, tiny: str) -> None:
    job = Job(input=save_shot(tmp_path / "in", 2), output=str(tmp_path / "out/o_####.exr"), model=tiny)
    before = snapshot(tmp_path)
    first, second = lines(job)
    assert first == (
        f"{tmp_path}/in/shot_1001.png (32x24 RGB 8 bits) -> {tmp_path}/out/o_1001.exr (half)",
        False,
    )
    assert not second[1]
    assert snapshot(tmp_path) == before


def test_a_rehearsal_finds_the_faults_of_every_frame(tmp_path: Path, tiny: str) -> None:
    job = Job(input=save_shot(tmp_path, 6), output=str(tmp_path / "o_####.exr"), model=tiny)
    save(tmp_path / "shot_1002.png", natural(24, 30))
    save(tmp_path / "shot_1003.png", natural(24, 32, 1))
    (tmp_path / "shot_1004.png").write_bytes(b"")
    (tmp_path / "shot_1005.png").write_text("a text file")
    found = lines(job)
    assert [is_fault for _, is_fault in found] == [False, True, True, True, True, False]
    for (line, is_fault), part in zip(
        found, ["", "30x24 RGB", "32x24 Y", "is empty", "not an image", ""], strict=True
    ):
        assert line.startswith("FAULT") == is_fault
        assert part in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"depth": "half", "bits": 12},
            "half samples are too coarse for 12-bit code values; use --depth float",
        ),
        ({"bound": 0.05}, "half samples are too coarse"),
        ({"bound": 4000.0}, "--bound 4000.0"),
    ],
)
def test_a_rehearsal_finds_samples_that_could_not_keep_the_promise(
    tmp_path: Path, tiny: str, options: dict[str, Any], message: str
) -> None:
    from PIL import Image

    samples = (natural(24, 32, 1, 12) * 16).astype(np.uint16)
    Image.fromarray(samples.squeeze()).save(tmp_path / "shot_1001.png")
    settings = {"bits": 8, **options}
    if settings["bits"] == 8:
        save_shot(tmp_path, 1)
    job = Job(input=f"{tmp_path}/shot_####.png", output=f"{tmp_path}/o_####.exr", model=tiny, **settings)
    ((line, is_fault),) = lines(job)
    assert is_fault
    assert message in line


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"model": "piramid"}, UnknownNameError, "did you mean 'pyramid'"),
        ({"in_space": "ACEScc1"}, UnknownNameError, "unknown colour space 'ACEScc1'; did you mean"),
        ({"in_space": "ACEScct", "out_space": "ACEScgg"}, UnknownNameError, "did you mean 'ACEScg'"),
        ({"in_space": "ACEScct", "config": "gone.ocio"}, MissingInputError, "gone.ocio"),
        ({"strength": 2.0}, UsageError, "--strength 2.0"),
        ({"tile": 7}, UsageError, "--tile 7"),
    ],
)
def test_a_rehearsal_refuses_what_the_run_would(
    tmp_path: Path, tiny: str, options: dict[str, Any], kind: type[BitexpandError], message: str
) -> None:
    job = Job(input=save_shot(tmp_path, 1), output=str(tmp_path / "o_####.exr"), **{"model": tiny, **options})
    with pytest.raises(kind, match=re.escape(message)):
        lines(job)


def test_a_color_path_is_as_long_as_it_must_be() -> None:
    assert color_path(Settings()).config is None
    same = color_path(Settings(in_space="ACEScct"))
    assert (same.conversion, same.interop_id) == (
        None,
        color_path(Settings(in_space="acescct_ap1")).interop_id,
    )
    there = color_path(Settings(in_space="ACEScct", out_space="ACEScg"))
    assert there.conversion is not None
    assert there.interop_id == "lin_ap1_scene"
    assert color_path(Settings(in_space="ACEScct", out_space="acescct_ap1")).conversion is None


def test_the_engine_gets_the_settings(tiny: str) -> None:
    engine = expander(Settings(model=tiny, device="cpu", strength=0.0))
    codes = natural(5, 6).astype(np.uint8)
    assert np.array_equal(engine.expand(codes), codes)
