"""Hats, objects and backgrounds of a clip: is each the one of the reference picture?

As with garments, drawings of the candidates are held against the frame; nothing is learned.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from engine.nano.recognition import (
    OVERSAMPLING,
    Template,
    bare_face_template,
    face_template,
    locate,
    misfits,
    nearest_face,
    sprite_template,
)
from engine.nano.world.parts import ELSEWHERE, Place, Thing, draw_place, draw_thing
from engine.nano.world.places import draw_backdrop, draw_thing_sprite
from engine.nano.world.scene import HEIGHT, WIDTH, WorldScene

Part = TypeVar("Part")

DISTRACTORS = 3
"""Objects and backgrounds that the right one is compared with; hats are compared with each other."""

FEET = (88, 96)
"""Rows in which an object stands."""

FIGURE = 0.04
"""Squared differences of colour above this do not count further: somebody stands in front of the background."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """Shares of hats on the right head, and of frames with the right object and before the right background."""

    hat: float
    thing: float
    background: float


def score_belongings(frames: Sequence[np.ndarray], scene: WorldScene) -> Belongings:
    """Judge frames `[H, W, 3]` uint8 of a scene in which everybody has a hat, with an object and a background."""
    assert scene.thing is not None
    looks = [member.look for member in scene.members]
    faces = [bare_face_template(look.person) for look in looks]
    tried_on = [[face_template(look.person, other.hat) for other in looks] for look in looks]
    rng = np.random.default_rng([scene.seed, 43])
    things = [_thing(thing) for thing in _line_up(scene.thing, lambda: draw_thing(rng), _same_thing)]
    hats: list[bool] = []
    for frame in frames:
        for index, head in enumerate(locate(frame, faces)):
            hats.append(nearest_face(frame, head, tried_on[index]) == index)
    return Belongings(
        hat=float(np.mean(hats)),
        thing=float(np.mean([_nearest_thing(frame, things) == 0 for frame in frames])),
        background=score_background(frames, scene, rng),
    )


def score_background(frames: Sequence[np.ndarray], scene: WorldScene, rng: np.random.Generator) -> float:
    """Share of frames `[H, W, 3]` uint8 whose background is nearer to the scene's than to others drawn from `rng`; to a
    place without a name others without one are held."""
    unknown = scene.place.kind == ELSEWHERE

    def draw() -> Place:
        place = draw_place(rng)
        return dataclasses.replace(place, kind=ELSEWHERE) if unknown else place

    line = _line_up(scene.place, draw, operator.eq if unknown else _same_place)
    places = [_backdrop(place) for place in line]
    return float(np.mean([_nearest_place(frame, places) == 0 for frame in frames]))


def _line_up(own: Part, draw: Callable[[], Part], same: Callable[[Part, Part], bool]) -> list[Part]:
    """The part itself and strangers that differ from it."""
    line = [own]
    while len(line) <= DISTRACTORS:
        candidate = draw()
        if not same(candidate, own):
            line.append(candidate)
    return line


def _same_thing(first: Thing, second: Thing) -> bool:
    return (first.kind, first.colour_name) == (second.kind, second.colour_name)


def _same_place(first: Place, second: Place) -> bool:
    return first.kind == second.kind


def _thing(thing: Thing) -> Template:
    return sprite_template(draw_thing_sprite(thing, OVERSAMPLING))


def _nearest_thing(frame: np.ndarray, things: Sequence[Template]) -> int:
    return int(np.argmin([float(misfits(frame, thing, FEET, (0, WIDTH)).min()) for thing in things]))


def _backdrop(place: Place) -> np.ndarray:
    return np.asarray(draw_backdrop(place, WIDTH, HEIGHT, OVERSAMPLING).reduce(OVERSAMPLING), np.float32) / 255


def _nearest_place(frame: np.ndarray, places: Sequence[np.ndarray]) -> int:
    picture = frame.astype(np.float32) / 255
    return int(np.argmin([np.minimum(((picture - place) ** 2).sum(-1), FIGURE).mean() for place in places]))
