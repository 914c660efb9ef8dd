"""What the pictures of a scene cost, in a sentence for the board: in seconds where this machine's pace is known."""

from __future__ import annotations

from typing import Any

from engine.errors import InputError, MachineError, UserError
from engine.memory.cost import reference_cost
from engine.memory.lent import Lent
from engine.memory.pace import PaceBook, seconds_of
from engine.memory.profiles import plan_for, sizes_of, work_of
from engine.paths import pace_file
from engine.request import RenderSettings
from studio.draft import settings_from
from studio.forecast import free_here
from studio.languages import say, say_count

Json = dict[str, Any]

_MOST_REFERENCES = 200


def cost_answer(message: Json, lent: Lent | None = None) -> Json:
    """Answer `{"do": "cost", "references": number, "settings": …}` with a sentence, "" where there is nothing to say.

    Settings that are not right yet are no fault here: whoever renders hears of them.
    """
    count, chosen = message.get("references"), message.get("settings")
    if type(count) is not int or not 0 <= count <= _MOST_REFERENCES or not isinstance(chosen, dict):
        raise InputError(say("old_page"))
    try:
        settings = settings_from(chosen)
        cost = reference_cost(settings, count)
        seconds = _seconds(settings, count, lent)
    except UserError:
        return {"text": ""}
    if count == 0:
        return {"text": ""}
    text = say_count(
        "cost",
        count,
        time=_percent(cost.time) if seconds is None else _time(seconds[0]),
        size=_size(cost.memory_bytes),
        more=_percent(cost.next_time) if seconds is None else _time(seconds[1]),
        more_size=_size(cost.next_memory_bytes),
    )
    return {"text": text}


def _seconds(settings: RenderSettings, count: int, lent: Lent | None) -> tuple[float, float] | None:
    """What `count` pictures and one more add on this machine; None before its first render, and for a clip that does
    not fit at all, of which the forecast beside the button speaks."""
    sizes = sizes_of(settings.engine)
    free, device = free_here(lent)
    try:
        way = plan_for(settings, count, free, sizes).way
    except MachineError:
        return None
    pace = PaceBook(pace_file()).known(settings.engine, device, way)
    if pace is None:
        return None
    none, now, more = (seconds_of(sizes, work_of(settings, number), pace) for number in (0, count, count + 1))
    return now - none, more - now


def _time(seconds: float) -> str:
    if seconds < 90:
        # below ten a tenth still tells one picture from another
        return say("cost_seconds", count=f"{max(0.1, seconds):.1f}" if seconds < 10 else round(seconds))
    return say("cost_minutes", count=round(seconds / 60))


def _percent(share: float) -> str:
    return f"{max(1, round(100 * share))} %"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 95_000_000 else f"{max(1, round(size / 1e6))} MB"
