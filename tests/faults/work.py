"""A queue at work in this process, for faults of the folder that everything lies in: the real engine, a tiny model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from engine.cancel import CancelToken
from engine.events import Event, Progress
from engine.paths import clips_dir, jobs_file, pictures_dir
from engine.pictures import PictureStore
from engine.request import RenderRequest
from engine.runtime import Engine
from studio.job_store import Job, JobState, JobStore
from studio.jobs import JobQueue
from tests.faults.conftest import Tally
from tests.faults.test_killed_renders import frames_of
from tests.patience import PATIENCE_S, until_job, wait_until
from tests.unit.tiny_studio import tiny_request

NUM_STEPS = 60
_SETTINGS = {"num_inference_steps": NUM_STEPS, "num_frames": 41}


class _HeldEngine:
    """The real engine; while `going` is not set it stands before the last step of a render."""

    def __init__(self, going: threading.Event) -> None:
        self._engine = Engine()
        self._going = going

    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]:
        """As `Engine.render`."""
        for event in self._engine.render(request, pictures, cancel, out, resume=resume):
            yield event
            if isinstance(event, Progress) and event.stage == "denoise" and event.step == NUM_STEPS - 1:
                assert self._going.wait(PATIENCE_S)


class Work:
    """A queue on the data folder, and one render that is asked for again and again: every clip is like the first."""

    def __init__(self, tally: Tally) -> None:
        self.pictures = PictureStore(pictures_dir())
        self._going = threading.Event()
        self._going.set()
        self.queue = JobQueue(lambda: _HeldEngine(self._going), self.pictures, clips_dir, JobStore(jobs_file()))
        self._tally = tally
        self._expected = _frames(self._until(self.submit(), lambda job: job.state is JobState.done))

    def submit(self, seed: int = 5) -> Job:
        """Ask for the render, or for one that nobody looks at."""
        return self.queue.submit(tiny_request(self.pictures, seed=seed, **_SETTINGS), "work")

    def begin(self, step: int) -> Job:
        """Begin a render and return at a step of it: it goes on, but not to its end before `let_end`."""
        self._going.clear()
        return self._until(self.submit(), lambda job: _step(job) >= step)

    def let_end(self) -> None:
        """Let what was begun come to its end."""
        self._going.set()

    def until_trouble(self, words: str) -> None:
        """Wait until the queue says what is in its way."""
        wait_until(lambda: words in self.queue.trouble, f"a queue that says “{words}”")

    def check(self, job: Job) -> None:
        """Wait until the fault is over and the render done; count what is wrong with it. Others are taken back."""
        done = self._until(job, lambda now: now.state is JobState.done)
        wait_until(lambda: not self.queue.trouble, "a queue without trouble")  # gone with the next look at the file
        for other in self.queue.jobs():
            if not other.final:
                self.queue.cancel(other.id)
        wait_until(lambda: all(other.final for other in self.queue.jobs()), "an end of all renders")
        self._tally.rounds += 1
        self._tally.different_after_resume += not np.array_equal(_frames(done), self._expected)

    def _until(self, job: Job, holds: Callable[[Job], bool]) -> Job:
        def there(now: Job) -> bool:
            reached = holds(now)
            assert reached or not now.final, now.error
            return reached

        return until_job(self.queue, job, there)


def _step(job: Job) -> int:
    progress = job.progress
    return progress.step if progress is not None and progress.stage == "denoise" else 0


def _frames(job: Job) -> np.ndarray:
    assert job.clip is not None
    return frames_of(job.clip.path)
