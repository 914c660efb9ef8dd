"""The process that finds faces: one question per line of JSON on its standard input, one answer per line on its output.

`python -m engine.faces.worker PICTURES`, PICTURES being the folder of the picture store. `{"picture": id}` is answered
with `{"faces": [[x0, y0, x1, y1, score, five points], …]}`, all that were found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from engine.asking import serve
from engine.faces.detector import Detector, installed_detector
from engine.faces.found import to_data
from engine.pictures import PictureStore

Json = dict[str, Any]


class Worker:
    """Answers questions about the pictures of one store; loads its detector at the first of them."""

    def __init__(self, load: Callable[[], Detector], pictures: PictureStore) -> None:
        self._load = load
        self._pictures = pictures
        self._detector: Detector | None = None

    def answer(self, question: Json) -> Json:
        """See the module. Raises `UserError`."""
        if self._detector is None:
            self._detector = self._load()
        rgb = self._pictures.load(str(question["picture"]))
        return {"faces": [to_data(face) for face in self._detector.find(rgb)]}


def run(load: Callable[[], Detector], pictures: Path) -> int:
    """Serve on the process's own input and output until the questions end."""
    return serve(Worker(load, PictureStore(pictures)).answer)


if __name__ == "__main__":
    cv2.setNumThreads(2)
    sys.exit(run(installed_detector, Path(sys.argv[1])))
