"""One file to share: what goes in comes out, and nothing in a stranger's file is believed."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import shared_file
from engine.cli.main import main
from engine.errors import InputError, PictureError, UserError
from engine.pictures import PictureStore, model_picture
from engine.sample_folder import write_sample_folder
from engine.scene import Scene
from engine.scene_file import with_references
from engine.shared_file import LABEL_NAME, unpacked, write_shared
from engine.sources import load_source
from tests.unit.tiny_studio import tiny_scene, tiny_settings


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


@pytest.fixture
def scene(store: PictureStore) -> Scene:
    return tiny_scene(store)


@pytest.fixture
def shared(store: PictureStore, scene: Scene, tmp_path: Path) -> Path:
    path = tmp_path / "two friends.lumosx"
    write_shared(scene, store, path, title="Two friends", settings=tiny_settings(seed=5))
    return path


def refused(path: Path) -> str:
    """The sentence with which a file is refused; nothing of it may reach a picture store."""
    other = PictureStore(path.parent / "other")
    with pytest.raises(UserError) as caught:
        load_source(str(path), other)
    assert not other.root.exists()
    return str(caught.value)


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def relabelled(members: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    """The members with a label whose digests are right, so that only what a test changed is wrong."""
    label = json.loads(members[LABEL_NAME]) | changes
    if "digests" not in changes:
        label["digests"] = {
            name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != LABEL_NAME
        }
    return members | {LABEL_NAME: json.dumps(label).encode()}


def test_a_shared_scene_is_read_as_the_model_sees_it(
    shared: Path, store: PictureStore, scene: Scene, tmp_path: Path
) -> None:
    other = PictureStore(tmp_path / "other")
    source = load_source(str(shared), other)
    assert (source.title, source.settings) == ("Two friends", tiny_settings(seed=5))
    assert with_references(source.scene, lambda one: replace(one, image="")) == with_references(
        scene, lambda one: replace(one, image="", mask=None)
    )
    for mine, theirs in zip(scene.references(), source.scene.references(), strict=True):
        assert np.array_equal(model_picture(mine, store), other.load(theirs.image))
    coat = scene.subjects[0].attributes[0]
    assert coat.image not in other  # the photograph around the coat does not travel
    assert coat.image.encode() not in shared.read_bytes()


def test_whole_pictures_travel_when_asked_for(store: PictureStore, scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "whole.lumosx"
    write_shared(scene, store, path, title="Whole", whole_pictures=True)
    assert load_source(str(path), PictureStore(tmp_path / "other")).scene == scene


def test_equal_scenes_give_equal_files_that_name_no_place(shared: Path, store: PictureStore, scene: Scene) -> None:
    again = shared.with_name("again.lumosx")
    write_shared(scene, store, again, title="Two friends", settings=tiny_settings(seed=5))
    assert again.read_bytes() == shared.read_bytes()
    for name, data in members_of(shared).items():
        assert str(shared.parent).encode() not in data, name


def test_the_zip_of_a_sample_folder_goes_out_and_in(store: PictureStore, scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "folder.zip"
    write_shared(scene, store, path, title="Two friends", whole_pictures=True)
    members = members_of(path)
    assert "Two-friends/subjects/1/face_man.png" in members
    assert LABEL_NAME not in {name.rpartition("/")[2] for name in members}
    assert load_source(str(path), store).scene == scene
    # as other programs zip a folder: no scene.json, and their own litter beside it
    official = {name: data for name, data in members.items() if not name.endswith("scene.json")}
    write_zip(path, {"__MACOSX/._x": b"?", ".DS_Store": b"?", **official})
    source = load_source(str(path), store)
    assert (source.title, source.scene.prompt) == ("Two-friends", scene.prompt)


def test_export_and_render_know_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    assert main(["render", str(shared), "--dry-run"]) == 0
    target = tmp_path / "again.lumosx"
    assert main(["export", str(shared), str(target)]) == 0
    assert load_source(str(target), PictureStore(tmp_path / "p")).title == "Two friends"


def test_a_changed_member_is_noticed(shared: Path) -> None:
    members = members_of(shared)
    write_zip(shared, members | {"caption.txt": b"x;Somebody else's words"})
    assert "changed on its way" in refused(shared)
    write_zip(shared, {name: data for name, data in members.items() if name != "caption.txt"})
    assert "changed on its way" in refused(shared)


@pytest.mark.parametrize(
    "name",
    [
        "../out.png",
        "/etc/out.png",
        "C:\\out.png",
        "a/../../out.png",
        "subjects\\1\\x.png",
        "c:out.png",
        "con.png",
        "a .",
    ],
)
def test_names_that_lead_elsewhere_are_refused(shared: Path, name: str) -> None:
    write_zip(shared, relabelled(members_of(shared) | {name: b"x"}))
    assert "not safe" in refused(shared)
    assert not list(shared.parent.rglob("out.png"))


def test_links_and_doubles_and_passwords_are_refused(shared: Path) -> None:
    members = members_of(shared)
    with zipfile.ZipFile(shared, "w") as archive:
        link = zipfile.ZipInfo("scene.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert "a link" in refused(shared)
    write_zip(shared, relabelled(members | {"Caption.TXT": b"x;y"}))
    assert "two files of the same name" in refused(shared)
    with zipfile.ZipFile(shared, "w") as archive:
        archive.writestr("caption.txt", "x;y")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("caption.txt", "x;z")
    assert "two files of the same name" in refused(shared)
    write_zip(shared, members)
    data = bytearray(shared.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    shared.write_bytes(bytes(data))
    assert "password" in refused(shared)


def test_strange_members_are_refused_in_ours_and_passed_over_in_a_folders_zip(shared: Path) -> None:
    members = members_of(shared)
    write_zip(shared, relabelled(members | {"run.exe": b"MZ"}))
    assert "belongs to no scene" in refused(shared)
    folder = {name: data for name, data in members.items() if name != LABEL_NAME}
    write_zip(shared, folder | {"run.exe": b"MZ", "a/b/c/d/e.png": b"?"})
    with unpacked(shared) as root:
        assert not list(root.rglob("run.exe"))
        assert not list(root.rglob("e.png"))


def test_bombs_are_refused_before_they_grow(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = members_of(shared)
    write_zip(shared, relabelled(members | {"objects/zeros.png": bytes(70 * 2**20)}))
    assert shared.stat().st_size < 2**20
    assert "too large" in refused(shared)
    write_zip(shared, members | {f"objects/{number}.png": b"" for number in range(300)})
    assert "more than the 256 files" in refused(shared)
    # more in it than it says: only what was announced is read
    write_zip(shared, {"caption.txt": bytes(5000)})
    data = bytearray(shared.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    shared.write_bytes(bytes(data))
    assert "damaged" in refused(shared)
    monkeypatch.setattr(shared_file, "MAX_BYTES", 50_000)
    write_zip(shared, {f"objects/{number}.png": bytes(20_000) for number in range(4)})
    assert "would unpack to more" in refused(shared)
    monkeypatch.setattr(shared_file, "MAX_BYTES", 100)
    assert "is larger than" in refused(shared)


def test_an_index_of_millions_is_not_even_read(shared: Path) -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**31, 0, 0)
    shared.write_bytes(b"x" * 100 + end)
    assert "more than the 256 files" in refused(shared)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 50, 0, 0)
    shared.write_bytes(b"x" * 100 + b"PK\x06\x07" + bytes(16) + end)
    assert "more than the 256 files" in refused(shared)


def test_pixels_are_counted_before_they_are_decoded(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_file, "MAX_TOTAL_PIXELS", 2000)
    assert "million pixels together" in refused(shared)
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "PNG")
    write_zip(shared, relabelled(members_of(shared) | {"objects/huge.png": stream.getvalue()}))
    assert "million pixels" in refused(shared)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 99}, "newer version"),
        ({"version": 0}, "damaged"),
        ({"version": True}, "damaged"),
        ({"format": "else"}, "damaged"),
        ({"digests": []}, "changed on its way"),
    ],
)
def test_labels_are_checked(shared: Path, changes: dict[str, object], words: str) -> None:
    write_zip(shared, relabelled(members_of(shared), **changes))
    assert words in refused(shared)


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all" * 50, b"PK\x05\x06" + bytes(18)])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.lumosx"
    path.write_bytes(data)
    assert "x.lumosx" in refused(path)


def test_an_older_version_is_brought_up(shared: Path, store: PictureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(folder: Path) -> None:
        text = (folder / "scene.json").read_text(encoding="utf-8")
        (folder / "scene.json").write_text(text.replace("Two friends", "Two old friends"), encoding="utf-8")

    monkeypatch.setattr(shared_file, "_STEPS", (step,))
    assert load_source(str(shared), store).title == "Two old friends"
    write_zip(shared, relabelled(members_of(shared), version=2))
    assert load_source(str(shared), store).title == "Two friends"


def test_sentences_name_the_file_not_a_temporary_place(shared: Path, tmp_path: Path) -> None:
    members = members_of(shared)
    content = json.loads(members["scene.json"])
    content["pictures"] = dict.fromkeys(content["pictures"], "../elsewhere.png")
    write_zip(shared, relabelled(members | {"scene.json": json.dumps(content).encode()}))
    said = refused(shared)
    assert "outside its folder" in said
    assert "/tmp" not in said.replace(str(tmp_path), "")


def test_endings_and_missing_pictures_are_told(store: PictureStore, scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown ending"):
        write_shared(scene, store, tmp_path / "x.rar", title="x")
    with pytest.raises(PictureError, match="missing"):
        write_shared(scene, PictureStore(tmp_path / "empty"), tmp_path / "x.lumosx", title="x")
    assert not (tmp_path / "x.lumosx").exists()


def test_folders_and_files_are_the_same_scene(store: PictureStore, scene: Scene, tmp_path: Path) -> None:
    write_sample_folder(scene, store, tmp_path / "folder", title="One")
    write_shared(scene, store, tmp_path / "one.lumosx", title="One", whole_pictures=True)
    loaders: list[Callable[[], Scene]] = [
        lambda: load_source(str(tmp_path / "folder"), store).scene,
        lambda: load_source(str(tmp_path / "one.lumosx"), store).scene,
    ]
    assert loaders[0]() == loaders[1]()
