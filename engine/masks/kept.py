"""What is kept on disk about pictures that were opened for cutting, by the picture's id: it can all be made again."""

from __future__ import annotations

import contextlib
from pathlib import Path

from engine.paths import cache_dir
from engine.pictures import PictureId, checked_id

_MOST_EMBEDDINGS = 100
_MOST_VIEWS = 400


def view_path(picture: PictureId) -> Path:
    """The reduced picture that the page shows, as WebP. `PictureError` for what is no picture id, here and below."""
    return _folder() / "views" / f"{checked_id(picture)}.webp"


def embedding_path(picture: PictureId, weights: str) -> Path:
    """What the network `weights` (a name for its content) saw in a picture, about 2 MB."""
    return _folder() / "embeddings" / f"{checked_id(picture)}-{weights}.safetensors"


def forget(picture: PictureId) -> None:
    """Delete everything kept about a picture."""
    view_path(picture).unlink(missing_ok=True)
    for path in (_folder() / "embeddings").glob(f"{checked_id(picture)}-*.safetensors"):
        path.unlink(missing_ok=True)


def trim() -> None:
    """Delete the oldest where there are too many."""
    for folder, most in (("views", _MOST_VIEWS), ("embeddings", _MOST_EMBEDDINGS)):
        aged: list[tuple[float, Path]] = []
        for path in (_folder() / folder).glob("*.*"):
            with contextlib.suppress(OSError):  # another process has just deleted it
                aged.append((path.stat().st_mtime, path))
        for _, path in sorted(aged)[:-most]:
            path.unlink(missing_ok=True)


def _folder() -> Path:
    return cache_dir() / "masks"
