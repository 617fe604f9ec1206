"""Samples: the truth where the bins say, the same everywhere and always; what is wrong with a plate names it."""

from __future__ import annotations

import atexit
import dataclasses
import itertools
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from bitexpand.code_values import peak, requantise
from bitexpand.errors import BitexpandError, MissingInputError, PlateError, UnknownNameError, UsageError
from training.augmentation import Augmentation
from training.dataset import CropDataset, Turn, _Collated, loader, whole_plates
from training.manifest import Manifest, PlateRow, Split, Storage
from training.sample import Batch

pytestmark = pytest.mark.usefixtures("one_thread")
CURVES = ("ACEScct", "ARRI LogC3 (EI800)", "ARRI LogC4", "S-Log3 S-Gamut3", "Cineon", "sRGB - Texture")
EVERYTHING = Augmentation(
    curves=CURVES,
    exposure=(-3, 3),
    zoom=(0.5, 3),
    shuffle_channels=True,
    tone=0.3,
    procedural=0.25,
    grain=0.4,
    kinds={"rounded": 3, "truncated": 1, "dithered": 1, "triangular": 1, "jpeg": 1, "ten_bit": 1},
)
PLAIN = Augmentation(flip=False, transpose=False)
Plates = dict[str, np.ndarray]


def some_plate(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """Return a log plate: ramps, an edge, a little noise, light beyond both ends of the range."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    plate = (
        random.uniform(0.2, 0.6, 3) + x[..., None] * random.uniform(0, 0.004, 3) + (y[..., None] > 20) * 0.1
    )
    plate += random.normal(0, 0.001, plate.shape)
    plate[:2, :2], plate[-2:, -2:] = -0.1, 1.2
    return plate.astype(np.float32)


def prepare(
    folder: Path,
    plates: Plates,
    unknown: Plates | None = None,
    storage: Storage = "float",
    split: Split = "train",
) -> Manifest:
    """Write a prepared folder; plates are of one split."""
    rows = []
    for name, plate in plates.items():
        mask = (unknown or {}).get(name)
        if storage == "uint16":
            plate = np.rint(np.clip(plate, 0, 1) * 65535).astype(np.uint16)
        np.save(folder / f"{name}.npy", plate)
        if mask is not None:
            np.save(folder / f"{name}.unknown.npy", mask)
        rows.append(
            PlateRow(
                name=f"test/{name}",
                file=f"{name}.npy",
                unknown=None if mask is None else f"{name}.unknown.npy",
                height=plate.shape[0],
                width=plate.shape[1],
                scene=name,
                split=split,
                source="test",
                licence="CC0-1.0",
                origin="made by the test",
                original_sha256="0" * 64,
                sha256="0" * 64,
            )
        )
    return Manifest("ACEScct", "bitexpand", storage, tuple(rows))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CropDataset:
    """Return three plates, one of them smaller than a crop, with all augmentations at once."""
    folder = tmp_path_factory.mktemp("prepared")
    plates = {"wide": some_plate(0), "tall": some_plate(1, 70, 36), "small": some_plate(2, 9, 11)}
    return CropDataset(folder, prepare(folder, plates), "train", EVERYTHING, crop=24, seed=1)


def equal(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(Batch))


def picture(tensor: torch.Tensor) -> np.ndarray:
    return tensor[0].permute(1, 2, 0).numpy()


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 2**40))
def test_whatever_was_done_to_a_plate_truth_and_input_stay_together(
    dataset: CropDataset, number: int
) -> None:
    sample = dataset[number]
    for plate in (sample.input_cv, sample.truth_cv):
        assert plate.shape == (1, 3, 24, 24)
        assert plate.dtype == torch.float32
        assert plate.is_contiguous()
        assert plate.min() >= 0
        assert plate.max() <= sample.peak_cv
    for scalar in (sample.below, sample.above, sample.peak_cv):
        assert scalar.shape == (1, 1, 1, 1)
    assert torch.equal(sample.input_cv, sample.input_cv.round())
    assert float(sample.peak_cv) in (255, 1023)
    if float(sample.below) < 4:  # JPEG's error has no bound
        distance = sample.truth_cv - sample.input_cv
        assert (distance >= -sample.below - 1e-3).all()
        assert (distance <= sample.above + 1e-3).all()


def test_everything_happens_and_no_two_samples_are_alike(dataset: CropDataset) -> None:
    samples = [dataset[number] for number in range(120)]
    assert len({s.truth_cv.numpy().tobytes() for s in samples}) == 120
    assert {(float(s.below), float(s.above), float(s.peak_cv)) for s in samples} == {
        (0.5, 0.5, 255),
        (0, 1, 255),
        (1, 1, 255),
        (1.5, 1.5, 255),
        (4, 4, 255),
        (0.5, 0.5, 1023),
    }
    other = dataclasses.replace(dataset, seed=2)
    assert not any(equal(other[number], samples[number]) for number in range(20))


def test_without_augmentation_the_truth_is_a_piece_of_the_plate(tmp_path: Path) -> None:
    plate = some_plate(5)
    made = CropDataset(tmp_path, prepare(tmp_path, {"plate": plate}), "train", PLAIN, crop=16)
    truth_cv = picture(made[3].truth_cv)
    plate_cv = np.clip(plate, 0, 1) * np.float32(255)
    places = [(y, x) for y in range(25) for x in range(41)]
    assert sum(np.array_equal(plate_cv[y : y + 16, x : x + 16], truth_cv) for y, x in places) == 1
    assert np.array_equal(picture(made[3].input_cv), requantise(truth_cv))


def test_integers_on_disk_are_the_same_plate(tmp_path: Path) -> None:
    plates = {"plate": some_plate(6)}
    floats = CropDataset(tmp_path, prepare(tmp_path, plates), "train", PLAIN, crop=16)[0]
    integers = CropDataset(tmp_path, prepare(tmp_path, plates, storage="uint16"), "train", PLAIN, crop=16)[0]
    torch.testing.assert_close(floats.truth_cv, integers.truth_cv, atol=0.51 / 257, rtol=0)


def test_the_extra_bound_widens_every_kind(dataset: CropDataset) -> None:
    wider = dataclasses.replace(dataset, augmentation=dataclasses.replace(EVERYTHING, extra_bound=0.75))
    for number in range(30):
        assert torch.equal(wider[number].below, dataset[number].below + 0.75)
        assert torch.equal(wider[number].above, dataset[number].above + 0.75)
        assert torch.equal(wider[number].input_cv, dataset[number].input_cv)


@pytest.mark.parametrize(("kind", "step"), [("rounded", 1.0), ("ten_bit", 1023 / 255)])
def test_grain_is_in_steps_of_8_bits(tmp_path: Path, kind: str, step: float) -> None:
    manifest = prepare(tmp_path, {"grey": np.full((90, 90, 3), 0.4, np.float32)})
    aug = Augmentation(grain=1, grain_sigma=(0.5, 0.5), kinds={kind: 1})  # pyright: ignore[reportArgumentType]
    made = CropDataset(tmp_path, manifest, "train", aug, crop=90)
    sigmas = [float(made[number].truth_cv.std()) for number in range(8)]
    assert np.mean(sigmas) == pytest.approx(0.5 * step, rel=0.03)


def test_grain_does_not_leave_the_range(tmp_path: Path) -> None:
    manifest = prepare(tmp_path, {"black": np.zeros((30, 30, 3), np.float32)})
    aug = Augmentation(grain=1, grain_sigma=(2, 2))
    truth_cv = CropDataset(tmp_path, manifest, "train", aug, crop=30)[0].truth_cv
    assert float(truth_cv.min()) == 0
    assert float(truth_cv.max()) > 2


@pytest.mark.parametrize("exposure", [-2.0, 2.0])
def test_a_crushed_plate_ends_where_its_curve_has_black(tmp_path: Path, exposure: float) -> None:
    manifest = prepare(tmp_path, {"plate": some_plate(8)})
    crushed = Augmentation(crushed=1, exposure=(exposure, exposure))
    made = CropDataset(tmp_path, manifest, "train", crushed, crop=30)
    darkest = [float(made[number].truth_cv.min()) for number in range(40)]
    assert min(darkest) == pytest.approx(18.59, abs=0.01)  # scene-linear 0 in ACEScct, of 255
    assert np.median(darkest) < 19


@pytest.mark.parametrize(
    "change", [{"exposure": (2, 2)}, {"curves": ("ARRI LogC4",)}, {"tone": 1.0}, {"shuffle_channels": True}]
)
def test_what_changes_the_plate_changes_truth_and_input(tmp_path: Path, change: dict) -> None:
    manifest = prepare(tmp_path, {"plate": some_plate(7)})
    plain = CropDataset(tmp_path, manifest, "train", PLAIN, crop=30)
    changed = dataclasses.replace(plain, augmentation=dataclasses.replace(PLAIN, **change))
    moved = [(changed[n].truth_cv - plain[n].truth_cv).abs().mean() for n in range(4)]
    assert max(map(float, moved)) > 2
    for n in range(4):
        assert torch.equal(changed[n].input_cv, torch.from_numpy(requantise(changed[n].truth_cv.numpy())))


def test_tone_is_one_power_and_one_gain_for_all_channels(tmp_path: Path) -> None:
    plate = np.random.default_rng(0).uniform(0.3, 0.5, (20, 20, 3)).astype(np.float32)
    aug = dataclasses.replace(PLAIN, tone=0.5)
    made = CropDataset(tmp_path, prepare(tmp_path, {"plate": plate}), "train", aug, crop=20)
    for number in range(20):
        changed = np.log2(picture(made[number].truth_cv).ravel() / 255)
        gamma, gain = np.polyfit(np.log2(plate.ravel()), changed, 1)
        assert np.allclose(np.polyval([gamma, gain], np.log2(plate.ravel())), changed, atol=1e-4)
        assert abs(np.log2(gamma)) <= 0.5001
        assert abs(gain) <= 0.5001


def test_plates_are_drawn_by_the_root_of_their_size(tmp_path: Path) -> None:
    plates = {"large": np.full((60, 60, 3), 0.2, np.float32), "small": np.full((20, 20, 3), 0.6, np.float32)}
    made = CropDataset(tmp_path, prepare(tmp_path, plates), "train", Augmentation(), crop=4)
    large = [float(made[number].truth_cv.max()) < 100 for number in range(800)]
    assert np.mean(large) == pytest.approx(60 / 80, abs=0.05)


def test_unknown_pixels_are_never_in_a_crop(tmp_path: Path) -> None:
    plate, unknown = np.full((40, 40, 3), 0.5, np.float32), np.zeros((40, 40), bool)
    plate[20:, 10:15], unknown[20:, 10:15] = 0.9, True
    manifest = prepare(tmp_path, {"plate": plate}, {"plate": unknown})
    made = CropDataset(tmp_path, manifest, "train", Augmentation(zoom=(0.5, 2)), crop=12)
    assert max(float(made[number].truth_cv.max()) for number in range(200)) < 130


def test_plates_without_a_known_crop_give_way_to_others(tmp_path: Path) -> None:
    plates = {"bad": np.full((40, 40, 3), 0.9, np.float32), "good": np.full((40, 40, 3), 0.5, np.float32)}
    manifest = prepare(tmp_path, plates, {"bad": np.ones((40, 40), bool)})
    made = CropDataset(tmp_path, manifest, "train", Augmentation(), crop=12)
    assert max(float(made[number].truth_cv.max()) for number in range(50)) < 130


def test_no_known_crop_anywhere_is_an_error(tmp_path: Path) -> None:
    manifest = prepare(tmp_path, {"bad": some_plate(0)}, {"bad": np.ones((40, 56), bool)})
    made = CropDataset(tmp_path, manifest, "train", Augmentation(), crop=12)
    with pytest.raises(
        PlateError, match=r"no crop of 12 px without unknown pixels .*'test/bad'; lower 'crop'"
    ):
        made[0]


def test_procedural_scenes_need_no_plates(tmp_path: Path) -> None:
    nothing = Manifest("ACEScct", "bitexpand", "float", ())
    made = CropDataset(tmp_path, nothing, "train", Augmentation(procedural=1), crop=20)
    assert float(made[0].truth_cv.std()) > 0
    with pytest.raises(UsageError, match="no plates in split 'train' of .*test_procedural"):
        CropDataset(tmp_path, nothing, "train", Augmentation(procedural=0.5), crop=20)


def test_an_unknown_curve_is_found_before_training(tmp_path: Path) -> None:
    manifest = prepare(tmp_path, {"plate": some_plate(0)})
    with pytest.raises(UsageError, match="key 'curves': unknown colour space 'LogC'"):
        CropDataset(tmp_path, manifest, "train", Augmentation(curves=("LogC",)), crop=20)


def _gone(path: Path) -> None:
    path.unlink()


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _no_array(path: Path) -> None:
    path.write_bytes(b"not numpy")


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _other_shape(path: Path) -> None:
    np.save(path, some_plate(0, 30, 30))


def _other_dtype(path: Path) -> None:
    np.save(path, some_plate(0).astype(np.float64))


def _not_finite(path: Path) -> None:
    np.save(path, np.full((40, 56, 3), np.nan, np.float32))


@pytest.mark.parametrize(
    ("harm", "kind", "message"),
    [
        (_gone, MissingInputError, r"bad.npy, of plate 'test/bad', is not there; run prepare again"),
        (_cut_off, PlateError, r"bad.npy, of plate 'test/bad', cannot be read \(.+\); run prepare again"),
        (_no_array, PlateError, r"bad.npy, of plate 'test/bad', cannot be read \(.+\); run prepare again"),
        (_emptied, PlateError, r"bad.npy, of plate 'test/bad', cannot be read \(.+\); run prepare again"),
        (_other_shape, PlateError, r"'test/bad', is float32 \(30, 30, 3\), and not float32 \(40, 56, 3\)"),
        (_other_dtype, PlateError, r"'test/bad', is float64 \(40, 56, 3\), and not float32 \(40, 56, 3\)"),
        (_not_finite, PlateError, r"plate 'test/bad' of .* holds NaN or Inf; prepare it again"),
    ],
)
def test_a_plate_that_was_harmed_is_named(
    tmp_path: Path, harm: Callable[[Path], None], kind: type[BitexpandError], message: str
) -> None:
    manifest = prepare(tmp_path, {"bad": some_plate(0)})
    made = CropDataset(tmp_path, manifest, "train", Augmentation(), crop=20)
    harm(tmp_path / "bad.npy")
    with pytest.raises(kind, match=message):
        made[0]
    with pytest.raises(kind, match=message):
        list(whole_plates(tmp_path, manifest, "train", None))


def test_workers_and_restarts_give_the_same_batches_and_can_be_left_at_any_time(dataset: CropDataset) -> None:
    straight = list(loader([Turn(dataset, 3)], range(6), workers=0))
    assert equal(straight[1], Batch.of([dataset[3], dataset[4], dataset[5]]))
    state = torch.get_rng_state()
    numbers = [4, 1, 5, 0]  # begins later, as a restart does, and in an order of its own
    endless = loader([Turn(dataset, 3)], itertools.chain(numbers, itertools.count()), workers=2)
    assert all(equal(next(endless), straight[m]) for m in numbers)
    assert len(multiprocessing.active_children()) == 2
    endless.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not multiprocessing.active_children()
    assert torch.equal(torch.get_rng_state(), state)


class Ending(Dataset[Batch]):
    """Leaves a file where Python comes to the end of a process that was sent it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__dict__.update(state)
        atexit.register(self.mark.touch)

    def __getitem__(self, index: int) -> Batch:
        return Batch(*[torch.zeros(1, 3, 8, 8)] * 2, *[torch.zeros(1)] * 3)


def test_python_does_not_end_the_threads_of_a_worker_in_the_midst_of_what_they_do(tmp_path: Path) -> None:
    """It aborted the process now and then, which the training process then reported."""
    batches = list(loader([Turn(Ending(tmp_path / "ended"), 2)], range(3), workers=1))
    assert len(batches) == 3
    assert not (tmp_path / "ended").exists()


def test_datasets_take_turns_and_no_sample_is_shown_twice(dataset: CropDataset) -> None:
    larger = dataclasses.replace(dataset, crop=48)
    batches = list(loader([Turn(dataset, 4), Turn(larger, 1)], range(4), workers=0))
    assert equal(batches[2], Batch.of([dataset[number] for number in (8, 9, 10, 11)]))
    assert equal(batches[3], larger[12])
    assert batches[3].input_cv.shape == (1, 3, 48, 48)


def test_a_workers_error_is_the_datasets_own(tmp_path: Path) -> None:
    manifest = prepare(tmp_path, {"bad": some_plate(0)})
    made = CropDataset(tmp_path, manifest, "train", Augmentation(), crop=20)
    (tmp_path / "bad.npy").unlink()
    for workers in (0, 1):
        with pytest.raises(MissingInputError, match=r"bad.npy, of plate 'test/bad', is not there") as caught:
            list(loader([Turn(made, 2)], range(3), workers=workers))
        assert "Traceback" not in str(caught.value)


class Failing(Dataset[Batch]):
    """Fails with an error that cannot be sent to another process, or by dying."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __getitem__(self, index: int) -> Batch:
        if self.how == "unsendable":
            raise UnknownNameError("colour space", "LogC", ["LogC3"])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_an_error_that_cannot_be_sent_is_said_all_the_same() -> None:
    sent = pickle.loads(pickle.dumps(_Collated((Turn(Failing("unsendable"), 2),))[0]))
    assert isinstance(sent, BitexpandError)
    assert str(sent) == "unknown colour space 'LogC'; did you mean 'LogC3'?"


def test_a_worker_that_dies_does_not_hang_the_training() -> None:
    message = r"a process that makes crops failed \('workers: 0' shows more\): DataLoader worker"
    with pytest.raises(BitexpandError, match=message):
        list(loader([Turn(Failing("killed"), 2)], range(3), workers=1))
    assert not multiprocessing.active_children()


def test_what_goes_wrong_within_a_sample_names_its_plate(
    dataset: CropDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> np.ndarray:
        raise ValueError("a bug")

    monkeypatch.setattr("training.curves.Curves.change", broken)
    number = next(n for n in range(99) if np.random.default_rng([1, n]).random() >= EVERYTHING.procedural)
    with pytest.raises(PlateError, match=rf"plate 'test/\w+', sample {number}: ValueError: a bug"):
        dataset[number]


def test_whole_plates_are_truth_of_8_bits(tmp_path: Path) -> None:
    plates, unknown = {"a": some_plate(0), "b": some_plate(1)}, np.zeros((40, 56), bool)
    unknown[4:9, 20:30] = True
    manifest = prepare(tmp_path, plates, {"b": unknown}, split="val")
    found = list(whole_plates(tmp_path, manifest, "val", None))
    assert [row.name for row, *_ in found] == ["test/a", "test/b"]
    for (_, truth_cv, known), plate in zip(found, plates.values(), strict=True):
        assert truth_cv.dtype == np.float32
        assert np.array_equal(truth_cv, np.clip(plate, 0, 1) * np.float32(peak(8)))
        assert known is None or np.array_equal(known, ~unknown)
    assert found[0][2] is None


@pytest.mark.parametrize(("limit", "size", "top", "left"), [(30, (30, 30), 5, 13), (50, (40, 50), 0, 3)])
def test_large_plates_are_cropped_around_their_centre(
    tmp_path: Path, limit: int, size: tuple[int, int], top: int, left: int
) -> None:
    plate, unknown = some_plate(0), np.random.default_rng(0).random((40, 56)) < 0.2
    manifest = prepare(tmp_path, {"a": plate}, {"a": unknown}, storage="uint16", split="test")
    [(_, truth_cv, known)] = whole_plates(tmp_path, manifest, "test", limit)
    at = (slice(top, top + size[0]), slice(left, left + size[1]))
    np.testing.assert_allclose(truth_cv, np.clip(plate[at], 0, 1) * 255, atol=0.51 / 257)
    assert known is not None
    assert np.array_equal(known, ~unknown[at])


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    manifest = prepare(tmp_path, {"a": some_plate(0)})
    with pytest.raises(UsageError, match="no plates in split 'val' of"):
        next(whole_plates(tmp_path, manifest, "val", None))
