"""Edits of the scene that is on the page. Pure functions on values; what comes from a browser is parsed and checked."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any

from engine.codec import from_json
from engine.engines import engine_info, resolve_settings
from engine.errors import InputError
from engine.pictures import PictureId
from engine.request import RenderSettings
from engine.scene import MAX_PROMPT_CHARS, PromptSpan, Reference, Scene

_NEW_SEED_RANGE = 2**31


class FieldError(InputError):
    """A setting cannot be used; `field` names the control to point at."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        """Pickle both parts."""
        return type(self), (str(self), self.field)


def parse_scene(data: object) -> Scene:
    """Return the scene a page sent; `InputError` if it is none."""
    return from_json(Scene, data)


def edit_prompt(scene: Scene, prompt: str) -> Scene:
    """Return the scene with new words; bindings before and behind the change keep theirs, those inside it are dropped.

    The change is what lies between the longest common beginning and end of the two prompts. A reference that loses its
    last binding is bound again by its label.
    """
    if len(prompt) > MAX_PROMPT_CHARS:
        raise InputError(f"The prompt has {len(prompt)} characters; shorten it to {MAX_PROMPT_CHARS} at most.")
    old = scene.prompt
    shorter = min(len(old), len(prompt))
    head = 0
    while head < shorter and old[head] == prompt[head]:
        head += 1
    tail = 0
    while tail < shorter - head and old[-1 - tail] == prompt[-1 - tail]:
        tail += 1
    shift = len(prompt) - len(old)
    spans: list[PromptSpan] = []
    for span in scene.spans:
        if span.end <= head:
            spans.append(span)
        elif span.start >= len(old) - tail:
            spans.append(dataclasses.replace(span, start=span.start + shift, end=span.end + shift))
    return dataclasses.replace(scene, prompt=prompt, spans=tuple(spans))


def mark_words(scene: Scene, reference: str, start: int, end: int) -> Scene:
    """Return the scene in which the characters [start, end) of the prompt mean a reference, too.

    Blanks at either side are left out.

    Raises:
        InputError: there is no such reference, or no word lies there.
    """
    known = next((one for one in scene.references() if one.id == reference), None)
    if known is None:
        raise InputError("This picture is no longer in the scene; choose the scene again.")
    marked = scene.prompt[max(start, 0) : max(end, 0)]
    if not marked.strip():
        raise InputError(f"Mark the words of the prompt that mean “{known.label}” first.")
    first = max(start, 0) + len(marked) - len(marked.lstrip())
    span = PromptSpan(start=first, end=first + len(marked.strip()), target=reference)
    spans = tuple(dict.fromkeys([*scene.spans, span]))
    return dataclasses.replace(scene, spans=spans, unbound=tuple(one for one in scene.unbound if one != reference))


def set_mask(scene: Scene, reference: str, mask: PictureId) -> Scene:
    """Return the scene in which a reference is cut out by `mask`; `InputError` if there is no such reference."""
    if all(one.id != reference for one in scene.references()):
        raise InputError("This picture is no longer in the scene; choose the scene again.")

    def cut(one: Reference) -> Reference:
        return dataclasses.replace(one, mask=mask) if one.id == reference else one

    subjects = tuple(
        dataclasses.replace(
            subject,
            face=None if subject.face is None else cut(subject.face),
            attributes=tuple(cut(one) for one in subject.attributes),
        )
        for subject in scene.subjects
    )
    background = None if scene.background is None else cut(scene.background)
    objects = tuple(cut(one) for one in scene.objects)
    return dataclasses.replace(scene, subjects=subjects, objects=objects, background=background)


def settings_from(chosen: Mapping[str, Any]) -> RenderSettings:
    """Return the settings a page asks for; what it leaves open is the engine's default, an open seed is drawn anew.

    Raises:
        FieldError: one of them cannot be used, with the control it belongs to.
    """
    engine = chosen.get("engine")
    if not isinstance(engine, str):
        raise FieldError("Choose an engine.", "engine")
    engine_info(engine)
    values: dict[str, Any] = {}
    for name, words in (
        ("width", "size"),
        ("height", "size"),
        ("num_frames", "length"),
        ("num_inference_steps", "number of steps"),
    ):
        value = chosen.get(name)
        if type(value) is not int:
            raise FieldError(f"The {words} has to be a whole number; give one.", name)
        try:
            resolve_settings(engine, **{name: value})
        except InputError as error:
            raise FieldError(str(error), name) from error
        values[name] = value
    values["seed"] = _seed(engine, chosen.get("seed"))
    try:
        return resolve_settings(engine, **values)
    except InputError as error:  # each is legal, together they are too much
        raise FieldError(str(error), "num_frames") from error


def _seed(engine: str, text: object) -> int:
    if text is None:
        return secrets.randbelow(_NEW_SEED_RANGE)
    # as text, because a browser's numbers cannot hold every seed
    if not isinstance(text, str) or not text.strip().isascii() or not text.strip().isdigit():
        raise FieldError("The seed has to be a whole number from 0 on; give another one.", "seed")
    try:
        return resolve_settings(engine, seed=int(text)).seed
    except (InputError, ValueError) as error:
        raise FieldError(
            str(error) if isinstance(error, InputError) else "The seed is too large; give a smaller one.", "seed"
        ) from error
