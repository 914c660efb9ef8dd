"""Renders and their order: a worker thread owns an engine, where there are several cards one for each; pages only look.

Knows nothing of pages: one may come, go or be doubled without touching a running render. What it sees are immutable
`Job` snapshots in a `Standing`; `JobQueue.version` grows with every change. The truth lies in the `JobStore`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from engine.errors import Cancelled, OutputError, UserError
from engine.events import Finished, Notice, Preview, Progress
from engine.pictures import PictureStore
from engine.request import RenderRequest
from studio.callers import Anybody, Callers
from studio.endings import Endings
from studio.job_files import clear_unfinished, drop_unfinished, finished_clip, name_for, unfinished_file
from studio.job_store import PROGRAM_FAULT, Job, JobState, JobStore, Wish
from studio.languages import say
from studio.lease import Watch, new_holder
from studio.running import JobPlaces, RenderEngine, Running, Seat
from studio.standing import Standing

__all__ = ["Job", "JobQueue", "JobState", "RenderEngine"]

_log = logging.getLogger(__name__)

_BEAT_S = 2.0
_IDLE_S = 60.0
_PAUSES_S = (5.0, 15.0, 30.0, 60.0)
"""How long the queue waits before it tries the disk again, longer each time."""


class JobQueue:
    """The jobs of a store, worked off one after another by a thread of this process, which calls `make_engine`.

    `places_of` says where a visitor's pictures and clips lie; without it they all lie in `pictures` and `clips`. With
    `callers` each job is rendered in the context of the request that asked for it. `card_engines` is asked by that
    thread before its first job; if it names makers of engines, each of them gets a thread, and so many jobs are
    rendered at once.
    """

    def __init__(
        self,
        make_engine: Callable[[], RenderEngine],
        pictures: PictureStore,
        clips: Callable[[], Path],
        store: JobStore,
        places_of: Callable[[str], JobPlaces] | None = None,
        callers: Callers | None = None,
        card_engines: Callable[[], Sequence[Callable[[], RenderEngine]]] = tuple,
    ) -> None:
        self._engines = lambda: card_engines() or (make_engine,)
        self._places_of: Callable[[str], JobPlaces] = places_of or (lambda _: JobPlaces(pictures=pictures, clips=clips))
        self._store = store
        self._callers = callers or Anybody()
        self._holder = new_holder()
        self._watch = Watch(self._holder)
        self._standing = Standing(store)
        self._changed = self._standing.changed
        self._running = self._standing.running
        self._ends = Endings(store, self._holder, self._rest, self._standing.over)
        self._closing = False
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    # -- looking -------------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Grows with every change of any job."""
        return self._standing.version

    @property
    def holdable(self) -> bool:
        """Whether whoever asks may hold the queue."""
        return True

    @property
    def paused(self) -> bool:
        """Whether the user holds the queue."""
        return self._standing.paused

    @property
    def trouble(self) -> str:
        """Why the queue stands still though nobody holds it: a sentence, or nothing."""
        return self._standing.trouble

    def jobs(self) -> tuple[Job, ...]:
        """All remembered jobs in the order of the queue."""
        return self._standing.jobs()

    def job(self, job_id: str) -> Job | None:
        """The present snapshot of one job."""
        return self._standing.job(job_id)

    def wait(self, version: int, timeout_s: float) -> int:
        """Return the version as soon as it differs from `version`, at the latest after `timeout_s`."""
        return self._standing.wait(version, timeout_s)

    # -- what the user does; all raise `OutputError` where the queue cannot be written ---------------------------------

    def submit(self, request: RenderRequest, title: str, *variations: RenderRequest, visitor: str = "") -> Job:
        """Put a request at the end of the queue, variations behind it as one batch; all are on disk when it returns."""
        self._check_open()
        with self._callers.asking() as asked:
            ids = self._store.add_all((request, *variations), title, visitor)
            asked(*ids)
        job = self._after(ids[0])
        self.start()
        return job

    def replace(self, job_id: str, request: RenderRequest, title: str) -> Job:
        """Give a waiting job another request; raises `InputError` if it has begun meanwhile."""
        self._check_open()
        with self._callers.asking() as asked:
            self._store.replace(job_id, request, title)
            asked(job_id)
        return self._after(job_id)

    def cancel(self, job_id: str, *, keep: bool = False) -> bool:
        """Stop a job: at once while it waits, within one step while it runs. False if it is unknown or final.

        With `keep` its finished steps stay on the disk, and `retry` goes on from them.
        """
        with self._changed:
            running = self._running.get(job_id)
            if running is not None and not self._closing:
                # even where the wish cannot be written: nothing may keep a render from being stopped
                running.hear(Wish.stop if keep else Wish.drop)
        was = self._store.stop(job_id, keep=keep)
        if was is JobState.waiting and not keep:
            drop_unfinished(job_id)
        self._refresh()
        return was is not None

    def retry(self, job_id: str) -> Job:
        """Let a failed or cancelled job wait again, from its last saved step where there is one."""
        self._check_open()
        with self._callers.asking() as asked:
            self._store.retry(job_id)
            asked(job_id)
        job = self._after(job_id)
        self.start()
        return job

    def forget(self, *job_ids: str, scrub: bool = False) -> None:
        """Remove jobs that are not running, with `scrub` to the last byte; a finished one's clip stays."""
        self._store.forget(*job_ids)
        for job_id in job_ids:
            drop_unfinished(job_id)
        if scrub:
            self._store.scrub()
        self._refresh()

    def forget_visitor(self, visitor: str) -> bool:
        """Remove every job of a visitor who is gone; False, and nothing is done, where one of them waits or runs."""
        forgotten = self._store.forget_visitor(visitor)
        self._refresh()
        return forgotten

    def move(self, job_id: str, by: int) -> None:
        """Move a waiting job `by` places among its visitor's waiting ones, -1 = one up."""
        self._store.move(job_id, by)
        self._refresh()

    def pause(self, paused: bool) -> None:
        """Hold the queue or let it go on. What is running runs to its end; what waits waits, over a restart as well."""
        self._store.pause(paused)
        if not paused:
            self.start()
        self._refresh()

    # -- beginning and end ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads, if they do not run yet; what an earlier run left waiting goes on by itself."""
        with self._changed:
            if self._threads or self._closing:
                return
            with self._standing.reporting():
                self._refresh()
            self._threads = [
                threading.Thread(target=self._keep, name="render-keeper", daemon=True),
                threading.Thread(target=self._work_everywhere, name="render-worker", daemon=True),
            ]
            for thread in self._threads:
                thread.start()

    def close(self, timeout_s: float = 20.0) -> bool:
        """Stop what renders within one step and wait for the threads; True if they have ended.

        No job is lost by it: what waited still waits, and what was running waits to go on from its last step.
        """
        with self._changed:
            self._closing = True
            for running in self._running.values():
                running.token.cancel()
            self._standing.touch()
            threads = list(self._threads)
        deadline = time.monotonic() + timeout_s
        for thread in (*threads[1:], *threads[:1]):
            if thread is threads[0]:
                self._ended.set()  # the keeper goes on beating for as long as anybody renders
            thread.join(max(0.0, deadline - time.monotonic()))
        self._store.close()
        return not any(thread.is_alive() for thread in threads)

    def _check_open(self) -> None:
        if self._closing:
            raise UserError(say("queue_closing"))

    # -- the keeper: heartbeat, other processes, jobs that lost theirs -------------------------------------------------

    def _keep(self) -> None:
        with self._standing.reporting():
            clear_unfinished(self._store.jobs())
        while not self._ended.is_set():
            with self._standing.reporting():
                self._beat()
                dead = self._watch.dead(self._store.hearts())
                if (dead and self._store.free(dead)) or self._standing.outdated:
                    self._refresh()
            self._ended.wait(_BEAT_S)

    def _beat(self) -> None:
        with self._changed:
            steps = [(running, running.step) for running in self._running.values()]
        for running, step in steps:
            wish = self._store.beat(running.job.id, self._holder, step)
            with self._changed:
                if self._running.get(running.job.id) is running and wish is not Wish.go_on:
                    running.hear(wish)

    # -- the workers ---------------------------------------------------------------------------------------------------

    def _work_everywhere(self) -> None:
        """Work on the one engine there is, or on the first of several and let others work on the rest."""
        first, *others = self._engines()
        with self._changed:
            for make in () if self._closing else others:
                name = f"render-worker-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, args=(make,), name=name, daemon=True))
                self._threads[-1].start()
        self._work(first)

    def _work(self, make_engine: Callable[[], RenderEngine]) -> None:
        tries = 0
        with contextlib.closing(Seat(make_engine)) as seat:
            while (running := self._next(seat)) is not None:
                try:
                    self._callers.run(running.job.id, partial(self._run, running))
                    tries = 0
                except OutputError as error:
                    # Not this job's fault, and the next one would fare the same: all of them wait for the disk.
                    self._ends.put_back(running)
                    self._rest(str(error), _PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
                    tries += 1
                except Cancelled:
                    self._ends.stopped(running)
                except UserError as error:
                    self._ends.failed(running, str(error))
                except Exception:
                    _log.exception("render %s failed", running.job.id)
                    seat.close()  # the state of its engine is unknown now; the next job starts with a fresh one
                    drop_unfinished(running.job.id)
                    self._ends.failed(running, PROGRAM_FAULT, traceback.format_exc())

    def _next(self, seat: Seat) -> Running | None:
        while True:
            with self._changed:
                if self._closing:
                    return None
                seen = self._standing.version
            try:
                running = self._claim(seat)
            except OutputError as error:
                self._rest(str(error), _PAUSES_S[0])
                continue
            if running is not None:
                return running
            self.wait(seen, _IDLE_S)

    def _claim(self, seat: Seat) -> Running | None:
        def out_for(job: Job, taken: frozenset[str]) -> Path:
            return name_for(job, self._places_of(job.visitor).clips(), taken)

        job = self._store.claim(self._holder, out_for)
        if job is None:
            return None
        running = Running(job, seat)
        with self._changed:
            before = self._running.setdefault(job.id, running)
            if before is not running:
                before.hear(None)  # it was lost while the computer slept, and comes back to a neighbour
            self._running[job.id] = running
            if self._closing:
                running.token.cancel()
        with self._standing.reporting():
            self._refresh()
        return running

    def _run(self, running: Running) -> None:
        job = running.job
        assert job.out is not None
        clip = finished_clip(job)
        if clip is not None:  # a kill came between the clip's last byte and the note that it is done
            self._ends.done(running, clip)
            return
        if not running.seat.ready:
            self._standing.show(running, progress=Progress(stage="load", step=0, num_steps=0, seconds_left=None))
        engine = running.seat.engine()
        running.token.raise_if_cancelled()
        resume = unfinished_file(job.id)
        pictures = self._places_of(job.visitor).pictures
        for event in engine.render(job.request, pictures, running.token, job.out, resume=resume):
            match event:
                case Progress():
                    self._standing.show(running, progress=event)
                case Preview():
                    self._standing.show(running, preview=event)
                case Notice():
                    self._standing.show(running, notice=event.text)
                case Finished():
                    clip = event.clip
        if clip is None:
            raise RuntimeError("the engine ended without a clip")
        self._ends.done(running, clip)

    def _rest(self, trouble: str, pause_s: float) -> bool:
        """Stand still because of `trouble` until it is time, or the user asks to go on; False if the studio closes."""
        return self._standing.stand_still(trouble, pause_s, lambda: self._closing)

    def try_again_now(self) -> None:
        """Do not wait any longer for the disk."""
        self._standing.go_on()

    def _after(self, job_id: str) -> Job:
        self._refresh()
        job = self.job(job_id)
        if job is None:
            raise UserError("Another studio has removed this render at this moment; render again.")
        return job

    def _refresh(self) -> None:
        self._standing.refresh()
