"""What was found in a picture, kept on disk by the picture's id: a detector looks once. It can all be found again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from engine.faces.found import FoundFace, from_data, to_data
from engine.files import write_atomically
from engine.paths import cache_dir
from engine.pictures import PictureId

_MOST = 2000


def known_faces(picture: PictureId) -> tuple[FoundFace, ...] | None:
    """The faces of a picture; None if nobody has looked yet."""
    try:
        data: object = json.loads(_path(picture).read_text(encoding="utf-8"))
        return tuple(from_data(one) for one in data) if isinstance(data, list) else None  # pyright: ignore[reportUnknownVariableType]
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def keep_faces(picture: PictureId, faces: Sequence[FoundFace]) -> None:
    """Remember the faces of a picture. Raises `OutputError`."""
    write_atomically(_path(picture), json.dumps([to_data(face) for face in faces]).encode())
    aged: list[tuple[float, Path]] = []
    for path in _folder().glob("*.json"):
        with contextlib.suppress(OSError):  # another process has just deleted it
            aged.append((path.stat().st_mtime, path))
    for _, path in sorted(aged)[:-_MOST]:
        path.unlink(missing_ok=True)


def forget(picture: PictureId) -> None:
    """Delete what is known about a picture."""
    _path(picture).unlink(missing_ok=True)


def _path(picture: PictureId) -> Path:
    return _folder() / f"{picture}.json"


def _folder() -> Path:
    return cache_dir() / "faces"
