"""What a user may name as a scene, and what is said about anything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine import sources
from engine.engines import engine_info
from engine.errors import InputError
from engine.pictures import PictureStore
from engine.sample_folder import write_sample_folder
from engine.scene import Reference, Role, Scene
from engine.sources import load_source, preset_folders

SETTINGS = engine_info("nano").defaults


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


@pytest.fixture
def scene(store: PictureStore) -> Scene:
    image = store.add_array(np.full((4, 4, 3), 9, dtype=np.uint8))
    return Scene(prompt="A lamp.", objects=(Reference(id="o", role=Role.object, label="lamp", image=image),))


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user and a program without presets, and an empty working folder."""
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sources, "builtin_presets_dir", lambda: tmp_path / "builtin")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_a_sample_folder(store: PictureStore, scene: Scene, tmp_path: Path) -> None:
    write_sample_folder(scene, store, tmp_path / "lamp scene")
    (tmp_path / "lamp scene" / "scene.json").unlink()
    source = load_source(str(tmp_path / "lamp scene"), store)
    assert (source.title, source.settings, source.scene.prompt) == ("lamp scene", None, "A lamp.")
    assert [reference.image for reference in source.scene.references()] == [scene.objects[0].image]


def test_a_folder_or_file_with_a_scene_brings_its_settings(store: PictureStore, scene: Scene, tmp_path: Path) -> None:
    write_sample_folder(scene, store, tmp_path / "out", settings=SETTINGS, title="My lamp")
    for path in (tmp_path / "out", tmp_path / "out" / "scene.json"):
        source = load_source(str(path), store)
        assert (source.scene, source.settings, source.title) == (scene, SETTINGS, "My lamp")


def test_presets_are_found_by_name_the_users_first(
    store: PictureStore, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sample_folder(scene, store, tmp_path / "builtin" / "lamp")
    write_sample_folder(scene, store, tmp_path / "builtin" / "desk")
    (tmp_path / "builtin" / "README.md").write_text("x")
    (tmp_path / "builtin" / "notes").mkdir()
    assert list(preset_folders()) == ["desk", "lamp"]
    assert load_source("lamp", store).title == "lamp"
    mine = Scene(prompt="My own lamp.")
    write_sample_folder(mine, store, tmp_path / "home" / "presets" / "lamp")
    assert load_source("lamp", store).scene == mine
    (tmp_path / "here" / "desk").mkdir()  # a folder that is no scene does not hide a preset
    assert load_source("desk", store).scene == scene
    here = Scene(prompt="The one here.")
    write_sample_folder(here, store, tmp_path / "here" / "lamp")
    assert load_source("lamp", store).scene == here


def test_unknown_names_list_the_closest_presets(store: PictureStore, scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none is installed"):
        load_source("lamp", store)
    for name in ("two-friends", "winter", "rooftop"):
        write_sample_folder(scene, store, tmp_path / "builtin" / name)
    with pytest.raises(InputError, match=r"“two-freinds”.*: two-friends"):
        load_source("two-freinds", store)
    with pytest.raises(InputError, match="rooftop, two-friends, winter"):
        load_source("qqq", store)


@pytest.mark.parametrize("text", ["no/such/folder", "clip.mp4", "scene.json", "..\\x"])
def test_what_looks_like_a_path_is_looked_for_as_one(store: PictureStore, text: str) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        load_source(text, store)


@pytest.mark.parametrize("text", ["", "a" * 5000, "\0", ".", "..", "~nobody-here/x"])
def test_odd_texts_get_a_sentence(store: PictureStore, text: str) -> None:
    with pytest.raises(InputError):
        load_source(text, store)


def test_files_of_other_kinds_get_a_sentence(store: PictureStore, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="is no scene"):
        load_source(str(tmp_path / "notes.txt"), store)
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match="not a scene file"):
        load_source(str(tmp_path / "other.json"), store)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is empty"):
        load_source(str(tmp_path / "empty"), store)
