"""In which precision a processor multiplies quickly, and half-precision products taken so.

Processors without instructions for bfloat16 (those with AVX2 at most, as most desktop computers have) emulate it: there
linear layers take about six times as long as in float32, convolutions hundreds of times (docs/benchmarks.md). So such
a processor multiplies in float32, and rounds what comes out to the precision of what went in: that is what the
instructions it lacks would do. Weights and passing results stay as small as they were.
"""

# The question that PyTorch asks itself before it hands half precision to oneDNN has no public name.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

_PIECE_VALUES = 4_000_000
"""So much of a linear layer's matrix, and of its input, stands in float32 at once: 16 MB each."""


def has_half(dtype: torch.dtype) -> bool:
    """Whether this processor multiplies bfloat16 or float16 as such."""
    if not torch.backends.mkldnn.is_available():
        return False
    asked = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    return cast(bool, asked[dtype]())


def quick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where products in it are at least as quick as in float32, else float32; graphics devices are trusted."""
    return torch.float32 if device.type == "cpu" and not has_half(torch.bfloat16) else torch.bfloat16


def mixed_precision(device: torch.device) -> torch.autocast:
    """Within this block products are taken in `quick_dtype`, whatever the dtype of the weights; sums stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=quick_dtype(device) == torch.bfloat16)


def quick_products(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Within this block products of `dtype` on `device` are taken in float32 and rounded, if that is quicker there."""
    half = dtype in (torch.bfloat16, torch.float16)
    return ProductsInFloat32() if half and device.type == "cpu" and not has_half(dtype) else nullcontext()


class ProductsInFloat32(TorchFunctionMode):
    """Linear layers, convolutions and matrix products of half-precision tensors are taken in float32 and rounded.

    Attention is left alone: PyTorch's own kernel does so by itself.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch in place of `func`."""
        kwargs = kwargs or {}
        if func not in _PRODUCTS or not _half(args[0]):
            return func(*args, **kwargs)
        if func is F.linear and not kwargs:
            return _linear(*args)
        return func(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()}).to(args[0].dtype)


_PRODUCTS = frozenset({F.linear, F.conv2d, F.conv3d, torch.matmul, torch.Tensor.matmul, torch.mm, torch.bmm})


def _linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    rows = states.reshape(-1, states.shape[-1])
    out = torch.empty((len(rows), len(weight)), dtype=states.dtype)
    piece = max(1, _PIECE_VALUES // weight.shape[1])
    for column in range(0, len(weight), piece):
        columns = slice(column, column + piece)
        matrix, added = weight[columns].float(), None if bias is None else bias[columns].float()
        for row in range(0, len(rows), piece):
            out[row : row + piece, columns] = F.linear(rows[row : row + piece].float(), matrix, added)
    return out.view(*states.shape[:-1], len(weight))


def _half(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)


def _widened(value: Any) -> Any:
    return value.float() if _half(value) else value
