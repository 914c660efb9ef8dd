"""Several clips of one request: one seed after the other, together in the queue, all of them or none."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engine.pictures import PictureStore
from engine.request import SEED_RANGE
from studio.draft import FieldError
from studio.job_file import FORMS, JobFile
from studio.job_store import JobStore
from studio.queue_desk import QueueDesk, variations
from tests.unit.tiny_studio import tiny_request


class _Queue:
    """What the desk needs of a queue: it notes what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def submit(self, request: Any, title: str, *others: Any) -> Any:
        self.asked.append([one.settings.seed for one in (request, *others)])
        return title

    def replace(self, job: str, request: Any, title: str) -> Any:
        self.asked.append([job, request.settings.seed])
        return title


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def test_seeds_follow_one_another_and_nothing_else_changes(store: PictureStore) -> None:
    request = tiny_request(store, seed=41)
    made = variations(request, 3)
    assert [one.settings.seed for one in made] == [41, 42, 43]
    assert made[0] == request
    assert {one.scene for one in made} == {request.scene}
    with pytest.raises(FieldError, match="seeds"):
        variations(tiny_request(store, seed=SEED_RANGE[1] - 1), 3)


@pytest.mark.parametrize("count", [0, 9, "2", 2.0, True, None])
def test_only_one_to_eight_may_be_asked_for(store: PictureStore, count: object) -> None:
    queue: Any = _Queue()
    with pytest.raises(FieldError, match="1 to 8") as caught:
        QueueDesk(queue).place(tiny_request(store, seed=1), "x", {"count": count})
    assert caught.value.field == "count"
    assert queue.asked == []


def test_a_changed_render_stays_one(store: PictureStore) -> None:
    queue: Any = _Queue()
    desk = QueueDesk(queue)
    desk.place(tiny_request(store, seed=7), "x", {"count": 4, "replaces": "job"})
    desk.place(tiny_request(store, seed=7), "x", {"count": 2})
    desk.place(tiny_request(store, seed=7), "x", {})
    assert queue.asked == [["job", 7], [7, 8], [7]]


def test_a_batch_is_a_word_they_share(store: PictureStore, tmp_path: Path) -> None:
    jobs = JobStore(tmp_path / "queue.sqlite3")
    single = jobs.add(tiny_request(store, seed=1), "one")
    ids = jobs.add_all(variations(tiny_request(store, seed=5), 3), "three")
    found = {job.id: job for job in jobs.jobs()}
    assert [job.settings.seed for job in (found[one].request for one in ids)] == [5, 6, 7]
    assert len({found[one].batch for one in ids}) == 1
    assert found[single].batch == ""
    assert found[ids[0]].batch
    jobs.close()


def test_a_queue_of_the_first_form_is_brought_up_with_all_its_jobs(store: PictureStore, tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite3"
    old = JobFile(path, FORMS[:1])
    old.rows("SELECT 1")
    old.close()
    jobs = JobStore(tmp_path / "other.sqlite3")
    jobs.add(tiny_request(store, seed=3), "kept")
    jobs.close()
    with sqlite3.connect(tmp_path / "other.sqlite3") as other:
        row = other.execute("SELECT id, place, title, request, state, submitted FROM jobs").fetchone()
    other.close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO jobs (id, place, title, request, state, submitted) VALUES (?,?,?,?,?,?)", row)
    connection.close()
    jobs = JobStore(path)
    (job,) = jobs.jobs()
    assert (job.title, job.request.settings.seed, job.batch) == ("kept", 3, "")
    jobs.close()
