"""Counts what torch does: operators, multiplications of convolutions, bytes written; and times the convolutions."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bitexpand.native.layers import NarrowBlock, NarrowDown


class OperationCounter(TorchDispatchMode):
    """Counts while it is entered.

    Attributes:
        calls: of each operator that computes; views and reshapes do not.
        macs: of convolutions, by the type of their input.
        convolution_seconds: likewise.
        written: bytes of every result, new or in place.
        passes: how many results are larger than ``cache`` bytes, and so go to main memory.
        spilled: their bytes.
    """

    def __init__(self, cache: int = 8 << 20) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.macs: Counter[torch.dtype] = Counter()
        self.convolution_seconds: defaultdict[torch.dtype, float] = defaultdict(float)
        self.written, self.passes, self.spilled, self._cache = 0, 0, 0, cache

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Run an operator and count it."""
        kwargs = kwargs or {}
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors([args, list(kwargs.values())])}
        run = self._convolve if "conv" in func.name() else _run
        result = run(func, args, kwargs)
        self._count_writes(func, given, result)
        return result

    def _convolve(
        self, func: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Tensor:
        plate, weight = args[0], args[1]
        _wait_for(plate)
        started = time.perf_counter()
        result = func(*args, **kwargs)
        _wait_for(plate)
        self.convolution_seconds[plate.dtype] += time.perf_counter() - started
        # weights (out, in, ...): each output sample takes in * ... of them
        self.macs[plate.dtype] += result.numel() * weight[0].numel()
        return result

    def _count_writes(self, func: torch._ops.OpOverload, given: set[int], result: object) -> None:
        written = [
            tensor.numel() * tensor.element_size()
            for tensor in _tensors(result)
            if func._schema.is_mutable or tensor.untyped_storage().data_ptr() not in given
        ]
        if written:
            self.calls[func.name()] += 1
        self.written += sum(written)
        large = [size for size in written if size > self._cache]
        self.passes += len(large)
        self.spilled += sum(large)


def count(call: Callable[[], object], cache: int = 8 << 20) -> OperationCounter:
    """Return what a call did; of the compiled steps it counts those that are convolutions alone.

    Their multiplications are those of the layers: the steps themselves take a half to two thirds of them.
    """
    with OperationCounter(cache) as counter, _timed(counter, NarrowBlock, 2), _timed(counter, NarrowDown, 1):
        call()
    return counter


@contextmanager
def _timed(counter: OperationCounter, step: type[NarrowBlock | NarrowDown], layers: int) -> Iterator[None]:
    """Count and time what a compiled step of so many layers of 3x3 does."""
    run: Callable[..., Tensor] = step.__call__

    def timed(self: Any, *given: Tensor | None) -> Tensor:  # noqa: ANN401
        started = time.perf_counter()
        result = run(self, *given)
        counter.convolution_seconds[torch.bfloat16] += time.perf_counter() - started
        counter.macs[torch.bfloat16] += layers * result.numel() * 9 * self.inputs
        return result

    with mock.patch.object(step, "__call__", timed):
        yield


def _run(func: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
    return func(*args, **kwargs)


def _wait_for(plate: Tensor) -> None:
    if plate.is_cuda:
        torch.cuda.synchronize()


def _tensors(result: object) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, (tuple, list)):
        for part in result:
            yield from _tensors(part)
