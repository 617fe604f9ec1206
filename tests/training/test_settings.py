"""Settings: what a person writes comes back typed, and every mistake is named with its file and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from bitexpand.errors import MissingInputError, UsageError
from training.settings import STRICT, build, plain, read_yaml, resolve

FILE = Path("some.yaml")


@dataclass(frozen=True)
class Inner:
    __pydantic_config__ = STRICT

    sigma: tuple[float, float] = (0.0, 1.0)
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.sigma[0] > self.sigma[1]:
            raise ValueError("sigma must rise")


@dataclass(frozen=True)
class Outer:
    __pydantic_config__ = STRICT

    name: str
    inner: Inner = field(default_factory=Inner)
    several: tuple[Inner, ...] = ()


def test_settings_survive_being_written_and_read(tmp_path: Path) -> None:
    settings = Outer("a", Inner((0.5, 2.0), {"l1": 1.5}), (Inner(), Inner((0, 3))))
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(plain(settings)))
    assert build(Outer, read_yaml(file), file) == settings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "a", "iner": {}}, "some.yaml: unknown key 'iner'; did you mean 'inner'"),
        (
            {"name": "a", "inner": {"sigm": [0, 1]}},
            "unknown key 'sigm'; did you mean 'sigma'? (under 'inner')",
        ),
        ({}, "some.yaml: key 'name' is missing"),
        ({"name": 3}, "some.yaml: key 'name': input should be a valid string, not 3"),
        ({"name": "a", "inner": {"sigma": [2, 1]}}, "some.yaml: key 'inner': sigma must rise"),
        (
            {"name": "a", "inner": {"sigma": [0, float("nan")]}},
            "key 'inner.sigma.1': input should be a finite number",
        ),
        ({"name": "a", "several": [{}, {"weights": {"l1": "x"}}]}, "key 'several.1.weights.l1'"),
        ([], "some.yaml"),
    ],
)
def test_mistakes_are_named(content: object, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        build(Outer, content, FILE)
    assert message in str(raised.value)


def test_a_part_of_a_file_says_where_it_stands() -> None:
    with pytest.raises(UsageError, match=r"some.yaml: key 'phases.2.sigma.0'"):
        build(Inner, {"sigma": ["x", 1]}, FILE, key="phases.2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not YAML"),
        ("- a\n- b", "must hold keys and values"),
        ("", "must hold keys and values"),
        (b"\xff\xfe\x00", "not YAML|cannot be read"),
        ("a: !!python/object:os.system {}", "not YAML"),
    ],
)
def test_files_that_hold_no_settings(tmp_path: Path, text: str | bytes, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message) as raised:
        read_yaml(file)
    assert "bad.yaml" in str(raised.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"nothing.yaml: no such file"):
        read_yaml(tmp_path / "nothing.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_yaml(tmp_path)


def test_a_list_is_read_where_one_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "list.yaml"
    file.write_text("- 1\n- 2")
    assert read_yaml(file, list) == [1, 2]
    file.write_text("a: 1")
    with pytest.raises(UsageError, match="must hold a list"):
        read_yaml(file, list)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "settings.yaml"
    assert Path(resolve("../plates", file)).resolve() == tmp_path.resolve() / "plates"
    assert resolve("/plates", file) == "/plates"
    assert resolve("s3://bucket/plates", file) == "s3://bucket/plates"
    assert resolve("~/plates", file) == str(Path.home() / "plates")
