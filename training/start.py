"""How a run begins or is gone on with: its device, its data, its folder, its model."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import FrameType

import torch
from accelerate import Accelerator

from bitexpand import __version__, temporaries
from bitexpand.engine import find_device
from bitexpand.errors import UsageError
from bitexpand.models.base import PlateModel
from bitexpand.temporaries import prepare_folder
from training import checkpoints
from training.checkpoints import Checkpoint
from training.freeze import freeze
from training.manifest import SPLITS, Manifest
from training.remote import mirror
from training.run_config import CONFIG_NAME, Run, write_run
from training.settings import plain

# What may change between a run and its resumption without a change of any number on the same machine.
_FREE = {
    "data",
    "data_options",
    "run",
    "cache",
    "device",
    "workers",
    "threads",
    "compile",
    "checkpointing",
    "pictures",
}
_FREE |= {"save_minutes", "accumulate", "phases", "augmentation", "learning_rate", "model"}


class Stop:
    """The signal handler of a run: the step in hand is finished and saved first."""

    asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; a second one ends the process at once, from the last checkpoint."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@dataclass
class Setup:
    """A run that is about to train.

    Attributes:
        run: its settings.
        accelerator: of this process.
        module: the model; its weights are those to begin or to go on with.
        data: the prepared folder, local.
        manifest: of the data.
        resumed: the checkpoint to go on from, or None.
        total_step: optimizer steps that the run has done.
        continued: the run's folder held a run already.
        stop: the signal handler.
    """

    run: Run
    accelerator: Accelerator
    module: PlateModel
    data: Path
    manifest: Manifest
    resumed: Checkpoint | None
    total_step: int
    continued: bool = False
    stop: Stop = field(default_factory=Stop)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.run.run)

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """The best of the phases so far."""
        return self.folder / "best.pt"

    @property
    def micro_batches_per_step(self) -> int:
        """Of all processes together."""
        return self.run.accumulate * self.accelerator.num_processes

    @property
    def steps_per_epoch(self) -> int:
        """As the run says, or as many as show a crop of each training plate."""
        if self.run.steps_per_epoch is not None:
            return self.run.steps_per_epoch
        crops = self.run.batch * self.micro_batches_per_step
        return -(-len(self.manifest.of_split("train", self.data)) // crops)

    def phase_folder(self, index: int) -> Path:
        """Folder of a phase, counted from 0 here and from 1 in its name."""
        return self.folder / f"phase-{index + 1}-{self.run.phases[index].name}"

    def load_start(self, index: int) -> None:
        """Put into the model what a phase starts from: the best of those before, or the run's own start."""
        if index > 0 and self.best.is_file():
            checkpoints.restore(self.module, checkpoints.read(self.best).ema, self.best)

    def best_gain(self) -> float:
        """Mean validation gain in dB of the best phase."""
        return checkpoints.read(self.best).position.best_gain

    def identity(self, index: int) -> dict[str, str]:
        """What must not change for a run to be gone on with in a phase, as text by key."""
        settings = plain(self.run)
        phases = {f"phase {n + 1}": settings["phases"][n] for n in range(index + 1)}
        kept = {key: value for key, value in settings.items() if key not in _FREE}
        kept |= {"micro-batches of a step": self.micro_batches_per_step, **phases}
        return {key: json.dumps(value, sort_keys=True) for key, value in kept.items()} | {
            "manifest": self.manifest.digest()
        }

    def micro_batches(self, total_step: int) -> Iterator[int]:
        """Numbers of this process's micro-batches from a step of the run on, without end.

        Over all processes each number is used once, and a step uses the same ones whether they are spread over
        processes or accumulated on one.
        """
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        for number in count(total_step * self.run.accumulate):
            yield number * processes + rank

    def stop_asked(self) -> bool:
        """Tell whether any process was told to stop; all of them hear the same answer."""
        if self.accelerator.num_processes == 1:
            return self.stop.asked
        asked = torch.tensor(float(self.stop.asked), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum") > 0)  # pyright: ignore[reportOperatorIssue]


def begin(run: Run, phase: int | None = None, resume: bool = False) -> Setup:
    """Check everything that can be checked before the first step, and make the run's folder.

    Args:
        run: its settings.
        phase: the only phase that is asked for, from 0; None is all.
        resume: go on with what lies in the run's folder, if anything does.

    Raises:
        UsageError: settings that do not fit together, or a folder that holds another run.
        DeviceError, MissingInputError, CheckpointError, WriteError: as their names say.
    """
    if phase is not None and not 0 <= phase < len(run.phases):
        raise UsageError(f"--phase {phase + 1}: the schedule has phases 1 to {len(run.phases)}")
    if run.threads:
        torch.set_num_threads(run.threads)
    device = find_device(run.device)
    accelerator = Accelerator(
        cpu=device.type == "cpu", mixed_precision="bf16" if run.precision == "bf16" else "no"
    )
    with accelerator.local_main_process_first():  # one process of a machine fetches, the others find it there
        data = mirror(run.data, Path(run.cache), run.data_options)
    plates = Manifest.load(data)
    plates.of_split("train", data)
    plates.of_split("val", data)
    torch.manual_seed(run.seed)
    module = run.model.create()
    _check_fit(run, module)
    setup = Setup(run, accelerator, module.to(accelerator.device), data, plates, None, 0)
    _take_folder(setup, phase, resume)
    signal.signal(signal.SIGINT, setup.stop)
    signal.signal(signal.SIGTERM, setup.stop)
    return setup


def _check_fit(run: Run, module: PlateModel) -> None:
    for key, sides in (("crop", (run.crop,)), ("larger_crops", run.larger_crops)):
        for side in sides:
            if side % module.multiple:
                raise UsageError(
                    f"key '{key}': {side} is no multiple of {module.multiple}, which the model needs"
                )
    for number, phase in enumerate(run.phases):
        try:
            freeze(module, phase.train)
        except UsageError as error:
            raise UsageError(f"key 'phases.{number + 1}.train': {error}") from None
    freeze(module, "")
    if run.checkpointing:
        if not hasattr(module, "recompute"):
            raise UsageError(
                f"key 'checkpointing': {type(module).__name__} has none; lower 'batch' or 'crop' instead"
            )
        module.recompute = True  # pyright: ignore[reportArgumentType]


def _take_folder(setup: Setup, phase: int | None, resume: bool) -> None:
    """Begin the run's folder, or find in it what is gone on with."""
    last = setup.last
    there = checkpoints.read(last) if last.is_file() else None
    if there and not resume and (phase is None or there.position.phase == phase):
        raise UsageError(f"{setup.folder}: holds a run already; go on with --resume, or choose another 'run'")
    if there:
        checkpoints.check_goes_on(there, setup.module, setup.identity(there.position.phase), last)
        setup.total_step, setup.continued = there.position.total_step, True
        setup.resumed = there if phase in (None, there.position.phase) else None
    reached = there.position.phase + 1 if there else 0
    if phase and phase > reached and not setup.run.model.weights:
        raise UsageError(
            f"--phase {phase + 1} starts from the best of the phases before it, of which {setup.folder} has"
            f" {reached}; run those first, or give 'model: {{weights: ...}}'"
        )
    setup.accelerator.wait_for_everyone()
    if setup.accelerator.is_main_process:
        prepare_folder(setup.folder)
        write_run(setup.run, setup.folder / CONFIG_NAME)
        temporaries.write_text(setup.folder / "run.json", json.dumps(_facts(setup), indent=2) + "\n")
    setup.accelerator.wait_for_everyone()


def _facts(setup: Setup) -> dict[str, object]:
    return {
        "bitexpand": __version__,
        "git": _git_revision(),
        "manifest": setup.manifest.digest(),
        "plates": {split: sum(p.split == split for p in setup.manifest.plates) for split in SPLITS},
        "parameters": sum(p.numel() for p in setup.module.parameters()),
        "processes": setup.accelerator.num_processes,
        "device": str(setup.accelerator.device),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _git_revision() -> str | None:
    """Return the commit of this code, with "-dirty" where files differ from it; None outside a checkout."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
