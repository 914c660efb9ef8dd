"""From a rough mask to one at full size, and what is done to it by hand: edges, brush, holes, feather."""

from __future__ import annotations

from collections.abc import Iterable
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
_TILE_PX = 256
_SHIFT = 4


def enlarge(soft: SoftArray, rgb: RgbArray) -> BoolArray:
    """A rough mask [h, w] at the size of `rgb` [H, W, 3], its edges moved to where the picture has its own.

    The fast guided filter (He and Sun 2015): around every pixel of the rough mask, being kept is taken as a linear
    function of the colour; the functions are computed small and applied to the colours of the large picture, near the
    edge only.
    """
    height, width = rgb.shape[:2]
    rough = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    if soft.shape == (height, width):
        return rough
    near = cv2.dilate(soft, np.ones((5, 5), np.uint8)) > cv2.erode(soft, np.ones((5, 5), np.uint8)) + 0.25
    if not near.any():
        return rough
    terms = _linear_terms(soft, rgb)
    edge = near.astype(np.uint8)
    scale_x, scale_y = soft.shape[1] / width, soft.shape[0] / height
    for top in range(0, height, _TILE_PX):
        for left in range(0, width, _TILE_PX):
            bottom, right = min(top + _TILE_PX, height), min(left + _TILE_PX, width)
            spot = near[
                int(top * scale_y) : int(np.ceil(bottom * scale_y)), int(left * scale_x) : int(np.ceil(right * scale_x))
            ]
            if not spot.any():
                continue
            move = np.array(
                [[scale_x, 0, (left + 0.5) * scale_x - 0.5], [0, scale_y, (top + 0.5) * scale_y - 0.5]], np.float32
            )
            size = (right - left, bottom - top)
            local = cv2.warpAffine(
                terms, move, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
            )
            band = cv2.warpAffine(
                edge, move, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
            colours = rgb[top:bottom, left:right].astype(np.float32) / np.float32(255)
            kept = _over_colours(local[:, :, :3] * colours) + local[:, :, 3] > 0.5
            tile = rough[top:bottom, left:right]
            rough[top:bottom, left:right] = np.where(band > 0, kept, tile)
    return cv2.medianBlur(rough.astype(np.uint8), 3) > 0


def _linear_terms(soft: SoftArray, rgb: RgbArray) -> npt.NDArray[np.float32]:
    """[h, w, 4]: the three factors and the constant of the colour guided filter at the rough mask's size."""
    small = cv2.resize(rgb, soft.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)

    def mean(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return cv2.blur(values, (2 * _RADIUS + 1, 2 * _RADIUS + 1), borderType=cv2.BORDER_REPLICATE).astype(np.float32)

    colour, kept = mean(small), mean(soft)
    spread = np.stack([mean(small * small[:, :, i : i + 1]) for i in range(3)], axis=2)
    spread -= colour[:, :, :, None] * colour[:, :, None, :]
    spread += np.float32(_EPSILON) * np.eye(3, dtype=np.float32)
    common = mean(small * soft[:, :, None]) - colour * kept[:, :, None]
    factors = np.linalg.solve(spread, common[:, :, :, None])[:, :, :, 0]
    constant = kept - _over_colours(factors * colour)
    return mean(np.concatenate([factors, constant[:, :, None]], axis=2).astype(np.float32))


def _over_colours(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The sum over three colours, four times as quick as NumPy's over so short an axis."""
    return values[:, :, 0] + values[:, :, 1] + values[:, :, 2]


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
