"""The data folder taken away under a studio at work: said, nothing begun in its place, and the queue goes on when it is
back."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine.errors import OutputError
from engine.paths import clips_dir, jobs_file, pictures_dir, unfinished_dir
from engine.pictures import PictureStore
from engine.runtime import Engine
from studio.job_store import JobState, JobStore
from studio.jobs import JobQueue
from tests.faults.conftest import Tally
from tests.faults.test_full_disk import SETTINGS, clip_frames, until, until_step
from tests.unit.tiny_studio import install_tiny_model, tiny_request, use_assets

if os.name != "posix":
    pytest.skip("this system does not take away a folder with open files", allow_module_level=True)


def test_a_folder_that_goes_under_a_render_is_said_and_comes_back_with_everything(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault_rounds: int, tally: Tally
) -> None:
    monkeypatch.setattr("studio.jobs._PAUSES_S", (0.5,))
    install_tiny_model(tmp_path / "assets")
    use_assets(monkeypatch, tmp_path / "assets")
    pictures = PictureStore(pictures_dir())
    request = tiny_request(pictures, seed=5, **SETTINGS)
    away = home.with_name(f"{home.name}-away")
    chance = random.Random(3)
    queue = JobQueue(Engine, pictures, clips_dir, JobStore(jobs_file()))
    try:
        expected = clip_frames(until(queue, queue.submit(request, "whole"), JobState.done))
        for _ in range(min(fault_rounds, 10)):
            job = queue.submit(request, "gone")
            until_step(queue, job, chance.randrange(2, SETTINGS["num_inference_steps"] - 1))
            home.rename(away)
            with pytest.raises(OutputError, match="is gone"):
                queue.submit(request, "one more")
            with pytest.raises(OutputError, match="is gone"):
                pictures.add_array(np.full((3, 3, 3), chance.randrange(256), dtype=np.uint8))
            while "is gone" not in queue.trouble:
                queue.wait(queue.version, 5)
            assert [one.id for one in queue.jobs()][-1] == job.id  # still shown
            assert not home.exists()
            away.rename(home)
            done = until(queue, job, JobState.done)
            while queue.trouble:  # gone with the next look at the file
                queue.wait(queue.version, 5)
            tally.rounds += 1
            tally.different_after_resume += not np.array_equal(clip_frames(done), expected)
    finally:
        assert queue.close(60)
    with closing(sqlite3.connect(jobs_file())) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert tally.different_after_resume == 0
    assert not [path for path in clips_dir().iterdir() if path.name.startswith(".")]
    assert not list(unfinished_dir().glob("*.safetensors"))
