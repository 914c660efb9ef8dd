"""What a render says while it works: typed, immutable, serialisable (`engine.codec`)."""

from __future__ import annotations

from dataclasses import dataclass

from engine.request import Clip

STAGES = {
    "load": "Loading the model",
    "prompt": "Reading the prompt",
    "references": "Looking at the pictures",
    "denoise": "Painting",
    "decode": "Developing the frames",
    "write": "Writing the clip",
}
"""What a creator is told of each stage of a render, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Step `step` of `num_steps` of a stage is done (0 of 0: a stage that has no steps has begun).

    `seconds_left` is the time to the end of the whole render in seconds, None while it cannot be told honestly.
    """

    stage: str
    step: int
    num_steps: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A look at the unfinished clip after step `step`: an animated WebP of `width` × `height` px."""

    step: int
    width: int
    height: int
    webp: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something the user should know of a render that goes on all the same: a sentence."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of a render that succeeded."""

    clip: Clip


Event = Progress | Preview | Notice | Finished
