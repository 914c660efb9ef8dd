"""The cutter's questions of the page: open a picture, gestures in, masks out, keep.

A page sends all gestures of a picture in order, numbered, every time: an answer that comes late is replaced by the next
one, and no click is lost by being quick. Where newer gestures of the same page wait already, older ones are left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

from engine.errors import InputError, PictureError
from engine.masks.process import CutterProcess, CutterProgram
from engine.pictures import PictureStore
from engine.scene import Role
from studio.languages import heard, say

Json = dict[str, Any]

_NEWS_S = 4.0
_MOST_PAGES = 64


class Cutting:
    """Holds one process per cutter, started at its first picture. `cutters` is asked whenever a picture is opened."""

    def __init__(self, cutters: Callable[[], tuple[CutterProgram, ...]], pictures: PictureStore) -> None:
        self._cutters = cutters
        self._pictures = pictures
        self._processes: dict[str, CutterProcess] = {}
        self._newest: dict[str, int] = {}
        self._preparing: dict[tuple[str, str], Future[Json]] = {}
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="lumosx-look")
        self._guard = threading.Lock()
        self.answers: dict[str, Callable[[Json], Json]] = {
            "cut_open": self._open,
            "cut_prepare": self._prepare,
            "cut_gestures": self._gestures,
            "cut_keep": self._keep,
        }

    def close(self) -> None:
        """End the processes."""
        with self._guard:
            processes = list(self._processes.values())
        for process in processes:
            process.close()
        self._threads.shutdown(cancel_futures=True)

    def _open(self, message: Json) -> Json:
        """The picture's size, where its view is, and the cutters there are."""
        programs = self._cutters()
        # the one without a network: it shows the picture while the other one is still being loaded
        seen = self._process(programs[-1]).ask({"do": "open", "picture": self._picture(message)})
        return {
            "width": seen["width"],
            "height": seen["height"],
            "view": f"studio/view/{message['picture']}",
            "cutters": [
                {"name": one.name, "title": heard(one.title), "note": heard(one.note), "builtin": one.builtin}
                for one in programs
            ],
            "install": "" if len(programs) > 1 else say("cut_install"),
        }

    def _prepare(self, message: Json) -> Json:
        """Let the cutter look at the picture; answers after some seconds even if it still looks: `{"ready": bool}`."""
        picture, program = self._picture(message), self._program(message)
        key = (program.name, picture)
        with self._guard:
            looking = self._preparing.get(key)
            if looking is None:
                question = {"do": "prepare", "picture": picture}
                looking = self._threads.submit(self._process_of(program).ask, question)
                self._preparing[key] = looking
        try:
            looking.result(timeout=_NEWS_S)
        except NotYet:
            return {"ready": False}
        finally:
            if looking.done():
                with self._guard:
                    self._preparing.pop(key, None)
        return {"ready": True}

    def _gestures(self, message: Json) -> Json:
        """The mask of the gestures so far; `{"superseded": true}` where newer ones of this page have come."""
        page, number = message.get("page"), message.get("number")
        if not isinstance(page, str) or not 0 < len(page) <= 64 or type(number) is not int:
            raise InputError(say("old_page"))
        question = self._question(message, "mask")
        process = self._process(self._program(message))
        with self._guard:
            self._newest[page] = max(number, self._newest.pop(page, number))
            while len(self._newest) > _MOST_PAGES:
                self._newest.pop(next(iter(self._newest)))
        answer = process.ask_if(question, lambda: self._newest.get(page, number) <= number)
        return {"number": number, "superseded": True} if answer is None else {"number": number, **answer}

    def _keep(self, message: Json) -> Json:
        """Store the finished mask: `{"mask": id}`."""
        return self._process(self._program(message)).ask(self._question(message, "keep"))

    def _question(self, message: Json, kind: str) -> Json:
        base, role = message.get("base"), message.get("role")
        if base is not None and (not isinstance(base, str) or base not in self._pictures):
            raise PictureError(say("cut_mask_gone"))
        if not isinstance(role, str) or role not in set(Role):
            raise InputError(say("old_page"))
        return {
            "do": kind,
            "picture": self._picture(message),
            "base": base,
            "role": role,
            "gestures": message.get("gestures"),
        }

    def _picture(self, message: Json) -> str:
        picture = message.get("picture")
        if not isinstance(picture, str):
            raise InputError(say("old_page"))
        if picture not in self._pictures:
            raise PictureError(say("picture_gone"))
        return picture

    def _program(self, message: Json) -> CutterProgram:
        name = message.get("cutter")
        for program in self._cutters():
            if program.name == name:
                return program
        raise InputError(say("cutter_gone"))

    def _process(self, program: CutterProgram) -> CutterProcess:
        with self._guard:
            return self._process_of(program)

    def _process_of(self, program: CutterProgram) -> CutterProcess:
        process = self._processes.get(program.name)
        if process is None:
            process = CutterProcess(program, Path(self._pictures.root))
            self._processes[program.name] = process
        return process
