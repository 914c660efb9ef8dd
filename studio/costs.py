"""What the pictures of a scene cost, in a sentence for the board."""

from __future__ import annotations

from typing import Any

from engine.errors import InputError, UserError
from engine.memory.cost import reference_cost
from studio.draft import settings_from
from studio.languages import say, say_count

Json = dict[str, Any]

_MOST_REFERENCES = 200


def cost_answer(message: Json) -> Json:
    """Answer `{"do": "cost", "references": number, "settings": …}` with a sentence, "" where there is nothing to say.

    Settings that are not right yet are no fault here: whoever renders hears of them.
    """
    count, chosen = message.get("references"), message.get("settings")
    if type(count) is not int or not 0 <= count <= _MOST_REFERENCES or not isinstance(chosen, dict):
        raise InputError(say("old_page"))
    try:
        cost = reference_cost(settings_from(chosen), count)
    except UserError:
        return {"text": ""}
    if count == 0:
        return {"text": ""}
    text = say_count(
        "cost",
        count,
        percent=_percent(cost.time),
        size=_size(cost.memory_bytes),
        more=_percent(cost.next_time),
        more_size=_size(cost.next_memory_bytes),
    )
    return {"text": text}


def _percent(share: float) -> str:
    return f"{max(1, round(100 * share))} %"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 95_000_000 else f"{max(1, round(size / 1e6))} MB"
