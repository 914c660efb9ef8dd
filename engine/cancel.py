"""A flag that one thread raises and another looks at between two steps of its work."""

from __future__ import annotations

import threading

from engine.errors import Cancelled


class CancelToken:
    """Thread-safe, one way: once cancelled it stays cancelled. One token per render."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask for the work to stop; calling it again changes nothing."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` has been called."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the work should stop; costs well under a microsecond otherwise."""
        if self._event.is_set():
            raise Cancelled("Cancelled.")
