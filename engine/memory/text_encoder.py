"""The text encoder, read from its files layer by layer as it works.

transformers leaves parameters whose device is “disk” in their safetensors files, and accelerate's hooks bring each to
its layer for the moment it is needed. The files are mapped, so of the table of words only the rows in use are read.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from transformers import UMT5EncoderModel
from transformers.utils import logging as transformers_logging


def load_streamed(folder: Path, dtype: torch.dtype, device: torch.device) -> UMT5EncoderModel:
    """An encoder that computes on `device` and holds one weight at a time; its files have to stay where they are.

    Gives bit for bit what the encoder gives that was loaded whole, in bfloat16 and float32 (in float16, loading whole
    keeps some layers in float32, which cannot be done here). Raises what `from_pretrained` raises.
    """
    # Computing takes place where the part is that is not on the disk.
    places = {
        "shared": "disk",
        "encoder.embed_tokens": "disk",
        "encoder.block": "disk",
        "encoder.final_layer_norm": str(device),
    }
    transformers_logging.disable_progress_bar()
    # It would tell the user that parameters are on the disk, as asked.
    loud = logging.getLogger("accelerate.big_modeling")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        return UMT5EncoderModel.from_pretrained(folder, dtype=dtype, device_map=places).eval()
    finally:
        loud.setLevel(level)
