"""The command that hands a model to other programs: parse, call, print, exit code."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--target",
    required=True,
    metavar="nuke|torchscript|onnx",
    help="nuke: TorchScript for the Inference node of Nuke 14 and later, with its gizmo; torchscript; onnx.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the results.",
)
def export(model: str, target: str, folder: Path) -> None:
    """Write a model for other programs, checked against the engine.

    MODEL is a name of `bitexpand models`, or a weights FILE. What is written takes the encoded signal (1, 3, H, W)
    of any size, black 0 and white 1, and gives the expanded one, inside its bins; strength, bound, bits can be set.

    \b
    bitexpand export pyramid --target nuke -o ~/bitexpand_live
    bitexpand export pyramid --target onnx -o models/
    """  # noqa: D301  (click's \b)
    from bitexpand.export import export as run_export
    from bitexpand.export.check import TOLERANCE

    exported = run_export(model, target, folder)
    for path in exported.files:
        click.echo(f"{path}  ({path.stat().st_size:,} bytes)")
    for agreement in exported.agreements:
        stored = f", {agreement.stored:.2g} once stored as half" if agreement.precision == "half" else ""
        click.echo(
            f"{agreement.precision}: at most {agreement.largest:.2g} LSB from the engine{stored}"
            f" ({TOLERANCE:g} allowed)"
        )
    if target == "nuke":
        click.echo("open make_cat.nk in NukeX and press 'Create .cat file'; then copy Cattery to ~/.nuke")


COMMANDS = (export,)
