"""Processes made to be killed: each does its work in a process of its own and tells of every step."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

from tests.patience import PATIENCE_S

PRELOAD = [
    "tests.faults.queue_host",
    "tests.faults.victims",
    "huggingface_hub.hf_api",
    "engine.model.pipeline",
    "diffusers.models.autoencoders.autoencoder_kl_wan",
    "transformers.models.umt5.modeling_umt5",
    "transformers.models.auto.tokenization_auto",
]
"""What takes seconds to import: once for all processes. There is one server that forks, so one list."""


class Killer:
    """Starts processes that call `work(*arguments, told)`."""

    def __init__(self, work: Callable[..., None]) -> None:
        self._work = work
        methods = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self._context.set_forkserver_preload(PRELOAD)

    def run(self, *arguments: object, kill_at: int | None = None, after_s: float = 0.0) -> list[Any]:
        """Return what the process told until it ended, or until it was killed `after_s` behind its message number
        `kill_at`; messages on their way at that moment count, too."""
        ours, its = self._context.Pipe(duplex=False)
        process = self._context.Process(target=self._work, args=(*arguments, its))
        process.start()
        its.close()
        told: list[Any] = []
        deadline = time.monotonic() + PATIENCE_S
        try:
            while kill_at is None or len(told) < kill_at:
                if not ours.poll(max(0.0, deadline - time.monotonic())):
                    raise AssertionError("the process stands still")
                told.append(ours.recv())
            time.sleep(after_s)
        except EOFError:
            pass  # it ended by itself
        finally:
            if kill_at is not None:
                process.kill()
            process.join(PATIENCE_S)
            _hear_the_rest(ours, told)
            ours.close()
            process.close()
        return told


def _hear_the_rest(ours: Any, told: list[Any]) -> None:
    try:
        while ours.poll():
            told.append(ours.recv())
    except (EOFError, OSError):
        return
