"""A published bundle in small: random weights under the published names, in every form the network comes in."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.distributed.checkpoint.filesystem import _StorageInfo  # pyright: ignore[reportPrivateUsage]
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from transformers import UMT5Config, UMT5EncoderModel

from engine.model.transformer import LumosXTransformer3DModel
from engine.weights.original import (
    NETWORK,
    TEXT_ENCODER,
    VAE,
    Part,
    network_config_from_original,
    umt5_config_from_original,
    vae_config_from_original,
)

NETWORK_CONFIG: dict[str, Any] = {
    "patch_size": [1, 2, 2],
    "window_size": [-1, -1],
    "dim": 24,
    "num_heads": 2,
    "ffn_dim": 32,
    "num_layers": 2,
    "in_dim": 16,
    "out_dim": 16,
    "text_dim": 16,
    "text_len": 64,
    "freq_dim": 8,
    "eps": 1e-6,
    "ratio": 0.5,
    "RoPE_shift": True,
}
TEXT_CONFIG: dict[str, Any] = {
    "vocab_size": 40,
    "dim": 16,
    "dim_attn": 8,
    "dim_ffn": 24,
    "num_heads": 2,
    "encoder_layers": 2,
    "num_buckets": 32,
    "shared_pos": False,
}
VAE_CONFIG: dict[str, Any] = {"dim": 3, "z_dim": 16}
State = dict[str, torch.Tensor]


def network_state(seed: int = 0, config: dict[str, Any] = NETWORK_CONFIG) -> State:
    """A network's random state dict with original names."""
    with torch.device("meta"):
        model = LumosXTransformer3DModel(**network_config_from_original(config))
    return _random_state(NETWORK, model, seed)


def text_state(seed: int = 1, config: dict[str, Any] = TEXT_CONFIG) -> State:
    """A text encoder's random state dict with original names, bf16 as published."""
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**umt5_config_from_original(config)))
    return {name: value.bfloat16() for name, value in _random_state(TEXT_ENCODER, model, seed).items()}


def vae_state(seed: int = 2) -> State:
    """A VAE's random state dict with original names."""
    with torch.device("meta"):
        model = AutoencoderKLWan(**vae_config_from_original(VAE_CONFIG))
    return _random_state(VAE, model, seed)


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of 40 whole words that ends every text with `</s>`, as the published one does."""
    folder.mkdir(parents=True)
    words = ["<pad>", "</s>", "<unk>", *(f"word{number}" for number in range(37))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_bundle(folder: Path, form: str = "folder") -> Path:
    """The whole bundle; `form` of the network: "folder" (distributed), "pt" or "safetensors"."""
    folder.mkdir(parents=True, exist_ok=True)
    state = network_state()
    if form == "folder":
        everything = {f"ema.{name}": value for name, value in state.items()}
        everything |= {f"model.{name}": value for name, value in network_state(seed=7).items()}
        write_distributed(folder / "LumosX_models" / "all", everything)
    elif form == "pt":
        torch.save({f"ema.{name}": value for name, value in state.items()}, folder / "LumosX_models.pt")
    else:
        save_file(state, folder / "LumosX_models.safetensors")
    (folder / "config.json").write_text(json.dumps(NETWORK_CONFIG))
    torch.save(text_state(), folder / "models_t5_umt5-xxl-enc-bf16.pth")
    torch.save({"model_state": vae_state()}, folder / "vae.pth")
    write_tokenizer(folder / "umt5-xxl")
    return folder


def write_distributed(folder: Path, state: State, num_ranks: int = 2) -> None:
    """A distributed checkpoint as `num_ranks` processes write it: every tensor split along its first axis where it can
    be."""
    folder.mkdir(parents=True)
    files = [io.BytesIO() for _ in range(num_ranks)]
    entries: dict[str, TensorStorageMetadata] = {}
    places: dict[MetadataIndex, _StorageInfo] = {}
    for name, value in state.items():
        chunks: list[ChunkStorageMetadata] = []
        start = 0
        for rank, part in enumerate(value.chunk(num_ranks) if value.ndim else (value,)):
            offsets = torch.Size([start, *[0] * (value.ndim - 1)] if value.ndim else [])
            chunks.append(ChunkStorageMetadata(offsets, part.shape))
            begin = files[rank].tell()
            torch.save(part.clone(), files[rank])
            place = _StorageInfo(f"__{rank}_0.distcp", begin, files[rank].tell() - begin)
            places[MetadataIndex(name, offsets)] = place
            start += part.shape[0] if value.ndim else 0
        entries[name] = TensorStorageMetadata(TensorProperties(dtype=value.dtype), value.shape, chunks)
    for rank, file in enumerate(files):
        (folder / f"__{rank}_0.distcp").write_bytes(file.getvalue())
    # The training program's own path is in the published file, too.
    metadata = Metadata(cast(Any, entries), None, places, StorageMeta(checkpoint_id=Path("/somewhere/all")))
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def _random_state(part: Part, model: torch.nn.Module, seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        part.original_name(name): torch.randn(value.shape, generator=generator)
        for name, value in model.state_dict().items()
        if name != "encoder.embed_tokens.weight"
    }
