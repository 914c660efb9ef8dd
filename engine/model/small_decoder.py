"""The small decoder that shows a forming clip sharply: pictures from latents for a fraction of what the VAE takes.

It is the decoder of the published TAEHV family for Wan 2.1 (taew2_1): three stages of blocks that see, besides their
own picture, the one before it in time, each followed by twice the size, the last two by twice the frames as well. It
takes latents as the network has them, without the VAE's means and deviations. Frame after frame leaves as soon as it
is ready, so that memory does not grow with the clip. Knows nothing of files; `published_names` are those of a state
dict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

LATENT_CHANNELS = 16
WIDTHS = (256, 128, 64, 64)
"""Channels of the pictures in the three stages, and behind the last."""
_BLOCKS = 3
_FRAMES = (1, 2, 2)
"""Frames that each stage makes of one."""


class _Block(nn.Module):
    """Three convolutions over a picture and the one before it, added to the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(2 * width, width)
        self.second = _conv(width, width)
        self.third = _conv(width, width)

    def forward(self, picture: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        hidden = self.first(torch.cat((picture, before), dim=1)).relu_()
        hidden = self.second(hidden).relu_()
        return self.third(hidden).add_(picture).relu_()


class _Stage(nn.Module):
    """Blocks, then `frames` pictures of one, each twice as large and of another width."""

    def __init__(self, width: int, next_width: int, frames: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(width) for _ in range(_BLOCKS))
        self.grow = nn.Conv2d(width, width * frames, 1, bias=False)
        self.narrow = nn.Conv2d(width, next_width, 3, padding=1, bias=False)
        self.frames = frames

    def remember(self, picture: torch.Tensor, memory: list[torch.Tensor | None]) -> torch.Tensor:
        """The picture after all blocks; `memory` holds what each of them saw last, and is brought up to date."""
        for number, block in enumerate(self.blocks):
            before = memory[number]
            memory[number] = picture
            picture = block(picture, torch.zeros_like(picture) if before is None else before)
        return picture

    def enlarge(self, picture: torch.Tensor, *, last: bool = False) -> Iterator[torch.Tensor]:
        """The larger pictures that follow, or only the last of them."""
        # Every pixel is worked on alone here, so that this may come before it is made four of.
        for part in self.grow(picture).chunk(self.frames, dim=1)[-1 if last else 0 :]:
            yield self.narrow(F.interpolate(part, scale_factor=2, mode="nearest"))


class SmallDecoder(nn.Module):
    """See the module. Built of random weights; other sizes than the published ones are for tests."""

    def __init__(self, latent_channels: int = LATENT_CHANNELS, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.enter = _conv(latent_channels, widths[0])
        self.stages = nn.ModuleList(
            _Stage(width, after, frames) for width, after, frames in zip(widths[:-1], widths[1:], _FRAMES, strict=True)
        )
        self.leave = _conv(widths[-1], 3)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, *, every: bool = True) -> Iterator[torch.Tensor]:
        """Normalised latents `[1, C, T, h, w]` → the clip's 4(T−1) + 1 frames `[3, 8h, 8w]` in 0 … 1, one by one.

        Without `every` only those T frames that a latent frame ends with (0, 4, 8 …), which takes less work and gives
        the same numbers.
        """
        cells = latents[0].to(self.enter.weight).unbind(1)
        stages = [cast("_Stage", stage) for stage in self.stages]
        memories: list[list[torch.Tensor | None]] = [[None] * _BLOCKS for _ in stages]
        for number, cell in enumerate(cells):
            # Of the first latent frame's four the first three stand before the clip begins.
            whole = every and number > 0
            pictures = [self.enter(3 * (cell[None] / 3).tanh()).relu_()]
            for stage, memory in zip(stages[:-1], memories, strict=False):
                pictures = [each for one in pictures for each in stage.enlarge(stage.remember(one, memory))]
            for place, picture in enumerate(pictures, 1):
                seen = stages[-1].remember(picture, memories[-1])
                if whole or place == len(pictures):
                    for larger in stages[-1].enlarge(seen, last=not whole):
                        yield self.leave(larger.relu_())[0].clamp_(0, 1)

    def pictures(self, latents: torch.Tensor) -> Iterator[np.ndarray]:
        """One picture uint8 `[4h, 4w, 3]` of every latent frame, at half the clip's size, as soon as it is ready."""
        for frame in self.decode(latents, every=False):
            half = F.avg_pool2d(frame[None].float(), 2)[0]
            yield (half * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def published_names() -> Mapping[str, str]:
    """The published name of every parameter of a `SmallDecoder`, by its name here."""
    names = {"enter.weight": "decoder.1.weight", "enter.bias": "decoder.1.bias"}
    place = 3
    for stage in range(len(_FRAMES)):
        for block in range(_BLOCKS):
            for number, part in enumerate(("first", "second", "third")):
                for kind in ("weight", "bias"):
                    names[f"stages.{stage}.blocks.{block}.{part}.{kind}"] = f"decoder.{place}.conv.{2 * number}.{kind}"
            place += 1
        names[f"stages.{stage}.grow.weight"] = f"decoder.{place + 1}.conv.weight"
        names[f"stages.{stage}.narrow.weight"] = f"decoder.{place + 2}.weight"
        place += 3
    return names | {"leave.weight": f"decoder.{place + 1}.weight", "leave.bias": f"decoder.{place + 1}.bias"}


def _conv(width: int, next_width: int) -> nn.Conv2d:
    return nn.Conv2d(width, next_width, 3, padding=1)
