"""Small scenes without pictures for tests of pure edits."""

from __future__ import annotations

from engine.scene import Reference, Role, Scene, Subject
from studio.places import places


def pair(prompt: str, **labels: str) -> Scene:
    """Return two subjects with one attribute each, a lamp and a room; ids: man, coat, woman, dress, lamp, room."""
    names = {"man": "man", "coat": "red coat", "woman": "woman", "dress": "green dress", "lamp": "lamp", "room": "room"}
    names |= labels
    roles = {"man": Role.face, "woman": Role.face, "lamp": Role.object, "room": Role.background}

    def one(identifier: str) -> Reference:
        role = roles.get(identifier, Role.attribute)
        return Reference(id=identifier, role=role, label=names[identifier], image=f"{ord(identifier[0]):064x}")

    return Scene(
        prompt=prompt,
        subjects=(
            Subject(id="one", face=one("man"), attributes=(one("coat"),)),
            Subject(id="two", face=one("woman"), attributes=(one("dress"),)),
        ),
        objects=(one("lamp"),),
        background=one("room"),
    )


def reference(scene: Scene, identifier: str) -> Reference:
    """Return a reference of the scene."""
    return next(one for one in scene.references() if one.id == identifier)


def words_of(scene: Scene, identifier: str) -> list[str]:
    """Return the words of the prompt that mean a reference."""
    return [scene.prompt[start:end] for start, end in places(scene, reference(scene, identifier))]


def at(scene: Scene, words: str) -> tuple[int, int]:
    """Return where words stand first in the prompt."""
    start = scene.prompt.index(words)
    return start, start + len(words)
