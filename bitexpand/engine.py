"""The engine: a model, its device and its tiles; code values in, expanded code values out, both numpy.

Only this file converts between numpy (H, W, C) and torch (N, C, H, W).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from bitexpand import native
from bitexpand.afar import View
from bitexpand.afar import view as view_of
from bitexpand.clipped import calm
from bitexpand.code_values import (
    MAX_BITS,
    MIN_BITS,
    ROUNDED,
    Bins,
    Codes,
    Floats,
    bins,
    peak,
    source_kind,
)
from bitexpand.errors import DeviceError, GuardError, MemoryShortageError, UsageError
from bitexpand.guard import Guard, GuardReport
from bitexpand.models import registry
from bitexpand.models.base import estimate_cv
from bitexpand.models.smooth import edge_gated_blur
from bitexpand.models.table import default_bound
from bitexpand.tiling import Tile, check_overlap, check_tile, largest_tile, smallest_tile, tiles

Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]

PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16", "fp16")
_LOW_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}
_STRIP_PIXELS = 1 << 17  # on CPUs: a few channels of so many pixels stay in the caches
# Fixed, so that the choice of tiles, and with it the last bits of a frame, does not depend on the load of the
# machine; only a machine that cannot spare this much gets smaller tiles.
_ACTIVATION_BUDGET = 3 << 30


@dataclass(frozen=True)
class Expanded:
    """A frame as the engine leaves it.

    Attributes:
        plate_cv: float32 (H, W, C), in LSB, inside the bins.
        report: what the guard saw.
    """

    plate_cv: Floats
    report: GuardReport


@dataclass(frozen=True)
class _Plate:
    """A plate, or a tile of one, on the device; code values in LSB.

    Attributes:
        codes: (h, w, C), int32, or uint16 for compiled steps.
        plate_cv: float32 (1, C, h, w).
    """

    codes: Tensor
    plate_cv: Tensor

    @cached_property
    def extremes(self) -> tuple[Tensor, Tensor]:
        """The largest and the smallest sample of each cell, as :func:`bitexpand.native.extremes` has them."""
        return native.extremes(self.plate_cv)


class Expander:
    """Predicts, for every pixel of a plate, where inside its bin the true value lay.

    Args:
        model: a name of ``bitexpand models``, or a weights file.
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:N" or "mps".
        precision: of the network's inside: "fp32", "bf16", "fp16"; "auto" is bf16 where the CPU computes in it and
            the model's estimates stay within 0.01 LSB, else fp32. The plate itself and the final addition are
            float32 always.
        strength: 0 leaves the code values as they are, 1 moves them as far as the model says.
        tile: largest tile side in pixels; None chooses by the memory at hand.
        overlap: pixels that tiles share; None takes the model's own.
        post_smooth: sigma in pixels of an edge-gated blur after the model; 0 is none.
        threads: CPU threads of the network; None leaves torch's choice.

    Raises:
        UnknownNameError, CheckpointError, MissingInputError: the model cannot be had.
        DeviceError: the device is not there.
        UsageError: a setting is out of range.
    """

    def __init__(
        self,
        model: str | Path = "pyramid",
        *,
        device: str = "auto",
        precision: Precision = "auto",
        strength: float = 1.0,
        tile: int | None = None,
        overlap: int | None = None,
        post_smooth: float = 0.0,
        threads: int | None = None,
    ) -> None:
        if not 0 <= strength <= 1:
            raise UsageError(f"--strength {strength}: give a number from 0 (no change) to 1")
        if not 0 <= post_smooth <= 32:
            raise UsageError(f"--post-smooth {post_smooth}: give a sigma of 0 (none) to 32 px")
        if precision not in PRECISIONS:
            raise UsageError(f"--precision {precision}: give one of {', '.join(PRECISIONS)}")
        if threads is not None and threads < 1:
            raise UsageError(f"--threads {threads}: give 1 or more")
        if threads is not None:
            use_threads(threads)
        self.threads = torch.get_num_threads()
        self.device = find_device(device)
        loaded = registry.load(model)
        self.model_name, self.weights_sha256 = loaded.name, loaded.weights_sha256
        self._module = loaded.module.to(self.device)
        if self.device.type == "cpu":
            self._module.strip_pixels = _STRIP_PIXELS
        if precision == "auto":
            precision = "bf16" if self._module.narrows and self._computes_bf16() else "fp32"
        self._autocast_to = _LOW_PRECISION.get(precision)
        if self._autocast_to and self._module.narrows:
            self._module.narrow(self._autocast_to)
            self._autocast_to = None
        # Whole cells, in tiles and in frames: half of one at an edge would shift what is interpolated between them.
        self._grid = loaded.module.grid
        self._overlap = _ceil_to(loaded.module.overlap, self._grid) if overlap is None else overlap
        check_overlap(self._overlap, self._grid)
        if tile is not None:
            check_tile(tile, self._overlap, self._grid)
        self._tile = tile
        self._strength, self._post_smooth = strength, post_smooth

    def expand(
        self,
        plate_cv: npt.NDArray[np.integer],
        bits: int | None = None,
        bound: float | None = None,
        source: str = ROUNDED.name,
    ) -> Floats:
        """Expand one frame.

        Args:
            plate_cv: uint8 or uint16, (H, W), (H, W, 1) or (H, W, 3), code values of the plate in its own log
                or display encoding, 0 .. 2**bits - 1.
            bits: bits of a sample, 2 to 12; None is 8 for uint8 and must be given for uint16.
            bound: largest move in LSB; 0.5 keeps every value in its bin, so rounding gives the plate back. None is
                what the source kind allows, or the model's own bound where that is wider.
            source: what made the plate, a name of :data:`bitexpand.code_values.SOURCE_KINDS`.

        Returns:
            float32, same shape, same encoding, in LSB; divide by 2**bits - 1 for a signal in [0, 1].

        Raises:
            UsageError, UnknownNameError: a shape, type, bit depth, value or source kind that is none of the above.
            GuardError: the model gave values that are not finite.
            MemoryShortageError: the frame does not fit even in the smallest tiles.
        """
        codes, bits = _checked_codes(plate_cv, bits)
        kind = source_kind(source)
        bound = default_bound(self.model_name, kind.half_width) if bound is None else bound
        limits = bins(bits, bound, kind=kind)
        return self.expand_frame(codes, limits).plate_cv.reshape(plate_cv.shape)

    def expand_frame(self, codes: Codes, limits: Bins) -> Expanded:
        """Expand (H, W, 1) or (H, W, 3) uint16 code values within given bins, and report; see ``expand``."""
        tile = (self._tile, self._tile) if self._tile else self._automatic_tile(*codes.shape[:2])
        try:
            return self._expand_tiled(codes, limits, tile)
        except (RuntimeError, MemoryError) as error:
            smaller = self._smaller_tile(tile, codes.shape)
            if not is_out_of_memory(error):
                raise
            if smaller is None:
                raise _memory_shortage(codes.shape) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            return self._expand_tiled(codes, limits, smaller)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise _memory_shortage(codes.shape) from error

    @torch.inference_mode()
    def _expand_tiled(self, codes: Codes, limits: Bins, tile: tuple[int, int]) -> Expanded:
        guard = Guard(limits, self.device, self._strength)
        codes = np.require(codes, requirements=("C", "W"))  # PyTorch warns of what is read-only
        height, width, _ = codes.shape
        pieces = list(tiles(height, width, tile, self._overlap, self._grid))
        if len(pieces) == 1:
            plate = self._plate(codes)
            view = self._view(plate, limits, tile) if self._module.sees_afar else None
            expanded_cv = self._expand_piece(plate, limits, guard, pieces[0], view).numpy()
        else:
            view = self._view(self._plate(codes), limits, tile) if self._module.sees_afar else None
            expanded_cv = np.empty(codes.shape, np.float32)
            for piece in pieces:
                plate = self._plate(codes[piece.window])
                piece_cv = self._expand_piece(plate, limits, guard, piece, view).numpy()
                piece.blend(piece_cv, codes, expanded_cv)
        return Expanded(expanded_cv, guard.report(codes, expanded_cv))

    def _view(self, plate: _Plate, limits: Bins, tile: tuple[int, int]) -> View | None:
        """See the whole frame from farther away."""
        return view_of(
            plate.plate_cv, partial(self._estimate_tiled, limits=limits, tile=tile), plate.extremes
        )

    def _estimate_tiled(self, plate_cv: Tensor, limits: Bins, tile: tuple[int, int]) -> Tensor:
        """Run the model on (1, C, h, w) float32 values of any size; returns the same shape, in LSB, not clamped."""
        height, width = plate_cv.shape[-2:]
        pieces = list(tiles(height, width, tile, self._overlap, self._grid))
        if len(pieces) == 1:
            return self._estimate(plate_cv, limits)
        values_cv = plate_cv[0].permute(1, 2, 0).cpu().numpy()
        whole_cv = np.empty(values_cv.shape, np.float32)
        for piece in pieces:
            estimate = self._estimate(plate_cv[..., piece.window[0], piece.window[1]], limits)
            piece.blend(estimate[0].permute(1, 2, 0).float().cpu().numpy(), values_cv, whole_cv)
        return torch.from_numpy(whole_cv).to(self.device).permute(2, 0, 1)[None]

    def _expand_piece(
        self, plate: _Plate, limits: Bins, guard: Guard, piece: Tile, view: View | None
    ) -> Tensor:
        """Expand one tile to guarded float32 (h, w, C) in LSB on the CPU."""
        plate_cv = plate.plate_cv
        estimate_cv = self._estimate(plate_cv, limits)
        if view is not None:
            estimate_cv = view.blended(plate_cv, estimate_cv, piece.rows.start, piece.columns.start)
        if self._post_smooth:
            estimate_cv = edge_gated_blur(estimate_cv, self._post_smooth)
        estimate_cv = calm(plate_cv[0], estimate_cv[0], limits, plate.extremes)
        try:
            return guard(plate.codes, estimate_cv.permute(1, 2, 0)).contiguous().cpu()
        except GuardError as error:
            raise GuardError(
                f"model {self.model_name}: {error}; nothing was written for this frame"
            ) from error

    def _plate(self, codes: Codes) -> _Plate:
        """Put (h, w, C) code values on the device."""
        if self.device.type == "cpu" and native.available():
            integers = torch.from_numpy(np.ascontiguousarray(codes))
            return _Plate(integers, native.part_channels(integers))
        integers = torch.from_numpy(codes.astype(np.int32)).to(self.device)
        plate_cv = integers.permute(2, 0, 1)[None].to(torch.float32, memory_format=torch.contiguous_format)
        return _Plate(integers, plate_cv)

    def _estimate(self, plate_cv: Tensor, limits: Bins) -> Tensor:
        """Run the model on (1, C, h, w) float32 code values; returns the same shape, in LSB, not clamped."""
        height, width = plate_cv.shape[-2:]
        cell = self._module.multiple
        padded = torch.empty((1, 3, _ceil_to(height, cell), _ceil_to(width, cell)), device=self.device)
        padded[..., :height, :width] = plate_cv
        padded[..., :height, width:] = padded[..., :height, width - 1 : width]
        padded[..., height:, :] = padded[..., height - 1 : height, :]
        kind = limits.kind
        with self._autocast():
            estimate = estimate_cv(self._module, padded, peak(limits.bits), kind.below, kind.above)
        estimate = estimate[..., :height, :width]
        return estimate if plate_cv.shape[1] == 3 else estimate.mean(1, keepdim=True)

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, self._autocast_to) if self._autocast_to else nullcontext()

    def _computes_bf16(self) -> bool:
        """Tell whether the CPU has instructions for bfloat16; without them it would take longer than float32."""
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch before 2.9 can not tell
        has_some = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        return self.device.type == "cpu" and bool(has_some)

    def _automatic_tile(self, height: int, width: int) -> tuple[int, int]:
        """Return the best height and width of tiles that the memory at hand allows."""
        if self.device.type == "cuda":
            spare = torch.cuda.mem_get_info(self.device)[0]
        else:
            spare = psutil.virtual_memory().available
        pixels = min(_ACTIVATION_BUDGET, spare // 2) // self._module.bytes_per_pixel
        return largest_tile(height, width, pixels, self._overlap, self._grid)

    def _smaller_tile(self, tile: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Return half of the tile that ran out of memory, along both sides, or None if there is no smaller one."""
        smallest = smallest_tile(self._overlap, self._grid)
        used = (min(t, _ceil_to(side, self._grid)) for t, side in zip(tile, shape, strict=False))
        height, width = (max(side // 2 // self._grid * self._grid, smallest) for side in used)
        return (height, width) if height < tile[0] or width < tile[1] else None


def use_threads(count: int) -> None:
    """Set how many CPU threads the network takes in the thread that calls this."""
    torch.set_num_threads(count)


def find_device(name: str) -> torch.device:
    """Return the torch device for a name; "auto" is the first of CUDA, MPS, CPU that is there.

    Raises:
        DeviceError: it is not there, or is no device of ours.
    """
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise DeviceError(f"--device {name}: give auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    if kind == "mps" and not has_mps:
        raise DeviceError("--device mps: this machine has no Metal device; use cpu or auto")
    return torch.device(name)


def _checked_codes(plate_cv: npt.NDArray[np.integer], bits: int | None) -> tuple[Codes, int]:
    if plate_cv.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"plate_cv is {plate_cv.dtype}; give uint8 or uint16 code values")
    if bits is None and plate_cv.dtype != np.uint8:
        raise UsageError(f"plate_cv is {plate_cv.dtype}: say its bit depth with bits=, up to {MAX_BITS}")
    bits = 8 if bits is None else bits
    if not MIN_BITS <= bits <= MAX_BITS:
        raise UsageError(f"bits={bits}: give {MIN_BITS} to {MAX_BITS}")
    codes = plate_cv[..., None] if plate_cv.ndim == 2 else plate_cv
    if codes.ndim != 3 or codes.shape[2] not in (1, 3) or codes.size == 0:
        raise UsageError(f"plate_cv has shape {plate_cv.shape}; give (H, W), (H, W, 1) or (H, W, 3)")
    if codes.max() > peak(bits):
        raise UsageError(
            f"plate_cv holds {codes.max()}, above {peak(bits)}, the largest {bits}-bit code value"
        )
    return codes.astype(np.uint16), bits


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether torch, or Python, ran out of memory; torch says so in several ways."""
    text = str(error)
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "can't allocate memory" in text
        or "not enough memory" in text
        or "out of memory" in text
    )


def _memory_shortage(shape: tuple[int, ...]) -> MemoryShortageError:
    return MemoryShortageError(
        f"out of memory on a frame of {shape[1]}x{shape[0]}, even in smaller tiles; give a smaller --tile,"
        " fewer --threads, or a machine with more memory"
    )


def _ceil_to(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
