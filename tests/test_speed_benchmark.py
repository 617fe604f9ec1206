"""The speed benchmark: it counts right, runs what it says that it runs, and tells all of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.speed import __main__ as speed
from benchmarks.speed import clock, convolutions, eager, figures, memory, peers, pixels
from benchmarks.speed.bench import Bench
from benchmarks.speed.figures import YARDSTICK, Figure
from benchmarks.speed.operations import count
from benchmarks.speed.plates import plate_codes
from bitexpand.frames import read_frame
from bitexpand.models.unet import UNet, UNetConfig

SIZE = (64, 36)


@pytest.fixture
def bench(tmp_path: Path, tiny: str) -> Bench:
    return Bench(tmp_path, (SIZE,), (tiny,), frames=1, repeats=1, long_shot=3, threads=1)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]), st.integers(1, 9), st.booleans())
def test_multiplications_of_convolutions_are_counted(
    wide: int, narrow: int, kernel: int, side: int, inference: bool
) -> None:
    convolution = torch.nn.Conv2d(wide, narrow, kernel, padding=kernel // 2)
    plate = torch.zeros(2, wide, side, side + 1)
    with torch.inference_mode(inference):
        counted = count(lambda: convolution(plate))
    assert counted.macs[torch.float32] == 2 * side * (side + 1) * wide * narrow * kernel**2
    assert counted.convolution_seconds[torch.float32] > 0


def test_bytes_are_counted_where_they_are_written() -> None:
    plate = torch.zeros(3, 16, 32)
    size = plate.numel() * 4
    assert count(lambda: plate + 1).written == size
    assert count(lambda: plate.add_(1)).written == size
    assert count(lambda: plate.to(torch.bfloat16)).written == size // 2
    assert count(lambda: plate.transpose(1, 2).contiguous()).written == size
    assert count(lambda: (plate.contiguous(), plate.view(-1), plate[:, 1:], plate.split(1))).written == 0
    in_strips = count(lambda: [strip.add_(1) for strip in plate.split(8, 1)], cache=size // 2)
    assert (in_strips.written, in_strips.spilled, in_strips.passes) == (size, 0, 0)
    assert sum(in_strips.calls.values()) == 2
    whole = count(lambda: plate.add_(1), cache=size // 2)
    assert (whole.written, whole.spilled, whole.passes) == (size, size, 1)


def test_turns_are_taken() -> None:
    seen: list[str] = []
    medians = clock.take_turns({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 3)
    assert seen == ["a", "b"] * 3
    assert list(medians) == ["a", "b"]


def test_seconds_of_a_frame_are_ratios_too() -> None:
    told = [
        Figure(YARDSTICK, 0.1, "s", SIZE),
        Figure("ours", 0.25, "s", SIZE),
        Figure("alone", 1, "s", (8, 8)),
    ]
    lines = figures.by_size(told).splitlines()
    assert lines[0] == "| a frame of | 8x8 | 64x36 |"
    assert lines[3] == "| ours |  | 0.250 s (2.50x) |"
    assert lines[4] == "| alone | 1.000 s |  |"


@pytest.mark.parametrize(
    ("figure", "line"),
    [
        (Figure("a", 2, "ratio", at_most=2), "| a | 2.00 | at most 2.00 |"),
        (Figure("a", 2.1, "ratio", at_most=2), "| a | 2.10 | at most 2.00: missed |"),
        (Figure("a", 0.5, "share", at_least=0.6), "| a | 50 % | at least 60 %: missed |"),
        (Figure("a", 1234.4, "ns"), "| a | 1,234 ns |  |"),
    ],
)
def test_an_aim_is_told_with_its_figure(figure: Figure, line: str) -> None:
    assert figures.plain([figure]).splitlines()[2] == line


def test_other_programs_convert_the_same_frames(bench: Bench) -> None:
    shot = bench.shot(SIZE)
    for words in peers.conversions(shot, bench.count(SIZE)).values():
        clock.command(words)()
    for name in ("oiiotool", "ffmpeg"):
        for number in range(1001, 1007):
            frame = read_frame(shot / name / f"o_{number}.exr")
            source = read_frame(shot / f"plate_{number}.png").pixels
            assert frame.info.container == "half"
            assert np.abs(frame.pixels.astype(np.float32) * 255 - source.astype(np.float32)).mean() < 2
    assert len(list((shot / "ffmpeg").iterdir())) == 6


@pytest.mark.parametrize("scales", [0, 3])
def test_the_eager_network_is_the_same_network(scales: int) -> None:
    config = UNetConfig(channels=4, scales=scales)
    ours, plain = UNet(config).eval(), eager.EagerUNet(config).eval()
    plain.load_state_dict(ours.state_dict())
    plate = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(plain(plate), ours(plate), rtol=0, atol=1e-5)


def test_stages_are_told_and_written(bench: Bench, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    told, facts = measured(bench, capsys, "machine,stages,pipeline,convolutions,pixels")
    for name in (
        "decode",
        f"pipeline, {bench.models[0]}, frames a second",
        "matrix multiplication, bfloat16",
    ):
        assert f"| {name} |" in told
    assert all(np.isfinite(figure["value"]) and figure["value"] >= 0 for figure in facts["figures"])


def test_commands_are_told_and_written(bench: Bench, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    told, _ = measured(bench, capsys, "end_to_end,memory")
    for name in (YARDSTICK, eager.EAGER, eager.ENGINE, f"`bitexpand seq`, {bench.models[0]}"):
        assert f"| {name} |" in told
    assert told.count("GiB") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "stages,nothing"], "no section 'nothing'; give some of machine, end_to_end"),
        (["--sizes", "1536"], "'1536' is not a list such as 1536x864,1920x1080"),
    ],
)
def test_what_it_does_not_know_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        speed.main(arguments)
    assert message in capsys.readouterr().err


def test_frames_have_the_size_asked_for() -> None:
    assert plate_codes((50, 30)).shape == (30, 50, 3)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make frames small."""
    monkeypatch.setattr(eager, "CROP", (64, 64))
    monkeypatch.setattr(eager.registry, "spec", lambda _: SimpleNamespace(config=UNetConfig(channels=2)))
    monkeypatch.setattr(convolutions, "SIZE", SIZE)
    monkeypatch.setattr(pixels, "SIZES", (SIZE, (128, 72)))
    monkeypatch.setattr(pixels, "_PIXELS", 8 * SIZE[0] * SIZE[1])
    monkeypatch.setattr(pixels, "TILED", (896, 64))
    monkeypatch.setattr(pixels, "TILE", 800)
    monkeypatch.setattr(memory, "SHOT_SIZE", SIZE)
    monkeypatch.setattr(memory, "SHORT", 2)
    monkeypatch.setattr(memory, "LARGE", (128, 72))


def measured(
    bench: Bench, capsys: pytest.CaptureFixture[str], sections: str
) -> tuple[str, dict[str, list[dict[str, float]]]]:
    """Return what the benchmark prints, and what it writes."""
    result = bench.folder / "figures.json"
    arguments = ["--sizes", "64x36", "--repeats", "1", "--frames", "1", "--long-shot", "3", "--threads", "1"]
    speed.main([*arguments, "--model", bench.models[0], "--json", str(result), "--only", sections])
    return capsys.readouterr().out, json.loads(result.read_text())
