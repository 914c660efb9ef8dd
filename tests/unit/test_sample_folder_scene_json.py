"""`scene.json` distrusted: paths that lead out of the folder, other versions, damage, and what may be edited."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import InputError, PictureError
from engine.pictures import PictureStore, encode_png
from engine.sample_folder import read_sample_folder, write_sample_folder
from engine.scene import Reference, Role, Scene, Subject

RNG = np.random.default_rng(11)


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def pixels() -> Any:
    return RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)


def exported(store: PictureStore, tmp_path: Path) -> tuple[Path, Any]:
    """An exported folder with a masked face and a lamp, and the data of its scene.json."""
    mask = np.zeros((5, 6), dtype=np.uint8)
    mask[1:4, 2:5] = 255
    image, lamp, mask_id = store.add_array(pixels()), store.add_array(pixels()), store.add_mask(mask)
    face = Reference(id="f", role=Role.face, label="man", image=image, mask=mask_id)
    scene = Scene(
        prompt="A man and a lamp.",
        subjects=(Subject(id="s", face=face),),
        objects=(Reference(id="o", role=Role.object, label="lamp", image=lamp),),
    )
    folder = tmp_path / "out"
    write_sample_folder(scene, store, folder)
    return folder, json.loads((folder / "scene.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/secret.png", "a/../../secret.png", "C:\\x.png", "..\\x.png", ""]
)
def test_pictures_outside_the_folder_are_not_read(store: PictureStore, tmp_path: Path, name: str) -> None:
    folder, data = exported(store, tmp_path)
    (tmp_path / "secret.png").write_bytes(encode_png(pixels()))
    data["pictures"] = dict.fromkeys(data["pictures"], name)
    (folder / "scene.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="outside its folder"):
        read_sample_folder(folder, store)


def test_links_that_lead_out_of_the_folder_are_not_followed(store: PictureStore, tmp_path: Path) -> None:
    folder, data = exported(store, tmp_path)
    (tmp_path / "secret.png").write_bytes(encode_png(pixels()))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    data["pictures"] = dict.fromkeys(data["pictures"], "link.png")
    (folder / "scene.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="outside its folder"):
        read_sample_folder(folder, store)


def test_scene_files_of_other_kinds_are_refused(store: PictureStore, tmp_path: Path) -> None:
    folder, data = exported(store, tmp_path)
    cases: list[tuple[bytes, str]] = [
        (b"", "not a scene file"),
        (b"[]", "not a scene file"),
        (b"\xff\xfe", "not a scene file"),
        (b"[" * 100_000, "not a scene file"),
        (b" " * (5 * 1024 * 1024), "larger than any scene"),
        (json.dumps({**data, "schema_version": 2}).encode(), "newer version"),
        (json.dumps({**data, "schema_version": "1"}).encode(), "not a scene file"),
        (json.dumps({**data, "surplus": 1}).encode(), "surplus"),
        (json.dumps({**data, "pictures": {}}).encode(), "lacks one of its pictures"),
        (json.dumps({**data, "settings": {}}).encode(), "width"),
    ]
    for content, words in cases:
        (folder / "scene.json").write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_sample_folder(folder, store)


def test_title_and_settings_may_be_left_out(store: PictureStore, tmp_path: Path) -> None:
    folder, data = exported(store, tmp_path)
    del data["title"], data["settings"]
    (folder / "scene.json").write_text(json.dumps(data))
    assert read_sample_folder(folder, store).prompt == data["scene"]["prompt"]


def test_a_picture_edited_since_is_taken_as_it_is_now(store: PictureStore, tmp_path: Path) -> None:
    folder, data = exported(store, tmp_path)
    before = read_sample_folder(folder, store)
    path = folder / data["pictures"][before.objects[0].image]
    edited = pixels()
    path.write_bytes(encode_png(edited))
    after = read_sample_folder(folder, store)
    np.testing.assert_array_equal(store.load(after.objects[0].image), edited)
    assert replace(after, objects=before.objects) == before


def test_a_mask_of_another_size_is_refused(store: PictureStore, tmp_path: Path) -> None:
    folder, data = exported(store, tmp_path)
    mask = read_sample_folder(folder, store).references()[1].mask
    assert mask is not None
    (folder / data["pictures"][mask]).write_bytes(encode_png(np.full((2, 2), 255, dtype=np.uint8)))
    with pytest.raises(PictureError, match="another size"):
        read_sample_folder(folder, store)
