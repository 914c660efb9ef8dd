"""The queue: one worker, jobs in order, cancel at once, a failing job leaves the rest alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.cancel import CancelToken
from engine.engines import resolve_settings
from engine.errors import InputError, MachineError, OutputError, UserError
from engine.events import Event, Finished, Preview, Progress
from engine.pictures import PictureStore
from engine.request import Clip, RenderRequest
from engine.scene import Scene
from studio.job_files import file_words
from studio.job_store import JobStore
from studio.jobs import Job, JobQueue, JobState
from tests.patience import PATIENCE_S, until_job, wait_until

STEPS = 3


class _Engine:
    """Waits at every step until the test lets it go on; the prompt says how it ends."""

    def __init__(self, gate: threading.Semaphore) -> None:
        self.gate = gate
        self.threads: set[str] = set()
        self.disk_full = False
        self.refusals = 0

    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]:
        self.threads.add(threading.current_thread().name)
        begin = int(resume.read_text()) if resume.exists() else 0
        for step in range(begin + 1, STEPS + 1):
            assert self.gate.acquire(timeout=PATIENCE_S)
            cancel.raise_if_cancelled()
            if request.scene.prompt == "too large":
                raise MachineError("There is too little memory; choose a smaller size.")
            if request.scene.prompt == "bug":
                raise RuntimeError("inside")
            if request.scene.prompt == "no clip":
                return
            if self.disk_full:
                self.refusals += 1
                raise OutputError("The disk is full; free some space.")
            resume.parent.mkdir(exist_ok=True)
            resume.write_text(str(step))
            yield Progress(stage="denoise", step=step, num_steps=STEPS, seconds_left=1.0)
            yield Preview(step=step, width=16, height=16, webp=b"webp")
        out.write_bytes(b"clip")
        yield Finished(
            clip=Clip(id="c", path=out, request=request, engine_version="0", weights_digest="d", seconds=1.0)
        )


class _Stand:
    """A queue on a gate, and ways to wait for it without sleeping."""

    def __init__(self, folder: Path) -> None:
        self.gate = threading.Semaphore(0)
        self.engines: list[_Engine] = []
        self.folder = folder / "clips"
        self.path = folder / "studio.sqlite3"
        self.queue = self.open()

    def open(self) -> JobQueue:
        """Another studio on the same data folder."""
        return JobQueue(self._make, PictureStore(self.folder.parent), lambda: self.folder, JobStore(self.path))

    def _make(self) -> _Engine:
        self.engines.append(_Engine(self.gate))
        return self.engines[-1]

    def submit(self, prompt: str) -> Job:
        return self.queue.submit(
            RenderRequest(scene=Scene(prompt=prompt), settings=resolve_settings("nano", seed=5)), "My Clip!"
        )

    def go(self, steps: int = STEPS) -> None:
        for _ in range(steps):
            self.gate.release()

    def until(self, job: Job, holds: Callable[[Job], bool]) -> Job:
        return until_job(self.queue, job, holds)

    def final(self, job: Job) -> Job:
        return self.until(job, lambda now: now.final)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[_Stand]:
    stand = _Stand(tmp_path)
    yield stand
    stand.go(100)
    assert stand.queue.close(PATIENCE_S)


def test_a_job_goes_through_its_steps_to_a_clip(stand: _Stand) -> None:
    job = stand.submit("a dog")
    assert job.state is JobState.waiting
    stand.go(1)
    running = stand.until(job, lambda now: now.preview is not None)
    assert running.state is JobState.running
    assert running.progress == Progress(stage="denoise", step=1, num_steps=STEPS, seconds_left=1.0)
    stand.go(2)
    done = stand.final(job)
    assert done.state is JobState.done
    assert done.preview is None
    assert done.clip is not None
    assert done.clip.path.read_bytes() == b"clip"
    assert done.clip.path.name.endswith("-my-clip-seed5.mp4")


def test_jobs_run_one_after_another_in_one_thread_with_one_engine(stand: _Stand) -> None:
    jobs = [stand.submit("a dog") for _ in range(3)]
    stand.go(1)
    stand.until(jobs[0], lambda now: now.state is JobState.running)
    assert [job.state for job in stand.queue.jobs()] == [JobState.running, JobState.waiting, JobState.waiting]
    stand.go(3 * STEPS - 1)
    done = [stand.final(job) for job in jobs]
    assert [job.state for job in done] == [JobState.done] * 3
    assert len({job.clip.path for job in done if job.clip}) == 3
    assert len(stand.engines) == 1
    assert stand.engines[0].threads == {"render-worker"}


def test_cancel_stops_a_running_job_within_a_step_and_a_waiting_one_at_once(stand: _Stand) -> None:
    first, second, third = (stand.submit("a dog") for _ in range(3))
    stand.go(1)
    stand.until(first, lambda now: now.preview is not None)
    assert stand.queue.cancel(second.id)
    assert stand.final(second).state is JobState.cancelled
    assert stand.queue.cancel(first.id)
    stand.go(1)
    assert stand.final(first).state is JobState.cancelled
    assert not list(stand.folder.iterdir())
    stand.go(STEPS)
    assert stand.final(third).state is JobState.done
    assert not stand.queue.cancel(first.id)
    assert not stand.queue.cancel("job-unknown")


def test_a_users_mistake_is_told_in_its_own_words(stand: _Stand) -> None:
    stand.go()
    failed = stand.final(stand.submit("too large"))
    assert failed.state is JobState.failed
    assert failed.log is not None
    assert failed.log.endswith("choose a smaller size.\n")
    assert failed.error == "There is too little memory; choose a smaller size."


@pytest.mark.parametrize("prompt", ["bug", "no clip"])
def test_a_fault_of_the_program_is_logged_not_shown_and_the_next_job_gets_a_fresh_engine(
    stand: _Stand, prompt: str, caplog: pytest.LogCaptureFixture
) -> None:
    stand.go(1 + STEPS)
    failed = stand.final(stand.submit(prompt))
    assert failed.state is JobState.failed
    assert failed.error is not None
    assert "inside" not in failed.error
    assert "Traceback" in caplog.text
    assert stand.final(stand.submit("a dog")).state is JobState.done
    assert len(stand.engines) == 2


def test_an_engine_that_cannot_be_made_fails_the_job_only(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> _Engine:
        calls.append(1)
        raise MachineError("The model does not fit; close other programs.")

    queue = JobQueue(make, PictureStore(tmp_path), lambda: tmp_path, JobStore(tmp_path / "jobs"))
    request = RenderRequest(scene=Scene(prompt="a dog"), settings=resolve_settings("nano"))
    for _ in range(2):
        job = queue.submit(request, "Dog")
        version = -1
        while not (now := queue.job(job.id)) or not now.final:
            version = queue.wait(version, 5)
        assert now.error == "The model does not fit; close other programs."
    assert len(calls) == 2
    assert queue.close(PATIENCE_S)


def test_many_watchers_see_the_same_and_watching_changes_nothing(stand: _Stand) -> None:
    job = stand.submit("a dog")
    seen: list[list[JobState]] = [[], []]

    def watch(mine: list[JobState]) -> None:
        version = -1
        while not mine or mine[-1] is not JobState.done:
            version = stand.queue.wait(version, 10)
            now = stand.queue.job(job.id)
            assert now is not None
            mine.append(now.state)

    watchers = [threading.Thread(target=watch, args=(mine,)) for mine in seen]
    for watcher in watchers:
        watcher.start()
    stand.go()
    for watcher in watchers:
        watcher.join(PATIENCE_S)
        assert not watcher.is_alive()
    assert stand.final(job).state is JobState.done


def test_closing_keeps_everything_for_the_next_start_and_takes_no_more(tmp_path: Path) -> None:
    stand = _Stand(tmp_path)
    running, waiting = stand.submit("a dog"), stand.submit("a cat")
    stand.go(1)
    stand.until(running, lambda now: now.preview is not None)
    closer = threading.Thread(target=stand.queue.close, args=(PATIENCE_S,))
    closer.start()
    wait_until(lambda: stand.queue._running[running.id].token.cancelled, "a render that is told to stop")
    stand.go(1)
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
    with pytest.raises(UserError, match="start it again"):
        stand.submit("a dog")
    stand.go(100)
    stand.queue = stand.open()
    stand.queue.start()
    done = [stand.final(job) for job in (running, waiting)]
    assert [job.state for job in done] == [JobState.done] * 2
    assert [job.request.scene.prompt for job in done] == ["a dog", "a cat"]
    assert stand.queue.close(PATIENCE_S)


def test_a_cancelled_job_begins_anew_and_a_stopped_one_goes_on(stand: _Stand, home: Path) -> None:
    for keep, begin in ((False, 1), (True, 3)):
        job = stand.submit("a dog")
        stand.go(1)
        stand.until(job, lambda now: now.preview is not None)
        assert stand.queue.cancel(job.id, keep=keep)
        stand.go(1)
        stopped = stand.final(job)
        assert stopped.state is JobState.cancelled
        assert stopped.step == (1 if keep else 0)
        assert bool(list((home / "unfinished").iterdir())) is keep
        if keep:  # the step that was under way counts, too
            (home / "unfinished" / f"{job.id}.safetensors").write_text("2")
        stand.queue.retry(job.id)
        stand.go(1)
        seen = stand.until(job, lambda now: now.preview is not None)
        assert seen.progress is not None
        assert seen.progress.step == begin
        stand.go(STEPS - begin)
        assert stand.final(job).state is JobState.done
        assert not list((home / "unfinished").iterdir())


def test_a_failed_job_keeps_its_scene_its_sentence_and_its_log_and_can_be_tried_again(stand: _Stand) -> None:
    stand.go(1)
    failed = stand.final(stand.submit("bug"))
    assert failed.log is not None
    assert "RuntimeError: inside" in failed.log
    with pytest.raises(InputError, match="has begun"):
        stand.queue.replace(failed.id, failed.request, "x")
    stand.queue.retry(failed.id)
    again = stand.until(failed, lambda now: now.state is JobState.running)
    assert (again.error, again.log, again.request) == (None, None, failed.request)
    stand.go(1)
    assert stand.final(failed).state is JobState.failed
    stand.queue.forget(failed.id)
    assert stand.queue.job(failed.id) is None


def test_a_paused_queue_waits_and_can_be_put_in_order_and_changed(stand: _Stand) -> None:
    stand.queue.pause(True)
    jobs = [stand.submit(word) for word in ("a", "b", "c")]
    stand.queue.move(jobs[2].id, -1)
    stand.queue.move(jobs[0].id, 9)
    stand.queue.move(jobs[2].id, -9)
    assert [job.request.scene.prompt for job in stand.queue.jobs()] == ["c", "b", "a"]
    changed = RenderRequest(scene=Scene(prompt="b, changed"), settings=jobs[1].request.settings)
    assert stand.queue.replace(jobs[1].id, changed, "Changed").title == "Changed"
    assert stand.queue.paused
    assert all(job.state is JobState.waiting for job in stand.queue.jobs())
    stand.go(100)
    stand.queue.pause(False)
    done = [stand.final(job) for job in stand.queue.jobs()]
    started = sorted(done, key=lambda job: job.started or 0)
    assert [job.request.scene.prompt for job in started] == ["c", "b, changed", "a"]


def test_a_full_disk_holds_the_queue_and_it_goes_on_when_there_is_room(
    stand: _Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.jobs._PAUSES_S", (0.05, 2 * PATIENCE_S))
    stand.go(1)
    job = stand.submit("a dog")
    stand.until(job, lambda now: now.preview is not None)
    stand.engines[0].disk_full = True
    stand.go(2)  # it tries once more by itself, and then stands still until it is told to go on
    wait_until(lambda: stand.engines[0].refusals == 2 and stand.queue.trouble, "a queue that waits for the disk")
    assert stand.queue.trouble == "The disk is full; free some space."
    stand.until(job, lambda now: now.state is JobState.waiting)
    stand.engines[0].disk_full = False
    stand.go(100)
    stand.queue.try_again_now()
    assert stand.final(job).state is JobState.done
    assert stand.queue.trouble == ""


def test_two_studios_on_one_folder_share_the_work_and_see_the_same(
    stand: _Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.jobs._BEAT_S", 0.05)
    other = stand.open()
    jobs = [stand.submit("a dog") for _ in range(6)]
    other.start()
    stand.go(1)
    wait_until(lambda: sum(job.state is JobState.running for job in other.jobs()) == 2, "work for both")
    mine = [job for job in other.jobs() if job.state is JobState.running]
    theirs = next(job for job in mine if job.holder == other._holder)
    assert len({job.id for job in mine}) == 2
    assert stand.queue.cancel(theirs.id)
    stand.go(100)
    done = [stand.final(job) for job in jobs]
    assert {job.state for job in done if job.id != theirs.id} == {JobState.done}
    assert len({job.clip.path for job in done if job.clip}) == len([job for job in done if job.clip])
    assert len(stand.engines) == 2
    assert other.close(PATIENCE_S)


def test_who_lost_a_job_stops_and_writes_nothing(stand: _Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.jobs._BEAT_S", 0.05)
    job = stand.submit("a dog")
    stand.go(1)
    stand.until(job, lambda now: now.preview is not None)
    store = JobStore(stand.path)  # another process, which took this one for dead while the computer slept
    while not store.free(store.hearts()):
        pass  # a beat came between our look and our hand; the worker stands at its gate and cannot take the job back
    assert store.claim("elsewhere/1/x", lambda job, _: Path("x.mp4")) is not None
    running = stand.queue._running[job.id]
    assert running.token._event.wait(PATIENCE_S)  # noticed at the next beat, long before the step is done
    stand.go(1)
    wait_until(lambda: not stand.queue._running, "an end of the work on it")
    now = store.jobs()[0]
    assert (now.state, now.holder) == (JobState.running, "elsewhere/1/x")
    store.close()


def test_old_finished_jobs_are_forgotten(stand: _Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.job_store.KEPT_FINAL_JOBS", 3)
    stand.go(1000)
    jobs = [stand.submit("a dog") for _ in range(6)]
    stand.final(jobs[-1])
    stand.submit("a dog")
    assert len(stand.queue.jobs()) == 4
    assert stand.queue.job(jobs[2].id) is None
    assert stand.queue.job(jobs[3].id) is not None


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Two friends in the park, clothes exchanged", "two-friends-in-the-park-clothes-exchanged"),
        ("公园里的两个朋友，换装", "公园里的两个朋友-换装"),
        ("Où est Zoë? __", "où-est-zoë"),
        ("one two three four five six seven eight nine ten eleven", "one-two-three-four-five-six-seven-eight-nine-ten"),
        ("x" * 300, "x" * 48),
        ("../../etc/passwd", "etc-passwd"),
        ("👍 …", "clip"),
        ("", "clip"),
    ],
)
def test_a_clips_file_keeps_the_words_of_its_title_in_every_script(title: str, words: str) -> None:
    assert file_words(title) == words
    assert file_words(file_words(title)) == words
    assert len(file_words("𠀀" * 300).encode()) < 200
