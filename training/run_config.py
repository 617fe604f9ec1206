"""The YAML of a training run, resolved: every key of it, and the phases, which are a file of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from bitexpand import temporaries
from bitexpand.errors import MissingInputError, UnknownNameError, UsageError
from bitexpand.models import registry
from bitexpand.models.base import ModelConfig, PlateModel
from bitexpand.models.checkpoint import ARCHITECTURES
from training import checkpoints, losses
from training.augmentation import Augmentation
from training.grow import grown
from training.settings import STRICT, build, plain, read_yaml, resolve

PHASES = Path(__file__).with_name("phases.yaml")
CONFIG_NAME = "config.yaml"  # of a run, in its folder


@dataclass(frozen=True)
class ModelChoice:
    """What is trained: an architecture from new weights, or weights to go on from.

    Attributes:
        architecture: a key of ``bitexpand.models.checkpoint.ARCHITECTURES``.
        config: fields of its config that differ from the defaults, or from those of the weights.
        weights: a name of ``bitexpand models``, a weights file, or a checkpoint of a run; instead of an
            architecture. With a ``config`` the model grows (:func:`training.grow.grown`).
    """

    __pydantic_config__ = STRICT

    architecture: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""

    def __post_init__(self) -> None:
        if bool(self.architecture) == bool(self.weights):
            raise ValueError("give either 'architecture' or 'weights'")
        if self.architecture:
            try:
                self._model_config()
            except UsageError as error:
                raise ValueError(str(error)) from None

    def create(self) -> PlateModel:
        """Make the model, in training mode on the CPU; new weights come from torch's random numbers.

        Raises:
            UsageError: a model without parameters.
            CheckpointError, MissingInputError: the weights cannot be had.
        """
        if self.weights:
            module = self._load()
            if self.config:
                module = grown(module, _known_fields(module.config_type, self.config))
            return module.requires_grad_(True).train()
        return ARCHITECTURES[self.architecture](self._model_config()).train()

    def _model_config(self) -> ModelConfig:
        if self.architecture not in ARCHITECTURES:
            raise UnknownNameError("architecture", self.architecture, ARCHITECTURES)
        kind = ARCHITECTURES[self.architecture].config_type
        return kind(**_known_fields(kind, self.config))

    def _load(self) -> PlateModel:
        if Path(self.weights).suffix == ".pt":
            return checkpoints.load_model(Path(self.weights))[0]
        module = registry.load(self.weights).module
        if not any(True for _ in module.parameters()):
            raise UsageError(f"model '{self.weights}' has no weights that could be trained")
        return module


def _known_fields(kind: type[ModelConfig], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of an architecture's config as it wants them, refusing others."""
    known = kind.__dataclass_fields__
    for name in config:
        if name not in known:
            raise UnknownNameError(f"field of {kind.__name__}", name, known)
    return {name: tuple(v) if isinstance(v, list) else v for name, v in config.items()}


@dataclass(frozen=True)
class Phase:
    """One row of a schedule.

    Attributes:
        name: unique in the schedule.
        losses: weights by name of :data:`training.losses.LOSSES`.
        harm: weight of by how much patches of 32 px got worse than they were (:func:`training.losses.harm`).
        balance: divide each loss by its value for doing nothing, measured on crops when the phase begins; not harm.
        learning_rate: of AdamW, at its highest.
        epochs: at most so many.
        schedule: "plateau" halves the rate when the validation gain has not risen for ``plateau`` epochs; "cosine"
            lets it fall to 0 at the end of the phase.
        plateau: epochs, see there.
        warmup: steps of "cosine" in which the rate rises from 0.
        patience: epochs without a better validation gain after which the phase ends early.
        augmentation: see there; what a phase does not say is as in the run.
        train: regular expression; parameters in whose names it is found are trained, all others keep their values
            to the bit, and norms without a trained parameter their statistics. Empty trains all.
    """

    __pydantic_config__ = STRICT

    name: str
    losses: Mapping[str, float]
    harm: float = 0.0
    balance: bool = False
    learning_rate: float = 1e-4
    epochs: int = 50
    schedule: Literal["plateau", "cosine"] = "plateau"
    plateau: int = 5
    warmup: int = 0
    patience: int = 12
    augmentation: Augmentation = field(default_factory=Augmentation)
    train: str = ""

    def __post_init__(self) -> None:
        try:
            re.compile(self.train)
        except re.error as error:
            raise ValueError(f"train is '{self.train}', must be a regular expression ({error})") from None
        _check_losses(self.losses)
        _check_at_least(self, epochs=1, plateau=0, warmup=0, patience=1)
        if self.harm < 0:
            raise ValueError(f"harm is {self.harm:g}, must be 0 or more")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate is {self.learning_rate:g}, must be above 0 and at most 1")
        if self.warmup and self.schedule != "cosine":
            raise ValueError("'warmup' goes with 'schedule: cosine'")


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        data: prepared folder, or its fsspec URL, which is mirrored to ``cache``.
        data_options: fsspec storage options of a URL, such as an endpoint_url; no credentials.
        run: folder of the run: its config, log, checkpoints; one run each.
        model: what is trained.
        phases: in order; the YAML says ``phases: FILE`` or lists them.
        augmentation: of all phases that say nothing else.
        learning_rate: of all phases that say nothing else.
        seed: of new weights and of every crop.
        batch: crops of a micro-batch on each process.
        accumulate: micro-batches of a step.
        crop: side of a crop in pixels.
        larger_crops: sides of larger ones, which micro-batches take turns with: as many as hold no more pixels than
            ``batch`` of ``crop``, one at least. A band may be wider than a small crop.
        steps_per_epoch: None is as many as show a crop of each training plate once.
        weight_decay, betas: of AdamW.
        gradient_clip, ema: largest norm of the gradient; decay of the moving average of the weights, which is what
            is validated and exported.
        clamp_leak: share of the gradient that passes where the estimate lies outside of its bin.
        precision: "bf16" runs the inside of the network in bfloat16.
        device: "auto", "cpu" or "cuda".
        compile: use torch.compile where it works.
        checkpointing: forget activations and compute them again: less memory, a third more time.
        workers: processes that make crops, on each process that trains; 0 makes them in between.
        threads: CPU threads of torch; 0 leaves its choice.
        validation_crop: largest side in pixels of the centre of each validation plate.
        pictures: how many validation plates TensorBoard shows.
        save_minutes: minutes between checkpoints within an epoch.
        cache: folder of a mirrored ``data``.
    """

    __pydantic_config__ = STRICT

    data: str
    run: str
    model: ModelChoice
    phases: tuple[Phase, ...]
    data_options: Mapping[str, str | bool | int] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)
    learning_rate: float = 1e-4
    seed: int = 0
    batch: int = 2
    accumulate: int = 1
    crop: int = 256
    larger_crops: tuple[int, ...] = ()
    steps_per_epoch: int | None = None
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    gradient_clip: float = 1.0
    ema: float = 0.999
    clamp_leak: float = 0.05
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: bool = False
    checkpointing: bool = False
    workers: int = 1
    threads: int = 0
    validation_crop: int = 512
    pictures: int = 3
    save_minutes: float = 10.0
    cache: str = "~/.cache/bitexpand/prepared"

    def __post_init__(self) -> None:
        _check_at_least(
            self, seed=0, batch=1, accumulate=1, crop=16, workers=0, threads=0, validation_crop=16, pictures=0
        )
        if any(crop <= self.crop for crop in self.larger_crops):
            raise ValueError(
                f"larger_crops is {list(self.larger_crops)}, all must be above crop, {self.crop}"
            )
        if self.steps_per_epoch is not None and self.steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch is {self.steps_per_epoch}, must be 1 or more")
        for name, low, high in (("weight_decay", 0, 1), ("ema", 0, 0.99999), ("clamp_leak", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name):g}, must be from {low} to {high}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas[0]:g} and {self.betas[1]:g}, must be from 0 to below 1")
        if self.gradient_clip <= 0 or self.save_minutes <= 0:
            raise ValueError("gradient_clip and save_minutes must be above 0")
        if not self.phases:
            raise ValueError("phases is empty, must hold at least one")
        names = [phase.name for phase in self.phases]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"two phases are named '{twice}'")


def load_run(path: Path) -> Run:
    """Read a run's YAML; relative paths in it are relative to the file's folder.

    Raises:
        MissingInputError: it, or the phases that it names, are not there.
        UsageError: anything in it that cannot be used; the message names file and key.
    """
    content = read_yaml(path)
    phases_at, phases = _phases(content.get("phases", str(PHASES)), path)
    shared = {key: content[key] for key in ("learning_rate",) if key in content}
    augmentation = content.get("augmentation") or {}
    merged = []
    for number, phase in enumerate(phases):
        if not isinstance(phase, dict):
            raise UsageError(f"{phases_at}: phase {number + 1} must hold keys and values")
        own = phase.get("augmentation") or {}
        both = {**augmentation, **own} if isinstance(own, dict) and isinstance(augmentation, dict) else own
        full = {**shared, **phase, "augmentation": both}
        merged.append(build(Phase, full, phases_at, key=f"phases.{number + 1}"))
    run = build(Run, {**content, "phases": merged}, path)
    model = run.model
    if model.weights and model.weights not in registry.names():
        model = replace(model, weights=resolve(model.weights, path))
    places = {key: resolve(getattr(run, key), path) for key in ("data", "run", "cache")}
    return replace(run, model=model, **places)


def write_run(run: Run, path: Path) -> None:
    """Write a resolved run, which :func:`load_run` reads again."""
    temporaries.write_text(path, yaml.safe_dump(plain(run), sort_keys=False, width=110))


def run_folder(checkpoint: Path) -> Path:
    """Return the folder of the run that a checkpoint belongs to: its own, or the one above a phase's.

    Raises:
        MissingInputError: neither holds a run's ``config.yaml``.
    """
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        if (folder / CONFIG_NAME).is_file():
            return folder
    raise MissingInputError(
        f"{checkpoint}: neither beside it nor above is a {CONFIG_NAME}; it belongs to no run"
    )


def _phases(phases: object, path: Path) -> tuple[Path, list[Any]]:
    if isinstance(phases, list):
        return path, phases
    if not isinstance(phases, str):
        raise UsageError(f"{path}: key 'phases' must be a file or a list of phases")
    beside = path.parent / phases
    named = beside if beside.is_file() else PHASES.with_name(phases)
    content = read_yaml(named if named.is_file() else beside, list)
    return named, content


def _check_losses(weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if name not in losses.LOSSES:
            raise ValueError(str(UnknownNameError("loss", name, losses.LOSSES)))
        if not weight > 0:
            raise ValueError(f"the weight of loss '{name}' is {weight:g}, must be above 0")
    if not weights:
        raise ValueError("losses is empty, must name at least one")


def _check_at_least(settings: object, **limits: int) -> None:
    for name, low in limits.items():
        if getattr(settings, name) < low:
            raise ValueError(f"{name} is {getattr(settings, name)}, must be {low} or more")
