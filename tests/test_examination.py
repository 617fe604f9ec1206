"""What `inspect` finds wrong with results: artefacts, alpha, NaN; and the picture that it draws of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bitexpand import color, frames
from bitexpand.artefact_pictures import draw_worst
from bitexpand.code_values import peak
from bitexpand.errors import UsageError
from bitexpand.examination import in_steps
from bitexpand.header import Attribute, FrameInfo, Window
from bitexpand.inspection import Inspection, describe, facts, inspect_file
from tests.conftest import Cli
from tests.plates import natural, save

SAYS_8_BITS = Attribute("bitexpand:bits", "int", 8)


def write(path: Path, pixels: npt.NDArray[Any], *attributes: Attribute) -> Path:
    """Write (H, W, 1, 3 or 4) samples as they are."""
    names = {1: ("Y",), 3: ("R", "G", "B"), 4: ("R", "G", "B", "A")}[pixels.shape[2]]
    window = Window(0, 0, pixels.shape[1], pixels.shape[0])
    frames.write_frame(path, pixels, FrameInfo(path, "", names, "", 0, window, window), attributes)
    return path


def sky(height: int = 128, width: int = 224, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return a gradient with fine grain as a signal of ACEScct."""
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([0.4 + y / 3e3 + x / 2e4, 0.35 + y / 4e3 - x / 2e4, 0.3 - y / 8e3 + x / 1e4], axis=-1)
    return (ramps + np.random.default_rng(seed).normal(0, 1e-4, ramps.shape)).astype(np.float32)


def checkers(plate: npt.NDArray[np.float32], steps: float, bits: int = 8) -> npt.NDArray[np.float32]:
    """Add a checkerboard of so many steps."""
    y, x = np.mgrid[: plate.shape[0], : plate.shape[1]]
    return (plate + steps / peak(bits) * np.where((x + y) % 2, 1, -1)[..., None]).astype(np.float32)


def strength(found: Inspection, name: str = "checkerboard, period 2") -> float:
    (finding,) = [each for each in found.artefacts if each.name == name]
    return finding.strength


def test_artefacts_are_told_in_steps_of_the_source_where_it_is_known(tmp_path: Path) -> None:
    plate = checkers(sky(), 0.2)
    found = inspect_file(write(tmp_path / "known.exr", plate, SAYS_8_BITS))
    assert {each.unit for each in found.artefacts} == {"LSB of 8 bits"}
    assert strength(found) == pytest.approx(0.2, rel=0.05)
    ten = inspect_file(write(tmp_path / "ten.exr", plate, SAYS_8_BITS._replace(value=10)))
    assert {each.unit for each in ten.artefacts} == {"LSB of 10 bits"}
    assert strength(ten) == pytest.approx(0.2 * 1023 / 255, rel=0.05)
    unknown = inspect_file(write(tmp_path / "unknown.exr", plate))
    assert {each.unit for each in unknown.artefacts} == {"1/255"}
    assert strength(unknown) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("says", ["all", "tag", "nothing"])
def test_scene_linear_results_are_judged_in_their_source_or_in_acescct(tmp_path: Path, says: str) -> None:
    plate_log = checkers(sky(), 0.2) + np.float32(0.3)  # so bright that it can only be scene-linear
    to_linear = color.conversion(color.load_config(color.PINNED_CONFIG), "ACEScct", "ACEScg")
    facts_of_making = {"in_space": "ACEScct", "out_space": "ACEScg", "config": color.PINNED_CONFIG}
    attributes = {
        "all": [SAYS_8_BITS, *(Attribute(f"bitexpand:{k}", "string", v) for k, v in facts_of_making.items())],
        "tag": [Attribute("colorInteropID", "string", "lin_ap1_scene")],
        "nothing": [],
    }[says]
    found = inspect_file(write(tmp_path / "linear.exr", to_linear.apply(plate_log), *attributes))
    assert {each.unit for each in found.artefacts} == {
        "LSB of 8 bits" if says == "all" else "1/255 in ACEScct"
    }
    assert strength(found) == pytest.approx(0.2, rel=0.05)


def test_a_config_that_is_gone_leaves_the_steps_unknown(tmp_path: Path) -> None:
    attributes = [SAYS_8_BITS, Attribute("bitexpand:config", "string", "/gone.ocio")]
    attributes += [
        Attribute(f"bitexpand:{space}", "string", "ACEScct") for space in ("in_space", "out_space")
    ]
    found = inspect_file(write(tmp_path / "plate.exr", sky(), *attributes))
    assert {each.unit for each in found.artefacts} == {"1/255"}


def test_nan_and_inf_hide_no_artefact_and_make_none(tmp_path: Path) -> None:
    for plate, verdict in ((sky(), "absent"), (checkers(sky(), 0.2), "present")):
        plate[3:9, 5:8], plate[40, 50], plate[41, 51] = np.nan, np.inf, -np.inf
        found = inspect_file(write(tmp_path / "odd.exr", plate))
        assert found.artefacts[0].verdict == verdict
        assert "  faults        54 samples NaN, 6 samples Inf" in describe(found).splitlines()
        steps = in_steps(frames.read_frame(Path(found.path)))
        assert steps is not None
        assert np.isfinite(steps[0]).all()


def test_nothing_but_nan_has_no_artefact(tmp_path: Path) -> None:
    found = inspect_file(write(tmp_path / "nan.exr", np.full((80, 90, 3), np.nan, np.float16)))
    assert not [each for each in found.artefacts if each.severity]
    assert found.smallest_step is None


def test_alpha_that_is_not_0_to_1_is_counted(tmp_path: Path) -> None:
    alpha = np.linspace(0, 1, 128 * 224, dtype=np.float32).reshape(128, 224, 1)
    plate = np.concatenate([sky(), alpha], axis=2)
    assert inspect_file(write(tmp_path / "good.exr", plate)).alpha_outside_count == 0
    plate[0, :3, 3], plate[1, :4, 3], plate[2, :5, 3] = -0.1, 1.5, np.nan
    found = inspect_file(write(tmp_path / "bad.exr", plate))
    assert found.alpha_outside_count == 12
    assert "12 samples alpha outside 0 to 1" in describe(found)
    assert inspect_file(write(tmp_path / "none.exr", sky())).alpha_outside_count is None
    assert (
        inspect_file(save(tmp_path / "a.png", natural(20, 30), np.full((20, 30, 1), 9))).alpha_outside_count
        == 0
    )


def test_the_smallest_step_is_told(tmp_path: Path) -> None:
    found = inspect_file(write(tmp_path / "codes.exr", (natural(90, 120) / 255).astype(np.float32)))
    assert found.smallest_step == pytest.approx(1 / 255)
    ramp = np.linspace(1, 1.5, 513, dtype=np.float16).reshape(1, -1, 1)
    found = inspect_file(write(tmp_path / "ramp.exr", ramp))
    assert found.smallest_step == 2**-10
    assert "(about 10 bits), smallest step 0.000977" in describe(found)
    assert inspect_file(save(tmp_path / "plate.png", natural(20, 30))).smallest_step is None


def test_plates_are_not_searched_for_artefacts_and_16_bit_results_are(tmp_path: Path) -> None:
    assert inspect_file(save(tmp_path / "plate.png", natural(90, 120))).artefacts == ()
    sixteen = np.rint(checkers(sky(), 0.2) * 65535).astype(np.uint16)
    found = inspect_file(write(tmp_path / "result.tif", sixteen))
    assert strength(found) == pytest.approx(0.2, rel=0.05)
    assert inspect_file(Path(found.path), artefacts=False).artefacts == ()


def test_channels_that_are_no_picture_of_ours_are_left_alone(tmp_path: Path) -> None:
    path, window = tmp_path / "depth.exr", Window(0, 0, 224, 128)
    info = FrameInfo(path, "", ("U", "V", "W"), "", 0, window, window)
    frames.write_frame(path, sky(), info)
    assert inspect_file(path).artefacts == ()


def test_findings_stand_in_the_text_and_in_json(tmp_path: Path, call_cli: Cli) -> None:
    path = write(tmp_path / "plate.exr", checkers(sky(), 0.2), SAYS_8_BITS)
    text = call_cli("inspect", path).out
    assert "strength  limit  in LSB of 8 bits" in text
    (line,) = [line for line in text.splitlines() if "checkerboard, period 2" in line]
    assert "     0.20" in line
    assert "   0.03  present, in 100% of the calm blocks, see 32x32 at " in line
    (told,) = json.loads(call_cli("inspect", path, "--json").out)
    assert told == json.loads(json.dumps(facts(str(path), inspect_file(path))))
    first = told["artefacts"][0]
    assert (first["name"], first["verdict"], first["unit"]) == (
        "checkerboard, period 2",
        "present",
        "LSB of 8 bits",
    )
    assert set(first["where"]) == {"x", "y", "width", "height"}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_shows_the_worst_of_several_files(tmp_path: Path, channels: int) -> None:
    plates = {"clean": sky(), "weak": checkers(sky(), 0.1), "strong": checkers(sky(), 0.3)}
    found = [
        inspect_file(write(tmp_path / f"{n}.exr", p[..., :channels], SAYS_8_BITS)) for n, p in plates.items()
    ]
    picture = tmp_path / "new" / "worst.png"
    drawn = draw_worst(found, picture)
    assert drawn is not None
    assert drawn[0] == str(tmp_path / "strong.exr")
    page = frames.read_frame(picture).pixels.astype(int)
    alone = page[40:380:4, 664:1300:4]  # a sample for each pixel of the crop
    assert np.abs(np.diff(alone, axis=1)).mean() == pytest.approx(
        255 / 2, rel=0.2
    )  # a quarter up, a quarter down
    plain = page[40:380:4, 12:650:4]
    assert np.abs(np.diff(plain, axis=1)).mean() < np.abs(np.diff(alone, axis=1)).mean()


def test_no_picture_without_an_artefact(tmp_path: Path) -> None:
    found = [inspect_file(write(tmp_path / "clean.exr", sky()))]
    assert draw_worst(found, tmp_path / "worst.png") is None
    assert not (tmp_path / "worst.png").exists()


def test_the_picture_is_a_png_and_replaces_no_file_that_is_inspected(tmp_path: Path) -> None:
    path = write(tmp_path / "plate.png", np.rint(checkers(sky(), 0.3) * 65535).astype(np.uint16))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="would replace a file that is inspected"):
        draw_worst([inspect_file(path)], path)
    with pytest.raises(UsageError, match=r"--picture .*worst\.jpg: give a \.png"):
        draw_worst([inspect_file(path)], tmp_path / "worst.jpg")
    assert path.read_bytes() == before
