"""What holds for every parser of foreign bytes, and the loops that try it.

An input gives a value or a `UserError` of one sentence; nothing else is raised. It takes under five seconds of processor
time and less than one gigabyte, writes nothing outside the given folder, leaves no file open and lets no warning out.
A failing input is kept in a file; the same name and number make the same input again.
"""  # noqa: E501

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil

from engine.errors import UserError
from tests.fuzz.mutation import mutated

MAX_SECONDS = 5.0
MAX_MEMORY_BYTES = 10**9
MAX_SENTENCE_CHARS = 1500
_MAX_DATA_BYTES = 8 * 10**9
"""Where the system can hold a process to it: an input that wants everything is kept, instead of ending the run."""
_HANG_SECONDS = 60.0
BATCH = 200
"""Inputs between two looks at the files that are open."""

Parse = Callable[[bytes, Path], object]
"""What reads the input; the folder is the only place where it may write, and is empty again for nobody but itself."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser with valid inputs to start from."""

    name: str
    parse: Parse
    seeds: Sequence[bytes]
    kind: str = "bytes"
    """How inputs are changed: "bytes", "json" (as a tree, now and then as bytes) or "text"."""


@dataclass(slots=True)
class Count:
    """What was tried of one parser."""

    inputs: int = 0
    values: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0


@dataclass(slots=True)
class Report:
    """Counts by parser, for the summary at the end of a run."""

    counts: dict[str, Count] = field(default_factory=dict[str, Count])

    def lines(self) -> list[str]:
        """One line for each parser, and the sum."""
        rows = [
            f"{name:32} {one.inputs:9,} inputs  {one.values:9,} read  {one.refused:9,} refused "
            f"{one.inputs / max(one.seconds, 1e-9):9,.0f} a second  slowest {one.slowest:5.2f} s"
            for name, one in sorted(self.counts.items())
        ]
        total = sum(one.inputs for one in self.counts.values())
        return [*rows, f"{'together':32} {total:9,} inputs"]


class InputFailure(AssertionError):
    """An input did what no input may do; says where the input lies."""


class _TooSlow(BaseException):
    """Raised by a timer in the middle of a parser; no `except Exception` stops it."""


# Python has no way to take an audit hook away again, so there is one, and it looks only while a parser runs.
_allowed: str | None = None
_forbidden: list[str] = []
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1}
_NEVER = frozenset({"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect"})


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _allowed is None:
        return
    if event in _NEVER:
        _forbidden.append(f"{event} {args[:1]}")
    elif event == "open":
        path, _mode, flags = args
        if isinstance(path, (str, bytes)) and isinstance(flags, int):
            _look(event, os.fsdecode(path), writing=bool(flags & _WRITING))
    elif event in _CHANGES and isinstance(args[_CHANGES[event]], (str, bytes)) and args[-1] in (-1, None):
        # Relative to an open folder (the last argument): that one was looked at when it was opened by its name.
        _look(event, os.fsdecode(args[_CHANGES[event]]), writing=True)


def _look(event: str, path: str, *, writing: bool) -> None:
    assert _allowed is not None
    place = os.path.abspath(path)
    if (place + os.sep).startswith(_allowed) or place == os.devnull:
        return
    # What lies beside the folder is bait: an input may neither write nor read there.
    if writing or place.startswith(os.path.dirname(_allowed.rstrip(os.sep)) + os.sep):
        _forbidden.append(f"{event} {place[:300]}")


_hooked = False


@contextlib.contextmanager
def _guarded(folder: Path) -> Generator[None]:
    global _allowed, _hooked
    if not _hooked:
        sys.addaudithook(_audit)
        _limit_memory()
        _hooked = True
    _forbidden.clear()
    _allowed = str(folder) + os.sep
    try:
        yield
    finally:
        _allowed = None


class Trial:
    """Feeds inputs to one parser and checks what holds for each of them."""

    def __init__(self, target: Target, folder: Path, failures: Path, report: Report) -> None:
        self._target, self._failures = target, failures
        self._folder = folder / "inside"
        self._folder.mkdir(parents=True, exist_ok=True)
        (folder / "bait.png").write_bytes(b"nobody reads this")
        self._count = report.counts.setdefault(target.name, Count())
        self._process = psutil.Process()
        for seed in target.seeds:  # what is imported at the first use is no growth
            with contextlib.suppress(UserError):
                target.parse(seed, self._folder)
        gc.collect()
        self._highest = self._process.memory_info().rss + MAX_MEMORY_BYTES

    def warm_up(self, inputs: Sequence[bytes]) -> None:
        """Have imported what these import at their first use; what is wrong with them is told when they are fed."""
        for data in inputs:
            with contextlib.suppress(Exception):
                self._target.parse(data, self._folder)

    def mutate(self, rounds: int) -> None:
        """Try `rounds` inputs that are changed seeds."""
        target = self._target
        with self._watching() as caught:
            for number in range(rounds):
                rng = random.Random(f"{target.name} {number}")
                self._one(mutated(rng, target.seeds, target.kind), f"{number}", caught)
                if number % BATCH == BATCH - 1:
                    self._check_handles(f"{number - BATCH + 1} to {number}")
        self._check_handles("the whole run")

    @contextlib.contextmanager
    def feeding(self, number: str = "structure") -> Generator[Callable[[bytes], None]]:
        """A function that tries one input, for whoever makes the inputs: hypothesis, libFuzzer, or a kept file."""
        with self._watching() as caught:
            yield lambda data: self._one(data, number, caught)
        self._check_handles("the whole run")

    def check_handles(self) -> None:
        """Within `feeding`, for a loop that never comes back from it: the inputs so far left no file open."""
        self._check_handles("so far")

    @property
    def count(self) -> Count:
        """What was tried so far."""
        return self._count

    @contextlib.contextmanager
    def _watching(self) -> Generator[list[warnings.WarningMessage]]:
        self._handles = _num_handles(self._process)
        before = signal.signal(signal.SIGALRM, _too_slow) if hasattr(signal, "SIGALRM") else None
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                yield caught
        finally:
            if hasattr(signal, "SIGALRM"):
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)

    def _one(self, data: bytes, number: str, caught: list[warnings.WarningMessage]) -> None:
        count = self._count
        began = time.process_time()
        try:
            with _guarded(self._folder):
                if hasattr(signal, "SIGALRM"):
                    signal.setitimer(signal.ITIMER_REAL, _HANG_SECONDS)
                self._target.parse(data, self._folder)
            count.values += 1
        except UserError as error:
            count.refused += 1
            fault = wrong_sentence(str(error))
            if fault:
                self._fail(data, number, fault, error)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            # A timer may strike between two lines; tracebacks without a line are more than some readers can bear.
            cause = None if isinstance(error, _TooSlow) else error
            self._fail(data, number, f"raised {type(error).__name__}: {str(error)[:300]}", cause)
        seconds = time.process_time() - began
        count.inputs += 1
        count.seconds += seconds
        count.slowest = max(count.slowest, seconds)
        if seconds > MAX_SECONDS:
            self._fail(data, number, f"took {seconds:.1f} s of processor time")
        if _forbidden:
            self._fail(data, number, f"left its folder: {_forbidden[0]}")
        if caught:
            said = caught[0].message
            caught.clear()  # or it would be held against the next input as well, and the smallest failing one is sought
            self._fail(data, number, f"let a warning out: {said}")
        if _peak_bytes(self._process) > self._highest:
            self._fail(data, number, "took more than a gigabyte")

    def _check_handles(self, number: str) -> None:
        gc.collect()
        if _num_handles(self._process) > self._handles:
            raise InputFailure(f"{self._target.name}: inputs {number} left files open")

    def _fail(self, data: bytes, number: str, what: str, cause: BaseException | None = None) -> NoReturn:
        self._failures.mkdir(parents=True, exist_ok=True)
        path = kept_at(self._failures, self._target, number)
        path.write_bytes(data)
        raise InputFailure(f"{self._target.name}, input {number} {what}; the input: {path}") from cause


def kept_at(failures: Path, target: Target, number: str) -> Path:
    """Where a failing input of `target` is kept."""
    return failures / f"{target.name.replace(' ', '-')}-{number}.bin"


def wrong_sentence(text: str) -> str:
    """What is wrong with a sentence for the user; empty if nothing is."""
    if not text.strip():
        return "was refused without a word"
    if len(text) > MAX_SENTENCE_CHARS:
        return f"was refused in {len(text)} characters: {text[:200]}"
    if not text.rstrip().endswith((".", ".)", "?", "。", "。）", "？")):
        return f"was refused in what is no sentence: {text[:200]}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"was refused in what no screen can show: {text[:200]!r}"
    return ""


def _too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise _TooSlow(f"longer than {_HANG_SECONDS:.0f} s")


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = _MAX_DATA_BYTES if hard == resource.RLIM_INFINITY else min(_MAX_DATA_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _num_handles(process: psutil.Process) -> int:
    return process.num_handles() if sys.platform == "win32" else process.num_fds()


def _peak_bytes(process: psutil.Process) -> int:
    """The most memory the process ever had, where the system says so; else what it has now."""
    if sys.platform == "linux":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return process.memory_info().rss
