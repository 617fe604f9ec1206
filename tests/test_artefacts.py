"""Plates without artefacts stay quiet, and each artefact is called by its own name alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexpand.artefacts import DETECTORS, Finding, Region, Verdict, find_artefacts, worst
from bitexpand.engine import Expander
from bitexpand.plate import read_plate
from tests.artefact_plates import (
    RENDERS,
    ROOT,
    Plate,
    checkers,
    fringed,
    gradient,
    grain,
    grid,
    render,
    rounded,
    shapes,
    texture,
    tiles,
    whole_render,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def quiet(findings: tuple[Finding, ...]) -> bool:
    return all(finding.severity == 0 for finding in findings)


def named(findings: tuple[Finding, ...], *verdicts: str) -> set[str]:
    return {finding.name for finding in findings if finding.verdict in verdicts}


@pytest.mark.parametrize("number", range(len(RENDERS)))
def test_renders_are_quiet(number: int) -> None:
    findings = find_artefacts(whole_render(number))
    assert quiet(findings), findings


@pytest.mark.parametrize(
    "plate_cv",
    [
        gradient(),
        grain(gradient()),
        grain(gradient(), 0.1),
        texture(),
        shapes(),
        grain(render(0)),
        grain(render(4), 0.3),
        (render(5) / 255).astype(np.float16).astype(np.float32) * 255,
        render(6).mean(2, keepdims=True),
        grain(np.full((300, 400, 3), 128, np.float32)),
    ],
    ids=[
        "sky",
        "grainy sky",
        "fine grain",
        "texture",
        "discs",
        "grainy render",
        "finer",
        "half",
        "grey",
        "noise",
    ],
)
def test_other_clean_plates_are_quiet(plate_cv: Plate) -> None:
    findings = find_artefacts(plate_cv)
    assert quiet(findings), findings


def test_what_the_default_model_makes_of_the_example_is_quiet() -> None:
    codes = read_plate(ROOT / "examples" / "plate" / "dusk_1001.png").codes
    before = find_artefacts(codes.astype(np.float32))
    assert named(before, "present") == {"residual banding"}
    expanded_cv = Expander("pyramid", device="cpu").expand(codes, bits=8)
    after = find_artefacts(expanded_cv)
    assert quiet(after), after


def test_each_artefact_is_called_by_its_own_name() -> None:
    y, _ = grid()
    base = render(4)
    put = {
        "checkerboard, period 2": base + 0.3 * checkers(2, "cells")[..., None],
        "scan lines": base + 0.3 * np.cos(np.pi * y / 3)[..., None],
        "tile seams": base + 0.3 * tiles(128, 40, 40)[..., None],
        "colour fringes": fringed(base, 0.4),
        "residual banding": base + 0.7 * (rounded(base) - base),
    }
    for name, plate_cv in put.items():
        findings = find_artefacts(plate_cv.astype(np.float32))
        assert named(findings, "present", "possible") == {name}, findings
        found = worst(findings)
        assert found is not None
        assert found.name == name


def test_the_worst_is_what_is_sure_and_then_what_exceeds_its_limit_most() -> None:
    def finding(name: str, strength: float, verdict: Verdict) -> Finding:
        return Finding(name, strength, "LSB", Region(0, 0, 64, 64), verdict, 0.1)

    absent, possible = finding("a", 9, "absent"), finding("b", 5, "possible")
    weak, strong = finding("c", 0.2, "present"), finding("d", 0.4, "present")
    assert worst((absent, possible, weak, strong)) is strong
    assert worst((absent, possible)) is possible
    assert worst((absent, finding("e", 0, "cannot_tell"))) is None


@pytest.mark.parametrize("detect", DETECTORS)
def test_what_is_too_small_flat_or_grey_is_not_judged(detect: Callable[[Plate, str], Finding]) -> None:
    small = detect(np.zeros((63, 200, 3), np.float32), "LSB")
    assert (small.verdict, small.detail) == ("cannot_tell", "the plate is too small")
    flat = detect(np.full((200, 300, 3), 7, np.float32), "1/255")
    assert flat.severity == 0
    assert flat.unit == "1/255"
    grey = detect(grain(gradient())[..., :1], "LSB")
    assert grey.severity == 0
    assert np.isfinite(grey.strength)


@settings(deadline=None, max_examples=8)
@given(
    st.integers(64, 150),
    st.integers(64, 150),
    st.sampled_from([1, 3]),
    st.sampled_from([1e-6, 1.0, 1e4]),
    st.integers(0, 9),
)
def test_any_plate_gets_an_answer(height: int, width: int, channels: int, size: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    plate_cv = (
        random.normal(0, size, (height, width, channels)) * random.integers(0, 2, (height, 1, 1))
    ).astype("f4")
    kept = plate_cv.copy()
    for found in find_artefacts(plate_cv):
        assert np.isfinite(found.strength)
        assert found.strength >= 0
        assert 0 <= found.where.x < width
        assert 0 <= found.where.y < height
    np.testing.assert_array_equal(plate_cv, kept)
