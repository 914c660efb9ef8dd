"""The queue's part of the desk: what a page asks of jobs, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.errors import InputError
from engine.request import SEED_RANGE, RenderRequest
from studio import view
from studio.draft import FieldError
from studio.jobs import Job
from studio.languages import heard, say
from studio.visitor_queue import RenderQueue

Json = dict[str, Any]

MAX_VARIATIONS = 8
"""Clips that one press of the button may ask for."""

_MAX_WAITING_SHOWN = 200
_MAX_FINAL_SHOWN = 30


def variations(request: RenderRequest, count: int) -> list[RenderRequest]:
    """Return the request and its variations: the same in all but the seed, which grows by one each.

    Raises:
        FieldError: there are not so many seeds behind this one.
    """
    seed, last = request.settings.seed, SEED_RANGE[1]
    if seed + count - 1 > last:
        raise FieldError(say("seeds_few", count=count, last=last), "seed")
    return [replace(request, settings=replace(request.settings, seed=seed + number)) for number in range(count)]


class QueueDesk:
    """Answers messages about jobs. `answers` are for the desk, by the name in the message's `do`."""

    def __init__(self, queue: RenderQueue) -> None:
        self._queue = queue
        self.answers: dict[str, Callable[[Json], Json]] = {
            "cancel": self._cancel,
            "queue_pause": self._pause,
            "queue_now": self._now,
            "queue_retry": self._retry,
            "queue_move": self._move,
            "queue_forget": self._forget,
            "queue_open": self._open,
            "queue_log": self._log,
        }

    def place(self, request: RenderRequest, title: str, message: Json) -> Job:
        """Queue a request, in the place of the waiting job that the message `replaces`, if it names one; else as many
        as its `count` says, with one seed after the other. Return the first job."""
        replaced = message.get("replaces")
        count = message.get("count", 1)
        if type(count) is not int or not 1 <= count <= MAX_VARIATIONS:
            raise FieldError(say("variations_range", most=MAX_VARIATIONS), "count")
        if replaced:
            return self._queue.replace(_id(message, "replaces"), request, title)
        first, *others = variations(request, count)
        return self._queue.submit(first, title, *others)

    def show(self) -> Json:
        """Return the jobs as the page shows them, waiting ones in their order, and how the queue stands."""
        jobs = self._queue.jobs()
        live = [job for job in jobs if not job.final]
        final = sorted((job for job in jobs if job.final), key=lambda job: job.ended or 0.0)
        return {
            "jobs": [view.job_view(job) for job in [*final[-_MAX_FINAL_SHOWN:], *live[:_MAX_WAITING_SHOWN]]],
            "queue": {
                "paused": self._queue.paused,
                "holdable": self._queue.holdable,
                "trouble": heard(self._queue.trouble),
                "more": max(0, len(live) - _MAX_WAITING_SHOWN),
            },
        }

    def _cancel(self, message: Json) -> Json:
        return {"cancelled": self._queue.cancel(_id(message), keep=message.get("keep") is True)}

    def _pause(self, message: Json) -> Json:
        paused = message.get("paused") is True
        self._queue.pause(paused)
        return {"paused": paused}

    def _now(self, _message: Json) -> Json:
        self._queue.try_again_now()
        return {}

    def _retry(self, message: Json) -> Json:
        return {"job": self._queue.retry(_id(message)).id}

    def _move(self, message: Json) -> Json:
        by = message.get("by")
        if type(by) is not int:
            raise InputError(say("old_page"))
        self._queue.move(_id(message), by)
        return {}

    def _forget(self, message: Json) -> Json:
        self._queue.forget(_id(message))
        return {}

    def _open(self, message: Json) -> Json:
        job = self._job(message)
        return view.scene_view(job.request.scene, job.title) | {"settings": view.settings_view(job.request.settings)}

    def _log(self, message: Json) -> Json:
        job = self._job(message)
        return {"name": f"render-{job.id}.txt", "text": job.log or say("no_log")}

    def _job(self, message: Json) -> Job:
        job = self._queue.job(_id(message))
        if job is None:
            raise InputError(say("job_gone"))
        return job


def _id(message: Json, name: str = "job") -> str:
    job_id = message.get(name)
    if not isinstance(job_id, str):
        raise InputError(say("old_page"))
    return job_id
