"""Who stands where in a frame, and what do they wear: drawn faces and garments are searched in the picture.

Everything here compares pixels with drawings of the scene's own parts; nothing is learned and nothing is told where a
figure ought to be.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from engine.nano.world.drawing import Sprite, head_front, torso
from engine.nano.world.figures import HEAD, SHOULDER
from engine.nano.world.parts import Garment, Hat, Person

OVERSAMPLING = 3
SEPARATION = 15
"""Figures of the world never stand closer than this, in pixels."""

ROWS = (20, 44)
"""Rows in which the middle of a head can be."""

CANDIDATES = 6

SHOE_ROWS, SHOE_LEVEL = (84, 95), 72
"""Rows in which shoes stand, and how bright their brightest channel is at most, of 255."""
SHOES_APART, SHOES_WIDE = 6, 5
"""Pixels between shoes of two figures at least, and of a pair's width at least."""


@dataclass(frozen=True, slots=True)
class Template:
    """A drawn part: `pixels` float `[3, h, w]` in 0..1, `mask` float `[h, w]`, `origin` (x, y) of its joint."""

    pixels: torch.Tensor
    mask: torch.Tensor
    origin: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A head at (x, y) and how badly it fits (mean squared difference, 0 is perfect)."""

    x: int
    y: int
    misfit: float


def face_template(person: Person, hat: Hat | None) -> Template:
    """The face as it is drawn in a clip."""
    return sprite_template(head_front(person, hat, OVERSAMPLING))


def bare_face_template(person: Person) -> Template:
    """The face from the eyes down, which no hat covers."""
    template = face_template(person, None)
    mask = template.mask.clone()
    mask[: template.origin[1] - 1] = 0
    return Template(template.pixels, mask, template.origin)


def garment_template(garment: Garment) -> Template:
    """The middle of the garment's trunk, which arms rarely cover."""
    template = sprite_template(torso(garment, OVERSAMPLING))
    ox, oy = template.origin
    core = torch.zeros_like(template.mask)
    core[oy + 3 : oy + 26, ox - 8 : ox + 9] = 1
    return Template(template.pixels, template.mask * core, template.origin)


def locate(frame: np.ndarray, templates: Sequence[Template]) -> list[Found]:
    """One place for each head, all apart, so that together they fit best. `frame` uint8 `[H, W, 3]`."""
    options = [_minima(misfits(frame, template, ROWS, (0, frame.shape[1]))) for template in templates]
    best: tuple[float, tuple[Found, ...]] | None = None
    for places in itertools.product(*options):
        apart = all(abs(a.x - b.x) >= SEPARATION for a, b in itertools.combinations(places, 2))
        total = sum(place.misfit for place in places)
        if apart and (best is None or total < best[0]):
            best = total, places
    # With no legal arrangement every face keeps its own best place; the comparisons that follow will fail it.
    return list(best[1]) if best is not None else [option[0] for option in options]


def misfits(frame: np.ndarray, template: Template, rows: tuple[int, int], columns: tuple[int, int]) -> torch.Tensor:
    """Mean squared difference of the frame and the template with its joint at every pixel of `rows`×`columns`.

    Only what lies on the canvas is compared; where most of the template would lie outside the misfit is infinite.
    """
    height, width = template.mask.shape
    ox, oy = template.origin
    left, top = columns[0] - ox, rows[0] - oy
    window = (left, top, columns[1] - ox + width - 1, rows[1] - oy + height - 1)
    picture, inside = _window(frame, window)
    mask, pixels = template.mask[None, None], template.pixels[None]
    square = F.conv2d(picture.square().sum(1, keepdim=True), mask)
    cross = F.conv2d(picture, mask * pixels)
    own = F.conv2d(inside, (mask * pixels.square()).sum(1, keepdim=True))
    weight = F.conv2d(inside, mask) * 3
    misfit = (square - 2 * cross + own) / weight.clamp(min=1)
    return torch.where(weight > 0.6 * 3 * mask.sum(), misfit, torch.inf)[0, 0]


def _window(frame: np.ndarray, box: tuple[int, int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The part of a frame inside `box`, float `[1, 3, h, w]` in 0..1 and zero off it, and where it is canvas."""
    height, width = frame.shape[:2]
    left, top, right, bottom = box
    picture = torch.zeros(1, 3, bottom - top, right - left)
    inside = torch.zeros(1, 1, bottom - top, right - left)
    x0, x1, y0, y1 = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
    if x1 > x0 and y1 > y0:
        part = torch.from_numpy(np.ascontiguousarray(frame[y0:y1, x0:x1])).permute(2, 0, 1).float() / 255
        picture[0, :, y0 - top : y1 - top, x0 - left : x1 - left] = part
        inside[0, :, y0 - top : y1 - top, x0 - left : x1 - left] = 1
    return picture, inside


def misfit_near(frame: np.ndarray, template: Template, x: int, y: int, reach: int = 2) -> float:
    """The best misfit with the joint within `reach` pixels of (x, y)."""
    return float(misfits(frame, template, (y - reach, y + reach + 1), (x - reach, x + reach + 1)).min())


def nearest_garment(frame: np.ndarray, head: Found, garments: Sequence[Template]) -> int:
    """Index of the garment that the figure under this head seems to wear."""
    y = head.y + round(SHOULDER - HEAD)
    return int(np.argmin([misfit_near(frame, template, head.x, y) for template in garments]))


def nearest_face(frame: np.ndarray, head: Found, faces: Sequence[Template]) -> int:
    """Index of the face that fits best where this head is."""
    return int(np.argmin([misfit_near(frame, template, head.x, head.y) for template in faces]))


def pairs_of_shoes(frame: np.ndarray) -> int:
    """How many figures stand in a frame `[H, W, 3]` uint8, whoever they are: all of the world's shoes are alike.

    Who walks or jumps may count twice or not at all, who hides another counts for both, in true clips as well; a dark
    ground joins all of them.
    """
    dark = (frame[slice(*SHOE_ROWS)].max(axis=2) < SHOE_LEVEL).sum(axis=0) >= 2
    pairs: list[tuple[int, int]] = []
    for x in np.flatnonzero(dark).tolist():
        if pairs and x - pairs[-1][1] <= SHOES_APART:
            pairs[-1] = (pairs[-1][0], x)
        else:
            pairs.append((x, x))
    return sum(last - first + 1 >= SHOES_WIDE for first, last in pairs)


def sprite_template(sprite: Sprite) -> Template:
    """A sprite at one pixel a unit; its size and joint are whole pixels by construction."""
    array = np.asarray(sprite.image, np.float32) / 255
    alpha = array[..., 3:]
    height, width = array.shape[0] // OVERSAMPLING, array.shape[1] // OVERSAMPLING
    cells = np.concatenate([array[..., :3] * alpha, alpha], axis=2)[: height * OVERSAMPLING, : width * OVERSAMPLING]
    cells = cells.reshape(height, OVERSAMPLING, width, OVERSAMPLING, 4).mean(axis=(1, 3))
    pixels = cells[..., :3] / np.maximum(cells[..., 3:], 1e-6)
    mask = (cells[..., 3] > 0.99).astype(np.float32)
    origin = round(sprite.origin[0] / OVERSAMPLING), round(sprite.origin[1] / OVERSAMPLING)
    return Template(torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), torch.from_numpy(mask), origin)


def _minima(misfit: torch.Tensor) -> list[Found]:
    """The best few columns, each the best within a few pixels of itself."""
    columns, rows = misfit.min(dim=0)
    order = torch.argsort(columns)
    found: list[Found] = []
    for x in order.tolist():
        if all(abs(x - other.x) > 4 for other in found):
            found.append(Found(x, int(rows[x]) + ROWS[0], float(columns[x])))
        if len(found) == CANDIDATES:
            break
    return found
