"""Whether the small decoder of the live picture has room beside what a plan counts. Loads no torch.

It is on the device while a clip is painted and works between two steps, when what passes through the network is gone.
No way to work is ever chosen for its sake.
"""

from __future__ import annotations

import dataclasses

from engine.memory.plan import Budget, Way, network_pass_bytes, predict
from engine.memory.profiles import budget_of, sizes_of, work_of
from engine.request import RenderSettings

WEIGHTS = 9_844_611
"""Values of the decoder's weights."""
_PASSING_VALUES = 500
"""For each pixel of a frame, at the decoder's peak; measured on a CPU."""


def room_for_decoder(settings: RenderSettings, references: int, free: Budget, way: Way, *, copies: int = 1) -> bool:
    """Whether a render that works in this way leaves room for the decoder in the memory `free`."""
    sizes, work = sizes_of(settings.engine), work_of(settings, references, copies)
    budget = budget_of(settings.profile, free)
    card = budget.card_bytes is not None
    painting = next(peak for peak in predict(sizes, work, way, card=card).peaks if peak.stage == "denoise")
    # What a step cache remembers stays from step to step.
    gone = network_pass_bytes(sizes, dataclasses.replace(work, kept_streams=0), way.chunk_tokens)
    value_bytes = 2 if card else 4
    passing = work.width * work.height * _PASSING_VALUES * value_bytes
    more = WEIGHTS * value_bytes + max(0, passing - gone)
    if budget.card_bytes is None:
        return painting.ram_bytes + more <= budget.ram_bytes
    # On their way to the card the weights are in memory.
    return painting.card_bytes + more <= budget.card_bytes and painting.ram_bytes + 4 * WEIGHTS <= budget.ram_bytes
