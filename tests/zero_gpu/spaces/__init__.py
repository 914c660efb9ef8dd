"""Stands in for the package `spaces` of ZeroGPU at its edge, by the rules that version 0.51 has.

The body of a wrapped generator runs in a forked process; its argument and what it yields go through pickled queues; an
error comes back as its class's name only; closing the generator is noticed at the next thing yielded; a process that is
idle is used again, one that has ended is an aborted call; whoever pays is read from the request in Gradio's context.
There is no card: what runs there runs on the processor. `SPACES_FAKE_LOG` names a file that gets a line of JSON for
each call, `SPACES_FAKE_MOST` says how long a call may be.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from multiprocessing.context import ForkContext, ForkProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

_ZERO = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
_UNFINISHED = sys.modules.get("gradio")
if _UNFINISHED is not None and not hasattr(_UNFINISHED, "Blocks"):
    raise ImportError  # Gradio looks for us while it is being imported itself; only the app file may import us
if _ZERO and "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
    raise RuntimeError("CUDA has been initialized before importing the `spaces` package.")

Body = Callable[..., Generator[Any]]


def gradio_auto_wrap(task: Any) -> Any:
    """Return a handler of an event as it is: nobody has asked for more."""
    return task


def GPU(task: Body | None = None, *, duration: Callable[..., int]) -> Any:
    """Wrap a generator; off ZeroGPU it stays what it is."""
    if task is None:
        return lambda later: GPU(later, duration=duration)
    if not _ZERO:
        return task
    if not inspect.isgeneratorfunction(task):
        raise NotImplementedError("only generators here")
    return _Wrapped(task, duration)


class _Worker:
    def __init__(self, context: ForkContext, task: Body) -> None:
        self.orders: SimpleQueue[Any] = context.SimpleQueue()
        self.answers: SimpleQueue[Any] = context.SimpleQueue()
        self.stop = context.Event()
        self.process: ForkProcess = context.Process(target=self._serve, args=(task,), daemon=True)
        self.process.start()
        threading.Thread(target=self._mourn, daemon=True).start()

    def _mourn(self) -> None:
        self.process.join()
        with contextlib.suppress(ValueError):  # it may have been killed while it held the lock
            getattr(self.answers, "_wlock").release()  # noqa: B009
        self.answers.put(None)

    def _serve(self, task: Body) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self.orders.close())
        while True:
            try:
                args, kwargs = self.orders.get()
            except OSError:
                return
            self.stop.clear()
            with ThreadPoolExecutor(1) as executor:
                executor.submit(copy_context().run, self._iterate, task(*args, **kwargs)).result()
            self.answers.put(("end", None))

    def _iterate(self, body: Generator[Any]) -> None:
        while True:
            try:
                value = next(body)
            except StopIteration:
                return
            except Exception as error:
                self.answers.put(("error", type(error).__name__))
                return
            if self.stop.is_set():
                body.close()
                return
            self.answers.put(("value", value))


class _Wrapped:
    def __init__(self, task: Body, duration: Callable[..., int]) -> None:
        self._task = task
        self._duration = duration
        self._idle: _Worker | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Generator[Any]:
        from gradio.context import LocalContext
        from gradio.exceptions import Error

        request = LocalContext.request.get(None)
        seconds: int = self._duration(*args, **kwargs)
        call = {"seconds": seconds, "token": None if request is None else request.headers.get("x-ip-token")}
        if seconds > int(os.environ.get("SPACES_FAKE_MOST", "120")):
            _note(call | {"granted": False})
            text = f"The requested GPU duration ({seconds}s) is larger than the maximum allowed"
            raise Error(text, title="ZeroGPU illegal duration", print_exception=False)
        worker, self._idle = self._idle, None
        if worker is None or not worker.process.is_alive():
            worker = _Worker(multiprocessing.get_context("fork"), self._task)
        worker.orders.put((args, kwargs))
        _note(call | {"granted": True, "pid": worker.process.pid})
        while (answer := worker.answers.get()) is not None:
            kind, value = answer
            if kind == "end":
                self._idle = worker
                return
            if kind == "error":
                raise Error(value, title="ZeroGPU worker error", print_exception=False)
            try:
                yield value
            except GeneratorExit:
                worker.stop.set()
                while (last := worker.answers.get()) is not None and last[0] != "end":
                    pass
                raise
        raise Error("GPU task aborted", title="ZeroGPU worker error", print_exception=False)


def _note(line: dict[str, Any]) -> None:
    with Path(os.environ["SPACES_FAKE_LOG"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
