"""How large the parts of an engine are: read from the heads of its files, before anything is loaded.

Loads no torch. Half-precision engines keep a few small parameters in float32, as their loading does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from engine.weights import refusals

EXACT = {"time_embedder", "time_proj", "scale_shift_table", "norm1", "norm2", "norm3", "norm_out", "proj_out"}
"""Parts of the network that stay in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSizes:
    """Sizes of one engine's parts in bytes, as they lie in memory once loaded.

    `value_bytes`: of a number the network computes with (2 or 4). `text_matrix_bytes`: the largest weight of the text
    encoder's layers, `text_table_bytes` its table of words; `block_bytes`: one block of the network, of which there are
    `blocks`; `width`, `ffn_width`: channels of a token in the network and inside its feed-forward; `patch_px`: pixels
    of a token along one side; `temporal_scale`: frames in a latent frame; `vae_channels`: of the VAE's widest pictures.
    """

    value_bytes: int
    text_encoder_bytes: int
    text_matrix_bytes: int
    text_table_bytes: int
    network_bytes: int
    block_bytes: int
    blocks: int
    width: int
    ffn_width: int
    vae_bytes: int
    vae_channels: float
    patch_px: int = 16
    temporal_scale: int = 4

    def in_eight_bits(self) -> ModelSizes:
        """The same model with the matrices of its blocks in eight bits and a scale for each of their rows.

        A block has eight square matrices for both attentions and two for its feed-forward.
        """
        values = self.width * (8 * self.width + 2 * self.ffn_width)
        saved = values * (self.value_bytes - 1) - 4 * (9 * self.width + self.ffn_width)
        return replace(
            self, network_bytes=self.network_bytes - self.blocks * saved, block_bytes=self.block_bytes - saved
        )


PUBLISHED = ModelSizes(
    value_bytes=2,
    text_encoder_bytes=11_361_820_672,
    text_matrix_bytes=83_886_080,
    text_table_bytes=2_100_297_728,
    network_bytes=2_872_774_912,
    block_bytes=92_905_984,
    blocks=30,
    width=1536,
    ffn_width=8960,
    vae_bytes=507_570_124,
    vae_channels=96,
)
"""The published model, for whoever plans before its files are there."""


def read_sizes(folder: Path, value_bytes: int) -> ModelSizes:
    """Sizes of the model in a diffusers folder, loaded with numbers of `value_bytes`.

    Raises `WeightsError` if a file is missing or damaged.
    """
    try:
        network, vae = (_json(folder / name / "config.json") for name in ("transformer", "vae"))
        text_bytes, text_matrix, text_table = _text_sizes(_tensors(folder / "text_encoder"), value_bytes)
        network_bytes, blocks = _network_sizes(_tensors(folder / "transformer"), value_bytes)
        squeeze = int(vae.get("patch_size") or 1)
        return ModelSizes(
            value_bytes=value_bytes,
            text_encoder_bytes=text_bytes,
            text_matrix_bytes=text_matrix,
            text_table_bytes=text_table,
            network_bytes=network_bytes,
            block_bytes=max(blocks.values(), default=0),
            blocks=len(blocks),
            width=int(network["num_attention_heads"]) * int(network["attention_head_dim"]),
            ffn_width=int(network["ffn_dim"]),
            vae_bytes=4 * sum(count for _, count in _tensors(folder / "vae")),
            # Pictures are folded by this much along each side before the VAE works on them.
            vae_channels=int(vae.get("decoder_base_dim") or vae["base_dim"]) / squeeze**2,
            patch_px=int(vae.get("scale_factor_spatial", 8)) * int(network["patch_size"][1]),
            temporal_scale=int(vae.get("scale_factor_temporal", 4)),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise refusals.unreadable(folder) from error


def _text_sizes(tensors: Iterator[tuple[str, int]], value_bytes: int) -> tuple[int, int, int]:
    """Bytes of the whole encoder, of the largest weight in its layers, and of its table of words."""
    total, table, largest = 0, 0, 0
    for name, count in tensors:
        size = count * value_bytes
        total += size
        if name.startswith("encoder.block."):
            largest = max(largest, size)
        elif name == "shared.weight":
            table = size
    return total, largest, table


def _network_sizes(tensors: Iterator[tuple[str, int]], value_bytes: int) -> tuple[int, dict[str, int]]:
    """Bytes of the whole network and of each of its blocks."""
    total, blocks = 0, dict[str, int]()
    for name, count in tensors:
        size = count * (value_bytes if EXACT.isdisjoint(name.split(".")) else 4)
        total += size
        if name.startswith("blocks."):
            number = name.split(".")[1]
            blocks[number] = blocks.get(number, 0) + size
    return total, blocks


def _tensors(folder: Path) -> Iterator[tuple[str, int]]:
    """Names and numbers of values of all tensors in a folder's safetensors files."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(folder)
    for file in files:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError(file)
            head = json.loads(stream.read(length))
        for name, entry in head.items():
            if name != "__metadata__":
                yield name, prod(entry["shape"])


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
