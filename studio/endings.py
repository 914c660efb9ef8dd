"""How a running job ends, written down as soon as the disk lets us."""

from __future__ import annotations

from collections.abc import Callable

from engine import __version__
from engine.errors import OutputError
from engine.request import Clip
from studio.job_files import drop_unfinished
from studio.job_store import JobState, JobStore, Wish
from studio.running import Running

_PAUSE_S = 5.0


class Endings:
    """The ends of what `holder` renders. `rest` stands still because of a trouble for so many seconds and says whether
    to go on trying; `over` hears of every job that is no longer ours."""

    def __init__(
        self, store: JobStore, holder: str, rest: Callable[[str, float], bool], over: Callable[[Running], None]
    ) -> None:
        self._store = store
        self._holder = holder
        self._rest = rest
        self._over = over

    def done(self, running: Running, clip: Clip) -> None:
        """It has become a clip."""
        job = running.job
        drop_unfinished(job.id)
        self._write(running, lambda: self._store.finish(job.id, self._holder, JobState.done, clip=clip))

    def failed(self, running: Running, error: str, fault: str = "") -> None:
        """It cannot become one, for a reason the user can do something about, or by a `fault` of the program."""
        job = running.job
        log = f"LumosX Studio {__version__}\n{job.title}\n{error}\n{fault}"
        step = 0 if fault else running.step
        self._write(
            running,
            lambda: self._store.finish(job.id, self._holder, JobState.failed, error=error, log=log, step=step),
        )

    def stopped(self, running: Running) -> None:
        """It was stopped: by the user, because the studio closes, or because it is another's now."""
        if running.lost:  # another process took the job while this one slept; it is that one's now
            self._over(running)
        elif running.wish is Wish.go_on:  # the studio closes
            self.put_back(running)
        else:
            keep = running.wish is Wish.stop
            if not keep:
                drop_unfinished(running.job.id)
            job_id, step = running.job.id, running.step if keep else 0
            self._write(running, lambda: self._store.finish(job_id, self._holder, JobState.cancelled, step=step))

    def put_back(self, running: Running) -> None:
        """It waits again, to go on from its last saved step."""
        self._write(running, lambda: self._store.put_back(running.job.id, self._holder, running.step))

    def _write(self, running: Running, write: Callable[[], object]) -> None:
        """Write how it ended as soon as the disk lets us; closing the studio ends the attempts, and then the next start
        finds out by itself."""
        going_on = True
        while going_on:
            try:
                write()
                going_on = False
            except OutputError as error:
                going_on = self._rest(str(error), _PAUSE_S)
        self._over(running)
