"""The part of the desk that edits scenes: one message per edit, the answer is the next scene as the page shows it.

Keeps no scene: every message brings its own. What a page wants to find again lies in the drafts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from engine.errors import InputError, UserError
from engine.pictures import PictureStore
from engine.scene import Reference, Scene
from studio import view
from studio.cast_edits import insert_cast
from studio.draft import edit_prompt, parse_scene
from studio.drafts import DraftBook
from studio.edits import ChoiceNeeded, apply_edit
from studio.framing import first_box, mask_frame, picture_size
from studio.languages import heard, say
from studio.library import Library
from studio.own_presets import delete_preset, part_of, save_preset
from studio.picture_advice import picture_advice

Json = dict[str, Any]


class SceneDesk:
    """Answers the messages about the scene on a page."""

    def __init__(self, *, pictures: PictureStore, library: Library, drafts: DraftBook) -> None:
        self._pictures = pictures
        self._library = library
        self._drafts = drafts
        self.answers: dict[str, Callable[[Json], Json]] = {
            "begin_empty": lambda _: self.show(Scene(), ""),
            "revise": self._revise,
            "edit": self._edit,
            "insert_preset": self._insert_preset,
            "save_preset": self._save_preset,
            "delete_preset": self._delete_preset,
            "framing": self._framing,
            "keep": self._keep,
            "reopen": self._reopen,
        }

    def show(self, scene: Scene, title: str) -> Json:
        """Return a scene as the page shows it, with what a look at its pictures says."""
        return view.scene_view(scene, title, self._advice)

    def receive_picture(self, data: bytes, name: str) -> Json:
        """Take in the content of a picture file; return its id, size and a first box, or a sentence that names it."""
        try:
            picture = self._pictures.add_bytes(data, name)
        except UserError as error:
            return {"error": heard(str(error))}
        width, height = picture_size(self._pictures, picture)
        return {
            "picture": picture,
            "name": name,
            "width": width,
            "height": height,
            "box": list(first_box(width, height)),
        }

    def _advice(self, reference: Reference) -> str:
        return picture_advice(self._pictures, reference)

    def _scene(self, message: Json) -> Scene:
        scene = parse_scene(message.get("scene"))
        return edit_prompt(scene, text_of(message, "prompt")) if "prompt" in message else scene

    def _title(self, message: Json) -> str:
        return text_of(message, "title") if "title" in message else ""

    def _revise(self, message: Json) -> Json:
        return self.show(self._scene(message), self._title(message))

    def _edit(self, message: Json) -> Json:
        scene = self._scene(message)
        try:
            edited = apply_edit(scene, message.get("edit"), self._pictures)
        except ChoiceNeeded as choice:
            return {"choice": list(choice.references)}
        return self.show(edited, self._title(message))

    def _insert_preset(self, message: Json) -> Json:
        source = self._library.open_preset(text_of(message, "preset"))
        return self.show(insert_cast(self._scene(message), source.scene), self._title(message))

    def _save_preset(self, message: Json) -> Json:
        part = part_of(self._scene(message), text_of(message, "what"))
        replace = message.get("replace") is True
        name = save_preset(part, self._pictures, text_of(message, "name"), replace=replace, presets=self._library.own)
        if name is None:
            return {"taken": True}
        return {"preset": name, "presets": view.preset_views(self._library.presets())}

    def _delete_preset(self, message: Json) -> Json:
        delete_preset(text_of(message, "preset"), self._library.own)
        return {"presets": view.preset_views(self._library.presets())}

    def _framing(self, message: Json) -> Json:
        """Answer with what the box dialog needs: the whole picture's size, and the box that holds now."""
        image, mask = text_of(message, "picture"), message.get("mask")
        width, height = picture_size(self._pictures, image)
        box = list(mask_frame(self._pictures, mask)) if isinstance(mask, str) else [0, 0, width, height]
        return {"picture": image, "width": width, "height": height, "box": box}

    def _keep(self, message: Json) -> Json:
        return {"missing": self._drafts.keep(text_of(message, "token"), message)}

    def _reopen(self, message: Json) -> Json:
        draft = self._drafts.open(text_of(message, "token"))
        if draft is None:
            return {"draft": None}
        gone = self._gone(parse_scene(draft["entries"][draft["present"]]["scene"]))
        if gone:
            return {"draft": None, "gone": gone}
        return {"draft": draft}

    def _gone(self, scene: Scene) -> list[str]:
        pictures = [picture for one in scene.references() for picture in (one.image, one.mask) if picture]
        return [picture for picture in pictures if picture not in self._pictures]


def text_of(message: Json, name: str) -> str:
    """Return a field of a message that has to be text."""
    value = cast(object, message.get(name))
    if not isinstance(value, str):
        raise InputError(say("old_page"))
    return value
