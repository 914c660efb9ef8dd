"""Which kernel computes attention: PyTorch's own, or a package that is quicker on some cards.

* native: `torch.nn.functional.scaled_dot_product_attention`, on every device, with every mask.
* flash: flash-attn 3 or 2, exact up to rounding; for CUDA cards, in half precision.
* sage: SageAttention, which takes queries and keys in eight bits. A draft, so only who asks for it gets it.

diffusers calls them. What a package is worth on this machine is found out before its first use: it has to agree with
PyTorch's own attention on a small random sample of the shape that our calls have, and nothing is taken on trust.
Kernels that would be fetched from a hub are left alone. Calls with a bias (MCAM's) stay native wherever they come from.
"""

# diffusers keeps what it knows of installed packages to itself.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _check_attention_backend_requirements,
    dispatch_attention_fn,
)
from diffusers.models.transformers.transformer_wan import WanAttention

from engine.request import Attention

_log = logging.getLogger(__name__)

_KERNELS: dict[Attention, tuple[AttentionBackendName, ...]] = {
    "flash": (AttentionBackendName._FLASH_3, AttentionBackendName.FLASH),
    "sage": (AttentionBackendName.SAGE,),
}
"""Each kind's kernels, the best first."""
PACKAGES: dict[Attention, str] = {"flash": "flash-attn", "sage": "sageattention"}

TOLERANCES: dict[Attention, float] = {"flash": 0.005, "sage": 0.1}
"""The largest relative error (of norms) against PyTorch's attention in the same precision. In bfloat16 that one itself
is 0.002 away from exact arithmetic, and rounding as flash does is 0.002 away from it; queries and keys in eight bits
cost 0.01, and weights and values in eight-bit floats 0.04 (docs/benchmarks.md)."""

_SAMPLE_TOKENS, _SAMPLE_QUERIES, _SAMPLE_HEADS = 1300, 300, 3
"""No multiples of a kernel's tiles, and fewer queries than keys, as the video's among references."""

MISSING = "“{name}” attention is not installed here (the package {package}); PyTorch's own is used instead."
FAILING = "“{name}” attention does not work with this model on this machine; PyTorch's own is used instead."
DEVIATING = "“{name}” attention is off by {error} % here, where {allowed} % are allowed; PyTorch's own is used instead."


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How attention is computed: `name` of the kind, diffusers' `kernel`, and a sentence for the user (or nothing)
    where it is another one than they asked for, or one that they have is not fit for use."""

    name: Attention = "native"
    kernel: AttentionBackendName = AttentionBackendName.NATIVE
    notice: str = ""


def available_backends() -> tuple[Attention, ...]:
    """The kinds whose packages are installed here, PyTorch's own first; whether they work is not asked."""
    return ("native", *(name for name in _KERNELS if _installed(name)))


def automatic(device: torch.device, dtype: torch.dtype) -> Attention:
    """The kind that “auto” tries: only one that gives the exact result up to rounding, where it can work at all."""
    half = dtype in (torch.bfloat16, torch.float16)
    return "flash" if device.type == "cuda" and half and _installed("flash") else "native"


def choose_backend(wish: Attention, device: torch.device, dtype: torch.dtype, head_dim: int) -> Choice:
    """How a network on `device` in `dtype`, with heads of `head_dim` channels, computes attention under this wish.

    The answer is the same every time on the same machine. Packages are tried once in the life of the process.
    """
    name = automatic(device, dtype) if wish == "auto" else wish
    if name == "native":
        return Choice()
    kernels = _installed(name)
    if not kernels:
        return Choice(notice=MISSING.format(name=name, package=PACKAGES[name]))
    errors = [deviation(kernel, device, dtype, head_dim) for kernel in kernels]
    for kernel, error in zip(kernels, errors, strict=True):
        if error is not None and error <= TOLERANCES[name]:
            return Choice(name=name, kernel=kernel)
    measured = [error for error in errors if error is not None]
    if measured:
        percent, allowed = f"{min(measured):.2%}"[:-1], f"{TOLERANCES[name]:.1%}"[:-1]
        return Choice(notice=DEVIATING.format(name=name, error=percent, allowed=allowed))
    # Who has a package that their card is too old for did not ask for it.
    return Choice(notice="" if wish == "auto" else FAILING.format(name=name))


@functools.cache
@torch.no_grad()
def deviation(kernel: AttentionBackendName, device: torch.device, dtype: torch.dtype, head_dim: int) -> float | None:
    """How far a kernel's result is from PyTorch's own on the sample, relative; None where it fails or gives no numbers.

    The sample has two rows, as free references have, and queries cut out of a longer sequence, as segments are.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (2, _SAMPLE_TOKENS, _SAMPLE_HEADS, head_dim)
    query, key, value = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(3))
    query = query[:, _SAMPLE_QUERIES : 2 * _SAMPLE_QUERIES]
    expected = dispatch_attention_fn(query, key, value, backend=AttentionBackendName.NATIVE).float()
    try:
        found = dispatch_attention_fn(query, key, value, backend=kernel).float()
        error = float((found - expected).norm() / expected.norm())
    except Exception:  # whatever a package of others raises: it is not used, and the log says why
        _log.warning("attention by %s does not work on %s in %s", kernel.value, device, dtype, exc_info=True)
        return None
    if error != error:  # NaN
        _log.warning("attention by %s gives no numbers on %s in %s", kernel.value, device, dtype)
        return None
    return error


def attend_with(network: torch.nn.Module, kernel: AttentionBackendName) -> None:
    """Let all attention of `network` that has no bias be computed by `kernel`, whatever is set for the process."""
    for module in network.modules():
        if isinstance(module, WanAttention):
            cast(Any, module.processor)._attention_backend = kernel


def _installed(name: Attention) -> tuple[AttentionBackendName, ...]:
    """The kernels of a kind whose packages are here, in a version that diffusers can use."""
    return tuple(kernel for kernel in _KERNELS[name] if _usable(kernel))


def _usable(kernel: AttentionBackendName) -> bool:
    try:
        _check_attention_backend_requirements(kernel)
    except RuntimeError:  # how diffusers says that the package is missing
        return False
    return True
