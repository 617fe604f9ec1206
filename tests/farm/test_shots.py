"""Tables of shots: every row is a job, and every fault is told with its row before anything is submitted."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from plates import save_shot

from bitexpand import listing, sequence
from bitexpand.errors import ShotsError, UsageError
from bitexpand.farm import shots
from bitexpand.farm.job import FarmJob, Handling

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).map(
    str.strip
)
ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(shots.COLUMNS), TEXT.filter(lambda text: text not in ("", "~", "null")), min_size=1
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(autouse=True)
def fresh_listings() -> None:
    """Folders of other tests are none of ours."""
    shots._sorted_names.cache_clear()


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [name.replace("_", "-") for name in shots.COLUMNS])
            writer.writeheader()
            writer.writerows({key.replace("_", "-"): value for key, value in row.items()} for row in rows)
    else:
        path.write_text(yaml.safe_dump({"shots": rows} if len(rows) % 2 else rows, allow_unicode=True))
    return path


def plan(table: Path, review: str | None = None, **defaults: int | str) -> list[FarmJob]:
    return shots.plan_shots(table, defaults, Handling(), review)


def two_shots(folder: Path) -> list[dict[str, str]]:
    """Return rows over two shots, of 3 frames and 5."""
    rows = []
    for name, frames in (("sh010", 3), ("sh020", 5)):
        pattern = save_shot(folder / name, frames)
        rows.append({"input": pattern, "output": str(folder / "out" / name / "plate_####.exr")})
    return rows


@settings(deadline=None)
@given(rows=ROWS, suffix=st.sampled_from([".csv", ".yaml"]))
def test_both_kinds_of_table_hold_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], suffix: str
) -> None:
    table = write_table(tmp_path_factory.mktemp("t") / f"shots{suffix}", rows)
    assert [row.values for row in shots.read_rows(table)] == rows


@pytest.mark.parametrize("suffix", [".csv", ".yaml"])
def test_a_row_says_what_is_its_own_and_options_fill_the_rest(tmp_path: Path, suffix: str) -> None:
    rows = two_shots(tmp_path)
    rows[0] |= {"frames": "1001-1003x2", "in_space": "ACEScct", "out_space": "ACEScg", "model": "smooth"}
    rows[1] |= {"name": "second"}
    first, second = plan(write_table(tmp_path / f"shots{suffix}", rows), threads=2, bits=7)
    assert list(first.frames) == [1001, 1003]
    spaces = (first.expansion.in_space, first.expansion.out_space)
    assert (*spaces, first.expansion.model) == ("ACEScct", "ACEScg", "smooth")
    assert list(second.frames) == [1001, 1002, 1003, 1004, 1005]
    assert (second.expansion.in_space, second.expansion.model) == (None, "pyramid")
    assert {job.expansion.threads for job in (first, second)} == {2}
    assert (first.name, second.name) == ("plate", "second")


def test_jobs_whose_results_are_alike_are_named_by_their_folder(tmp_path: Path) -> None:
    table = write_table(tmp_path / "shots.csv", two_shots(tmp_path))
    assert [job.name for job in plan(table)] == ["sh010_plate", "sh020_plate"]
    assert [job.review for job in plan(table)] == [
        f"{tmp_path}/out/{name}/{name}_plate_review" for name in ("sh010", "sh020")
    ]
    assert plan(table, review="/review")[0].review == "/review/sh010_plate"


def test_all_faults_are_told_at_once_with_their_rows(tmp_path: Path) -> None:
    good, other = two_shots(tmp_path)
    rows = [
        good,
        {"output": "x_####.exr"},
        other | {"input": str(tmp_path / "gone" / "x_####.png")},
        other | {"frames": "1-x"},
        other | {"model": "pyramyd"},
        other | {"in_space": "ACEScctt"},
        other | {"out_space": "ACEScg"},
        other | {"frames": "1001-1010"},
        other | {"output": str(tmp_path / "out")},
        other | {"model": "gone.safetensors"},
    ]
    with pytest.raises(ShotsError) as raised:
        plan(write_table(tmp_path / "shots.csv", rows))
    said = str(raised.value)
    for part in (
        "9 of 10 shots in",
        "row 3: gives no input",
        "row 4: the folder",
        "row 5: cannot read frame range '1-x'",
        "row 6: unknown model 'pyramyd'; did you mean 'pyramid'",
        "row 7: unknown colour space 'ACEScctt'",
        "row 8: --out-space needs --in-space",
        "row 9: 5 of 10 frames",
        "row 10: output",
        "row 11: --model gone.safetensors: there is no such weights file",
    ):
        assert part in said, said
    assert raised.value.exit_code == 2


def test_a_long_list_of_faults_is_cut(tmp_path: Path) -> None:
    rows = [{"input": str(tmp_path / f"no{n}_####.png"), "output": f"o{n}_####.exr"} for n in range(50)]
    with pytest.raises(ShotsError, match="and 30 more") as raised:
        plan(write_table(tmp_path / "shots.csv", rows))
    assert raised.value.exit_code == 3, "sources that are not there"


def test_shots_that_write_the_same_frames_are_refused(tmp_path: Path) -> None:
    first, second = two_shots(tmp_path)
    again = second | {"output": first["output"].replace("####", "%04d"), "frames": "1003-1005"}
    with pytest.raises(ShotsError, match=r"row 3: writes 1 frames of .* that row 2 writes too"):
        plan(write_table(tmp_path / "shots.csv", [first, again]))
    apart = again | {"frames": "1004-1005"}
    table = write_table(tmp_path / "shots.csv", [first | {"name": "a"}, apart | {"name": "b"}])
    assert [len(job.frames) for job in plan(table)] == [3, 2], "parts of one shot may be jobs of their own"


def test_shots_that_overwrite_a_source_are_refused(tmp_path: Path) -> None:
    first, second = two_shots(tmp_path)
    over = second | {"output": first["input"]}
    with pytest.raises(ShotsError, match="row 3: output .* would overwrite the source of row 2"):
        plan(write_table(tmp_path / "shots.csv", [first, over]))


def test_equal_names_are_refused(tmp_path: Path) -> None:
    rows = [row | {"name": "same"} for row in two_shots(tmp_path)]
    with pytest.raises(ShotsError, match="row 3: is named 'same', as row 2; give them a 'name' each"):
        plan(write_table(tmp_path / "shots.csv", rows))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "holds no shots; columns are name, input, output, frames, in-space"),
        ("a.csv", "input,output\n", "holds no shots"),
        ("a.csv", "inptu,output\na,b\n", "header: unknown column 'inptu'; did you mean 'input'"),
        ("a.csv", "input,input\na,b\n", "header: names a column twice"),
        ("a.csv", "input,frames,range\na,1,2\n", "header: names a column twice"),
        ("a.csv", "input,output\na,b,c\n", "row 2: has more values than the header has columns"),
        ("a.csv", 'input,output\n"a,b\n', "cannot be read"),
        ("a.csv", b"input,output\n\xff,b\n", "cannot be read"),
        ("a.yaml", "", "top: is no list of shots"),
        ("a.yaml", "input: a\noutput: b\n", "top: is no list of shots; begin each shot with '- input: ...'"),
        ("a.yaml", "- a\n", "row 1: is no mapping"),
        ("a.yaml", "- {input: a}\n- {outptu: b}\n", "row 2: unknown column 'outptu'; did you mean 'output'"),
        ("a.yaml", "- {input: [a, b]}\n", "row 1: input is no text; give one value"),
        ("a.yaml", "- {frames: 1, range: 2}\n", "row 1: gives frames twice"),
        ("a.yaml", "- {input: [\n", "cannot be read"),
        ("a.yaml", "[]\n", "holds no shots"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, name: str, text: str | bytes, said: str) -> None:
    table = tmp_path / name
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as raised:
        shots.read_rows(table)
    assert said in str(raised.value)
    assert str(table) in str(raised.value)


def test_yaml_numbers_are_text(tmp_path: Path) -> None:
    table = tmp_path / "shots.yaml"
    table.write_text("- {name: 010, frames: 0010, in-space: null, model: }\n")
    assert shots.read_rows(table)[0].values == {"name": "010", "frames": "0010"}


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []

    def counted(folder: Path) -> list[str]:
        listed.append(folder)
        return listing.file_names(folder)

    monkeypatch.setattr(shots, "file_names", counted)
    monkeypatch.setattr(sequence, "file_names", counted)
    folder = tmp_path / "in"
    folder.mkdir()
    rows = []
    for name in ("s0", "s1", "s10"):
        for number in range(1001, 1011):
            (folder / f"{name}_{number}.png").touch()
        rows.append({"input": f"{folder}/{name}_####.png", "output": f"{tmp_path}/out/{name}_####.exr"})
    jobs = plan(write_table(tmp_path / "shots.csv", rows))
    assert sum(len(job.frames) for job in jobs) == 30
    assert listed == [tmp_path / "in"]


@pytest.mark.parametrize("pattern", ["shot_*.png", "sh?t_####.png", "shot_[0-9]*.png", "*.png", "%04d.png"])
def test_names_near_a_pattern_hold_all_that_it_matches(tmp_path: Path, pattern: str) -> None:
    save_shot(tmp_path, 12)
    (tmp_path / "other.txt").touch()
    names = shots._names_near(str(tmp_path / pattern))
    assert names is not None
    assert {name for name in listing.file_names(tmp_path) if name.startswith("shot")} <= set(names)


def test_every_output_is_looked_at_where_none_may_exist(tmp_path: Path) -> None:
    row = two_shots(tmp_path)[0]
    target = Path(row["output"].replace("####", "1002"))
    target.parent.mkdir(parents=True)
    target.touch()
    with pytest.raises(ShotsError, match="row 2: .*exist"):
        plan(write_table(tmp_path / "shots.csv", [row]), existing="error")
