"""OpenJD bundles, held against the specification's own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from farm_shots import small_job
from hypothesis import given
from hypothesis import strategies as st

from bitexpand import sequence
from bitexpand.errors import FarmError, UsageError
from bitexpand.farm import openjd
from bitexpand.farm.job import SETTINGS, FarmJob

model = pytest.importorskip("openjd.model", reason="openjd-cli is not installed")
FRAMES = st.lists(st.integers(-300, 3000), min_size=1, max_size=200, unique=True)


def bundle(job: FarmJob, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a bundle; return its template, checked by the library, and its values."""
    folder.mkdir(exist_ok=True)
    openjd.write(job, folder)
    template = yaml.safe_load((folder / openjd.TEMPLATE).read_text())
    decoded = model.decode_job_template(template=template, supported_extensions=["TASK_CHUNKING"])
    values = yaml.safe_load((folder / openjd.PARAMETERS).read_text())
    parameters = model.preprocess_job_parameters(
        job_template=decoded,
        job_parameter_values=values,
        job_template_dir=folder,
        current_working_dir=Path("/"),
    )
    model.create_job(job_template=decoded, job_parameter_values=parameters)
    return template, values


@given(FRAMES)
def test_frames_mean_the_same_to_openjd(frames: list[int]) -> None:
    text = openjd.to_openjd(frames)
    assert list(model.IntRangeExpr.from_str(text)) == sorted(frames)


@given(FRAMES)
def test_what_openjd_gives_a_task_means_the_same_to_seq(frames: list[int]) -> None:
    text = str(model.IntRangeExpr.from_list(frames))
    assert sequence.parse_frames(openjd.from_openjd(text)) == sorted(frames)


def test_a_step_is_no_stagger() -> None:
    assert sequence.parse_frames(openjd.from_openjd("1-9:2, 20")) == [1, 3, 5, 7, 9, 20]
    assert sequence.parse_frames(openjd.from_openjd("9-1:-4")) == [9, 5, 1]
    assert sequence.parse_frames("1-9:2")[:6] != [1, 3, 5, 7, 9, 20]


@pytest.mark.parametrize("text", ["", "1-", "1-9x2", "1..9", "a", "1 2", "1,,2", "1-9:", "1-9:2:3"])
def test_other_grammars_are_refused(text: str) -> None:
    with pytest.raises(
        UsageError, match="as a range of Open Job Description; accepted are 1-10, 1-9:2 and 1,5,7"
    ):
        openjd.from_openjd(text)


def test_every_setting_is_a_parameter(tmp_path: Path) -> None:
    job = small_job(tmp_path, 3, 2)
    template, values = bundle(job, tmp_path / "bundle")
    names = {parameter["name"] for parameter in template["parameterDefinitions"]}
    ours = {
        "InputFolder",
        "InputPattern",
        "OutputFolder",
        "OutputPattern",
        "ReviewFolder",
        "Frames",
        "ChunkSize",
    }
    assert names == set(values) == ours | {"Bitexpand"} | {name.title().replace("_", "") for name in SETTINGS}
    arguments = template["steps"][0]["script"]["actions"]["onRun"]["args"]
    for name in names - {"ChunkSize", "Bitexpand", "Frames"}:
        assert any(f"{{{{Param.{name}}}}}" in argument for argument in arguments), name
    farm_values = yaml.safe_load((tmp_path / "bundle" / openjd.VALUES).read_text())["parameterValues"]
    assert {value["name"]: value["value"] for value in farm_values} == values


def test_steps_follow_one_another_and_are_told_before_they_are_ended(tmp_path: Path) -> None:
    template, _ = bundle(small_job(tmp_path, 3, 2), tmp_path / "bundle")
    after = {
        step["name"]: [d["dependsOn"] for d in step.get("dependencies", [])] for step in template["steps"]
    }
    assert after == {"Expand": [], "Verify": ["Expand"], "QC": ["Verify"]}
    for step in template["steps"]:
        assert step["script"]["actions"]["onRun"]["cancelation"]["mode"] == "NOTIFY_THEN_TERMINATE"
    alone, _ = bundle(small_job(tmp_path, 3, 2, verify=False, qc=False), tmp_path / "alone")
    assert [step["name"] for step in alone["steps"]] == ["Expand"]


def test_a_gpu_is_asked_for(tmp_path: Path) -> None:
    template, _ = bundle(small_job(tmp_path, 3, 2, gpu=True), tmp_path / "bundle")
    needs = {"name": "amount.worker.gpu", "min": 1}, {"name": "amount.worker.vcpu", "min": 1}
    assert template["steps"][0]["hostRequirements"]["amounts"] == list(needs)
    assert "hostRequirements" not in template["steps"][1]


def test_weights_are_a_file_that_a_farm_can_map(tmp_path: Path, tiny: str) -> None:
    template, values = bundle(small_job(tmp_path, 2, 2, model=tiny), tmp_path / "bundle")
    definition = {p["name"]: p for p in template["parameterDefinitions"]}["Model"]
    assert (definition["type"], definition["objectType"], definition["dataFlow"]) == ("PATH", "FILE", "IN")
    assert values["Model"] == tiny


def test_farm_options_reach_the_farm(tmp_path: Path) -> None:
    job = small_job(tmp_path, 2, 2, farm_options=(("deadline:priority", "80"),))
    bundle(job, tmp_path / "bundle")
    values = yaml.safe_load((tmp_path / "bundle" / openjd.VALUES).read_text())["parameterValues"]
    assert {"name": "deadline:priority", "value": "80"} in values


def test_frames_that_no_parameter_holds_are_refused(tmp_path: Path) -> None:
    job = small_job(tmp_path, 2, 2)
    scattered = FarmJob(**{**vars(job), "frames": tuple(n * n for n in range(1, 400))})
    with pytest.raises(
        UsageError, match=r"Frames of job 'shot' has \d+ characters.*submit parts with --frames"
    ):
        openjd.write(scattered, tmp_path)
    assert not (tmp_path / openjd.TEMPLATE).exists()


def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    job = small_job(tmp_path, 2, 2)
    with pytest.raises(FarmError, match="'openjd' is not installed on this machine; pip install openjd-cli"):
        openjd.run(job, tmp_path)
    with pytest.raises(FarmError, match="'deadline' is not installed on this machine; pip install deadline"):
        openjd.submit_to_cloud(job, tmp_path)
