"""What a file says of its making: the same for the same work, another for any other, and read back as written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plates import natural

import bitexpand
from bitexpand import frames, provenance
from bitexpand.frames import Attribute, FrameInfo, Window

FINGERPRINT = "0123456789abcdef" * 4
WINDOW = Window(0, 0, 8, 6)


def info(*attributes: Attribute) -> FrameInfo:
    return FrameInfo(Path("a.exr"), "openexr", ("Y",), "half", 16, WINDOW, WINDOW, attributes)


def test_a_digest_does_not_depend_on_order() -> None:
    assert provenance.digest({"a": 1, "b": None}) == provenance.digest({"b": None, "a": 1})
    assert provenance.digest({"a": 1}) != provenance.digest({"a": 2})
    assert provenance.digest({"a": 1}) != provenance.digest({"b": 1})
    assert provenance.digest({"a": None}) != provenance.digest({"a": "null"})


def test_a_fingerprint_depends_on_settings_source_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    first = provenance.fingerprint("settings", "source")
    assert first == provenance.fingerprint("settings", "source")
    assert (
        len({first, provenance.fingerprint("other", "source"), provenance.fingerprint("settings", "new")})
        == 3
    )
    monkeypatch.setattr(bitexpand, "__version__", "9.9.9")
    assert provenance.fingerprint("settings", "source") != first


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.from_regex("[a-z_]{1,12}", fullmatch=True).filter(lambda name: name != "version"),
        st.none() | st.text(max_size=9) | st.integers(-9, 9) | st.floats(-1e9, 1e9, width=32),
    ),
    st.booleans(),
)
def test_facts_are_read_back(facts: dict[str, Any], typed: bool) -> None:
    said = info(*provenance.attributes(FINGERPRINT, facts, typed=typed))
    assert provenance.read_fingerprint(said) == FINGERPRINT
    assert provenance.says_how(said)
    for name, value in facts.items():
        if value is None:
            assert said.attribute(f"bitexpand:{name}") is None
        elif isinstance(value, str):
            assert provenance.read_text(said, name) == value
        else:
            assert provenance.read_number(said, name) == value
            assert provenance.read_text(said, name) == (None if typed else str(value))


@pytest.mark.parametrize("extension", [".exr", ".png", ".tif", ".dpx"])
def test_every_format_keeps_the_fingerprint(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    depth = "float16" if extension == ".exr" else "uint16"
    attributes = provenance.attributes(
        FINGERPRINT, {"bound": 0.7, "in_space": "ACEScct"}, typed=extension == ".exr"
    )
    frames.write_frame(path, natural(6, 8, 1).astype(depth), info(), attributes)
    stored = frames.read_info(path)
    assert provenance.read_fingerprint(stored) == FINGERPRINT
    assert provenance.says_how(stored) == (extension in (".exr", ".png"))
    if provenance.says_how(stored):
        assert provenance.read_number(stored, "bound") == pytest.approx(0.7)
        assert provenance.read_text(stored, "in_space") == "ACEScct"


@pytest.mark.parametrize(
    "software",
    [
        "Nuke 15.1",
        "bitexpand",
        f"bitexpand 0.1.0 {FINGERPRINT[:-1]}",
        f"bitexpand 0.1.0 {FINGERPRINT} and more",
        f"not bitexpand 0.1.0 {FINGERPRINT}",
        f"bitexpand 0.1.0 {FINGERPRINT.upper()}",
        7,
        None,
    ],
)
def test_other_software_is_not_taken_for_us(software: object) -> None:
    assert provenance.read_fingerprint(info(Attribute("Software", "string", software))) is None
    assert provenance.read_fingerprint(info()) is None


@pytest.mark.parametrize("value", ["wide", None, (1.0, 2.0), "", "nan", float("inf")])
def test_a_fact_of_another_kind_is_no_number(value: object) -> None:
    assert provenance.read_number(info(Attribute("bitexpand:bound", "string", value)), "bound") is None
    assert provenance.read_text(info(Attribute("bitexpand:config", "float", 0.5)), "config") is None
