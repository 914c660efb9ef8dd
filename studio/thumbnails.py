"""Small copies of the store's pictures for the page: a cast of large photographs shows as quickly as one of icons."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from engine.errors import PictureError
from engine.files import write_atomically
from engine.paths import cache_dir
from engine.pictures import PictureStore, model_picture
from engine.scene import Reference, Role
from studio.languages import say

_LONGEST_PX = 448
_LARGE_PX = 1600


def thumbnail(pictures: PictureStore, image: str, mask: str | None, role: str | None, *, large: bool = False) -> Path:
    """Return a WebP file of what the model sees of a picture, at most 448 px long; made at the first call, then kept.

    `large` allows 1600 px, to draw on.

    Raises:
        PictureError: no such picture, mask or role.
        OutputError: the cache cannot be written.
    """
    if image not in pictures or (mask is not None and mask not in pictures):
        raise PictureError(say("thumbnail_none"))
    try:
        kind = Role(role) if role is not None else Role.object
    except ValueError as error:
        raise PictureError(say("no_such_role")) from error
    name = image if mask is None else f"{image}-{mask}-{kind.value}"
    path = cache_dir() / "thumbnails" / f"{name}{'-large' if large else ''}.webp"
    longest = _LARGE_PX if large else _LONGEST_PX
    if not path.is_file():
        pixels = model_picture(Reference(id="thumbnail", role=kind, label="", image=image, mask=mask), pictures)
        small = Image.fromarray(pixels)
        small.thumbnail((longest, longest))
        stream = io.BytesIO()
        small.save(stream, format="WEBP", quality=88)
        write_atomically(path, stream.getvalue())
    return path
