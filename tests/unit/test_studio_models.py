"""The desks of models, faces and notices: hostile messages, errands that vanish, a page that is elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from engine.engines import engine_info
from engine.errors import InputError, PictureError
from engine.faces.kept import forget, keep_faces, known_faces
from engine.faces.process import FaceProgram
from engine.pictures import PictureStore
from engine.scene import Reference, Role
from engine.weights import catalogue
from studio.face_finding import MOST_PEOPLE, FaceFinding
from studio.framing import box_mask
from studio.models_desk import UPLOAD_BYTES, ModelsDesk
from studio.notices import Notices
from studio.picture_advice import picture_advice
from studio.routes import PageRoutes
from studio.view import engine_view
from tests.patience import wait_until
from tests.small_catalogue import DETECTOR, PACK, pack_of, use, write_catalogue
from tests.unit.test_faces import face
from tests.unit.tiny_lora import write_lora_for_nano
from tests.unit.tiny_scrfd import group_photograph

Json = dict[str, Any]
FACES, SAM = "face-detection", "segment-anything"
DETECTOR_BYTES = b"detector" * 500


@pytest.fixture
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue whose face detector is a few bytes."""
    monkeypatch.setattr(catalogue, "_ENTRIES", catalogue.entries())
    write_catalogue(home, "http://127.0.0.1:9/", {PACK: pack_of(DETECTOR_BYTES), DETECTOR: DETECTOR_BYTES})
    use()


@pytest.fixture
def desk(small: None) -> Iterator[ModelsDesk]:
    one = ModelsDesk(local=True, module="tests.small_errand")
    yield one
    one.close()


def shown(desk: ModelsDesk, name: str = FACES) -> Json:
    answer = desk.answers["models"]({})
    return next(one for one in answer["models"] if one["name"] == name)


def ended(desk: ModelsDesk, name: str = FACES) -> Json:
    """Wait until nothing is done with this model any more."""
    wait_until(lambda: shown(desk, name)["errand"] is None, "an end of what is done")
    return shown(desk, name)


def do(desk: ModelsDesk, kind: str, name: str = FACES, **more: Any) -> Json:
    return desk.answers["models_do"]({"kind": kind, "name": name, **more})


def test_from_a_file_to_installed_checked_damaged_and_removed(desk: ModelsDesk, home: Path, tmp_path: Path) -> None:
    assert (shown(desk)["state"], shown(desk)["enough"]) == ("missing", True)
    (tmp_path / "own.bin").write_bytes(DETECTOR_BYTES)
    do(desk, "install", path=f' "{tmp_path / "own.bin"}" ', accepted=True)
    now = ended(desk)
    assert (now["state"], now["said"], now["fault"], now["size"]) == ("installed", "Installed.", "", "4.0 kB")
    do(desk, "check")
    assert ended(desk)["said"] == "Every file is whole."
    file = home / "models" / FACES / DETECTOR
    file.unlink()  # it was linked: the user's own stays as it is
    file.write_bytes(bytes(len(DETECTOR_BYTES)))
    do(desk, "check")
    now = ended(desk)
    assert (now["state"], now["fault"]) == ("damaged", "")
    assert (
        now["problem"] == f"Missing or damaged: {DETECTOR}. Repair brings only what is needed, everything else stays."
    )
    do(desk, "remove")
    assert (ended(desk)["state"], ended(desk)["said"]) == ("missing", "Removed.")
    assert (tmp_path / "own.bin").read_bytes() == DETECTOR_BYTES


def test_what_cannot_be_done_is_said_at_once(desk: ModelsDesk, tmp_path: Path) -> None:
    for kind, name, more, words in [
        ("install", FACES, {}, "accept that licence first"),
        ("install", "sora", {}, "There are no weights"),
        ("install", SAM, {"path": " "}, "Type the path"),
        ("install", SAM, {"path": str(tmp_path / "x")}, "There is no"),
        ("install", SAM, {"path": "/" + "x" * 300}, "There is no"),
        ("install", SAM, {"path": "~nobody-of-this-name/x"}, "There is no"),
        ("dance", SAM, {}, "incomplete message"),
        (None, SAM, {}, "incomplete message"),
        ("install", 3, {}, "incomplete message"),
    ]:
        with pytest.raises(InputError, match=words):
            desk.answers["models_do"]({"kind": kind, "name": name, **more})
    assert "errand" in shown(desk)
    desk.answers["models_stop"]({"name": FACES})  # nothing runs: nothing to stop


def test_an_errand_that_fails_or_vanishes_is_told(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = json.dumps({"stage": "download x", "step": 1, "num_steps": 2, "seconds_left": None})
    fault = json.dumps({"fault": "Traceback …"})
    (tmp_path / "vanishing.py").write_text(f"import sys\nsys.stdin.readline()\nprint({step!r})\n")
    (tmp_path / "failing.py").write_text(f"import sys\nsys.stdin.readline()\nprint({fault!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for module, words in (("vanishing", "has ended early"), ("failing", "by a fault in the program")):
        desk = ModelsDesk(local=True, module=module)
        do(desk, "check", SAM)
        assert words in ended(desk, SAM)["fault"]
        desk.close()


def test_one_thing_at_a_time_and_closing_ends_it(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waiting.py").write_text("import sys\nsys.stdin.read()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    desk = ModelsDesk(local=True, module="waiting")
    do(desk, "install", FACES, accepted=True)
    with pytest.raises(InputError, match="already"):
        do(desk, "remove", FACES)
    do(desk, "check", SAM)  # another one may
    desk.answers["models_stop"]({"name": FACES})
    assert ended(desk)["said"].startswith("Stopped.")
    desk.close()
    assert shown(desk, SAM)["errand"] is None


def test_a_page_elsewhere_sees_and_changes_nothing(small: None) -> None:
    desk = ModelsDesk(local=False)
    answer = desk.answers["models"]({})
    assert (answer["local"], answer["folder"]) == (False, "")
    for ask in (
        lambda: do(desk, "remove"),
        lambda: desk.answers["models_stop"]({}),
        lambda: desk.upload_place(SAM, "a"),
    ):
        with pytest.raises(InputError, match="on the machine that the studio runs on"):
            ask()


def client(desk: ModelsDesk, home: Path) -> TestClient:
    def folder() -> Path:
        return home

    def nothing(*_: Any) -> Json:
        return {}

    found = PageRoutes(
        key="k", pictures=lambda: PictureStore(home / "pictures"), clips=folder, exports=folder, read_folder=nothing,
        receive_picture=nothing, receive_shared=nothing, receive_clip=nothing, ask=nothing, ask_as=nothing, models=desk,
    ).all()  # fmt: skip
    return TestClient(Starlette(routes=found), base_url="http://127.0.0.1:7860")


def test_a_file_is_sent_checked_and_leaves_no_copy(desk: ModelsDesk, home: Path) -> None:
    with client(desk, home) as browser:
        query = {"name": FACES, "file": "../../pack.ZIP", "accepted": "true"}
        answer = browser.post("/studio/weights", params=query, content=pack_of(DETECTOR_BYTES)).json()
        assert "error" not in answer
        assert ended(desk)["state"] == "installed"
        for name, file, accepted, content, words in [
            (FACES, "a.onnx", "", b"x", "accept that licence first"),
            ("lumosx", "a.pth", "", b"x", "type their path instead"),
            ("sora", "a", "", b"x", "There are no weights"),
        ]:
            query = {"name": name, "file": file, "accepted": accepted}
            assert words in browser.post("/studio/weights", params=query, content=content).json()["error"]
        too_much = {"content-length": str(UPLOAD_BYTES + 1)}
        answer = browser.post("/studio/weights", params={"name": SAM}, headers=too_much, content=b"x").json()
        assert "too large to be sent" in answer["error"]
    assert sorted(one.name for one in (home / "models").rglob("*") if one.is_file()) == [DETECTOR]
    assert not list((home / "models").glob("downloads/*-sent-*"))


def test_what_a_killed_studio_was_sent_is_thrown_away(small: None, home: Path) -> None:
    stale = home / "models" / "downloads" / f"{FACES}-sent-1234"
    stale.mkdir(parents=True)
    (stale / "sent.zip").write_bytes(b"half")
    ModelsDesk(local=True)
    assert not stale.exists()


# -- LoRAs -------------------------------------------------------------------------------------------------------------


def loras_ended(desk: ModelsDesk) -> Json:
    """Wait until no LoRA is being added."""
    wait_until(lambda: desk.answers["models"]({})["loras"]["errand"] is None, "a LoRA that is added or refused")
    return desk.answers["models"]({})["loras"]


def test_a_lora_is_added_from_its_path_offered_and_removed(desk: ModelsDesk, home: Path, tmp_path: Path) -> None:
    assert desk.answers["models"]({})["loras"]["list"] == []
    file = write_lora_for_nano(tmp_path / "ink.safetensors")
    desk.answers["lora_add"]({"path": f' "{file}" '})
    with pytest.raises(InputError, match="already"):
        desk.answers["lora_add"]({"path": str(file)})
    now = loras_ended(desk)
    assert (now["said"], now["fault"]) == ("Added. Choose it under More settings.", "")
    (one,) = now["list"]
    assert (one["name"], one["engines"], one["problem"]) == ("ink", "Nano, the built-in preview model", "")
    assert engine_view(engine_info("nano"), None, engine_info("nano").defaults)["loras"] == [
        {"name": "ink", "digest": one["digest"]}
    ]
    assert engine_view(engine_info("lumosx"), None, engine_info("lumosx").defaults)["loras"] == []
    file.write_bytes(file.read_bytes()[:-3])
    desk.answers["lora_add"]({"path": str(file)})
    assert "is damaged or incomplete" in loras_ended(desk)["fault"]
    for message, words in [
        ({}, "incomplete"),
        ({"path": " "}, "Type the path"),
        ({"path": str(tmp_path / "x")}, "no "),
    ]:
        with pytest.raises(InputError, match=words):
            desk.answers["lora_add"](message)
    with pytest.raises(InputError, match="no longer here"):
        desk.answers["lora_remove"]({"digest": "ink"})
    assert desk.answers["lora_remove"]({"digest": one["digest"]})["loras"]["list"] == []
    assert list((home / "models" / "loras").iterdir()) == []


def test_a_lora_is_sent_under_its_own_name_and_leaves_no_copy(desk: ModelsDesk, home: Path, tmp_path: Path) -> None:
    data = write_lora_for_nano(tmp_path / "a.safetensors").read_bytes()
    with client(desk, home) as browser:
        query = {"name": "loras", "file": "../..\\..\\Ink & wash.SAFETENSORS"}
        answer = browser.post("/studio/weights", params=query, content=data).json()
        assert "error" not in answer
        assert [one["name"] for one in loras_ended(desk)["list"]] == ["Ink & wash"]
        query["file"] = "a.pt"
        assert ".safetensors" in browser.post("/studio/weights", params=query, content=data).json()["error"]
    desk.close()  # what was sent is deleted at the end of the errand
    assert sorted(one.name for one in (home / "models").rglob("*") if one.is_file()) == [
        "Ink & wash.json", "Ink & wash.safetensors",
    ]  # fmt: skip
    with pytest.raises(InputError, match="on the machine that the studio runs on"):
        ModelsDesk(local=False).answers["lora_add"]({"path": "x"})
    with pytest.raises(InputError, match="on the machine that the studio runs on"):
        ModelsDesk(local=False).answers["lora_remove"]({"digest": "x"})


# -- faces -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


@pytest.fixture
def picture(store: PictureStore, tmp_path: Path) -> str:
    return store.add_file(group_photograph(tmp_path / "a.png", [(4, 4)]))


@pytest.fixture
def find(store: PictureStore) -> Iterator[Callable[..., Json]]:
    """Ask where nothing but what is remembered is needed."""
    finding = FaceFinding(lambda: FaceProgram(module="no_such_module"), store)
    yield lambda picture, **more: finding.answers["find_faces"]({"picture": picture, **more})
    finding.close()


def test_without_a_detector_nothing_is_asked(store: PictureStore, picture: str) -> None:
    finding = FaceFinding(lambda: None, store)
    assert finding.answers["find_faces"]({"picture": picture}) == {"installed": False, "boxes": [], "note": ""}
    finding.close()


def test_crops_come_from_left_to_right_or_only_the_largest(find: Callable[..., Json], picture: str) -> None:
    keep_faces(picture, [face(300, 100, 400, 230), face(100, 100, 180, 200)])
    boxes = find(picture)["boxes"]
    assert [box[0] for box in boxes] == [round(100 - 0.16 * 80), round(300 - 0.16 * 100)]
    assert find(picture, one=True)["boxes"] == [boxes[1]]


def test_a_crowd_becomes_the_largest_few_and_it_is_said(find: Callable[..., Json], picture: str) -> None:
    crowd = [face(40 * place, 100, 40 * place + 30 + place % 3, 140 + place % 3) for place in range(15)]
    keep_faces(picture, crowd)
    answer = find(picture)
    assert len(answer["boxes"]) == MOST_PEOPLE
    assert answer["note"] == "15 faces were found; the 12 largest became people."


def test_a_detector_that_fails_leaves_the_box_to_draw(find: Callable[..., Json], picture: str) -> None:
    assert "draw the box by hand" in find(picture)["note"]
    keep_faces(picture, [])
    assert "No face was found" in find(picture)["note"]
    with pytest.raises(PictureError, match="no longer there"):
        find("0" * 64)
    with pytest.raises(InputError, match="incomplete"):
        find(7)


def test_advice_about_a_face_that_looks_away_follows_the_box(store: PictureStore, picture: str) -> None:
    straight, away = face(100, 100, 200, 220), face(400, 100, 500, 220)
    away = type(away)(box=away.box, score=1, points=((420, 140), (460, 140), (465, 160), (420, 190), (450, 190)))
    keep_faces(picture, [straight, away])

    def advice(box: list[int]) -> str:
        mask = box_mask(store, picture, box)
        return picture_advice(store, Reference(id="a", role=Role.face, label="a", image=picture, mask=mask))

    assert "turned to the side" in advice([390, 90, 520, 240])
    assert advice([90, 90, 220, 240]) == ""
    forget(picture)
    assert known_faces(picture) is None
    assert advice([390, 90, 520, 240]) == ""


# -- notices -----------------------------------------------------------------------------------------------------------


def test_a_notice_is_put_away_for_good(tmp_path: Path) -> None:
    notices = Notices(tmp_path / "home" / "notices.json")
    assert notices.answers["notices"]({}) == {"seen": []}
    assert notices.answers["notice_seen"]({"name": "consent"}) == {"seen": ["consent"]}
    assert Notices(tmp_path / "home" / "notices.json").answers["notices"]({}) == {"seen": ["consent"]}
    with pytest.raises(InputError, match="incomplete"):
        notices.answers["notice_seen"]({"name": "everything"})


@pytest.mark.parametrize("content", ["", "[", "3", "{}", '["else", 4]', "[" * 5000])
def test_a_damaged_file_only_says_it_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "notices.json").write_text(content)
    assert Notices(tmp_path / "notices.json").answers["notices"]({}) == {"seen": []}


def test_where_nothing_can_be_written_it_is_only_said_again(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    notices = Notices(tmp_path / "home" / "notices.json")
    assert notices.answers["notice_seen"]({"name": "consent"}) == {"seen": ["consent"]}
    assert notices.answers["notices"]({}) == {"seen": []}
