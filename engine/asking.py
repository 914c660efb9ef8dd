"""A process that answers questions, one line of JSON each: its side, and the side of whoever asks it.

What needs heavy libraries, or may die of a picture, is asked in a process of its own. It ends when its input ends, so
it never outlives the one who asks. Needs the standard library alone, and knows nothing of what is asked.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from engine.errors import InputError, MachineError, OutputError, PictureError, UserError, WeightsError

Json = dict[str, Any]

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[1]
_ERRORS = {kind.__name__: kind for kind in (InputError, MachineError, OutputError, PictureError, WeightsError)}
_GOODBYE_S = 3.0
_CLOSING = "The studio is being closed."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentences:
    """What a user is told when the process fails: it died twice over one question, took too long, did not start."""

    died: str
    slow: str
    not_started: str


class AskedProcess:
    """One process, started at its first question. Safe to share between threads: questions are answered one after
    another."""

    def __init__(self, module: str, arguments: Sequence[str], sentences: Sentences, longest_s: float) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._sentences = sentences
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
        """Return the answer to a question.

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
                    return checked(json.loads(line))
                self._end()
            raise MachineError(self._sentences.died)

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
            raise MachineError(_CLOSING)
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._start()
            if self._closed:  # meanwhile, and `close` has seen no process that it could end
                self._end()
                raise MachineError(_CLOSING)
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
            raise MachineError(self._sentences.slow) from None

    def _start(self) -> None:
        answers: queue.Queue[str | None] = queue.Queue()
        try:
            process = start_process(self._command)
        except OSError as error:
            raise MachineError(self._sentences.not_started.format(reason=error.strerror or error)) from error
        self._process, self._answers = process, answers
        threading.Thread(target=_read, args=(process, answers), name="lumosx-asked", daemon=True).start()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _stop(process)
            close_input(process)


def start_process(command: Sequence[str], variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a program of ours with pipes for its questions and answers, and more `variables` in its environment. Raises
    `OSError`."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1", **(variables or {})}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        encoding="utf-8",
        # Ctrl-C in the terminal is the studio's business, which then ends this process in its turn
        start_new_session=os.name == "posix",
    )


def close_input(process: subprocess.Popen[str]) -> None:
    """Close the pipe of the questions, whether or not the process still reads it."""
    if process.stdin is not None:
        try:
            process.stdin.close()
        except OSError:  # what was still to be written to a process that has gone
            _log.debug("the process had gone before its input was closed")


def checked(answer: Json) -> Json:
    """Return an answer that is none of the two kinds of failure; raise `UserError` or `RuntimeError` for these."""
    if "fault" in answer:
        raise RuntimeError(f"a process of the program failed:\n{answer['fault']}")
    if "error" in answer:
        raise _ERRORS.get(str(answer.get("kind")), UserError)(str(answer["error"]))
    return answer


def answered(answer: Callable[[Json], Json], question: Json) -> Json:
    """Return the answer; `{"error": sentence}` for a user's mistake, `{"fault": text}` for one of the program."""
    try:
        return answer(question)
    except UserError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except Exception:
        return {"fault": traceback.format_exc()}


def own_pipes() -> tuple[TextIO, TextIO]:
    """Take the process's own input and output for questions and answers; whatever libraries print goes to the error
    output from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return os.fdopen(os.dup(0), "r", encoding="utf-8"), answers


def serve(answer: Callable[[Json], Json]) -> int:
    """Answer the process's own input line by line until it ends; return the exit code."""
    questions, answers = own_pipes()
    with questions, answers:
        for line in questions:
            answers.write(json.dumps(answered(answer, json.loads(line))) + "\n")
            answers.flush()
    return 0


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
