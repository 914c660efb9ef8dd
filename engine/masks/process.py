"""The page's side of the process that cuts: starts it when it is needed, asks, starts it again if it dies, ends it.

Needs the standard library alone.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InputError, MachineError, OutputError, PictureError, UserError, WeightsError

Json = dict[str, Any]

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]
_ERRORS = {kind.__name__: kind for kind in (InputError, MachineError, OutputError, PictureError, WeightsError)}
_LONGEST_S = 300.0
_GOODBYE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CutterProgram:
    """A cutter to choose. `module` is what `python -m` runs, with `arguments` and then the folder of the pictures."""

    name: str
    title: str
    note: str
    builtin: bool
    module: str = "engine.masks.worker"
    arguments: tuple[str, ...] = ()


class CutterProcess:
    """One process of one program. Safe to share between threads: questions are answered one after another."""

    def __init__(self, program: CutterProgram, pictures: Path, longest_s: float = _LONGEST_S) -> None:
        self._command = [sys.executable, "-m", program.module, *program.arguments, str(pictures)]
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Id of the running process, None if there is none at the moment."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def ask(self, question: Json) -> Json:
        """Return the answer to a question of `engine.masks.worker`.

        A process that died is started again and asked once more.

        Raises:
            UserError: what the process answered with.
            MachineError: it died twice over this question, or took longer than `longest_s`.
        """
        answer = self.ask_if(question, lambda: True)
        assert answer is not None
        return answer

    def ask_if(self, question: Json, wanted: Callable[[], bool]) -> Json | None:
        """`ask`, unless `wanted` says no once it is this question's turn; then None."""
        with self._lock:
            if not wanted():
                return None
            for _ in range(2):
                line = self._exchange(json.dumps(question) + "\n")
                if line is not None:
                    return _checked(json.loads(line))
                self._end()
            raise MachineError("Cutting stopped twice on this picture, perhaps for want of memory; try a smaller one.")

    def close(self) -> None:
        """End the process; a question that is being answered gets a `MachineError`."""
        self._closed = True
        process = self._process
        if process is not None:
            _stop(process)
        with self._lock:
            self._end()

    def _exchange(self, line: str) -> str | None:
        """Return the answering line, None if the process has died."""
        if self._closed:
            raise MachineError("The studio is being closed.")
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except OSError:
            return None
        try:
            return self._answers.get(timeout=self._longest_s)
        except queue.Empty:
            self._end()
            raise MachineError("Cutting takes too long on this picture; try a smaller one.") from None

    def _start(self) -> None:
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}
        answers: queue.Queue[str | None] = queue.Queue()
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                encoding="utf-8",
                # Ctrl-C in the terminal is the studio's business, which then ends this process in its turn
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            raise MachineError(f"The cutter could not be started ({error.strerror}); close other programs.") from error
        self._process, self._answers = process, answers
        threading.Thread(target=_read, args=(process, answers), name="lumosx-cutter", daemon=True).start()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _stop(process)
            if process.stdin is not None:
                try:
                    process.stdin.close()
                except OSError:  # what was still to be written to a process that has gone
                    _log.debug("the cutter had gone before its input was closed")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_GOODBYE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(process: subprocess.Popen[str], answers: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            answers.put(line)
    answers.put(None)


def _checked(answer: Json) -> Json:
    if "fault" in answer:
        raise RuntimeError(f"the process that cuts failed:\n{answer['fault']}")
    if "error" in answer:
        raise _ERRORS.get(str(answer.get("kind")), UserError)(str(answer["error"]))
    return answer
