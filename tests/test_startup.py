"""What is imported when: help, refusals and ``import bitexpand`` wait for nothing that they do not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from plates import save_shot

import bitexpand
from bitexpand import cli, cli_options
from bitexpand.code_values import SOURCE_KINDS

HEAVY = ("torch", "numpy", "OpenImageIO", "PyOpenColorIO", "fileseq", "psutil", "rich", "yaml", "asyncio")
HELP = [["--version"], ["--help"], ["seq"], *([command, "--help"] for command in sorted(cli.cli.commands))]
REFUSED = [["seq", "gone_####.png", "-o", "x.exr"], ["batch", "gone", "-o", "x"]]


def test_importing_the_package_is_cheap() -> None:
    assert_unloaded("import bitexpand; bitexpand.__version__; dir(bitexpand)", HEAVY)


@pytest.mark.parametrize("name", sorted(bitexpand.__all__))
def test_public_names_come_when_asked_for(name: str) -> None:
    assert getattr(bitexpand, name).__name__ == name


def test_help_waits_for_no_library() -> None:
    assert_unloaded(calls(HELP), HEAVY)


def test_what_is_refused_without_a_network_does_not_wait_for_torch() -> None:
    assert_unloaded(calls(REFUSED), ("torch", "OpenImageIO", "PyOpenColorIO"))


@pytest.mark.parametrize(
    "command", [["seq", "shot_####.png", "-o", "o_####.exr"], ["batch", ".", "-o", "out"]]
)
def test_a_run_leaves_torch_out_of_searches_for_garbage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    save_shot(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    told = "import gc; assert gc.isenabled() and gc.get_freeze_count() > 50_000, gc.get_freeze_count()"
    done = run(f"{calls([[*command, '--model', 'smooth']])}\n{told}")
    assert len(list(tmp_path.rglob("*.exr"))) == 1
    assert done.stderr == ""  # OpenImageIO would complain of leaks if it were left out, too


def test_a_log_does_not_wait_for_what_draws_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_shot(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    assert_unloaded(calls([["seq", "shot_####.png", "-o", "o_####.exr", "--model", "smooth"]]), ("rich",))
    assert len(list(tmp_path.rglob("*.exr"))) == 1


def test_the_options_offer_every_source_kind() -> None:
    assert tuple(SOURCE_KINDS) == cli_options.SOURCE_KINDS


def calls(commands: list[list[str]]) -> str:
    """Return Python that gives commands to the command line, one after the other."""
    return f"""
from bitexpand.cli import main
for arguments in {commands!r}:
    try:
        main(arguments)
    except SystemExit:
        pass
"""


def assert_unloaded(script: str, libraries: tuple[str, ...]) -> None:
    """Assert that a process of its own runs the script and loads none of the libraries."""
    told = f"{script}\nimport sys\nassert not (loaded := set({libraries!r}) & set(sys.modules)), loaded"
    run(told)


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, which must end well."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done
