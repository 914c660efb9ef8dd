"""Boxes on photographs: which part of a picture is the face.

A box is kept as the reference's mask, so the photograph stays whole, the box can be drawn again, and several people of
one group photograph share one picture.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from engine.errors import PictureError
from engine.pictures import PictureStore
from studio.languages import say

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in px of the whole picture, x1 and y1 outside."""

SMALLEST_PX = 16


def first_box(width: int, height: int) -> Box:
    """Return where a face usually is in a picture of this size; the whole of one that looks like a crop already.

    Photographs show heads above the middle. Faces want their surroundings: hair, ears, a little air.
    """
    shape = width / height
    if 0.7 <= shape <= 1.4 and max(width, height) <= 640:
        return (0, 0, width, height)
    side = min(width, height) * (0.62 if shape < 0.7 or shape > 1.4 else 0.7)
    x0, y0 = (width - side) / 2, max(0.0, min(0.4 * height - side / 2, height - side))
    return (round(x0), round(y0), min(width, round(x0 + side)), min(height, round(y0 + side)))


def box_mask(pictures: PictureStore, image: str, box: object) -> str | None:
    """Put the mask of a box into the store and return its id; None for a box of the whole picture.

    Raises:
        PictureError: the picture is gone, or the box is too small or none.
    """
    width, height = picture_size(pictures, image)
    parts = cast("list[object]", box) if isinstance(box, list) else []
    numbers = [part for part in parts if isinstance(part, int) and not isinstance(part, bool)]
    if len(numbers) != 4 or len(parts) != 4:
        raise PictureError(say("no_box"))
    x0, y0 = max(numbers[0], 0), max(numbers[1], 0)
    x1, y1 = min(numbers[2], width), min(numbers[3], height)
    smallest = min(SMALLEST_PX, width, height)
    if x1 - x0 < smallest or y1 - y0 < smallest:
        raise PictureError(say("box_too_small", least=SMALLEST_PX))
    if (x0, y0, x1, y1) == (0, 0, width, height):
        return None
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[y0:y1, x0:x1] = 255
    return pictures.add_mask(mask)


def mask_frame(pictures: PictureStore, mask: str) -> Box:
    """Return the box of a mask in px; `PictureError` if it keeps nothing."""
    from engine.pictures import mask_box

    kept = pictures.load_mask(mask)
    return mask_box(np.broadcast_to(kept[:, :, None], (*kept.shape, 3)), kept)


def picture_size(pictures: PictureStore, image: str) -> tuple[int, int]:
    """Return (width, height) of a stored picture without decoding it; `PictureError` if it is gone or damaged."""
    from PIL import Image

    try:
        with Image.open(pictures.path(image)) as header:
            return header.size
    except OSError as error:
        raise PictureError(say("picture_missing")) from error
