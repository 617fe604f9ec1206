"""Result files: every format holds the plate, its alpha, its metadata and how it was made."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import hidden_files
from expansions import (
    SHOW_CONFIG,
    codes_in,
    save_16,
    source,
    statuses,
    target,
)
from plates import natural, save

from bitexpand import frames, provenance
from bitexpand.code_values import Storage
from bitexpand.frames import Attribute, FrameInfo, Window, read_frame, read_info
from bitexpand.jobs import Job
from bitexpand.pipeline import expand_sequence
from bitexpand.plate import read_plate


@pytest.mark.parametrize(
    ("extension", "depth", "container"),
    [
        ("exr", None, "half"),
        ("exr", "float", "float"),
        ("png", None, "uint16"),
        ("tif", "uint16", "uint16"),
        ("dpx", None, "uint16"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_holds_the_plate(
    tmp_path: Path, tiny: str, extension: str, depth: Storage | None, container: str, channels: int
) -> None:
    path = save(tmp_path / "plate.png", natural(15, 22, channels))
    output = tmp_path / f"out.{extension}"
    job = Job(input=str(path), output=str(output), model=tiny, device="cpu", depth=depth)
    assert statuses(job) == "w"
    stored = read_frame(output)
    assert (stored.info.container, stored.pixels.shape) == (container, (15, 22, channels))
    assert np.array_equal(codes_in(output), natural(15, 22, channels))
    assert statuses(job) == "s"


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_deeper_plates_in_16_bit_files(tmp_path: Path, tiny: str, bits: int) -> None:
    save_16(tmp_path / "plate.png", bits)
    job = Job(input=f"{tmp_path}/plate.png", output=f"{tmp_path}/o.exr", model=tiny, device="cpu", bits=bits)
    assert statuses(job) == "w"
    assert read_info(Path(job.output)).container == ("half" if bits == 8 else "float")
    assert np.array_equal(codes_in(Path(job.output), bits), natural(12, 16, 1, bits))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("extension", ["exr", "png", "tif"])
def test_alpha_passes_through_and_multiplies_nothing(
    tmp_path: Path, tiny: str, channels: int, extension: str
) -> None:
    codes, alpha = natural(24, 32, channels), natural(24, 32, 1, seed=9)
    alpha[:8], alpha[8:16] = 0, 3
    path = save(tmp_path / "plate.png", codes, alpha)
    output = tmp_path / f"out.{extension}"
    assert statuses(Job(input=str(path), output=str(output), model=tiny, device="cpu")) == "w"
    written = codes_in(output)
    assert np.array_equal(written[..., :channels], codes), "colour under no alpha is kept"
    assert np.array_equal(written[..., channels:], alpha)


def test_a_grey_plate_becomes_three_channels_only_where_channels_mix(tmp_path: Path, tiny: str) -> None:
    path = save(tmp_path / "plate.png", natural(12, 16, 1), natural(12, 16, 1, seed=3))
    job = Job(input=str(path), output=f"{tmp_path}/o.exr", model=tiny, device="cpu", in_space="ACEScct")
    for out_space, channels in ((None, "YA"), ("ACEScg", "YA"), ("Linear Rec.709 (sRGB)", "RGBA")):
        assert statuses(replace(job, out_space=out_space)) == "w"
        stored = read_frame(Path(job.output))
        assert "".join(stored.info.channels) == channels
        alpha = stored.pixels[..., -1:].astype(np.float32) * 255
        assert np.array_equal(np.rint(alpha), natural(12, 16, 1, seed=3))


def attributes(path: Path) -> dict[str, Any]:
    return {entry.name: entry.value for entry in read_info(path).attributes}


def test_a_frame_says_how_it_was_made(job: Job) -> None:
    job = replace(job, frames="1001", bound=0.4, strength=0.5, in_space="ACEScct", out_space="ACEScg")
    assert statuses(job) == "w"
    said = attributes(target(job, 1001))
    assert said["bitexpand:model"] == "tiny0.safetensors"
    assert len(said["bitexpand:weights"]) == len(said["bitexpand:settings"]) == 64
    assert said["bitexpand:bound"] == pytest.approx(0.4)
    assert (said["bitexpand:strength"], said["bitexpand:bits"]) == (0.5, 8)
    assert said["bitexpand:source"] == "shot_1001.png"
    assert said["bitexpand:source_sha256"] == hashlib.sha256(source(job, 1001).read_bytes()).hexdigest()
    assert (said["bitexpand:in_space"], said["bitexpand:out_space"]) == ("ACEScct", "ACEScg")
    assert said["bitexpand:config"].startswith("ocio://studio-config-")
    assert provenance.read_fingerprint(read_info(target(job, 1001)))


def test_a_space_is_tagged_only_where_it_is_known(job: Job, tmp_path: Path) -> None:
    job, config = replace(job, frames="1001"), tmp_path / "show.ocio"
    config.write_text(SHOW_CONFIG.format(power=2))
    spaces = [
        ({}, None),
        ({"in_space": "ACEScct", "out_space": "ACEScg"}, "lin_ap1_scene"),
        ({"in_space": "ACEScct", "out_space": "ACES2065-1"}, "lin_ap0_scene"),
        ({"in_space": "log", "config": str(config)}, None),
    ]
    for settings, tag in spaces:
        assert statuses(replace(job, **settings)) == "w"
        assert attributes(target(job, 1001)).get("colorInteropID") == tag
        assert "chromaticities" not in attributes(target(job, 1001))


def test_metadata_of_the_source_survives(tmp_path: Path, tiny: str) -> None:
    source_path = tmp_path / "plate.dpx"
    window = Window(0, 0, 16, 12)
    info = FrameInfo(source_path, "dpx", ("R", "G", "B"), "uint16", 16, window, window)
    kept = (
        Attribute("PixelAspectRatio", "float", 2.0),
        Attribute("dpx:FrameRate", "float", 24.0),
        Attribute("DateTime", "string", "2026:01:02 03:04:05"),
        Attribute("Copyright", "string", "the show"),
    )
    frames.write_frame(source_path, natural(12, 16, 3, 8).astype(np.uint16) * 257, info, kept)
    job = Job(input=str(source_path), output=f"{tmp_path}/o.exr", model=tiny, device="cpu", bits=8)
    assert statuses(job) == "w"
    said = attributes(Path(job.output))
    assert said["PixelAspectRatio"] == 2.0
    assert said["DateTime"] == "2026:01:02 03:04:05"
    assert said["Copyright"] == "the show"
    assert "dpx:Transfer" not in said


def test_lossy_compression_is_held_to_its_bound(job: Job) -> None:
    job = replace(job, frames="1001", compression="dwaa", bound=4.0)
    assert statuses(job) == "w"
    moved = (
        read_frame(target(job, 1001)).pixels.astype(np.float32) * 255 - read_plate(source(job, 1001)).codes
    )
    assert np.abs(moved).max() <= 4.01
    (result,) = expand_sequence(replace(job, bound=0.51, compression="dwaa:2000"))
    assert result.status == "failed"
    assert "the compression moves" in (result.error or "")
    assert not hidden_files(target(job, 1001).parent)
