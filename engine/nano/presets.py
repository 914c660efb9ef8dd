"""Draws the built-in presets: sample folders of people and clothes that training never saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from engine.nano.world.parts import COLOURS, HAIR_COLOURS, SKINS, Garment, Hat, Person, Place, Thing
from engine.nano.world.pictures import face_picture, garment_picture, hat_picture, place_picture, thing_picture
from engine.nano.world.scene import HEIGHT, WIDTH

SCALE = 8.0
"""Pixels a unit: faces come out about 260 px wide, garments about 350."""
SUN_BETWEEN_TWO, SUN_BETWEEN_THREE = 20_260_161, 20_260_018
"""Variants of a place whose sun nobody's head hides: behind one it looks like a hat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetSubject:
    """A face and what it wears, each with the words that name it in the caption."""

    face: tuple[str, Person]
    garment: tuple[str, Garment]
    hat: tuple[str, Hat] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetScene:
    """A scene of the built-in presets; `name` is its folder."""

    name: str
    caption: str
    subjects: tuple[PresetSubject, ...]
    place: tuple[str, Place] | None = None
    thing: tuple[str, Thing] | None = None


def write_presets(folder: Path) -> tuple[Path, ...]:
    """Draw every built-in preset into `folder` and return their paths; equal calls give equal files."""
    written: list[Path] = []
    for number, scene in enumerate(PRESETS):
        target = folder / scene.name
        rng = np.random.default_rng([2_000_000_011, number])
        _save(target / "caption.txt", f"{scene.name};{scene.caption}\n")
        for index, subject in enumerate(scene.subjects, 1):
            own = target / "subjects" / str(index)
            phrase, person = subject.face
            _save(own / f"face_{phrase}.png", face_picture(person, rng, SCALE))
            phrase, garment = subject.garment
            _save(own / f"{phrase}.png", garment_picture(garment, rng, SCALE))
            if subject.hat is not None:
                _save(own / f"{subject.hat[0]}.png", hat_picture(subject.hat[1], SCALE))
        if scene.thing is not None:
            _save(target / "objects" / f"{scene.thing[0]}.png", thing_picture(scene.thing[1], SCALE))
        if scene.place is not None:
            phrase, place = scene.place
            _save(target / "background" / f"{phrase}.png", place_picture(place, WIDTH, HEIGHT, 6.0))
        written.append(target)
    return tuple(written)


def _save(path: Path, content: np.ndarray | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        Image.fromarray(content).save(path, optimize=True)


def _person(kind: str, skin: int, hair: str, style: str, **marks: str) -> Person:
    return Person(
        kind=kind,
        skin=SKINS[skin],
        hair_style=style,
        hair_name=hair,
        hair=HAIR_COLOURS[hair],
        glasses=marks.get("glasses", "none"),
        beard=marks.get("beard", "none"),
        width=1.0,
        brow=0.0,
        smile=0.8,
    )


def _garment(shape: str, pattern: str, first: str, second: str = "white") -> Garment:
    return Garment(
        shape=shape,
        pattern=pattern,
        colour_name=first,
        colour=COLOURS[first],
        second_name=second,
        second=COLOURS[second],
    )


def _place(kind: str, first: tuple[int, int, int], second: tuple[int, int, int], variant: int = 20_260_011) -> Place:
    return Place(kind=kind, first=first, second=second, variant=variant)


PRESETS = (
    PresetScene(
        name="01-two-friends-in-the-park",
        caption=(
            "A man with red hair in a blue jacket and a woman with black hair in a yellow dress stand together "
            "in a park."
        ),
        subjects=(
            PresetSubject(
                face=("man with red hair", _person("man", 1, "red", "short", beard="full")),
                garment=("blue jacket", _garment("jacket", "plain", "blue")),
            ),
            PresetSubject(
                face=("woman with black hair", _person("woman", 3, "black", "long")),
                garment=("yellow dress", _garment("dress", "plain", "yellow")),
            ),
        ),
        place=("park", _place("park", (176, 216, 244), (142, 190, 104), SUN_BETWEEN_TWO)),
    ),
    PresetScene(
        name="02-stripes-and-squares",
        caption=(
            "A woman with blond hair in a striped sweater waving and a bald man in a checked hoodie walking in a room."
        ),
        subjects=(
            PresetSubject(
                face=("woman with blond hair", _person("woman", 2, "blond", "bob", glasses="round")),
                garment=("striped sweater", _garment("sweater", "striped", "red", "white")),
            ),
            PresetSubject(
                face=("bald man", _person("man", 6, "black", "bald", beard="full")),
                garment=("checked hoodie", _garment("hoodie", "checked", "green", "beige")),
            ),
        ),
        place=("room", _place("room", (222, 206, 190), (150, 120, 104))),
    ),
    PresetScene(
        name="03-three-on-the-beach",
        caption=(
            "A man with white hair in a purple t-shirt, a woman with pink hair in a green coat and a man with brown "
            "hair in an orange sweater stand together in front of a beach."
        ),
        subjects=(
            PresetSubject(
                face=("man with white hair", _person("man", 6, "white", "curly")),
                garment=("purple t-shirt", _garment("t-shirt", "plain", "purple")),
            ),
            PresetSubject(
                face=("woman with pink hair", _person("woman", 0, "pink", "bun", glasses="dark")),
                garment=("green coat", _garment("coat", "plain", "green")),
            ),
            PresetSubject(
                face=("man with brown hair", _person("man", 3, "brown", "parting", beard="moustache")),
                garment=("orange sweater", _garment("sweater", "plain", "orange")),
            ),
        ),
        place=("beach", _place("beach", (190, 226, 250), (238, 218, 168), SUN_BETWEEN_THREE)),
    ),
    PresetScene(
        name="04-a-hat-and-a-lamp",
        caption="A woman with grey hair in a dotted dress and a top hat dancing in a city, beside a red lamp.",
        subjects=(
            PresetSubject(
                face=("woman with grey hair", _person("woman", 3, "grey", "long")),
                garment=("dotted dress", _garment("dress", "dotted", "magenta", "white")),
                hat=("top hat", Hat(shape="top hat", colour_name="navy", colour=COLOURS["navy"], band=COLOURS["red"])),
            ),
        ),
        place=("city", _place("city", (200, 212, 226), (150, 140, 160))),
        thing=("red lamp", Thing(kind="lamp", colour_name="red", colour=COLOURS["red"])),
    ),
)
"""The built-in presets; the first by name has two subjects with a garment each."""
