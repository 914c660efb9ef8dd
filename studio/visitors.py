"""Who asks: one owner on a personal studio; on a shared one visitors, each known by a signed cookie, in rooms apart.

A cookie is an id and its signature by a secret of the data folder and the password, so that a cookie from before the
password was set opens nothing. Homes that nobody has opened for long are removed, unless a render of theirs waits.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.errors import InputError, UserError
from engine.files import write_atomically, writing
from studio.home import visitor_home, visitors_dir
from studio.languages import say
from studio.limits import Allowance, Limits
from studio.room import Room

_ID = re.compile(r"[0-9a-f]{32}")
_IDLE_S = 600.0
_LOOK_S = 300.0
_NOTE_S = 60.0
_DAY_S = 86_400.0
_SURE_S = 3600.0
"""How long a home has to look old before it goes: a clock that was set wrong for a moment removes nothing."""
_log = logging.getLogger(__name__)
_here: ContextVar[Room] = ContextVar("room")


class Rooms(Protocol):
    """Where requests are answered: `here` is the room of whoever is asking."""

    def here(self) -> Room: ...

    def close(self) -> None: ...


class OwnRoom:
    """The one room of a personal studio."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def here(self) -> Room:
        """Return the room, whoever asks: only this machine's user can."""
        return self._room

    def close(self) -> None:
        """Close the room."""
        self._room.close()


@dataclass(slots=True)
class _Open:
    room: Room
    asked: float
    noted: float


class Visitors:
    """The rooms of a shared studio. `make_room(visitor, allowance)` furnishes one; `forget_jobs(visitor)` removes the
    jobs of somebody who is gone, or returns False where one waits. `password`: None where everybody may come in."""

    def __init__(
        self,
        make_room: Callable[[str, Allowance], Room],
        forget_jobs: Callable[[str], bool],
        *,
        password: str | None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_room = make_room
        self._forget_jobs = forget_jobs
        self._password = password
        self.limits = limits or Limits()
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self._allowances: dict[str, Allowance] = {}
        secret = _secret()
        self._key = hashlib.sha256(f"{secret}\n{password or ''}".encode()).digest()
        self.cookie = f"lumosx-{hashlib.sha256(secret.encode()).hexdigest()[:8]}"
        self._old_since: dict[str, float] = {}
        self._closing = threading.Event()
        self._janitor = threading.Thread(target=self._tidy, name="visitors-janitor", daemon=True)
        self._janitor.start()

    # -- who it is -----------------------------------------------------------------------------------------------------

    @property
    def locked(self) -> bool:
        """Whether a password is asked for."""
        return self._password is not None

    def admits(self, password: str) -> bool:
        """Whether this is the password."""
        wanted = (self._password or "").encode()
        return self._password is not None and hmac.compare_digest(password.encode("utf-8", "surrogatepass"), wanted)

    def new_pass(self) -> str:
        """Return the cookie's value for somebody new."""
        return self.pass_of(secrets.token_hex(16))

    def pass_of(self, visitor: str) -> str:
        """Return the cookie's value for a visitor."""
        return f"{visitor}.{hmac.new(self._key, visitor.encode(), hashlib.sha256).hexdigest()}"

    def known(self, value: str | None) -> str | None:
        """Return whose cookie this is, None if it is none of ours."""
        visitor, _, signature = (value or "").partition(".")
        if not _ID.fullmatch(visitor) or not signature.isascii():
            return None
        return visitor if hmac.compare_digest(f"{visitor}.{signature}", self.pass_of(visitor)) else None

    # -- their rooms ---------------------------------------------------------------------------------------------------

    def room(self, visitor: str) -> Room:
        """Return a visitor's room, opened and noted as used.

        Raises:
            InputError: there are too many visitors.
            OutputError: the data folder cannot be written.
        """
        root = visitor_home(visitor).root
        with self._lock:
            now = self._clock()
            known = self._open.get(visitor)
            if known is None or not root.is_dir():
                if not root.is_dir() and len(homes()) >= self.limits.visitors:
                    raise InputError(say("visitor_too_many"))
                with writing(root):
                    root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if known is None:
                allowance = self._allowances.setdefault(visitor, Allowance(self.limits, root, self._clock))
                known = self._open[visitor] = _Open(self._make_room(visitor, allowance), now, now - 2 * _NOTE_S)
            known.asked = now
            if now - known.noted > _NOTE_S:
                known.noted = now
                with writing(root):
                    os.utime(root)
            return known.room

    def here(self) -> Room:
        """Return the room of whoever sent the request that is being answered."""
        return _here.get()

    @contextlib.contextmanager
    def inside(self, room: Room) -> Generator[None]:
        """Answer everything inside in this room."""
        token = _here.set(room)
        try:
            yield
        finally:
            _here.reset(token)

    def close(self) -> None:
        """Close all rooms."""
        self._closing.set()
        self._janitor.join()
        with self._lock:
            rooms = [one.room for one in self._open.values()]
            self._open.clear()
        for room in rooms:
            room.close()

    # -- those who are gone --------------------------------------------------------------------------------------------

    def _tidy(self) -> None:
        while not self._closing.wait(_LOOK_S):
            self.close_idle()
            self.clear_departed()

    def close_idle(self) -> None:
        """Close rooms that nobody has asked anything of for ten minutes; the next question opens them again."""
        with self._lock:
            now = self._clock()
            idle = [name for name, one in self._open.items() if now - one.asked > _IDLE_S and not one.room.busy]
            rooms = [self._open.pop(name).room for name in idle]
        for room in rooms:
            room.close()

    def clear_departed(self) -> int:
        """Remove the homes that nobody has opened for `Limits.days` and that no render waits for; return how many."""
        cleared = 0
        for root in homes():
            with self._lock:
                try:
                    old = time.time() - root.stat().st_mtime > self.limits.days * _DAY_S
                    if not old or root.name in self._open:
                        self._old_since.pop(root.name, None)
                        continue
                    since = self._old_since.setdefault(root.name, self._clock())
                    if self._clock() - since < _SURE_S or not self._forget_jobs(root.name):
                        continue
                    with writing(root):
                        shutil.rmtree(root)
                except (OSError, UserError) as error:  # the next look tries again
                    _log.warning("the home of a visitor who is gone could not be removed: %s", error)
                    continue
                self._allowances.pop(root.name, None)
                self._old_since.pop(root.name, None)
                cleared += 1
        return cleared


def homes() -> list[Path]:
    """Return the homes there are."""
    folder = visitors_dir()
    return [path for path in folder.iterdir() if _ID.fullmatch(path.name)] if folder.is_dir() else []


def _secret() -> str:
    """The data folder's own word for signing, made at the first use and readable by this user only."""
    path = visitors_dir() / ".secret"
    with writing(path):
        kept = path.read_text(encoding="ascii", errors="replace") if path.exists() else ""
        if not re.fullmatch(r"[0-9a-f]{64}", kept):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept = secrets.token_hex(32)
            write_atomically(path, kept.encode())  # by a temporary file, which only its owner can read
    return kept
