"""What one visitor of a shared studio may use, and the sentences for whoever has used it up."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError
from engine.request import RenderRequest
from studio.languages import say

_HOUR_S = 3600.0
_LOOK_S = 5.0
"""How long a sum of a home's files counts; what comes in meanwhile is limited for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """For each visitor: renders that wait or run, pixels (width x height x frames) asked for in an hour, bytes kept.

    `visitors` is how many homes there may be, `days` how long one is kept that nobody has opened.
    """

    jobs: int = 10
    pixels_per_hour: int = 500_000_000
    kept_bytes: int = 2**30
    visitors: int = 500
    days: int = 14


class Allowance:
    """What one visitor has used of the limits. Safe to use from several threads; forgotten when the program ends."""

    def __init__(self, limits: Limits, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: deque[tuple[float, int]] = deque()
        self._kept: tuple[float, int] | None = None

    def take(self, requests: Iterable[RenderRequest], num_live: int) -> None:
        """Count the pixels of renders that are about to be queued, beside `num_live` that wait or run.

        Raises:
            InputError: it would be too many renders or pixels; then nothing is counted.
        """
        sizes = [one.settings.width * one.settings.height * one.settings.num_frames for one in requests]
        most = self._limits.jobs
        if num_live + len(sizes) > most:
            raise InputError(say("visitor_jobs", most=most, live=num_live))
        with self._lock:
            now, pixels = self._clock(), sum(sizes)
            while self._asked and self._asked[0][0] <= now - _HOUR_S:
                self._asked.popleft()
            if pixels + sum(asked for _, asked in self._asked) > self._limits.pixels_per_hour:
                raise InputError(self._pixels_used_up(pixels, now))
            self._asked.append((now, pixels))

    def check_room(self) -> None:
        """Raises `InputError` where the visitor keeps as much as they may; deleting still goes."""
        now = self._clock()
        with self._lock:
            if self._kept is None or now - self._kept[0] > _LOOK_S:
                self._kept = (now, size_of(self._root))
            kept = self._kept[1]
        if kept >= self._limits.kept_bytes:
            raise InputError(say("visitor_full", most=round(self._limits.kept_bytes / 2**20)))

    def _pixels_used_up(self, pixels: int, now: float) -> str:
        if pixels > self._limits.pixels_per_hour:
            return say("visitor_pixels")
        left = pixels + sum(asked for _, asked in self._asked) - self._limits.pixels_per_hour
        for asked_at, asked in self._asked:
            left -= asked
            if left <= 0:
                minutes = max(1, round((asked_at + _HOUR_S - now) / 60))
                return say("visitor_hour", minutes=minutes)
        raise AssertionError  # what was asked for in the last hour is less than what has to go


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder, which others may change meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
