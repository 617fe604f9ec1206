"""``python -m training``: parse, call, print, exit code. What a command needs is imported when it runs."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import NoReturn

import click

from bitexpand.errors import BitexpandError

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code: 0 ok, 1 failed, 2 usage, 3 missing input, 130 interrupted."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("training").setLevel(logging.INFO)
    try:
        code = cli.main(arguments, prog_name="python -m training", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; the same command goes on where it stopped", err=True)
        code = INTERRUPTED
    except BitexpandError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    sys.exit(code or 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Train bitexpand's models on your own plates: prepare, run, evaluate, export."""


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
def prepare(config: Path) -> int:
    """Turn linear pictures into plates in a log space, with a manifest and statistics, as the YAML CONFIG says."""
    from training.prepare import load_recipe
    from training.prepare import prepare as prepare_plates

    prepared = prepare_plates(load_recipe(config))
    for failure in prepared.failures:
        click.echo(f"left out: {failure}", err=True)
    click.echo(
        f"{len(prepared.manifest.plates)} plates in {prepared.folder}, {len(prepared.failures)} left out"
    )
    return 1 if prepared.failures else 0


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--phase", type=int, default=None, metavar="N", help="Run only this phase, counted from 1.")
@click.option(
    "--resume", is_flag=True, help="Go on where the run was stopped or killed; starts it if it was not."
)
@click.option("--max-steps", type=click.IntRange(min=1), default=None, metavar="N", help="Stop after N steps of the whole run; --resume goes on.")  # fmt: skip
def run(config: Path, phase: int | None, resume: bool, max_steps: int | None) -> int:
    """Train phase after phase, as the YAML CONFIG says."""
    from training.loop import train
    from training.run_config import load_run

    return INTERRUPTED if train(load_run(config), phase, resume, max_steps).interrupted else 0


if __name__ == "__main__":
    main()
