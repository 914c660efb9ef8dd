"""The finished clips of a folder, newest first. A recipe is read once and remembered as long as its file is the same.

Of a recipe only the request is remembered: keeping the pictures of every clip that was ever shown would fill memory.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.clip import read_recipe
from engine.errors import InputError, UserError
from engine.file_names import is_text
from engine.recipe import Edited
from engine.request import RenderRequest
from studio.clip_notes import ClipNote, ClipNotes
from studio.languages import say

_log = logging.getLogger(__name__)

CLIP_ENDINGS = frozenset({".mp4", ".webm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEntry:
    """A clip in the list. `request` is None for a file that does not say how it was made, `edited` for one as rendered.

    `changed_ns`: time of the file in nanoseconds since 1970. `number` grows with every clip that is new or has changed
    in any way, so that whoever knows all up to one number needs only the later ones.
    """

    name: str
    path: Path
    changed_ns: int
    size_bytes: int
    note: ClipNote
    number: int
    request: RenderRequest | None = None
    edited: Edited | None = None


class ClipShelf:
    """The clips of a folder and what is noted of them. Safe to ask from several threads."""

    def __init__(self, folder: Callable[[], Path], notes: ClipNotes) -> None:
        self._folder = folder
        self._notes = notes
        self._lock = threading.Lock()
        self._entries: dict[str, ClipEntry] = {}
        self._count = 0

    @property
    def newest(self) -> int:
        """The highest number that was given so far."""
        return self._count

    def entries(self) -> list[ClipEntry]:
        """Return all clips, newest first."""
        with self._lock:
            found = [self._entry(path, time_ns, size) for time_ns, path, size in _by_age(self._folder())]
            self._entries = {entry.name: entry for entry in found}
            return found

    def entry(self, name: str) -> ClipEntry:
        """Return one clip by its file name.

        Raises:
            InputError: there is none of that name.
        """
        for time_ns, path, size in _by_age(self._folder()):
            if path.name == name:
                with self._lock:
                    entry = self._entry(path, time_ns, size)
                    self._entries[name] = entry
                    return entry
        raise InputError(say("clip_gone"))

    def version(self) -> str:
        """Return a word that changes whenever a clip comes, goes or is noted."""
        try:
            return f"{self._folder().stat().st_mtime_ns}-{self._notes.version}"
        except FileNotFoundError:
            return "none"

    def _entry(self, path: Path, time_ns: int, size_bytes: int) -> ClipEntry:
        note = self._notes.of(path.name)
        known = self._entries.get(path.name)
        same = known is not None and (known.changed_ns, known.size_bytes) == (time_ns, size_bytes)
        if known is not None and same and known.note == note:
            return known
        if known is not None and same:
            request, edited = known.request, known.edited
        else:
            request, edited = _read(path)
        self._count += 1
        return ClipEntry(
            name=path.name,
            path=path,
            changed_ns=time_ns,
            size_bytes=size_bytes,
            note=note,
            number=self._count,
            request=request,
            edited=edited,
        )


def _read(path: Path) -> tuple[RenderRequest | None, Edited | None]:
    try:
        recipe = read_recipe(path)
    except UserError as error:
        _log.info("%s has no recipe: %s", path, error)
        return None, None
    return recipe.request, recipe.edited


def _by_age(folder: Path) -> list[tuple[int, Path, int]]:
    """Time in nanoseconds, path and bytes of each clip."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return []
    found: list[tuple[int, Path, int]] = []
    for path in paths:
        # a name that is no text fits into no answer and no address
        if path.suffix.lower() not in CLIP_ENDINGS or path.name.startswith(".") or not is_text(path.name):
            continue
        try:
            status = path.stat()
        except OSError:  # removed while we look
            continue
        found.append((status.st_mtime_ns, path, status.st_size))
    return sorted(found, key=lambda one: (one[0], one[1].name), reverse=True)
