"""The queue's file: what is written stays, whoever dies; what cannot be written is said and changes nothing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.engines import resolve_settings
from engine.errors import InputError, OutputError
from engine.request import Clip, RenderRequest
from engine.scene import Scene
from studio.job_file import FORMS, JobFile
from studio.job_store import CRASHED, Heart, Job, JobState, JobStore, Wish
from studio.lease import PATIENCE_S as STILL_S
from studio.lease import Watch
from tests.patience import PATIENCE_S

ME, OTHER = "here/1/a", "there/2/b"


def request(prompt: str = "a dog") -> RenderRequest:
    return RenderRequest(scene=Scene(prompt=prompt), settings=resolve_settings("nano", seed=5))


def out_for(job: Job, taken: frozenset[str]) -> Path:
    return next(path for n in range(9) if str(path := Path(f"/clips/{n}.mp4")) not in taken)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "studio.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[JobStore]:
    store = JobStore(path)
    yield store
    store.close()


def words(store: JobStore) -> list[str]:
    return [job.request.scene.prompt for job in store.jobs()]


def test_what_was_added_is_there_for_the_next_to_open_the_file(store: JobStore, path: Path) -> None:
    ids = [store.add(request(word), word.upper()) for word in ("a", "b")]
    with closing(JobStore(path)) as other:
        jobs = other.jobs()
    assert [job.id for job in jobs] == ids
    assert [job.title for job in jobs] == ["A", "B"]
    assert [job.request for job in jobs] == [request("a"), request("b")]
    assert {job.state for job in jobs} == {JobState.waiting}


def test_the_file_survives_a_power_cut(store: JobStore, path: Path) -> None:
    store.add(request(), "x")
    connection = store._file._connection
    assert connection is not None
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_job_goes_to_one_holder_only_and_only_that_one_ends_it(store: JobStore, path: Path) -> None:
    job_id = store.add(request(), "x")
    with closing(JobStore(path)) as other:
        mine = store.claim(ME, out_for)
        assert mine is not None
        assert (mine.id, mine.state, mine.holder, mine.out) == (job_id, JobState.running, ME, Path("/clips/0.mp4"))
        assert other.claim(OTHER, out_for) is None
        assert not other.finish(job_id, OTHER, JobState.failed, error="no")
        assert other.beat(job_id, OTHER, 1) is None
        clip = Clip(id="c", path=Path("/x.mp4"), request=request(), engine_version="0", weights_digest="d", seconds=1)
        assert store.finish(job_id, ME, JobState.done, clip=clip)
        done = other.jobs()[0]
        assert (done.state, done.clip, done.holder) == (JobState.done, clip, "")


def test_many_processes_claim_every_job_once(store: JobStore, path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from studio.job_store import JobStore\n"
        "store = JobStore(Path(sys.argv[1]))\n"
        "while (job := store.claim(sys.argv[2], lambda job, taken: Path(f'/{len(taken)}.mp4'))):\n"
        "    print(job.id, job.out)\n"
    )
    ids = {store.add(request(), "x") for _ in range(12)}
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", script, str(path)]
    workers = [subprocess.Popen([*command, f"h/{number}/x"], stdout=subprocess.PIPE, text=True) for number in range(3)]
    said = [line.split() for worker in workers for line in worker.communicate(timeout=PATIENCE_S)[0].splitlines()]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(job for job, _ in said) == sorted(ids)
    assert len({out for _, out in said}) == len(ids)


def test_moving_keeps_to_the_waiting_ones(store: JobStore) -> None:
    ids = [store.add(request(word), word) for word in "abcd"]
    assert store.claim(ME, out_for) is not None
    store.move(ids[3], -5)
    store.move(ids[1], 1)
    assert words(store) == ["a", "d", "c", "b"]
    with pytest.raises(InputError, match="has begun"):
        store.move(ids[0], 1)
    with pytest.raises(InputError, match="no longer"):
        store.move("unknown", 1)


def test_a_paused_queue_gives_nothing_away(store: JobStore, path: Path) -> None:
    store.add(request(), "x")
    store.pause(True)
    store.pause(True)
    with closing(JobStore(path)) as other:
        assert other.paused()
        assert other.claim(OTHER, out_for) is None
        other.pause(False)
    assert store.claim(ME, out_for) is not None


def test_what_is_asked_of_a_running_job_reaches_its_holder(store: JobStore) -> None:
    job_id = store.add(request(), "x")
    store.claim(ME, out_for)
    assert store.beat(job_id, ME, 2) is Wish.go_on
    assert store.stop(job_id, keep=True) is JobState.running
    assert store.beat(job_id, ME, 3) is Wish.stop
    store.finish(job_id, ME, JobState.cancelled, step=3)
    assert store.stop(job_id, keep=True) is None
    store.retry(job_id)
    again = store.claim(ME, out_for)
    assert again is not None
    assert (again.step, again.wish) == (3, Wish.go_on)


def test_a_dead_holders_job_waits_again_with_its_step_and_the_name_of_its_clip(store: JobStore) -> None:
    first, second = store.add(request("a"), "x"), store.add(request("b"), "x")
    mine = store.claim(OTHER, out_for)
    assert mine is not None
    store.beat(first, OTHER, 7)
    stale = Heart(job_id=first, holder=OTHER, beats=0)
    assert store.free([stale]) == 0  # it has beaten since
    assert store.free(store.hearts()) == 1
    jobs = store.jobs()
    assert [(job.id, job.state, job.step) for job in jobs] == [
        (first, JobState.waiting, 7),
        (second, JobState.waiting, 0),
    ]
    again = store.claim(ME, out_for)
    assert again is not None
    assert (again.id, again.out) == (first, mine.out)


def test_a_job_that_keeps_ending_the_program_is_not_begun_for_ever(store: JobStore) -> None:
    job_id = store.add(request(), "x")
    for crash in range(3):
        assert store.claim(OTHER, out_for) is not None, crash
        store.free(store.hearts())
    assert [(job.state, job.error) for job in store.jobs()] == [(JobState.failed, CRASHED)]
    store.retry(job_id)
    for step in range(5):  # every life gains a step: then it may die as often as it will
        assert store.claim(OTHER, out_for) is not None
        store.beat(job_id, OTHER, step + 1)
        store.free(store.hearts())
    assert store.jobs()[0].state is JobState.waiting


def test_a_job_that_was_cancelled_before_its_holder_died_stays_cancelled(store: JobStore) -> None:
    job_id = store.add(request(), "x")
    store.claim(OTHER, out_for)
    store.beat(job_id, OTHER, 4)
    store.stop(job_id, keep=False)
    store.free(store.hearts())
    assert [(job.state, job.step) for job in store.jobs()] == [(JobState.cancelled, 0)]


def test_running_jobs_are_not_removed(store: JobStore) -> None:
    job_id = store.add(request(), "x")
    store.claim(ME, out_for)
    with pytest.raises(InputError, match="cancel it first"):
        store.forget(job_id)
    store.put_back(job_id, ME, 2)
    store.forget(job_id)
    assert store.jobs() == ()


def test_a_stranger_s_change_shows_in_the_stamp(store: JobStore, path: Path) -> None:
    store.add(request(), "x")
    before = store.stamp()
    store.add(request(), "x")
    assert store.stamp() == before
    with closing(JobStore(path)) as other:
        other.add(request(), "y")
    assert store.stamp() != before


# -- hearts ------------------------------------------------------------------------------------------------------------


def test_a_heart_is_dead_when_it_stands_still_or_its_process_is_gone() -> None:
    import socket

    now = 0.0
    watch = Watch(ME, lambda: now)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = Heart(job_id="1", holder=f"{socket.gethostname()}/{child.pid}/x", beats=3)
    here = Heart(job_id="2", holder=f"{socket.gethostname()}/{os.getpid()}/x", beats=3)
    away = Heart(job_id="3", holder="elsewhere/1/x", beats=3)
    mine = Heart(job_id="4", holder=ME, beats=3)
    assert watch.dead([gone, here, away, mine]) == [gone]
    now = STILL_S - 1
    beating = Heart(job_id="3", holder="elsewhere/1/x", beats=4)
    assert watch.dead([here, beating, mine]) == []
    now = STILL_S + 1
    assert watch.dead([here, beating, mine]) == [here]
    now = 3 * STILL_S
    assert watch.dead([beating, mine]) == [beating]


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_new_form_of_the_file_keeps_what_is_in_it(path: Path, store: JobStore) -> None:
    store.add(request(), "x")
    store.close()
    newer = (*FORMS, ("ALTER TABLE jobs ADD COLUMN person TEXT NOT NULL DEFAULT 'me'",))
    for _ in range(2):
        file = JobFile(path, newer)
        assert [row["person"] for row in file.rows("SELECT person FROM jobs")] == ["me"]
        assert file.rows("PRAGMA user_version")[0][0] == len(newer)
        file.close()
    with pytest.raises(OutputError, match="newer version"):
        store.jobs()


def test_a_form_that_fails_half_way_changes_nothing(path: Path) -> None:
    with pytest.raises(OutputError):
        JobFile(path, (*FORMS, ("CREATE TABLE more (x)", "nonsense"))).rows("SELECT 1")
    file = JobFile(path)
    assert file.rows("SELECT * FROM jobs") == []
    assert file.rows("SELECT name FROM sqlite_master WHERE name = 'more'") == []
    file.close()


@pytest.mark.parametrize("damage", ["noise", "page"])
def test_a_damaged_file_is_put_aside_and_said(
    path: Path, store: JobStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(40):
        store.add(request("a dog " * 50), "x")
    store.close()
    whole = path.read_bytes()
    path.write_bytes(b"no database" * 99 if damage == "noise" else whole[:4096] + os.urandom(len(whole) - 4096))
    damaged = path.read_bytes()
    assert store.jobs() == ()
    store.add(request(), "x")
    aside = path.with_name(path.name + ".damaged-1")
    assert aside.read_bytes() == damaged
    assert str(aside) in caplog.text


def test_a_row_of_another_version_is_left_alone(path: Path, store: JobStore) -> None:
    store.add(request("a"), "x")
    job_id = store.add(request("b"), "x")
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE jobs SET request = '{\"more\": 1}' WHERE id != ?", (job_id,))
    assert words(store) == ["b"]
    assert store.unreadable == 1
    job = store.claim(ME, out_for)
    assert job is not None
    assert job.id == job_id


def test_a_full_disk_is_said_and_nothing_is_changed(store: JobStore) -> None:
    first = store.add(request("a"), "x")
    connection = store._file._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutputError, match="disk is full"):
        store.add(request("b" * 9_000), "x")
    assert words(store) == ["a"]
    store.add(request("c"), "x")  # the file was opened afresh
    assert store.jobs()[0].id == first
    assert store._file.rows("PRAGMA integrity_check")[0][0] == "ok"


@pytest.mark.skipif(os.name != "posix", reason="folders are taken away as POSIX does it")
def test_a_folder_that_goes_and_comes_back_is_found_again(path: Path, store: JobStore) -> None:
    store.add(request("a"), "x")
    away = path.parent.with_name("away")
    path.parent.rename(away)
    with pytest.raises(OutputError, match="is gone"):
        store.add(request("b"), "x")
    assert not path.parent.exists()
    path.parent.mkdir()  # somebody else makes the folder anew: no second queue is begun in it
    with pytest.raises(OutputError, match="is gone"):
        store.jobs()
    path.parent.rmdir()
    away.rename(path.parent)
    store.add(request("c"), "x")
    assert words(store) == ["a", "c"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_said(path: Path, store: JobStore) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o500)
    with pytest.raises(OutputError, match="not allowed"):
        store.add(request(), "x")
    path.parent.chmod(0o700)
    store.add(request(), "x")
    assert len(store.jobs()) == 1
