"""A trial: a truth, the code values made of it, and what is known of both; and what came of expanding it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bitexpand.code_values import ROUNDED, Floats, middles, peak, requantise, source_kind
from bitexpand.metrics.strata import STRATA, Errors, errors

BITS = 8
LEAST_SHARE = 0.02  # of a plate's samples: a stratum below it is too small to be told
TOLERANCE = 0.02  # dB below doing nothing that is still level with it
ALL = "all"

CodeValues = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Label = TypeVar("Label")


@dataclass(frozen=True)
class Trial:
    """One picture to expand.

    Attributes:
        group: what it belongs to, such as a curve; becomes a folder's name. What is in one group runs together.
        name: unique in the group; its last part is the plate's, what is before slashes becomes sub-folders.
        truth_cv: float32 (H, W, 3) in LSB of 8 bits, within 0 .. 255, not rounded.
        codes: uint8 (H, W, 3), what a plate of it holds.
        kind: what made them: a name of :data:`bitexpand.code_values.SOURCE_KINDS`.
        source: what ``--source`` is told made them.
        known: bool (H, W), where the truth is to be trusted; None is everywhere.
    """

    group: str
    name: str
    truth_cv: Floats
    codes: CodeValues
    kind: str = ROUNDED.name
    source: str = ROUNDED.name
    known: Mask | None = None

    @staticmethod
    def rounded(group: str, name: str, plate_cv: Floats, known: Mask | None = None) -> Trial:
        """Return the trial of a plate in LSB, clipped to 0 .. 255, as no bin reaches beyond."""
        truth_cv = np.clip(plate_cv, 0, peak(BITS)).astype(np.float32)
        return Trial(group, name, truth_cv, requantise(truth_cv).astype(np.uint8), known=known)

    @property
    def untouched_cv(self) -> Floats:
        """What doing nothing gives, in LSB: the middle of what each code value stands for."""
        return middles(self.codes, BITS, source_kind(self.kind))

    def errors(self, result_cv: Floats) -> Errors:
        """Hold a result, float32 (H, W, 3) in LSB, and doing nothing against the truth, by stratum."""
        return errors(self.untouched_cv, result_cv, self.truth_cv, self.known)


class Method(Protocol):
    """Something that expands plates: ours, through the command line, or a peer."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        ...

    def expand(self, trials: Sequence[Trial]) -> Iterable[Floats]:
        """Return float32 (H, W, 3) in LSB of 8 bits for each trial, in order."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a method made of a trial.

    Attributes:
        group, name: of the trial.
        errors: sums of squared errors by stratum, before and after.
    """

    group: str
    name: str
    errors: Errors

    def gain(self, stratum: str = ALL) -> float:
        """Return the gain in dB of a stratum, or of all; NaN where the stratum is too small to be told."""
        if stratum == ALL:
            return self.errors.gain()
        return self.errors.gain(stratum) if self.errors.share(stratum) >= LEAST_SHARE else float("nan")


@dataclass(frozen=True)
class Violation:
    """A plate, or one of its strata, that came out worse than it went in.

    Attributes:
        group, name: of the trial.
        stratum: or "all".
        gain: in dB, below 0.
        share: of the plate's samples.
        before, after: root mean squared errors in LSB. Both are tiny where most of a stratum is clipped, as its
            truth is then known exactly, and the gain says little.
    """

    group: str
    name: str
    stratum: str
    gain: float
    share: float
    before: float
    after: float


def outcomes(method: Method, trials: Sequence[Trial]) -> list[Outcome]:
    """Expand trials and measure them."""
    results = method.expand(trials)
    return [
        Outcome(trial.group, trial.name, trial.errors(result_cv))
        for trial, result_cv in zip(trials, results, strict=True)
    ]


def outcomes_by(method: Method, trials: Mapping[Label, Sequence[Trial]]) -> dict[Label, list[Outcome]]:
    """Expand several series of trials in one go, and measure each."""
    measured = iter(outcomes(method, [trial for series in trials.values() for trial in series]))
    return {label: list(itertools.islice(measured, len(series))) for label, series in trials.items()}


def violations(measured: Iterable[Outcome], tolerance: float = TOLERANCE) -> list[Violation]:
    """Return all that is more than ``tolerance`` dB below doing nothing, worst first; small strata do not count."""
    found = [
        _violation(o, stratum) for o in measured for stratum in (ALL, *STRATA) if o.gain(stratum) < -tolerance
    ]
    return sorted(found, key=lambda violation: violation.gain)


def mean_gain(measured: Iterable[Outcome], stratum: str = ALL) -> float:
    """Return the mean of the plates' gains in dB; NaN where no plate has any."""
    gains = [gain for o in measured if not np.isnan(gain := o.gain(stratum))]
    return float(np.mean(gains)) if gains else float("nan")


def worst_gain(measured: Iterable[Outcome]) -> float:
    """Return the least of the plates' gains in dB; NaN where no plate has any."""
    return min((gain for o in measured if not np.isnan(gain := o.gain())), default=float("nan"))


def pooled(measured: Iterable[Outcome]) -> Errors:
    """Return the errors of all plates together."""
    return sum((o.errors for o in measured), Errors())


def _violation(outcome: Outcome, stratum: str) -> Violation:
    told = outcome.errors
    at = slice(None) if stratum == ALL else STRATA.index(stratum)
    count = int(np.sum(told.samples[at]))
    before, after = (float(np.sqrt(np.sum(squares[at]) / count)) for squares in (told.before, told.after))
    share = count / int(told.samples.sum())
    return Violation(outcome.group, outcome.name, stratum, outcome.gain(stratum), share, before, after)
