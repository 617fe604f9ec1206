"""The command that installs the Nuke node: parse, call, print."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("nuke-install")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--uninstall", is_flag=True, help="Take the node away again.")
@click.option(
    "--print", "print_only", is_flag=True, help="Install nothing; print the lines that set NUKE_PATH instead."
)
def nuke_install(folder: Path | None, uninstall: bool, print_only: bool) -> None:
    """Install the BitExpand node for Nuke 13 to 17 into DIR, by default ~/.nuke.

    It copies the node to DIR/bitexpand and adds one line to DIR/init.py. Nothing goes into Nuke's Python.

    \b
    bitexpand nuke-install
    bitexpand nuke-install --uninstall
    bitexpand nuke-install --print
    """  # noqa: D301  (click's \b)
    from bitexpand import nuke_install as installer
    from bitexpand.errors import UsageError

    if print_only:
        if folder or uninstall:
            raise UsageError("--print installs nothing: it goes with neither DIR nor --uninstall")
        click.echo("\n".join(installer.path_lines()))
        return
    done = (installer.uninstall if uninstall else installer.install)(folder or installer.default_folder())
    if uninstall:
        click.echo(f"removed {done.folder} and the line in {done.init}")
    else:
        click.echo(f"{done.folder}: the node, its icon and its menu; {done.init}: one line that finds them")
        click.echo("start Nuke again: BitExpand is in the Nodes menu, and Tab finds it")
    for path in done.kept:
        click.echo(f"not ours, so it stays: {path}")


COMMANDS = (nuke_install,)
