"""The published bundle as it lies on a disk: where its parts are, and which network each of them holds.

The bundle says nothing about the sizes of its text encoder and VAE; they follow from their tensors. Writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.weights import refusals
from engine.weights.checkpoints import Checkpoint, find_checkpoint
from engine.weights.dcp import TensorInfo
from engine.weights.original import PUBLISHED_VAE

TEXT_ENCODER_NAMES = ("models_t5_umt5-xxl-enc-bf16.pth", "models_t5_umt5-xxl-enc-bf16.safetensors")
VAE_NAMES = ("vae.pth", "vae.safetensors", "Wan2.1_VAE.pth")
TOKENIZER_NAMES = ("umt5-xxl", "google/umt5-xxl", "tokenizer")
_NAMES = {"text_encoder": TEXT_ENCODER_NAMES, "vae": VAE_NAMES, "tokenizer": TOKENIZER_NAMES}
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
_T5_BLOCK = re.compile(r"blocks\.(\d+)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Places of the parts by the component that each becomes; the transformer's is a file or a distributed-checkpoint
    folder. `config` may be left out by whoever passes the weights on, then the published network is meant."""

    parts: Mapping[str, Path]
    config: Path | None

    def network_config(self) -> dict[str, Any]:
        """Content of `config.json`, empty without one; `WeightsError` as `read_config` raises."""
        return {} if self.config is None else read_config(self.config)


def read_config(path: Path) -> dict[str, Any]:
    """Content of a `config.json`; `WeightsError` if it cannot be read as a JSON object."""
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise refusals.damaged(path) from error
    if not isinstance(content, dict):
        raise refusals.damaged(path)
    return cast("dict[str, Any]", content)


def find_bundle(source: Path, components: Collection[str]) -> Bundle:
    """The parts of the bundle at `source` that `components` are made of: in its folder, or its network file or
    checkpoint folder with the rest beside it.

    Raises `WeightsError` naming the first part that is missing and how it has to be called.
    """
    parts: dict[str, Path] = {}
    root, places = source, [source]
    if "transformer" in components:
        network = parts["transformer"] = find_checkpoint(source)
        # The network lies in the bundle's folder or up to two folders below it (LumosX_models/all).
        starts = [source] if source.is_dir() else []
        roots = [*starts, network.parent, network.parent.parent]
        root = next((root for root in roots if _first(root, (*TEXT_ENCODER_NAMES, *VAE_NAMES))), roots[0])
        places = [root, network.parent, *([network] if network.is_dir() else [])]
    parts |= {part: _find_part(root, part) for part in _NAMES if part in components}
    configs = (folder / "config.json" for folder in places)
    return Bundle(parts=parts, config=next((path for path in configs if path.is_file()), None))


def _find_part(root: Path, part: str) -> Path:
    names = _NAMES[part]
    path = _first(root, names)
    if path is None:
        raise refusals.no_part(root, names[0], root)
    if part == "tokenizer" and not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise refusals.no_part(path, _TOKENIZER_FILES[0], root)
    return path


def fingerprint(*paths: Path | None) -> str:
    """Identity of source files by name, size and time of change: enough to tell whether a finished part is still
    current."""
    digest = hashlib.sha256()
    for path in paths:
        if path is None:
            continue
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                state = file.stat()
                digest.update(f"{file.name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def text_encoder_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Constructor arguments of the original encoder that has the shapes of this checkpoint."""
    tensors = checkpoint.tensors
    vocab_size, dim = _shape(checkpoint, "token_embedding.weight", 2)
    dim_attn = _shape(checkpoint, "blocks.0.attn.q.weight", 2)[0]
    dim_ffn = _shape(checkpoint, "blocks.0.ffn.fc1.weight", 2)[0]
    num_buckets, num_heads = _shape(checkpoint, "blocks.0.pos_embedding.embedding.weight", 2)
    layers = {int(match[1]) for name in tensors if (match := _T5_BLOCK.match(name))}
    if num_heads == 0 or dim_attn % num_heads:
        raise refusals.other_model(checkpoint.path)
    return {
        "vocab_size": vocab_size,
        "dim": dim,
        "dim_attn": dim_attn,
        "dim_ffn": dim_ffn,
        "num_heads": num_heads,
        "encoder_layers": max(layers) + 1,
        "num_buckets": num_buckets,
        "shared_pos": False,
    }


def vae_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Constructor arguments of the original VAE that has the shapes of this checkpoint."""
    dim = _shape(checkpoint, "encoder.conv1.weight", 5)[0]
    name, z_dim = "conv2.weight", PUBLISHED_VAE["z_dim"]
    shape = _shape(checkpoint, name, 5)
    if shape[0] != z_dim:
        raise refusals.other_size(checkpoint.path, name, shape, (z_dim, z_dim, *shape[2:]))
    return {**PUBLISHED_VAE, "dim": dim}


def check_fit(places: Mapping[str, Path], configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `WeightsError` unless the configurations (new names) of the components belong together; `places` are for
    the sentence. The tokenizer's is `num_tokens`."""
    network, text_encoder = configs["transformer"], configs["text_encoder"]
    if network["text_dim"] != text_encoder["d_model"]:
        raise refusals.mixed(places["text_encoder"], places["transformer"])
    if network["in_channels"] != configs["vae"]["z_dim"]:
        raise refusals.mixed(places["vae"], places["transformer"])
    if configs["tokenizer"]["num_tokens"] > int(text_encoder["vocab_size"]):
        raise refusals.mixed(places["tokenizer"], places["text_encoder"])


def _shape(checkpoint: Checkpoint, name: str, num_dimensions: int) -> tuple[int, ...]:
    info: TensorInfo | None = checkpoint.tensors.get(name)
    if info is None or len(info.shape) != num_dimensions:
        raise refusals.lacks(checkpoint.path, name)
    return info.shape


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).exists()), None)
