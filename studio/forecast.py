"""What a render would take, told beside the button before it is pressed. Looks at memory without loading torch.

Where a card is lent for some seconds at a time, also what fits into them.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import psutil

from engine.engines import draft_of
from engine.errors import InputError, MachineError
from engine.memory.forecast import forecast, time_in_words
from engine.memory.lent import DEVICE, Lent, draft_that_fits, seconds_to_ask
from engine.memory.machine import cards_without_torch, free_ram
from engine.memory.pace import PaceBook
from engine.memory.plan import Budget, gb
from engine.paths import pace_file
from engine.request import RenderRequest, RenderSettings
from studio import view
from studio.draft import settings_from
from studio.languages import heard, say

Json = dict[str, Any]

_MOST_PICTURES = 1000
_USUAL_PICTURES = 4
"""What settings are chosen for before anybody has put a picture on the page."""


def free_here(lent: Lent | None = None) -> tuple[Budget, str]:
    """The memory that is free, and the kind of device a render would run on, as torch names it."""
    # What this process has already, a loaded model above all, serves the next render.
    ram = free_ram() + psutil.Process().memory_info().rss
    if lent is not None:
        return Budget(ram_bytes=ram, card_bytes=lent.card_bytes), DEVICE
    cards = cards_without_torch()
    if cards:
        return Budget(ram_bytes=ram, card_bytes=max(card.free_bytes for card in cards)), "cuda"
    return Budget(ram_bytes=ram), "mps" if sys.platform == "darwin" else "cpu"


def card_seconds(request: RenderRequest, lent: Lent) -> int:
    """How long a lent card is to be asked for; raises `MachineError` with what fits if that is too long for a call."""
    free, _ = free_here(lent)
    return seconds_to_ask(
        request.settings, len(request.scene.references()), lent, free.ram_bytes, PaceBook(pace_file())
    )


def usual_settings(settings: RenderSettings, lent: Lent | None) -> RenderSettings:
    """What the page begins with: the engine's own settings, or the draft of them that fits into a call."""
    if lent is None:
        return settings
    free, _ = free_here(lent)
    return draft_that_fits(settings, _USUAL_PICTURES, lent, free.ram_bytes, PaceBook(pace_file())) or settings


def answer_forecast(message: Json, lent: Lent | None = None) -> Json:
    """`{"settings", "references": number of pictures}` → `{"text", "details": sentences, "fits"}`, for a clip that is
    too long for the card that is lent also `draft`, settings of one that is not.

    Raises `InputError`s for settings that cannot be used.
    """
    chosen, references = message.get("settings"), message.get("references")
    if not isinstance(chosen, dict) or type(references) is not int or not 0 <= references <= _MOST_PICTURES:
        raise InputError(say("no_settings"))
    settings = settings_from(cast(Json, chosen))
    free, device = free_here(lent)
    book = PaceBook(pace_file())
    try:
        asked = 0 if lent is None else seconds_to_ask(settings, references, lent, free.ram_bytes, book)
        told = forecast(settings, references, free, device, book)
    except MachineError as error:
        draft = None if lent is None else draft_that_fits(settings, references, lent, free.ram_bytes, book)
        answer: Json = {"text": heard(str(error)), "details": [], "fits": False}
        return answer if draft is None else answer | {"draft": view.settings_view(draft)}
    time, card = heard(time_in_words(told.seconds)), told.plan.card_bytes
    key = "forecast_card" if card else "forecast"
    text = say(key, time=time, memory=gb(told.plan.ram_bytes), card=gb(card))
    if lent is not None:
        text = say("forecast_lent", seconds=asked, most=lent.seconds)
    draft = say("list_comma").join(heard(part) for part in draft_of(settings))
    return {
        "text": say("forecast_draft", forecast=text, what=draft) if draft else text,
        "details": [heard(text) for text in told.words()[1:]],
        "fits": True,
    }
