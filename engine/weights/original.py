"""The published files' names and settings, and what they are called in diffusers and transformers.

Pure renaming: no tensor is changed. A checkpoint must match the model exactly; a missing, surplus or misshapen tensor
is a `WeightsError` that names it. The functions on whole state dicts serve whoever has the tensors in memory already;
conversion uses the name maps alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from engine.weights import refusals
from engine.weights.dcp import TensorInfo

PUBLISHED_NETWORK: dict[str, Any] = {
    "patch_size": [1, 2, 2],
    "qk_norm": True,
    "cross_attn_norm": True,
    "eps": 1e-6,
    "dim": 1536,
    "num_heads": 12,
    "ffn_dim": 8960,
    "num_layers": 30,
    "in_dim": 16,
    "out_dim": 16,
    "text_dim": 4096,
    "text_len": 512,
    "freq_dim": 256,
}
PUBLISHED_TEXT_ENCODER: dict[str, Any] = {
    "vocab_size": 256384,
    "dim": 4096,
    "dim_attn": 4096,
    "dim_ffn": 10240,
    "num_heads": 64,
    "encoder_layers": 24,
    "num_buckets": 32,
    "shared_pos": False,
}
PUBLISHED_VAE: dict[str, Any] = {
    "dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
    "dropout": 0.0,
    "spatial_scale_factor": 8,
    "temporal_scale_factor": 4,
}
_UMT5_LAYER = {
    "norm1": "layer.0.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_UMT5_TOP = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.weight")


def network_config_from_original(config: Mapping[str, Any], where: object = "config.json") -> dict[str, Any]:
    """Arguments of `LumosXTransformer3DModel` (and of Wan's) from the published `config.json`; `where` it lies.

    What the file leaves out is the published 1.3B network's. Raises `WeightsError` for a network of another kind.
    """
    full = {**PUBLISHED_NETWORK, **config}
    window = full.get("window_size", [-1, -1])
    if window not in ([-1, -1], (-1, -1)) or not full["qk_norm"] or full.get("pooling_type", "mean") != "mean":
        raise refusals.other_model(where)
    if full.get("model_type", "t2v") != "t2v":
        raise refusals.other_model(where)
    try:
        dim, heads = int(full["dim"]), int(full["num_heads"])
        if heads < 1 or dim < 1 or dim % heads:
            raise ValueError(f"{dim} channels do not divide into {heads} heads")
        return {
            "patch_size": tuple(int(size) for size in full["patch_size"]),
            "num_attention_heads": heads,
            "attention_head_dim": dim // heads,
            "in_channels": int(full["in_dim"]),
            "out_channels": int(full["out_dim"]),
            "text_dim": int(full["text_dim"]),
            "freq_dim": int(full["freq_dim"]),
            "ffn_dim": int(full["ffn_dim"]),
            "num_layers": int(full["num_layers"]),
            "cross_attn_norm": bool(full["cross_attn_norm"]),
            "qk_norm": "rms_norm_across_heads",
            "eps": float(full["eps"]),
        }
    except (TypeError, ValueError, OverflowError) as error:  # JSON can say an infinite size, too
        raise refusals.damaged(where) from error


def umt5_config_from_original(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of transformers' `UMT5Config` from the published encoder's constructor arguments."""
    full = {**PUBLISHED_TEXT_ENCODER, **config}
    if full["shared_pos"]:
        raise refusals.other_model("The text encoder")
    return {
        "vocab_size": int(full["vocab_size"]),
        "d_model": int(full["dim"]),
        "d_kv": int(full["dim_attn"]) // int(full["num_heads"]),
        "d_ff": int(full["dim_ffn"]),
        "num_heads": int(full["num_heads"]),
        "num_layers": int(full["encoder_layers"]),
        "num_decoder_layers": int(full["encoder_layers"]),
        "relative_attention_num_buckets": int(full["num_buckets"]),
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def vae_config_from_original(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of diffusers' `AutoencoderKLWan` from the published VAE's constructor arguments."""
    full = {**PUBLISHED_VAE, **config}
    arguments: dict[str, Any] = {
        "base_dim": int(full["dim"]),
        "z_dim": int(full["z_dim"]),
        "dim_mult": [int(value) for value in full["dim_mult"]],
        "num_res_blocks": int(full["num_res_blocks"]),
        "attn_scales": [float(value) for value in full["attn_scales"]],
        "temperal_downsample": [bool(value) for value in full["temperal_downsample"]],
        "dropout": float(full["dropout"]),
        "scale_factor_spatial": int(full["spatial_scale_factor"]),
        "scale_factor_temporal": int(full["temporal_scale_factor"]),
    }
    # Left out, they are diffusers' own defaults, which are the published ones.
    for ours, theirs in (("latents_mean", "latent_mean"), ("latents_std", "latent_std")):
        if theirs in full:
            arguments[ours] = [float(value) for value in full[theirs]]
    return arguments


def network_names(names: Iterable[str], where: object = "The video network") -> dict[str, str]:
    """Original name → name in diffusers, by diffusers' own converter for Wan. `where` they stand, for errors."""
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    names = list(names)
    for name in names:
        # The converter also knows Wan's relatives and would split tensors for them.
        if "face_adapter" in name or "motion_encoder" in name:
            raise refusals.surplus(where, name)
    return _by_converter(convert_wan_transformer_to_diffusers, names, where)


def vae_names(names: Iterable[str], where: object = "The VAE") -> dict[str, str]:
    """Original name → name in diffusers, by diffusers' own converter for Wan's VAE. `where` they stand, for errors."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    return _by_converter(convert_wan_vae_to_diffusers, list(names), where)


def umt5_names(names: Iterable[str], where: object = "The text encoder") -> dict[str, str]:
    """Original name → name in transformers' `UMT5EncoderModel`. `where` they stand, for errors."""
    renamed: dict[str, str] = {}
    for name in names:
        match = _BLOCK.fullmatch(name)
        if name in _UMT5_TOP:
            renamed[name] = _UMT5_TOP[name]
        elif match and match[2] in _UMT5_LAYER:
            renamed[name] = f"encoder.block.{match[1]}.{_UMT5_LAYER[match[2]]}.weight"
        else:
            raise refusals.surplus(where, name)
    return renamed


def to_diffusers_network(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The network's state dict under diffusers' names; the tensors are the same objects."""
    return {new: state[old] for old, new in network_names(state).items()}


def to_transformers_umt5(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The text encoder's state dict under transformers' names, the tied second name of the embedding included."""
    renamed = {new: state[old] for old, new in umt5_names(state).items()}
    if "shared.weight" in renamed:
        renamed["encoder.embed_tokens.weight"] = renamed["shared.weight"]
    return renamed


def to_diffusers_vae(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The VAE's state dict under diffusers' names; accepts it nested under `model_state`, as published."""
    inner = state.get("model_state")
    flat = cast("Mapping[str, torch.Tensor]", inner if isinstance(inner, Mapping) else state)
    return {new: flat[old] for old, new in vae_names(flat).items()}


@dataclass(frozen=True, slots=True)
class Part:
    """One network of the bundle: its names there and here."""

    rename: Callable[[Iterable[str], object], dict[str, str]]
    _back: tuple[tuple[str, str], ...]

    def original_name(self, name: str) -> str:
        """The published name of the tensor that is called `name` in diffusers or transformers."""
        for pattern, replacement in self._back:
            name = re.sub(pattern, replacement, name)
        return name

    def match(self, path: Path, found: Mapping[str, TensorInfo], expected: Mapping[str, TensorInfo]) -> dict[str, str]:
        """New name → published name for every tensor, `found` at `path` having published names and `expected` new ones.

        Raises `WeightsError` naming, as published, the first tensor that is missing, surplus, misshapen or quantised.
        """
        stored = {new: old for old, new in self.rename(found, path).items()}
        missing = sorted(self.original_name(name) for name in expected.keys() - stored.keys())
        surplus = sorted(stored[name] for name in stored.keys() - expected.keys())
        if missing:
            raise refusals.lacks(path, missing[0])
        if surplus:
            raise refusals.surplus(path, surplus[0])
        for new, wanted in expected.items():
            name, tensor = stored[new], found[stored[new]]
            if tensor.shape != wanted.shape:
                raise refusals.other_size(path, name, tensor.shape, wanted.shape)
            if not tensor.dtype.is_floating_point or tensor.dtype.itemsize < 2:
                raise refusals.quantised(path, name, tensor.dtype)
        return {new: stored[new] for new in expected}


def _by_converter(converter: Callable[..., dict[str, str]], names: list[str], where: object) -> dict[str, str]:
    """Run a converter of state dicts on the names themselves; it must give every tensor a name of its own."""
    renamed: dict[str, str] = {}
    for name in names:
        try:
            renamed |= converter({name: name})
        except (ValueError, IndexError) as error:
            raise refusals.surplus(where, name) from error
    back = {old: new for new, old in renamed.items()}
    for name in names:
        if name not in back:
            raise refusals.twice(where, name)
    return back


NETWORK = Part(
    network_names,
    (
        (r"^condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
        (r"^condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
        (r"^condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
        (r"^condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
        (r"^condition_embedder\.time_proj", "time_projection.1"),
        (r"^scale_shift_table", "head.modulation"),
        (r"^proj_out", "head.head"),
        (r"\.scale_shift_table", ".modulation"),
        (r"\.norm2\.", ".norm3."),
        (r"\.attn1\.", ".self_attn."),
        (r"\.attn2\.", ".cross_attn."),
        (r"\.to_out\.0\.", ".o."),
        (r"\.to_([qkv])\.", r".\1."),
        (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
        (r"\.ffn\.net\.2\.", ".ffn.2."),
    ),
)
VAE = Part(
    vae_names,
    (
        (r"^quant_conv\.", "conv1."),
        (r"^post_quant_conv\.", "conv2."),
        (r"\.conv_in\.", ".conv1."),
        (r"\.norm_out\.", ".head.0."),
        (r"\.conv_out\.", ".head.2."),
        (r"(\.resnets\.\d|down_blocks\.\d+)\.norm1\.", r"\1.residual.0."),
        (r"(\.resnets\.\d|down_blocks\.\d+)\.conv1\.", r"\1.residual.2."),
        (r"(\.resnets\.\d|down_blocks\.\d+)\.norm2\.", r"\1.residual.3."),
        (r"(\.resnets\.\d|down_blocks\.\d+)\.conv2\.", r"\1.residual.6."),
        (r"\.conv_shortcut\.", ".shortcut."),
        (r"\.mid_block\.resnets\.0\.", ".middle.0."),
        (r"\.mid_block\.attentions\.0\.", ".middle.1."),
        (r"\.mid_block\.resnets\.1\.", ".middle.2."),
        (r"\.down_blocks\.", ".downsamples."),
        *(
            (rf"\.up_blocks\.{block}\.{kind}\.{index}\.", f".upsamples.{4 * block + index + offset}.")
            for block in range(4)
            for kind, index, offset in (("resnets", 0, 0), ("resnets", 1, 0), ("resnets", 2, 0), ("upsamplers", 0, 3))
        ),
    ),
)
TEXT_ENCODER = Part(
    umt5_names,
    (
        *((rf"^{re.escape(new)}$", old) for old, new in _UMT5_TOP.items()),
        *(
            (rf"^encoder\.block\.(\d+)\.{re.escape(new)}\.weight$", rf"blocks.\1.{old}.weight")
            for old, new in _UMT5_LAYER.items()
        ),
    ),
)
