"""Models of real size with random weights: a text encoder in files, a network and a VAE in memory."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportPrivateUsage=false, reportAttributeAccessIssue=false

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import UMT5Config, UMT5EncoderModel

from engine.bench.network import State
from engine.memory.sizes import EXACT
from engine.model.transformer import LumosXTransformer3DModel
from engine.weights.convert import umt5_config_from_original
from engine.weights.dcp import TensorInfo
from engine.weights.files import check_space, write_json
from engine.weights.shards import write_shards

_POOL = 2**23 + 1
"""Random values drawn; all weights repeat them. An odd number, so that the rows of a matrix are not alike."""


def write_text_encoder(folder: Path, config: dict[str, Any], state: State) -> int:
    """Write a random UMT5 encoder in bfloat16 to `folder`, unless it is there; returns the bytes of its weights.

    `config`: changes to the published configuration, in its own words. Shard by shard: memory stays at one tensor.
    Raises `OutputError` if the disk has too little space.
    """
    settings = UMT5Config(**umt5_config_from_original(config))
    with torch.device("meta"):
        model = UMT5EncoderModel(settings)
    tensors = {
        name: TensorInfo(tuple(value.shape), torch.bfloat16)
        for name, value in model.state_dict().items()
        if name != "encoder.embed_tokens.weight"
    }
    size = sum(info.num_bytes for info in tensors.values())
    if _is_written(folder, size):
        return size
    check_space(folder, size + 2**28, "A text encoder of random weights, kept for the next time,")
    unfinished = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    pool, written = _pool(), 0

    def tell(count: int) -> None:
        nonlocal written
        if (written + count) // 10**9 > written // 10**9:
            state(f"writing a random text encoder: {(written + count) / 1e9:.0f} of {size / 1e9:.0f} GB")
        written += count

    try:
        write_shards(unfinished, "model", tensors, lambda name: _from(pool, tensors[name].shape), tell)
        settings.architectures = ["UMT5EncoderModel"]
        settings.dtype = torch.bfloat16
        settings.save_pretrained(unfinished)
        write_json(unfinished / "written.json", {"size_bytes": size})
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return size


def _is_written(folder: Path, size: int) -> bool:
    marker = folder / "written.json"
    return marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == {"size_bytes": size}


def random_network(config: dict[str, Any], dtype: torch.dtype = torch.bfloat16) -> LumosXTransformer3DModel:
    """A network in `dtype`, but for the parts that loading leaves in float32."""
    with torch.device("meta"):
        model = LumosXTransformer3DModel(**config)
    half = {name for name in model.state_dict() if EXACT.isdisjoint(name.split("."))}
    _fill(model, lambda name: dtype if name in half else torch.float32)
    return model


def random_vae(config: dict[str, Any]) -> AutoencoderKLWan:
    """A VAE in float32."""
    with torch.device("meta"):
        model = AutoencoderKLWan(**config)
    _fill(model, lambda _: torch.float32)
    return model


def _fill(model: torch.nn.Module, dtype: Callable[[str], torch.dtype]) -> None:
    pool = _pool()
    weights = {name: _from(pool, tuple(value.shape)).to(dtype(name)) for name, value in model.state_dict().items()}
    model.load_state_dict(weights, assign=True)
    model.eval()


def _pool() -> torch.Tensor:
    return torch.empty(_POOL, dtype=torch.bfloat16).normal_(0, 0.02, generator=torch.Generator().manual_seed(0))


def _from(pool: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The pool's values, again and again, in a shape."""
    out = torch.empty(shape, dtype=pool.dtype)
    for part in out.view(-1).split(len(pool)):
        part.copy_(pool[: len(part)])
    return out
