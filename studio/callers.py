"""In whose name a render is done. Where a card is lent to whoever asks for a render, the render has to happen in the
context of that request, though a thread does it that knows no requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context, copy_context
from typing import Protocol

_MOST = 2000
"""Jobs whose request is remembered; more can hardly wait, and an older one is told to ask again."""


class Callers(Protocol):
    """What the queue needs: `asking` around what puts jobs into it, `run` around what renders one of them."""

    def asking(self) -> AbstractContextManager[Callable[..., None]]: ...

    def run(self, job_id: str, work: Callable[[], None]) -> None: ...


class Anybody:
    """For a machine that asks nobody in whose name it works."""

    def asking(self) -> AbstractContextManager[Callable[..., None]]:
        """Note nothing."""
        return nullcontext(lambda *_job_ids: None)

    def run(self, job_id: str, work: Callable[[], None]) -> None:
        """Do `work`."""
        work()


class RememberedCallers:
    """The context of the request that asked last for each job. Kept in memory only: nobody's pass goes to the disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, Context] = {}

    @contextmanager
    def asking(self) -> Generator[Callable[..., None]]:
        """Yield what notes the ids of jobs as asked for here and now; none of them runs before the end of this."""
        with self._lock:
            yield self._note

    def run(self, job_id: str, work: Callable[[], None]) -> None:
        """Do `work` in the name of who asked for this job, in nobody's where that is not known."""
        with self._lock:
            context = self._asked.get(job_id, Context())
        context.copy().run(work)

    def _note(self, *job_ids: str) -> None:
        context = copy_context()
        for job_id in job_ids:
            self._asked.pop(job_id, None)
            self._asked[job_id] = context
        while len(self._asked) > _MOST:
            del self._asked[next(iter(self._asked))]
