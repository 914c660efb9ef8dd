"""How long a render will take: its operations counted, over the rate at which earlier renders here went through them.

Before the first render on a device nothing is known, and nothing is said. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, cast

from engine.errors import OutputError
from engine.files import write_atomically
from engine.memory.plan import Way, Work, tokens_of
from engine.memory.sizes import ModelSizes

GROUP = 3
"""Pictures of one subject, roughly: how many of them see one another."""
REMEMBERED = 5
"""Renders whose pace is kept, for each way of working."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What one device does in a second: floating-point operations of the network (a multiplication and an addition are
    two), and pixels developed and written, all frames counted."""

    operations_per_s: float
    pixels_per_s: float


def operations_of_step(sizes: ModelSizes, work: Work, words: int = 512) -> int:
    """Floating-point operations of one step with all its passes: matrix products only, which are nearly all of it."""
    picture = tokens_of(sizes, replace(work, num_frames=1, references=0, copies=1))
    references = picture * work.references
    video = picture * ((work.num_frames - 1) // sizes.temporal_scale + 1)
    groups = references * picture * min(work.references, GROUP)
    related = _operations_of_block(
        sizes, work.copies * video + references, work.copies * video * (video + references) + groups, words
    )
    together = video + references
    unrelated = work.copies * _operations_of_block(sizes, together, together**2, words)
    return int(sizes.blocks * ((work.passes - work.unrelated) * related + work.unrelated * unrelated))


def _operations_of_block(sizes: ModelSizes, tokens: int, seen: int, words: int) -> int:
    """`seen`: how many pairs of tokens attend to one another."""
    width = sizes.width
    # Queries, keys, values and their result; queries and result again for the words; in and out of the feed-forward.
    linear = 2 * tokens * width * (6 * width + 2 * sizes.ffn_width) + 2 * words * 2 * width * width
    return linear + 4 * width * (seen + tokens * words)


def seconds_of(sizes: ModelSizes, work: Work, pace: Pace) -> float:
    """Painting, developing and writing of a whole clip at this pace; loading and reading the prompt come before."""
    painting = work.steps * operations_of_step(sizes, work) / pace.operations_per_s
    return painting + work.width * work.height * work.num_frames / pace.pixels_per_s


class PaceBook:
    """What this machine's renders found out, kept in one small file; safe to lose or to find damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def known(self, engine: str, device: str, way: Way) -> Pace | None:
        """The pace of an engine on a kind of device (as torch names it), worked in this way; None before the first.

        It is the median of the last renders: one that shared the machine with other programs says little of the next.
        """
        paces = _paces(self._read().get(_name(engine, device, way)))
        if not paces:
            return None
        return Pace(
            operations_per_s=median(one.operations_per_s for one in paces),
            pixels_per_s=median(one.pixels_per_s for one in paces),
        )

    def note(self, engine: str, device: str, way: Way, pace: Pace) -> None:
        """Keep the newest pace; where the file cannot be written, the next forecast knows less, that is all."""
        book, name = self._read(), _name(engine, device, way)
        book[name] = [asdict(one) for one in (*_paces(book.get(name)), pace)[-REMEMBERED:]]
        with contextlib.suppress(OutputError):
            write_atomically(self._path, json.dumps(book, indent=1).encode())

    def _read(self) -> dict[str, Any]:
        try:
            data: object = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _paces(entry: object) -> tuple[Pace, ...]:
    """The paces under one name, oldest first; what cannot be one is left out."""
    found: list[Pace] = []
    for one in cast("list[object]", entry) if isinstance(entry, list) else []:
        with contextlib.suppress(TypeError):
            pace = Pace(**cast("dict[str, Any]", one))
            if pace.operations_per_s > 0 and pace.pixels_per_s > 0:
                found.append(pace)
    return tuple(found)


def _name(engine: str, device: str, way: Way) -> str:
    """What changes the pace: chunks and tiles hardly do, moving weights about does."""
    return f"{engine} on {device}, {way.network}{', eight bits' if way.eight_bit else ''}"
