"""Renders and their order: one worker thread owns the engine, every page only looks.

Knows nothing of Gradio, browsers or tabs: a page may come, go or be doubled without touching a running render. What a
page sees are immutable `Job` snapshots; `JobQueue.version` grows with every change, so looking is cheap.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from engine.cancel import CancelToken
from engine.errors import Cancelled, UserError
from engine.events import Event, Finished, Preview, Progress
from engine.files import writing
from engine.pictures import PictureStore
from engine.request import Clip, RenderRequest

_log = logging.getLogger(__name__)

_PROGRAM_FAULT = (
    "This render stopped because of a fault in the program, not in your scene; the page works on. "
    "The terminal where the studio was started shows the details to send along with a report."
)
_KEPT_JOBS = 60


class RenderEngine(Protocol):
    """What the worker needs of `engine.runtime.Engine`."""

    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path
    ) -> Iterator[Event]: ...


class JobState(StrEnum):
    """Where a job stands; the last three are final."""

    waiting = "waiting"
    running = "running"
    done = "done"
    cancelled = "cancelled"
    failed = "failed"


FINAL_STATES = frozenset({JobState.done, JobState.cancelled, JobState.failed})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A snapshot of one render in the queue. `error` is a sentence for the user; a final job has no `preview`."""

    id: str
    title: str
    request: RenderRequest
    state: JobState = JobState.waiting
    progress: Progress | None = None
    preview: Preview | None = None
    error: str | None = None
    clip: Clip | None = None
    started: float | None = None

    @property
    def final(self) -> bool:
        """Whether nothing about this job will change any more."""
        return self.state in FINAL_STATES


class JobQueue:
    """Jobs in order of arrival, worked off one after another by a thread that is started with the first job.

    `make_engine` is called in that thread, so whatever it imports stays out of the page's start.
    """

    def __init__(
        self, make_engine: Callable[[], RenderEngine], pictures: PictureStore, clips: Callable[[], Path]
    ) -> None:
        self._make_engine = make_engine
        self._pictures = pictures
        self._clips = clips
        self._engine: RenderEngine | None = None
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._tokens: dict[str, CancelToken] = {}
        self._version = 0
        self._counter = 0
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def version(self) -> int:
        """Grows with every change of any job."""
        with self._changed:
            return self._version

    def jobs(self) -> tuple[Job, ...]:
        """All remembered jobs, oldest first."""
        with self._changed:
            return tuple(self._jobs.values())

    def job(self, job_id: str) -> Job | None:
        """The present snapshot of one job."""
        with self._changed:
            return self._jobs.get(job_id)

    def submit(self, request: RenderRequest, title: str) -> Job:
        """Put a request at the end of the queue."""
        with self._changed:
            if self._closing:
                raise UserError("The studio is closing; start it again to render.")
            self._counter += 1
            job = Job(id=f"job-{self._counter}", title=title, request=request)
            self._jobs[job.id] = job
            self._tokens[job.id] = CancelToken()
            self._forget_old()
            self._touch()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="render-worker", daemon=True)
                self._thread.start()
            return job

    def cancel(self, job_id: str) -> bool:
        """Stop a job: at once while it waits, within one step while it runs. False if it is unknown or final."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None or job.final:
                return False
            self._tokens[job_id].cancel()
            if job.state is JobState.waiting:
                self._put(replace(job, state=JobState.cancelled))
            return True

    def wait(self, version: int, timeout_s: float) -> int:
        """Return the version as soon as it differs from `version`, at the latest after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout_s)
            return self._version

    def close(self, timeout_s: float = 20.0) -> bool:
        """Cancel everything and wait for the worker; True if it has ended."""
        with self._changed:
            self._closing = True
            for job_id, token in self._tokens.items():
                token.cancel()
                job = self._jobs[job_id]
                if job.state is JobState.waiting:
                    self._put(replace(job, state=JobState.cancelled))
            self._touch()
            thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    # -- the worker thread ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._run(job)
            except Cancelled:
                self._finish(job.id, JobState.cancelled)
            except UserError as error:
                self._finish(job.id, JobState.failed, error=str(error))
            except Exception:
                _log.exception("render %s failed", job.id)
                self._engine = None  # its state is unknown now; the next job starts with a fresh one
                self._finish(job.id, JobState.failed, error=_PROGRAM_FAULT)

    def _next(self) -> Job | None:
        with self._changed:
            while True:
                if self._closing:
                    return None
                waiting = next((job for job in self._jobs.values() if job.state is JobState.waiting), None)
                if waiting is not None:
                    job = replace(waiting, state=JobState.running, started=time.time())
                    self._put(job)
                    return job
                self._changed.wait()

    def _run(self, job: Job) -> None:
        token = self._tokens[job.id]
        if self._engine is None:
            self._update(job.id, progress=Progress(stage="load", step=0, num_steps=0, seconds_left=None))
            self._engine = self._make_engine()
        token.raise_if_cancelled()
        out = self._out_path(job)
        for event in self._engine.render(job.request, self._pictures, token, out):
            match event:
                case Progress():
                    self._update(job.id, progress=event)
                case Preview():
                    self._update(job.id, preview=event)
                case Finished():
                    self._finish(job.id, JobState.done, clip=event.clip)
        if not self._is_final(job.id):
            raise RuntimeError("the engine ended without a clip")

    def _out_path(self, job: Job) -> Path:
        folder = self._clips()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        words = re.sub(r"[^a-z0-9]+", "-", job.title.lower()).strip("-")[:40] or "clip"
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{words}-seed{job.request.settings.seed}"
        path = folder / f"{stem}.mp4"
        number = 2
        while path.exists():
            path = folder / f"{stem}-{number}.mp4"
            number += 1
        return path

    # -- changing a job (all under the lock) ---------------------------------------------------------------------------

    def _is_final(self, job_id: str) -> bool:
        job = self.job(job_id)
        return job is not None and job.final

    def _update(self, job_id: str, *, progress: Progress | None = None, preview: Preview | None = None) -> None:
        with self._changed:
            job = self._jobs[job_id]
            self._put(replace(job, progress=progress or job.progress, preview=preview or job.preview))

    def _finish(self, job_id: str, state: JobState, *, error: str | None = None, clip: Clip | None = None) -> None:
        with self._changed:
            self._put(replace(self._jobs[job_id], state=state, error=error, clip=clip, preview=None))

    def _put(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._touch()

    def _touch(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def _forget_old(self) -> None:
        for job in list(self._jobs.values())[:-_KEPT_JOBS]:
            if job.final:
                del self._jobs[job.id], self._tokens[job.id]
