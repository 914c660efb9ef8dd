"""Words for a drawn scene, and which of them name which reference.

The nouns are alike on purpose ("a man … another man", "a jacket … a jacket") and the order of the sentence is dealt out
afresh, so that often only the structure of the scene tells whose garment is whose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.nano.world.figures import Motion
from engine.nano.world.parts import Garment, Hat, Person
from engine.nano.world.scene import WIDTH, WorldScene

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class WorldPrompt:
    """`text` and, for every reference in model order, the span of characters that names it."""

    text: str
    spans: tuple[Span, ...]


class _Sentence:
    """Text under construction that remembers where the named phrases went."""

    def __init__(self) -> None:
        self.text = ""
        self.spans: dict[tuple[str, int], Span] = {}

    def say(self, words: str) -> None:
        self.text += words

    def name(self, key: tuple[str, int], phrase: str, article: bool = True) -> None:
        if article:
            self.text += "an " if phrase[0] in "aeiou" else "a "
        self.spans[key] = (len(self.text), len(self.text) + len(phrase))
        self.text += phrase


def write_prompt(scene: WorldScene, rng: np.random.Generator) -> WorldPrompt:
    """One of many prompts for the scene."""
    sentence = _Sentence()
    tells_places = bool(rng.random() < 0.4)
    tells_motion = bool(rng.random() < 0.6)
    order = [int(i) for i in rng.permutation(len(scene.members))]
    for number, index in enumerate(order):
        if number:
            sentence.say(" and " if number == len(order) - 1 else ", ")
        _write_member(sentence, scene, index, rng, tells_places, tells_motion)
    if not tells_motion and rng.random() < 0.5:
        sentence.say(" stand together" if len(order) > 1 else " is here")
    sentence.say(str(rng.choice([" in ", " in front of "])))
    place = scene.place.kind if rng.random() < 0.75 else "place"
    sentence.name(("place", 0), place)
    if scene.thing is not None:
        sentence.say(str(rng.choice([", with ", ", beside ", " and there is "])))
        words = [scene.thing.colour_name] if rng.random() < 0.5 else []
        sentence.name(("thing", 0), " ".join([*words, scene.thing.kind]))
    text = sentence.text[0].upper() + sentence.text[1:] + "."
    return WorldPrompt(text, tuple(sentence.spans[key] for key in _reference_keys(scene)))


def _reference_keys(scene: WorldScene) -> list[tuple[str, int]]:
    keys: list[tuple[str, int]] = []
    if scene.shows_place:
        keys.append(("place", 0))
    if scene.thing is not None:
        keys.append(("thing", 0))
    for index, member in enumerate(scene.members):
        keys.append(("face", index))
        if member.shows_garment:
            keys.append(("garment", index))
        if member.shows_hat:
            keys.append(("hat", index))
    return keys


def _write_member(
    sentence: _Sentence,
    scene: WorldScene,
    index: int,
    rng: np.random.Generator,
    tells_places: bool,
    tells_motion: bool,
) -> None:
    member = scene.members[index]
    sentence.name(("face", index), person_phrase(member.look.person, rng))
    if tells_places and len(scene.members) > 1:
        sentence.say(f" on the {_side(scene, index)}")
    if member.shows_garment or rng.random() < 0.7:
        sentence.say(str(rng.choice([" in ", " wearing ", " dressed in "])))
        sentence.name(("garment", index), garment_phrase(member.look.garment, rng))
        joiner = " and "
    else:
        joiner = " with "
    if member.look.hat is not None:
        sentence.say(joiner)
        sentence.name(("hat", index), hat_phrase(member.look.hat, rng))
    if tells_motion:
        sentence.say(motion_words(member.motion))


def person_phrase(person: Person, rng: np.random.Generator) -> str:
    """Words for a face: often only the noun, sometimes its hair, beard or glasses."""
    noun = person.kind if rng.random() < 0.85 else "person"
    choice = rng.random()
    if choice < 0.5:
        return noun
    if choice < 0.6:
        return f"{rng.choice(['young', 'friendly', 'tall', 'happy'])} {noun}"
    if person.beard == "full" and choice < 0.75:
        return f"bearded {noun}"
    if person.glasses != "none" and choice < 0.8:
        return f"{noun} with glasses"
    if person.hair_style == "bald":
        return f"bald {noun}"
    return f"{noun} with {person.hair_name} hair"


def garment_phrase(garment: Garment, rng: np.random.Generator) -> str:
    """Words for a garment: its name or something vaguer, with or without colour and pattern."""
    noun = garment.shape if rng.random() < 0.8 else str(rng.choice(["outfit", "top", "garment"]))
    words: list[str] = []
    if rng.random() < 0.4:
        words.append(garment.colour_name)
    if garment.pattern != "plain" and rng.random() < 0.4:
        words.append(garment.pattern)
    return " ".join([*words, noun])


def hat_phrase(hat: Hat, rng: np.random.Generator) -> str:
    """Words for a hat."""
    noun = hat.shape if rng.random() < 0.6 else "hat"
    return f"{hat.colour_name} {noun}" if rng.random() < 0.4 else noun


def motion_words(motion: Motion) -> str:
    """What a figure is doing, as the end of its clause."""
    return {
        "idle": " standing still",
        "wave": " waving",
        "walk": " walking",
        "bounce": " jumping",
        "sway": " dancing",
        "turn": " turning",
    }[motion.kind]


def _side(scene: WorldScene, index: int) -> str:
    x = scene.members[index].motion.x
    if len(scene.members) == 3 and abs(x - WIDTH / 2) < 18:
        return "middle"
    return "left" if x < WIDTH / 2 else "right"
