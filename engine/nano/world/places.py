"""Backgrounds and objects of the paper-doll world."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from engine.nano.world.drawing import INK, Pen, Sprite, shade
from engine.nano.world.parts import ELSEWHERE, Colour, Place, Thing


class _Wall:
    """An RGB picture painted in shares of its width and height; discs are measured by the height."""

    def __init__(self, width: int, height: int, ground: Colour) -> None:
        self.width, self.height = width, height
        self.image = Image.new("RGB", (width, height), ground)
        self._draw = ImageDraw.Draw(self.image)

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        corners = [x0 * self.width, y0 * self.height, x1 * self.width - 1, y1 * self.height]
        self._draw.rectangle(corners, fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        r = radius * self.height
        cx, cy = x * self.width, y * self.height
        self._draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=fill)

    def light(self, across: float, down: float) -> None:
        """Make one side brighter than the other by these shares, and the upper or lower edge."""
        x, y = np.linspace(-1, 1, self.width), np.linspace(-1, 1, self.height)
        lit = np.asarray(self.image) * (1 + across * x[None, :, None] + down * y[:, None, None])
        self.image = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))

    def blur(self, radius: float) -> None:
        """Put everything out of focus."""
        self.image = self.image.filter(ImageFilter.GaussianBlur(radius * self.height))


def draw_backdrop(place: Place, width: float, height: float, scale: float) -> Image.Image:
    """The whole background, RGB, `width`×`height` units at `scale` pixels a unit; the ground begins near 0.78."""
    wall = _Wall(round(width * scale), round(height * scale), place.first)
    _PLACES[place.kind](place, np.random.default_rng(place.variant), wall)
    return wall.image


def _room(place: Place, rng: np.random.Generator, wall: _Wall) -> None:
    wall.rect(0, 0.78, 1, 1, place.second)
    wall.rect(0, 0.76, 1, 0.78, shade(place.second, 0.8))
    x = float(rng.uniform(0.05, 0.65))
    wall.rect(x, 0.1, x + 0.28, 0.5, (250, 250, 250))
    wall.rect(x + 0.02, 0.13, x + 0.13, 0.47, (170, 210, 240))
    wall.rect(x + 0.15, 0.13, x + 0.26, 0.47, (170, 210, 240))


def _park(place: Place, rng: np.random.Generator, wall: _Wall) -> None:
    wall.rect(0, 0, 1, 0.8, (176, 216, 244))
    wall.disc(float(rng.uniform(0.1, 0.9)), 0.14, 0.09, (252, 228, 120))
    for _ in range(3):
        x = float(rng.uniform(0.0, 1.0))
        wall.rect(x - 0.015, 0.4, x + 0.015, 0.8, (120, 88, 60))
        wall.disc(x, 0.36, 0.16, shade((96, 160, 88), float(rng.uniform(0.8, 1.2))))
    wall.rect(0, 0.76, 1, 1, (142, 190, 104))


def _beach(place: Place, rng: np.random.Generator, wall: _Wall) -> None:
    wall.rect(0, 0, 1, 0.5, (190, 226, 250))
    wall.disc(float(rng.uniform(0.1, 0.9)), 0.18, 0.1, (255, 236, 150))
    wall.rect(0, 0.48, 1, 0.78, (96, 170, 206))
    wall.rect(0, 0.74, 1, 1, (238, 218, 168))


def _city(place: Place, rng: np.random.Generator, wall: _Wall) -> None:
    x = 0.0
    while x < 1:
        wide, top = float(rng.uniform(0.12, 0.22)), float(rng.uniform(0.08, 0.45))
        wall.rect(x, top, x + wide, 0.8, shade(place.second, float(rng.uniform(0.6, 0.95))))
        for wx in np.arange(x + 0.03, x + wide - 0.03, 0.05):
            for wy in np.arange(top + 0.06, 0.7, 0.12):
                wall.rect(float(wx), float(wy), float(wx) + 0.025, float(wy) + 0.05, (250, 240, 190))
        x += wide
    wall.rect(0, 0.78, 1, 1, (150, 150, 156))


def _night(place: Place, rng: np.random.Generator, wall: _Wall) -> None:
    wall.rect(0, 0, 1, 0.8, (46, 52, 96))
    for _ in range(16):
        wall.disc(float(rng.uniform(0, 1)), float(rng.uniform(0, 0.6)), 0.012, (240, 240, 220))
    wall.disc(float(rng.uniform(0.1, 0.9)), 0.16, 0.09, (244, 240, 214))
    wall.rect(0, 0.78, 1, 1, (66, 78, 84))


def _desert(place: Place, rng: np.random.Generator, wall: _Wall) -> None:
    wall.rect(0, 0, 1, 0.8, (250, 214, 170))
    for _ in range(3):
        wall.disc(float(rng.uniform(0, 1)), 1.05, 0.45, shade((226, 178, 116), float(rng.uniform(0.85, 1.1))))
    wall.rect(0, 0.8, 1, 1, (222, 172, 108))


def _studio(place: Place, rng: np.random.Generator, wall: _Wall) -> None:
    count = int(rng.integers(0, 4))
    for i in range(count):
        wall.rect((2 * i + 1) / (2 * count + 1), 0, (2 * i + 2) / (2 * count + 1), 0.8, shade(place.first, 0.92))
    wall.rect(0, 0.78, 1, 1, place.second)


def _elsewhere(place: Place, rng: np.random.Generator, wall: _Wall) -> None:
    """No place in particular: blocks and discs of any colour, lit unevenly and out of focus, as a photograph of a
    furnished room would be to whoever knows no furniture."""
    dim = float(rng.uniform(0.35, 1.0))

    def colour() -> Colour:
        base = place.first if rng.random() < 0.5 else place.second
        mixed = dim * (0.6 * np.asarray(base) + 0.4 * rng.integers(0, 256, 3))
        return int(mixed[0]), int(mixed[1]), int(mixed[2])

    wall.rect(0, 0, 1, 1, shade(place.first, dim))
    wall.rect(0, float(rng.uniform(0.55, 0.85)), 1, 1, shade(place.second, dim))
    for _ in range(int(rng.integers(3, 12))):
        x, y = float(rng.uniform(-0.1, 1)), float(rng.uniform(-0.1, 1))
        if rng.random() < 0.7:
            wide, high = (float(share) for share in rng.uniform(0.12, 0.5, 2))
            wall.rect(max(x, 0), max(y, 0), x + wide, y + high, colour())
        else:
            wall.disc(x, y, float(rng.uniform(0.06, 0.25)), colour())
    wall.light(float(rng.uniform(-0.4, 0.4)), float(rng.uniform(-0.4, 0.4)))
    wall.blur(float(rng.uniform(0, 0.025)))


_PLACES: dict[str, Callable[[Place, np.random.Generator, _Wall], None]] = {
    "room": _room,
    "park": _park,
    "beach": _beach,
    "city": _city,
    "night": _night,
    "desert": _desert,
    "studio": _studio,
    ELSEWHERE: _elsewhere,
}


def draw_thing_sprite(thing: Thing, scale: float) -> Sprite:
    """An object standing on the ground at the origin, about 24 units high."""
    pen = Pen(32, 40, 16, 36, scale)
    colour, dark = thing.colour, shade(thing.colour, 0.75)
    if thing.kind == "ball":
        pen.ellipse(0, -9, 9, 9, colour)
        pen.chord(0, -9, 9, 9, 20, 100, dark)
        pen.ellipse(-3, -12, 2.2, 2.2, shade(colour, 1.3))
    elif thing.kind == "lamp":
        pen.polygon([(-1, 0), (1, 0), (1, -18), (-1, -18)], INK)
        pen.ellipse(0, -1, 6, 1.6, INK)
        pen.polygon([(-9, -15), (9, -15), (5, -29), (-5, -29)], colour)
    elif thing.kind == "plant":
        for dx, dy in ((-7, -20), (0, -26), (7, -20), (-4, -25), (4, -25)):
            pen.ellipse(dx * 0.8, dy + 4, 3.5, 7, (72, 144, 70))
        pen.polygon([(-6, -12), (6, -12), (4.5, 0), (-4.5, 0)], colour)
    elif thing.kind == "box":
        pen.polygon([(-10, -16), (10, -16), (10, 0), (-10, 0)], colour)
        pen.polygon([(-10, -16), (10, -16), (7, -20), (-7, -20)], dark)
        pen.polygon([(-2, -16), (2, -16), (2, 0), (-2, 0)], dark)
    elif thing.kind == "balloon":
        pen.line([(0, 0), (1.5, -8), (0, -16)], INK, 0.8)
        pen.ellipse(0, -25, 8, 9.5, colour)
        pen.ellipse(-3, -28, 2, 2.6, shade(colour, 1.35))
    else:
        pen.polygon([(-8, -26), (-5, -26), (-5, 0), (-8, 0)], dark)
        pen.polygon([(-8, -13), (9, -13), (9, -9), (-8, -9)], colour)
        pen.polygon([(6, -10), (9, -10), (9, 0), (6, 0)], dark)
        pen.polygon([(-8, -28), (-5, -28), (-4, -14), (-8, -14)], colour)
    return pen.sprite()
