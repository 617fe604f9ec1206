"""The metrics of one frame: which of them can be had, on which encodings, under which names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bitexpand.code_values import ROUNDED, Floats, peak, to_signal
from bitexpand.color import Conversion
from bitexpand.compare_input import Loaded, Spaces
from bitexpand.engine import Expander
from bitexpand.errors import BitexpandError, ColorError, PlateError, UnknownNameError, UsageError
from bitexpand.metrics import banding, fidelity, perceptual, safety, strata
from bitexpand.metrics.fidelity import MAX_DB
from bitexpand.metrics.safety import Safety
from bitexpand.metrics.strata import MAX_GAIN, STRATA, Errors
from bitexpand.metrics.temporal import Flicker

EXTRA_METRICS: Mapping[str, tuple[str, Callable[[Floats, Floats], float]]] = MappingProxyType(
    {
        "lpips": ("lpips", perceptual.lpips),
        "flip": ("flip", perceptual.flip),
        "cvvdp": ("cvvdp_jod", perceptual.cvvdp),
    }
)
"""What ``--also`` takes: a column, and its metric of two sRGB signals; each needs a package, and takes seconds."""

SRGB, LINEAR, REC709 = "sRGB - Texture", "scene_linear", "Linear Rec.709 (sRGB)"
_VIEWS = "sRGB, scene-linear, Oklab, or graded from scene-linear"
_WHITE = 1.0  # the range of signals, and of scene-linear light, whose highlights lie above


@dataclass(frozen=True)
class Sums:
    """What can be pooled exactly; add two frames' to have it of both together.

    Attributes:
        errors: of source and result against the truth, by stratum; None without a truth.
        safety: of the result against the source; None before anything was added.
        flicker: against the frames before; empty of a first frame.
    """

    errors: Errors | None = None
    safety: Safety | None = None
    flicker: Flicker = field(default_factory=Flicker)

    def __add__(self, other: Sums) -> Sums:
        errors = self.errors + other.errors if self.errors and other.errors else self.errors or other.errors
        kept = self.safety + other.safety if self.safety and other.safety else self.safety or other.safety
        return Sums(errors, kept, self.flicker + other.flicker)

    def values(self) -> dict[str, float]:
        """Return the columns that follow from the sums."""
        found: dict[str, float] = {}
        if self.errors:
            found["gain_db"] = self.errors.gain()
            found |= {f"gain_{stratum}_db": self.errors.gain(stratum) for stratum in STRATA}
            found |= {f"{stratum}_share": self.errors.share(stratum) for stratum in STRATA}
        if self.safety:
            found["match_share"], found["in_bin_share"] = self.safety.match_share, self.safety.in_bin_share
            found["largest_move_lsb"] = self.safety.largest_move
        if self.flicker.pixels:
            found["still_share"], found["flicker_result_lsb"] = (
                self.flicker.still_share,
                self.flicker.result_lsb,
            )
            if self.flicker.error_lsb is not None and self.flicker.truth_lsb is not None:
                found["flicker_error_lsb"] = self.flicker.error_lsb
                found["flicker_truth_lsb"] = self.flicker.truth_lsb
        return found


@dataclass
class Measurement:
    """What was measured of one frame, apart from its ``Sums``: columns by name, and remarks on them."""

    sums: Sums
    values: dict[str, float] = field(default_factory=dict[str, float])
    notes: list[str] = field(default_factory=list[str])


class _View(NamedTuple):
    """Result and truth in one encoding, float32 (H, W, C), and its distance from black to white."""

    name: str
    result: Floats
    truth: Floats
    data_range: float


class Meter:
    """Measures frames one by one; several threads may use it at once.

    Args:
        spaces: conversions, shared with what loads the frames.
        also: names of ``EXTRA_METRICS``.
        model: a name of ``bitexpand models`` or a weights file, to tell idempotence; None leaves it out.
    """

    def __init__(self, spaces: Spaces, also: tuple[str, ...] = (), model: str | None = None) -> None:
        self._spaces, self._also, self._model = spaces, also, model
        self._expander = lru_cache(maxsize=2)(Expander)
        self._one_at_a_time = (
            Lock()
        )  # what runs a network has memory for one frame, and uses all cores itself

    def measure(self, loaded: Loaded) -> Measurement:
        """Measure one frame.

        Raises:
            UsageError: an optional library that was asked for is not there, a model or the encoding.
        """
        if self._also and loaded.space is None:
            raise UsageError(
                f"--also {self._also[0]} looks at sRGB: name the plate's encoding with --in-space"
            )
        found = Measurement(Sums(safety=safety.safety(loaded.result_cv, loaded.source_cv, loaded.bits)))
        if loaded.truth_cv is not None:
            self._against_truth(loaded, loaded.truth_cv, found)
        self._banding(loaded, found)
        if self._model and loaded.source_kind != ROUNDED.name:
            found.notes.append(f"no idempotence: a {loaded.source_kind} source is not the rounded result")
        elif self._model:
            with self._one_at_a_time:
                expander = self._expander(self._model, strength=loaded.strength)
                found.values["idempotence_lsb"] = safety.idempotence(
                    expander, loaded.result_cv, loaded.bits, loaded.bound
                )
        found.values |= found.sums.values()
        return found

    def _against_truth(self, loaded: Loaded, truth_cv: Floats, found: Measurement) -> None:
        errors = strata.errors(loaded.source_cv, loaded.result_cv, truth_cv)
        found.sums = Sums(errors, found.sums.safety)
        error = fidelity.lsb_errors(loaded.result_cv, truth_cv)
        names = ("error_mean_lsb", "error_p999_lsb", "error_max_lsb")
        found.values |= dict(zip(names, error, strict=True))
        for view in self._views(loaded, truth_cv, found):
            self._compare_view(view, found)
        if found.values["psnr_cv_db"] >= MAX_DB:
            found.notes.append(f"no error at all: PSNR is capped at {MAX_DB:g} dB, gain at {MAX_GAIN:g} dB")
        if fidelity.is_constant(truth_cv):
            found.notes.append("the truth is one flat colour, such as black: PSNR and gain say little of it")
        if not errors.before.any():
            found.notes.append("the source has no error to begin with: there is no gain")

    def _views(self, loaded: Loaded, truth_cv: Floats, found: Measurement) -> Iterator[_View]:
        """Yield the encodings that the plate can be had in, code values first."""
        yield _View("cv", loaded.result_cv, truth_cv, peak(loaded.bits))
        signals = [_rgb(to_signal(plate_cv, loaded.bits)) for plate_cv in (loaded.result_cv, truth_cv)]
        for name, space in (("linear", LINEAR), ("rec709", REC709), ("srgb", SRGB)):
            conversion = self._conversion(loaded, loaded.space, space, found)
            if conversion is not None:
                result, truth = (conversion.apply(signal) for signal in signals)
                yield _View(name, result, truth, _WHITE)

    def _compare_view(self, view: _View, found: Measurement) -> None:
        values = found.values
        if view.name == "rec709":
            values["oklab_mean"], values["oklab_p99"] = perceptual.oklab_delta_e(view.result, view.truth)
            return
        if view.name == "srgb":  # as on a display
            view = view._replace(result=view.result.clip(0, 1), truth=view.truth.clip(0, 1))
        pair = view.result, view.truth
        values[f"psnr_{view.name}_db"] = fidelity.psnr(*pair, view.data_range)
        with _left_out(found):
            values[f"ssim_{view.name}"] = fidelity.ssim(*pair, view.data_range)
        if view.name == "srgb":
            for column, metric in (EXTRA_METRICS[name] for name in self._also):
                with self._one_at_a_time, _left_out(found):
                    values[column] = metric(*pair)

    def _banding(self, loaded: Loaded, found: Measurement) -> None:
        """Measure source, result and truth alike, as a plate has some banding that is there to stay."""
        plates = {"source": loaded.source_cv, "result": loaded.result_cv}
        if loaded.truth_cv is not None:
            plates["truth"] = loaded.truth_cv
        signals = {role: to_signal(plate_cv, loaded.bits) for role, plate_cv in plates.items()}
        among = banding.grades(
            self._conversion(loaded, loaded.space, LINEAR, found),
            self._conversion(loaded, LINEAR, SRGB, found),
        )
        for role, signal in signals.items():
            for name, runs in banding.graded_runs(signal, among).items():
                found.values[f"runs_{_key(name)}_{role}_px"] = runs.mean
            found.values[f"distinct_{role}"] = float(np.mean(loaded.distinct[role]))
        with _left_out(found, UsageError):
            scores = dict(zip(signals, banding.cambi(list(signals.values()), loaded.bits), strict=True))
            found.values |= {f"cambi_{role}": score for role, score in scores.items()}
            if "truth" in scores:
                found.values["cambi_distance"] = abs(scores["result"] - scores["truth"])

    def _conversion(self, loaded: Loaded, src: str | None, dst: str, found: Measurement) -> Conversion | None:
        """Return a conversion, or None with a remark where the space or the plate's encoding is not known."""
        if loaded.space is None or src is None:
            note = f"the plate's encoding is not known (--in-space): no numbers on {_VIEWS}"
        else:
            try:
                return self._spaces.conversion(loaded.config, src, dst)
            except (UnknownNameError, ColorError) as error:
                note = f"no numbers on {dst}: {error}"
        if note not in found.notes:
            found.notes.append(note)
        return None


@contextmanager
def _left_out(found: Measurement, *kinds: type[BitexpandError]) -> Iterator[None]:
    """Make a remark of what keeps one metric from being had, such as a picture that is too small for it."""
    try:
        yield
    except (PlateError, *kinds) as error:
        found.notes.append(f"left out: {error}")


def _key(grade: str) -> str:
    return grade.replace(" ", "_").replace("+", "plus_")


def _rgb(signal: Floats) -> Floats:
    return signal if signal.shape[2] == 3 else signal.repeat(3, axis=2)
