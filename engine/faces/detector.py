"""SCRFD as InsightFace runs it. The one module that imports insightface; only ever in the process that finds faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from engine.errors import WeightsError
from engine.faces.found import FoundFace, Point
from engine.pictures import RgbArray
from engine.weights import locate_whole, refusals
from engine.weights.catalogue import entry

_SMALL, _USUAL, _LARGE = 128, 640, 1280
"""A face that fills the picture is found in a small one, a face of a large group in a large one."""
_LOOK_PX = 1280
_FEWEST_OUTPUTS = 9
"""Scores, boxes and points at three sizes."""


class Detector(Protocol):
    """What finds faces."""

    def find(self, rgb: RgbArray) -> tuple[FoundFace, ...]:
        """All faces of a picture, [H, W, 3] uint8, the surest first."""
        ...


class Scrfd:
    """A detector of InsightFace's model packs on the processor, which takes a tenth of a second or so."""

    def __init__(self, model: Path) -> None:
        """Load the network. Raises `WeightsError` if the file is none of the kind."""
        from insightface.model_zoo import get_model

        try:
            found: Any = get_model(str(model), providers=["CPUExecutionProvider"])
        # onnxruntime raises a dozen classes of its own for a file it cannot use, all of them plain Exceptions
        except Exception as error:
            raise refusals.unreadable(model) from error
        if getattr(found, "taskname", "") != "detection" or len(found.output_names) < _FEWEST_OUTPUTS:
            raise WeightsError(f"{model} is no face detector with eyes, nose and mouth: take it away and get another.")
        found.prepare(-1)
        self._model = found

    def find(self, rgb: RgbArray) -> tuple[FoundFace, ...]:
        """See `Detector`."""
        height, width = rgb.shape[:2]
        scale = min(1.0, _LOOK_PX / max(height, width))
        look = rgb
        if scale < 1:  # by areas: the detector's own reduction would skip pixels
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            look = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        sides = (_SMALL, _USUAL, _LARGE) if max(look.shape[:2]) > _USUAL else (_SMALL, _USUAL)
        # the library wants the channels as OpenCV has them
        blue_first = np.ascontiguousarray(look[:, :, ::-1])
        boxes, points = self._model.detect(blue_first, input_size=[(side, side) for side in sides])
        back = np.array([width / look.shape[1], height / look.shape[0]])
        return tuple(
            _face(box[:4].reshape(2, 2) * back, float(box[4]), five * back)
            for box, five in zip(boxes, points, strict=True)
        )


def _face(box: np.ndarray[Any, Any], score: float, points: np.ndarray[Any, Any]) -> FoundFace:
    (x0, y0), (x1, y1) = box.tolist()
    five: list[Point] = [(x, y) for x, y in points.tolist()]
    return FoundFace(box=(x0, y0, x1, y1), score=score, points=(five[0], five[1], five[2], five[3], five[4]))


def installed_detector() -> Detector:
    """The detector that the user has installed. Raises `WeightsError` if there is none, or it is damaged."""
    folder = locate_whole("face-detection")
    return Scrfd(next(path for file in entry("face-detection").files if (path := folder / file.name).is_file()))
