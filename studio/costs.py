"""What the pictures of a scene cost, in a sentence for the board."""

from __future__ import annotations

from typing import Any

from engine.errors import InputError, UserError
from engine.memory.cost import reference_cost
from studio.draft import settings_from

Json = dict[str, Any]

_MOST_REFERENCES = 200


def cost_answer(message: Json) -> Json:
    """Answer `{"do": "cost", "references": number, "settings": …}` with a sentence, "" where there is nothing to say.

    Settings that are not right yet are no fault here: whoever renders hears of them.
    """
    count, chosen = message.get("references"), message.get("settings")
    if type(count) is not int or not 0 <= count <= _MOST_REFERENCES or not isinstance(chosen, dict):
        raise InputError("The page sent an incomplete message; reload it.")
    try:
        cost = reference_cost(settings_from(chosen), count)
    except UserError:
        return {"text": ""}
    if count == 0:
        return {"text": ""}
    more = f"one more adds about {_percent(cost.next_time)} and {_size(cost.next_memory_bytes)}"
    if count == 1:
        return {
            "text": f"The picture makes a render about {_percent(cost.time)} longer and takes "
            f"{_size(cost.memory_bytes)} of memory; {more}."
        }
    return {
        "text": f"{count} pictures make a render about {_percent(cost.time)} longer and take "
        f"{_size(cost.memory_bytes)} of memory; {more}."
    }


def _percent(share: float) -> str:
    return f"{max(1, round(100 * share))} %"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 95_000_000 else f"{max(1, round(size / 1e6))} MB"
