"""Whether the process that renders a job still lives, judged without the clock of the wall, which may be set."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable

import psutil

from studio.job_store import Heart

PATIENCE_S = 30.0
"""How long a heart may stand still while we watch. Hearts beat every two seconds, also while a step takes minutes."""


def new_holder() -> str:
    """Return a name for this process as a holder of jobs: `host/pid/word`, never the same twice."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


class Watch:
    """Remembers when each heart was last seen to beat."""

    def __init__(self, me: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._me = me
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

    def dead(self, hearts: Iterable[Heart]) -> list[Heart]:
        """Return those whose process is gone from this machine, or that have not beaten for `PATIENCE_S`."""
        now = self._clock()
        seen: dict[tuple[str, str], tuple[int, float]] = {}
        dead: list[Heart] = []
        for heart in hearts:
            if heart.holder == self._me:
                continue
            key = (heart.job_id, heart.holder)
            beats, since = self._seen.get(key, (-1, now))
            seen[key] = (heart.beats, since if beats == heart.beats else now)
            if _gone(heart.holder) or now - seen[key][1] > PATIENCE_S:
                dead.append(heart)
        self._seen = seen
        return dead


def _gone(holder: str) -> bool:
    """Whether a holder was a process of this machine that has ended."""
    host, _, rest = holder.rpartition("/")[0].rpartition("/")
    return host == socket.gethostname() and rest.isdigit() and not psutil.pid_exists(int(rest))
