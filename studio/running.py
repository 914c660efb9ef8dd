"""The jobs that this process renders at the moment, with what only this process knows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from engine.cancel import CancelToken
from engine.events import Event, Preview, Progress
from engine.pictures import PictureStore
from engine.request import RenderRequest
from studio.job_store import Job, JobState, Wish


class RenderEngine(Protocol):
    """What the worker needs of `engine.runtime.Engine`."""

    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlaces:
    """Where the pictures of somebody's jobs are read, and the folder their clips go to."""

    pictures: PictureStore
    clips: Callable[[], Path]


@runtime_checkable
class _Closeable(Protocol):
    def close(self) -> None: ...


class Seat:
    """Where one worker renders: its engine, made when it is first needed."""

    def __init__(self, make_engine: Callable[[], RenderEngine]) -> None:
        self._make_engine = make_engine
        self._engine: RenderEngine | None = None

    @property
    def ready(self) -> bool:
        """Whether the engine is made."""
        return self._engine is not None

    def engine(self) -> RenderEngine:
        """The engine, the same until `close`."""
        if self._engine is None:
            self._engine = self._make_engine()
        return self._engine

    def close(self) -> None:
        """Let the engine go; who sits down next gets a fresh one."""
        engine, self._engine = self._engine, None
        if isinstance(engine, _Closeable):
            engine.close()


class Running:
    """A job from its claim to its end: `job` carries progress and preview, `token` stops it, `wish` says why; `seat` is
    where it is rendered.

    `lost`: another process has taken it over. Whoever uses it holds the queue's lock.
    """

    def __init__(self, job: Job, seat: Seat) -> None:
        self.job = job
        self.seat = seat
        self.token = CancelToken()
        self.wish = Wish.go_on
        self.lost = False

    def show(self, progress: Progress | None, preview: Preview | None, notice: str = "") -> None:
        """Take in what the engine says."""
        self.job = replace(
            self.job,
            progress=progress or self.job.progress,
            preview=preview or self.job.preview,
            notice=notice or self.job.notice,
        )

    def hear(self, wish: Wish | None) -> None:
        """Take in what is asked of the job; None: it is ours no longer."""
        self.lost = wish is None
        if wish is Wish.go_on:
            return
        self.wish = wish or Wish.go_on
        self.token.cancel()

    @property
    def step(self) -> int:
        """The steps that can be counted on after a kill, as far as this process knows."""
        progress = self.job.progress
        if progress is None:
            return self.job.step
        if progress.stage == "denoise":
            return progress.step
        written = progress.stage in ("decode", "write")
        return self.job.request.settings.num_inference_steps if written else self.job.step


def with_progress(job: Job, running: Running | None) -> Job:
    """Return a stored job with the progress that is known of it: our own render's, else the last step written down."""
    if running is not None and running.job.id == job.id and job.state is JobState.running:
        return replace(job, progress=running.job.progress, preview=running.job.preview, notice=running.job.notice)
    if not job.step:
        return job
    num_steps = job.request.settings.num_inference_steps
    told = Progress(stage="denoise", step=min(job.step, num_steps), num_steps=num_steps, seconds_left=None)
    return replace(job, progress=told)
