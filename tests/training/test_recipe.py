"""Recipes: paths are relative to the file, and every mistake is named with its file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bitexpand.errors import MissingInputError, UsageError
from training.recipe import load_recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{sources: [{kind: folder, path: in}]}", "key 'output' is missing"),
        (
            "{output: out}",
            "key 'sources' must be a list, each with a 'kind': folder, polyhaven, packages, blender",
        ),
        ("{output: out, sources: []}", "sources is empty"),
        ("{output: out, sources: [{path: in}]}", "key 'sources.0.kind': unknown kind of source 'None'"),
        (
            "{output: out, sources: [{kind: foldr}]}",
            "key 'sources.0.kind': unknown kind of source 'foldr'; did you",
        ),
        ("{output: out, sources: [{kind: folder, pth: in}]}", "unknown key 'pth'; did you mean 'path'"),
        ("{output: out, sources: [{kind: folder}]}", "key 'sources.0.path' is missing"),
        (
            "{output: out, sources: [{kind: folder, path: in}, {kind: folder, path: b}]}",
            "are called 'folder'; give",
        ),
        ("{output: out, sources: [{kind: folder, path: in, name: a/b}]}", "'a/b' cannot be a folder's"),
        (
            "{output: out, sources: [{kind: folder, path: in, scene: '('}]}",
            "scene '(' is no regular expression",
        ),
        (
            "{output: 's3://b/c', sources: [{kind: folder, path: in}]}",
            "output must be a local folder; 'upload'",
        ),
        ("{output: out, encodng: ACEScct, sources: [{kind: folder, path: in}]}", "did you mean 'encoding'"),
        (
            "{output: out, encoding: ACESct, sources: [{kind: folder, path: in}]}",
            "key 'encoding': unknown colour sp",
        ),
        (
            "{output: out, storage: half, sources: [{kind: folder, path: in}]}",
            "key 'storage': input should be",
        ),
        (
            "{output: out, split: {train: 80, val: 10}, sources: [{kind: folder, path: in}], seed: a}",
            "key 'seed'",
        ),
        ("{output: out, split: {train: 90}, sources: [{kind: folder, path: in}]}", "100 together, not 110"),
        (
            "{output: out, split: {train: 120, val: -20, test: 0}, sources: [{kind: folder, path: in}]}",
            "0 or more",
        ),
        (
            "{output: out, sources: [{kind: folder, path: in, space: LinearRec709}]}",
            "key 'sources.0.space': unknown",
        ),
        (
            "{output: out, sources: [{kind: folder, path: in, integer_space: Raw}]}",
            "'sources.0.integer_space': 'Raw'",
        ),
    ],
)
def test_a_wrong_recipe_names_file_and_key(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plates.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        load_recipe(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_paths_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "plates.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "output": "/somewhere/plates",
                "cache": "fetched",
                "sources": [
                    {"kind": "folder", "path": "shots"},
                    {"kind": "folder", "path": "s3://bucket/shots", "name": "remote"},
                    {
                        "kind": "blender",
                        "stills": 1,
                        "hdris": "skies",
                        "blender": "tools/blender",
                        "name": "a",
                    },
                    {"kind": "blender", "stills": 1, "blender": "blender", "name": "b"},
                    {"kind": "polyhaven"},
                    {"kind": "packages"},
                ],
            }
        )
    )
    loaded = load_recipe(path)
    assert (loaded.output, loaded.cache) == ("/somewhere/plates", str(tmp_path / "fetched"))
    found: list[Any] = list(loaded.sources)
    assert [found[0].path, found[1].path] == [str(tmp_path / "shots"), "s3://bucket/shots"]
    assert (found[2].hdris, found[2].blender) == (str(tmp_path / "skies"), str(tmp_path / "tools/blender"))
    assert (found[3].hdris, found[3].blender) == ("", "blender")
    assert (found[4].url, found[5].cache) == ("https://api.polyhaven.com", "")
    path.write_text("{output: out, config: show.ocio, sources: [{kind: folder, path: in}]}")
    with pytest.raises(
        MissingInputError, match=r"key 'config': there is no OpenColorIO config at .*/show\.ocio"
    ):
        load_recipe(path)
    with pytest.raises(MissingInputError, match=r"nowhere\.yaml: no such file"):
        load_recipe(tmp_path / "nowhere.yaml")
