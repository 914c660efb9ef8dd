"""How near a clip comes to the true one where the layout is given: one look at the true clip through noise."""

from __future__ import annotations

import numpy as np
import torch

from engine.model.layout import Relations
from engine.model.pipeline import Conditioning, LumosXPipeline, draw_noise
from engine.nano.dataset import encode

SIGMA = 0.6
"""Share of noise through which the clip is seen: places are given, colours and faces hardly."""


@torch.no_grad()
def fidelity(
    pipeline: LumosXPipeline, clip: np.ndarray, conditioning: Conditioning, relations: Relations, seed: int
) -> float:
    """Peak signal-to-noise ratio in dB of the network's clean estimate against the true `clip` `[F, H, W, 3]` uint8."""
    clean = encode(pipeline.vae, torch.from_numpy(clip)[None])
    noisy = (1 - SIGMA) * clean + SIGMA * draw_noise(tuple(clean.shape[1:]), (seed,))
    velocity = pipeline.transformer(
        noisy,
        torch.tensor([SIGMA * 1000]),
        conditioning.context,
        reference_latents=conditioning.reference_latents,
        groups=conditioning.groups,
        text_masks=conditioning.text_masks,
        relations=relations,
        return_dict=False,
    )[0]
    frames = np.stack(list(pipeline.frames(noisy - SIGMA * velocity)))
    return psnr(frames, clip)


def psnr(frames: np.ndarray, true: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of uint8 pictures; infinite for equal ones."""
    error = float(np.mean((frames.astype(np.float64) - true.astype(np.float64)) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")
