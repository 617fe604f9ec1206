"""What a wheel holds, and that it works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import bitexpand
from bitexpand import native
from bitexpand.models.registry import MODELS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_holds_weights_config_example_and_licence(unpacked: Path) -> None:
    held = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")}
    assert "bitexpand/ocio/bitexpand.ocio" in held
    assert "bitexpand/examples/plate/dusk_1010.png" in held
    assert {"bitexpand/nuke_gizmo/BitExpand.gizmo", "bitexpand/nuke_gizmo/bitexpand_nuke/panel.py"} <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)
    for row in MODELS:
        assert f"bitexpand/weights/{row.name}.md" in held
        assert row.weights is None or f"bitexpand/weights/{row.weights}" in held
    assert not [name for name in held if name.startswith(("tests", "training", "benchmarks"))]


@pytest.mark.skipif(not native.available(), reason="bitexpand was installed without a C++ compiler")
def test_wheel_with_compiled_steps_says_for_what_machine_it_is(unpacked: Path) -> None:
    assert (unpacked / "bitexpand/native/libbitexpand.so").is_file()
    (wheel,) = unpacked.glob("*.dist-info/WHEEL")
    assert "Root-Is-Purelib: false" in wheel.read_text()
    assert (
        f"Tag: py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}" in wheel.read_text()
    )


def test_wheel_finds_its_files_away_from_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "import bitexpand; from bitexpand.color import load_config; from bitexpand.models.registry import load;"
        "from bitexpand.shipped import shipped_file;"
        "load_config('bitexpand').canonical('Cineon'); load('pyramid');"
        "print(bitexpand.__file__, shipped_file('examples', 'plate', 'dusk_1001.png'))"
    )
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code] if sys.version_info >= (3, 11) else [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert all(word.startswith(str(unpacked)) for word in done.stdout.split())


def test_public_names_are_sorted_few_and_there() -> None:
    assert bitexpand.__all__ == sorted(bitexpand.__all__)
    assert len(bitexpand.__all__) <= 18
    for name in bitexpand.__all__:
        assert getattr(bitexpand, name).__module__.startswith("bitexpand.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bitexpand.nothing  # noqa: B018


def test_declared_names_match_what_type_checkers_see() -> None:
    assert sorted(bitexpand._HOMES) == bitexpand.__all__


def test_inference_installs_without_training_dependencies() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    required = text.split("dependencies = [", 1)[1].split("]", 1)[0]
    for name in ("torchvision", "lpips", "tensorboard", "accelerate"):
        assert name not in required
