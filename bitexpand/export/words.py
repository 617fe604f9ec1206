"""Says functions of torch in the words of the file that is written, while a model is traced into it.

The models are written for today's torch. A TorchScript archive must follow ``.half()``, and ONNX lacks a few
functions, so these are replaced as the tracer meets them; the models themselves know nothing of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Words = Mapping[Callable[..., Any], Callable[..., Any]]


class Saying(TorchFunctionMode):
    """Calls, as long as it is entered, the replacements in ``words`` instead of torch's functions."""

    def __init__(self, words: Words) -> None:
        super().__init__()
        self._words = words

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return self._words.get(func, func)(*args, **(kwargs or {}))


def _in_the_weights_precision(convolution: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a convolution take its input in any precision, as autocast would."""

    @functools.wraps(convolution)
    def convolve(x: Tensor, weight: Tensor, *rest: Any, **named: Any) -> Tensor:  # noqa: ANN401
        return convolution(
            x.type_as(weight), weight, *rest, **named
        )  # x.to(weight.dtype) would trace float32

    return convolve


def log1p(x: Tensor) -> Tensor:
    """Log(1 + x), exact for small x too (Goldberg 1991, theorem 4)."""
    total = 1 + x
    rounded = total - 1
    return torch.where(rounded == 0, x, torch.log(total) * x / torch.where(rounded == 0, 1.0, rounded))


def expm1(x: Tensor) -> Tensor:
    """Exp(x) - 1, exact for small x too, by the hyperbolic tangent of its half."""
    half = torch.tanh(x.clamp(-2, 2) / 2)
    return torch.where(x.abs() < 1, 2 * half / (1 - half), torch.exp(x) - 1)


def sigmoid(x: Tensor) -> Tensor:
    """Logistic function with its tails: ONNX Runtime's own ends at 1e-8, and beliefs divide such numbers."""
    small = torch.exp(-x.abs())
    return torch.where(x < 0, small, torch.ones_like(small)) / (1 + small)


# Of erfcc in Press et al., Numerical Recipes, 2nd edition 1992, section 6.2; relative error below 1.2e-7
_ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806,
    0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277,
)  # fmt: skip


def erfcx(x: Tensor) -> Tensor:
    """Scaled complementary error function exp(x^2) erfc(x), by a Chebyshev fit."""
    size = x.abs()
    t = 1 / (1 + size / 2)
    exponent = torch.zeros_like(t)
    for coefficient in reversed(_ERFC):
        exponent = exponent * t + coefficient
    right = t * torch.exp(exponent)
    left = 2 * torch.exp((x * x).clamp(max=math.log(torch.finfo(torch.float32).max) - 1)) - right
    return torch.where(x < 0, left, right)


TORCHSCRIPT: Words = {
    function: _in_the_weights_precision(function) for function in (torch.conv2d, torch.conv_transpose2d)
}
ONNX: Words = {
    torch.expm1: expm1,
    torch.log1p: log1p,
    torch.sigmoid: sigmoid,
    torch.special.erfcx: erfcx,
}
