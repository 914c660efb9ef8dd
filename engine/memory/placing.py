"""A plan carried out: diffusers moves the bytes."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportArgumentType=false

from __future__ import annotations

from typing import cast

import torch

from engine.memory.plan import TILE_PX, TILE_STRIDE_PX, Way
from engine.model.pipeline import LumosXPipeline
from engine.model.transformer import LumosXTransformer3DModel


def place(pipeline: LumosXPipeline, way: Way, device: torch.device) -> None:
    """Place network and VAE of a freshly loaded pipeline as `way` says."""
    network = cast("LumosXTransformer3DModel | None", pipeline.transformer)
    if network is not None:  # else nothing is left to do but to decode
        network.chunk_tokens = way.chunk_tokens
    if way.tiled:
        pipeline.vae.enable_tiling(TILE_PX, TILE_PX, TILE_STRIDE_PX, TILE_STRIDE_PX)
    if way.network == "resident":
        pipeline.to(device)
    elif way.network == "offload":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        # diffusers' own `to` hides its arguments behind a wrapper.
        cast(torch.nn.Module, pipeline.vae).to(device)
        pipeline.transformer.enable_group_offload(
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device.type == "cuda",
        )
