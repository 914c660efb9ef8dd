"""Edits as the page asks for them: pictures come in, boxes are drawn, presets are kept; mistakes are sentences."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.codec import from_json, to_json
from engine.errors import PictureError
from engine.pictures import PictureStore, model_picture
from engine.scene import Scene
from studio.drafts import DraftBook
from studio.framing import box_mask, first_box
from studio.library import Library
from studio.own_presets import folder_name
from studio.picture_advice import picture_advice
from studio.scene_desk import SceneDesk


def _png(width: int, height: int, seed: int = 1, blur: bool = False) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    if blur:  # soft at every scale, with the contrast of a photograph
        image = image.crop((0, 0, 5, 5)).resize((width, height), Image.Resampling.BICUBIC)
    image.save(stream, format="PNG")
    return stream.getvalue()


class _Stand:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.pictures = PictureStore(home / "pictures")
        library = Library(self.pictures)
        self.desk = SceneDesk(pictures=self.pictures, library=library, drafts=DraftBook(home / "drafts"))
        self.scene: dict[str, Any] = to_json(Scene())

    def ask(self, do: str, **message: Any) -> dict[str, Any]:
        return self.desk.answers[do]({"scene": self.scene, "title": "T", **message})

    def edit(self, kind: str, **fields: Any) -> dict[str, Any]:
        answer = self.ask("edit", edit={"kind": kind, **fields})
        self.scene = answer.get("scene", self.scene)
        return answer

    def picture(self, name: str = "Anna.png", width: int = 300, height: int = 260, seed: int = 1) -> dict[str, Any]:
        return self.desk.receive_picture(_png(width, height, seed), name)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Stand:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path))
    return _Stand(tmp_path)


def test_a_picture_comes_in_with_a_first_box(stand: _Stand) -> None:
    taken = stand.picture(width=900, height=1600)
    assert (taken["width"], taken["height"], taken["name"]) == (900, 1600, "Anna.png")
    x0, y0, x1, y1 = taken["box"]
    assert 0 <= x0 < x1 <= 900
    assert 0 <= y0 < y1 <= 1000  # heads are in the upper part
    assert "“notes.txt” is not a picture" in stand.desk.receive_picture(b"words", "notes.txt")["error"]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 9000), (9000, 16), (640, 640), (641, 641), (300, 260)])
def test_first_boxes_lie_inside(width: int, height: int) -> None:
    x0, y0, x1, y1 = first_box(width, height)
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height


def test_people_of_one_photograph_share_it_and_have_boxes_of_their_own(stand: _Stand) -> None:
    picture = stand.picture(width=400, height=300)["picture"]
    boxes = [[10, 20, 110, 140], [200, 30, 330, 170]]
    stand.edit("add_people", pictures=[{"picture": picture, "name": "x.png", "box": box} for box in boxes])
    scene = from_json(Scene, stand.scene)
    faces = [subject.face for subject in scene.subjects]
    assert [face.image for face in faces if face] == [picture, picture]
    assert [model_picture(face, stand.pictures).shape[:2] for face in faces if face] == [(120, 100), (140, 130)]
    framing = stand.ask("framing", picture=picture, mask=faces[1].mask if faces[1] else None)
    assert (framing["box"], framing["width"]) == ([200, 30, 330, 170], 400)
    whole = stand.edit("set_picture", reference=faces[0].id if faces[0] else "", pictures=[
        {"picture": picture, "box": [0, 0, 400, 300]}
    ])  # fmt: skip
    assert whole["owners"][0]["references"][0]["mask"] is None


@pytest.mark.parametrize("box", [[0, 0, 3, 3], [0, 0, 1], "box", [0, 0, "x", 9], [90, 90, 10, 10], [5000, 0, 6000, 99]])
def test_a_box_that_is_none_is_a_sentence(stand: _Stand, box: object) -> None:
    picture = stand.picture()["picture"]
    with pytest.raises(PictureError):
        box_mask(stand.pictures, picture, box)


def test_words_are_marked_chosen_and_let_go(stand: _Stand) -> None:
    stand.edit("add_people", pictures=[{"picture": stand.picture()["picture"], "name": "Anna.png"}])
    subject = stand.scene["subjects"][0]["id"]
    coat = stand.picture(seed=2)["picture"]
    stand.edit("add_attributes", subject=subject, pictures=[{"picture": coat, "name": "red coat.png"}])
    answer = stand.edit("compose")
    assert answer["prompt"] == "Anna wearing a red coat stands."
    start = answer["prompt"].index("stands")
    choice = stand.edit("toggle", owner=subject, start=start, end=start + 6)
    assert len(choice["choice"]) == 2
    bound = stand.edit("bind", reference=choice["choice"][0], start=start, end=start + 6)
    assert [mark["end"] for mark in bound["marks"]] == [4, 23, 30]
    assert len(stand.edit("toggle", owner=subject, start=start, end=start + 6)["marks"]) == 2


def test_a_cut_out_brings_its_label_and_its_owner_along(stand: _Stand) -> None:
    photograph = stand.picture()["picture"]
    stand.edit("add_people", pictures=[{"picture": photograph, "name": "Anna.png"}, {"picture": photograph}])
    first, second = (one["id"] for one in stand.scene["subjects"])
    stand.edit("add_cut_out", owner=first, label=" red  coat ", pictures=[{"picture": photograph}])
    (coat,) = stand.scene["subjects"][0]["attributes"]
    assert (coat["label"], coat["role"], coat["image"]) == ("red coat", "attribute", photograph)
    other = stand.picture(seed=2)["picture"]
    stand.edit("cut_out", reference=coat["id"], label="blue coat", owner=second, pictures=[{"picture": other}])
    assert stand.scene["subjects"][0]["attributes"] == []
    (coat,) = stand.scene["subjects"][1]["attributes"]
    assert (coat["label"], coat["image"]) == ("blue coat", other)
    stand.edit("cut_out", reference=coat["id"], pictures=[{"picture": photograph}])
    assert stand.scene["subjects"][1]["attributes"] == [{**coat, "image": photograph}]
    stand.edit("add_cut_out", owner="objects", label="", pictures=[{"picture": photograph}])
    assert [one["label"] for one in stand.scene["objects"]] == [""]


@pytest.mark.parametrize(
    "edit",
    [
        {"kind": "add_cut_out", "owner": "nobody", "label": "", "pictures": [{"picture": "0" * 64}]},
        {"kind": "cut_out", "reference": "x", "pictures": []},
        None, {}, {"kind": "fly"}, {"kind": "rename"}, {"kind": "rename", "reference": "x", "label": "y"},
        {"kind": "add_people", "pictures": []}, {"kind": "add_people", "pictures": [{"picture": "0" * 64}]},
        {"kind": "add_people", "pictures": [{"picture": "../../etc/passwd"}]}, {"kind": "add_people", "pictures": [3]},
        {"kind": "move_subject", "subject": "x", "place": "1"}, {"kind": "tell_apart", "references": []},
        {"kind": "remove", "target": "x"}, {"kind": "toggle", "owner": "x", "start": 0, "end": 1},
        {"kind": "compose"}, {"kind": "swap", "first": "a", "second": "a"},
    ],
)  # fmt: skip
def test_an_edit_that_cannot_be_made_is_one_sentence(stand: _Stand, edit: object) -> None:
    from engine.errors import UserError

    with pytest.raises(UserError) as caught:
        stand.ask("edit", edit=edit)
    assert str(caught.value).endswith(".")


def test_small_and_blurred_pictures_are_told_and_good_ones_are_not(stand: _Stand) -> None:
    small = stand.picture(width=60, height=70)["picture"]
    soft = stand.desk.receive_picture(_png(300, 300, 3, blur=True), "soft.png")["picture"]
    good = stand.picture(width=300, height=300, seed=4)["picture"]
    answer = stand.edit("add_people", pictures=[{"picture": one, "name": "a b.png"} for one in (small, soft, good)])
    advice = [owner["references"][0]["advice"] for owner in answer["owners"]]
    assert "60 × 70 px" in advice[0]
    assert "blurred" in advice[1]
    assert advice[2] == ""
    for file in (stand.home / "pictures").rglob("*.png"):
        file.unlink()
    gone = from_json(Scene, stand.scene).references()[2]
    assert picture_advice(PictureStore(stand.home / "pictures"), gone) == ""


def _cast(stand: _Stand) -> str:
    stand.edit(
        "add_people", pictures=[{"picture": stand.picture()["picture"], "name": "Anna.png", "box": [9, 9, 99, 99]}]
    )
    stand.edit("set_background", pictures=[{"picture": stand.picture(seed=5)["picture"], "name": "beach.png"}])
    stand.edit("compose")
    return stand.scene["subjects"][0]["id"]


def test_a_person_a_cast_and_a_scene_are_saved_with_their_pictures_and_inserted_again(stand: _Stand) -> None:
    subject = _cast(stand)
    for what, name in ((subject, "Anna <b>"), ("cast", "Both"), ("scene", "The beach")):
        assert stand.ask("save_preset", what=what, name=name)["preset"] == folder_name(name)
    kinds = {
        one["title"]: one["kind"] for one in stand.ask("save_preset", what="cast", name="Both", replace=True)["presets"]
    }
    assert (kinds["Anna <b>"], kinds["Both"], kinds["The beach"]) == ("person", "cast", "scene")
    for file in (stand.home / "pictures").rglob("*.png"):
        file.unlink()  # a preset has its pictures with it
    before = from_json(Scene, stand.scene)
    stand.scene = to_json(Scene())
    opened = stand.ask("insert_preset", preset=folder_name("The beach"))
    assert from_json(Scene, opened["scene"]) == before
    assert all(reference.image in stand.pictures for reference in before.references())
    twice = stand.desk.answers["insert_preset"]({"scene": opened["scene"], "preset": folder_name("Anna <b>")})
    assert [owner["title"] for owner in twice["owners"]] == ["Subject 1", "Subject 2", "Background"]


def test_a_preset_is_replaced_only_when_meant_and_deleted_only_when_own(stand: _Stand) -> None:
    from engine.errors import UserError

    _cast(stand)
    assert "preset" in stand.ask("save_preset", what="scene", name="Mine")
    assert stand.ask("save_preset", what="scene", name=" mine ") == {"taken": True}
    for bad in ("01-two-friends-in-the-park", "../pictures", "", ".", "my-mine/..", "/etc", "gone"):
        with pytest.raises(UserError, match="cannot be deleted"):
            stand.ask("delete_preset", preset=bad)
    assert "my-mine" not in [one["name"] for one in stand.ask("delete_preset", preset="my-mine")["presets"]]
    assert not (stand.home / "presets" / "my-mine").exists()
    for name in ("", " ", "x" * 81):
        with pytest.raises(UserError, match="name"):
            stand.ask("save_preset", what="scene", name=name)
    stand.scene = to_json(Scene())
    with pytest.raises(UserError, match="no picture to save"):
        stand.ask("save_preset", what="scene", name="Empty")


@pytest.mark.parametrize(
    ("title", "name"),
    [("Anna & Otto!", "my-anna-otto"), ("../..", "my-preset"), ("两个朋友", "my-两个朋友"), ("CON", "my-con")],
)
def test_a_title_becomes_a_folder_that_cannot_leave_its_place(title: str, name: str) -> None:
    assert folder_name(title) == name
    assert len(folder_name("字" * 80).encode()) < 200


def test_the_last_state_is_found_again_unless_its_pictures_are_gone(stand: _Stand) -> None:
    _cast(stand)
    token = "f" * 32
    message = {"token": token, "present": "a", "past": [], "future": [], "settings": None}
    stand.ask("keep", **message, entries={"a": {"scene": stand.scene, "title": "T", "preset": None}})
    assert stand.ask("reopen", token=token)["draft"]["entries"]["a"]["scene"] == stand.scene
    for file in (stand.home / "pictures").rglob("*.png"):
        file.unlink()
    assert stand.ask("reopen", token=token)["draft"] is None
