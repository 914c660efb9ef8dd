"""The one door through which pickled weights come in: tensors and plain containers, nothing that could run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

import torch


def load_tensors(source: Path | IO[bytes], *, mmap: bool = False) -> object:
    """Whatever a `.pt` file or stream holds, on the CPU. Of a damaged one torch raises nearly any exception, and
    `pickle.UnpicklingError` for one that wants more than tensors; its advice to file reports is not passed on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
