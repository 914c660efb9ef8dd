"""The studio's queue with the real engine in a process of its own, made to be killed: it says what it does.

What it sends: `("accepted", job id, seed)` once a submit has returned, `("tick",)` at every change of the queue,
`("started", job id, step)` when a job's steps begin, and `("finished",)` when nothing is left to do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import engine.weights.installed as installed
from engine.paths import clips_dir, jobs_file, pictures_dir
from engine.pictures import PictureStore
from engine.runtime import Engine
from studio.job_store import JobState, JobStore
from studio.jobs import JobQueue
from tests.unit.tiny_studio import tiny_request

# Enough steps and frames that a kill can fall into every stage.
SETTINGS = {"num_inference_steps": 12, "num_frames": 41}


def host(home: Path, assets: Path, seeds: Sequence[int], told: Connection) -> None:
    """Queue a job for each seed, and work until nothing waits."""
    os.environ["LUMOSX_HOME"] = str(home)
    installed.assets_dir = lambda: assets
    pictures = PictureStore(pictures_dir())
    queue = JobQueue(Engine, pictures, clips_dir, JobStore(jobs_file()))
    queue.start()
    for seed in seeds:
        job = queue.submit(tiny_request(pictures, seed=seed, **SETTINGS), "Killed")
        told.send(("accepted", job.id, seed))
    version = -1
    begun: set[str] = set()
    while not all(job.final for job in queue.jobs()):
        version = queue.wait(version, 10)
        told.send(("tick",))
        for job in queue.jobs():
            now = job.progress
            if job.state is JobState.running and now and now.stage == "denoise" and job.id not in begun:
                begun.add(job.id)
                told.send(("started", job.id, now.step))
    queue.close()
    told.send(("finished",))
