"""Edits as the page asks for them: a name and plain fields, checked, to a function from scene to scene.

One message is one edit; `{"kind": "rename", "reference": id, "label": words}` and so on, see `_EDITS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from engine.errors import InputError, PictureError
from engine.pictures import PictureStore
from engine.scene import Scene
from studio import cast_edits, composing, places
from studio.cast_edits import Picked
from studio.framing import box_mask
from studio.languages import say


class Fields:
    """The fields of one edit, each read as what it has to be; `InputError` otherwise."""

    def __init__(self, data: Mapping[str, Any], pictures: PictureStore) -> None:
        self._data = data
        self._pictures = pictures

    def text(self, name: str) -> str:
        """Return a field that has to be text."""
        value = self._data.get(name)
        if not isinstance(value, str):
            raise InputError(say("old_page"))
        return value

    def text_or_none(self, name: str) -> str | None:
        """Return a field that may be missing."""
        return None if self._data.get(name) is None else self.text(name)

    def number(self, name: str) -> int:
        """Return a field that has to be a whole number."""
        value = self._data.get(name)
        if type(value) is not int:
            raise InputError(say("old_page"))
        return value

    def texts(self, name: str) -> list[str]:
        """Return a field that has to be a list of texts, at least one."""
        value = self._data.get(name)
        items = cast("list[object]", value) if isinstance(value, list) else []
        found = [item for item in items if isinstance(item, str)]
        if not found or len(found) != len(items):
            raise InputError(say("old_page"))
        return found

    def picked(self) -> list[Picked]:
        """Return the pictures of an edit; all of them have to be in the store."""
        value = self._data.get("pictures")
        items = cast("list[object]", value) if isinstance(value, list) else []
        if not items or not all(isinstance(item, dict) for item in items):
            raise InputError(say("old_page"))
        return [self._picked(cast("Mapping[str, object]", item)) for item in items]

    def one_picture(self) -> Picked:
        """Return the first picture of an edit."""
        return self.picked()[0]

    def _picked(self, item: Mapping[str, object]) -> Picked:
        image, mask, name = item.get("picture"), item.get("mask"), item.get("name")
        if not isinstance(image, str) or not isinstance(mask, str | None) or not isinstance(name, str | None):
            raise InputError(say("old_page"))
        if image not in self._pictures or (mask is not None and mask not in self._pictures):
            raise PictureError(say("picture_gone"))
        if mask is None and item.get("box") is not None:
            mask = box_mask(self._pictures, image, item["box"])
        return Picked(image=image, mask=mask, name=name or "")


def apply_edit(scene: Scene, edit: object, pictures: PictureStore) -> Scene:
    """Return the scene after an edit of a page.

    Raises:
        InputError: the edit is none, or cannot be made here.
        PictureError: a picture it names is gone, or its box lies outside.
    """
    data = cast("Mapping[str, Any]", edit) if isinstance(edit, dict) else {}
    function = _EDITS.get(str(data.get("kind")))
    if function is None:
        raise InputError(say("older_page"))
    return function(scene, Fields(data, pictures))


def _toggle(scene: Scene, fields: Fields) -> Scene:
    answer = places.toggle_words(scene, fields.text("owner"), fields.number("start"), fields.number("end"))
    if isinstance(answer, Scene):
        return answer
    raise ChoiceNeeded(tuple(one.id for one in answer))


class ChoiceNeeded(InputError):
    """Several references of one owner could be meant; `.references` are their ids."""

    def __init__(self, references: tuple[str, ...]) -> None:
        super().__init__(say("choose_picture"))
        self.references = references

    def __reduce__(self) -> tuple[type[ChoiceNeeded], tuple[tuple[str, ...]]]:
        """Pickle by the ids."""
        return type(self), (self.references,)


def _frame(scene: Scene, fields: Fields) -> Scene:
    one = fields.one_picture()
    return cast_edits.set_picture(scene, fields.text("reference"), one.image, one.mask)


def _cut_out(scene: Scene, fields: Fields) -> Scene:
    """A cut-out of a reference's picture, with the label and the owner chosen beside it: one edit, one step of undo."""
    reference, one = fields.text("reference"), fields.one_picture()
    label, owner = fields.text_or_none("label"), fields.text_or_none("owner")
    scene = cast_edits.set_picture(scene, reference, one.image, one.mask)
    if label is not None:
        scene = cast_edits.rename(scene, reference, label)
    return scene if owner is None else cast_edits.move(scene, reference, owner)


def _add_cut_out(scene: Scene, fields: Fields) -> Scene:
    """One more thing, cut out of a picture that may be in the scene already, of a person or ("objects") of nobody."""
    owner, picked = fields.text("owner"), [fields.one_picture()]
    known = {one.id for one in scene.references()}
    if owner == "objects":
        scene = cast_edits.add_objects(scene, picked)
    else:
        scene = cast_edits.add_attributes(scene, owner, picked)
    (new,) = (one.id for one in scene.references() if one.id not in known)
    return cast_edits.rename(scene, new, fields.text("label"))


_EDITS: dict[str, Callable[[Scene, Fields], Scene]] = {
    "words": lambda scene, _: scene,
    "add_people": lambda scene, fields: cast_edits.add_people(scene, fields.picked()),
    "add_attributes": lambda scene, fields: cast_edits.add_attributes(scene, fields.text("subject"), fields.picked()),
    "add_objects": lambda scene, fields: cast_edits.add_objects(scene, fields.picked()),
    "set_background": lambda scene, fields: cast_edits.set_background(scene, fields.one_picture()),
    "set_face": lambda scene, fields: cast_edits.set_face(scene, fields.text("subject"), fields.one_picture()),
    "set_picture": _frame,
    "cut_out": _cut_out,
    "add_cut_out": _add_cut_out,
    "rename": lambda scene, fields: cast_edits.rename(scene, fields.text("reference"), fields.text("label")),
    "remove": lambda scene, fields: cast_edits.remove(scene, fields.text("target")),
    "duplicate": lambda scene, fields: cast_edits.duplicate(scene, fields.text("subject")),
    "move_subject": lambda scene, fields: cast_edits.move_subject(
        scene, fields.text("subject"), fields.number("place")
    ),
    "move": lambda scene, fields: cast_edits.move(
        scene, fields.text("reference"), fields.text("owner"), fields.text_or_none("before")
    ),
    "swap": lambda scene, fields: cast_edits.swap(scene, fields.text("first"), fields.text("second")),
    "bind": lambda scene, fields: places.bind_words(
        scene, fields.text("reference"), fields.number("start"), fields.number("end")
    ),
    "toggle": _toggle,
    "compose": lambda scene, _: composing.compose(scene),
    "insert": lambda scene, fields: composing.insert_words(scene, fields.text("reference")),
    "tell_apart": lambda scene, fields: composing.tell_apart(scene, fields.texts("references")),
    "in_order": lambda scene, fields: composing.bind_in_order(scene, fields.texts("references")),
}
