"""Edits of the scene that is on the page. Pure functions on values; what comes from a browser is parsed and checked."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, cast

from engine.codec import from_json
from engine.engines import engine_info, resolve_settings
from engine.errors import InputError
from engine.request import STEP_CACHE_KINDS, LoraChoice, RenderSettings
from engine.scene import MAX_PROMPT_CHARS, Scene
from studio.languages import say
from studio.places import splice

MAX_PICTURES = 100
"""Of a scene on the page: ten times what models are trained on, and few enough for every answer to come quickly."""
_NEW_SEED_RANGE = 2**31
_FINER = ("guidance_scale", "relation_guidance", "binding_strength", "shift", "guided_share")


class FieldError(InputError):
    """A setting cannot be used; `field` names the control to point at."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        """Pickle both parts."""
        return type(self), (str(self), self.field)


def parse_scene(data: object) -> Scene:
    """Return the scene a page sent; `InputError` if it is none, or larger than any page can work on."""
    scene = from_json(Scene, data)
    if len(scene.references()) > MAX_PICTURES or len(scene.subjects) > MAX_PICTURES:
        raise InputError(say("scene_too_many", most=MAX_PICTURES))
    return scene


def edit_prompt(scene: Scene, prompt: str, caret: int | None = None) -> Scene:
    """Return the scene with new words; bindings before and behind the change keep theirs, those inside it are dropped.

    The change is what lies between the longest common beginning and end of the two prompts. `caret` is where the new
    words end, if known: among equal letters only it tells which of them are new. A reference that loses its last
    binding is bound again by its label. `web/words.js` follows the same rule, letter by letter.
    """
    if len(prompt) > MAX_PROMPT_CHARS:
        raise InputError(say("prompt_too_long", count=len(prompt), most=MAX_PROMPT_CHARS))
    start, end, text = changed(scene.prompt, prompt, caret)
    return splice(scene, start, end, text) if start != end or text else scene


def changed(old: str, new: str, caret: int | None = None) -> tuple[int, int, str]:
    """Return what turned one text into another: the characters [start, end) of the old one became `text`."""
    shorter = min(len(old), len(new))
    head = 0
    while head < shorter and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < shorter and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    if caret is None:
        tail = min(tail, shorter - head)
    else:  # what stands behind the caret is old, what stands right before it is new
        tail = min(tail, max(len(new) - caret, 0))
        head = min(head, shorter - tail)
    return head, len(old) - tail, new[head : len(new) - tail]


def settings_from(chosen: Mapping[str, Any]) -> RenderSettings:
    """Return the settings a page asks for; what it leaves open is the engine's default, an open seed is drawn anew.

    Raises:
        FieldError: one of them cannot be used, with the control it belongs to.
    """
    engine = chosen.get("engine")
    if not isinstance(engine, str):
        raise FieldError(say("engine_choose"), "engine")
    engine_info(engine)
    values: dict[str, Any] = {}
    for name, fault in (
        ("width", "whole_size"),
        ("height", "whole_size"),
        ("num_frames", "whole_length"),
        ("num_inference_steps", "whole_steps"),
    ):
        value = chosen.get(name)
        if type(value) is not int:
            raise FieldError(say(fault), name)
        try:
            resolve_settings(engine, **{name: value})
        except InputError as error:
            raise FieldError(str(error), name) from error
        values[name] = value
    values |= _draft(engine, chosen)
    for name in _FINER:
        try:
            values[name] = getattr(resolve_settings(engine, **{name: chosen.get(name)}), name)
        except InputError as error:
            raise FieldError(str(error), name) from error
    values["loras"] = _loras(engine, chosen.get("loras", []))
    values["seed"] = _seed(engine, chosen.get("seed"))
    try:
        return resolve_settings(engine, **values)
    except InputError as error:  # each is legal, together they are too much
        raise FieldError(str(error), "num_frames") from error


def _draft(engine: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a quicker draft, none where a page says nothing of it."""
    kind, share = chosen.get("step_cache_kind", STEP_CACHE_KINDS[0]), chosen.get("step_cache", 0)
    if kind not in STEP_CACHE_KINDS:
        raise FieldError(say("cache_unknown"), "step_cache_kind")
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise FieldError(say("cache_share_number"), "step_cache")
    try:
        settings = resolve_settings(engine, step_cache=share, step_cache_kind=kind)
    except InputError as error:
        raise FieldError(str(error), "step_cache") from error
    return {"step_cache": settings.step_cache, "step_cache_kind": settings.step_cache_kind}


def _loras(engine: str, chosen: object) -> tuple[LoraChoice, ...]:
    """Return the LoRAs that a page names, each with its strength; whether they are there is for whoever renders."""
    if not isinstance(chosen, list):
        raise FieldError(say("old_page"), "loras")
    listed = cast("list[Any]", chosen)
    if any(isinstance(one, dict) and cast("dict[str, Any]", one).get("strength", 1) is None for one in listed):
        raise FieldError(say("lora_no_strength"), "loras")
    try:
        return resolve_settings(engine, loras=listed).loras
    except InputError as error:
        raise FieldError(str(error), "loras") from error


def _seed(engine: str, text: object) -> int:
    if text is None:
        return secrets.randbelow(_NEW_SEED_RANGE)
    # as text, because a browser's numbers cannot hold every seed
    if not isinstance(text, str) or not text.strip().isascii() or not text.strip().isdigit():
        raise FieldError(say("seed_whole"), "seed")
    try:
        return resolve_settings(engine, seed=int(text)).seed
    except (InputError, ValueError) as error:
        raise FieldError(str(error) if isinstance(error, InputError) else say("seed_large"), "seed") from error
