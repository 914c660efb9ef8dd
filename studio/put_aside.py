"""Clips that were deleted a moment ago: put aside, so that a slip can be undone, and dropped when time is up.

They lie in a hidden folder beside the clips, on the same drive, each in a folder of its own under its own name. What an
earlier run of the studio left there gets its full time anew, for nobody could undo it meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError
from engine.files import output_error, writing
from studio.languages import say

UNDO_S = 30.0

_FOLDER = ".removed"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A deleted clip that is still there; `left_s` says for how long."""

    token: str
    name: str
    left_s: float


class PutAside:
    """The deleted clips of a folder. `dropped(name)` is told when one is gone for good. Safe to use from threads."""

    def __init__(
        self,
        clips: Callable[[], Path],
        dropped: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clips = clips
        self._dropped = dropped
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def remove(self, clip: Path) -> str:
        """Put a clip aside and return the word by which `restore` finds it; raises `OutputError`."""
        token = secrets.token_hex(6)
        home = self._home() / token
        with self._lock, writing(clip):
            home.mkdir(parents=True)
            try:
                clip.rename(home / clip.name)
            except OSError:
                home.rmdir()
                raise
            self._until[token] = self._clock() + UNDO_S
        return token

    def restore(self, token: str) -> str:
        """Bring a clip back and return its name, which is a new one if the old one is taken by now.

        Raises:
            InputError: its time was up.
            OutputError: it cannot be moved.
        """
        with self._lock:
            found = self._waiting().get(token)
            if found is None:
                raise InputError(say("removed_too_long"))
            target = self._clips() / found.name
            number = 2
            while target.exists():
                target = target.with_name(f"{found.stem}-{number}{found.suffix}")
                number += 1
            with writing(target):
                found.rename(target)
            self._until.pop(token, None)
            self._tidy(found.parent)
            return target.name

    def waiting(self) -> list[Aside]:
        """Return what can be undone still, the latest last, and drop for good what cannot."""
        now = self._clock()
        left: list[Aside] = []
        with self._lock:
            for token, path in self._waiting().items():
                until = self._until.setdefault(token, now + UNDO_S)
                if now < until:
                    left.append(Aside(token=token, name=path.name, left_s=until - now))
                    continue
                try:
                    path.unlink()
                except OSError as error:  # in use elsewhere: the next look tries again
                    _log.warning("%s", output_error(error, path))
                    continue
                self._until.pop(token, None)
                self._tidy(path.parent)
                self._dropped(path.name)
        return sorted(left, key=lambda one: one.left_s)

    def _home(self) -> Path:
        return self._clips() / _FOLDER

    def _waiting(self) -> dict[str, Path]:
        """Every clip that is put aside, by its token; a folder without one is a remnant and is removed."""
        home = self._home()
        found: dict[str, Path] = {}
        if not home.is_dir():
            return found
        for folder in home.iterdir():
            if not folder.is_dir():
                continue
            file = next(iter(folder.iterdir()), None)
            if file is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                found[folder.name] = file
        return found

    def _tidy(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # not empty: others wait there
            folder.rmdir()
            folder.parent.rmdir()
