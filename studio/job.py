"""What a job of the queue is: values without behaviour, the same on disk and on the page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.events import Preview, Progress
from engine.request import Clip, RenderRequest


class JobState(StrEnum):
    """Where a job stands; the last three are final."""

    waiting = "waiting"
    running = "running"
    done = "done"
    cancelled = "cancelled"
    failed = "failed"


class Wish(StrEnum):
    """What was asked of a running job, perhaps by another process than the one that renders it."""

    go_on = ""
    stop = "stop"  # its steps are kept, it can go on later
    drop = "drop"  # nothing is kept


FINAL_STATES = frozenset({JobState.done, JobState.cancelled, JobState.failed})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A snapshot of one render in the queue.

    `error` is a sentence for the user, `log` what a report needs; `step` the last one known to be saved; `holder` who
    renders it; `batch` the same word for variations that were asked for together, "" for a single one; `visitor` whose
    it is, "" for the owner of a personal studio. `submitted`,
    `started`, `ended`: seconds since 1970, for showing only. A final job has no `preview`. `notice`: what the user
    should know of a render that goes on all the same.
    """

    id: str
    title: str
    request: RenderRequest
    state: JobState = JobState.waiting
    progress: Progress | None = None
    preview: Preview | None = None
    notice: str = ""
    error: str | None = None
    log: str | None = None
    clip: Clip | None = None
    step: int = 0
    holder: str = ""
    out: Path | None = None
    wish: Wish = Wish.go_on
    submitted: float = 0.0
    started: float | None = None
    ended: float | None = None
    batch: str = ""
    visitor: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing about this job will change by itself any more."""
        return self.state in FINAL_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Heart:
    """A running job's holder and how often its heart has beaten."""

    job_id: str
    holder: str
    beats: int
