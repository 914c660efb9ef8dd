"""The studio killed at random moments while it takes jobs and renders them: no job, no clip and no frame is lost."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.paths import clips_dir, jobs_file, unfinished_dir
from studio.job_store import Job, JobState, JobStore
from tests.faults.conftest import Tally
from tests.faults.killing import PRELOAD
from tests.faults.queue_host import host
from tests.faults.test_killed_renders import frames_of
from tests.patience import PATIENCE_S
from tests.unit.tiny_studio import install_tiny_model

SEEDS = (1, 2, 3)


@dataclass
class _Life:
    """What one life of the studio said."""

    accepted: dict[str, int] = field(default_factory=dict[str, int])
    begun: dict[str, int] = field(default_factory=dict[str, int])
    ticks: int = 0
    finished: bool = False


class _Studio:
    def __init__(self, home: Path, assets: Path) -> None:
        self._home = home
        self._assets = assets
        methods = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self._context.set_forkserver_preload(PRELOAD)

    def live(self, seeds: Sequence[int], kill_at: int | None = None, after_s: float = 0.0) -> _Life:
        """Let a studio live until nothing waits, or until `after_s` behind its change number `kill_at`."""
        ours, its = self._context.Pipe(duplex=False)
        process = self._context.Process(target=host, args=(self._home, self._assets, seeds, its))
        process.start()
        its.close()
        life = _Life()
        try:
            deadline = time.monotonic() + PATIENCE_S
            while kill_at is None or life.ticks < kill_at:
                if not ours.poll(max(0.0, deadline - time.monotonic())):
                    raise AssertionError("the studio stands still")
                _hear(life, ours.recv())
                if life.finished:
                    break
            time.sleep(after_s)
        except EOFError:
            pass  # it ended by itself, which the caller sees
        finally:
            if kill_at is not None:
                process.kill()
            process.join(PATIENCE_S)
            _hear_the_rest(life, ours)
            ours.close()
        process.close()
        return life


def _hear(life: _Life, said: tuple[Any, ...]) -> None:
    match said:
        case ("accepted", str(job_id), int(seed)):
            life.accepted[job_id] = seed
        case ("started", str(job_id), int(step)):
            life.begun[job_id] = step
        case ("finished",):
            life.finished = True
        case _:
            life.ticks += 1


def _hear_the_rest(life: _Life, ours: Any) -> None:
    """What was sent before the kill counts, too: a job that was accepted must not be lost."""
    try:
        while ours.poll():
            _hear(life, ours.recv())
    except (EOFError, OSError):
        return


def test_a_killed_studio_loses_no_job_no_clip_and_no_frame(
    tmp_path: Path, home: Path, fault_rounds: int, tally: Tally
) -> None:
    install_tiny_model(tmp_path / "assets")
    studio = _Studio(home, tmp_path / "assets")
    whole = studio.live(SEEDS)
    assert whole.finished
    expected = {seed: frames_of(_clip(job)) for job, seed in _jobs(whole.accepted)}
    assert len(expected) == len(SEEDS)
    for clip in clips_dir().iterdir():
        clip.unlink()

    rng = random.Random(11)
    resumed = 0
    for _ in range(fault_rounds):
        seeds = rng.sample(SEEDS, 2)
        lives = [studio.live(seeds, rng.randrange(whole.ticks), rng.random() * 0.05)]
        if rng.random() < 0.4:
            lives.append(studio.live((), rng.randrange(1, whole.ticks), rng.random() * 0.05))
        lives.append(studio.live(()))
        assert lives[-1].finished
        resumed += sum(step > 0 for life in lives[1:] for step in life.begun.values())
        tally.rounds += 1
        _check(lives[0].accepted, expected, tally)
    print(f"{resumed} renders went on from a saved step")
    assert (tally.jobs_lost, tally.half_files, tally.different_after_resume) == (0, 0, 0)
    assert resumed or fault_rounds < 20


def _check(accepted: dict[str, int], expected: dict[int, np.ndarray], tally: Tally) -> None:
    """Count what is wrong after a round, and clear the clips for the next one."""
    with closing(sqlite3.connect(jobs_file())) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = {job.id: seed for job, seed in _jobs(accepted) if job.state is JobState.done and _clip(job).exists()}
    tally.jobs_lost += len(accepted) - len(found)
    for clip in clips_dir().iterdir():
        try:
            seed = int(clip.stem.split("seed")[1].split("-")[0])
            frames = frames_of(clip)
        except (OSError, ValueError, IndexError):
            tally.half_files += 1
        else:
            tally.different_after_resume += not np.array_equal(frames, expected[seed])
        clip.unlink()
    assert not list(unfinished_dir().glob("*.safetensors"))


def _jobs(accepted: dict[str, int]) -> list[tuple[Job, int]]:
    with closing(JobStore(jobs_file())) as store:
        return [(job, accepted[job.id]) for job in store.jobs() if job.id in accepted]


def _clip(job: Job) -> Path:
    assert job.clip is not None
    return job.clip.path
