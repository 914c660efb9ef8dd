"""How the queue stands, as pages see it: snapshots of its jobs, whether it is held, and what is in its way."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator

from engine.errors import OutputError
from engine.events import Preview, Progress
from studio.job_store import Job, JobStore
from studio.running import Running, with_progress

_log = logging.getLogger(__name__)


class Standing:
    """What a store holds, and what only this process knows of the jobs in `running`. Safe to use from several threads.

    Whatever changes it holds `changed`, which wakes everybody who waits for news; `version` grows with every change.
    """

    def __init__(self, store: JobStore) -> None:
        self.changed = threading.Condition()
        self.running: dict[str, Running] = {}
        self.version = 0
        self.paused = False
        self._store = store
        self._jobs: dict[str, Job] = {}  # replaced whole, or one value at a time: safe to look at without the lock
        self._stamp = (0, 0)
        self._trouble = ""  # met by a worker, which waits for it to pass
        self._unread = ""  # met at a look at the store, at every one

    @property
    def trouble(self) -> str:
        """Why the queue stands still though nobody holds it: a sentence, or nothing."""
        trouble = self._trouble or self._unread
        if trouble or not self._store.unreadable:
            return trouble
        return "The queue holds renders of another version of the studio; they stay there until that one is used."

    def jobs(self) -> tuple[Job, ...]:
        """All remembered jobs in the order of the queue."""
        return tuple(self._jobs.values())

    def job(self, job_id: str) -> Job | None:
        """The present snapshot of one job."""
        return self._jobs.get(job_id)

    def wait(self, version: int, timeout_s: float) -> int:
        """Return the version as soon as it differs from `version`, at the latest after `timeout_s`."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != version, timeout_s)
            return self.version

    @property
    def outdated(self) -> bool:
        """Whether another process has changed the store since the last `refresh`. Raises `OutputError`."""
        return self._store.stamp() != self._stamp

    def refresh(self) -> None:
        """Show what the store holds now. Raises `OutputError` where it cannot be read."""
        with self.changed:
            self._stamp = self._store.stamp()
            self.paused = self._store.paused()
            self._jobs = {job.id: with_progress(job, self.running.get(job.id)) for job in self._store.jobs()}
            self.touch()

    def show(
        self, running: Running, *, progress: Progress | None = None, preview: Preview | None = None, notice: str = ""
    ) -> None:
        """Show what the engine says of a job."""
        with self.changed:
            running.show(progress, preview, notice)
            stored = self._jobs.get(running.job.id)
            if stored is not None:
                self._jobs[stored.id] = with_progress(stored, running)
            self.touch()

    def over(self, running: Running) -> None:
        """Show that a job is not rendered here any longer."""
        with self.changed:
            if self.running.get(running.job.id) is running:
                del self.running[running.job.id]
        with self.reporting():
            self.refresh()

    def stand_still(self, trouble: str, pause_s: float, closing: Callable[[], bool]) -> bool:
        """Wait because of `trouble` until it is time, or somebody says `go_on`; False if the studio closes."""
        _log.warning("the queue waits: %s", trouble)
        with self.changed:
            self._trouble = trouble
            self.touch()
            self.changed.wait_for(lambda: closing() or not self._trouble, pause_s)
            self._trouble = ""
            self.touch()
            return not closing()

    def go_on(self) -> None:
        """Let who stands still try again."""
        with self.changed:
            self._trouble = ""
            self.touch()

    @contextlib.contextmanager
    def reporting(self) -> Generator[None]:
        """Show a queue that cannot be read or written as trouble, until a later attempt succeeds."""
        trouble = ""
        try:
            yield
        except OutputError as error:
            trouble = str(error)
        with self.changed:
            if trouble != self._unread:
                self._unread = trouble
                self.touch()

    def touch(self) -> None:
        """Tell everybody who waits that something is new; the caller holds `changed`."""
        self.version += 1
        self.changed.notify_all()
