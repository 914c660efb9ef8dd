"""From one seed to a whole scene: who wears what, where everybody stands, the clip and the reference pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from PIL import Image

from engine.nano.world.camera import Camera, draw_camera
from engine.nano.world.figures import HIP, MOTIONS, Doll, Look, Motion, draw_motion, paste, pose_at
from engine.nano.world.parts import (
    ELSEWHERE,
    Garment,
    Hat,
    Person,
    Place,
    Thing,
    draw_garment,
    draw_hat,
    draw_person,
    draw_place,
    draw_thing,
    garments_differ,
    people_differ,
)
from engine.nano.world.photography import CUT_OUT, FACE, PLACE, Roughness, photographed
from engine.nano.world.pictures import (
    face_picture,
    garment_picture,
    hat_picture,
    letterbox,
    place_picture,
    thing_picture,
)
from engine.nano.world.places import draw_backdrop, draw_thing_sprite

Part = TypeVar("Part")

WIDTH, HEIGHT, FPS = 128, 96, 12
"""The canvas in pixels (one unit each) and the frames a second nano is trained on."""

OVERSAMPLING = 3
CLOSE_SHARE = 0.3
CLOSE = (22.0, 28.0)
"""How often people stand so close that they hide parts of one another, and how many units apart they are then."""

STAYING = tuple(kind for kind in MOTIONS if kind != "walk")
THING_REACH = 14
"""How far an object reaches to either side of where it stands, and half of how high, in units."""

TROUSERS = ((58, 66, 96), (70, 70, 76), (96, 84, 70))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One subject of a drawn scene. `shows_garment`, `shows_hat`: whether a reference picture of it is given."""

    look: Look
    motion: Motion
    shows_garment: bool
    shows_hat: bool

    @property
    def num_references(self) -> int:
        """The face and what is shown of the attributes."""
        return 1 + self.shows_garment + self.shows_hat


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """The shape of a scene: pictures of nobody (background, object) and of each subject (its face included)."""

    background: bool
    thing: bool
    groups: tuple[int, ...]

    @property
    def num_free(self) -> int:
        """References that belong to nobody."""
        return int(self.background) + int(self.thing)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldScene:
    """Everything that is true of one drawn scene. `members` are in the order of the references, which says nothing of
    who stands where; `depth` is the order of painting."""

    seed: int
    place: Place
    shows_place: bool
    thing: Thing | None
    thing_at: tuple[float, float]
    members: tuple[Member, ...]
    depth: tuple[int, ...]
    camera: Camera

    @property
    def structure(self) -> Structure:
        """Its shape."""
        groups = tuple(member.num_references for member in self.members)
        return Structure(background=self.shows_place, thing=self.thing is not None, groups=groups)


def draw_structure(rng: np.random.Generator, num_subjects: int) -> Structure:
    """A random structure: mostly a garment for everybody, sometimes a hat, sometimes nothing but the face."""
    groups = tuple(int(rng.choice([1, 2, 2, 2, 3])) for _ in range(num_subjects))
    return Structure(background=bool(rng.random() < 0.7), thing=bool(rng.random() < 0.25), groups=groups)


def draw_scene(seed: int, structure: Structure) -> WorldScene:
    """The scene of a seed and a structure; equal arguments give equal scenes."""
    rng = np.random.default_rng([seed, 7919])
    people = _different(rng, len(structure.groups), draw_person, people_differ)
    garments = _different(rng, len(structure.groups), draw_garment, garments_differ)
    places, close = _standing_places(rng, len(people))
    members = tuple(
        _draw_member(rng, person, garment, size, draw_motion(rng, *at, kinds=STAYING if close else MOTIONS))
        for person, garment, size, at in zip(people, garments, structure.groups, places, strict=True)
    )
    thing_x = _beside([x for x, _ in places], float(rng.uniform()))
    return WorldScene(
        seed=seed,
        place=draw_place(rng),
        shows_place=structure.background,
        thing=draw_thing(rng) if structure.thing else None,
        thing_at=(thing_x, 94.0),
        members=members,
        depth=tuple(int(i) for i in rng.permutation(len(members))),
        camera=draw_camera(rng),
    )


def elsewhere(scene: WorldScene) -> WorldScene:
    """The scene at a place without a name, of which there is a picture."""
    return dataclasses.replace(scene, place=dataclasses.replace(scene.place, kind=ELSEWHERE), shows_place=True)


def render_clip(scene: WorldScene, num_frames: int, first: int = 0) -> np.ndarray:
    """The clip, `num_frames`×96×128×3 uint8, from frame number `first` at 12 frames a second."""
    backdrop = draw_backdrop(scene.place, WIDTH, HEIGHT, OVERSAMPLING)
    dolls = [Doll(member.look, OVERSAMPLING) for member in scene.members]
    thing = draw_thing_sprite(scene.thing, OVERSAMPLING) if scene.thing is not None else None
    frames: list[np.ndarray] = []
    for number in range(first, first + num_frames):
        frame = backdrop.copy()
        for index in scene.depth:
            dolls[index].paint(frame, pose_at(scene.members[index].motion, number / FPS))
        if thing is not None:
            paste(frame, thing, scene.thing_at, 0)
        window = scene.camera.window(number / FPS, WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING)
        frames.append(np.asarray(frame.resize((WIDTH, HEIGHT), Image.Resampling.BOX, box=window)))
    return np.stack(frames)


def who_is_where(scene: WorldScene, latent_frames: int, cell: int = 16) -> np.ndarray:
    """What covers each square of `cell` pixels: int64 `[latent_frames, 96 / cell, 128 / cell]`.

    Owners are numbered in the order of the references: background, object, members; -1 where neither an object nor a
    member is. Heads, trunks and arms count, legs do not. A latent frame is looked at in the middle of its four frames.
    """
    rows, columns = (np.arange(size // cell) * cell + cell / 2 for size in (HEIGHT, WIDTH))
    owners = np.full((latent_frames, len(rows), len(columns)), -1)
    for number in range(latent_frames):
        seconds = max(0.0, 4 * number - 1.5) / FPS
        left, top, right, bottom = scene.camera.window(seconds, WIDTH, HEIGHT)
        # Squares of the picture as places on the stage.
        xs, ys = left + columns * (right - left) / WIDTH, top + rows * (bottom - top) / HEIGHT
        for index in scene.depth:
            pose = pose_at(scene.members[index].motion, seconds)
            down = (ys >= pose.y - 76) & (ys <= pose.y + HIP + 8)
            owners[number, down[:, None] & (np.abs(xs - pose.x) <= 13)[None]] = scene.structure.num_free + index
        if scene.thing is not None:
            x, y = scene.thing_at
            down = (ys >= y - 2 * THING_REACH) & (ys <= y + 8)
            owners[number, down[:, None] & (np.abs(xs - x) <= THING_REACH)[None]] = scene.structure.num_free - 1
    return owners


def reference_pictures(scene: WorldScene, scale: float = 3.0) -> list[np.ndarray]:
    """The reference pictures in model order (background, object, then face, garment, hat of each member), HWC uint8."""
    rng = np.random.default_rng([scene.seed, 104729])
    pictures: list[np.ndarray] = []
    if scene.shows_place:
        pictures.append(place_picture(scene.place, WIDTH, HEIGHT, scale))
    if scene.thing is not None:
        pictures.append(thing_picture(scene.thing, scale))
    for member in scene.members:
        pictures.append(face_picture(member.look.person, rng, scale))
        if member.shows_garment:
            pictures.append(garment_picture(member.look.garment, rng, scale))
        if member.shows_hat and member.look.hat is not None:
            pictures.append(hat_picture(member.look.hat, scale))
    return pictures


def model_references(scene: WorldScene, *, photographs: bool = False) -> np.ndarray:
    """The reference pictures as the model takes them: N×96×128×3 uint8, letterboxed on white.

    With `photographs` they look as if they had been photographed, always in the same way for the same scene.
    """
    if photographs:
        rng = np.random.default_rng([scene.seed, 48611])
        # Half as large as drawings: grain and folds are made pixel by pixel, and the model sees 96 rows.
        drawn = zip(reference_pictures(scene, 1.5), _roughness(scene), strict=True)
        pictures = [photographed(picture, rng, rough) for picture, rough in drawn]
    else:
        pictures = reference_pictures(scene)
    return np.stack([letterbox(picture, WIDTH, HEIGHT) for picture in pictures])


def _roughness(scene: WorldScene) -> list[Roughness]:
    """What kind of photograph each reference would be, in model order."""
    kinds = [PLACE] * scene.shows_place + [CUT_OUT] * (scene.thing is not None)
    for member in scene.members:
        kinds += [FACE, *[CUT_OUT] * (member.shows_garment + (member.shows_hat and member.look.hat is not None))]
    return kinds


def _draw_member(rng: np.random.Generator, person: Person, garment: Garment, size: int, motion: Motion) -> Member:
    # With one attribute it is the garment or, now and then, the hat; a hat that is not shown is not worn.
    shows_hat = size == 3 or (size == 2 and bool(rng.random() < 0.15))
    hat: Hat | None = draw_hat(rng)
    look = Look(
        person=person,
        garment=garment,
        hat=hat if shows_hat else None,
        trousers=TROUSERS[int(rng.integers(len(TROUSERS)))],
    )
    return Member(
        look=look,
        motion=motion,
        shows_garment=size == 3 or (size == 2 and not shows_hat),
        shows_hat=shows_hat,
    )


def _standing_places(rng: np.random.Generator, count: int) -> tuple[list[tuple[float, float]], bool]:
    """Feet of `count` dolls dealt out at random, and whether they stand so close that one hides part of another."""
    close = count > 1 and bool(rng.random() < CLOSE_SHARE)
    apart = min(float(rng.uniform(*CLOSE)) if close else WIDTH, WIDTH / count)
    middle = WIDTH / 2 + float(rng.uniform(-1, 1)) * 0.8 * (WIDTH - apart * count) / 2
    loose = 0.0 if close else 2.0
    places = [
        (
            middle + apart * (i - (count - 1) / 2) + float(rng.uniform(-loose, loose)),
            93.0 + float(rng.uniform(-0.5, 0.5)),
        )
        for i in range(count)
    ]
    return [places[int(i)] for i in rng.permutation(count)], close


def _beside(taken: Sequence[float], chance: float) -> float:
    """A place for an object in one of the gaps between people or beside them, chosen by `chance` in 0 … 1; in a crowd
    that leaves none, the widest one there is."""
    edges = list(pairwise([-THING_REACH, *sorted(taken), WIDTH + THING_REACH]))
    wide = max(right - left for left, right in edges)
    gaps = [(left + right) / 2 for left, right in edges if right - left >= min(2 * THING_REACH, wide)]
    at = chance * len(gaps)
    return gaps[int(at)] + 6 * (at % 1 - 0.5)


def _different(
    rng: np.random.Generator,
    count: int,
    draw: Callable[[np.random.Generator], Part],
    differ: Callable[[Part, Part], bool],
) -> list[Part]:
    """`count` draws of which any two can be told apart."""
    drawn: list[Part] = []
    while len(drawn) < count:
        candidate = draw(rng)
        if all(differ(candidate, other) for other in drawn):
            drawn.append(candidate)
    return drawn
