"""A card that is lent for one call at a time: the seconds to ask for, and the draft of a clip that fits into a call.

Arithmetic on the forecast; loads no torch. Until a render has shown the card's pace, a careful guess stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from engine.engines import engine_info
from engine.errors import InputError, MachineError
from engine.memory.pace import Pace, PaceBook, operations_of_step
from engine.memory.plan import Budget
from engine.memory.profiles import plan_for, sizes_of, work_of
from engine.memory.sizes import ModelSizes
from engine.request import RenderSettings, nearest_frames, nearest_size

DEVICE = "cuda"

_MARGIN = 1.25
"""Times what a render is expected to take: a call that ends too early loses its last step."""
_START_S, _BYTES_PER_S = 8.0, 5e8
"""Of a process that has the card for the first time: its libraries, then the weights from the disk. Assumed."""
_GUESS = Pace(operations_per_s=1e14, pixels_per_s=3e6)
"""A quarter of what the smallest card that is lent could multiply. Assumed, until the first render."""
_STEP_S = 0.1
"""A small model's step takes at least so long, however few operations it has. Assumed."""
_FEWEST = 0.4
"""Of an engine's usual steps: with fewer a draft shows too little."""
_SIDES, _LENGTHS = (1.0, 0.75, 0.5), (1, 2, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A card for `seconds` at a time at most, with so much memory."""

    seconds: int
    card_bytes: int


def seconds_to_ask(settings: RenderSettings, references: int, lent: Lent, ram_bytes: int, book: PaceBook) -> int:
    """How long the card has to be asked for, whatever is still to be loaded included.

    Raises `MachineError` with the draft that fits if it is longer than a call may last, or if the memory is too small.
    """
    needed = _needed(settings, references, lent, ram_bytes, book, sizes_of(settings.engine))
    if needed <= lent.seconds:
        return math.ceil(needed)
    draft = draft_that_fits(settings, references, lent, ram_bytes, book)
    if draft is None:
        raise MachineError(
            f"This clip would need the card for about {math.ceil(needed)} s, and it is lent for {lent.seconds} s at "
            "most: choose another model."
        )
    raise MachineError(
        f"This clip would need the card for about {math.ceil(needed)} s, and it is lent for {lent.seconds} s at most: "
        f"a draft of {draft.width}x{draft.height} with {draft.num_frames} frames and {draft.num_inference_steps} steps "
        "fits."
    )


def draft_that_fits(
    settings: RenderSettings, references: int, lent: Lent, ram_bytes: int, book: PaceBook
) -> RenderSettings | None:
    """The settings themselves where they fit into a call, else the largest draft of them that does: fewer steps, then
    a shorter or a smaller clip. None if nothing fits."""
    sizes = sizes_of(settings.engine)
    most = settings.num_inference_steps
    usual = engine_info(settings.engine).defaults.num_inference_steps
    fewest = min(most, math.ceil(usual * _FEWEST))
    for smaller in _smaller(settings):
        try:
            least = _needed(replace(smaller, num_inference_steps=fewest), references, lent, ram_bytes, book, sizes)
            whole = _needed(smaller, references, lent, ram_bytes, book, sizes)
        except MachineError:  # too large for the memory as well
            continue
        if whole <= lent.seconds:
            return smaller
        if least <= lent.seconds:
            # What a render takes grows evenly with its steps.
            more = (lent.seconds - least) / (whole - least) * (most - fewest)
            return replace(smaller, num_inference_steps=fewest + int(more))
    return None


def _smaller(settings: RenderSettings) -> Iterator[RenderSettings]:
    """The same clip in all legal sizes and lengths worth trying, the largest first."""
    shapes = {
        (
            nearest_size(round(settings.width * side)),
            nearest_size(round(settings.height * side)),
            min(settings.num_frames, nearest_frames(settings.num_frames // part)),
        )
        for side, part in product(_SIDES, _LENGTHS)
    }
    for width, height, num_frames in sorted(shapes, key=math.prod, reverse=True):
        try:
            yield replace(settings, width=width, height=height, num_frames=num_frames)
        except InputError:  # rounding up took it over a limit
            continue


def _needed(
    settings: RenderSettings, references: int, lent: Lent, ram_bytes: int, book: PaceBook, sizes: ModelSizes
) -> float:
    plan = plan_for(settings, references, Budget(ram_bytes=ram_bytes, card_bytes=lent.card_bytes), sizes)
    work = work_of(settings, references)
    pace = book.known(settings.engine, DEVICE, plan.way)
    step_s = operations_of_step(sizes, work) / (pace or _GUESS).operations_per_s
    steps_s = work.steps * (max(step_s, _STEP_S) if pace is None else step_s)
    frames_s = work.width * work.height * work.num_frames / (pace or _GUESS).pixels_per_s
    loading_s = _START_S + (sizes.text_encoder_bytes + sizes.network_bytes + sizes.vae_bytes) / _BYTES_PER_S
    return loading_s + _MARGIN * (steps_s + frames_s)
