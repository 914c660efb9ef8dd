"""The files of a job: the clip it will become, and its last saved step until then."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable
from pathlib import Path

from engine.clip import read_recipe
from engine.errors import UserError
from engine.files import make_folder, remove_leftovers, writing
from engine.paths import data_home, unfinished_dir
from engine.request import Clip
from studio.job_store import Job, JobState

_MOST_LETTERS = 48
"""Of which each takes four bytes at most, where a file's name may have 255."""


def file_words(title: str) -> str:
    """Return a title as part of a file's name: letters and digits of every script, whole words, of at most 48 letters;
    "clip" where that leaves nothing."""
    words = re.sub(r"[\W_]+", "-", title.lower()).strip("-")
    if len(words) > _MOST_LETTERS:
        whole, dash, _ = words[: _MOST_LETTERS + 1].rpartition("-")
        words = whole if dash else words[:_MOST_LETTERS]
    return words or "clip"


def name_for(job: Job, folder: Path, taken: frozenset[str]) -> Path:
    """Return a new clip's file in `folder`, which is made: neither there nor among `taken`. Raises `OutputError`."""
    with writing(folder):
        make_folder(folder)
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{file_words(job.title)}-seed{job.request.settings.seed}"
    path = folder / f"{stem}.mp4"
    number = 2
    while path.exists() or str(path) in taken:
        path = folder / f"{stem}-{number}.mp4"
        number += 1
    return path


def finished_clip(job: Job) -> Clip | None:
    """Return the job's clip if it lies there already, whole and of the same request; else None."""
    if job.out is None or not job.out.exists():
        return None
    try:
        recipe = read_recipe(job.out)
    except UserError:
        return None  # something else has come to stand there; the render will say so
    if recipe.request != job.request:
        return None
    return Clip(
        id=job.id,
        path=job.out,
        request=job.request,
        engine_version=recipe.engine_version,
        weights_digest=recipe.weights_digest,
        seconds=max(0.0, time.time() - (job.started or time.time())),
    )


def unfinished_file(job_id: str) -> Path:
    """Return where the engine keeps a job's last step."""
    return unfinished_dir() / f"{job_id}.safetensors"


def drop_unfinished(job_id: str) -> None:
    """Delete a job's last step, if there is one; a disk that refuses keeps a file that nobody will look for."""
    with contextlib.suppress(OSError):
        unfinished_file(job_id).unlink(missing_ok=True)


def clear_unfinished(jobs: Iterable[Job]) -> None:
    """Delete the steps of jobs that are gone, done or were dropped, and what kills left half-written anywhere."""
    remove_leftovers(data_home(), below=True)
    wanted = {unfinished_file(job.id) for job in jobs if job.state is not JobState.done and (job.step or not job.final)}
    folder = unfinished_dir()
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another studio on this folder may tidy up, too
            if path.suffix == ".safetensors" and path not in wanted:
                path.unlink()
