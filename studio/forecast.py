"""What a render would take, told beside the button before it is pressed. Looks at memory without loading torch."""

from __future__ import annotations

import sys
from typing import Any, cast

import psutil

from engine.errors import InputError, MachineError
from engine.memory.forecast import forecast, time_in_words
from engine.memory.machine import cards_without_torch, free_ram
from engine.memory.pace import PaceBook
from engine.memory.plan import Budget, gb
from engine.paths import pace_file
from studio.draft import settings_from
from studio.languages import heard, say

Json = dict[str, Any]

_MOST_PICTURES = 1000


def free_here() -> tuple[Budget, str]:
    """The memory that is free, and the kind of device a render would run on, as torch names it."""
    # What this process has already, a loaded model above all, serves the next render.
    ram = free_ram() + psutil.Process().memory_info().rss
    cards = cards_without_torch()
    if cards:
        return Budget(ram_bytes=ram, card_bytes=max(card.free_bytes for card in cards)), "cuda"
    return Budget(ram_bytes=ram), "mps" if sys.platform == "darwin" else "cpu"


def answer_forecast(message: Json) -> Json:
    """`{"settings", "references": number of pictures}` → `{"text", "details": sentences, "fits"}`.

    Raises `InputError`s for settings that cannot be used.
    """
    chosen, references = message.get("settings"), message.get("references")
    if not isinstance(chosen, dict) or type(references) is not int or not 0 <= references <= _MOST_PICTURES:
        raise InputError(say("no_settings"))
    settings = settings_from(cast(Json, chosen))
    free, device = free_here()
    try:
        told = forecast(settings, references, free, device, PaceBook(pace_file()))
    except MachineError as error:
        return {"text": heard(str(error)), "details": [], "fits": False}
    time, card = heard(time_in_words(told.seconds)), told.plan.card_bytes
    key = "forecast_card" if card else "forecast"
    return {
        "text": say(key, time=time, memory=gb(told.plan.ram_bytes), card=gb(card)),
        "details": [heard(text) for text in told.words()[1:]],
        "fits": True,
    }
