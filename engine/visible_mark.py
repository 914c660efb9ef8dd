"""A visible mark on a clip's frames, for those who want everybody to see at once that it was generated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

TEXT = "AI-generated"
_SHARE = 0.045
"""Height of the letters, of the frame's shorter side."""
_SMALLEST_PX = 9


class VisibleMark:
    """The mark for frames of one size in px: white words on a dark ground, in the lower right corner."""

    def __init__(self, width: int, height: int) -> None:
        letters = max(_SMALLEST_PX, round(min(width, height) * _SHARE))
        font = ImageFont.load_default(letters)
        left, top, right, bottom = font.getbbox(TEXT)
        pad, gap = max(2, letters // 2), max(2, letters // 2)
        box = (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad)
        ground = Image.new("RGBA", box, (0, 0, 0, 0))
        pen = ImageDraw.Draw(ground)
        pen.rounded_rectangle((0, 0, box[0] - 1, box[1] - 1), radius=pad, fill=(16, 15, 14, 176))
        pen.text((pad - left, pad - top), TEXT, font=font, fill=(255, 255, 255, 255))
        self._picture = ground
        self._place = (max(0, width - box[0] - gap), max(0, height - box[1] - gap))

    def draw(self, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A copy of a frame uint8 `[H, W, 3]` with the mark on it; only the corner is changed."""
        image = Image.fromarray(frame)
        image.paste(self._picture, self._place, self._picture)
        return np.asarray(image)
