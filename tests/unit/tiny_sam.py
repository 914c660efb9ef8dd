"""A very small Segment Anything of the library's own classes, with random weights, as a checkpoint file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from engine.masks.segment_anything import _torchvision


def tiny_state(seed: int = 3) -> dict[str, torch.Tensor]:
    """Tensors of a network with two blocks, one of them with windows, for pictures of 256 px."""
    with _torchvision():
        from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
    torch.manual_seed(seed)
    norm: Any = partial(torch.nn.LayerNorm, eps=1e-6)
    sam = Sam(
        image_encoder=ImageEncoderViT(
            depth=2, embed_dim=32, img_size=256, mlp_ratio=2, norm_layer=norm,
            num_heads=2, patch_size=16, qkv_bias=True, use_rel_pos=True, global_attn_indexes=(1,), window_size=6,
            out_chans=32,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=32, image_embedding_size=(16, 16), input_image_size=(256, 256), mask_in_chans=8
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=8),
            transformer_dim=32, iou_head_depth=3, iou_head_hidden_dim=16,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )  # fmt: skip
    return sam.state_dict()


def write_tiny_checkpoint(path: Path) -> Path:
    """Write the tensors as the published files are written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tiny_state(), path)
    return path
