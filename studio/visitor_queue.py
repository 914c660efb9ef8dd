"""One person's view of the queue: whatever is not theirs is not there for them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Protocol

from engine.errors import InputError
from engine.memory.lent import Lent
from engine.request import RenderRequest
from studio.forecast import card_seconds
from studio.jobs import Job, JobQueue
from studio.languages import say
from studio.limits import Allowance


class RenderQueue(Protocol):
    """What desks need of a queue: `JobQueue` where there is one person, `VisitorQueue` for one of several."""

    @property
    def version(self) -> int: ...

    @property
    def holdable(self) -> bool: ...

    @property
    def paused(self) -> bool: ...

    @property
    def trouble(self) -> str: ...

    def jobs(self) -> tuple[Job, ...]: ...

    def job(self, job_id: str) -> Job | None: ...

    def wait(self, version: int, timeout_s: float) -> int: ...

    def submit(self, request: RenderRequest, title: str, *variations: RenderRequest) -> Job: ...

    def replace(self, job_id: str, request: RenderRequest, title: str) -> Job: ...

    def cancel(self, job_id: str, *, keep: bool = False) -> bool: ...

    def retry(self, job_id: str) -> Job: ...

    def forget(self, *job_ids: str, scrub: bool = False) -> None: ...

    def move(self, job_id: str, by: int) -> None: ...

    def pause(self, paused: bool) -> None: ...

    def try_again_now(self) -> None: ...


class VisitorQueue:
    """The jobs of `visitor` in a queue; "" is a personal studio's owner, who has no `allowance` and may hold it.

    `lent`: the card that is lent for a render; what is too long for it is refused before it waits.
    """

    def __init__(self, queue: JobQueue, visitor: str, allowance: Allowance | None, lent: Lent | None = None) -> None:
        self._queue = queue
        self._visitor = visitor
        self._allowance = allowance
        self._lent = lent
        self._asking = threading.Lock()  # two pages of one person never pass a limit together

    @property
    def version(self) -> int:
        """Grows with every change of any job, also of others'."""
        return self._queue.version

    @property
    def holdable(self) -> bool:
        """Whether this person may hold the queue."""
        return not self._visitor

    @property
    def paused(self) -> bool:
        """Whether the queue is held."""
        return self._queue.paused

    @property
    def trouble(self) -> str:
        """Why the queue stands still, without the paths of the machine for a visitor."""
        trouble = self._queue.trouble
        return say("visitor_trouble") if trouble and self._visitor else trouble

    def jobs(self) -> tuple[Job, ...]:
        """All jobs of this person in the order of the queue."""
        return tuple(self._shown(job) for job in self._queue.jobs() if job.visitor == self._visitor)

    def job(self, job_id: str) -> Job | None:
        """One of their jobs."""
        job = self._queue.job(job_id)
        return None if job is None or job.visitor != self._visitor else self._shown(job)

    def wait(self, version: int, timeout_s: float) -> int:
        """As `JobQueue.wait`."""
        return self._queue.wait(version, timeout_s)

    def submit(self, request: RenderRequest, title: str, *variations: RenderRequest) -> Job:
        """As `JobQueue.submit`; raises `InputError` where a limit is reached, `MachineError` for what no call holds."""
        with self._asking:
            self._take(request, *variations)
            return self._queue.submit(request, _whole(title), *variations, visitor=self._visitor)

    def replace(self, job_id: str, request: RenderRequest, title: str) -> Job:
        """As `JobQueue.replace`."""
        own = self._own(job_id)
        with self._asking:
            self._take(request, instead_of=own)
            return self._queue.replace(job_id, request, _whole(title))

    def cancel(self, job_id: str, *, keep: bool = False) -> bool:
        """As `JobQueue.cancel`."""
        return self.job(job_id) is not None and self._queue.cancel(job_id, keep=keep)

    def retry(self, job_id: str) -> Job:
        """As `JobQueue.retry`."""
        own = self._own(job_id)
        with self._asking:
            self._take(own.request)
            return self._queue.retry(job_id)

    def forget(self, *job_ids: str, scrub: bool = False) -> None:
        """As `JobQueue.forget`."""
        for job_id in job_ids:
            self._own(job_id)
        self._queue.forget(*job_ids, scrub=scrub)

    def move(self, job_id: str, by: int) -> None:
        """As `JobQueue.move`."""
        self._own(job_id)
        self._queue.move(job_id, by)

    def pause(self, paused: bool) -> None:
        """Hold the queue or let it go on; raises `InputError` for a visitor, who is not alone."""
        if not self.holdable:
            raise InputError(say("visitor_queue"))
        self._queue.pause(paused)

    def try_again_now(self) -> None:
        """As `JobQueue.try_again_now`."""
        self._queue.try_again_now()

    def _own(self, job_id: str) -> Job:
        job = self.job(job_id)
        if job is None:
            raise InputError(say("visitor_gone"))
        return job

    def _shown(self, job: Job) -> Job:
        return replace(job, log=None) if self._visitor else job  # a log names paths of the machine

    def _take(self, *requests: RenderRequest, instead_of: Job | None = None) -> None:
        if self._lent is not None:
            card_seconds(requests[0], self._lent)  # variations take as long
        if self._allowance is None:
            return
        self._allowance.check_room()
        live = [job for job in self.jobs() if not job.final and (instead_of is None or job.id != instead_of.id)]
        self._allowance.take(requests, len(live))


def _whole(title: str) -> str:
    """The title with nothing that no file can hold: JSON may smuggle in half a letter."""
    return title.encode("utf-8", "backslashreplace").decode()
