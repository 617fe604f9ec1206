"""Models for other programs: TorchScript for Nuke and anything with torch, ONNX for the rest.

``signal_model``  the model with the engine's steps around it: signal in, signal out
``words``         what is said otherwise while it is traced
``torchscript``   the archive; ``operators``, what the oldest torch lets it hold
``onnx_file``     the ONNX file
``nuke``          what goes with the archive to Nuke
``check``         every file against the engine, before it is kept
``folder``        writes them, all or none, over nothing that is not ours
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bitexpand import __version__
from bitexpand.errors import UnknownNameError
from bitexpand.export import nuke
from bitexpand.export.check import Agreement, archive_runner, check_float, check_half, load_archive
from bitexpand.export.folder import ExportFolder
from bitexpand.export.onnx_file import OPSET, onnx_of, onnx_runner, require_onnx
from bitexpand.export.onnx_file import operators as onnx_operators
from bitexpand.export.operators import check_operators, operators
from bitexpand.export.signal_model import SignalModel
from bitexpand.export.torchscript import archive_of, saved
from bitexpand.models import registry

TARGETS = ("nuke", "onnx", "torchscript")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: their paths, the model's first.
        agreements: how near to the engine it is, by precision.
        operators: what it is made of: schemas of torch, or names of ONNX.
    """

    files: tuple[Path, ...]
    agreements: tuple[Agreement, ...]
    operators: tuple[str, ...]


def export(model: str, target: str, folder: Path) -> Exported:
    """Write a model for another program, once it agrees with the engine.

    Args:
        model: a name of ``bitexpand models``, or a weights file.
        target: one of ``TARGETS``.
        folder: where to; made if it is not there.

    Raises:
        UnknownNameError: no such model or target.
        UsageError: the model has no weights; a library is missing; the folder holds other files of these names.
        CheckpointError, MissingInputError: the weights cannot be had.
        ExportError: the exported model is not what the engine is.
        WriteError: the folder cannot be written to.
    """
    if target not in TARGETS:
        raise UnknownNameError("target", target, TARGETS)
    if target == "onnx":
        require_onnx()
    if target == "nuke":
        nuke.check_folder(folder)
    loaded = registry.load(model)
    stem = Path(loaded.name).stem
    name = {"nuke": nuke.ARCHIVE, "torchscript": f"{stem}.pt", "onnx": f"{stem}.onnx"}[target]
    files = nuke.companions(folder) if target == "nuke" else {}
    place = ExportFolder(folder, [name, *files])
    facts = {"bitexpand": __version__, "model": loaded.name, "weights": loaded.weights_sha256}
    wrapped = SignalModel(loaded.module)
    contents, agreements, made_of = (
        _onnx(model, wrapped, facts) if target == "onnx" else _torchscript(model, wrapped, target == "nuke")
    )
    written = place.write({name: contents, **files}, {**facts, "target": target})
    return Exported(tuple(written), agreements, tuple(made_of))


def _torchscript(
    model: str, wrapped: SignalModel, for_nuke: bool
) -> tuple[bytes, tuple[Agreement, ...], list[str]]:
    archive = archive_of(wrapped)
    made_of = operators(archive)
    if for_nuke:
        check_operators(made_of)
    contents = saved(archive)
    runner = archive_runner(load_archive(contents))
    return contents, (check_float(model, runner), check_half(model, contents)), made_of


def _onnx(
    model: str, wrapped: SignalModel, facts: dict[str, str]
) -> tuple[bytes, tuple[Agreement, ...], list[str]]:
    contents = onnx_of(wrapped, {f"bitexpand:{key}": value for key, value in facts.items()})
    agreement = check_float(model, onnx_runner(contents))
    return contents, (agreement,), [f"opset {OPSET}", *onnx_operators(contents)]
