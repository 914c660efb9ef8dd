"""Decoding in overlapping tiles, a memory plan's last resort but one, against decoding whole: how far off it is.

`python3 launcher.py test unit -- -k tiles -s` prints the figures that stand in docs/benchmarks.md.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from PIL import Image

from engine.memory.placing import place
from engine.memory.plan import TILE_PX, Way
from engine.model.decoding import decode_parts
from engine.model.pipeline import LumosXPipeline
from engine.model.scheduler import LumosXScheduler
from engine.paths import assets_dir, builtin_presets_dir

WIDTH, HEIGHT = 448, 320
PRESET = "01-two-friends-in-the-park"
PICTURES = ("background/park.png", "subjects/1/blue jacket.png", "subjects/1/face_man with red hair.png")
CPU = torch.device("cpu")


@pytest.mark.parametrize("picture", PICTURES)
@torch.no_grad()
def test_tiles_are_close_to_the_whole(picture: str) -> None:
    """With the built-in model's trained VAE and the plan's own tiles. Frames: at least 50 dB, no value off by more than
    24; latents of a picture: within 1 %."""
    assert min(WIDTH, HEIGHT) > TILE_PX
    whole, tiled = _vae(Way()), _vae(Way(tiled=True))
    video = _video(builtin_presets_dir() / PRESET / picture)
    latents, from_tiles = (vae.encode(video).latent_dist.mode() for vae in (whole, tiled))  # pyright: ignore[reportAttributeAccessIssue]
    off = (_frame(whole, latents) - _frame(tiled, latents)).abs()
    psnr_db = 10 * math.log10(255**2 / float(off.square().mean()))
    share = float((off > 2).float().mean())
    error = float((from_tiles - latents).norm() / latents.norm())
    print(
        f"{picture}: {psnr_db:.1f} dB, at most {off.max():.0f} of 255, {share:.2%} of the values off by more than 2; "
        f"latents {error:.2%}"
    )
    assert 0 < off.max() <= 24
    assert psnr_db >= 50
    assert share < 0.01
    assert 0 < error < 0.01


def _vae(way: Way) -> AutoencoderKLWan:
    vae = AutoencoderKLWan.from_pretrained(assets_dir() / "nano" / "vae").eval()
    place(LumosXPipeline(None, None, vae, None, LumosXScheduler()), way, CPU)  # pyright: ignore[reportArgumentType]
    return vae


def _video(picture: Path) -> torch.Tensor:
    with Image.open(picture) as opened:
        pixels = np.array(opened.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    return torch.tensor(pixels).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1


def _frame(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """The one frame of the latents, in steps of 0–255."""
    return ((torch.cat(list(decode_parts(vae, latents)), dim=2).clamp(-1, 1) + 1) * 127.5).round()
