"""The VAE's decoding, one latent frame at a time.

`AutoencoderKLWan` decodes latent frame after latent frame anyway and only then puts the whole video together. Here each
part leaves as soon as it is ready: memory does not grow with the clip, and whoever stops asking ends the work.
"""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false, reportPrivateUsage=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Generator

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, unpatchify


@torch.no_grad()
def decode_parts(vae: AutoencoderKLWan, latents: torch.Tensor) -> Generator[torch.Tensor]:
    """Latents `[B, C, T, h, w]` in the VAE's own scale and dtype → T videos `[B, 3, F, H, W]` in [-1, 1].

    The first has one frame, the others as many as the VAE makes of a latent frame; together they are bit for bit what
    `vae.decode` gives. A VAE that tiles its pictures cannot be asked for parts and gives its whole video at once.
    """
    if vae.use_tiling:
        yield vae.decode(latents, return_dict=False)[0]
        return
    hook = getattr(vae, "_hf_hook", None)
    if hook is not None:
        # The part of `vae.decode` that brings an offloaded VAE to its device.
        hook.pre_forward(vae)
    vae.clear_cache()
    # What the causal convolutions have seen belongs to this call alone: another decode may begin before it ends.
    seen = vae._feat_map
    vae.clear_cache()
    cells = vae.post_quant_conv(latents)
    for index, cell in enumerate(cells.split(1, dim=2)):
        part = vae.decoder(cell, feat_cache=seen, feat_idx=[0], first_chunk=index == 0)
        if vae.config.patch_size is not None:
            part = unpatchify(part, patch_size=vae.config.patch_size)
        yield part.clamp(-1, 1)
