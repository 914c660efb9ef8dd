"""From a rough mask to one at full size, and what is done to it by hand: edges, brush, holes, feather."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.masks.components import components
from engine.masks.cutter import BoolArray, SoftArray
from engine.masks.gestures import Click, Gesture, Stroke
from engine.pictures import MaskArray, RgbArray

_RADIUS = 3
_EPSILON = 4e-4
_TILE = 8
"""Side in pixels of the rough mask of the squares that are worked out at full size, where an edge runs through them."""
_SHIFT = 4
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
_KERNEL = np.ones((5, 5), np.uint8)

Plane = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Colours:
    """What the filter knows of a picture, in planes [h, w] float32 at the rough mask's size; colours are 0 to 1."""

    small: list[Plane]
    means: list[Plane]
    inverse: dict[tuple[int, int], Plane]
    """Of the colours' covariance around every pixel: its six different entries."""


class Edges:
    """Where a picture `rgb` [H, W, 3] has its edges, for rough masks of `size` (h, w).

    The fast guided filter (He and Sun 2015): around every pixel of the rough mask, being kept is taken as a linear
    function of the colour; the functions are computed small and applied to the colours of the large picture, near the
    edge only. What they need to know of the picture is the same for every mask: it is found once, and kept.
    """

    def __init__(self, rgb: RgbArray, size: tuple[int, int]) -> None:
        self._rgb = rgb
        self._size = size
        self._colours: _Colours | None = None

    def find(self) -> None:
        """Do now what depends on the picture alone, so that the first mask is as quick as the others."""
        if self._colours is None and self._size != self._rgb.shape[:2]:
            self._colours = _colours(self._rgb, self._size)

    def enlarge(self, soft: SoftArray) -> BoolArray:
        """A rough mask [h, w] at the size of the picture, its edges moved to where the picture has its own."""
        height, width = self._rgb.shape[:2]
        if soft.shape != self._size:
            raise ValueError(f"a rough mask of {soft.shape}, not {self._size}")
        rough = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
        if self._size == (height, width):
            return rough
        near = cv2.dilate(soft, _KERNEL) > cv2.erode(soft, _KERNEL) + 0.25
        if not near.any():
            return rough
        self.find()
        assert self._colours is not None
        self._mend(rough, near, _linear_terms(soft, self._colours))
        return cv2.medianBlur(rough.view(np.uint8), 3) > 0

    def _mend(self, rough: BoolArray, near: BoolArray, terms: Plane) -> None:
        """Decide anew, in place, about the pixels whose place in the rough mask is `near` an edge."""
        height, width = rough.shape
        scale_y, scale_x = near.shape[0] / height, near.shape[1] / width
        rows, columns = _places(height, near.shape[0]), _places(width, near.shape[1])
        for y, x in np.argwhere(_any_in_tiles(near)):
            top, bottom = np.searchsorted(rows, (y * _TILE, (y + 1) * _TILE))
            left, right = np.searchsorted(columns, (x * _TILE, (x + 1) * _TILE))
            move = np.array(
                [[scale_x, 0, (left + 0.5) * scale_x - 0.5], [0, scale_y, (top + 0.5) * scale_y - 0.5]], np.float64
            )
            local = cv2.warpAffine(
                terms, move, (int(right - left), int(bottom - top)),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
            colours = self._rgb[top:bottom, left:right]
            kept = _sum([local[:, :, 3], *(local[:, :, i] * colours[:, :, i] for i in range(3))]) > 0.5
            band = near[rows[top:bottom]].take(columns[left:right], axis=1)
            np.copyto(rough[top:bottom, left:right], kept, where=band)


def _colours(rgb: RgbArray, size: tuple[int, int]) -> _Colours:
    small = cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    colours = [np.ascontiguousarray(small[:, :, i]) for i in range(3)]
    means = [_mean(colour) for colour in colours]
    spread = {(i, j): _mean(colours[i] * colours[j]) - means[i] * means[j] for i, j in _PAIRS}
    return _Colours(small=colours, means=means, inverse=_inverse(spread))


def _linear_terms(soft: SoftArray, colours: _Colours) -> Plane:
    """[h, w, 4]: the filter's three factors for colours of 0 to 255 and its constant."""
    kept = _mean(soft)
    common = [_mean(one * soft) - mean * kept for one, mean in zip(colours.small, colours.means, strict=True)]
    factors = [_sum(colours.inverse[min(i, j), max(i, j)] * common[j] for j in range(3)) for i in range(3)]
    constant = kept - _sum(factor * mean for factor, mean in zip(factors, colours.means, strict=True))
    planes = [*(_mean(factor) / np.float32(255) for factor in factors), _mean(constant)]
    return cv2.merge(planes).astype(np.float32, copy=False)


def _sum(planes: Iterable[Plane]) -> Plane:
    """Four times as quick as NumPy's own along so short an axis."""
    return reduce(np.add, planes)


def _mean(values: Plane) -> Plane:
    """Of the square around every pixel, 2 `_RADIUS` + 1 px wide."""
    side = 2 * _RADIUS + 1
    return cv2.blur(values, (side, side), borderType=cv2.BORDER_REPLICATE).astype(np.float32, copy=False)


def _inverse(means: dict[tuple[int, int], Plane]) -> dict[tuple[int, int], Plane]:
    """The inverses of the symmetric 3 × 3 matrices in planes, `_EPSILON` added to each, by their cofactors."""
    xx, xy, xz, yy, yz, zz = (means[pair].astype(np.float64) + _EPSILON * (pair[0] == pair[1]) for pair in _PAIRS)
    minors = (
        yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy, xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    )  # fmt: skip
    whole = xx * minors[0] + xy * minors[1] + xz * minors[2]
    return {pair: (minor / whole).astype(np.float32) for pair, minor in zip(_PAIRS, minors, strict=True)}


def _places(length: int, small: int) -> npt.NDArray[np.int64]:
    """In which of `small` pixels the middle of each of `length` lies."""
    return np.minimum(((np.arange(length) + 0.5) * (small / length)).astype(np.int64), small - 1)


def _any_in_tiles(mask: BoolArray) -> BoolArray:
    """Whether anything is set, by squares of `_TILE` px."""
    rows, columns = (np.arange(0, length, _TILE) for length in mask.shape)
    return np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, axis=0), columns, axis=1)


def paint(mask: BoolArray, stroke: Stroke, scale: float) -> BoolArray:
    """The mask with a brush stroke added or erased; `scale` is px of the mask per px of the picture."""
    area = np.zeros(mask.shape, dtype=np.uint8)
    _draw(area, stroke, scale)
    return mask | (area > 0) if stroke.add else mask & (area == 0)


def _draw(area: MaskArray, stroke: Stroke, scale: float) -> None:
    unit = 1 << _SHIFT
    # a coordinate is an edge between pixels to the page, the middle of one to OpenCV
    points = np.rint((np.array(stroke.points) * scale - 0.5) * unit).astype(np.int32)
    radius = max(stroke.radius * scale, 0.5)
    thickness = max(1, round(2 * radius))
    if len(points) > 1:
        cv2.polylines(area, [points.reshape(-1, 1, 2)], False, 1, thickness, cv2.LINE_8, _SHIFT)
    for x, y in {(int(x), int(y)) for x, y in (points[0], points[-1])}:
        cv2.circle(area, (x, y), round(radius * unit), 1, -1, cv2.LINE_8, _SHIFT)


def fill_holes(mask: BoolArray, steps: Iterable[Gesture], scale: float) -> BoolArray:
    """The mask without holes, but for those that a user made: an exclude click inside, or touched by the eraser."""
    parts, areas = components(~mask, diagonal=False)
    hole = np.ones(areas.size, dtype=np.bool_)
    hole[0] = False  # the mask itself
    for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        hole[np.unique(edge)] = False
    height, width = mask.shape
    for step in steps:
        if isinstance(step, Click) and not step.include:
            hole[parts[min(int(step.y * scale), height - 1), min(int(step.x * scale), width - 1)]] = False
        elif isinstance(step, Stroke) and not step.add:
            area = np.zeros(mask.shape, dtype=np.uint8)
            _draw(area, step, scale)
            hole[np.unique(parts[area > 0])] = False
    return mask | hole[parts]


def feathered(mask: BoolArray, width_px: float) -> MaskArray:
    """The mask as uint8, 255 = keep, rising from its edge over `width_px` inwards.

    Inwards, so that nothing of what lies behind the thing comes along with a soft edge.
    """
    hard = mask.astype(np.uint8)
    if width_px < 1 or not mask.any():
        return hard * np.uint8(255)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    # one more pixel around: its edge is an edge of the thing, too, unless it is the picture's
    top, bottom = max(rows[0] - 1, 0), rows[-1] + 2
    left, right = max(columns[0] - 1, 0), columns[-1] + 2
    part = hard[top:bottom, left:right]
    if part.all():
        return hard * np.uint8(255)
    depth = cv2.distanceTransform(part, cv2.DIST_L2, 5) / np.float32(width_px)
    rise = np.clip(depth, 0, 1)
    rise = rise * rise * (3 - 2 * rise)
    soft = np.zeros(mask.shape, dtype=np.uint8)
    soft[top:bottom, left:right] = np.where(part > 0, np.maximum(np.rint(rise * 255), 1), 0).astype(np.uint8)
    return soft
