"""Colours straight from latents: a linear map that shows a forming clip without decoding it.

Every latent cell and its neighbours become a small square of pixels by one convolution, which costs next to nothing
beside a step of the network. A model folder brings its own map in `preview.json`; Wan's 16 channels have a published
one; of any other model only light and dark can be shown.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F

FILE_NAME = "preview.json"

_log = logging.getLogger(__name__)

# Published with ComfyUI (comfy/latent_formats.py, Wan21) for normalised latents: red, green, blue in −1 … 1 of each of
# the 16 channels, and what is added to them.
_WAN_COLOURS = (
    (-0.1299, -0.1692, 0.2932), (0.0671, 0.0406, 0.0442), (0.3568, 0.2548, 0.1747), (0.0372, 0.2344, 0.1420),
    (0.0313, 0.0189, -0.0328), (0.0296, -0.0956, -0.0665), (-0.3477, -0.4059, -0.2925), (0.0166, 0.1902, 0.1975),
    (-0.0412, 0.0267, -0.1364), (-0.1293, 0.0740, 0.1636), (0.0680, 0.3019, 0.1128), (0.0032, 0.0581, 0.0639),
    (-0.1251, 0.0927, 0.1699), (0.0060, -0.0633, 0.0005), (0.3477, 0.2275, 0.2950), (0.1984, 0.0913, 0.1861),
)  # fmt: skip
_WAN_OFFSET = (-0.1835, -0.0868, -0.3360)


@dataclass(frozen=True, slots=True)
class LatentColours:
    """The map: `weight` `[3·s², C, k, k]` (k odd) and `offset` `[3·s²]` make of a cell and its neighbours s × s px."""

    weight: torch.Tensor
    offset: torch.Tensor

    @torch.no_grad()
    def frames(self, latents: torch.Tensor) -> list[np.ndarray]:
        """Normalised latents `[1, C, T, h, w]` as T pictures uint8 `[s·h, s·w, 3]`."""
        weight, offset = self.weight.to(latents.device), self.offset.to(latents.device)
        cells = latents[0].float().transpose(0, 1)
        pixels = F.conv2d(with_neighbours(cells, weight.shape[-1]), weight, offset)
        pixels = F.pixel_shuffle(pixels, round((weight.shape[0] / 3) ** 0.5))
        return list(((pixels.clamp(-1, 1) + 1) * 127.5).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def with_neighbours(cells: torch.Tensor, window: int) -> torch.Tensor:
    """Pictures `[N, C, h, w]` with their edges repeated, so that a window of this odd side fits around every cell."""
    return F.pad(cells, (window // 2,) * 4, mode="replicate")


def latent_colours(folder: Path, mean: list[float]) -> LatentColours | None:
    """The map for the model in `folder` whose latent channels have the means `mean`; None where nobody made one."""
    path = folder / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _published() if len(mean) == len(_WAN_COLOURS) else None
    try:
        data = cast("dict[str, Any]", json.loads(text))
        colours = LatentColours(torch.tensor(data["weight"]), torch.tensor(data["offset"]))
        fits = colours.weight.ndim == 4 and colours.weight.shape[:2] == (len(colours.offset), len(mean))
        # The means tell one trained VAE from another.
        if fits and np.allclose(data["mean"], mean):
            return colours
        _log.warning("%s was made for another VAE; previews show light and dark only", path)
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("%s cannot be read (%s); previews show light and dark only", path, error)
    return None


def write_colours(folder: Path, colours: LatentColours, mean: list[float]) -> Path:
    """Keep a map with the model in `folder`, numbers rounded to what an eye could see."""
    data = {"mean": mean, "offset": _rounded(colours.offset), "weight": _rounded(colours.weight)}
    path = folder / FILE_NAME
    path.write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")
    return path


def _rounded(values: torch.Tensor) -> list[Any]:
    return np.round(values.double().numpy(), 4).tolist()


def _published() -> LatentColours:
    return LatentColours(torch.tensor(_WAN_COLOURS).T[:, :, None, None].contiguous(), torch.tensor(_WAN_OFFSET))


def light_and_dark(latents: torch.Tensor) -> LatentColours:
    """A map for latents `[1, C, T, h, w]` of which nothing is known: grey, along the direction they differ most in."""
    cells = latents[0].float().flatten(1)
    cells = cells - cells.mean(dim=1, keepdim=True)
    directions = torch.linalg.eigh(cells @ cells.T).eigenvectors[:, -1]
    scale = (directions @ cells).abs().amax().clamp_min(1e-6)
    # An eigenvector's sign means nothing; this one stays the same from step to step.
    directions = directions * directions[directions.abs().argmax()].sign() / scale
    offset = -(directions @ latents[0].float().flatten(1).mean(dim=1))
    return LatentColours(directions.expand(3, -1)[:, :, None, None].contiguous(), offset.expand(3).contiguous())
