"""Decoding in parts equals decoding at once, and can be left at any part."""

# diffusers sets configuration at run time.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan

from engine.model.decoding import decode_parts


def tiny_vae(**options: object) -> AutoencoderKLWan:
    torch.manual_seed(0)
    values = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, **options}
    statistics = {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    return AutoencoderKLWan(**values, **statistics, temperal_downsample=[False, True, True]).eval()


def latents(frames: int) -> torch.Tensor:
    return torch.randn(1, 4, frames, 2, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("options", [{}, {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}])
def test_parts_together_are_the_whole_bit_for_bit(frames: int, options: dict[str, object]) -> None:
    vae = tiny_vae(**options)
    with torch.no_grad():
        whole = vae.decode(latents(frames)).sample
    parts = list(decode_parts(vae, latents(frames)))
    assert [part.shape[2] for part in parts] == [1] + [4] * (frames - 1)
    assert torch.equal(torch.cat(parts, dim=2), whole)
    assert not parts[0].requires_grad


def test_a_decode_that_was_left_or_overtaken_changes_no_other() -> None:
    vae = tiny_vae()
    expected = torch.cat(list(decode_parts(vae, latents(3))), dim=2)
    left = decode_parts(vae, -latents(3))
    next(left)
    left.close()
    slow = decode_parts(vae, latents(3))
    parts = [next(slow)]
    assert torch.equal(torch.cat(list(decode_parts(vae, latents(3))), dim=2), expected)
    parts += list(slow)
    assert torch.equal(torch.cat(parts, dim=2), expected)


def test_a_tiling_vae_gives_its_whole_video() -> None:
    vae = tiny_vae()
    vae.enable_tiling(16, 16, 8, 8)
    with torch.no_grad():
        whole = vae.decode(latents(2)).sample
    (video,) = decode_parts(vae, latents(2))
    assert torch.equal(video, whole)
