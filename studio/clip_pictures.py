"""Stills of clips for the page: the poster of each, and a strip of frames to cut by. Made once, kept in the cache."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.errors import InputError
from engine.files import write_atomically
from engine.paths import cache_dir
from studio.formats import frames_of, measure
from studio.languages import say

STRIP_FRAMES = 10
_POSTER_PX = 400
_STRIP_HEIGHT_PX = 72


def poster(clip: Path, frame: int) -> Path:
    """Return a WebP picture of a clip's frame, at most 400 px long; beyond the clip's end it is the last one.

    Raises:
        InputError: the clip cannot be read.
        OutputError: the cache cannot be written.
    """
    path = _place(clip, f"poster-{frame}")
    if not path.is_file():
        last: npt.NDArray[np.uint8] | None = None
        for number, pixels in enumerate(frames_of(clip)):
            last = pixels
            if number >= frame:
                break
        if last is None:
            raise InputError(say("clip_no_frame", name=clip.name))
        image = Image.fromarray(last)
        image.thumbnail((_POSTER_PX, _POSTER_PX))
        _keep(image, path)
    return path


def strip(clip: Path) -> Path:
    """Return a WebP picture of ten frames side by side, evenly spread over a clip. Raises as `poster` does."""
    path = _place(clip, "strip")
    if not path.is_file():
        facts = measure(clip)
        wanted = [int((number + 0.5) * facts.num_frames / STRIP_FRAMES) for number in range(STRIP_FRAMES)]
        width = max(1, round(_STRIP_HEIGHT_PX * facts.width / facts.height))
        sheet = Image.new("RGB", (width * STRIP_FRAMES, _STRIP_HEIGHT_PX))
        for place, pixels in _chosen(frames_of(clip), wanted):
            small = Image.fromarray(pixels).resize((width, _STRIP_HEIGHT_PX), Image.Resampling.BILINEAR)
            sheet.paste(small, (place * width, 0))
        _keep(sheet, path)
    return path


def unreadable() -> bytes:
    """Return a picture for a clip that has none: dark, with a line through it."""
    shades = np.full((90, 120, 3), 30, np.uint8)
    steps = np.arange(30)
    shades[30 + steps, 45 + steps] = 120
    stream = io.BytesIO()
    Image.fromarray(shades).save(stream, format="WEBP", lossless=True)
    return stream.getvalue()


def _chosen(frames: Iterable[npt.NDArray[np.uint8]], wanted: list[int]) -> Iterable[tuple[int, npt.NDArray[np.uint8]]]:
    for number, pixels in enumerate(frames):
        for place, one in enumerate(wanted):
            if one == number:
                yield place, pixels


def _place(clip: Path, what: str) -> Path:
    """Where a still of this very file lies: another file of the same name has another one."""
    try:
        status = clip.stat()
    except OSError as error:
        raise InputError(say("clip_gone_reload")) from error
    identity = f"{clip.name}|{status.st_mtime_ns}|{status.st_size}|{what}"
    name = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return cache_dir() / "stills" / f"{name}.webp"


def _keep(image: Image.Image, path: Path) -> None:
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=82, method=2)
    write_atomically(path, stream.getvalue())
