"""A small disk that is full: said in a sentence, nothing broken by it, and the queue goes on when there is room."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine.errors import OutputError
from engine.events import Progress
from engine.paths import clips_dir, jobs_file, pictures_dir, unfinished_dir
from engine.pictures import PictureStore
from engine.runtime import Engine
from studio.job_store import Job, JobState, JobStore
from studio.jobs import JobQueue
from tests.faults.conftest import Tally
from tests.faults.test_killed_renders import frames_of
from tests.unit.tiny_studio import install_tiny_model, tiny_request, use_assets

SETTINGS = {"num_inference_steps": 60, "num_frames": 41}


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 16 megabytes with the data folder on it; skips where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True)
    if not done or done.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    monkeypatch.setenv("LUMOSX_HOME", str(place / "home"))
    try:
        yield place
    finally:
        # An encoder whose last write failed lets go of its file when it is collected, in whatever thread that happens.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take the last byte of a disk; return the file that holds it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017
    return filler


def until(queue: JobQueue, job: Job, state: JobState) -> Job:
    """Wait for a job's state."""
    version = -1
    for _ in range(20_000):
        version = queue.wait(version, 30)
        now = queue.job(job.id)
        assert now is not None
        if now.state is state:
            return now
    raise AssertionError(f"the job never was {state}")


def clip_frames(job: Job) -> np.ndarray:
    assert job.clip is not None
    return frames_of(job.clip.path)


def test_a_disk_that_fills_up_under_a_render_loses_nothing(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault_rounds: int, tally: Tally
) -> None:
    monkeypatch.setattr("studio.jobs._PAUSES_S", (0.5,))
    install_tiny_model(tmp_path / "assets")
    use_assets(monkeypatch, tmp_path / "assets")
    pictures = PictureStore(pictures_dir())
    request = tiny_request(pictures, seed=5, **SETTINGS)
    queue = JobQueue(Engine, pictures, clips_dir, JobStore(jobs_file()))
    try:
        expected = clip_frames(until(queue, queue.submit(request, "whole"), JobState.done))
        for number in range(min(fault_rounds, 10)):
            job = queue.submit(request, "full")
            until_step(queue, job, 5 + 5 * number)
            filler = fill(disk)
            with pytest.raises(OutputError, match="full"):
                _submit_many(queue, pictures)
            while not queue.trouble:
                queue.wait(queue.version, 5)
            assert "full" in queue.trouble
            filler.unlink()
            done = until(queue, job, JobState.done)
            while queue.trouble:  # gone with the next look at the file
                queue.wait(queue.version, 5)
            for other in queue.jobs():
                if other.state is JobState.waiting:
                    queue.cancel(other.id)
            tally.rounds += 1
            tally.different_after_resume += not np.array_equal(clip_frames(done), expected)
    finally:
        assert queue.close(60)
    with closing(sqlite3.connect(jobs_file())) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert tally.different_after_resume == 0
    assert not [path for path in clips_dir().iterdir() if path.name.startswith(".")]
    assert unfinished_dir().is_dir()
    assert os.statvfs(disk).f_bavail > 0


def _submit_many(queue: JobQueue, pictures: PictureStore) -> None:
    for _ in range(50):  # the last page of the queue's file may have room for one more
        queue.submit(tiny_request(pictures, seed=6, **SETTINGS), "one more")


def until_step(queue: JobQueue, job: Job, step: int) -> None:
    version = -1
    while True:
        version = queue.wait(version, 30)
        now = queue.job(job.id)
        assert now is not None
        assert not now.final, "the render was quicker than the test"
        progress = now.progress
        if isinstance(progress, Progress) and progress.stage == "denoise" and progress.step >= step:
            return
