"""What the world is made of: people, garments, hats, things and places, each drawn from a random generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (205, 45, 45),
    "orange": (238, 132, 38),
    "yellow": (242, 205, 58),
    "green": (58, 148, 72),
    "lime": (150, 205, 70),
    "teal": (38, 150, 150),
    "cyan": (92, 200, 228),
    "blue": (48, 92, 190),
    "navy": (32, 40, 98),
    "purple": (125, 62, 160),
    "pink": (240, 140, 180),
    "magenta": (205, 50, 135),
    "brown": (128, 82, 48),
    "beige": (214, 190, 150),
    "grey": (140, 142, 148),
    "black": (38, 38, 42),
    "white": (244, 244, 240),
}
HAIR_COLOURS: dict[str, Colour] = {
    "black": (32, 28, 30),
    "brown": (98, 60, 34),
    "blond": (228, 192, 98),
    "red": (190, 72, 28),
    "grey": (150, 150, 156),
    "white": (236, 236, 238),
    "blue": (58, 88, 196),
    "pink": (232, 110, 170),
    "green": (70, 150, 80),
}
SKINS: tuple[Colour, ...] = (
    (255, 224, 196),
    (246, 205, 170),
    (232, 184, 144),
    (214, 160, 118),
    (184, 128, 88),
    (150, 100, 66),
    (116, 74, 48),
    (84, 54, 38),
)
HAIR_STYLES = ("short", "long", "bob", "bun", "bald", "curly", "mohawk", "ponytail", "parting")
GLASSES = ("none", "none", "round", "square", "dark")
BEARDS = ("none", "full", "moustache", "goatee")
SHAPES = ("t-shirt", "sweater", "hoodie", "jacket", "coat", "dress", "vest")
PATTERNS = ("plain", "plain", "striped", "pinstriped", "dotted", "checked", "two-tone")
HATS = ("cap", "beanie", "top hat", "straw hat")
THINGS = ("ball", "lamp", "plant", "box", "balloon", "chair")
PLACES = ("room", "park", "beach", "city", "night", "desert", "studio")
ELSEWHERE = "elsewhere"
"""A kind of place that has no word of its own: only its picture tells what it looks like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A face that can be told from others: colours are RGB 0..255, `width` scales the face (about 0.9..1.1)."""

    kind: str
    skin: Colour
    hair_style: str
    hair_name: str
    hair: Colour
    glasses: str
    beard: str
    width: float
    brow: float
    smile: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Garment:
    """Clothes for the upper body; `second` is the pattern's other colour."""

    shape: str
    pattern: str
    colour_name: str
    colour: Colour
    second_name: str
    second: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Hat:
    """Something to wear on the head."""

    shape: str
    colour_name: str
    colour: Colour
    band: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """An object that belongs to nobody."""

    kind: str
    colour_name: str
    colour: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A background; `variant` seeds the details of its drawing."""

    kind: str
    first: Colour
    second: Colour
    variant: int


def jitter(rng: np.random.Generator, colour: Colour, amount: int = 14) -> Colour:
    """The colour, moved by at most `amount` per channel and kept within 0..255."""
    moved = np.clip(np.asarray(colour) + rng.integers(-amount, amount + 1, 3), 0, 255)
    return int(moved[0]), int(moved[1]), int(moved[2])


def _choice(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def draw_person(rng: np.random.Generator) -> Person:
    """A random person."""
    kind = _choice(rng, ("man", "woman"))
    style = _choice(rng, HAIR_STYLES)
    if kind == "woman" and style == "bald":
        style = "long"
    hair_name = _choice(rng, tuple(HAIR_COLOURS))
    return Person(
        kind=kind,
        skin=jitter(rng, SKINS[int(rng.integers(len(SKINS)))], 8),
        hair_style=style,
        hair_name=hair_name,
        hair=jitter(rng, HAIR_COLOURS[hair_name], 12),
        glasses=_choice(rng, GLASSES),
        beard=_choice(rng, BEARDS) if kind == "man" else "none",
        width=float(rng.uniform(0.9, 1.1)),
        brow=float(rng.uniform(-1.0, 1.0)),
        smile=float(rng.uniform(0.0, 1.0)),
    )


def draw_garment(rng: np.random.Generator, shape: str | None = None) -> Garment:
    """A random garment, of the given shape if one is asked for."""
    names = tuple(COLOURS)
    first = _choice(rng, names)
    second = _choice(rng, names)
    while _distance(COLOURS[first], COLOURS[second]) < 120:
        second = _choice(rng, names)
    return Garment(
        shape=shape or _choice(rng, SHAPES),
        pattern=_choice(rng, PATTERNS),
        colour_name=first,
        colour=jitter(rng, COLOURS[first]),
        second_name=second,
        second=jitter(rng, COLOURS[second]),
    )


def draw_hat(rng: np.random.Generator) -> Hat:
    """A random hat."""
    name = _choice(rng, tuple(COLOURS))
    band = _choice(rng, tuple(COLOURS))
    return Hat(
        shape=_choice(rng, HATS), colour_name=name, colour=jitter(rng, COLOURS[name]), band=jitter(rng, COLOURS[band])
    )


def draw_thing(rng: np.random.Generator) -> Thing:
    """A random object."""
    name = _choice(rng, tuple(COLOURS))
    return Thing(kind=_choice(rng, THINGS), colour_name=name, colour=jitter(rng, COLOURS[name]))


def draw_place(rng: np.random.Generator) -> Place:
    """A random background in soft colours."""
    first, second = (COLOURS[_choice(rng, tuple(COLOURS))] for _ in range(2))
    return Place(
        kind=_choice(rng, PLACES),
        first=_soften(jitter(rng, first)),
        second=_soften(jitter(rng, second)),
        variant=int(rng.integers(2**31)),
    )


def garments_differ(first: Garment, second: Garment) -> bool:
    """Whether two garments can be told apart by colour from across a room, so that a swap is visible."""
    return _distance(garment_mean(first), garment_mean(second)) > 90


def people_differ(first: Person, second: Person) -> bool:
    """Whether two faces can be told apart at a glance: other skin, other hair colour or another style of hair."""
    skin = _distance(first.skin, second.skin) > 70
    hair = _distance(first.hair, second.hair) > 90
    style = first.hair_style != second.hair_style
    marks = first.glasses != second.glasses or first.beard != second.beard
    return sum((skin, hair, style, marks)) >= 2 and (skin or hair)


def garment_mean(garment: Garment) -> Colour:
    """The colour of a garment seen from afar."""
    if garment.pattern == "plain":
        return garment.colour
    share = {"pinstriped": 0.25, "dotted": 0.25}.get(garment.pattern, 0.5)
    mixed = np.asarray(garment.colour) * (1 - share) + np.asarray(garment.second) * share
    return int(mixed[0]), int(mixed[1]), int(mixed[2])


def _soften(colour: Colour) -> Colour:
    mixed = 0.45 * np.asarray(colour) + 0.55 * 215
    return int(mixed[0]), int(mixed[1]), int(mixed[2])


def _distance(first: Colour, second: Colour) -> float:
    return float(np.linalg.norm(np.asarray(first, float) - np.asarray(second, float)))
