"""The queue on disk: every job is a row of one SQLite file, written before the page hears of it.

Several processes may share the file. What one of them does to a job is one transaction, and whoever renders a job holds
it: a row names its holder, whose heartbeat is a growing number. Whether a holder is dead is judged without any clock of
the wall: its process is gone from this machine, or its heart stood still for as long as we watched. Knows nothing of
threads, engines or pages.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.codec import from_json, to_json
from engine.errors import InputError, UserError
from engine.request import Clip, RenderRequest
from studio.job import Heart, Job, JobState, Wish
from studio.job_file import JobFile
from studio.languages import say

__all__ = ["Heart", "Job", "JobState", "JobStore", "Wish"]

KEPT_FINAL_JOBS = 60
"""How many finished, failed and cancelled jobs are remembered; older ones are forgotten, their clips stay."""
MAX_CRASHES = 3
"""How often in a row the program may end under a job, without a step gained, before the job is not begun by itself."""

PROGRAM_FAULT = (
    "This render stopped because of a fault in the program, not in your scene; the page works on. "
    "The terminal where the studio was started shows the details to send along with a report."
)
CRASHED = (
    "The program ended several times while it rendered this, perhaps for lack of memory. "
    "Choose a smaller size or fewer frames, or try again."
)


class JobStore:
    """The jobs in the file `path`, in the order in which they are to be rendered. Safe to use from several threads.

    Every method that writes raises `OutputError` where the file cannot be written, and then has changed nothing.
    """

    def __init__(self, path: Path) -> None:
        self._file = JobFile(path)
        self._lock = threading.RLock()
        self._read: dict[str, tuple[str, RenderRequest]] = {}
        self.unreadable = 0
        """Rows of which another version of the program made something unknown here; they are left as they are."""

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._lock:
            self._file.close()

    def stamp(self) -> tuple[int, int]:
        """Return a value that changes when another process has changed the jobs."""
        with self._lock:
            return self._file.stamp()

    # -- looking -------------------------------------------------------------------------------------------------------

    def jobs(self) -> tuple[Job, ...]:
        """Return all remembered jobs in the order of the queue."""
        with self._lock:
            rows = self._file.rows("SELECT * FROM jobs ORDER BY place, submitted, id")
            known = self._read
            self._read = {}
            jobs: list[Job] = []
            for row in rows:
                text = str(row["request"])
                try:
                    old = known.get(row["id"])
                    request = old[1] if old and old[0] == text else from_json(RenderRequest, json.loads(text))
                    jobs.append(_job(row, request))
                except (UserError, ValueError):
                    continue
                self._read[row["id"]] = (text, request)
            self.unreadable = len(rows) - len(jobs)
            return tuple(jobs)

    def paused(self) -> bool:
        """Return whether the user holds the queue."""
        with self._lock:
            return bool(self._file.rows("SELECT 1 FROM notes WHERE name = 'paused'"))

    def hearts(self) -> tuple[Heart, ...]:
        """Return who renders what."""
        with self._lock:
            rows = self._file.rows("SELECT id, holder, beats FROM jobs WHERE state = 'running'")
        return tuple(Heart(job_id=row["id"], holder=row["holder"], beats=row["beats"]) for row in rows)

    # -- what the user does --------------------------------------------------------------------------------------------

    def add(self, request: RenderRequest, title: str, visitor: str = "") -> str:
        """Put a request at the end of the queue; return the new job's id. It is on disk when this returns."""
        return self.add_all((request,), title, visitor)[0]

    def add_all(self, requests: Sequence[RenderRequest], title: str, visitor: str = "") -> tuple[str, ...]:
        """Put requests at the end of the queue, all or none, several as one batch; return the new jobs' ids."""
        ids = tuple(secrets.token_hex(6) for _ in requests)
        batch = secrets.token_hex(6) if len(ids) > 1 else ""
        with self._writing() as write:
            for job_id, request in zip(ids, requests, strict=True):
                write(
                    "INSERT INTO jobs (id, place, title, request, state, submitted, batch, visitor) "
                    "VALUES (?, (SELECT coalesce(max(place), 0) + 1 FROM jobs), ?, ?, 'waiting', ?, ?, ?)",
                    (job_id, title, _text(request), time.time(), batch, visitor),
                )
            write(
                "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state IN ('done', 'failed', 'cancelled') "
                "AND visitor = ? ORDER BY ended DESC, place DESC LIMIT -1 OFFSET ?)",
                (visitor, KEPT_FINAL_JOBS),
            )
        return ids

    def replace(self, job_id: str, request: RenderRequest, title: str) -> None:
        """Give a waiting job another request, at the same place; `InputError` if it has begun or is gone."""
        with self._writing() as write:
            changed = write(
                "UPDATE jobs SET request = ?, title = ?, out = NULL, step = 0, crashes = 0 "
                "WHERE id = ? AND state = 'waiting'",
                (_text(request), title, job_id),
            )
            if not changed.rowcount:
                raise InputError(say("job_begun") if self._has(job_id) else say("job_gone"))

    def pause(self, paused: bool) -> None:
        """Hold the queue, or let it go on; what is running is not touched."""
        with self._writing() as write:
            write("INSERT OR IGNORE INTO notes VALUES ('paused')" if paused else "DELETE FROM notes")

    def move(self, job_id: str, by: int) -> None:
        """Move a waiting job `by` places among its visitor's waiting ones, -1 = one up; at either end it stays."""
        with self._writing() as write:
            waiting = (
                "SELECT id, place FROM jobs WHERE state = 'waiting' "
                "AND visitor = (SELECT visitor FROM jobs WHERE id = ?) ORDER BY place, submitted, id"
            )
            rows = list(write(waiting, (job_id,)))
            ids = [str(row["id"]) for row in rows]
            if job_id not in ids:
                raise InputError(say("job_begun") if self._has(job_id) else say("job_gone"))
            ids.insert(max(0, ids.index(job_id) + by), ids.pop(ids.index(job_id)))
            for row, other in zip(rows, ids, strict=True):
                write("UPDATE jobs SET place = ? WHERE id = ?", (row["place"], other))

    def stop(self, job_id: str, *, keep: bool) -> JobState | None:
        """Cancel a job; return the state it was in, None if there was nothing to stop.

        A waiting one is cancelled at once; for a running one the wish is written down for its holder.
        """
        with self._writing() as write:
            if write(
                "UPDATE jobs SET state = 'cancelled', ended = ?, step = CASE WHEN ? THEN step ELSE 0 END "
                "WHERE id = ? AND state = 'waiting'",
                (time.time(), keep, job_id),
            ).rowcount:
                return JobState.waiting
            wish = Wish.stop if keep else Wish.drop
            asked = write("UPDATE jobs SET wish = ? WHERE id = ? AND state = 'running'", (wish.value, job_id))
            return JobState.running if asked.rowcount else None

    def retry(self, job_id: str) -> None:
        """Let a failed or cancelled job wait again, at the end of the queue."""
        with self._writing() as write:
            changed = write(
                "UPDATE jobs SET state = 'waiting', error = NULL, log = NULL, ended = NULL, out = NULL, crashes = 0, "
                "place = (SELECT max(place) + 1 FROM jobs) WHERE id = ? AND state IN ('failed', 'cancelled')",
                (job_id,),
            )
            if not changed.rowcount:
                raise InputError(say("job_gone"))

    def forget(self, *job_ids: str) -> None:
        """Remove jobs that are not running, all or none; a finished one's clip stays."""
        with self._writing() as write:
            for job_id in job_ids:
                if not write("DELETE FROM jobs WHERE id = ? AND state != 'running'", (job_id,)).rowcount:
                    raise InputError(say("job_running") if self._has(job_id) else say("job_gone"))

    def forget_visitor(self, visitor: str) -> bool:
        """Remove every job of a visitor who is gone, unless one of them waits or runs; return whether it was done."""
        with self._writing() as write:
            live = "SELECT 1 FROM jobs WHERE visitor = ? AND state IN ('waiting', 'running')"
            if write(live, (visitor,)).fetchone():
                return False
            write("DELETE FROM jobs WHERE visitor = ?", (visitor,))
            write("DELETE FROM turns WHERE visitor = ?", (visitor,))
            return True

    def scrub(self) -> None:
        """Leave nothing of jobs that were removed in the file."""
        with self._lock:
            self._file.scrub()

    # -- what its holder does ------------------------------------------------------------------------------------------

    def claim(self, holder: str, out_for: Callable[[Job, frozenset[str]], Path]) -> Job | None:
        """Take the first waiting job of whoever had a turn longest ago; None if there is none or the queue is
        paused.

        `out_for(job, taken)` names the file its clip will have, none of `taken`. A job that was begun before keeps the
        name it had, so that a clip which was finished in the last moment before a kill is found.
        """
        with self._writing() as write:
            if self.paused():
                return None
            waiting = [job for job in self.jobs() if job.state is JobState.waiting]
            if not waiting:
                return None
            turns = {str(row["visitor"]): int(row["turn"]) for row in write("SELECT visitor, turn FROM turns")}
            job = min(waiting, key=lambda one: turns.get(one.visitor, 0))  # the first of several equal ones
            write(
                "INSERT INTO turns VALUES (?, (SELECT coalesce(max(turn), 0) + 1 FROM turns)) "
                "ON CONFLICT (visitor) DO UPDATE SET turn = excluded.turn",
                (job.visitor,),
            )
            taken = frozenset(str(row["out"]) for row in write("SELECT out FROM jobs WHERE out IS NOT NULL"))
            out = job.out or out_for(job, taken)
            write(
                "UPDATE jobs SET state = 'running', holder = ?, beats = 0, wish = '', started = ?, out = ? "
                "WHERE id = ?",
                (holder, time.time(), str(out), job.id),
            )
        return next((job_now for job_now in self.jobs() if job_now.id == job.id), None)

    def beat(self, job_id: str, holder: str, step: int) -> Wish | None:
        """Show that `holder` still renders the job and has saved `step`; return what is asked of it, None if it has
        lost the job. A step gained shows that the job does not break the program."""
        with self._writing() as write:
            changed = write(
                "UPDATE jobs SET beats = beats + 1, crashes = CASE WHEN ? > step THEN 0 ELSE crashes END, "
                "step = max(step, ?) WHERE id = ? AND holder = ? AND state = 'running'",
                (step, step, job_id, holder),
            )
            if not changed.rowcount:
                return None
            return Wish(next(write("SELECT wish FROM jobs WHERE id = ?", (job_id,)))["wish"])

    def finish(
        self,
        job_id: str,
        holder: str,
        state: JobState,
        *,
        error: str | None = None,
        log: str | None = None,
        clip: Clip | None = None,
        step: int = 0,
    ) -> bool:
        """Write down how a job ended; False if `holder` has lost it, and then nothing is written."""
        with self._writing() as write:
            changed = write(
                "UPDATE jobs SET state = ?, error = ?, log = ?, clip = ?, step = ?, ended = ?, holder = '', wish = '' "
                "WHERE id = ? AND holder = ? AND state = 'running'",
                (state.value, error, log, _clip_text(clip), step, time.time(), job_id, holder),
            )
            return bool(changed.rowcount)

    def put_back(self, job_id: str, holder: str, step: int) -> None:
        """Let a running job wait again at its place, to go on from its last saved step."""
        with self._writing() as write:
            write(
                "UPDATE jobs SET state = 'waiting', holder = '', step = max(step, ?) "
                "WHERE id = ? AND holder = ? AND state = 'running'",
                (step, job_id, holder),
            )

    def free(self, dead: Iterable[Heart]) -> int:
        """Let the jobs of dead holders wait again, those excepted that keep breaking the program; return how many.

        One whose heart has beaten since is left alone.
        """
        freed = 0
        with self._writing() as write:
            for heart in dead:
                held = (heart.job_id, heart.holder, heart.beats)
                where = "WHERE id = ? AND holder = ? AND beats = ? AND state = 'running'"
                write(
                    f"UPDATE jobs SET state = 'failed', error = ?, ended = ?, holder = '' {where} AND crashes >= ?",
                    (CRASHED, time.time(), *held, MAX_CRASHES - 1),
                )
                # what the user asked for before the holder died is done now
                write(
                    f"UPDATE jobs SET state = 'cancelled', ended = ?, holder = '', "
                    f"step = CASE wish WHEN 'drop' THEN 0 ELSE step END {where} AND wish != ''",
                    (time.time(), *held),
                )
                freed += write(
                    f"UPDATE jobs SET state = 'waiting', holder = '', crashes = crashes + 1 {where}", held
                ).rowcount
        return freed

    # -- inside --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Generator[Callable[..., sqlite3.Cursor]]:
        with self._lock, self._file.transaction() as execute:
            yield execute

    def _has(self, job_id: str) -> bool:
        return bool(self._file.rows("SELECT 1 FROM jobs WHERE id = ?", (job_id,)))


def _text(request: RenderRequest) -> str:
    return json.dumps(to_json(request), ensure_ascii=False, separators=(",", ":"))


def _clip_text(clip: Clip | None) -> str | None:
    """A clip's own facts; its request is the job's."""
    if clip is None:
        return None
    return json.dumps({name: value for name, value in to_json(clip).items() if name != "request"})


def _job(row: sqlite3.Row, request: RenderRequest) -> Job:
    clip: dict[str, Any] | None = None if row["clip"] is None else json.loads(row["clip"])
    return Job(
        id=row["id"],
        title=row["title"],
        request=request,
        state=JobState(row["state"]),
        error=row["error"],
        log=row["log"],
        clip=None if clip is None else from_json(Clip, {**clip, "request": to_json(request)}),
        step=row["step"],
        holder=row["holder"],
        out=None if row["out"] is None else Path(row["out"]),
        wish=Wish(row["wish"]),
        submitted=row["submitted"],
        started=row["started"],
        ended=row["ended"],
        batch=row["batch"],
        visitor=row["visitor"],
    )
