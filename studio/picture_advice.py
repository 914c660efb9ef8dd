"""What a look at the pictures says: too small, blurred, turned. Advice only: nothing here keeps a scene
from rendering."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.errors import UserError
from engine.faces.found import face_in, is_tilted, looks_away
from engine.faces.kept import known_faces
from engine.pictures import PictureStore
from engine.scene import Reference, Role
from studio.framing import mask_frame, picture_size
from studio.languages import say
from studio.thumbnails import thumbnail

SMALL_FACE_PX = 96
SMALL_PX = 64
BLURRED_BELOW = 0.04
"""A face blurred with a radius of a hundredth of its width measures this; one in focus 0.2 and more."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What the model sees of a reference: size in px; sharpness of its edges, 1 = a step of full contrast."""

    width: int
    height: int
    sharpness: float


def picture_advice(pictures: PictureStore, reference: Reference) -> str:
    """Return one sentence about a reference's picture, "" if it is good (or cannot be looked at)."""
    if not reference.image:
        return ""
    try:
        facts = _facts(pictures, reference.image, reference.mask, reference.role)
    except UserError:
        return ""  # a missing picture is told where it is needed
    side = min(facts.width, facts.height)
    if reference.role is Role.face and side < SMALL_FACE_PX:
        return say("advice_small_face", width=facts.width, height=facts.height, better=2 * SMALL_FACE_PX)
    if reference.role is not Role.face and max(facts.width, facts.height) < SMALL_PX:
        return say("advice_small", width=facts.width, height=facts.height)
    if reference.role is Role.face and (turned := _turned(pictures, reference.image, reference.mask)):
        return turned
    if reference.role is not Role.background and facts.sharpness < BLURRED_BELOW:
        return say("advice_blurred")
    return ""


def _turned(pictures: PictureStore, image: str, mask: str | None) -> str:
    """Say that a face looks away or lies on its side; "" where no detector has looked at the picture."""
    faces = known_faces(image)
    if not faces:
        return ""
    width, height = picture_size(pictures, image)
    face = face_in((0, 0, width, height) if mask is None else mask_frame(pictures, mask), faces)
    if face is not None and looks_away(face):
        return say("advice_turned")
    if face is not None and is_tilted(face):
        return say("advice_tilted")
    return ""


@functools.lru_cache(maxsize=512)
def _facts(pictures: PictureStore, image: str, mask: str | None, role: Role) -> PictureFacts:
    if mask is None:
        width, height = picture_size(pictures, image)
    else:
        x0, y0, x1, y1 = mask_frame(pictures, mask)
        width, height = x1 - x0, y1 - y0
    with Image.open(thumbnail(pictures, image, mask, None if mask is None else role.value)) as small:
        grey = np.asarray(small.convert("L"), dtype=np.float32)
    return PictureFacts(width, height, _sharpness(grey))


def _sharpness(grey: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    """Return the mean of the steepest fiftieth of second differences over the contrast; [H, W] grey levels 0 to 255."""
    low, high = np.percentile(grey, (1, 99))
    if min(grey.shape) < 3 or high - low < 8:
        return 1.0  # nothing to be sharp
    bend = np.abs(4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:])
    ordered = np.sort(bend, axis=None)
    return float(ordered[-max(1, len(ordered) // 50) :].mean() / (high - low))
