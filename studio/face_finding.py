"""The page's question where the faces in a picture are: asked of a process of its own, answered as crops to take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import InputError, PictureError, UserError
from engine.faces.found import FoundFace, crop_box, from_data, people
from engine.faces.kept import keep_faces, known_faces
from engine.faces.process import FaceProcess, FaceProgram
from engine.pictures import PictureStore
from studio.framing import SMALLEST_PX, picture_size
from studio.languages import heard, say

Json = dict[str, Any]

MOST_PEOPLE = 12
"""Of one picture: more cards than that nobody wants at once."""


class FaceFinding:
    """Holds the process that finds faces, from the first picture on. `finder` is asked each time: a detector may come
    or go."""

    def __init__(self, finder: Callable[[], FaceProgram | None], pictures: PictureStore) -> None:
        self._finder = finder
        self._pictures = pictures
        self._process: tuple[FaceProgram, FaceProcess] | None = None
        self._guard = threading.Lock()
        self.answers: dict[str, Callable[[Json], Json]] = {"find_faces": self._find}

    def close(self) -> None:
        """End the process."""
        with self._guard:
            if self._process is not None:
                self._process[1].close()

    def _find(self, message: Json) -> Json:
        """Crops of the faces in a picture, left to right; without a detector `{"installed": false}`.

        `one` asks for the largest face alone. `note` is a sentence for the user, "" if there is nothing to say.
        """
        picture = message.get("picture")
        if not isinstance(picture, str):
            raise InputError(say("old_page"))
        if picture not in self._pictures:
            raise PictureError(say("picture_gone"))
        process = self._process_now()
        if process is None:
            return {"installed": False, "boxes": [], "note": ""}
        try:
            found = people(self._faces(process, picture))
        except UserError as error:  # a box can still be drawn
            return {"installed": True, "boxes": [], "note": heard(str(error))}
        width, height = picture_size(self._pictures, picture)
        chosen = _largest(found, 1 if message.get("one") is True else MOST_PEOPLE)
        boxes = [crop_box(face, found, width, height) for face in chosen]
        note = "" if found else say("faces_none")
        if len(found) > len(chosen) == MOST_PEOPLE:
            note = say("faces_many", count=len(found), most=MOST_PEOPLE)
        return {"installed": True, "boxes": [list(box) for box in boxes if _fits(box)], "note": note}

    def _faces(self, process: FaceProcess, picture: str) -> tuple[FoundFace, ...]:
        known = known_faces(picture)
        if known is not None:
            return known
        faces = tuple(from_data(one) for one in process.ask({"picture": picture})["faces"])
        keep_faces(picture, faces)
        return faces

    def _process_now(self) -> FaceProcess | None:
        program = self._finder()
        with self._guard:
            if self._process is not None and self._process[0] == program:
                return self._process[1]
            if self._process is not None:
                self._process[1].close()
                self._process = None
            if program is None:
                return None
            process = FaceProcess(program, Path(self._pictures.root))
            self._process = (program, process)
            return process


def _largest(faces: tuple[FoundFace, ...], most: int) -> list[FoundFace]:
    by_size = sorted(faces, key=lambda face: -face.width * face.height)[:most]
    return [face for face in faces if face in by_size]


def _fits(box: tuple[int, int, int, int]) -> bool:
    return min(box[2] - box[0], box[3] - box[1]) >= SMALLEST_PX
