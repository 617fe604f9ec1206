"""What can be told of a job before any worker starts: colour spaces, and whether there is such a model.

Without torch, which takes half a gigabyte: whether the weights are sound is for the workers to say.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from bitexpand import jobs
from bitexpand.errors import MissingInputError, UnknownNameError
from bitexpand.models.table import BOUNDS


def check_settings(settings: jobs.Settings) -> None:
    """Check what the tasks of a job would all fail for; the same settings again cost nothing.

    Raises:
        UnknownNameError: no such model or colour space.
        MissingInputError: no such weights file or config.
        ColorError: spaces between which nothing converts.
    """
    _check_model(settings.model)
    _check_colors(settings.config, settings.in_space, settings.out_space)


@functools.lru_cache(maxsize=256)
def _check_model(model: str) -> None:
    if model in BOUNDS or os.path.isfile(model):
        return
    if Path(model).suffix or os.sep in model:
        raise MissingInputError(f"--model {model}: there is no such weights file on this machine")
    raise UnknownNameError("model", model, BOUNDS)


@functools.lru_cache(maxsize=256)
def _check_colors(config: str | None, in_space: str | None, out_space: str | None) -> None:
    jobs.color_path(jobs.Settings(config=config, in_space=in_space, out_space=out_space))
