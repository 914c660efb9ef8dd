"""Looks at a clip while it forms, as many as cost a small part of the steps' time."""

from __future__ import annotations

import time

import torch

from engine.clip import animated_preview
from engine.events import Preview
from engine.model.preview import LatentColours, light_and_dark

SHARE = 0.02
"""Looks take at most this part of the time that the steps take."""
FRAMES_PER_LATENT = 4


class LivePicture:
    """The looks of one render. `colours`: how latents are shown, None if that is not known; `fps`: of the clip."""

    def __init__(self, colours: LatentColours | None, fps: int, share: float = SHARE) -> None:
        self._colours = colours
        self._fps = max(1, round(fps / FRAMES_PER_LATENT))
        self._share = share
        self._begun = time.monotonic()
        self._spent = self._last = 0.0

    def look(self, clean: torch.Tensor, step: int) -> Preview | None:
        """The whole clip, moving, from an estimate of its clean latents `[1, C, T, h, w]`; None if it is too soon."""
        begun = time.monotonic()
        if self._spent + self._last > self._share * (begun - self._begun):
            return None
        colours = self._colours or light_and_dark(clean)
        frames = colours.frames(clean)
        height, width = frames[0].shape[:2]
        preview = Preview(step=step, width=width, height=height, webp=animated_preview(frames, self._fps))
        self._last = time.monotonic() - begun
        self._spent += self._last
        return preview
