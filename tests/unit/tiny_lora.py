"""LoRA files of random values for the tiny network, in each of the spellings that are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine.paths import assets_dir
from engine.weights.lora_file import Shapes, network_shapes
from engine.weights.original import NETWORK
from tests.unit.tiny_network import tiny_transformer

RANK = 3
MODULES = ("attn1.to_q", "attn1.to_out.0", "attn2.to_k", "ffn.net.0.proj", "ffn.net.2")
TARGETS = tuple(f"blocks.{block}.{module}" for block in (0, 1) for module in MODULES)

Products = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""(down `[rank, in]`, up `[out, rank]`) by the module's name in diffusers."""


def shapes_of(network: torch.nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


TINY = shapes_of(tiny_transformer())


def products(targets: Iterable[str] = TARGETS, *, seed: int = 0, size: float = 0.1) -> Products:
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for target in targets:
        wide, narrow = TINY[f"{target}.weight"]
        down, up = (torch.randn(shape, generator=generator) * size**0.5 for shape in ((RANK, narrow), (wide, RANK)))
        found[target] = (down, up)
    return found


def original(target: str) -> str:
    return NETWORK.original_name(f"{target}.weight").removesuffix(".weight")


def write(path: Path, tensors: Mapping[str, torch.Tensor], texts: Mapping[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, dict(texts or {}))
    return path


def _pairs(found: Products, spell: Callable[[str], str], down: str, up: str) -> dict[str, torch.Tensor]:
    return {
        f"{spell(target)}.{half}.weight": value
        for target, pair in found.items()
        for half, value in zip((down, up), pair, strict=True)
    }


def _diffusers(found: Products) -> dict[str, torch.Tensor]:
    return _pairs(found, lambda target: f"transformer.{target}", "lora_A", "lora_B")


def _trained(found: Products) -> dict[str, torch.Tensor]:
    return _pairs(found, original, "lora_A.default", "lora_B.default")


def _original(found: Products) -> dict[str, torch.Tensor]:
    return _pairs(found, lambda target: f"diffusion_model.{original(target)}", "lora_down", "lora_up") | {
        f"diffusion_model.{original(target)}.alpha": torch.tensor(float(RANK)) for target in found
    }


def _kohya(found: Products) -> dict[str, torch.Tensor]:
    def spell(target: str) -> str:
        return "lora_unet_" + original(target).replace(".", "_")

    # alpha is half the rank: the same weights with values twice as large
    return {
        name: value * 2 if ".lora_up." in name else value
        for name, value in _pairs(found, spell, "lora_down", "lora_up").items()
    } | {f"{spell(target)}.alpha": torch.tensor(RANK / 2) for target in found}


SPELLINGS: dict[str, Callable[[Products], dict[str, torch.Tensor]]] = {
    "diffusers": _diffusers,
    "trained": _trained,
    "original": _original,
    "kohya": _kohya,
}


def write_lora(path: Path, found: Products | None = None, spelling: str = "diffusers") -> Path:
    return write(path, SPELLINGS[spelling](products() if found is None else found))


def write_lora_for_nano(path: Path, seed: int = 0) -> Path:
    """One for the built-in model as it is shipped: a small change of one matrix in each block."""
    shapes = network_shapes(assets_dir() / "nano" / "transformer")
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, (wide, *narrow) in shapes.items():
        if name.endswith("attn1.to_v.weight"):
            target = f"diffusion_model.{original(name.removesuffix('.weight'))}"
            tensors[f"{target}.lora_down.weight"] = torch.randn(2, *narrow, generator=generator)
            tensors[f"{target}.lora_up.weight"] = torch.randn(wide, 2, generator=generator)
    return write(path, tensors)


def texts_of(**made: Any) -> dict[str, str]:
    """What diffusers writes into the head."""
    return {"lora_adapter_metadata": json.dumps({f"transformer.{name}": value for name, value in made.items()})}


def explicitly(
    state: Mapping[str, torch.Tensor], found: Products, strength: float = 1.0, scale: float = 1.0
) -> dict[str, torch.Tensor]:
    """W + strength · scale · up · down, in float64, as float32."""
    merged = {name: value.clone() for name, value in state.items()}
    for target, (down, up) in found.items():
        name = f"{target}.weight"
        merged[name] = (state[name].double() + strength * scale * (up.double() @ down.double())).float()
    return merged
