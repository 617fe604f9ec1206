"""Compile bitexpand/native while the package is built, where there is a C++ compiler; it works without one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("bitexpand", "native")
FLAGS = (
    "-std=c++17 -O3 -shared -fPIC -pthread -fvisibility=hidden -fno-math-errno -fno-trapping-math"
    " -ffp-contract=fast"
)


class Compile(BuildHookInterface):
    """Adds the compiled steps to a wheel, and to an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say for what machine the wheel is; a warning tells why it could not be."""
        folder = Path(self.root, FOLDER)
        library = folder / "libbitexpand.so"
        if not is_newer(library, [*folder.glob("*.cpp"), *folder.glob("*.h"), Path(__file__)]):
            library.unlink(missing_ok=True)
            problem = compiled(folder / "native.cpp", library)
            if problem:
                self.app.display_warning(f"pyramid will take twice as long: {problem}")
                return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False
        build_data["artifacts"].append(str(FOLDER / library.name))


def is_newer(library: Path, sources: list[Path]) -> bool:
    """Tell whether it was compiled from these; pip asks twice."""
    return library.exists() and all(source.stat().st_mtime < library.stat().st_mtime for source in sources)


def compiled(source: Path, library: Path) -> str:
    """Compile, and return why it could not be, or nothing."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if not shutil.which(compiler[0]):
        return f"no C++ compiler '{compiler[0]}'"
    command = [*compiler, *FLAGS.split(), str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    return f"{shlex.join(command)} failed: {done.stderr.strip()[-2000:]}" if done.returncode else ""
