"""An engine in a process of its own that sees one graphics card: where there are several, each renders a job."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from engine.asking import checked, close_input, start_process
from engine.cancel import CancelToken
from engine.codec import from_json, to_json
from engine.errors import Cancelled, MachineError
from engine.events import Event, Progress
from engine.memory.cards import VISIBLE, cards_to_share
from engine.memory.machine import free_ram
from engine.pictures import PictureStore
from engine.request import RenderRequest
from studio.job_store import CRASHED, MAX_CRASHES
from studio.running import RenderEngine

Json = dict[str, Any]

_log = logging.getLogger(__name__)
_LOOK_S = 0.1
_GOODBYE_S = 8.0
NOT_STARTED = "The process that renders on a graphics card could not be started ({reason}); start the studio again."


def card_engines() -> tuple[Callable[[], RenderEngine], ...]:
    """What makes an engine for each card that renders are spread over; empty where one engine is enough.

    The computer's memory is divided among them, for each plans as if it were alone.
    """
    cards = cards_to_share()
    return tuple(partial(CardEngine, card, ram_bytes=free_ram() // len(cards)) for card in cards)


class CardEngine:
    """Renders in a process that is started at the first render and stays for the next ones."""

    def __init__(self, card: str, *, ram_bytes: int | None = None, module: str = "engine.render_process") -> None:
        """`card`: as CUDA_VISIBLE_DEVICES names it; `ram_bytes`: how much of the computer's memory it may use."""
        self.card = card
        self._command = [sys.executable, "-m", module, *([] if ram_bytes is None else [str(ram_bytes)])]
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]:
        """As `engine.runtime.Engine.render`. Where the process dies, another one goes on from the last saved step.

        Raises:
            MachineError: it died several times without a step gained.
        """
        question = {
            "request": to_json(request),
            "pictures": str(pictures.root),
            "out": str(out),
            "resume": str(resume),
        }
        deaths = before = 0
        while True:
            step = yield from self._once(question, cancel)
            if step is None:
                return
            cancel.raise_if_cancelled()
            _log.warning("the process that renders on card %s died after step %d", self.card, step)
            deaths = 1 if step > before else deaths + 1
            before = max(before, step)
            if deaths == MAX_CRASHES:
                raise MachineError(CRASHED)

    def close(self) -> None:
        """End the process, within a moment."""
        process, self._process = self._process, None
        if process is None:
            return
        close_input(process)
        try:
            process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _once(self, question: Json, cancel: CancelToken) -> Generator[Event, None, int | None]:
        """The events of a render; None once it is done, or the last step there was if the process died.

        Raises what the engine raised, as far as it is told across processes.
        """
        process = self._running()
        step, told, answered = 0, False, False
        try:
            _tell(process, question)
            while True:
                if cancel.cancelled and not told:
                    told = True
                    _tell(process, {"cancel": True})
                try:
                    line = self._lines.get(timeout=_LOOK_S)
                except queue.Empty:
                    continue
                if line is None:
                    return step
                answer: Json = json.loads(line)
                if "event" in answer:
                    event = from_json(Event, answer["event"])
                    if isinstance(event, Progress) and event.stage == "denoise":
                        step = event.step
                    yield event
                    continue
                answered = True
                if "cancelled" in answer:
                    raise Cancelled("Cancelled.")
                checked(answer)
                return None
        finally:
            if not answered:  # it has died, or whoever asked has left in the middle
                self.close()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            try:
                self._process = start_process(self._command, {VISIBLE: self.card})
            except OSError as error:
                raise MachineError(NOT_STARTED.format(reason=error.strerror or error)) from error
            self._lines = queue.Queue()
            threading.Thread(
                target=_read, args=(self._process, self._lines), name=f"card-{self.card}", daemon=True
            ).start()
        return self._process


def _tell(process: subprocess.Popen[str], line: Json) -> None:
    """Send a line; if nobody reads any more, the end of the output tells."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            lines.put(line)
    lines.put(None)
