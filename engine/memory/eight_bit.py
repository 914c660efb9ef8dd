"""A network whose blocks keep their matrices in eight bits: half of bfloat16, and a clip that differs a little.

Every row of a matrix is stored as whole numbers from −127 to 127 and one scale. They are exact in any floating-point
type, so products are taken as always and only then scaled; nothing depends on the device. Matrices are read from the
files and rounded one after the other: the whole network is never in memory at full size.
"""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors import safe_open

from engine.memory.sizes import EXACT
from engine.model.transformer import LumosXTransformer3DModel


class EightBitLinear(torch.nn.Module):
    """A linear layer with `weight` int8 `[out, in]` and `scale` float32 `[out]`."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("weight", torch.empty(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(out_features, dtype=torch.float32))
        self.bias = torch.nn.Parameter(torch.empty(out_features)) if bias else None

    def take(self, weight: torch.Tensor) -> None:
        """Keep a matrix `[out, in]`, each of its rows rounded to 255 steps."""
        rows = weight.float()
        scale = rows.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        self.scale = scale
        self.weight = (rows / scale[:, None]).round().to(torch.int8)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """`[…, in]` → `[…, out]` in the dtype of `states`."""
        scaled = F.linear(states, self.weight.to(states.dtype)) * self.scale.to(states.dtype)
        return scaled if self.bias is None else scaled + self.bias.to(states.dtype)


def read_eight_bit(
    folder: Path, dtype: torch.dtype, change: Callable[[str, torch.Tensor], torch.Tensor] | None = None
) -> LumosXTransformer3DModel:
    """The network in a diffusers folder, its blocks in eight bits and the rest as `from_pretrained` reads it.

    `change(name, value)` may give another value in place of one of the files, before it is rounded.

    Raises `ValueError` if the files lack a parameter, and what reading them raises.
    """
    config = cast("dict[str, Any]", LumosXTransformer3DModel.load_config(folder))
    with torch.device("meta"):
        model = cast("LumosXTransformer3DModel", LumosXTransformer3DModel.from_config(config))
        _make_room(model)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(folder)
    for file in files:
        with safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
        for name in names:
            # Opened for each alone: pages of a mapped file count as memory until it is closed.
            with safe_open(file, framework="pt") as opened:
                value = cast(torch.Tensor, opened.get_tensor(name))
                _put(model, name, value if change is None else change(name, value), dtype)
    missing = [name for name, value in model.state_dict().items() if value.is_meta]
    if missing:
        raise ValueError(f"{folder} has no {missing[0]}")
    return model.eval().requires_grad_(False)


def _make_room(model: LumosXTransformer3DModel) -> None:
    """Put an empty eight-bit layer where a block has a linear one."""
    for block in model.blocks:
        for name, module in list(block.named_modules()):
            if isinstance(module, torch.nn.Linear):
                owner, _, own = name.rpartition(".")
                room = EightBitLinear(
                    module.in_features, module.out_features, bias=cast("torch.Tensor | None", module.bias) is not None
                )
                setattr(block.get_submodule(owner), own, room)


def _put(model: LumosXTransformer3DModel, name: str, value: torch.Tensor, dtype: torch.dtype) -> None:
    owner, _, own = name.rpartition(".")
    module = model.get_submodule(owner)
    if isinstance(module, EightBitLinear) and own == "weight":
        module.take(value)
        return
    kept = value.to(dtype if EXACT.isdisjoint(name.split(".")) else torch.float32, copy=True)
    setattr(module, own, torch.nn.Parameter(kept, requires_grad=False))
