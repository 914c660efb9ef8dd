"""Memory given back to the machine between renders, not only to the allocators of this process."""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
from collections.abc import Callable

import torch


def give_back(device: torch.device, *, networks: bool = False) -> None:
    """Return what nothing holds any more: the caches of a card, pinned memory, and the free parts of the C library's
    pools. `networks`: also networks that were let go, which hold on to themselves until the garbage collector comes.

    Allocators keep what is freed for their own next use. Left at that, a process stands at its busiest moment for ever,
    and other programs, and the forecast of the next render, see memory taken that is not in use.
    """
    if networks:
        gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.accelerator.memory.empty_host_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """The call of glibc; other systems and C libraries have none, and return large pieces by themselves."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
