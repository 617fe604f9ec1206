"""The training loop: phase after phase, on one process or many, to be stopped and gone on with at any step.

A run folder holds ``config.yaml`` (resolved), ``run.json`` (data, code, machine), ``steps.jsonl`` (a line a step),
``tensorboard/``, ``last.pt`` to go on from, ``phase-N-NAME/best.pt``, and ``best.pt``, of the last phase accepted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from bitexpand.code_values import HALF_BIN
from bitexpand.engine import is_out_of_memory
from bitexpand.errors import BitexpandError, MemoryShortageError
from bitexpand.models.base import PlateModel, estimate_cv
from training import checkpoints
from training.checkpoints import Checkpoint, Position
from training.dataset import CropDataset, Turn, loader
from training.freeze import freeze, rest_frozen_norms
from training.losses import load as load_losses
from training.objective import Objective, doing_nothing
from training.reporting import Reporting
from training.run_config import Phase
from training.sample import Batch
from training.start import Setup

_BALANCE_BATCHES = 8  # micro-batches that a phase's losses are measured on before it begins


class DivergedError(BitexpandError):
    """The loss or its gradient is no number any more."""


@dataclass(frozen=True)
class Outcome:
    """How a call of :func:`train` ended.

    Attributes:
        gain: mean validation gain in dB of ``best.pt``.
        finished: all phases that were asked for are done; False after a signal or ``max_steps``.
        interrupted: a signal stopped it; the checkpoint to go on from is written.
    """

    gain: float
    finished: bool
    interrupted: bool


class InLsb(nn.Module):
    """A model with LSB in and out whatever its own units, as one module for DDP, autocast and torch.compile."""

    def __init__(self, module: PlateModel) -> None:
        super().__init__()
        self.module = module

    def forward(self, plate_cv: Tensor, peak_cv: Tensor, below: Tensor, above: Tensor) -> Tensor:
        """Map (N, 3, H, W) float32 code values to the estimate in LSB, not clamped."""
        plate_cv = plate_cv.contiguous(memory_format=torch.channels_last)
        return estimate_cv(self.module, plate_cv, peak_cv, below, above)


def train(setup: Setup, phase: int | None = None, max_steps: int | None = None) -> Outcome:
    """Train the phases of a run.

    Args:
        setup: a run that was begun, or is gone on with (:func:`training.start.begin`).
        phase: only this one, from 0; None is all that are not done yet.
        max_steps: stop after so many steps of the whole run, as a signal would.

    Raises:
        DivergedError: the gradient is not finite; the last checkpoint is from before.
        MemoryShortageError: the machine or the GPU has too little memory; says what to lower.
        DiskFullError, WriteError: a checkpoint cannot be written; the one before it is whole.
    """
    resumed = setup.resumed
    first = phase if phase is not None else resumed.position.phase if resumed else 0
    last = len(setup.run.phases) - 1 if phase is None else phase
    with Reporting(setup) as reporting:
        for index in range(first, last + 1):
            of_this_phase = resumed if resumed and resumed.position.phase == index else None
            try:
                training = _PhaseTraining(setup, reporting, index, of_this_phase)
                finished = training.run(max_steps)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise _memory_shortage(setup) from error
            if not finished:
                return Outcome(training.position.best_gain, False, setup.stop.asked)
            training.settle()
        return Outcome(setup.best_gain(), True, False)


class _PhaseTraining:
    """One phase: its optimizer, its schedule, its place in the run."""

    def __init__(self, setup: Setup, reporting: Reporting, index: int, resumed: Checkpoint | None) -> None:
        self.setup, self.reporting, self.index = setup, reporting, index
        self.accelerator: Accelerator = setup.accelerator
        self.phase: Phase = setup.run.phases[index]
        self.folder = setup.phase_folder(index)
        self.module = setup.module
        self.steps = self.phase.epochs * setup.steps_per_epoch
        if resumed is None:
            setup.load_start(index)
        else:
            checkpoints.restore(self.module, resumed.model, setup.last)
        trained = freeze(self.module, self.phase.train)
        self.average = AveragedModel(self.module, avg_fn=_moving_average(setup.run.ema))
        self.averaged: PlateModel = self.average.module  # pyright: ignore[reportAttributeAccessIssue]
        optimizer = AdamW(
            trained,
            self.phase.learning_rate,
            betas=setup.run.betas,
            weight_decay=setup.run.weight_decay,
        )
        self.model, self.optimizer = self.accelerator.prepare(self._compiled(), optimizer)
        self.schedule = _schedule(self.phase, optimizer, self.steps)
        self.losses = load_losses(tuple(self.phase.losses), self.accelerator.device)
        self.data = tuple(
            Turn(
                CropDataset(
                    setup.data, setup.manifest, "train", self.phase.augmentation, crop, setup.run.seed
                ),
                max(setup.run.batch * setup.run.crop**2 // crop**2, 1),
            )
            for crop in (setup.run.crop, *setup.run.larger_crops)
        )
        if resumed is None:
            self.position = Position(phase=index, total_step=setup.total_step)
            self._begin()
        else:
            self.position = resumed.position
            self._go_on(resumed)

    def run(self, max_steps: int | None) -> bool:
        """Train to the end of the phase; False if a signal or ``max_steps`` came first."""
        setup, saved_at = self.setup, time.monotonic()
        objective = self._objective()
        batches = self._batches(self.position.total_step)
        while self.position.step < self.steps and self.position.stale < self.phase.patience:
            if max_steps is not None and self.position.total_step >= max_steps:
                return False
            self._step(batches, objective)
            epoch_ended = self.position.step % setup.steps_per_epoch == 0
            if epoch_ended:
                self._validate()
            stop = setup.stop_asked() or self.position.total_step == max_steps
            if stop or epoch_ended or time.monotonic() - saved_at > 60 * setup.run.save_minutes:
                self._save(setup.last)
                saved_at = time.monotonic()
            if stop:
                return False
        return True

    def settle(self) -> None:
        """Make the phase's best the run's, unless it ended with less fidelity than it began."""
        position, best = self.position, self.folder / "best.pt"
        if self.accelerator.is_main_process and position.best_gain > position.start_gain:
            checkpoints.save(self.setup.best, checkpoints.read(best))
        self.reporting.phase_end(self.phase.name, position)
        self.setup.total_step = position.total_step
        self.accelerator.wait_for_everyone()
        self.accelerator.free_memory()

    def _begin(self) -> None:
        """Measure where the phase starts from."""
        reporting, position = self.reporting, self.position
        reporting.phase_begin(self.phase, self.steps, position)
        gain = reporting.validation(self.averaged, position)
        values = {}
        if self.phase.balance:
            first = self.setup.micro_batches(position.total_step)
            numbers = [number for number, _ in zip(first, range(_BALANCE_BATCHES), strict=False)]
            batches = loader(self.data, numbers, 0)
            values = doing_nothing(self.losses, (batch.to(self.accelerator.device) for batch in batches))
        self.position = replace(position, start_gain=gain, best_gain=gain, doing_nothing=values)
        if not self.setup.best.is_file():
            self._save(self.setup.best, with_optimizer=False)
        self._save(self.setup.last)

    def _go_on(self, resumed: Checkpoint) -> None:
        checkpoints.restore(self.averaged, resumed.ema, self.setup.last)
        self.average.n_averaged.fill_(resumed.position.averaged)
        self.optimizer.load_state_dict(resumed.optimizer)
        self.schedule.load_state_dict(resumed.scheduler)
        torch.set_rng_state(resumed.random)
        self.reporting.phase_begin(self.phase, self.steps, self.position)

    def _step(self, batches: Iterator[Batch], objective: Objective) -> None:
        """One optimizer step over ``accumulate`` micro-batches on every process."""
        run, accelerator = self.setup.run, self.accelerator
        began, waited, rows, names = time.monotonic(), 0.0, [], ()
        self.model.train()
        rest_frozen_norms(self.module)
        for number in range(run.accumulate):
            asked = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - asked
            batch = batch.to(accelerator.device)
            last = number == run.accumulate - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(self.model):
                estimate_cv = self.model(batch.input_cv, batch.peak_cv, batch.below, batch.above)
                total, values = objective(estimate_cv, batch)
                accelerator.backward(total / run.accumulate)
            rows.append(torch.stack([total.detach(), *values.values()]))
            names = tuple(values)
        norm = accelerator.clip_grad_norm_(self.model.parameters(), run.gradient_clip)
        if norm is None or not torch.isfinite(norm):
            raise self._diverged()
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.module)
        if isinstance(self.schedule, LambdaLR):
            self.schedule.step()
        self.position = replace(
            self.position,
            step=self.position.step + 1,
            total_step=self.position.total_step + 1,
            averaged=int(self.average.n_averaged),
        )
        mean = accelerator.reduce(torch.stack(rows).mean(0), "mean").tolist()  # pyright: ignore[reportAttributeAccessIssue]
        self.reporting.step(
            self.position,
            loss=mean[0],
            losses=dict(zip(names, mean[1:], strict=True)),
            learning_rate=rate,
            gradient_norm=float(norm),
            seconds=time.monotonic() - began,
            waited=waited,
        )

    def _validate(self) -> None:
        gain = self.reporting.validation(self.averaged, self.position)
        better = gain > self.position.best_gain
        best_gain = max(gain, self.position.best_gain)
        self.position = replace(
            self.position, best_gain=best_gain, stale=0 if better else self.position.stale + 1
        )
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(gain)
        if better:
            self._save(self.folder / "best.pt", with_optimizer=False)

    def _objective(self) -> Objective:
        scale = self.position.doing_nothing
        weights = {name: weight / scale.get(name, 1.0) for name, weight in self.phase.losses.items()}
        return Objective(self.losses, weights, self.setup.run.clamp_leak, self.phase.harm)

    def _batches(self, total_step: int) -> Iterator[Batch]:
        return iter(loader(self.data, self.setup.micro_batches(total_step), self.setup.run.workers))

    def _compiled(self) -> nn.Module:
        """Return the model for training, compiled where that is asked for and works."""
        model = InLsb(self.module)
        if not self.setup.run.compile:
            return model
        try:
            compiled = torch.compile(model)
            plate = torch.zeros(1, 3, self.setup.run.crop, self.setup.run.crop)
            half = torch.full((1, 1, 1, 1), HALF_BIN)
            compiled(plate, torch.full((1, 1, 1, 1), 255.0), half, half).sum().backward()
            self.module.zero_grad(set_to_none=True)
        except Exception as error:  # a compiler fails in more ways than can be named
            self.reporting.warn(
                f"torch.compile does not work here, going on without ({type(error).__name__})"
            )
            return model
        return compiled  # pyright: ignore[reportReturnType]  a module in all that matters

    def _save(self, path: Path, with_optimizer: bool = True) -> None:
        if self.accelerator.is_main_process:
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoints.save(path, self._checkpoint(with_optimizer))

    def _checkpoint(self, with_optimizer: bool) -> Checkpoint:
        module, setup = self.module, self.setup
        return Checkpoint(
            architecture=checkpoints.architecture_of(module),
            config=module.config,
            model=module.state_dict(),
            ema=self.averaged.state_dict(),
            optimizer=self.optimizer.state_dict() if with_optimizer else {},
            scheduler=self.schedule.state_dict() if with_optimizer else {},
            position=self.position,
            identity=setup.identity(self.index),
            random=torch.get_rng_state(),
        )

    def _diverged(self) -> DivergedError:
        step = self.position.total_step + 1
        return DivergedError(
            f"phase '{self.phase.name}', step {step}: the gradient is not finite; begin another run with a lower"
            f" 'learning_rate', from 'model: {{weights: {self.setup.best}}}' if that is good"
        )


def _memory_shortage(setup: Setup) -> MemoryShortageError:
    run = setup.run
    return MemoryShortageError(
        f"out of memory with batch {run.batch} and crop {run.crop} on {setup.accelerator.device}: lower 'batch' and"
        " raise 'accumulate' by the same factor, or lower 'crop', or set 'checkpointing: true'"
    )


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return the update of an exponential moving average that forgets its first steps sooner."""

    def update(average: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(average, value.to(average.dtype), 1 - keep)

    return update


def _schedule(phase: Phase, optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR | ReduceLROnPlateau:
    if phase.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=phase.plateau)

    def rate(step: int) -> float:
        if step < phase.warmup:
            return (step + 1) / phase.warmup
        done = (step - phase.warmup) / max(steps - phase.warmup, 1)
        return 0.5 * (1 + torch.cos(torch.tensor(torch.pi * min(done, 1.0))).item())

    return LambdaLR(optimizer, rate)
