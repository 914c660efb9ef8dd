"""Words for a drawn scene, and which of them name which reference.

The nouns are alike on purpose ("a man … another man", "a jacket … a jacket") and the order of the sentence is dealt out
afresh, so that often only the structure of the scene tells whose garment is whose. Half of the prompts are wordy, as
people's and captioning models' are: strange words in the phrases, asides, and clothes told after the people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.nano.world.asides import aside, estranged, filler
from engine.nano.world.figures import Motion
from engine.nano.world.parts import PLACES, Garment, Hat, Person
from engine.nano.world.scene import WIDTH, WorldScene

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class WorldPrompt:
    """`text` and, for every reference in model order, the span of characters that names it."""

    text: str
    spans: tuple[Span, ...]


class _Sentence:
    """Text under construction that remembers where the named phrases went."""

    def __init__(self, rng: np.random.Generator, wordy: bool = False) -> None:
        self.text = ""
        self.spans: dict[tuple[str, int], Span] = {}
        self.rng, self.wordy = rng, wordy

    def say(self, words: str) -> None:
        self.text += words

    def name(self, key: tuple[str, int], phrase: str, article: str = "a ") -> None:
        if self.wordy:
            phrase = estranged(phrase, self.rng)
        self.text += "an " if article == "a " and phrase[0] in "aeiou" else article
        self.spans[key] = (len(self.text), len(self.text) + len(phrase))
        self.text += phrase

    def ramble(self) -> None:
        """Now and then words that name nothing, between two commas."""
        if self.wordy and self.rng.random() < 0.3:
            self.text += ", " + filler(self.rng, int(self.rng.integers(1, 5)))

    def stop(self) -> None:
        """End the sentence; now and then asides follow, about what has been named."""
        self.text += "."
        while self.wordy and self.rng.random() < 0.45:
            self.text += " " + aside(self.rng, [self.text[slice(*span)] for span in self.spans.values()])

    def begin(self, words: str) -> None:
        """Begin a further sentence."""
        self.text += " " + words


def write_prompt(scene: WorldScene, rng: np.random.Generator, *, wordy: bool = False) -> WorldPrompt:
    """One of many prompts for the scene."""
    sentence = _Sentence(rng, wordy)
    if wordy and rng.random() < 0.25:
        sentence.say(aside(rng, ()) + " ")
    start = len(sentence.text)
    order = [int(i) for i in rng.permutation(len(scene.members))]
    if wordy and rng.random() < 0.5:
        _people_first(sentence, scene, order, rng)
    else:
        _all_in_one(sentence, scene, order, rng)
    text = sentence.text[:start] + sentence.text[start].upper() + sentence.text[start + 1 :]
    return WorldPrompt(text, tuple(sentence.spans[key] for key in _reference_keys(scene)))


def _all_in_one(sentence: _Sentence, scene: WorldScene, order: list[int], rng: np.random.Generator) -> None:
    """One sentence with everybody and everything."""
    tells_places = bool(rng.random() < 0.4)
    tells_motion = bool(rng.random() < 0.6)
    for number, index in enumerate(order):
        if number:
            sentence.say(" and " if number == len(order) - 1 else ", ")
        _write_member(sentence, scene, index, rng, tells_places, tells_motion)
        sentence.ramble()
    if not tells_motion and rng.random() < 0.5:
        sentence.say(" stand together" if len(order) > 1 else " is here")
    _write_place(sentence, scene, rng)
    if scene.thing is not None:
        sentence.say(str(rng.choice([", with ", ", beside ", " and there is "])))
        _write_thing(sentence, scene, rng)
    sentence.stop()


def _people_first(sentence: _Sentence, scene: WorldScene, order: list[int], rng: np.random.Generator) -> None:
    """Who is where, then what each of them wears in a sentence of its own, then the object, as captions put it."""
    for number, index in enumerate(order):
        if number:
            sentence.say(" and " if number == len(order) - 1 else ", ")
        sentence.name(("face", index), person_phrase(scene.members[index].look.person, rng))
    sentence.say(" " + filler(rng, int(rng.integers(1, 4))))
    _write_place(sentence, scene, rng)
    sentence.stop()
    for index in order:
        member = scene.members[index]
        sentence.begin(f"The {sentence.text[slice(*sentence.spans['face', index])]},")
        _write_clothes(sentence, scene, index, rng, always=True)
        sentence.say(", " + filler(rng, int(rng.integers(1, 6))))
        if rng.random() < 0.5:
            sentence.say(motion_words(member.motion))
        sentence.stop()
    if scene.thing is not None:
        sentence.begin("There is ")
        _write_thing(sentence, scene, rng)
        sentence.ramble()
        sentence.stop()


def _write_place(sentence: _Sentence, scene: WorldScene, rng: np.random.Generator) -> None:
    sentence.say(str(rng.choice([" in ", " in front of "])))
    kind = scene.place.kind if scene.place.kind in PLACES else PLACES[int(rng.integers(len(PLACES)))]
    sentence.name(("place", 0), kind if rng.random() < 0.75 else "place")


def _write_thing(sentence: _Sentence, scene: WorldScene, rng: np.random.Generator) -> None:
    assert scene.thing is not None
    words = [scene.thing.colour_name] if rng.random() < 0.5 else []
    sentence.name(("thing", 0), " ".join([*words, scene.thing.kind]))


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
    _write_clothes(sentence, scene, index, rng)
    if tells_motion:
        sentence.say(motion_words(member.motion))


def _write_clothes(
    sentence: _Sentence, scene: WorldScene, index: int, rng: np.random.Generator, always: bool = False
) -> None:
    member = scene.members[index]
    if always or member.shows_garment or rng.random() < 0.7:
        sentence.say(str(rng.choice([" in ", " wearing ", " dressed in "])))
        sentence.name(("garment", index), garment_phrase(member.look.garment, rng))
        joiner = " and "
    else:
        joiner = " with "
    if member.look.hat is not None:
        sentence.say(joiner)
        sentence.name(("hat", index), hat_phrase(member.look.hat, rng))


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
