"""What a process holds, round after round, and how much more of it may be there at the end.

A line is laid through the samples of the second half, for the first half is still warming up: the median of the slopes
between all pairs of samples (Theil and Sen), which one jump of an allocator does not bend and a steady leak does.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import psutil

MEMORY_KB_PER_ROUND = 50
"""One remembered picture or clip a round is more than this; a thousand renders a night stay below 50 MB."""
MEMORY_KB_ONCE = 6000
"""What an allocator may take once, late, without giving it back: an arena or two. Weighs in short runs only."""
FIVE, FIFTY = 5, 50
FIFTY_KB = 4000
"""How much larger a process may be after fifty jobs than after five: what Python keeps of names and patterns it met."""
OPEN_FILES_ONCE = 12
"""A browser holds up to six connections to a server, and closes them when it likes; two pages."""
THREADS_ONCE = 8
"""Threads that answer requests come and go with the requests of the moment."""
PER_ROUND = 0.05
"""Files or threads a round: ten in two hundred rounds, less than one left behind every twenty."""
HOME_KB_PER_ROUND = 1
"""The data home without its clips: the same pictures are kept once, so nothing is added; a kept scene would be more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at a process between two rounds. `temporary`: what lies in its temporary folder; `half`: half-written
    files in its data home; `home_kb`: the data home without the clips."""

    memory_kb: int
    open_files: int
    threads: int
    temporary: int
    half: int
    home_kb: int


def look(process: psutil.Process, home: Path, temporary: Path) -> Sample:
    """Take a sample of a process with a data home and a temporary folder that nobody else uses."""
    sizes = {path: _size(path) for path in home.rglob("*")}
    return Sample(
        memory_kb=process.memory_info().rss // 1024,
        open_files=process.num_fds(),
        threads=process.num_threads(),
        temporary=sum(1 for path in temporary.rglob("*") if not _of_torch(path)),
        half=sum(1 for path in sizes if is_half(path)),
        home_kb=sum(size for path, size in sizes.items() if path.parent.name != "clips") // 1024,
    )


def _of_torch(path: Path) -> bool:
    """Whether this is the empty folder that PyTorch makes for each user when it is imported, once."""
    return path.name.startswith("torchinductor_") and path.is_dir()


def is_half(path: Path) -> bool:
    """Whether a file has one of the names that ours have until they are whole."""
    return path.name.endswith(".part") or path.name.startswith(".lumosx-")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # renamed while we look
        return 0


def slope(values: Sequence[float]) -> float:
    """How much a value grows from one sample to the next, by Theil and Sen; 0 for fewer than two samples."""
    steps = [(late - early) / (j - i) for (i, early), (j, late) in combinations(enumerate(values), 2)]
    return statistics.median(steps) if steps else 0.0


def second_half(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples through which the lines are laid."""
    return samples[len(samples) // 2 :]


def summary(samples: Sequence[Sample]) -> dict[str, object]:
    """The figures of a run, for the line of JSON."""
    later = second_half(samples)
    return {
        "rounds": len(samples),
        "after_warm_up": asdict(later[0]),
        "at_the_end": asdict(later[-1]),
        "memory_kb_from_five_to_fifty": growth_to_fifty(samples),
        "memory_kb_per_round": round(slope([one.memory_kb for one in later]), 2),
        "open_files_per_round": round(slope([one.open_files for one in later]), 3),
        "threads_per_round": round(slope([one.threads for one in later]), 3),
        "home_kb_per_round": round(slope([one.home_kb for one in later]), 3),
    }


def growth_to_fifty(samples: Sequence[Sample]) -> int | None:
    """Resident memory after fifty jobs less that after five, in kB; None where there were fewer."""
    return samples[FIFTY - 1].memory_kb - samples[FIVE - 1].memory_kb if len(samples) >= FIFTY else None


def complaints(samples: Sequence[Sample]) -> list[str]:
    """What grew beyond its bound, one sentence each; empty is good."""
    first, later = samples[: len(samples) // 2], second_half(samples)
    found: list[str] = []

    def check(name: str, of: Callable[[Sample], int], per_round: float, once: float | None) -> None:
        grows = slope([of(one) for one in later])
        if grows > per_round:
            found.append(f"{name} grows by {grows:.2f} a round; {per_round:.2f} is allowed")
        most, before = max(map(of, later)), max(map(of, first or later))
        if once is not None and most > before + once:
            found.append(f"{name} rose from {before} to {most}; {once:.0f} more is allowed")

    check("memory_kb", lambda one: one.memory_kb, MEMORY_KB_PER_ROUND + MEMORY_KB_ONCE / len(samples), None)
    check("open_files", lambda one: one.open_files, PER_ROUND, OPEN_FILES_ONCE)
    check("threads", lambda one: one.threads, PER_ROUND, THREADS_ONCE)
    check("home_kb", lambda one: one.home_kb, HOME_KB_PER_ROUND, None)
    if samples[-1].temporary:
        found.append(f"{samples[-1].temporary} temporary files are left")
    if samples[-1].half:
        found.append(f"{samples[-1].half} half-written files are left")
    return found
