"""What TensorBoard shows of a run: ``tensorboard --logdir RUN/tensorboard``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bitexpand.code_values import Floats
from training.pictures import strip

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


_logger = logging.getLogger(__name__)


class Board:
    """Curves and pictures of a run as an event file.

    Args:
        folder: of the event files.
        enabled: False writes nothing, and does not wait for the import: only one process of a run may write.
        resume_at: the last step that is done, which may be 0, or None for a new run; what a killed run drew after
            it is taken back, so that no step is drawn twice.
    """

    def __init__(self, folder: Path, enabled: bool = True, resume_at: int | None = None) -> None:
        self._writer: SummaryWriter | None = None
        self._phase = ""
        if enabled:
            from torch.utils.tensorboard import SummaryWriter  # takes two seconds

            self._writer = SummaryWriter(str(folder), purge_step=0 if resume_at is None else resume_at + 1)

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def losses(
        self,
        step: int,
        phase: str,
        losses: Mapping[str, float],
        total: float,
        learning_rate: float,
        gradient_norm: float,
    ) -> None:
        """Draw a step: each loss, their weighted sum, the learning rate and the norm of the gradient.

        A loss means the same in every phase, so each has one curve; the sum does not, so each phase has its own.
        """
        curves = {f"loss/{name}": value for name, value in losses.items()}
        curves |= {f"total/{phase}": total, "optimizer/learning_rate": learning_rate}
        curves["optimizer/gradient_norm"] = gradient_norm

        def draw(writer: SummaryWriter) -> None:
            for name, value in curves.items():
                writer.add_scalar(name, value, step)
            if phase != self._phase:
                writer.add_text("phase", phase, step)

        self._draw(draw)
        self._phase = phase

    def gains(self, step: int, gains_db: Mapping[str, float]) -> None:
        """Draw gains over doing nothing in dB, by stratum or "all"; NaN, a stratum without samples, is left out."""

        def draw(writer: SummaryWriter) -> None:
            for name, gain in gains_db.items():
                if not math.isnan(gain):
                    writer.add_scalar(f"gain/{name}", gain, step)
            writer.flush()

        self._draw(draw)

    def pictures(self, step: int, name: str, input_cv: Floats, output_cv: Floats, truth_cv: Floats) -> None:
        """Show a plate, float32 (H, W, 3) code values in LSB, as :func:`training.pictures.strip` does."""
        if self._writer is not None:  # a strip takes a tenth of a second
            picture = strip(input_cv, output_cv, truth_cv)
            self._draw(lambda writer: writer.add_image(f"plate/{name}", picture, step, dataformats="HWC"))

    def close(self) -> None:
        """Write what is left and close the file."""
        self._draw(lambda writer: writer.close())
        self._writer = None

    def _draw(self, draw: Callable[[SummaryWriter], None]) -> None:
        """Draw, if anything is drawn at all; a disk that is full ends the drawing and not the training."""
        try:
            if self._writer is not None:
                draw(self._writer)
        except OSError as error:
            _logger.warning("TensorBoard's curves end here: %s", error)
            self._writer = None
