"""One run of pip, shown in plain words: a line that lives on a terminal, one every quarter of a minute elsewhere.

Standard library only. What pip itself says goes to a log.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

QUIET_S = 15.0
"""Seconds between two lines where there is no terminal."""


class PipFailed(Exception):
    """pip came to its end without success; the text is what it named as the reason."""


def run_pip(python: Path, arguments: Sequence[str], log: Path, *, keep_open: int | None = None) -> None:
    """Run `python -m pip …`, appending its output to `log`.

    `keep_open`: a file descriptor that pip inherits on POSIX, so that a lock outlives this process if it is killed
    while pip goes on. Raises `PipFailed`; on KeyboardInterrupt pip is ended first.
    """
    command = [str(python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-color", *arguments]
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n> {' '.join(command)}\n")
        file.flush()
        pip = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            pass_fds=() if keep_open is None or sys.platform == "win32" else (keep_open,),
        )
        assert pip.stdout is not None
        said = _Said(pip.stdout, file)
        try:
            _show_until_end(pip, said)
        except BaseException:
            pip.terminate()
            try:
                pip.wait(10)
            except subprocess.TimeoutExpired:
                pip.kill()
                pip.wait()
            raise
        finally:
            said.join()
            pip.stdout.close()
    if pip.returncode:
        raise PipFailed(said.reason or f"pip ended with code {pip.returncode}")


class _Said(threading.Thread):
    """Reads pip's output into the log; `doing` is what it is at, `reason` the last error it named."""

    def __init__(self, output: IO[str], log: IO[str]) -> None:
        super().__init__(daemon=True)
        self._output = output
        self._log = log
        self.doing = ""
        self.reason = ""
        self.start()

    def run(self) -> None:
        for line in self._output:
            self._log.write(line)
            self._log.flush()
            self.doing = _in_words(line) or self.doing
            if line.startswith("ERROR: "):
                self.reason = line.removeprefix("ERROR: ").strip().rstrip(".")


def _in_words(line: str) -> str:
    """What a line of pip's says it is doing, or nothing."""
    line = line.strip()
    patterns = (
        (r"Collecting ([\w.-]+)", r"looking for \1"),
        (r"Downloading \S*?([\w.]+)-([\w.+]+)-\S+ \((.+)\)", r"downloading \1 \2, \3"),
        (r"Processing \S*?([\w.]+)-([\w.+]+)-\S+\.whl", r"reading \1 \2"),
        (r"Installing collected packages: .*", "unpacking; the last and longest part"),
    )
    for pattern, words in patterns:
        match = re.match(pattern, line)
        if match:
            return match.expand(words)
    return ""


def _show_until_end(pip: subprocess.Popen[str], said: _Said) -> None:
    started = time.monotonic()
    terminal = sys.stderr.isatty()
    shown = started
    while True:
        try:
            pip.wait(0.5 if terminal else 1.0)
            break
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            text = f"    {now - started:4.0f} s  {said.doing}"
            if terminal:
                print("\r" + text[:78].ljust(79), end="", file=sys.stderr, flush=True)
            elif now - shown >= QUIET_S:
                print(text, file=sys.stderr, flush=True)
                shown = now
    if terminal:
        print("\r" + " " * 79, end="\r", file=sys.stderr, flush=True)
