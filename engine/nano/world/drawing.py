"""How the parts look: flat drawings without anti-aliasing, made large and scaled down afterwards.

Lengths are *units*; one unit is one pixel of a clip 96 pixels high. Every sprite is RGBA with alpha 0 or 255.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from engine.nano.world.parts import Colour, Garment, Hat, Person

INK: Colour = (40, 34, 36)
TURNED_BY = 3.5
"""How far eyes, nose and mouth move when a head turns."""

SLEEVES = {"t-shirt": 9.0, "sweater": 20.0, "hoodie": 20.0, "jacket": 20.0, "coat": 20.0, "dress": 7.0, "vest": 0.0}
HEMS = {"t-shirt": 27.0, "sweater": 28.0, "hoodie": 28.0, "jacket": 27.0, "coat": 40.0, "dress": 41.0, "vest": 27.0}


@dataclass(frozen=True, slots=True)
class Sprite:
    """`image` RGBA, drawn at `scale` pixels a unit; `origin` is the pixel of the local origin (joint)."""

    image: Image.Image
    origin: tuple[float, float]
    scale: float


class Pen:
    """Draws shapes given in units onto a transparent picture; the local origin lies `left`, `top` units inside it."""

    def __init__(self, width: float, height: float, left: float, top: float, scale: float) -> None:
        self.scale, self.left, self.top = scale, left, top
        self.image = Image.new("RGBA", (round(width * scale), round(height * scale)), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def points(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Pixels of points in units."""
        return [((x + self.left) * self.scale, (y + self.top) * self.scale) for x, y in points]

    def box(self, x: float, y: float, rx: float, ry: float) -> list[tuple[float, float]]:
        """The pixel box of an ellipse around (x, y)."""
        return self.points([(x - rx, y - ry), (x + rx, y + ry)])

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """A filled ellipse."""
        self.draw.ellipse(self.box(x, y, rx, ry), fill=(*fill, 255))

    def chord(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Colour) -> None:
        """A filled segment of an ellipse; degrees run clockwise from the right."""
        self.draw.chord(self.box(x, y, rx, ry), start, end, fill=(*fill, 255))

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, ink: Colour, width: float
    ) -> None:
        """Part of an ellipse's outline."""
        self.draw.arc(self.box(x, y, rx, ry), start, end, fill=(*ink, 255), width=max(1, round(width * self.scale)))

    def polygon(self, points: Sequence[tuple[float, float]], fill: Colour) -> None:
        """A filled polygon."""
        self.draw.polygon(self.points(points), fill=(*fill, 255))

    def line(self, points: Sequence[tuple[float, float]], ink: Colour, width: float) -> None:
        """A line of the given width in units."""
        self.draw.line(self.points(points), fill=(*ink, 255), width=max(1, round(width * self.scale)), joint="curve")

    @contextmanager
    def moved(self, dx: float) -> Generator[None]:
        """Inside, everything is drawn `dx` units further to the right."""
        self.left += dx
        yield
        self.left -= dx

    def sprite(self) -> Sprite:
        """What has been drawn."""
        return Sprite(self.image, (self.left * self.scale, self.top * self.scale), self.scale)


def shade(colour: Colour, factor: float) -> Colour:
    """Darker (below 1) or lighter (above 1)."""
    scaled = np.clip(np.asarray(colour) * factor, 0, 255)
    return int(scaled[0]), int(scaled[1]), int(scaled[2])


def narrowed(sprite: Sprite, share: float) -> Sprite:
    """The sprite at a share of its width."""
    if share == 1:
        return sprite
    width, height = sprite.image.size
    image = sprite.image.resize((round(width * share), height), Image.Resampling.NEAREST)
    return Sprite(image, (sprite.origin[0] * image.width / width, sprite.origin[1]), sprite.scale)


# ── heads ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def head_back(person: Person, scale: float) -> Sprite:
    """Hair that hangs or stands behind the head."""
    pen = Pen(48, 52, 24, 26, scale)
    hair, width = shade(person.hair, 0.88), person.width
    if person.hair_style == "long":
        pen.ellipse(0, -2, 15.5 * width, 15, hair)
        pen.polygon([(-15.5 * width, -2), (15.5 * width, -2), (14.5 * width, 20), (-14.5 * width, 20)], hair)
    elif person.hair_style == "bob":
        pen.ellipse(0, 0, 15.5 * width, 14.5, hair)
        pen.polygon([(-15.5 * width, 0), (15.5 * width, 0), (15.5 * width, 11), (-15.5 * width, 11)], hair)
    elif person.hair_style == "ponytail":
        pen.ellipse(15 * width, 3, 5.5, 11, hair)
    elif person.hair_style == "bun":
        pen.ellipse(0, -17, 6.5, 6, hair)
    elif person.hair_style == "curly":
        for angle in np.linspace(0, 2 * np.pi, 11, endpoint=False):
            pen.ellipse(13 * width * float(np.cos(angle)), -4 + 11 * float(np.sin(angle)), 6, 6, hair)
    return pen.sprite()


def head_front(person: Person, hat: Hat | None, scale: float, turn: float = 0.0) -> Sprite:
    """Face, hair over the forehead, glasses, beard and hat; the origin is the middle of the face.

    `turn` in -1 … 1 is how far it looks to the left or to the right.
    """
    pen = Pen(48, 52, 24, 26, scale)
    width = person.width
    skin_dark = shade(person.skin, 0.86)
    pen.polygon([(-4, 8), (4, 8), (4, 17), (-4, 17)], skin_dark)
    for side in (-1, 1):
        pen.ellipse(side * 12.3 * width, 1, 2.6, 3.4, skin_dark)
    pen.ellipse(0, 0, 12.3 * width, 13.5, person.skin)
    with pen.moved(0.3 * TURNED_BY * turn):
        _beard(pen, person)
    with pen.moved(TURNED_BY * turn):
        _features(pen, person)
    _fringe(pen, person)
    with pen.moved(TURNED_BY * turn):
        _glasses(pen, person)
    if hat is not None:
        draw_hat_shape(pen, hat, width)
    return pen.sprite()


def _features(pen: Pen, person: Person) -> None:
    brow = shade(person.hair, 0.75) if person.hair_name not in ("white", "blond") else shade(person.hair, 0.62)
    for side in (-1, 1):
        x = side * 4.9 * person.width
        pen.ellipse(x, 0.2, 2.5, 2.5, (252, 252, 250))
        pen.ellipse(x, 0.4, 1.5, 1.8, INK)
        pen.line([(x - 2.6, -4.2 + side * person.brow), (x + 2.6, -4.2 - side * person.brow)], brow, 1.1)
    pen.line([(0, 2.2), (-0.9, 4.4), (0.8, 4.4)], shade(person.skin, 0.72), 0.8)
    open_mouth = 1.2 + 2.2 * person.smile
    pen.chord(0, 7.0, 4.0, open_mouth, 0, 180, (168, 52, 56))
    pen.arc(0, 6.6, 4.2, 1.6, 10, 170, (120, 40, 44), 0.8)


def _beard(pen: Pen, person: Person) -> None:
    if person.beard == "full":
        pen.chord(0, 0, 12.3 * person.width, 13.6, 12, 168, shade(person.hair, 0.95))
    elif person.beard == "goatee":
        pen.ellipse(0, 10.2, 4.6, 4.6, shade(person.hair, 0.95))
    if person.beard in ("full", "moustache"):
        pen.ellipse(-2.8, 5.6, 3.6, 1.7, shade(person.hair, 0.85))
        pen.ellipse(2.8, 5.6, 3.6, 1.7, shade(person.hair, 0.85))


def _fringe(pen: Pen, person: Person) -> None:
    hair, width = person.hair, person.width
    style = person.hair_style
    if style == "bald":
        return
    if style == "mohawk":
        pen.polygon([(-3.2, -8), (-4, -20), (0, -22), (4, -20), (3.2, -8)], hair)
    elif style == "parting":
        pen.chord(0, -1, 13.6 * width, 14.4, 185, 330, hair)
        pen.polygon([(-13.4 * width, -3), (-4, -13), (12 * width, -8), (13.5 * width, -2), (11 * width, -13)], hair)
    elif style == "curly":
        for x in (-9, -4.5, 0, 4.5, 9):
            pen.ellipse(x * width, -11 + abs(x) * 0.3, 4.2, 4.0, hair)
    elif style in ("long", "bob", "bun"):
        pen.chord(0, -1, 13.8 * width, 14.6, 196, 344, hair)
        for side in (-1, 1):
            pen.ellipse(side * 11.6 * width, -3.2, 3.0, 7.2, hair)
    else:
        pen.chord(0, -1, 13.4 * width, 14.4, 200, 340, hair)


def _glasses(pen: Pen, person: Person) -> None:
    if person.glasses == "none":
        return
    for side in (-1, 1):
        x = side * 5.0 * person.width
        if person.glasses == "dark":
            pen.ellipse(x, 0.3, 4.3, 3.5, (24, 24, 28))
        elif person.glasses == "round":
            pen.arc(x, 0.3, 4.4, 4.4, 0, 360, (60, 40, 30), 1.0)
        else:
            corners = [(x - 4.2, -3), (x + 4.2, -3), (x + 4.2, 3.4), (x - 4.2, 3.4), (x - 4.2, -3)]
            pen.line(corners, (30, 30, 60), 1.1)
    pen.line([(-1.2, 0), (1.2, 0)], INK, 1.0)


def draw_hat_shape(pen: Pen, hat: Hat, width: float) -> None:
    """A hat on a head whose middle is the pen's origin."""
    dark = shade(hat.colour, 0.8)
    if hat.shape == "cap":
        pen.chord(0, -6, 14.2 * width, 13, 180, 360, hat.colour)
        pen.ellipse(7.5 * width, -6.6, 12 * width, 2.4, dark)
        pen.ellipse(0, -18.6, 1.6, 1.2, hat.band)
    elif hat.shape == "beanie":
        pen.chord(0, -6, 14.2 * width, 15, 180, 360, hat.colour)
        pen.polygon([(-14.4 * width, -10), (14.4 * width, -10), (14.4 * width, -5), (-14.4 * width, -5)], hat.band)
        pen.ellipse(0, -21, 3.2, 3.2, hat.band)
    elif hat.shape == "top hat":
        pen.polygon([(-10 * width, -25), (10 * width, -25), (9 * width, -8), (-9 * width, -8)], hat.colour)
        pen.polygon([(-9.4 * width, -13), (9.4 * width, -13), (9.2 * width, -9), (-9.2 * width, -9)], hat.band)
        pen.ellipse(0, -8, 16.5 * width, 2.6, dark)
    else:
        pen.chord(0, -7, 11 * width, 13, 180, 360, hat.colour)
        pen.polygon([(-11 * width, -11), (11 * width, -11), (11 * width, -7.5), (-11 * width, -7.5)], hat.band)
        pen.ellipse(0, -6.6, 21 * width, 3.2, hat.colour)


# ── clothes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def cloth(garment: Garment, size: tuple[int, int], origin: tuple[float, float], scale: float) -> Image.Image:
    """The garment's fabric as an RGBA picture, its pattern tied to the local origin."""
    image = Image.new("RGBA", size, (*garment.colour, 255))
    draw = ImageDraw.Draw(image)
    second = (*garment.second, 255)
    width, height = size[0] / scale, size[1] / scale
    left, top = origin[0] / scale, origin[1] / scale

    def bar(x0: float, y0: float, x1: float, y1: float) -> None:
        draw.rectangle(
            [(x0 + left) * scale, (y0 + top) * scale, (x1 + left) * scale - 1, (y1 + top) * scale - 1], second
        )

    rows = np.arange(-np.ceil(top / 8) * 8, height - top, 8.0)
    columns = np.arange(-np.ceil(left / 8) * 8 - 4, width - left, 8.0)
    if garment.pattern == "striped":
        for y in rows:
            bar(-left, y + 4, width, y + 8)
    elif garment.pattern == "pinstriped":
        for x in columns:
            bar(x + 3, -top, x + 5, height)
    elif garment.pattern == "two-tone":
        bar(-left, 13, width, height)
    elif garment.pattern == "checked":
        for y in rows:
            for x in columns:
                bar(x, y, x + 4, y + 4)
                bar(x + 4, y + 4, x + 8, y + 8)
    elif garment.pattern == "dotted":
        for y in rows:
            for x in columns:
                cx, cy = (x + 4 + left) * scale, (y + 4 + top) * scale
                draw.ellipse([cx - 2 * scale, cy - 2 * scale, cx + 2 * scale, cy + 2 * scale], second)
    return image


def torso(garment: Garment, scale: float) -> Sprite:
    """The garment's trunk; the origin is the middle of the shoulders."""
    pen = Pen(52, 56, 26, 8, scale)
    hem = HEMS[garment.shape]
    trunk = _trunk_outline(garment.shape, hem)
    mask = Image.new("L", pen.image.size, 0)
    ImageDraw.Draw(mask).polygon(pen.points(trunk), fill=255)
    if garment.shape == "hoodie":
        pen.ellipse(0, 0, 11, 6, shade(garment.colour, 0.7))
    pen.image.paste(cloth(garment, pen.image.size, (26 * scale, 8 * scale), scale), (0, 0), mask)
    _details(pen, garment, hem)
    return pen.sprite()


def _trunk_outline(shape: str, hem: float) -> list[tuple[float, float]]:
    if shape == "dress":
        return [(-10, 0), (10, 0), (9, 16), (19, hem), (-19, hem), (-9, 16)]
    if shape == "coat":
        return [(-12.5, 0), (12.5, 0), (13, 18), (15.5, hem), (-15.5, hem), (-13, 18)]
    if shape == "vest":
        return [(-9, 0), (-5, 0), (-4, 5), (4, 5), (5, 0), (9, 0), (11, 10), (11, hem), (-11, hem), (-11, 10)]
    wide = 13.0 if shape in ("hoodie", "jacket") else 12.0
    return [(-wide, 1), (-8, 0), (8, 0), (wide, 1), (wide, hem), (-wide, hem)]


def _details(pen: Pen, garment: Garment, hem: float) -> None:
    dark = shade(garment.colour, 0.7) if sum(garment.colour) > 200 else shade(garment.colour, 1.9)
    shape = garment.shape
    if shape in ("jacket", "coat"):
        pen.polygon([(-3.5, 0), (3.5, 0), (1.2, 12), (-1.2, 12)], (245, 245, 242))
        pen.polygon([(-6, 0), (-3, 0), (-0.5, 13), (-4, 7)], dark)
        pen.polygon([(6, 0), (3, 0), (0.5, 13), (4, 7)], dark)
        pen.line([(0, 12), (0, hem)], dark, 1.2)
        for y in np.arange(16, hem - 2, 6.0):
            pen.ellipse(2.6, float(y), 1.0, 1.0, INK)
    elif shape == "hoodie":
        pen.polygon([(-7, 17), (7, 17), (9, 25), (-9, 25)], dark)
        for side in (-1, 1):
            pen.line([(side * 2.5, 1), (side * 3, 9)], (245, 245, 245), 1.0)
    elif shape == "sweater":
        pen.polygon([(-5, -2), (5, -2), (5.5, 2), (-5.5, 2)], dark)
        pen.polygon([(-12, hem - 3), (12, hem - 3), (12, hem), (-12, hem)], dark)
    elif shape == "dress":
        pen.polygon([(-9.2, 14.5), (9.2, 14.5), (9.6, 17.5), (-9.6, 17.5)], dark)
    elif shape == "t-shirt":
        pen.chord(0, 0, 5, 4, 0, 180, dark)


def arm(garment: Garment | None, skin: Colour | None, scale: float) -> Sprite:
    """An arm hanging down from the shoulder (the origin): skin under a sleeve, either of which may be absent."""
    pen = Pen(16, 36, 8, 6, scale)
    if skin is not None:
        pen.line([(0, 0), (0, 22)], skin, 5.2)
        pen.ellipse(0, 23, 3.3, 3.3, skin)
    length = SLEEVES[garment.shape] if garment is not None else 0.0
    if garment is not None and length > 0:
        mask = Image.new("L", pen.image.size, 0)
        inner = ImageDraw.Draw(mask)
        inner.ellipse(pen.box(0, 0.6, 4.0, 4.0), fill=255)
        inner.polygon(pen.points([(-4, 0.6), (4, 0.6), (3.8, length), (-3.8, length)]), fill=255)
        fabric = cloth(garment, pen.image.size, (8 * scale, 6 * scale), scale)
        if garment.pattern == "two-tone":
            fabric = Image.new("RGBA", pen.image.size, (*garment.colour, 255))
        pen.image.paste(fabric, (0, 0), mask)
        pen.line([(-3.9, length), (3.9, length)], shade(garment.colour, 0.7), 1.0)
    return pen.sprite()


def leg(trousers: Colour, scale: float) -> Sprite:
    """A leg with its shoe, hanging from the hip (the origin)."""
    pen = Pen(18, 32, 8, 4, scale)
    pen.polygon([(-4.5, -2), (4.5, -2), (3.8, 20), (-3.8, 20)], trousers)
    pen.ellipse(0.8, 21.5, 5.2, 3.0, (58, 46, 42))
    return pen.sprite()
