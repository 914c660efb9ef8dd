"""The built-in cutter: OpenCV's GrabCut, begun from the colours around the clicks. Needs no weights.

GrabCut (Rother, Kolmogorov, Blake 2004) takes 40 to 90 ms per round on a picture of 256 px; at 512 px it would be half
a second. So it works small, and `refine` finds the edges at full size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engine.masks.components import components
from engine.masks.cutter import BoolArray, Guess, Prompts, SoftArray
from engine.masks.gestures import Box, Click
from engine.pictures import MaskArray, PictureId, RgbArray

_SAME, _LIKE, _AKIN = 8.0, 16.0, 24.0
"""Distances in CIE L*a*b* from a click's colour: what is nearer surely, probably, perhaps goes with the click."""
_SHADING = 0.5
"""How much a difference of lightness counts: folds and shadows are darker, not another thing."""
_GROWTH_PX = 3
_SEED_PX = 2
_SPECK = 0.01
_FEWEST = 16


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    rgb: RgbArray
    lab: SoftArray


class GrabCut:
    """See the module."""

    look_px = 256
    work_px = 256

    def ready(self, picture: PictureId) -> bool:
        """Always: there is nothing to compute beforehand."""
        return True

    def prepare(self, picture: PictureId, rgb: RgbArray, work: tuple[int, int]) -> _Prepared:
        """Return the picture in the colour space in which distances mean something."""
        smooth = cv2.bilateralFilter(np.ascontiguousarray(rgb), 5, 40, 3)
        lab = cv2.cvtColor(smooth.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
        lab = lab.astype(np.float32) * np.array((_SHADING, 1, 1), np.float32)
        return _Prepared(np.ascontiguousarray(rgb), lab)

    def mask(self, prepared: _Prepared, prompts: Prompts, before: Guess | None) -> Guess:
        """One round of GrabCut from the guess before, two from none."""
        labels, seeds = _labels(prepared, prompts, before)
        known = before is not None and before.soft > 0.5
        kept = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
        if min(int(kept.sum()), int((~kept).sum())) >= _FEWEST:
            cv2.setRNGSeed(1)  # its colour clusters begin at random
            rounds = 2 if before is None else 1
            background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
            # the rectangle counts for nothing where there are labels
            cv2.grabCut(prepared.rgb, labels, (0, 0, 1, 1), background, foreground, rounds, cv2.GC_INIT_WITH_MASK)
            kept = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
        return Guess(soft=_without_specks(kept, seeds | known, prompts.box).astype(np.float32))


def _labels(prepared: _Prepared, prompts: Prompts, before: Guess | None) -> tuple[MaskArray, BoolArray]:
    """Return what is kept for sure, perhaps, perhaps not and surely not; and the pixels of the include clicks.

    Without a box nothing says how far a thing may reach. Left alone, GrabCut then takes every part of the picture whose
    colours it has seen; so it may only grow into what is akin to a click, and for one inside the box not out of it.
    """
    height, width = prepared.lab.shape[:2]
    box = prompts.box
    if before is not None:
        kept = before.soft > 0.5
    elif box is not None:
        kept = _inside(box, height, width)
    else:
        kept = np.zeros((height, width), dtype=np.bool_)
    within = kept.copy()
    sure = np.zeros((height, width), dtype=np.uint8)
    seeds = np.zeros((height, width), dtype=np.bool_)
    for click in prompts.clicks:  # the last click at a place says what it is
        column, row = _pixel(click, height, width)
        same, like, akin = (_alike(prepared.lab, column, row, distance) for distance in (_SAME, _LIKE, _AKIN))
        kept = kept | like if click.include else kept & ~like
        if box is not None and box.holds(click):
            akin = akin & _inside(box, height, width)
        within = within | akin if click.include else within & ~like
        sure[same] = 1 if click.include else 2
        seeds[max(row - _SEED_PX, 0) : row + _SEED_PX + 1, max(column - _SEED_PX, 0) : column + _SEED_PX + 1] = (
            click.include
        )
    labels = np.where(kept, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_PR_BGD))
    if box is None or before is not None:
        reach = np.ones((2 * _GROWTH_PX + 1, 2 * _GROWTH_PX + 1), dtype=np.uint8)
        labels[cv2.dilate(within.astype(np.uint8), reach) == 0] = cv2.GC_BGD
    else:
        labels[~_inside(box, height, width)] = cv2.GC_BGD
    labels[sure == 1] = cv2.GC_FGD
    labels[sure == 2] = cv2.GC_BGD
    return labels, seeds


def _alike(lab: SoftArray, column: int, row: int, distance: float) -> BoolArray:
    """The connected region around a pixel whose colour is like that of its surroundings of 3 × 3 px."""
    around = lab[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].reshape(-1, 3)
    near = np.linalg.norm(lab - np.median(around, axis=0), axis=2) < distance
    near[row, column] = True
    parts, _ = components(near, diagonal=False)
    return parts == parts[row, column]


def _without_specks(kept: BoolArray, wanted: BoolArray, box: Box | None) -> BoolArray:
    """Only the connected parts that were asked for: those under `wanted`; with a box, all larger ones, too."""
    parts, areas = components(kept, diagonal=True)
    if areas.size <= 1:
        return kept
    asked = np.zeros(areas.size, dtype=np.bool_)
    asked[np.unique(parts[wanted & kept])] = True
    if box is not None:
        asked |= areas >= _SPECK * areas[1:].max()
    asked[0] = False
    return asked[parts]


def _inside(box: Box, height: int, width: int) -> BoolArray:
    inside = np.zeros((height, width), dtype=np.bool_)
    left, top = int(box.x0), int(box.y0)
    inside[top : max(round(box.y1), top + 1), left : max(round(box.x1), left + 1)] = True
    return inside


def _pixel(click: Click, height: int, width: int) -> tuple[int, int]:
    return min(int(click.x), width - 1), min(int(click.y), height - 1)
