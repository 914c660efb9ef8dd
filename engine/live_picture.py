"""Looks at a clip while it forms, as many as cost a small part of the steps' time.

A coarse look is a linear map of the latents and costs next to nothing. Where the small decoder is at hand, a sharp one
takes its place as soon as the time saved up for it suffices: what is left after the coarse ones is saved.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch

from engine.clip import animated_preview
from engine.events import Notice, Preview
from engine.model.preview import LatentColours, light_and_dark
from engine.model.small_decoder import SmallDecoder

SHARE = 0.02
"""Looks take at most this part of the time that the steps take."""
FRAMES_PER_LATENT = 4
_COARSE_PART = 0.25
"""Of that, what coarse looks take while there is time to be saved for sharp ones."""
_TRIED = 2
"""Pictures after which it is known what a sharp look takes; the first one also takes what is done only once."""
FAILED = (
    "The preview decoder failed, perhaps because memory was short; the picture of the forming clip stays coarse until "
    "the end of this render."
)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kind:
    """What looks of one kind have taken together, and what one takes (0 until it is known), in seconds."""

    spent: float = 0.0
    one: float = 0.0
    shown: bool = False


class LivePicture:
    """The looks of one render. `colours`: how latents are shown coarsely, None if that is not known; `fps`: of the
    clip; `decoder`: shows them sharply, where there is one."""

    def __init__(
        self, colours: LatentColours | None, fps: int, decoder: SmallDecoder | None = None, share: float = SHARE
    ) -> None:
        self._colours = colours
        self._decoder = decoder
        self._fps = max(1, round(fps / FRAMES_PER_LATENT))
        self._share = share
        self._begun = time.monotonic()
        self._coarse, self._sharp = _Kind(), _Kind()

    def look(self, clean: torch.Tensor, step: int) -> Preview | Notice | None:
        """The whole clip, moving, from an estimate of its clean latents `[1, C, T, h, w]`; None if it is too soon.

        A `Notice` once if the decoder failed; from then on looks are coarse.
        """
        allowed = self._share * (time.monotonic() - self._begun)
        left = allowed - self._coarse.spent - self._sharp.spent
        if self._decoder is not None and self._coarse.shown and self._sharp.one <= left:
            looked = self._look_sharply(self._decoder, clean, step, left)
            if looked is not None:
                return looked
        if self._decoder is None:
            enough = self._coarse.one <= left
        else:
            # One that comes after a sharp one would look like damage.
            enough = not self._sharp.shown and self._coarse.spent + self._coarse.one <= _COARSE_PART * allowed
        if not enough:
            return None
        begun = time.monotonic()
        colours = self._colours or light_and_dark(clean)
        return self._shown(colours.frames(clean), step, self._coarse, begun)

    def _look_sharply(
        self, decoder: SmallDecoder, clean: torch.Tensor, step: int, left: float
    ) -> Preview | Notice | None:
        """None if it turns out to take more than `left` seconds; then it is known how many it would take."""
        begun = last = time.monotonic()
        count = clean.shape[2]
        unsure = self._sharp.one == 0 and count > _TRIED
        shortest = float("inf")
        frames: list[np.ndarray] = []
        try:
            for frame in decoder.pictures(clean):
                frames.append(frame)
                now = time.monotonic()
                shortest, last = min(shortest, now - last), now
                if unsure and len(frames) == _TRIED and now - begun + (count - _TRIED) * shortest > left:
                    self._sharp.one = count * shortest
                    self._sharp.spent += now - begun
                    return None
        except (RuntimeError, MemoryError) as error:
            # Whatever a card or its driver cannot do, memory included: a picture on the way is not worth the clip.
            _log.warning("the preview decoder failed: %s", error)
            self._decoder = None
            self._sharp.spent += time.monotonic() - begun
            return Notice(text=FAILED)
        return self._shown(frames, step, self._sharp, begun)

    def _shown(self, frames: list[np.ndarray], step: int, kind: _Kind, begun: float) -> Preview:
        height, width = frames[0].shape[:2]
        preview = Preview(step=step, width=width, height=height, webp=animated_preview(frames, self._fps))
        kind.one = time.monotonic() - begun
        kind.spent += kind.one
        kind.shown = True
        return preview
