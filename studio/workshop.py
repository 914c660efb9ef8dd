"""Work on finished clips that takes a while: one thread, one task after another, each with progress and a way to stop.

Tasks live as long as the studio; what they make is on the disk. Knows nothing of pages or of what a task does.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from engine.cancel import CancelToken
from engine.errors import Cancelled, InputError, UserError
from studio.languages import heard, say

Json = dict[str, Any]
Report = Callable[[int, int], None]
"""Told how much is done of how much; raises `Cancelled` once the task is to stop."""

_log = logging.getLogger(__name__)
_KEPT = 60


class TaskState(StrEnum):
    """Where a task stands; the last three are final."""

    waiting = "waiting"
    running = "running"
    done = "done"
    cancelled = "cancelled"
    failed = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A snapshot. `result` is what the work returned, `error` a sentence, `num_done` of `num_all` the progress."""

    id: str
    state: TaskState = TaskState.waiting
    num_done: int = 0
    num_all: int = 0
    result: Json | None = None
    error: str | None = None

    @property
    def final(self) -> bool:
        """Whether nothing about it will change any more."""
        return self.state in (TaskState.done, TaskState.cancelled, TaskState.failed)


class Workshop:
    """Works tasks off one after another. Safe to use from several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tasks: dict[str, Task] = {}
        self._tokens: dict[str, CancelToken] = {}
        self._waiting: list[tuple[str, Context, Callable[[Report], Json]]] = []
        self._numbers = itertools.count(1)
        self._thread: threading.Thread | None = None
        self._closing = False

    def begin(self, work: Callable[[Report], Json]) -> Task:
        """Queue a task; `work` is called in the thread, and raises `UserError` for what the user has to know."""
        with self._changed:
            if self._closing:
                raise UserError(say("studio_closing"))
            task = Task(id=f"task-{next(self._numbers)}")
            self._tasks[task.id] = task
            self._tokens[task.id] = CancelToken()
            self._waiting.append((task.id, copy_context(), work))
            for old in [known.id for known in self._tasks.values() if known.final][:-_KEPT]:
                del self._tasks[old]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="workshop", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return task

    def look(self, task_id: str, timeout_s: float = 0.0, seen: int | None = None) -> Task:
        """Return a task as it stands, at once if it is final or its progress is not `seen`, else after `timeout_s`.

        Raises:
            InputError: there is no such task.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._differs(task_id, seen), timeout_s)
            task = self._tasks.get(task_id)
        if task is None:
            raise InputError(say("task_gone"))
        return task

    def _differs(self, task_id: str, seen: int | None) -> bool:
        task = self._tasks.get(task_id)
        return task is None or task.final or task.num_done != seen

    def cancel(self, task_id: str) -> None:
        """Stop a task as soon as possible; nothing of it is kept. Nothing happens to one that is final or unknown."""
        with self._changed:
            token = self._tokens.get(task_id)
            if token is not None:
                token.cancel()
            if any(waiting[0] == task_id for waiting in self._waiting):
                self._waiting = [one for one in self._waiting if one[0] != task_id]
                self._end(task_id, state=TaskState.cancelled)

    @property
    def busy(self) -> bool:
        """Whether a task waits or runs."""
        with self._changed:
            return any(not task.final for task in self._tasks.values())

    def close(self, timeout_s: float = 30.0) -> bool:
        """Stop everything and wait for the thread; whether it ended."""
        with self._changed:
            self._closing = True
            for task_id in list(self._tokens):
                self.cancel(task_id)
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or bool(self._waiting))
                if self._closing:
                    return
                task_id, context, work = self._waiting.pop(0)  # the context: in the language of who began it
                token = self._tokens[task_id]
                self._put(task_id, state=TaskState.running)
            try:
                result = context.run(work, partial(self._report, task_id, token))
                self._end(task_id, state=TaskState.done, result=result)
            except Cancelled:
                self._end(task_id, state=TaskState.cancelled)
            except UserError as error:
                self._end(task_id, state=TaskState.failed, error=context.run(heard, str(error)))
            except Exception:
                _log.exception("%s failed", task_id)
                self._end(task_id, state=TaskState.failed, error=context.run(say, "task_fault"))

    def _report(self, task_id: str, token: CancelToken, done: int, to_do: int) -> None:
        token.raise_if_cancelled()
        self._put(task_id, num_done=done, num_all=to_do)

    def _end(self, task_id: str, **changes: Any) -> None:
        with self._changed:
            self._tokens.pop(task_id, None)
            self._put(task_id, **changes)

    def _put(self, task_id: str, **changes: Any) -> None:
        with self._changed:
            if task_id in self._tasks:
                self._tasks[task_id] = dataclasses.replace(self._tasks[task_id], **changes)
            self._changed.notify_all()
