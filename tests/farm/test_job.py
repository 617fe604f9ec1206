"""The farm job: exact chunks, and commands that say what was asked for and no more."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plates import natural, save, save_shot

from bitexpand import cli, sequence
from bitexpand.errors import MissingInputError, UsageError
from bitexpand.farm.job import SETTINGS, FarmJob, Handling, describe_job, option, option_arguments, plan_job
from bitexpand.jobs import Job

EXPANSION = Job(input="/in/shot_####.png", output="/out/shot_####.exr")
OTHER_VALUES = {
    "model": "smooth", "device": "cpu", "precision": "bf16", "strength": 0.5, "source_kind": "dithered",
    "bound": 1.5, "bits": 7, "config": "bitexpand", "in_space": "ACES cct", "out_space": "ACEScg", "depth": "float",
    "compression": "piz", "tile": 512, "overlap": 32, "post_smooth": 0.7, "existing": "overwrite", "threads": 3,
    "on_missing": "skip",
}  # fmt: skip


def job_over(frames: list[int], chunk: int = 10, **settings: Any) -> FarmJob:  # noqa: ANN401
    expansion = replace(EXPANSION, **settings)
    return describe_job(expansion, tuple(frames), Handling(chunk=chunk), None, None)


def parsed(arguments: tuple[str, ...]) -> Job:
    """Read a task's arguments as its worker does."""
    group = click.Context(
        cli.cli, **cli.cli.context_settings
    )  # without it, seq would keep another help option
    with cli.cli.commands["seq"].make_context("seq", list(arguments), parent=group) as context:
        return Job(**{key: value for key, value in context.params.items() if key in Job.__dataclass_fields__})


@given(st.lists(st.integers(-50, 20000), min_size=1, max_size=300, unique=True), st.integers(1, 60))
def test_chunks_hold_every_frame_once_and_no_other(frames: list[int], chunk: int) -> None:
    job = job_over(frames, chunk)
    chunks = [sequence.parse_frames(text) for text in job.chunks()]
    assert len(chunks) == job.task_count
    assert all(len(numbers) <= chunk for numbers in chunks)
    assert sorted(sum(chunks, [])) == sorted(frames)
    assert sequence.parse_frames(job.frame_range) == sorted(frames)


def test_a_task_is_what_was_asked_for() -> None:
    assert set(OTHER_VALUES) == set(SETTINGS), "a new setting needs a value here"
    for name, value in OTHER_VALUES.items():
        settings: dict[str, Any] = {"in_space": "ACEScct"} if name == "out_space" else {}
        settings[name] = value
        job = job_over([1, 2, 5], **settings)
        command = job.seq_command("1-2,5")
        assert command[:2] == ("bitexpand", "seq")
        assert parsed(command[2:]) == replace(job.expansion, frames="1-2,5")
        assert len(option_arguments(job.expansion)) == len(settings)


def test_options_are_called_as_on_the_command_line() -> None:
    for command in ("seq", "submit"):
        known = {parameter.name: parameter.opts for parameter in cli.cli.commands[command].params}
        for name in SETTINGS:
            assert option(name) in known[name], (command, name)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in ("in_space", "out_space")])
def test_a_template_may_name_the_default(name: str) -> None:
    default = {field.name: field.default for field in fields(Job)}[name]
    word = "auto" if default is None else str(default)
    assert parsed(("in", "-o", "out.exr", f"{option(name)}={word}")) == Job(input="in", output="out.exr")
    empty = parsed(("in", "-o", "out.exr", "--in-space=", "--out-space="))
    assert empty.in_space is empty.out_space is None


def test_what_results_cannot_say_of_themselves_is_said_again() -> None:
    job = job_over([1, 2], source_kind="truncated", bits=7, config="bitexpand", in_space="ACEScct")
    for command in (job.verify_command(), job.qc_command()):
        assert {"--source=truncated", "--bits=7", "--config=bitexpand", "--in-space=ACEScct"} <= set(command)
        assert "--frames=1-2" in command


def test_paths_do_not_depend_on_where_a_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: str
) -> None:
    save_shot(tmp_path / "in", 2)
    monkeypatch.chdir(tmp_path)
    Path("mine.safetensors").write_bytes(Path(tiny).read_bytes())
    expansion = Job(input="in/shot_####.png", output="out/plate_%04d.exr", model="mine.safetensors")
    job = plan_job(expansion, Handling())
    assert job.expansion.input == f"{tmp_path}/in/shot_####.png"
    assert job.expansion.model == f"{tmp_path}/mine.safetensors"
    assert job.name == "plate"
    assert job.review == f"{tmp_path}/out/plate_review"


def test_missing_frames_stop_or_are_left_out(tmp_path: Path) -> None:
    pattern = save_shot(tmp_path, 5)
    (tmp_path / "shot_1003.png").unlink()
    expansion = Job(input=pattern, output=str(tmp_path / "out_####.exr"))
    with pytest.raises(MissingInputError, match="1003"):
        plan_job(expansion, Handling())
    job = plan_job(replace(expansion, on_missing="skip"), Handling(chunk=2))
    assert list(job.chunks()) == ["1001-1002", "1004-1005"]
    assert "--on-missing=skip" in job.seq_command("1001-1002")


def test_bad_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--chunk 0: give 1 frame a task or more"):
        Handling(chunk=0)
    with pytest.raises(UsageError, match="--command is empty"):
        Handling(command=())
    still = save(tmp_path / "sky.png", natural(8, 8))
    with pytest.raises(UsageError, match="has no frame number.*bitexpand seq"):
        plan_job(Job(input=str(still), output=str(tmp_path / "sky.exr")), Handling())
    with pytest.raises(UsageError, match="job name 'a b': give a --name of up to 100 letters"):
        describe_job(EXPANSION, (1,), Handling(), "a b", None)
    with pytest.raises(UsageError, match="s3://bucket/x_####.exr': give --review, a folder that workers see"):
        describe_job(replace(EXPANSION, output="s3://bucket/x_####.exr"), (1,), Handling(), None, None)
