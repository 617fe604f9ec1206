"""``bitexpand submit``: says what will be done, writes it into a new folder, and refuses what could not work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli
from plates import natural, save, save_shot

from bitexpand.farm import registry


@pytest.fixture
def shot(tmp_path: Path) -> list[str]:
    return [save_shot(tmp_path / "in", 5), "-o", str(tmp_path / "out" / "shot_####.exr")]


@pytest.mark.parametrize("farm", registry.NAMES)
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    tmp_path: Path, call_cli: Cli, shot: list[str], farm: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = call_cli("submit", farm, *shot, "--chunk", "2", "--in-space", "ACEScct", "--dry-run")
    done.said("shot: 5 frames in 3 tasks, 1001-1005", "--frames=1003-1004", "--in-space=ACEScct")
    done.said("then bitexpand verify", "then bitexpand qc", f"1 job, 5 frames, 3 tasks for {farm}")
    assert ("farm was at hand" in done.err) != registry.farm(farm).tried
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("farm", registry.NAMES)
def test_a_bundle_is_written_and_how_to_submit_it_is_said(
    tmp_path: Path, call_cli: Cli, shot: list[str], farm: str
) -> None:
    bundle = tmp_path / "jobs" / "one"
    call_cli("submit", farm, *shot, "--bundle", bundle).said(f"written to {bundle}", "submit it with: ")
    assert list(bundle.iterdir())
    assert not (tmp_path / "out").exists()


def test_many_shots_are_a_job_each(tmp_path: Path, call_cli: Cli) -> None:
    rows = ["input,output"]
    for name in ("a", "b", "c"):
        rows.append(f"{save_shot(tmp_path / name, 3)},{tmp_path}/out/{name}/shot_####.exr")
    table = tmp_path / "shots.csv"
    table.write_text("\n".join(rows))
    options = ["--shots", table, "--model", "smooth", "--bundle", tmp_path / "jobs"]
    call_cli("submit", "slurm", *options).said(
        "a_shot: 3 frames in 1 tasks, 1001-1003", "3 jobs, 9 frames, 3 tasks for slurm"
    )
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == ["a_shot", "b_shot", "c_shot"]
    with table.open("a") as file:
        file.write(f"\n{tmp_path}/d/shot_####.png,{tmp_path}/out/d/shot_####.exr")
    done = call_cli("submit", "slurm", *options[:-1], tmp_path / "others", expect=3)
    done.said("1 of 4 shots in", "none was submitted", "row 5: the folder", "is not there")
    assert not (tmp_path / "others").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("slrum", "IN", "-o", "OUT", "--dry-run"), 2, "unknown farm 'slrum'; did you mean 'slurm'"),
        (("openjd", "IN", "-o", "OUT"), 2, "give --bundle DIR, where the job is written, or --dry-run"),
        (("openjd", "--dry-run"), 2, "give INPUT and -o OUTPUT, or a table of them with --shots"),
        (("openjd", "IN", "--dry-run"), 2, "give INPUT and -o OUTPUT"),
        (("openjd", "IN", "--shots", "x.csv", "--dry-run"), 2, "leave INPUT, -o and --name out"),
        (("openjd", "--shots", "gone.csv", "--dry-run"), 3, "--shots gone.csv: there is no such file"),
        (("openjd", "gone_####.png", "-o", "OUT", "--dry-run"), 3, "nothing in"),
        (
            ("openjd", "IN", "-o", "OUT", "--dry-run", "--chunk", "0"),
            2,
            "--chunk 0: give 1 frame a task or more",
        ),
        (("openjd", "IN", "-o", "OUT", "--dry-run", "--frames", "1001-1009"), 3, "4 of 9 frames"),
        (("openjd", "IN", "-o", "OUT", "--dry-run", "--frames", "openjd:1-9x2"), 2, "as a range of Open Job"),
        (("openjd", "IN", "-o", "OUT", "--dry-run", "--model", "pyramyd"), 2, "did you mean 'pyramid'"),
        (("openjd", "IN", "-o", "OUT", "--dry-run", "--model", "no.pt"), 3, "no such weights file"),
        (("openjd", "IN", "-o", "OUT", "--dry-run", "--in-space", "ACEScctt"), 2, "did you mean 'ACEScct'"),
        (
            ("openjd", "IN", "-o", "OUT", "--dry-run", "--out-space", "ACEScg"),
            2,
            "--out-space needs --in-space",
        ),
        (
            ("openjd", "IN", "-o", "OUT", "--dry-run", "--command", "a 'b"),
            2,
            "--command a 'b: cannot be read",
        ),
        (("openjd", "IN", "-o", "OUT", "--dry-run", "--command", ""), 2, "--command is empty"),
        (
            ("openjd", "IN", "-o", "OUT", "--dry-run", "--farm-option", "x"),
            2,
            "--farm-option x: give KEY=VALUE",
        ),
        (("openjd", "IN", "-o", "OUT", "--dry-run", "--name", "a/b"), 2, "job name 'a/b': give a --name"),
        (("openjd", "IN", "-o", "out.exr", "--dry-run"), 2, "names one file for 5 frames"),
        (("openjd", "IN", "-o", "IN", "--dry-run"), 2, "would overwrite the source"),
        (("openjd", "IN", "-o", "OUT", "--bundle", "FULL"), 2, "is not empty; name a new folder"),
        (("openjd", "IN", "-o", "OUT", "--bundle", "FULL/a.txt/b"), 2, "cannot be made"),
        (("deadline", "IN", "-o", "OUT", "--bundle", "NEW", "--gpu"), 2, "Deadline has no request for a GPU"),
        (("tractor", "IN", "-o", "OUT", "--dry-run", "--gpu"), 2, "Tractor has no request for a GPU"),
    ],
)
def test_what_could_not_work_is_refused_and_nothing_written(
    tmp_path: Path, call_cli: Cli, shot: list[str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "a.txt").write_text("mine")
    stand_for = {"IN": shot[0], "OUT": shot[2], "FULL": str(full), "NEW": str(tmp_path / "new")}
    words = [stand_for.get(word, word.replace("FULL", str(full))) for word in arguments]
    call_cli("submit", *words, expect=code).said(said)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in full.iterdir()] == ["a.txt"]
    assert not (tmp_path / "new").exists()


def test_a_still_without_a_number_is_no_job(tmp_path: Path, call_cli: Cli) -> None:
    still = save(tmp_path / "sky.png", natural(8, 8))
    call_cli("submit", "openjd", still, "-o", tmp_path / "sky.exr", "--dry-run", expect=2).said(
        "has no frame number"
    )


def test_a_dry_run_loads_no_torch(tmp_path: Path, shot: list[str]) -> None:
    script = f"""
import sys
from bitexpand.cli import main
try:
    main({["submit", "openjd", *shot, "--dry-run", "--in-space", "ACEScct", "--out-space", "ACEScg"]!r})
except SystemExit as left:
    assert left.code == 0, left.code
assert "torch" not in sys.modules, "half a gigabyte"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("style", "line"),
    [("deadline", "Progress: 50%"), ("tractor", "TR_PROGRESS 50%"), ("openjd", "openjd_status: 1 of 2")],
)
def test_progress_is_told_as_the_farm_reads_it(tmp_path: Path, call_cli: Cli, style: str, line: str) -> None:
    pattern = save_shot(tmp_path, 2)
    report = tmp_path / "reports" / "r_####.json"
    options = ["-o", tmp_path / "o_####.exr", "--model", "smooth", "--threads", "1", "--report", report]
    done = call_cli("seq", pattern, *options, "--progress", style)
    assert line in done.out.splitlines() + [done.out.split(" frames")[0].splitlines()[-1]]
    assert [path.name for path in report.parent.iterdir()] == ["r_1001.json"]
