"""Splits: by scene, the same for ever, pinned where somebody says so, and none of them empty."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from originals import light, save
from small_recipes import pictures, plate, recipe

from bitexpand.errors import MissingInputError, UsageError
from training.manifest import Manifest, Split
from training.plan import Chunk, assign, parse_chunk
from training.prepare import Prepared, prepare
from training.recipe import Shares
from training.sources.base import Original
from training.sources.folder import Folder


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no statistics, which takes longer than the rest of a small run; their own tests do."""
    monkeypatch.setattr("training.statistics_picture.draw", lambda title, rows: b"")


def splits(prepared: Prepared) -> dict[str, Split]:
    return {row.name.removeprefix("folder/"): row.split for row in prepared.manifest.plates}


def test_pins_win_over_the_hash_and_speak_for_their_scene(tmp_path: Path) -> None:
    for name in ("sea_01", "sea_02", "dune_01", "dune_02", "road_01"):
        save(tmp_path / "in" / f"{name}.exr", light(seed=sum(map(ord, name))))
    source = Folder(
        kind="folder",
        path=str(tmp_path / "in"),
        scene=r"^(\w+)_\d+$",
        pinned={"val": ("sea_02",), "test": ("dune_0?",)},
        skip=("road*",),
    )
    prepared = prepare(recipe(tmp_path, source, split=Shares(0, 50, 50)))
    assert splits(prepared) == {"sea_01": "val", "sea_02": "val", "dune_01": "test", "dune_02": "test"}
    assert {row.scene for row in prepared.manifest.plates} == {"sea", "dune"}


@dataclass(frozen=True, kw_only=True)
class Pinning(Folder):
    """A folder that pins, and knows more of, its own pictures."""

    def list(self) -> Sequence[Original]:
        return [replace(o, split="val", space="ACEScg", licence="CC0-1.0") for o in super().list()]


def test_a_source_may_pin_and_the_recipe_has_the_last_word(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    source = Pinning(
        kind="folder", path=str(tmp_path / "in"), pinned={"train": ("*1.exr",)}, licence="unknown"
    )
    prepared = prepare(recipe(tmp_path, source))
    assert splits(prepared) == {"plate_0000": "val", "plate_0001": "train"}
    assert {row.licence for row in prepared.manifest.plates} == {"CC0-1.0"}
    plain = Folder(kind="folder", path=str(tmp_path / "in"), space="ACEScg")
    expected = plate(prepare(recipe(tmp_path, plain, output=str(tmp_path / "plain"))), "folder/plate_0000")
    np.testing.assert_array_equal(plate(prepared, "folder/plate_0000"), expected)


def test_a_scene_pinned_to_two_splits_names_both_pictures(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    source = Folder(
        kind="folder",
        path=str(tmp_path / "in"),
        scene="^(plate)_",
        pinned={"train": ("*_0000",), "val": ("*_0001",)},
    )
    expected = (
        "scene 'plate' is pinned to two splits: 'folder/plate_0000' to 'train', 'folder/plate_0001' to 'val'"
    )
    with pytest.raises(UsageError, match=expected):
        prepare(recipe(tmp_path, source))
    both = replace(source, pinned={"train": ("*",), "val": ("*_0001",)})
    with pytest.raises(UsageError, match="'folder/plate_0001' is pinned to two splits, 'train' and 'val'"):
        prepare(recipe(tmp_path, both))
    assert not (tmp_path / "out").exists()


def test_a_split_that_would_be_empty_is_told_of_before_any_work(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 1)
    with pytest.raises(UsageError) as error:
        prepare(recipe(tmp_path, split=Shares(0, 99.9, 0.1)))
    for fragment in ("split 'test' is empty: it has 0.1 percent and none of 1 scenes; add scenes, pin some",
                     "pinned: {test: [PATTERN]}", "set its share to 0"):  # fmt: skip
        assert fragment in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_split_that_bad_pictures_left_empty(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    save(tmp_path / "in" / "fake.exr", np.zeros((50, 50, 3), np.float32))
    source = Folder(kind="folder", path=str(tmp_path / "in"), pinned={"val": ("fake",), "train": ("plate*",)})
    with pytest.raises(UsageError) as error:
        prepare(recipe(tmp_path, source, split=Shares(90, 10, 0)))
    for fragment in (
        "split 'val' is empty",
        "it has 10 percent and none of 2 plates (1 pictures were left out",
        "folder/fake:",
    ):
        assert fragment in str(error.value)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert len(json.loads((tmp_path / "out" / "failures.json").read_text())) == 1
    save(tmp_path / "in" / "fake.exr", light(seed=9))
    assert prepare(recipe(tmp_path, source, split=Shares(90, 10, 0))).kept == 2


def test_the_manifest_of_before_does_not_outlive_a_split_that_became_empty(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    source = Folder(kind="folder", path=str(tmp_path / "in"), pinned={"val": ("*0",), "train": ("*1",)})
    prepare(recipe(tmp_path, source, split=Shares(90, 10, 0)))
    save(tmp_path / "in" / "plate_0000.exr", np.zeros((50, 50, 3), np.float32))
    with pytest.raises(UsageError, match="split 'val' is empty"):
        prepare(recipe(tmp_path, source, split=Shares(90, 10, 0)))
    with pytest.raises(MissingInputError):
        Manifest.load(tmp_path / "out")


SCENES = st.lists(st.text(max_size=8), min_size=1, max_size=40, unique=True)


@given(SCENES, SCENES, st.integers(0, 5))
def test_scenes_that_come_later_move_none(before: list[str], more: list[str], seed: int) -> None:
    first = assign([(s, s, None) for s in before], Shares(), seed)
    later = assign([(s, s, None) for s in [*more, *before]], Shares(), seed)
    assert all(later[scene] == split for scene, split in first.items())


def test_splits_have_their_shares_and_depend_on_the_seed() -> None:
    scenes = [(f"plate {i}", f"scene {i}", None) for i in range(4000)]
    drawn = assign(scenes, Shares(70, 20, 10), 0)
    shares = {split: list(drawn.values()).count(split) / 4000 for split in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.7, "val": 0.2, "test": 0.1}, abs=0.03)
    assert assign(scenes, Shares(70, 20, 10), 1) != drawn
    assert set(assign(scenes, Shares(0, 100, 0), 0).values()) == {"val"}


@given(total=st.integers(0, 40), count=st.integers(1, 12))
def test_each_picture_is_in_one_chunk(total: int, count: int) -> None:
    numbers: Any = range(total)
    chunks: list[Any] = [parse_chunk(f"{number}/{count}").of(numbers) for number in range(1, count + 1)]
    assert sorted(number for chunk in chunks for number in chunk) == list(numbers)
    assert max(map(len, chunks)) - min(map(len, chunks)) <= 1


@pytest.mark.parametrize("text", ["", "3", "0/8", "9/8", "1/0", "-1/8", "1/8/9", "a/b"])
def test_what_is_no_chunk(text: str) -> None:
    with pytest.raises(UsageError, match=f"chunk '{text}': give K/N with K from 1 to N, such as 3/8"):
        parse_chunk(text)
    with pytest.raises(UsageError):
        Chunk(3, 2)
