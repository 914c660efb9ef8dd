"""Faces that a detector found in a picture: values, their order, the crop the model wants, the way they look.

Pure arithmetic in px of the whole upright picture; knows no detector and no pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in px, x1 and y1 outside"""
Point = tuple[float, float]

_SURE = 0.5
_SMALLEST_PX = 20
_BACKGROUND_SHARE = 0.2
"""A face with less than this share of the largest one's width stands in the background of somebody's portrait."""
# The published samples: from the hairline to just below the chin, from ear to ear, and a little air.
_ABOVE, _BELOW, _BESIDE = 0.22, 0.1, 0.16
_LEAST_ROOM = 0.03
_TURNED = 0.3
_TILTED_DEGREES = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFace:
    """A face: the detector's box (hairline to chin), how sure it is (0 to 1), and five points: the eyes, the nose, the
    corners of the mouth, left to right in the picture."""

    box: tuple[float, float, float, float]
    score: float
    points: tuple[Point, Point, Point, Point, Point]

    @property
    def width(self) -> float:
        """In px."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """In px."""
        return self.box[3] - self.box[1]


def people(faces: Sequence[FoundFace]) -> tuple[FoundFace, ...]:
    """The faces that become people: sure and large enough, from left to right; of faces above one another the upper
    ones first, as people stand in rows."""
    sure = [face for face in faces if face.score >= _SURE and min(face.width, face.height) >= _SMALLEST_PX]
    largest = max((face.width for face in sure), default=0.0)
    kept = sorted((face for face in sure if face.width >= _BACKGROUND_SHARE * largest), key=_middle_y)
    rows: list[list[FoundFace]] = []
    for face in kept:
        # a new row only where this face is below everybody of the last one
        if rows and any(face.box[1] < one.box[3] for one in rows[-1]):
            rows[-1].append(face)
        else:
            rows.append([face])
    return tuple(face for row in rows for face in sorted(row, key=lambda one: one.box[0] + one.box[2]))


def crop_box(face: FoundFace, others: Sequence[FoundFace], width: int, height: int) -> Box:
    """The part of a picture of this size that the model gets of a face: tight, with a little of what is around.

    The room around it shrinks before it holds a part of another face's box.
    """
    x0, y0, x1, y1 = face.box
    neighbours = [other.box for other in others if other is not face]
    box = _clipped(face.box, width, height)
    for tenths in range(10, -1, -1):
        room = max(tenths / 10, _LEAST_ROOM)
        wanted = (
            x0 - _BESIDE * room * face.width,
            y0 - _ABOVE * room * face.height,
            x1 + _BESIDE * room * face.width,
            y1 + _BELOW * room * face.height,
        )
        box = _clipped(wanted, width, height)
        if not any(_touch(wanted, other) and not _touch(face.box, other) for other in neighbours):
            break
    return box


def looks_away(face: FoundFace) -> bool:
    """Whether a face is turned so far to one side that half of it is hidden, by where the nose is between the eyes."""
    (left_x, left_y), (right_x, right_y), (nose_x, nose_y) = face.points[:3]
    across = math.hypot(right_x - left_x, right_y - left_y)
    if across < 0.15 * face.width:  # both eyes in one place: a profile
        return True
    middle_x, middle_y = (left_x + right_x) / 2, (left_y + right_y) / 2
    along = ((nose_x - middle_x) * (right_x - left_x) + (nose_y - middle_y) * (right_y - left_y)) / across
    return abs(along) / across > _TURNED


def is_tilted(face: FoundFace) -> bool:
    """Whether the head lies on its side, or upside down."""
    (left_x, left_y), (right_x, right_y) = face.points[:2]
    return abs(math.degrees(math.atan2(right_y - left_y, right_x - left_x))) > _TILTED_DEGREES


def face_in(box: Box, faces: Sequence[FoundFace]) -> FoundFace | None:
    """The face that a crop shows: the largest one whose middle lies in it, None if there is none."""
    inside = [
        face
        for face in faces
        if box[0] <= (face.box[0] + face.box[2]) / 2 < box[2] and box[1] <= _middle_y(face) < box[3]
    ]
    return max(inside, key=lambda face: face.width * face.height, default=None)


def to_data(face: FoundFace) -> list[float]:
    """Fifteen numbers: box, score, points."""
    return [round(value, 2) for value in (*face.box, face.score, *(part for point in face.points for part in point))]


def from_data(data: object) -> FoundFace:
    """The reverse of `to_data`; `ValueError` for anything else."""
    if not isinstance(data, list) or len(data) != 15:  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError("not a face")
    numbers = [float(value) for value in data]  # pyright: ignore[reportUnknownVariableType]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("not a face")
    x0, y0, x1, y1, score = numbers[:5]
    first, second, third, fourth, fifth = ((x, y) for x, y in list(pairwise(numbers[5:]))[::2])
    return FoundFace(box=(x0, y0, x1, y1), score=score, points=(first, second, third, fourth, fifth))


def _middle_y(face: FoundFace) -> float:
    return (face.box[1] + face.box[3]) / 2


def _clipped(box: tuple[float, float, float, float], width: int, height: int) -> Box:
    x0, y0 = max(0, min(round(box[0]), width - 1)), max(0, min(round(box[1]), height - 1))
    return x0, y0, max(x0 + 1, min(round(box[2]), width)), max(y0 + 1, min(round(box[3]), height))


def _touch(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
