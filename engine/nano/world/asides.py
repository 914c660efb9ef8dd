"""What people write besides the people, clothes and things of a scene, so that a long sentence full of strange words
does not change who is to be seen: other adjectives and nouns, and sentences about the light, the mood and the hands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SOURCE = """
the this that these one two three first second third with without and or but near far behind before under  over next
to other both each old young small big tall short long happy sad smiling laughing talking sitting  looking holding
running playing hands face hair eyes beard glasses shirt trousers shoes scarf suit blouse  skirt uniform boy girl
child lady gentleman friend couple people group kitchen bedroom street garden house  office forest mountain river
sky sun rain snow evening morning camera video scene picture light dark bright  soft warm cold table sofa window
door car tree flower dog cat cup book phone bag wall floor he she they his  her their is are on at of from by while
for through into its it who
"""
EVERYDAY = tuple(_SOURCE.split())
"""Words that every prompt may hold and that nothing is drawn for."""

_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwyz", "aeiou"


def strange_word(rng: np.random.Generator) -> str:
    """A word that means nothing: two or three syllables."""
    syllables = int(rng.integers(2, 4))
    letters = [str(rng.choice(list(part))) for _ in range(syllables) for part in (_CONSONANTS, _VOWELS)]
    first = letters[int(rng.random() < 0.25) :]  # one word in four begins with a vowel
    return "".join(first)


def estranged(phrase: str, rng: np.random.Generator) -> str:
    """The phrase, now and then with a strange word before its noun or instead of it ("denim jacket", "kimono")."""
    chance = rng.random()
    if chance < 0.25:
        words = phrase.split()
        return " ".join([*words[:-1], strange_word(rng), words[-1]])
    if chance < 0.4:
        return " ".join([*phrase.split()[:-1], strange_word(rng)])
    return phrase


def filler(rng: np.random.Generator, count: int) -> str:
    """`count` words of which about half are strange."""
    return " ".join(strange_word(rng) if rng.random() < 0.5 else str(rng.choice(EVERYDAY)) for _ in range(count))


def aside(rng: np.random.Generator, nouns: Sequence[str]) -> str:
    """A sentence beside the matter, in which one of `nouns`, things already named, may be taken up again."""
    words = [filler(rng, int(rng.integers(2, 8)))]
    if nouns and rng.random() < 0.6:
        words.insert(int(rng.integers(2)), "the " + str(rng.choice(list(nouns))))
    if rng.random() < 0.4:
        words[-1] += ", " + filler(rng, int(rng.integers(2, 8)))
    sentence = " ".join(words)
    return sentence[0].upper() + sentence[1:] + "."
