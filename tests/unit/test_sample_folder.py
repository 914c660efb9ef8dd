"""The official sample folder: every trap of reading it, and that writing it loses nothing."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import sample_folder
from engine.engines import engine_info
from engine.errors import InputError, OutputError, PictureError, SceneError
from engine.picture_decoding import decode_picture
from engine.pictures import PictureStore, cut_out, encode_png
from engine.request import RenderRequest
from engine.sample_folder import read_sample_folder, write_sample_folder
from engine.scene import PromptSpan, Reference, Role, Scene, Subject
from engine.scene_file import read_scene_file

RNG = np.random.default_rng(7)
SETTINGS = engine_info("nano").defaults


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def pixels(height: int = 5, width: int = 6) -> Any:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_folder(root: Path, files: list[str], caption: str | None = "clip_1;A man in a park.") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(pixels()))
    if caption is not None:
        (root / "caption.txt").write_text(caption, encoding="utf-8")
    return root


def labels(scene: Scene) -> list[str]:
    return [reference.label for reference in scene.references()]


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# -- reading


def test_order_is_numeric_then_face_first_then_by_name(store: PictureStore, tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path / "in",
        [
            "subjects/10/face_boy.png",
            "subjects/2/zebra scarf.png",
            "subjects/2/face_woman.png",
            "subjects/2/apron.png",
            "subjects/1/face_man.png",
            "objects/white lamp.png",
            "objects/ball.png",
            "background/old park.png",
            "background/zoo.png",
        ],
    )
    scene = read_sample_folder(folder, store)
    assert labels(scene) == ["old park", "ball", "white lamp", "man", "woman", "apron", "zebra scarf", "boy"]
    assert scene.groups == (1, 3, 1)
    roles = [reference.role for reference in scene.subjects[1].references]
    assert roles == [Role.face, Role.attribute, Role.attribute]
    assert read_sample_folder(folder, store) == scene
    ids = [reference.id for reference in scene.references()] + [subject.id for subject in scene.subjects]
    assert len(set(ids)) == len(ids)


def test_a_garment_called_face_mask_is_no_face(store: PictureStore, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", ["subjects/1/face mask.png", "subjects/1/face_man.png"])
    (subject,) = read_sample_folder(folder, store).subjects
    assert subject.face is not None
    assert subject.face.label == "man"
    assert [item.label for item in subject.attributes] == ["face mask"]
    assert subject.attributes[0].role is Role.attribute


def test_a_face_mask_with_an_underscore_is_a_garment_beside_a_face(store: PictureStore, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", ["subjects/1/face_mask.png", "subjects/1/face_man.png"])
    (subject,) = read_sample_folder(folder, store).subjects
    assert [(item.role, item.label) for item in subject.references] == [
        (Role.face, "man"),
        (Role.attribute, "face mask"),
    ]
    (folder / "subjects/1/face_man.png").unlink()
    (subject,) = read_sample_folder(folder, store).subjects
    assert [(item.role, item.label) for item in subject.references] == [(Role.face, "mask")]


def test_two_faces_in_one_subject_are_refused_by_name(store: PictureStore, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", ["subjects/1/face_boy.png", "subjects/1/face_man.png"])
    with pytest.raises(InputError, match=r"“face_boy.png” and “face_man.png”"):
        read_sample_folder(folder, store)


def test_names_are_cut_at_the_last_dot_or_the_first(store: PictureStore, tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path / "in",
        [
            "subjects/1/face_Mr. Smith.png",
            "subjects/1/no. 5 shirt.png",
            "objects/vase.blue.png",
            "background/room.v2.png",
        ],
    )
    assert labels(read_sample_folder(folder, store)) == ["room", "vase", "Mr. Smith", "no. 5 shirt"]


def test_hidden_files_and_what_is_no_picture_are_passed_over(store: PictureStore, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", ["subjects/1/face_man.PNG", "background/park.png"])
    for name in ("subjects/.DS_Store", "subjects/1/.DS_Store", "subjects/1/._face_man.png", "background/.a.png"):
        (folder / name).write_bytes(b"\x00")
    (folder / "subjects/1/notes.txt").write_text("x")
    (folder / "subjects/1/Thumbs.db").write_bytes(b"x")
    (folder / "subjects/.git").mkdir()
    assert labels(read_sample_folder(folder, store)) == ["park", "man"]


def test_accents_that_a_file_system_took_apart_are_put_together(store: PictureStore, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", ["objects/cafe\u0301.png"], "1;A café.")
    scene = read_sample_folder(folder, store)
    assert labels(scene) == ["caf\u00e9"]
    assert scene.problems() == ()


@pytest.mark.parametrize(
    ("caption", "prompt"),
    [
        ("clip_1;A man; he waves.", "A man; he waves."),
        ("\ufeffclip_1;A man.\r\n", "A man."),
        ("A man waves.\n", "A man waves."),
        (";A man.", "A man."),
    ],
)
def test_captions(store: PictureStore, tmp_path: Path, caption: str, prompt: str) -> None:
    assert read_sample_folder(make_folder(tmp_path / "in", ["objects/a.png"], caption), store).prompt == prompt


def test_folders_that_are_no_samples_get_a_sentence(store: PictureStore, tmp_path: Path) -> None:
    cases = {
        "missing": (None, "no folder"),
        "empty": (([], None), "is empty"),
        "no caption": ((["objects/a.png"], None), "has no caption.txt"),
        "no pictures": (([], "1;A man."), "holds no pictures"),
        "blank caption": ((["objects/a.png"], "1; \n"), "holds no caption"),
    }
    for name, (content, words) in cases.items():
        folder = tmp_path / name
        if content is not None:
            make_folder(folder, content[0], content[1])
        with pytest.raises(InputError, match=words):
            read_sample_folder(folder, store)
    (tmp_path / "empty" / ".DS_Store").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        read_sample_folder(tmp_path / "empty", store)
    (tmp_path / "no pictures" / "caption.txt").write_bytes(b"1;caf\xe9")
    with pytest.raises(InputError, match="UTF-8"):
        read_sample_folder(tmp_path / "no pictures", store)


def test_pictures_that_cannot_be_read_get_a_sentence_with_their_name(store: PictureStore, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", ["subjects/1/face_man.png"])
    (folder / "subjects/1/coat.png").write_text("no picture")
    with pytest.raises(PictureError, match=r"coat\.png"):
        read_sample_folder(folder, store)
    (folder / "subjects/1/coat.png").rename(folder / "subjects/1/coat.heic")
    with pytest.raises(PictureError, match=r"coat\.heic.*PNG or JPEG"):
        read_sample_folder(folder, store)


@pytest.mark.parametrize("files", [["subjects/1/coat.png"], ["subjects/1/coat.png", "subjects/2/face_man.png"]])
def test_a_subject_without_a_face_is_a_draft_that_cannot_render(
    store: PictureStore, tmp_path: Path, files: list[str]
) -> None:
    scene = read_sample_folder(make_folder(tmp_path / "in", files, "1;A man in a coat."), store)
    with pytest.raises(SceneError, match="no face in subject 1"):
        RenderRequest(scene=scene, settings=SETTINGS)


def test_a_subject_folder_without_any_picture_is_not_forgotten(store: PictureStore, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", ["subjects/1/face_man.png"])
    (folder / "subjects/2").mkdir()
    assert [problem.code for problem in read_sample_folder(folder, store).problems()] == ["face_missing"]


# -- writing and reading back


def rich_scene(store: PictureStore) -> Scene:
    """Everything that file names cannot say: masks, spans, odd and equal labels, shared pictures, an own order."""
    mask = np.zeros((5, 6), dtype=np.uint8)
    mask[1:4, 2:5] = 255
    mask_id, shared = store.add_mask(mask), store.add_array(pixels())

    def reference(identifier: str, role: Role, label: str, *, cut: bool = False, image: str = "") -> Reference:
        image = image or store.add_array(pixels())
        return Reference(id=identifier, role=role, label=label, image=image, mask=mask_id if cut else None)

    prompt = "The first man: a/b, the second man.\nCON; face_mask."
    subjects = (
        Subject(
            id="Zoë",
            face=reference("f1", Role.face, "man", cut=True, image=shared),
            attributes=(
                reference("z", Role.attribute, "zebra", cut=True, image=shared),
                reference("a1", Role.attribute, "a/b"),
                reference("a2", Role.attribute, "a:b"),
                reference("a3", Role.attribute, "face_mask"),
                reference("a4", Role.attribute, "A B"),
                reference("a5", Role.attribute, ""),
            ),
        ),
        Subject(id="s2", face=reference("f2", Role.face, "../../man", image=shared)),
        Subject(id="draft", face=None, attributes=(reference("c", Role.attribute, "CON", cut=True),)),
    )
    return Scene(
        prompt=prompt,
        subjects=subjects,
        objects=(
            reference("o1", Role.object, "no. 5"),
            reference("o2", Role.object, "no. 5"),
            reference("o3", Role.object, "x" * 400),
        ),
        background=reference("b", Role.background, "...", cut=True),
        spans=(PromptSpan(start=4, end=13, target="f1"), PromptSpan(start=24, end=34, target="f2")),
        unbound=("o3", "b"),
    )


def test_an_export_loses_nothing(store: PictureStore, tmp_path: Path) -> None:
    scene = rich_scene(store)
    write_sample_folder(scene, store, tmp_path / "out" / "deep", settings=SETTINGS, title="A;title")
    other = PictureStore(tmp_path / "other")
    content = read_scene_file(tmp_path / "out" / "deep" / "scene.json", other)
    assert content.scene == scene
    assert (content.settings, content.title) == (SETTINGS, "A;title")
    for reference in scene.references():
        np.testing.assert_array_equal(other.load(reference.image), store.load(reference.image))
        if reference.mask:
            np.testing.assert_array_equal(other.load_mask(reference.mask), store.load_mask(reference.mask))


def test_an_export_is_an_official_sample_folder(store: PictureStore, tmp_path: Path) -> None:
    scene = rich_scene(store)
    folder = tmp_path / "out"
    write_sample_folder(scene, store, folder)
    names = tree(folder)
    first = {name for name in names if name.startswith("subjects/1/")}
    assert first == {
        f"subjects/1/{name}.png" for name in ("face_man", "zebra", "a b", "a b 2", "face mask", "A B 3", "unnamed")
    }
    assert {name for name in names if name.startswith("objects/")} == {
        "objects/no 5.png",
        "objects/no 5 2.png",
        f"objects/{'x' * 180}.png",
    }
    assert "subjects/3/CON_.png" in names
    assert "background/unnamed.png" in names
    line = (folder / "caption.txt").read_text(encoding="utf-8")
    assert line == "out;The first man: a/b, the second man. CON; face_mask.\n"
    face, zebra = scene.subjects[0].references[:2]
    assert face.mask is not None
    rgb, mask = store.load(face.image), store.load_mask(face.mask)
    written = decode_picture((folder / "subjects/1/face_man.png").read_bytes(), "face")
    np.testing.assert_array_equal(written, rgb[1:4, 2:5])
    assert zebra.image == face.image
    written = decode_picture((folder / "subjects/1/zebra.png").read_bytes(), "zebra")
    np.testing.assert_array_equal(written, cut_out(rgb, mask))
    (folder / "scene.json").unlink()
    again = read_sample_folder(folder, store)
    assert [len(subject.references) for subject in again.subjects] == [7, 1, 1]
    assert again.subjects[0].references[0].label == "man"


def test_reading_an_official_folder_and_exporting_it_keeps_its_files(store: PictureStore, tmp_path: Path) -> None:
    files = ["subjects/1/face_man.png", "subjects/1/denim jacket.png", "objects/lamp.png", "background/a, b room.png"]
    folder = make_folder(tmp_path / "in", files)
    write_sample_folder(read_sample_folder(folder, store), store, tmp_path / "out")
    assert tree(tmp_path / "out") == {*files, "caption.txt", "scene.json"}
    for name in files:
        before, after = (decode_picture((root / name).read_bytes(), name) for root in (folder, tmp_path / "out"))
        np.testing.assert_array_equal(after, before)


def test_an_earlier_export_is_replaced_but_nothing_else(store: PictureStore, tmp_path: Path) -> None:
    scene = rich_scene(store)
    folder = tmp_path / "out"
    folder.mkdir()
    write_sample_folder(scene, store, folder)  # an empty folder will do
    smaller = replace(scene, objects=(), unbound=("b",))
    write_sample_folder(smaller, store, folder)
    assert read_sample_folder(folder, store) == smaller
    assert not any(name.startswith("objects/") for name in tree(folder))
    (folder / "subjects" / "1" / "my own notes.txt").write_text("precious")
    with pytest.raises(OutputError, match="other files"):
        write_sample_folder(scene, store, folder)
    assert (folder / "subjects" / "1" / "my own notes.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pictures"]


def test_foreign_targets_are_refused(store: PictureStore, tmp_path: Path) -> None:
    scene = rich_scene(store)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        write_sample_folder(scene, store, tmp_path / "file")
    with pytest.raises(OutputError):
        write_sample_folder(scene, store, tmp_path / "file" / "below")
    holiday = tmp_path / "holiday"
    holiday.mkdir()
    (holiday / "photo.jpg").write_text("x")
    with pytest.raises(OutputError, match="other files"):
        write_sample_folder(scene, store, holiday)
    (holiday / "scene.json").write_text("{}")
    with pytest.raises(OutputError, match="other files"):
        write_sample_folder(scene, store, holiday)
    assert tree(holiday) == {"photo.jpg", "scene.json"}


def test_a_full_disk_leaves_the_old_export_whole(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = rich_scene(store)
    folder = tmp_path / "out"
    write_sample_folder(scene, store, folder)
    before = tree(folder)
    real, count = shutil.copyfile, 0

    def fill_up(source: Any, target: Any) -> Any:
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(source, target)

    monkeypatch.setattr(sample_folder.shutil, "copyfile", fill_up)
    with pytest.raises(OutputError, match="disk is full"):
        write_sample_folder(replace(scene, prompt="Another."), store, folder)
    assert count > 3
    assert tree(folder) == before
    assert read_sample_folder(folder, store) == scene
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pictures"]


def test_a_missing_picture_stops_the_export_with_nothing_written(store: PictureStore, tmp_path: Path) -> None:
    scene = rich_scene(store)
    store.path(scene.objects[0].image).unlink()
    with pytest.raises(PictureError, match="missing"):
        write_sample_folder(scene, store, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


def test_a_draft_without_pictures_can_be_exported(store: PictureStore, tmp_path: Path) -> None:
    lamp = Reference(id="o", role=Role.object, label="lamp", image="")
    scene = Scene(prompt="", objects=(lamp,), subjects=(Subject(id="s", face=None),))
    write_sample_folder(scene, store, tmp_path / "out")
    assert read_sample_folder(tmp_path / "out", store) == scene
