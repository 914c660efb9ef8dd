"""Drawn reference pictures that look as if they had been photographed: light, folds, grain, other outlines and crops.

Whoever has only seen drawings takes the shades and outlines of a photograph for something else altogether. What a
picture stands for stays: the colours, and what lies where.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.filters import gaussian
from skimage.transform import resize, warp

WHITE = 250
"""From this value on, in all three channels, a pixel of a cut-out counts as the white around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roughness:
    """How far a photograph is from the drawing, as largest shares: `bend` of the side length by which places move,
    `turn` in degrees, `light` and `grain` of the brightness, `tint` of one channel against another; `torn`: how often
    something stood before a cut-out, `tight`: how much of a side a closer crop may leave out, `cut`: how much of its
    width or height a picture of another shape may be without."""

    bend: float
    turn: float
    light: float
    grain: float
    tint: float
    torn: float
    tight: float
    cut: float


FACE = Roughness(bend=0.03, turn=12, light=0.35, grain=0.05, tint=0.06, torn=0, tight=0.3, cut=0.3)
CUT_OUT = Roughness(bend=0.04, turn=12, light=0.35, grain=0.06, tint=0.05, torn=0.5, tight=0, cut=0)
PLACE = Roughness(bend=0.02, turn=0, light=0.3, grain=0.05, tint=0.05, torn=0, tight=0.1, cut=0.5)


def photographed(picture: np.ndarray, rng: np.random.Generator, rough: Roughness) -> np.ndarray:
    """The picture, HWC uint8, as a photograph; the white around a cut-out stays white.

    It is as large as the picture, but for what is cut off two sides.
    """
    pixels = picture.astype(np.float32) / 255
    # A cut-out is moved together with its outline; a whole picture has none.
    ink: np.ndarray = np.ones(picture.shape[:2], np.float32)
    if rough.torn:
        ink[...] = (picture < WHITE).any(axis=2)
    moved = _moved(np.dstack([pixels * ink[..., None], ink]), rng, rough)
    ink = moved[..., 3:]
    pixels = moved[..., :3] / np.maximum(ink, 1e-3)
    height, width = picture.shape[:2]
    shade = 1 + rough.light * _cloud(rng, height, width, 2) * rng.random()
    folds = 1 + 0.6 * rough.light * _cloud(rng, height, width, 7) * rng.random()
    pixels = pixels * (shade * folds)[..., None]
    pixels = pixels * (1 + rough.tint * rng.uniform(-1, 1, 3)) + rough.grain * rng.random() * rng.normal(
        size=(height, width, 1)
    )
    pixels = np.clip(pixels, 0, 1) ** rng.uniform(0.75, 1.4)
    pixels = gaussian(pixels, sigma=float(rng.uniform(0, 1.2)) * max(height, width) / 96, channel_axis=2)
    if rough.torn:
        ink = (ink[..., 0] > 0.5) & ~_before_it(rng, height, width, rough.torn)
        pixels = np.where(ink[..., None], pixels, 1)
    return _reshaped((np.clip(pixels, 0, 1) * 255).astype(np.uint8), rng, rough.cut)


def _reshaped(picture: np.ndarray, rng: np.random.Generator, cut: float) -> np.ndarray:
    """Half of the time without a part of its width or height, at most the share `cut`, as much on either side."""
    if not cut or rng.random() < 0.5:
        return picture
    axis = int(rng.integers(2))
    side = picture.shape[axis]
    margin = int(rng.uniform(0, cut) * side / 2)
    return np.ascontiguousarray(picture.take(range(margin, side - margin), axis=axis))


def _moved(pixels: np.ndarray, rng: np.random.Generator, rough: Roughness) -> np.ndarray:
    """Bent, turned and cropped a little; what comes in from outside is empty for a cut-out, else the edge again."""
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = rows / height - 0.5, columns / width - 0.5
    angle = np.deg2rad(rng.uniform(-rough.turn, rough.turn))
    zoom = 1 - rough.tight * rng.random()
    across, along = zoom * rng.uniform(0.9, 1.1, 2) if rough.torn else (zoom, zoom)
    turned_y = along * (np.cos(angle) * y - np.sin(angle) * x)
    turned_x = across * (np.sin(angle) * y + np.cos(angle) * x)
    bent_y = turned_y + rough.bend * _cloud(rng, height, width, 3)
    bent_x = turned_x + rough.bend * _cloud(rng, height, width, 3)
    places = np.stack([(bent_y + 0.5) * height, (bent_x + 0.5) * width])
    mode = "constant" if rough.torn else "edge"
    channels = [warp(pixels[..., number], places, order=1, mode=mode) for number in range(pixels.shape[2])]
    return np.stack(channels, axis=2).astype(np.float32)


def _cloud(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """A smooth random field `[height, width]`, mostly between -1 and 1, with about `cells` hills along a side."""
    coarse = rng.uniform(-1, 1, (cells + 1, cells + 1))
    field: np.ndarray = np.asarray(resize(coarse, (height, width), order=3, mode="reflect", anti_aliasing=False))
    return field.astype(np.float32)


def _before_it(rng: np.random.Generator, height: int, width: int, share: float) -> np.ndarray:
    """What hides part of a cut-out, bool `[height, width]`: an arm or hair from one side, or the end of the picture."""
    rows, columns = np.mgrid[0:height, 0:width]
    hidden = np.zeros((height, width), dtype=bool)
    if rng.random() < share:
        hidden |= rows > height * rng.uniform(0.55, 1)
    if rng.random() < share:
        x, y = rng.uniform(0.1, 0.9) * width, rng.choice([0.0, 1.0]) * height
        hidden |= ((columns - x) / (0.22 * width)) ** 2 + ((rows - y) / (rng.uniform(0.1, 0.35) * height)) ** 2 < 1
    return hidden
