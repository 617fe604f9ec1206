"""Both halves of scripts/check-old-torch: ``prepare`` under today's torch, ``run`` under torch 1.12."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

LIST = Path(__file__).parents[1] / "bitexpand" / "export" / "torch_1_12_operators.txt"
TOLERANCE = 0.01  # LSB
RUNS = 3  # TorchScript watches the first runs, and optimises for what it saw


def prepare(folder: Path, models: list[str]) -> None:
    """Write of each model the archive, its operators, and plates with what the engine makes of them."""
    from bitexpand.export import check
    from bitexpand.export.operators import operators
    from bitexpand.export.signal_model import SignalModel
    from bitexpand.export.torchscript import archive_of, saved
    from bitexpand.models import registry

    names = set()
    for i, model in enumerate(models or ["pyramid", "smooth"]):
        archive = archive_of(SignalModel(registry.load(model).module))
        (folder / f"{i}.pt").write_bytes(saved(archive))
        names.update(schema.partition("(")[0] for schema in operators(archive))
        cases = []
        for j, (case, codes, expected_cv) in enumerate(check.expected(model, check.CASES)):
            np.savez(folder / f"{i}_{j}.npz", signal=check.signal_of(codes, case), expected_cv=expected_cv)
            cases.append(
                {"strength": case.strength, "bound": case.bound, "bits": case.bits, "size": case.size}
            )
        (folder / f"{i}.json").write_text(json.dumps({"model": Path(model).name, "cases": cases}))
    (folder / "operators.json").write_text(json.dumps(sorted(names)))


def run(folder: Path) -> bool:
    """Print what differs; return whether all is well."""
    print(f"torch {torch.__version__}, Python {sys.version.split()[0]}")
    well = check_list(set(json.loads((folder / "operators.json").read_text())))
    for path in sorted(folder.glob("*.pt")):
        facts = json.loads(path.with_suffix(".json").read_text())
        for precision in (torch.float32, torch.bfloat16, torch.float16):
            archive = torch.jit.load(str(path)).to(precision)
            try:
                differences = [difference(archive, path, j, case) for j, case in enumerate(facts["cases"])]
            except RuntimeError as error:
                # on a CPU it has no convolution in half; bfloat16 takes the same way through the archive
                reason = str(error).strip().splitlines()[-1]
                print(f"{facts['model']}: weights in {precision}: cannot be run here ({reason})")
                continue
            sizes = ", ".join("{}x{}".format(*case["size"]) for case in facts["cases"])
            print(f"{facts['model']}: weights in {precision}: {max(differences):.2g} LSB at most, of {sizes}")
            well &= precision is torch.bfloat16 or max(differences) <= TOLERANCE
    return well


def difference(archive: torch.jit.ScriptModule, path: Path, number: int, case: dict[str, float]) -> float:
    """Return the largest difference in LSB of any run, with the knobs set as Nuke sets them."""
    with np.load(str(path.with_name(f"{path.stem}_{number}.npz"))) as arrays:
        signal, expected_cv = torch.from_numpy(arrays["signal"]), torch.from_numpy(arrays["expected_cv"])
    archive.strength, archive.bound, archive.bits = case["strength"], case["bound"], case["bits"]
    largest = 0.0
    with torch.no_grad():
        for _ in range(RUNS):
            result_cv = archive(signal)[0].permute(1, 2, 0) * (2 ** case["bits"] - 1)
            largest = max(largest, float((result_cv - expected_cv).abs().max()))
    return largest


def check_list(names: set[str]) -> bool:
    """Hold the list of operators against what this torch prints."""
    known = {text.partition("(")[0]: text for text in map(str, torch._C._jit_get_all_schemas())}
    listed = {line for line in LIST.read_text().splitlines() if line and not line.startswith("#")}
    wrong = sorted(listed - set(known.values()))
    missing = sorted(names - {line.partition("(")[0] for line in listed})
    for line in wrong:
        print(f"{LIST.name}: this torch has no such schema: {line}")
    for name in missing:
        print(f"{LIST.name}: add {known[name]}" if name in known else f"this torch does not know {name}")
    print(f"{LIST.name}: {len(listed)} schemas, {len(names)} of them needed")
    return not wrong and not missing


if __name__ == "__main__":
    command, where, *rest = sys.argv[1:]
    if command == "prepare":
        prepare(Path(where), [model for model in rest if model])
    else:
        sys.exit(not run(Path(where)))
