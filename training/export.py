"""From a training checkpoint to what ships: a weights file, its card with measured numbers, its registry row."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from bitexpand import temporaries
from bitexpand.errors import CheckpointError, UsageError
from bitexpand.models import checkpoint
from bitexpand.models.base import PlateModel
from bitexpand.temporaries import prepare_folder
from training import checkpoints
from training.evaluate import LEAST_SHARE, Evaluation, lost_text
from training.manifest import SPLITS, Manifest
from training.settings import read_yaml

_PROBE_SIDE = 256  # px: of the plate on which multiplications are counted; rounded up to whole cells
_PLACES = ("data", "run", "cache")  # keys of a run that say where things lie on the machine that trained
_INPUTS = {"lsb": "in LSB of the source's depth", "unit": "scaled to [0, 1]"}


@dataclass(frozen=True)
class Origin:
    """Where weights come from, for their card.

    Attributes:
        name: of the model, as ``--model`` will take it.
        data: manifest of the plates that it was trained on.
        run: the run's folder, with its ``config.yaml`` and ``run.json``.
        commands: command lines that train it again.
        summary: one line for a list of models; "" is architecture and size.
        licence: of the weights, an SPDX identifier.
    """

    name: str
    data: Manifest
    run: Path
    commands: Sequence[str]
    summary: str = ""
    licence: str = "MIT"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        weights, card: the files.
        sha256: of the weights file, as ``sha256sum`` prints it.
        registry_row: Python for ``bitexpand.models.registry.MODELS``.
        evaluation: of the weights file itself.
    """

    weights: Path
    card: Path
    sha256: str
    registry_row: str
    evaluation: Evaluation


def export(
    source: Path,
    output: Path,
    measure: Callable[[str], Evaluation],
    origin: Origin,
    *,
    half: bool = False,
    force: bool = False,
) -> Exported:
    """Write the averaged weights of a checkpoint as ``OUTPUT.safetensors``, and ``OUTPUT.md``, their card.

    The numbers of the card are measured on the file that is written, so what float16 costs is in them.

    Args:
        source: a training checkpoint.
        output: the files without their extension; their folder is made.
        measure: evaluates a weights file, given its path: :func:`training.evaluate.evaluate` with all else set.
        origin: what the card says of the training.
        half: write float16 instead of float32.
        force: replace weights that are there even if they are better.

    Raises:
        MissingInputError, CheckpointError: the checkpoint cannot be read.
        UsageError: it was trained on other data; training plates are among those it was measured on; or the weights
            that it would replace are better.
        DiskFullError, WriteError: a file cannot be written.
    """
    prepare_folder(output.parent)  # measuring takes long, and should not be for nothing
    content = checkpoints.read(source)
    _check_data(source, content.identity.get("manifest"), origin.data)
    training = _training(origin, content.position.total_step)
    module, architecture, config = checkpoints.load_model(source)
    cost = kmac_per_pixel(module)
    module = module.half() if half else module
    name = output.name.removesuffix(".safetensors")
    weights, card = output.with_name(f"{name}.safetensors"), output.with_name(f"{name}.md")
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / weights.name
        checkpoint.save(candidate, module, architecture, config)
        evaluation = dataclasses.replace(measure(str(candidate)), model=origin.name)
        _check_unseen(evaluation, origin.data)
        if weights.exists() and not force:
            _check_better(evaluation, weights, measure)
        data = candidate.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    summary = origin.summary or f"{architecture}, {_parameters(module):,} parameters"
    row = _registry_row(module, origin, summary, weights.name, sha256)
    facts = _facts(module, architecture, weights.name, data, cost, origin)
    text = _card(origin, summary, facts, training, evaluation)
    with temporaries.replacing(weights) as file:
        file.write(data)
    temporaries.write_text(card, text)
    return Exported(weights, card, sha256, row, evaluation)


@torch.inference_mode()
def kmac_per_pixel(module: PlateModel) -> float:
    """Return thousands of multiply-accumulates a pixel, of convolutions and matrix products; float32 on the CPU."""
    side = -(-_PROBE_SIDE // module.grid) * module.grid
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2 / side**2 / 1000  # torch counts a multiply-accumulate as two


def _check_data(source: Path, trained_on: str | None, data: Manifest) -> None:
    if trained_on != data.digest():
        raise UsageError(
            f"{source}: was trained on data with the digest {trained_on}, and that given has {data.digest()};"
            " give the folder that it was trained on"
        )


def _check_unseen(evaluation: Evaluation, data: Manifest) -> None:
    """Refuse a gain on plates that were trained on, unless it was asked for and so says what it is."""
    seen = {row.original_sha256 for row in data.plates if row.split == "train"}
    for plate in evaluation.plates:
        if evaluation.split != "train" and plate.row.original_sha256 in seen:
            raise UsageError(
                f"plate '{plate.row.name}' was measured as split '{evaluation.split}', but the model was trained on"
                " it; measure on the folder that it was trained on, or on other plates"
            )


def _check_better(evaluation: Evaluation, weights: Path, measure: Callable[[str], Evaluation]) -> None:
    """Refuse to replace weights by worse ones."""
    if evaluation.split == "train":
        raise UsageError(
            f"{weights}: exists, and gains on training data do not say which is better; use --force"
        )
    try:
        there = measure(str(weights)).mean_gain
    except CheckpointError as error:
        raise UsageError(
            f"{weights}: exists and cannot be compared ({error}); use --force to replace it"
        ) from error
    if not evaluation.mean_gain >= there:
        raise UsageError(
            f"{weights}: is better ({there:+.3f} dB) than what would replace it ({evaluation.mean_gain:+.3f} dB);"
            " choose another output, or --force"
        )


def _facts(
    module: PlateModel, architecture: str, file: str, data: bytes, cost: float, origin: Origin
) -> list[tuple[str, str]]:
    dtype = next(iter(module.state_dict().values())).dtype
    return [
        ("file", f"`{file}`, {str(dtype).removeprefix('torch.')}, {len(data) / 1e6:.2f} MB"),
        ("SHA-256", f"`{hashlib.sha256(data).hexdigest()}`"),
        ("architecture", f"`{architecture}`: `{module.config}`"),
        ("parameters", f"{_parameters(module):,}"),
        ("cost", f"{cost:.1f} kMAC a pixel, of convolutions and matrix products"),
        ("memory", f"about {module.bytes_per_pixel / 1000:.2f} GB a megapixel of tile, float32"),
        ("input", f"code values of a plate in its own encoding, {_INPUTS[module.units]}"),
        ("licence", origin.licence),
    ]


def _card(
    origin: Origin, summary: str, facts: list[tuple[str, str]], training: list[str], evaluation: Evaluation
) -> str:
    lost = [f"- {lost_text(loss)}" for loss in evaluation.losses()]
    nowhere = (
        f"No plate, and no stratum of at least {LEAST_SHARE:.0%} of a plate, came out worse than it went in."
    )
    sections = [
        f"# {origin.name}",
        f"{summary[:1].upper()}{summary[1:]}.",
        _markdown([("", ""), *facts]),
        "## Data",
        f"Plates by source and licence, in {origin.data.encoding}; manifest `{origin.data.digest()}`. Weights were"
        " fitted to `train` alone, `val` chose the best of them.",
        _markdown(_sources(origin.data)),
        "## Training",
        *training,
        "## What it gains",
        f"Gain over doing nothing in dB, against the truth before rounding: {evaluation.conditions}. Measured on"
        " this file, every value clamped to its bin.",
        _markdown(evaluation.table()),
        "**Where it loses.** " + ("Worse than doing nothing:" if lost else nowhere),
        *(["\n".join(lost)] if lost else []),
    ]
    return "\n\n".join(sections) + "\n"


def _training(origin: Origin, steps: int) -> list[str]:
    revision = _revision(origin.run)
    return [
        f"{steps:,} optimizer steps, with the code of revision {revision}; the weights are averaged over steps.",
        f"```yaml\n{_recipe(origin.run)}```",
        "```sh\n" + "\n".join(origin.commands) + "\n```",
    ]


def _sources(data: Manifest) -> list[tuple[str, ...]]:
    counts = Counter((row.source, row.licence, row.split) for row in data.plates)
    kinds = sorted({(row.source, row.licence) for row in data.plates})
    rows = [(*kind, *(str(counts[(*kind, split)]) for split in SPLITS)) for kind in kinds]
    totals = (str(sum(row.split == split for row in data.plates)) for split in SPLITS)
    return [("source", "licence", *SPLITS), *rows, ("all", "", *totals)]


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _recipe(run: Path) -> str:
    """Return the run's settings as YAML, without the places of the machine that trained."""
    settings = {key: value for key, value in read_yaml(run / "config.yaml").items() if key not in _PLACES}
    model = settings.get("model")
    if isinstance(model, dict) and model.get("weights"):
        settings["model"] = {**model, "weights": Path(model["weights"]).name}
    return yaml.safe_dump(settings, sort_keys=False, width=110)


def _revision(run: Path) -> str:
    path = run / "run.json"
    try:
        revision = json.loads(path.read_text(encoding="utf-8"))["git"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{path}: does not say which code trained ({reason}); give the run's folder"
        ) from error
    return f"`{revision}`" if revision else "unknown"


def _registry_row(module: PlateModel, origin: Origin, summary: str, file: str, sha256: str) -> str:
    fields = {
        "name": json.dumps(origin.name),
        "architecture": type(module).__name__,
        "config": repr(module.config),
        "weights": json.dumps(file),
        "sha256": json.dumps(sha256),
        "needs_weights": "True",
        "summary": json.dumps(summary),
        "licence": json.dumps(origin.licence),
    }
    return "ModelSpec(\n" + "".join(f"    {key}={value},\n" for key, value in fields.items()) + "),"


def _parameters(module: PlateModel) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
