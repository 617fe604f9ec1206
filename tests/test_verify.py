"""Verification: passes what kept the promise in every form that is written, and finds any single fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli
from plates import natural, save, save_shot

from bitexpand import frames
from bitexpand.errors import MissingInputError, UnknownNameError, UsageError
from bitexpand.jobs import Job
from bitexpand.pipeline import expand_sequence
from bitexpand.verify import Check, VerifyJob, describe_check, summarize, verify_sequence


@pytest.fixture
def job(tmp_path: Path, tiny: str) -> Job:
    """Three frames to expand, 1001 to 1003."""
    return Job(
        input=save_shot(tmp_path / "in", 3),
        output=f"{tmp_path}/out/shot_####.exr",
        model=tiny,
        device="cpu",
        threads=1,
    )


def expand(job: Job) -> None:
    assert [r.error for r in expand_sequence(job) if r.status == "failed"] == []


def checks(job: Job, **options: Any) -> list[Check]:  # noqa: ANN401  (a VerifyJob's fields)
    return list(verify_sequence(VerifyJob(source=job.input, result=job.output, **options)))


def target(job: Job, number: int) -> Path:
    return Path(job.output.replace("####", str(number)))


def tamper(path: Path, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Change the samples of a written frame; everything that it says of itself stays."""
    frame = frames.read_frame(path)
    pixels = frame.pixels.copy()
    changed = change(pixels)
    frames.write_frame(path, pixels if changed is None else changed, frame.info, frame.info.attributes)


WAYS: list[dict[str, Any]] = [
    {},
    {"depth": "float"},
    {"in_space": "ACEScct", "out_space": "ACEScg"},
    {"in_space": "ACEScct", "out_space": "ACEScg", "depth": "float"},
    {"in_space": "ACEScct", "out_space": "Linear Rec.709 (sRGB)"},
    {"in_space": "ARRI LogC3 (EI800)", "out_space": "ACEScg", "config": "bitexpand"},
    {"in_space": "acescct_ap1", "out_space": "ACEScct"},
    {"bound": 2.0},
    {"bound": 0.25},
    {"source_kind": "truncated"},
    {"source_kind": "truncated", "in_space": "ACEScct", "out_space": "ACEScg", "depth": "float"},
    {"source_kind": "dithered"},
    {"source_kind": "lossy", "bound": 2.0},
]
BOUNDS = {"truncated": 0.5, "dithered": 1.0}  # that source kinds bring


@pytest.mark.parametrize("options", WAYS)
def test_what_was_expanded_passes(job: Job, options: dict[str, Any]) -> None:
    expand(replace(job, **options))
    found = checks(job)
    assert [check.number for check in found] == [1001, 1002, 1003]
    for check in found:
        assert check.passed, describe_check(check)
        assert check.faults is not None
        assert check.faults.samples == 24 * 32 * 3
        assert check.faults.largest_move > 0
        assert check.bound == options.get("bound", BOUNDS.get(options.get("source_kind", ""), 0.5))
    assert summarize(found).startswith("OK: 3 frames; 100 % of 6912 samples match, largest move ")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("out_space", [None, "ACEScg", "Linear Rec.709 (sRGB)"])
def test_grey_and_alpha_pass(tmp_path: Path, tiny: str, channels: int, out_space: str | None) -> None:
    path = save(tmp_path / "a.png", natural(20, 30, channels), natural(20, 30, 1, seed=5))
    job = Job(input=str(path), output=f"{tmp_path}/a.exr", model=tiny, device="cpu", in_space="ACEScct")
    expand(replace(job, out_space=out_space))
    (check,) = checks(job)
    assert check.passed, describe_check(check)
    tamper(tmp_path / "a.exr", lambda pixels: pixels.__setitem__((3, 4, -1), 0.3))
    (check,) = checks(job)
    assert (check.passed, check.alpha_mismatched) == (False, 1)
    assert describe_check(check).endswith("1 alpha samples differ FAULT")


@pytest.mark.parametrize("extension", ["png", "tif", "dpx"])
def test_integer_results_pass(job: Job, extension: str) -> None:
    job = replace(job, output=job.output.replace("exr", extension))
    expand(job)
    assert all(check.passed for check in checks(job))


def test_a_result_that_cannot_say_how_it_was_made_is_told_so(job: Job) -> None:
    for extension, knows in (("png", True), ("tif", False), ("dpx", False)):
        shot = replace(job, output=job.output.replace("exr", extension), bound=2.0)
        expand(shot)
        found = checks(shot)
        assert all(check.passed is knows for check in found)
        assert ("repeat the --bits, --source, --bound" in summarize(found)) is not knows
        assert all(check.passed for check in checks(shot, bound=2.0))


@pytest.mark.parametrize(
    ("value", "not_finite"), [(0.9, 0), (np.nan, 1), (np.inf, 1), (-np.inf, 1), (-0.5, 0), (60000, 0)]
)
@pytest.mark.parametrize("options", [WAYS[0], WAYS[2], WAYS[4]])
def test_one_foul_sample_is_found(job: Job, options: dict[str, Any], value: float, not_finite: int) -> None:
    expand(replace(job, **options))
    tamper(target(job, 1002), lambda pixels: pixels.__setitem__((11, 13, 1), value))
    found = checks(job)
    assert [check.passed for check in found] == [True, False, True]
    faults = found[1].faults
    assert faults is not None
    assert 1 <= faults.mismatched <= 3  # channels that are mixed suffer together
    assert faults.not_finite == not_finite
    assert np.isfinite(faults.largest_move)
    assert describe_check(found[1]).endswith("FAULT")
    assert summarize(found).startswith("FAULT: 1 of 3 frames; 99.9")


def test_a_sample_one_step_off_is_found(job: Job) -> None:
    expand(job)
    tamper(target(job, 1001), lambda pixels: pixels.__setitem__((5, 5, 0), pixels[5, 5, 0] + 1.01 / 255))
    assert [check.passed for check in checks(job)] == [False, True, True]


def test_white_beyond_white_is_found(job: Job) -> None:
    expand(job)
    assert natural(24, 32)[-1, -1, 0] == 255
    tamper(target(job, 1001), lambda pixels: pixels.__setitem__((-1, -1, 0), 5.0))
    assert [check.passed for check in checks(job)] == [False, True, True]


def test_frames_that_are_not_there_or_not_whole_are_found(job: Job) -> None:
    expand(job)
    target(job, 1001).unlink()
    content = target(job, 1002).read_bytes()
    target(job, 1002).write_bytes(content[: len(content) // 2])
    target(job, 1003).write_bytes(b"")
    found = checks(job)
    assert [check.passed for check in found] == [False] * 3
    assert found[0].error == f"{target(job, 1001)}: missing"
    assert "pixels cannot be read" in (found[1].error or "")
    assert "is empty" in (found[2].error or "")
    assert summarize(found) == "FAULT: 3 of 3 frames; nothing compared, largest move 0.000 LSB"
    assert describe_check(found[0]) == f"frame 1001 FAULT {target(job, 1001)}: missing"


def test_another_size_or_channels_are_found(job: Job) -> None:
    expand(job)
    tamper(target(job, 1001), lambda pixels: np.ascontiguousarray(pixels[:, :-1]))
    save(Path(job.input.replace("####", "1002")), natural(24, 32, 1))
    errors = [check.error or "" for check in checks(job)]
    assert "is 24x31x3 (height x width x channels) instead of 24x32x3" in errors[0]
    assert "is 24x32x3 (height x width x channels) instead of 24x32x1" in errors[1]


def test_another_source_is_found(job: Job) -> None:
    expand(job)
    save(Path(job.input.replace("####", "1003")), natural(24, 32, seed=50))
    assert [check.passed for check in checks(job)] == [True, True, False]


def test_a_source_that_went_bad_is_not_called_a_missing_result(job: Job) -> None:
    expand(job)
    bad = Path(job.input.replace("####", "1002"))
    bad.write_bytes(bad.read_bytes()[:100])
    assert str(bad) in (checks(job)[1].error or "")


def test_the_wrong_space_is_found(job: Job) -> None:
    expand(replace(job, in_space="ACEScct", out_space="ACEScg"))
    assert all(check.passed for check in checks(job))
    assert not any(check.passed for check in checks(job, in_space="ARRI LogC3 (EI800)"))
    assert not any(check.passed for check in checks(job, out_space="ACES2065-1"))


def test_a_name_that_does_not_exist_is_an_error(job: Job) -> None:
    expand(job)
    with pytest.raises(UnknownNameError, match="did you mean 'ACEScct'"):
        checks(job, in_space="ACESct", out_space="ACEScg")
    with pytest.raises(MissingInputError, match=r"no OpenColorIO config at gone\.ocio"):
        checks(job, in_space="ACEScct", out_space="ACEScg", config="gone.ocio")
    with pytest.raises(UsageError, match="--bits 16: give 2 to 12"):
        checks(job, bits=16)
    for bound in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="--bound .*: give a distance in LSB above 0"):
            checks(job, bound=bound)


def test_the_source_kind_is_read_from_the_file_and_can_be_overruled(job: Job) -> None:
    expand(replace(job, source_kind="truncated"))
    assert all(check.passed for check in checks(job))
    assert not any(check.passed for check in checks(job, source_kind="rounded"))
    with pytest.raises(UnknownNameError, match="unknown source kind 'trunkated'; did you mean 'truncated'"):
        VerifyJob(source="a", result="b", source_kind="trunkated")


def test_the_bound_is_read_from_the_file(job: Job) -> None:
    expand(replace(job, bound=2.0))
    assert all(check.passed and check.bound == 2.0 for check in checks(job))
    assert "within 2 LSB 100 %" in describe_check(checks(job)[0])
    assert not any(check.passed for check in checks(job, bound=0.5))
    assert not any(check.passed for check in checks(job, bound=0.1))


def test_frames_are_chosen_and_gaps_in_the_source_are_none_of_the_results(job: Job) -> None:
    expand(job)
    Path(job.input.replace("####", "1002")).unlink()
    assert [check.number for check in checks(job)] == [1001, 1003]
    assert [check.number for check in checks(job, frames="1003")] == [1003]
    with pytest.raises(MissingInputError, match="1002"):
        checks(job, frames="1001-1003")


def test_a_file_that_is_no_result_is_a_fault(job: Job) -> None:
    (check,) = verify_sequence(VerifyJob(source=job.input, result=job.input, frames="1001"))
    assert "holds uint8 samples; an expanded frame has 16 bits or float" in (check.error or "")


@pytest.mark.parametrize(
    "attribute",
    [
        ("bitexpand:bits", "int", 99999),
        ("bitexpand:bits", "string", "eight"),
        ("bitexpand:bits", "float", float("nan")),
        ("bitexpand:bound", "string", "wide"),
        ("bitexpand:bound", "float", float("nan")),
        ("bitexpand:in_space", "int", 3),
    ],
)
def test_what_a_file_says_of_itself_is_not_trusted(job: Job, attribute: tuple[str, str, Any]) -> None:
    expand(job)
    frame = frames.read_frame(target(job, 1001))
    others = [a for a in frame.info.attributes if a.name != attribute[0]]
    frames.write_frame(target(job, 1001), frame.pixels, frame.info, [*others, frames.Attribute(*attribute)])
    check = checks(job)[0]
    assert check.passed or "does not fit its 8-bit samples" in (check.error or "")


def test_the_command_says_so_and_exits_with_it(job: Job, call_cli: Cli) -> None:
    expand(job)
    done = call_cli("verify", job.input, job.output)
    done.said("frame 1001 requantisation match 100 %", "OK: 3 frames; 100 % of 6912 samples match")
    tamper(target(job, 1002), lambda pixels: pixels.__setitem__((2, 2, 2), np.nan))
    done = call_cli("verify", job.input, job.output, expect=1)
    done.said("1 NaN or Inf FAULT", "FAULT: 1 of 3 frames")
    call_cli("verify", job.input, job.output, "--frames", "1001,1003")
    call_cli("verify", job.input, job.output, "--bound", "0", expect=2).said("--bound 0.0: give a distance")
    call_cli("verify", job.input + ".gone", job.output, expect=3)


def test_json_is_for_programs(job: Job, call_cli: Cli) -> None:
    expand(job)
    tamper(target(job, 1002), lambda pixels: pixels.__setitem__((2, 2, 2), np.inf))
    target(job, 1003).unlink()
    first, second, third = json.loads(call_cli("verify", job.input, job.output, "--json", expect=1).out)
    assert first["passed"] is True
    assert (first["frame"], first["mismatched"], first["bound_lsb"], first["error"]) == (1001, 0, 0.5, None)
    assert (second["passed"], second["not_finite"], second["mismatched"]) == (False, 1, 1)
    assert (third["passed"], third["samples"]) == (False, None)
    assert third["error"].endswith("missing")


def test_one_sample_in_a_billion_is_never_rounded_to_all() -> None:
    from bitexpand.encoding import Faults

    check = Check(1, Path("a"), Path("b"), faults=Faults(10**9, 1, 0, 3.0))
    assert "99.9999 %" in describe_check(check)
    assert "99.9999 %" in summarize([check])
