"""An edit of finished clips as one value: which part, how fast, how often, what follows. Pure arithmetic in frames.

Knows no files and no video library: `studio.clip_making` carries an edit out and asks here how long the result is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from engine.errors import InputError
from engine.recipe import MAX_EDITS, Edited, Recipe
from studio.languages import say

SPEED_RANGE = (0.1, 10.0)
TIMES_RANGE = (1, 50)
MAX_JOINED = 20
MAX_FRAMES = 3000
"""Longest clip that an edit makes: two minutes at 24 frames a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    """What a clip's file holds: width and height in px, whole frames per second, number of frames."""

    width: int
    height: int
    fps: int
    num_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEdit:
    """A new clip made of `clip`: its frames [start, end), `speed` times as fast, there and back if `back`, `times`
    times over, then the whole of each clip in `joined`.

    `end` is None for the clip's own end. Clips are named by their files. Raises `InputError` for numbers out of range.
    """

    clip: str
    start: int = 0
    end: int | None = None
    speed: float = 1.0
    back: bool = False
    times: int = 1
    joined: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise InputError(say("edit_ends_early"))
        low, high = SPEED_RANGE
        if not low <= self.speed <= high:
            raise InputError(say("edit_speed_range", speed=f"{self.speed:g}", low=f"{low:g}", high=f"{high:g}"))
        least, most = TIMES_RANGE
        if not least <= self.times <= most:
            raise InputError(say("edit_times_range", times=self.times, least=least, most=most))
        if len(self.joined) > MAX_JOINED:
            raise InputError(say("edit_joined_most", most=MAX_JOINED))

    @property
    def clips(self) -> tuple[str, ...]:
        """All clips that are needed, in the order in which they are shown."""
        return (self.clip, *self.joined)


def parse_edit(data: object) -> ClipEdit:
    """Return the edit that a page asks for; `InputError` for anything that is none."""
    if not isinstance(data, dict):
        raise InputError(say("old_page"))
    fields = cast("Mapping[str, Any]", data)
    start, end, times = fields.get("start", 0), fields.get("end"), fields.get("times", 1)
    speed, joined = fields.get("speed", 1), fields.get("joined", [])
    if type(start) is not int or type(times) is not int or (end is not None and type(end) is not int):
        raise InputError(say("edit_whole_numbers"))
    if type(speed) not in (int, float):
        raise InputError(say("edit_speed_number"))
    names = cast("list[object]", joined) if isinstance(joined, list) else [None]
    if not isinstance(fields.get("clip"), str) or not all(isinstance(name, str) for name in names):
        raise InputError(say("old_page"))
    return ClipEdit(
        clip=fields["clip"],
        start=start,
        end=end,
        speed=float(speed),
        back=fields.get("back") is True,
        times=times,
        joined=tuple(cast("list[str]", names)),
    )


def range_of(edit: ClipEdit, facts: ClipFacts) -> tuple[int, int]:
    """Return the frames [start, end) that are used of the first clip; `InputError` if it has fewer."""
    end = facts.num_frames if edit.end is None else edit.end
    if end > facts.num_frames or edit.start >= end:
        raise InputError(say("edit_frames_only", count=facts.num_frames))
    return edit.start, end


def once_frames(edit: ClipEdit, facts: ClipFacts) -> int:
    """Return how many frames the part takes in one direction, at the new speed; one at least."""
    start, end = range_of(edit, facts)
    return max(1, math.floor((end - start) / edit.speed + 0.5))


def turn_frames(edit: ClipEdit, facts: ClipFacts) -> int:
    """Return how many frames are shown before the clip begins again: on the way back neither end is shown twice."""
    once = once_frames(edit, facts)
    return once + max(0, once - 2) if edit.back else once


def joined_frames(facts: ClipFacts, fps: int) -> int:
    """Return how many frames a whole clip takes at `fps`."""
    return max(1, math.floor(facts.num_frames * fps / facts.fps + 0.5))


def num_frames(edit: ClipEdit, facts: Sequence[ClipFacts]) -> int:
    """Return how many frames the new clip has; `facts` are those of `edit.clips`, and the first one gives the rate.

    Raises:
        InputError: the part lies outside, the result is too long, or nothing would change.
    """
    first = facts[0]
    if not steps_of(edit, first):
        raise InputError(say("edit_nothing"))
    total = edit.times * turn_frames(edit, first) + sum(joined_frames(one, first.fps) for one in facts[1:])
    if total > MAX_FRAMES:
        raise InputError(say("edit_too_long", count=total, most=MAX_FRAMES))
    return total


def steps_of(edit: ClipEdit, facts: ClipFacts) -> tuple[str, ...]:
    """Return a word for each thing that the edit changes; none if it changes nothing."""
    changes = {
        "trimmed": range_of(edit, facts) != (0, facts.num_frames),
        "speed changed": edit.speed != 1.0,
        "there and back": edit.back,
        "looped": edit.times > 1,
        "joined": bool(edit.joined),
    }
    return tuple(word for word, changed in changes.items() if changed)


def edited_recipe(recipe: Recipe, edit: ClipEdit, facts: Sequence[ClipFacts]) -> Recipe:
    """Return the first clip's recipe as the new clip carries it: it says what was done since the render."""
    first = facts[0]
    steps = (*(recipe.edited.steps if recipe.edited else ()), *steps_of(edit, first))
    edited = Edited(
        steps=steps[-MAX_EDITS:],
        width=first.width,
        height=first.height,
        fps=first.fps,
        num_frames=num_frames(edit, facts),
    )
    return dataclasses.replace(recipe, edited=edited)
