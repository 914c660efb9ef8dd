"""Clips as the gallery shows them: plain JSON, light enough to send all of them at once."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from engine.engines import engine_info
from engine.scene import Scene, Subject
from studio import view
from studio.clip_shelf import ClipEntry
from studio.languages import say

Json = dict[str, Any]

_MAX_PROMPT_CHARS = 600
_MAX_WORDS_CHARS = 3000
_NO_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+')

_STEPS = {
    "trimmed": "step_trimmed",
    "speed changed": "step_speed",
    "there and back": "step_back",
    "looped": "step_looped",
    "joined": "step_joined",
}


def gallery_view(entry: ClipEntry) -> Json:
    """Return a clip for the list: title, poster, size, length and whatever a search looks through."""
    address, stamp = quote(entry.name), f"{entry.changed_ns:x}"
    title = title_of(entry)
    answer = view.clip_view(entry.name, entry.request, None) | {
        "title": title,
        "number": entry.number,
        "made": entry.changed_ns // 1_000_000,
        "poster": f"studio/poster/{address}?v={stamp}&frame={entry.note.poster}",
        "poster_frame": entry.note.poster,
        "strip": f"studio/strip/{address}?v={stamp}",
        "edited": [step_words(step) for step in entry.edited.steps] if entry.edited else [],
        "swap": None,
        "words": search_words(entry, title),
    }
    if entry.request is None:
        return answer
    scene = entry.request.scene
    if entry.edited is not None:
        measured = entry.edited
        answer |= {
            "width": measured.width, "height": measured.height, "fps": measured.fps, "num_frames": measured.num_frames
        }  # fmt: skip
    prompt = scene.prompt
    short = prompt if len(prompt) <= _MAX_PROMPT_CHARS else f"{prompt[:_MAX_PROMPT_CHARS]}…"
    return answer | {"prompt": short, "swap": swap_view(scene)}


def step_words(step: str) -> str:
    """Return what was done to a clip, as its recipe calls it, in words for the page."""
    return say(_STEPS[step]) if step in _STEPS else step


def title_of(entry: ClipEntry) -> str:
    """Return what a clip is called: by its user, else by its file's name."""
    return entry.note.title or view.clip_title(entry.name)


def search_words(entry: ClipEntry, title: str) -> str:
    """Return all words by which a clip is found, without upper case: names, prompt, who is in it, engine."""
    parts = [title, entry.name, *(step_words(step) for step in (entry.edited.steps if entry.edited else ()))]
    if entry.request is not None:
        scene, settings = entry.request.scene, entry.request.settings
        parts += [reference.label for reference in scene.references()]
        parts += [
            settings.engine,
            engine_info(settings.engine).title,
            say("clip_seed", seed=settings.seed),
            scene.prompt,
        ]
    return " ".join(" ".join(parts).lower().split())[:_MAX_WORDS_CHARS]


def download_name(entry: ClipEntry, path_name: str) -> str:
    """Return how a saved file is called: as it is, or by the title that the user gave."""
    words = " ".join(_NO_NAME.sub(" ", entry.note.title).split()).strip(". ")
    return f"{words}.{path_name.rsplit('.', 1)[1]}" if words else path_name


def dressed(scene: Scene) -> list[Subject]:
    """Return the people of a scene who wear anything."""
    return [subject for subject in scene.subjects if subject.attributes]


def swap_view(scene: Scene) -> Json | None:
    """Return what a dress swap of a scene would be: None where there are no two people with attributes.

    `pair` are the two things that are exchanged at one click, None where the user has to choose; `more` says that there
    are others to choose from.
    """
    people = dressed(scene)
    if len(people) < 2:
        return None
    several = len(people) > 2 or any(len(person.attributes) > 1 for person in people)
    pair = [person.attributes[0].label for person in people] if len(people) == 2 else None
    return {"pair": pair, "more": several}


def swap_choice(scene: Scene) -> list[Json]:
    """Return everything that people of a scene wear, by person, for the user to choose two things of."""
    numbers = {subject.id: number for number, subject in enumerate(scene.subjects, start=1)}
    return [
        {
            "title": say("subject", number=numbers[person.id]),
            "name": person.face.label if person.face else "",
            "tone": f"s{(numbers[person.id] - 1) % view.NUM_TONES + 1}",
            "things": [
                {"id": one.id, "label": one.label, "picture": view.picture_url(one)} for one in person.attributes
            ],
        }
        for person in dressed(scene)
    ]
