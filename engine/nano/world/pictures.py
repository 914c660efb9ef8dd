"""Reference pictures of the world's parts, made the way the studio makes them from a user's photographs."""

from __future__ import annotations

import numpy as np
from PIL import Image

from engine.nano.world.drawing import Pen, arm, draw_hat_shape, torso
from engine.nano.world.figures import Doll, Look, Pose, paste
from engine.nano.world.parts import Garment, Hat, Person, Place, Thing, draw_garment, draw_place
from engine.nano.world.places import draw_backdrop, draw_thing_sprite

WHITE = (255, 255, 255)
OVERSAMPLING = 2


def face_picture(person: Person, rng: np.random.Generator, scale: float) -> np.ndarray:
    """A tight crop of the face with its surroundings (another place, other clothes), HWC uint8, about 32·`scale` px.

    The clothes and the place of the photograph are drawn from `rng`, so that nothing in the crop tells what the person
    wears in the clip.
    """
    drawn = scale * OVERSAMPLING
    look = Look(person=person, garment=draw_garment(rng), hat=None, trousers=(60, 60, 70))
    frame = draw_backdrop(draw_place(rng), 64, 96, drawn)
    x, y = 32 + float(rng.uniform(-3, 3)), 94.0
    Doll(look, drawn).paint(frame, Pose(x=x, y=y, tilt=float(rng.uniform(-5, 5))))
    middle = y - 62
    half = 16.5 * person.width + float(rng.uniform(-1, 1.5))
    box = (x - half, middle - 19 + float(rng.uniform(-1.5, 1.5)), x + half, middle + 16.5 + float(rng.uniform(-1, 2)))
    left, top, right, bottom = (round(edge * drawn) for edge in box)
    crop = frame.crop((left, top, right, bottom))
    return np.asarray(crop.reduce(OVERSAMPLING))


def garment_picture(garment: Garment, rng: np.random.Generator, scale: float) -> np.ndarray:
    """The garment alone on pure white, cropped to its box, HWC uint8."""
    drawn = scale * OVERSAMPLING
    frame = Image.new("RGB", (round(72 * drawn), round(64 * drawn)), WHITE)
    shoulder = 9.5 if garment.shape in ("vest", "dress") else 11.5
    spread = float(rng.uniform(6, 28))
    sleeves = arm(garment, None, drawn)
    paste(frame, torso(garment, drawn), (36, 10), 0)
    paste(frame, sleeves, (36 - shoulder, 13), spread)
    paste(frame, sleeves, (36 + shoulder, 13), -spread)
    return _cropped(frame)


def hat_picture(hat: Hat, scale: float) -> np.ndarray:
    """The hat alone on pure white, cropped to its box, HWC uint8."""
    pen = Pen(52, 40, 26, 30, scale * OVERSAMPLING)
    draw_hat_shape(pen, hat, 1.0)
    return _cropped(_on_white(pen.image))


def thing_picture(thing: Thing, scale: float) -> np.ndarray:
    """The object alone on pure white, cropped to its box, HWC uint8."""
    return _cropped(_on_white(draw_thing_sprite(thing, scale * OVERSAMPLING).image))


def place_picture(place: Place, width: float, height: float, scale: float) -> np.ndarray:
    """The whole background without anybody in it, HWC uint8."""
    return np.asarray(draw_backdrop(place, width, height, scale * OVERSAMPLING).reduce(OVERSAMPLING))


def letterbox(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The model's form of a reference: scaled by the smaller ratio to whole pixels, bicubic, centred on white."""
    rows, columns = picture.shape[:2]
    ratio = min(width / columns, height / rows)
    size = (max(1, int(columns * ratio)), max(1, int(rows * ratio)))
    canvas = np.full((height, width, 3), 255, np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    scaled = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(scaled)
    return canvas


def _on_white(image: Image.Image) -> Image.Image:
    frame = Image.new("RGB", image.size, WHITE)
    frame.paste(image, (0, 0), image)
    return frame


def _cropped(frame: Image.Image) -> np.ndarray:
    pixels = np.asarray(frame.reduce(OVERSAMPLING))
    inked = (pixels != 255).any(axis=2)
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    return np.ascontiguousarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
