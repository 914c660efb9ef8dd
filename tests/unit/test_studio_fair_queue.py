"""Several visitors and one queue: whose turn it is, what each sees, and what a visitor who is gone leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.codec import to_json
from engine.pictures import PictureStore
from engine.request import RenderRequest
from studio.job_file import FORMS, JobFile
from studio.job_store import KEPT_FINAL_JOBS, JobState, JobStore
from tests.unit.tiny_studio import tiny_request


@pytest.fixture
def request_(tmp_path: Path) -> RenderRequest:
    return tiny_request(PictureStore(tmp_path / "pictures"))


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "studio.sqlite3")


def rendered(store: JobStore, tmp_path: Path) -> str:
    """Render the next job; whose it was."""
    job = store.claim("somebody", lambda job, _taken: tmp_path / f"{job.id}.mp4")
    assert job is not None
    assert store.finish(job.id, "somebody", JobState.failed, error="for the test")
    return job.title


def test_twenty_of_one_do_not_hold_up_the_first_of_another(
    store: JobStore, request_: RenderRequest, tmp_path: Path
) -> None:
    for number in range(20):
        store.add(request_, f"a{number}", "anna")
    first = rendered(store, tmp_path)
    for name in ("b0", "b1"):
        store.add(request_, name, "ben")
    store.add(request_, "c0", "cleo")
    assert [first, *(rendered(store, tmp_path) for _ in range(6))] == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]
    store.close()


def test_forgetting_what_is_done_wins_no_turn(store: JobStore, request_: RenderRequest, tmp_path: Path) -> None:
    for name in ("a0", "a1"):
        store.add(request_, name, "anna")
    store.add(request_, "b0", "ben")
    assert rendered(store, tmp_path) == "a0"
    store.forget(*(job.id for job in store.jobs() if job.final))
    assert rendered(store, tmp_path) == "b0"
    store.close()


def test_moving_stays_among_ones_own(store: JobStore, request_: RenderRequest) -> None:
    ids = {name: store.add(request_, name, name[0]) for name in ("a0", "b0", "a1", "b1")}
    store.move(ids["b1"], -5)
    assert [job.title for job in store.jobs()] == ["a0", "b1", "a1", "b0"]
    store.close()


def test_a_visitor_is_forgotten_only_when_nothing_of_theirs_waits(
    store: JobStore, request_: RenderRequest, tmp_path: Path
) -> None:
    store.add(request_, "a0", "anna")
    store.add(request_, "b0", "ben")
    assert not store.forget_visitor("anna")
    assert rendered(store, tmp_path) == "a0"
    assert store.forget_visitor("anna")
    assert [job.visitor for job in store.jobs()] == ["ben"]
    store.close()


def test_finished_jobs_are_forgotten_for_each_visitor_alone(
    store: JobStore, request_: RenderRequest, tmp_path: Path
) -> None:
    store.add(request_, "b0", "ben")
    rendered(store, tmp_path)
    for number in range(KEPT_FINAL_JOBS + 2):
        store.add(request_, f"a{number}", "anna")
        rendered(store, tmp_path)
    store.add(request_, "last", "anna")
    kept = [job.visitor for job in store.jobs() if job.final]
    assert (kept.count("ben"), kept.count("anna")) == (1, KEPT_FINAL_JOBS)
    store.close()


def test_a_queue_of_before_visitors_is_taken_over(tmp_path: Path, request_: RenderRequest) -> None:
    path = tmp_path / "old.sqlite3"
    old = JobFile(path, FORMS[:2])
    with old.transaction() as write:
        write(
            "INSERT INTO jobs (id, place, title, request, state, submitted) SELECT 'old', 1, 'Old', ?, 'waiting', 0",
            (json.dumps(to_json(request_)),),
        )
    old.close()
    store = JobStore(path)
    assert [(job.id, job.visitor) for job in store.jobs()] == [("old", "")]
    store.close()
