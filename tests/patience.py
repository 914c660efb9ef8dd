"""How tests wait for what has to come: by looking, and so long that only what never comes is missed."""

from __future__ import annotations

import time
from collections.abc import Callable

from studio.job import Job
from studio.jobs import JobQueue

PATIENCE_S = 300.0
"""How long anything may take on a machine that is busy with other things; on a free one it takes milliseconds."""


def wait_until(holds: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return as soon as `holds` says so. Raises `AssertionError`, with `what` was waited for, if it never does."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"in {patience_s:.0f} s there was never {what}"
        time.sleep(0.02)


def until_job(queue: JobQueue, job: Job, holds: Callable[[Job], bool]) -> Job:
    """The job as soon as `holds` says so of it. Raises `AssertionError` if it never does."""
    deadline, version = time.monotonic() + PATIENCE_S, -1
    while time.monotonic() < deadline:
        version = queue.wait(version, 10)
        now = queue.job(job.id)
        assert now is not None
        if holds(now):
            return now
    raise AssertionError(f"the job never got there: {queue.job(job.id)}")
