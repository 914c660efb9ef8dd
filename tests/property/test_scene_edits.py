"""Whatever a page asks for, in whatever order: the scene stays sound, and no binding lands on other words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codec import from_json, to_json
from engine.errors import UserError
from engine.pictures import PictureStore
from engine.scene import Scene
from studio.draft import edit_prompt
from studio.edits import apply_edit
from studio.findings import findings, too_many
from studio.view import scene_view
from tests.unit.small_scenes import pair, words_of

PROMPT = "A man in a red coat and a woman in a green dress stand in a room, beside a lamp."
IDS = st.sampled_from(["man", "coat", "woman", "dress", "lamp", "room", "one", "two", "subject-1", "objects", "ghost"])
ARRANGING = frozenset({"move", "move_subject", "duplicate", "add_people", "add_attributes", "add_objects"})
WORDS = st.text(alphabet="man wo红色 <&;A", max_size=8)
PLACES = st.integers(min_value=-3, max_value=90)


class _AllPictures(PictureStore):
    """A store that has every picture: these edits never look into one."""

    def __contains__(self, picture: str) -> bool:
        return True


def _edit(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), **fields})


PICTURES = st.lists(st.fixed_dictionaries({"picture": st.just("7" * 64), "name": WORDS}), min_size=1, max_size=2)
EDITS = st.one_of(
    _edit("rename", reference=IDS, label=WORDS),
    _edit("remove", target=IDS),
    _edit("duplicate", subject=IDS),
    _edit("move_subject", subject=IDS, place=PLACES),
    _edit("move", reference=IDS, owner=IDS, before=st.none() | IDS),
    _edit("swap", first=IDS, second=IDS),
    _edit("bind", reference=IDS, start=PLACES, end=PLACES),
    _edit("toggle", owner=IDS, start=PLACES, end=PLACES),
    _edit("compose"),
    _edit("insert", reference=IDS),
    _edit("tell_apart", references=st.lists(IDS, min_size=1, max_size=3, unique=True)),
    _edit("in_order", references=st.lists(IDS, min_size=1, max_size=3, unique=True)),
    _edit("add_people", pictures=PICTURES),
    _edit("add_attributes", subject=IDS, pictures=PICTURES),
    _edit("add_objects", pictures=PICTURES),
    _edit("set_background", pictures=PICTURES),
    _edit("set_face", subject=IDS, pictures=PICTURES),
    _edit("type", start=PLACES, end=PLACES, text=WORDS),
)


def _typed(scene: Scene, edit: dict[str, Any]) -> Scene:
    start, end = sorted(min(max(edit[name], 0), len(scene.prompt)) for name in ("start", "end"))
    return edit_prompt(scene, scene.prompt[:start] + edit["text"] + scene.prompt[end:], caret=start + len(edit["text"]))


def _applied(scene: Scene, edit: dict[str, Any], store: PictureStore) -> Scene:
    change: Callable[[], Scene] = lambda: (  # noqa: E731
        _typed(scene, edit) if edit["kind"] == "type" else apply_edit(scene, edit, store)
    )
    try:
        return change()
    except UserError:
        return scene


@settings(deadline=None, max_examples=120)
@given(edits=st.lists(EDITS, max_size=12))
def test_every_row_of_edits_leaves_a_sound_scene(edits: list[dict[str, Any]], tmp_path_factory: Any) -> None:
    store = _AllPictures(tmp_path_factory.getbasetemp() / "none")
    scene = pair(PROMPT)
    for edit in edits:
        before, scene = scene, _applied(scene, edit, store)
        if edit["kind"] in ARRANGING:
            assert all(words_of(scene, one.id) == words_of(before, one.id) for one in before.references())
        codes = {problem.code for problem in scene.problems()}
        assert codes <= {"prompt_empty", "face_missing", "unbound"}
        assert from_json(Scene, to_json(scene)) == scene
        for finding in (*findings(scene), *too_many(scene)):
            assert finding.message.endswith(".")
            for mend in finding.mends:
                assert _applied(scene, mend.edit, store) != scene  # a mend always mends something
        view = scene_view(scene, "T")
        assert all(0 <= mark["start"] < mark["end"] <= len(scene.prompt) for mark in view["marks"])
