"""Everything that a run tells: JSON lines, TensorBoard, the progress bar; and the validations that it tells of."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from types import TracebackType

from accelerate.utils import gather_object

from bitexpand.code_values import requantise
from bitexpand.metrics.strata import Errors
from bitexpand.models.base import PlateModel
from training.board import Board
from training.checkpoints import Position
from training.dataset import whole_plates
from training.degrade import DEGRADATIONS
from training.log import Bar, StepLog
from training.run_config import Phase
from training.start import Setup
from training.validate import expand, mean_gain, pooled_gains, validate

logger = logging.getLogger("training")


class Reporting:
    """Tells of a run, on the main process only; a context, so that files and bar are closed."""

    def __init__(self, setup: Setup) -> None:
        main = setup.accelerator.is_main_process
        done = setup.total_step if setup.continued else None
        self._setup, self._phase = setup, Phase("", {"l2": 1.0})
        self._log = StepLog(setup.folder / "steps.jsonl", done, main)
        self._board = Board(setup.folder / "tensorboard", main, done)
        self._bar = Bar(main)

    def __enter__(self) -> Reporting:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)
        self._board.close()
        self._log.close()

    def phase_begin(self, phase: Phase, steps: int, position: Position) -> None:
        """Tell that a phase begins, or is gone on with."""
        self._phase = phase
        self._bar.phase(phase.name, position.step, steps)
        self._write("phase", position, losses=dict(phase.losses), steps=steps, done=position.step)

    def step(
        self,
        position: Position,
        *,
        loss: float,
        losses: Mapping[str, float],
        learning_rate: float,
        gradient_norm: float,
        seconds: float,
        waited: float,
    ) -> None:
        """Tell of an optimizer step; ``waited`` is how many of its seconds went by until the crops were there."""
        self._write(
            "step",
            position,
            loss=loss,
            losses=dict(losses),
            learning_rate=learning_rate,
            gradient_norm=gradient_norm,
            seconds=seconds,
            waited=waited,
        )
        self._board.losses(position.total_step, self._phase.name, losses, loss, learning_rate, gradient_norm)
        self._bar.step(loss)

    def validation(self, module: PlateModel, position: Position) -> float:
        """Validate on all processes, tell of it, and return the mean gain over plates in dB."""
        by_plate = self._validate(module.eval())
        gain, pooled = mean_gain(by_plate), pooled_gains(by_plate)
        plates = {name: e.gain() for name, e in by_plate.items()}
        self._write("validation", position, gain=gain, strata=pooled, plates=plates)
        self._board.gains(position.total_step, {"mean of plates": gain, **pooled})
        self._bar.gain(gain)
        self._show_pictures(module, position)
        return gain

    def phase_end(self, name: str, position: Position) -> None:
        """Tell how a phase ended, and warn if it is rejected."""
        accepted = position.best_gain > position.start_gain
        self._write(
            "phase_end", position, accepted=accepted, start=position.start_gain, best=position.best_gain
        )
        if not accepted:
            setup = self._setup
            then = "the next phase begins there too"
            if position.phase + 1 == len(setup.run.phases):
                then = f"the weights that it ended with are in {setup.last}"
            self.warn(
                f"phase '{name}' is rejected: it began with {position.start_gain:+.3f} dB of validation gain and"
                f" never did better; {setup.best} stays what it began with, and {then}"
            )

    def warn(self, text: str) -> None:
        """Warn on the terminal and in the log."""
        self._log.write({"event": "warning", "phase": self._phase.name, "text": text})
        if self._setup.accelerator.is_main_process:
            logger.warning(text)

    def _write(self, event: str, position: Position, **numbers: object) -> None:
        row = {"event": event, "step": position.total_step, "phase": self._phase.name}
        self._log.write({**row, "phase_step": position.step, **numbers})

    def _validate(self, module: PlateModel) -> dict[str, Errors]:
        setup, accelerator = self._setup, self._setup.accelerator
        rows = setup.manifest.of_split("val", setup.data)
        own = tuple(rows[accelerator.process_index :: accelerator.num_processes])
        found: dict[str, Errors] = {}
        if own:
            plates = whole_plates(
                setup.data, replace(setup.manifest, plates=own), "val", setup.run.validation_crop
            )
            found = validate(module, plates, self._phase.augmentation, accelerator.device)
        gathered = gather_object([found]) if accelerator.num_processes > 1 else [found]
        merged = {name: e for part in gathered for name, e in part.items()}
        return dict(sorted(merged.items()))

    def _show_pictures(self, module: PlateModel, position: Position) -> None:
        setup = self._setup
        if not setup.accelerator.is_main_process:
            return
        rounded = DEGRADATIONS["rounded"]
        plates = whole_plates(setup.data, setup.manifest, "val", setup.run.validation_crop)
        for row, truth_cv, _ in islice(plates, setup.run.pictures):
            input_cv = requantise(truth_cv)
            output_cv = expand(module, input_cv, rounded, setup.accelerator.device)
            self._board.pictures(position.total_step, row.name, input_cv, output_cv, truth_cv)
