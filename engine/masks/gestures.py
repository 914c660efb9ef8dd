"""What a user did on a picture, as values: clicks, boxes and brush strokes in order, and how the edge is finished.

All coordinates are in px of the whole picture, as it lies upright in the store, so they mean the same at every size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

from engine.errors import InputError

MAX_STEPS = 400
MAX_STROKE_POINTS = 40_000
MAX_FEATHER = 20
_FAULTY = "The page sent a gesture that cannot be read; reload it."


@dataclass(frozen=True, slots=True)
class Click:
    """The thing at (x, y) belongs to the cut-out, or does not."""

    x: float
    y: float
    include: bool


@dataclass(frozen=True, slots=True)
class Box:
    """The thing inside the box belongs to the cut-out. x0 < x1 and y0 < y1."""

    x0: float
    y0: float
    x1: float
    y1: float

    def holds(self, click: Click) -> bool:
        """Whether a click lies inside."""
        return self.x0 <= click.x <= self.x1 and self.y0 <= click.y <= self.y1


@dataclass(frozen=True, slots=True)
class Stroke:
    """Everything within `radius` px of the line through `points` is added, or erased."""

    points: tuple[tuple[float, float], ...]
    radius: float
    add: bool


Gesture = Click | Box | Stroke


@dataclass(frozen=True, slots=True, kw_only=True)
class Gestures:
    """Everything that makes a mask besides the picture: steps in order, feather, holes.

    `feather` is the width of the soft edge in thousandths of the picture's longer side, 0 to `MAX_FEATHER`.
    """

    steps: tuple[Gesture, ...] = ()
    feather: int = 0
    fill_holes: bool = False


def parse_gestures(data: object, width: int, height: int) -> Gestures:
    """Return the gestures a page sent for a picture of `width` × `height` px.

    `{"steps": [["click", x, y, include], ["box", x0, y0, x1, y1], ["stroke", radius, add, [x, y, x, y, …]]],
    "feather": n, "fill_holes": bool}`. What lies outside the picture is moved to its edge.

    Raises:
        InputError: this is nothing of the kind, or too much of it.
    """
    if not isinstance(data, dict):
        raise InputError(_FAULTY)
    fields = cast("dict[str, Any]", data)
    steps, feather, fill_holes = fields.get("steps"), fields.get("feather", 0), fields.get("fill_holes", False)
    if not isinstance(steps, list) or not isinstance(fill_holes, bool):
        raise InputError(_FAULTY)
    if type(feather) is not int or not 0 <= feather <= MAX_FEATHER:
        raise InputError(f"The soft edge goes from 0 to {MAX_FEATHER}; choose a value in between.")
    parts = cast("list[Any]", steps)
    if len(parts) > MAX_STEPS:
        raise InputError(f"More than {MAX_STEPS} strokes and clicks; press Done, then open the picture again to go on.")
    parsed = tuple(_parse(part, width, height) for part in parts)
    if sum(len(step.points) for step in parsed if isinstance(step, Stroke)) > MAX_STROKE_POINTS:
        raise InputError("The strokes are too long; press Done, then open the picture again to go on.")
    return Gestures(steps=parsed, feather=feather, fill_holes=fill_holes)


def _parse(part: object, width: int, height: int) -> Gesture:
    match part:
        case ["click", x, y, bool(include)]:
            return Click(_within(x, width), _within(y, height), include)
        case ["box", left, top, right, bottom]:
            x0, x1 = sorted((_within(left, width), _within(right, width)))
            y0, y1 = sorted((_within(top, height), _within(bottom, height)))
            if x1 - x0 < 1 or y1 - y0 < 1:
                raise InputError("The box is too small; drag it around the thing to keep.")
            return Box(x0, y0, x1, y1)
        case ["stroke", radius, bool(add), list(numbers)]:
            flat = cast("list[Any]", numbers)
            if not flat or len(flat) % 2 or len(flat) > 2 * MAX_STROKE_POINTS:
                raise InputError(_FAULTY)
            points = tuple((_within(flat[i], width), _within(flat[i + 1], height)) for i in range(0, len(flat), 2))
            return Stroke(points, min(max(_number(radius), 0.5), float(max(width, height))), add)
        case _:
            raise InputError(_FAULTY)


def _within(value: object, size: int) -> float:
    return min(max(_number(value), 0.0), float(size))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(_FAULTY)
    try:
        number = float(value)
    except OverflowError as error:
        raise InputError(_FAULTY) from error
    if not math.isfinite(number):
        raise InputError(_FAULTY)
    return number
