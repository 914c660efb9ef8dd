"""Which words of the prompt mean which picture: finding them, binding them, letting them go.

Pure functions on scenes. Places are characters [start, end) of the raw prompt, counted as Python does.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from engine.errors import InputError
from engine.prompt_text import clean_prompt
from engine.scene import PromptSpan, Reference, Scene
from studio.languages import say

Place = tuple[int, int]

_CJK = "\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f"


def places(scene: Scene, reference: Reference) -> list[Place]:
    """Return the characters [start, end) of the raw prompt that name a reference, in order.

    Its own spans, or what the published rule proposes: whole words equal to its label after cleaning, case included.
    The engine's own search works on tokens; whatever it finds differently, it reports itself before the render.
    """
    own = scene.spans_of(reference.id)
    if own:
        return [(span.start, span.end) for span in own]
    return [] if reference.id in scene.unbound else proposed(scene.prompt, reference.label)


def proposed(prompt: str, label: str) -> list[Place]:
    """Return where a label stands in a prompt; where a script knows no blanks (Chinese), it may touch other letters."""
    wanted = clean_prompt(label).text
    if not wanted:
        return []
    cleaned = clean_prompt(prompt)
    found = re.finditer(rf"(?<![^\W{_CJK}]){re.escape(wanted)}(?![^\W{_CJK}])", cleaned.text)
    return [(cleaned.origin[hit.start()][0], cleaned.origin[hit.end() - 1][1]) for hit in found]


def overlaps(first: Place, second: Place) -> bool:
    """Whether two places share a character."""
    return first[0] < second[1] and second[0] < first[1]


def reference_of(scene: Scene, identifier: str) -> Reference:
    """Return a reference by its id; `InputError` if the scene has none."""
    known = next((one for one in scene.references() if one.id == identifier), None)
    if known is None:
        raise InputError(say("reference_gone"))
    return known


def with_places(scene: Scene, reference: Reference, wanted: Iterable[Place]) -> Scene:
    """Return the scene in which exactly these words mean a reference.

    What the label proposes anyway needs no spans; no words at all mean that it is bound to none on purpose.
    """
    chosen = sorted(set(wanted))
    others = tuple(span for span in scene.spans if span.target != reference.id)
    free = tuple(one for one in scene.unbound if one != reference.id)
    if not chosen:
        return dataclasses.replace(scene, spans=others, unbound=(*free, reference.id))
    if chosen == proposed(scene.prompt, reference.label):
        return dataclasses.replace(scene, spans=others, unbound=free)
    own = tuple(PromptSpan(start=start, end=end, target=reference.id) for start, end in chosen)
    return dataclasses.replace(scene, spans=(*others, *own), unbound=free)


def trimmed(prompt: str, start: int, end: int) -> Place | None:
    """Return the marked characters without the blanks at either side, None if nothing is left."""
    start, end = max(start, 0), min(max(end, 0), len(prompt))
    words = prompt[start:end]
    if not words.strip():
        return None
    first = start + len(words) - len(words.lstrip())
    return first, first + len(words.strip())


def bind_words(scene: Scene, identifier: str, start: int, end: int) -> Scene:
    """Return the scene in which the characters [start, end) mean one reference and no other.

    Words that meant it before still do, unless they overlap the new ones or mean somebody else as well.

    Raises:
        InputError: there is no such reference, or no word lies there.
    """
    reference = reference_of(scene, identifier)
    words = trimmed(scene.prompt, start, end)
    if words is None:
        raise InputError(say("prompt_mark_first_named", name=reference.label))
    owner = owner_of(scene, identifier)
    taken = [
        place for one in scene.references() if owner_of(scene, one.id) != owner for place in places(scene, one)
    ]  # fmt: skip
    kept = [
        place
        for place in places(scene, reference)
        if not overlaps(place, words) and not any(overlaps(place, other) for other in taken)
    ]
    for other in scene.references():
        if other.id != identifier:
            scene = unbind_words(scene, other.id, *words)
    return with_places(scene, reference, [*kept, words])


def unbind_words(scene: Scene, identifier: str, start: int, end: int) -> Scene:
    """Return the scene in which no word that touches [start, end) means the reference; other words of it stay."""
    reference = reference_of(scene, identifier)
    before = places(scene, reference)
    kept = [place for place in before if not overlaps(place, (start, end))]
    return scene if kept == before else with_places(scene, reference, kept)


def toggle_words(scene: Scene, owner: str, start: int, end: int) -> Scene | tuple[Reference, ...]:
    """Bind marked words to a subject, or let them go if they are bound to it; where its pictures compete, return them.

    `owner` is the id of a subject, or of an object or background. A larger marking than the bound words widens them.

    Raises:
        InputError: there is no such owner, or no word is marked.
    """
    own = references_of(scene, owner)
    words = trimmed(scene.prompt, start, end)
    if words is None:
        raise InputError(say("mark_some"))
    touching = [(one, place) for one in own for place in places(scene, one) if overlaps(place, words)]
    if any(place[0] <= words[0] and words[1] <= place[1] for _, place in touching):
        for one, _ in touching:
            scene = unbind_words(scene, one.id, *words)
        return scene
    spoken = scene.prompt[words[0] : words[1]].casefold()
    named = [one for one in own if one.label.strip() and one.label.strip().casefold() in spoken]
    for candidates in ([one for one, _ in touching], named, list(own)):
        if len({one.id for one in candidates}) == 1:
            return bind_words(scene, candidates[0].id, *words)
    return own


def owner_of(scene: Scene, identifier: str) -> str:
    """Return the id of the subject a reference belongs to; an object or background owns itself."""
    for subject in scene.subjects:
        if any(one.id == identifier for one in subject.references):
            return subject.id
    return identifier


def references_of(scene: Scene, owner: str) -> tuple[Reference, ...]:
    """Return the references of a subject, or the object or background itself, by the owner's id."""
    found = tuple(one for one in scene.references() if owner_of(scene, one.id) == owner)
    if not found:
        raise InputError(say("owner_gone"))
    return found


def splice(scene: Scene, start: int, end: int, text: str) -> Scene:
    """Return the scene with the characters [start, end) replaced; bindings before and behind keep their words.

    Bindings that reach into the replaced characters are dropped.
    """
    prompt = scene.prompt[:start] + text + scene.prompt[end:]
    shift = len(text) - (end - start)
    spans: list[PromptSpan] = []
    for span in scene.spans:
        if span.end <= start:
            spans.append(span)
        elif span.start >= end:
            spans.append(dataclasses.replace(span, start=span.start + shift, end=span.end + shift))
    return dataclasses.replace(scene, prompt=prompt, spans=tuple(spans))
