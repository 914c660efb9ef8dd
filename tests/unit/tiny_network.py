"""Real networks at tiny size with weights that make every relation matter, and inputs that fit them."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from engine.model.layout import PUBLISHED, Relations
from engine.model.transformer import LumosXTransformer3DModel

CHANNELS = 4
TEXT_DIM = 24
WORDS = 12

CONFIG: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "text_dim": TEXT_DIM,
    "freq_dim": 32,
    "ffn_dim": 64,
    "num_layers": 2,
}


def tiny_transformer(seed: int = 0, **changes: Any) -> LumosXTransformer3DModel:
    """A network in evaluation mode whose attention is far from uniform, so that a wrong relation shows."""
    torch.manual_seed(seed)
    model = LumosXTransformer3DModel(**{**CONFIG, **changes})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.1 * noise)
            elif parameter.ndim == 2:
                parameter.copy_(noise * 1.5 / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(noise * 0.4)
    return model.eval()


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The arguments of one pass; `references` is None without any."""

    video: torch.Tensor
    timestep: torch.Tensor
    text: torch.Tensor
    references: torch.Tensor | None = None
    groups: tuple[int, ...] = ()
    masks: torch.Tensor | None = None

    def run(self, model: torch.nn.Module, relations: Relations = PUBLISHED) -> torch.Tensor:
        with torch.no_grad():
            return model(
                self.video, self.timestep, self.text, self.references, self.groups, self.masks, relations
            ).sample

    def changed(self, **changes: Any) -> Inputs:
        return replace(self, **changes)


def tiny_inputs(
    num_free: int = 1,
    groups: tuple[int, ...] = (2, 1),
    *,
    frames: int = 3,
    height: int = 6,
    width: int = 8,
    batch: int = 1,
    seed: int = 0,
) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    count = num_free + sum(groups)
    masks = torch.rand(count, WORDS, generator=generator) < 0.4
    return Inputs(
        video=normal(batch, CHANNELS, frames, height, width),
        timestep=torch.randint(1, 1000, (batch,), generator=generator),
        text=normal(batch, WORDS, TEXT_DIM),
        references=normal(1, CHANNELS, count, height, width) if count else None,
        groups=groups,
        masks=masks if count else None,
    )


def stream_after_blocks(model: LumosXTransformer3DModel, run: Callable[[], object]) -> torch.Tensor:
    """The residual stream `[B, tokens, dim]` behind the last block while `run` makes one pass."""
    caught: list[torch.Tensor] = []
    handle = model.blocks[-1].register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    try:
        run()
    finally:
        handle.remove()
    (stream,) = caught
    return stream
