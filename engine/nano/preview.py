"""The linear map that shows nano's latents as colours, fitted by least squares to drawn clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from engine.model.preview import LatentColours, with_neighbours, write_colours
from engine.nano.dataset import encode
from engine.nano.world.scene import draw_scene, draw_structure, render_clip

WINDOW, PIXELS = 3, 4
"""A cell is shown as 4 × 4 px, from itself and the eight around it: sharp enough, and made in a millisecond."""
SCENES, FRAMES = 48, 9
_RIDGE = 1e-3


def fit_colours(vae: AutoencoderKLWan, scenes: int = SCENES, seed: int = 0) -> LatentColours:
    """The map that comes nearest to `scenes` drawn clips of nine frames, as `vae` encodes them."""
    rng = np.random.default_rng([seed, 51])
    inputs: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    for number in range(scenes):
        scene = draw_scene(int(rng.integers(1_000_000_000)), draw_structure(rng, 1 + number % 3))
        clip = torch.from_numpy(render_clip(scene, FRAMES))
        cells = encode(vae, clip[None])[0].transpose(0, 1)
        inputs.append(F.unfold(with_neighbours(cells, WINDOW), WINDOW).transpose(1, 2).flatten(0, 1))
        targets.append(_squares(shown(clip), cells.shape[-1]))
    known = torch.cat(inputs).double()
    known = torch.cat([known, torch.ones(len(known), 1)], dim=1)
    wanted = torch.cat(targets).double()
    normal = known.T @ known + _RIDGE * torch.eye(known.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(normal, known.T @ wanted).float()
    weight = solution[:-1].T.reshape(wanted.shape[1], -1, WINDOW, WINDOW).contiguous()
    return LatentColours(weight, solution[-1].contiguous())


def shown(clip: torch.Tensor) -> torch.Tensor:
    """What each latent frame of a clip uint8 `[F, H, W, 3]` should look like: the first frame, then the means of four;
    `[T, 3, H, W]` in −1 … 1."""
    pixels = clip.permute(0, 3, 1, 2).float() / 127.5 - 1
    return torch.cat([pixels[:1], pixels[1:].unflatten(0, (-1, 4)).mean(dim=1)])


def _squares(pictures: torch.Tensor, cells_across: int) -> torch.Tensor:
    """`[T, 3, H, W]` as the pixels of every latent cell: `[T·h·w, 3·PIXELS²]`."""
    small = F.avg_pool2d(pictures, pictures.shape[-1] // (cells_across * PIXELS))
    return F.pixel_unshuffle(small, PIXELS).flatten(2).transpose(1, 2).flatten(0, 1)


def write_preview(folder: Path, vae: AutoencoderKLWan, scenes: int = SCENES) -> Path:
    """Fit the map for `vae` and keep it with the model in `folder`."""
    return write_colours(folder, fit_colours(vae, scenes), list(vae.config["latents_mean"]))
