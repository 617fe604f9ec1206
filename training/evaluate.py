"""Gains of any model, weights file or training checkpoint on a prepared folder, by the way that users' plates take.

Every plate is rounded to code values, expanded whole by :class:`bitexpand.engine.Expander` and held against what it
was before. Nothing is averaged away: each plate is told, each kind of pixel, and what got worse.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitexpand.code_values import MAX_BITS, MIN_BITS, Floats, peak, requantise
from bitexpand.color import conversion, load_config
from bitexpand.engine import Expander
from bitexpand.errors import CheckpointError, UsageError
from bitexpand.metrics.strata import STRATA, Errors, errors
from bitexpand.models import checkpoint, registry
from training import checkpoints
from training.dataset import BITS, whole_plates
from training.log import strict
from training.manifest import Manifest, PlateRow, Split

LEAST_SHARE = 0.02  # of a plate's samples: a stratum below it is too small to be told of as a loss
_USE = {
    "train": "TRAINING DATA: models are fitted to it, so this says nothing of other plates",
    "val": "not trained on, but checkpoints are chosen by it",
    "test": "not trained on, and nothing is chosen by it",
}


@dataclass(frozen=True)
class PlateErrors:
    """The errors on one plate."""

    row: PlateRow
    errors: Errors


@dataclass(frozen=True)
class Loss:
    """A plate, or one of its strata, that came out worse than it went in.

    Attributes:
        plate: its name.
        stratum: or "all".
        gain: in dB, below 0.
        share: of the plate's samples.
    """

    plate: str
    stratum: str
    gain: float
    share: float


@dataclass(frozen=True)
class Evaluation:
    """What a model wins on the plates of a split, and where it loses.

    Attributes:
        model: as it was asked for.
        weights_sha256: :func:`bitexpand.models.checkpoint.digest` of its weights, "none" without weights.
        data: digest of the manifest.
        split: "train", "val" or "test".
        encoding: OCIO space that the plates were rounded in.
        bits: that they were rounded to.
        limit: largest side in pixels of the centre of each plate that was used; None is all of it.
        plates: in the order of the manifest.
    """

    model: str
    weights_sha256: str
    data: str
    split: Split
    encoding: str
    bits: int
    limit: int | None
    plates: tuple[PlateErrors, ...]

    @property
    def pooled(self) -> Errors:
        """The errors of all plates together: a large plate with large errors counts most."""
        return sum((plate.errors for plate in self.plates), Errors())

    @property
    def mean_gain(self) -> float:
        """Mean of the plates' gains in dB; plates without an error to begin with do not count. NaN if all are."""
        gains = [plate.errors.gain() for plate in self.plates]
        counted = [gain for gain in gains if not np.isnan(gain)]
        return float(np.mean(counted)) if counted else float("nan")

    @property
    def conditions(self) -> str:
        """A line on what was measured, and what use the model had made of these plates before."""
        count = f"{len(self.plates)} plate" + ("s" if len(self.plates) != 1 else "")
        part = "" if self.limit is None else f", the {self.limit} px at their centres"
        return (
            f"{count}{part}, rounded to {self.bits} bits in {self.encoding};"
            f" split {self.split} of the data {self.data[:12]} ({_USE[self.split]})"
        )

    def losses(self, least_share: float = LEAST_SHARE) -> list[Loss]:
        """Return what has a gain below 0: plates, and strata that have at least such a share of their plate."""
        rows = [(plate.row.name, "all", plate.errors.gain(), 1.0) for plate in self.plates]
        rows += [
            (plate.row.name, stratum, plate.errors.gain(stratum), plate.errors.share(stratum))
            for plate in self.plates
            for stratum in STRATA
        ]
        found = [Loss(*row) for row in rows if row[2] < 0 and row[3] >= least_share]
        return sorted(found, key=lambda loss: loss.gain)

    def table(self) -> list[tuple[str, ...]]:
        """Return rows of text: titles; gains in dB of each plate, their mean, the pooled error; shares in %."""
        pooled = self.pooled
        rows = [("gain in dB", "all", *STRATA)]
        rows += [(plate.row.name, *_cells(plate.errors)) for plate in self.plates]
        rows.append(("mean of plates", _cell(self.mean_gain), *("" for _ in STRATA)))
        rows.append(("pooled error", *_cells(pooled)))
        rows.append(("share of samples, %", "100", *(f"{100 * pooled.share(s):.1f}" for s in STRATA)))
        return rows

    def text(self) -> str:
        """Return the table in aligned columns, what was measured below it, and what was lost."""
        rows = self.table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in rows
        ]
        lost = [f"worse than doing nothing: {lost_text(loss)}" for loss in self.losses()]
        return "\n".join([*lines, f"{self.model}: {self.conditions}", *lost])

    def facts(self) -> dict[str, object]:
        """Return all of it as strict JSON's kinds; a gain is null where there was no error to begin with."""
        facts = {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "data": self.data,
            "split": self.split,
            "is_training_data": self.split == "train",
            "encoding": self.encoding,
            "bits": self.bits,
            "limit": self.limit,
            "mean_gain_db": self.mean_gain,
            "pooled": _facts(self.pooled),
            "plates": [
                {"name": plate.row.name, "scene": plate.row.scene, **_facts(plate.errors)}
                for plate in self.plates
            ],
            "losses": [vars(loss) for loss in self.losses()],
        }
        found = strict(facts)
        assert isinstance(found, dict)
        return found


def evaluate(
    model: str,
    folder: Path,
    split: Split = "val",
    *,
    curve: str | None = None,
    bits: int = 8,
    limit: int | None = None,
    on_training_data: bool = False,
    device: str = "auto",
    threads: int | None = None,
    on_plate: Callable[[PlateErrors], None] | None = None,
) -> Evaluation:
    """Measure a model on the plates of a split.

    The truth is a plate clipped to [0, 1] in its stored encoding, and in the curve's, as no bin reaches beyond; its
    unknown pixels do not count.

    Args:
        model: a name of ``bitexpand models``, a weights file, or a training checkpoint, of which the moving average
            is taken.
        folder: a prepared folder.
        split: of its plates.
        curve: OCIO space to convert the plates to before they are rounded; None is the stored encoding.
        bits: of the code values, 2 to 12; strata are told apart by their LSB.
        limit: largest side in pixels of a centred part of each plate; None is all of it.
        on_training_data: allow the split "train", and label it.
        device, threads: as :class:`Expander` takes them.
        on_plate: told each plate's errors when they are there.

    Raises:
        UsageError: training data that was not asked for, an empty split, a bad setting; a curve that is unknown.
        MissingInputError: there is no such model or folder.
        CheckpointError: a file that is neither weights nor a checkpoint.
    """
    if split == "train" and not on_training_data:
        raise UsageError(
            f"{folder}: split 'train' is what models are fitted to, so a gain on it says nothing of other plates;"
            " take 'val' or 'test', or ask for training data explicitly"
        )
    if not MIN_BITS <= bits <= MAX_BITS:
        raise UsageError(f"bits {bits}: give {MIN_BITS} to {MAX_BITS}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: give 1 px or more")
    manifest = Manifest.load(folder)
    manifest.of_split(split, folder)
    encode, encoding = _encoder(manifest, curve, bits)
    with _expander(model, device, threads) as expander:
        found = []
        for row, stored_cv, known in whole_plates(folder, manifest, split, limit):
            plate = PlateErrors(row, _measure(expander, encode(stored_cv), bits, known))
            found.append(plate)
            if on_plate is not None:
                on_plate(plate)
        sha256 = expander.weights_sha256
    return Evaluation(model, sha256, manifest.digest(), split, encoding, bits, limit, tuple(found))


def lost_text(loss: Loss) -> str:
    """Return a loss as text: plate, stratum, gain and share."""
    where = "all of it" if loss.stratum == "all" else f"{loss.stratum}, {100 * loss.share:.1f} % of it"
    return f"{loss.plate} ({where}): {loss.gain:+.2f} dB"


def _measure(expander: Expander, truth_cv: Floats, bits: int, known: np.ndarray | None) -> Errors:
    input_cv = requantise(truth_cv)
    expanded_cv = expander.expand(input_cv.astype(np.uint16), bits)
    return errors(input_cv, expanded_cv, truth_cv, known)


def _encoder(manifest: Manifest, curve: str | None, bits: int) -> tuple[Callable[[Floats], Floats], str]:
    """Return what makes code values of ``bits`` in a curve of stored ones, and the name of the curve."""
    stored_peak, wanted_peak = np.float32(peak(BITS)), np.float32(peak(bits))
    if curve is None:
        return lambda stored_cv: stored_cv * (wanted_peak / stored_peak), manifest.encoding
    config = load_config(manifest.config)
    encoding = config.canonical(curve)
    convert = conversion(config, manifest.encoding, encoding, lossless=True)

    def encode(stored_cv: Floats) -> Floats:
        return np.clip(convert.apply(stored_cv / stored_peak), 0, 1) * wanted_peak

    return encode, encoding


@contextmanager
def _expander(model: str, device: str, threads: int | None) -> Iterator[Expander]:
    path = Path(model)
    if model in registry.names() or path.suffix.lower() not in checkpoint.PICKLE_SUFFIXES:
        yield Expander(model, device=device, threads=threads)
        return
    try:
        expander = Expander(path, device=device, threads=threads)
    except CheckpointError as not_weights:
        with tempfile.TemporaryDirectory() as folder:
            weights = _averaged_weights(path, Path(folder), not_weights)
            expander = Expander(weights, device=device, threads=threads)
    yield expander


def _averaged_weights(path: Path, folder: Path, not_weights: CheckpointError) -> Path:
    """Write the weights of a training checkpoint as the file that inference reads."""
    try:
        module, architecture, config = checkpoints.load_model(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path}: neither a weights file nor a training checkpoint."
            f" As weights: {not_weights}. As a checkpoint: {error}"
        ) from error
    weights = folder / "averaged.safetensors"
    checkpoint.save(weights, module, architecture, config)
    return weights


def _cells(found: Errors) -> list[str]:
    return [_cell(found.gain()), *(_cell(found.gain(stratum)) for stratum in STRATA)]


def _cell(gain: float) -> str:
    return "–" if np.isnan(gain) else f"{gain:+.2f}"


def _facts(found: Errors) -> dict[str, object]:
    return {
        "gain_db": found.gain(),
        "samples": int(found.samples.sum()),
        "strata": {s: {"gain_db": found.gain(s), "share": found.share(s)} for s in STRATA},
    }
