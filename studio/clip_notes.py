"""What the user says about a clip without changing its file: a title and the frame that stands for it in the gallery.

One small file for each clip that has any, found by the clip's file name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from engine.codec import from_json, to_json
from engine.errors import InputError
from engine.files import write_atomically, writing
from studio.languages import say

_log = logging.getLogger(__name__)

MAX_TITLE_CHARS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipNote:
    """`clip`: its file name. `title`: "" for the one its name gives. `poster`: number of a frame, from 0."""

    clip: str
    title: str = ""
    poster: int = 0


class ClipNotes:
    """The notes in a folder. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._notes: dict[str, ClipNote] | None = None
        self.version = 0
        """Grows with every change."""

    def of(self, clip: str) -> ClipNote:
        """Return what is known of a clip."""
        with self._lock:
            return self._known().get(clip) or ClipNote(clip=clip)

    def rename(self, clip: str, title: str) -> None:
        """Give a clip a title; an empty one takes it away. Raises `InputError` for one that is too long."""
        plain = " ".join(title.encode("utf-8", "ignore").decode().split())  # half letters fit into no file
        if len(plain) > MAX_TITLE_CHARS:
            raise InputError(say("title_too_long", most=MAX_TITLE_CHARS))
        self._put(replace(self.of(clip), title=plain))

    def choose_poster(self, clip: str, frame: int) -> None:
        """Let a frame stand for a clip."""
        if frame < 0:
            raise InputError(say("frame_none"))
        self._put(replace(self.of(clip), poster=frame))

    def forget(self, clip: str) -> None:
        """Drop what was said about a clip that is gone."""
        with self._lock:
            if self._known().pop(clip, None) is not None:
                with writing(self._path(clip)):
                    self._path(clip).unlink(missing_ok=True)

    def _put(self, note: ClipNote) -> None:
        with self._lock:
            known = self._known()
            write_atomically(self._path(note.clip), json.dumps(to_json(note)).encode())
            known[note.clip] = note
            self.version += 1

    def _path(self, clip: str) -> Path:
        return self._folder / f"{hashlib.sha256(clip.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.json"

    def _known(self) -> dict[str, ClipNote]:
        if self._notes is None:
            self._notes = {}
            for path in self._folder.glob("*.json") if self._folder.is_dir() else ():
                try:
                    note = from_json(ClipNote, json.loads(path.read_text(encoding="utf-8")))
                except (OSError, ValueError, InputError) as error:
                    _log.warning("the note %s cannot be read: %s", path, error)
                    continue
                self._notes[note.clip] = note
        return self._notes
