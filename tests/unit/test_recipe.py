"""Recipes in clips: what is written comes back, and a stranger's file can do no harm."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine.recipe
from engine.clip import ClipWriter
from engine.errors import InputError
from engine.pictures import PictureStore
from engine.recipe import BOX_ID, Recipe, read_recipe, recipe_from_json, recipe_to_json
from tests.unit.small_recipe import small_recipe

FORMS = ("clip.mp4", "clip.webm", "clip.gif", "frames")
SIZE = (32, 16)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    prompt = "a man in red coat, a woman, ≈ “é” 男"
    return small_recipe(PictureStore(tmp_path / "pictures"), prompt=prompt, num_frames=5, seed=2**62 + 3)


def write(out: Path, recipe: Recipe) -> Path:
    with ClipWriter(out, width=SIZE[0], height=SIZE[1], fps=8, recipe=recipe) as writer:
        for value in (20, 90, 200):
            writer.write(np.full((SIZE[1], SIZE[0], 3), value, dtype=np.uint8))
    return out


@pytest.mark.parametrize("name", FORMS)
def test_a_recipe_of_many_megabytes_comes_back(name: str, tmp_path: Path, recipe: Recipe) -> None:
    rng = np.random.default_rng(0)
    pictures = {picture: rng.bytes(2 * 2**20) for picture in recipe.pictures}
    large = dataclasses.replace(recipe, pictures=pictures)
    assert sum(map(len, pictures.values())) > 5 * 2**20
    assert read_recipe(write(tmp_path / name, large)) == large


def test_a_recipe_may_leave_its_pictures_out(tmp_path: Path, recipe: Recipe) -> None:
    bare = dataclasses.replace(recipe, pictures={})
    assert read_recipe(write(tmp_path / "clip.mp4", bare)) == bare


def test_text_is_the_same_for_the_same_recipe(recipe: Recipe) -> None:
    turned = dataclasses.replace(recipe, pictures=dict(reversed(list(recipe.pictures.items()))))
    assert recipe_to_json(turned) == recipe_to_json(recipe)
    assert recipe_from_json(recipe_to_json(recipe)) == recipe


def test_files_without_a_recipe_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, data in {
        "clip.mp4": b"", "clip.webm": b"", "clip.gif": b"", "text.mp4": b"hello", "clip.mkv": b"x", "a.gif": b"GIF89a",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            read_recipe(tmp_path / name)
    for name in ("empty", "missing.mp4", "missing.webm"):
        with pytest.raises(InputError, match=name):
            read_recipe(tmp_path / name)


@pytest.mark.parametrize("name", FORMS)
@given(data=st.data())
def test_a_damaged_clip_is_an_input_error_and_nothing_else(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"damage_{name}"
    good = folder / name
    if not good.exists():
        folder.mkdir()
        write(good, small_recipe(PictureStore(folder / "pictures")))
    file = good / "recipe.json" if good.is_dir() else good
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 8))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    broken = folder / f"broken{good.suffix}"
    if good.is_dir():
        broken.mkdir(exist_ok=True)
        (broken / "recipe.json").write_bytes(content)
    else:
        broken.write_bytes(content)
    try:
        found = read_recipe(broken)
    except InputError:
        return
    assert isinstance(found, Recipe)  # the damage fell beside the recipe, or on a letter of the prompt


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda data: data.update(format="other"), "damaged"),
        (lambda data: data.update(version=99), "newer"),
        (lambda data: data.update(version="1"), "damaged"),
        (lambda data: data.pop("recipe"), "cannot be read"),
        (lambda data: data["recipe"].update(extra=1), "extra"),
        (lambda data: data["recipe"].pop("request"), "request"),
        (lambda data: data["recipe"]["request"]["settings"].update(width=10**9), "width"),
        (lambda data: data["recipe"]["request"]["settings"].update(num_frames="5"), "num_frames"),
        (lambda data: data["recipe"]["pictures"].update({"../../evil": "AAAA"}), "picture"),
        (lambda data: data["recipe"]["pictures"].update({"0" * 64: "AAAA"}), "picture"),
        (lambda data: data["recipe"]["pictures"].update(a="no base64!"), "base64"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_in_a_sentence(recipe: Recipe, change: Any, word: str) -> None:
    data = json.loads(recipe_to_json(recipe))
    change(data)
    with pytest.raises(InputError, match=word):
        recipe_from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "null", "[]", "1", "[" * 100_000, '{"format": ' + "9" * 10_000 + "}", "\ud800"])
def test_json_that_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        recipe_from_json(text)


def test_a_recipe_that_grows_when_unpacked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.recipe, "MAX_RECIPE_BYTES", 2**20)
    bomb = zlib.compress(b" " * 2**24)
    box = (8 + 16 + len(bomb)).to_bytes(4, "big") + b"uuid" + BOX_ID + bomb
    (tmp_path / "bomb.mp4").write_bytes(box)
    with pytest.raises(InputError):
        read_recipe(tmp_path / "bomb.mp4")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "recipe.json").write_bytes(b" " * 2**21)
    with pytest.raises(InputError):
        read_recipe(tmp_path / "frames")


def test_a_file_of_endlessly_many_boxes_is_refused_soon(tmp_path: Path) -> None:
    (tmp_path / "boxes.mp4").write_bytes(((8).to_bytes(4, "big") + b"free") * 300_000)
    with pytest.raises(InputError, match="holds no recipe"):
        read_recipe(tmp_path / "boxes.mp4")


def ebml(kind: int, content: bytes) -> bytes:
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + (1 << 56 | len(content)).to_bytes(8, "big") + content


def webm(*elements: bytes) -> bytes:
    return ebml(0x1A45DFA3, b"") + ebml(0x18538067, b"".join(elements))


def webm_tag(name: bytes, value: bytes) -> bytes:
    return ebml(0x1254C367, ebml(0x7373, ebml(0x67C8, ebml(0x45A3, name) + ebml(0x4487, value))))


def test_tags_of_a_webm_are_put_together_in_order_and_bounded(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = base64.b64encode(zlib.compress(recipe_to_json(recipe).encode()))
    ending = webm_tag(b"LUMOSX_RECIPE_01", code[100:]), webm_tag(b"TITLE", b"A"), webm_tag(b"X" * 99, b"B")
    path = tmp_path / "clip.webm"
    path.write_bytes(webm(ebml(0x1F43B675, b"frames"), *ending, webm_tag(b"LUMOSX_RECIPE_00", code[:100])))
    assert read_recipe(path) == recipe
    # A file that was streamed does not know how long it is.
    path.write_bytes(path.read_bytes().replace(b"\x18\x53\x80\x67", b"\x18\x53\x80\x67\xff\xec\x88", 1))
    assert read_recipe(path) == recipe
    monkeypatch.setattr(engine.recipe, "MAX_RECIPE_BYTES", 1000)
    with pytest.raises(InputError):
        read_recipe(path)


@pytest.mark.parametrize(
    "content",
    [
        ebml(0xEC, b"\0") * 100_000,  # endlessly many elements
        ebml(0x18538067, b"")[:-1] + b"\xff" + b"\0" * 9,  # longer than the file
        b"\x18\x53\x80\x67\xff\x1f\x43\xb6\x75\xff" + b"frames",  # streamed
        b"\0" * 99,
        b"\x1a",
    ],
)
def test_elements_of_a_webm_that_lead_nowhere(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.webm"
    for data in (content, ebml(0x1A45DFA3, b"") + content, webm(content)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"clip\.webm"):
            read_recipe(path)


@pytest.mark.parametrize(
    "playlist",
    ["ffconcat version 1.0\nfile '{clip}'\n", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n"],
)
def test_a_playlist_named_like_a_clip_leads_to_no_other_file(tmp_path: Path, recipe: Recipe, playlist: str) -> None:
    clip = write(tmp_path / "private.webm", recipe)
    (tmp_path / "list.webm").write_text(playlist.format(clip=clip.name))
    with pytest.raises(InputError):
        read_recipe(tmp_path / "list.webm")


def test_a_renamed_clip_is_read_by_what_it_is_called(tmp_path: Path, recipe: Recipe) -> None:
    shutil.copy(write(tmp_path / "clip.mp4", recipe), tmp_path / "clip.gif")
    with pytest.raises(InputError):
        read_recipe(tmp_path / "clip.gif")


def test_pictures_too_large_for_a_clip_are_refused_before_anything_is_written(recipe: Recipe) -> None:
    picture = next(iter(recipe.pictures))
    with pytest.raises(InputError, match="without pictures"):
        dataclasses.replace(recipe, pictures={picture: bytes(engine.recipe.MAX_PICTURES_BYTES + 1)})


def test_many_large_pictures_travel_at_the_size_of_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.portable.MAX_PICTURES_BYTES", 1000)
    recipe = small_recipe(PictureStore(tmp_path), width=16, height=16)
    store = PictureStore(tmp_path / "elsewhere")
    for picture, data in recipe.pictures.items():
        assert store.add_bytes(data, "picture") == picture


def test_the_pictures_inside_are_plain_png_files(recipe: Recipe) -> None:
    data = json.loads(recipe_to_json(recipe))["recipe"]["pictures"]
    assert len(data) == 3
    assert all(base64.b64decode(value).startswith(b"\x89PNG\r\n\x1a\n") for value in data.values())
