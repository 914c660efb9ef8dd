"""Clips from strangers: their containers, the recipes inside them, and whatever only looks like a clip."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from engine.clip import ClipWriter, read_recipe
from engine.pictures import PictureStore
from engine.recipe import (
    BOX_ID,
    GIF_APPLICATION,
    WEBM_TAG,
    append_to_mp4,
    gif_head,
    insert_into_gif,
    recipe_from_json,
    recipe_to_json,
)
from engine.sources import load_source
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target
from tests.fuzz.test_json import damaged
from tests.unit.small_recipe import small_recipe

FORMS = (".mp4", ".webm", ".gif")

boxes = st.lists(
    st.builds(
        lambda size, kind, body: size.to_bytes(4, "big") + kind + body,
        st.sampled_from([0, 1, 7, 8, 9, 24, 60, 2**31, 2**32 - 1]),
        st.sampled_from([b"ftyp", b"uuid", b"moov", b"free", b"mdat"]),
        st.one_of(st.binary(max_size=40), st.just(BOX_ID + b"x" * 20), st.just((2**64 - 1).to_bytes(8, "big"))),
    ),
    max_size=8,
).map(b"".join)
elements = st.lists(
    st.builds(
        lambda kind, size, body: bytes.fromhex(kind) + size + body,
        st.sampled_from(["1a45dfa3", "18538067", "1254c367", "7373", "67c8", "45a3", "4487", "ec", "00"]),
        st.sampled_from([b"\x80", b"\x81", b"\x8f", b"\x01\xff\xff\xff\xff\xff\xff\xff", b"\xff", b"\x40\x20", b"\0"]),
        st.one_of(st.binary(max_size=12), st.just(f"{WEBM_TAG}_00".encode())),
    ),
    max_size=10,
).map(lambda parts: b"\x1a\x45\xdf\xa3\x80" + b"".join(parts))
blocks = st.lists(
    st.one_of(
        st.sampled_from([b"\x21\xff\x0b" + GIF_APPLICATION, b"\x21\xf9\x04", b",", b";", b"\0", b"\x03abc", b"\xff"]),
        st.binary(max_size=12),
    ),
    max_size=10,
).map(lambda parts: gif_head((9, 9), "x") + b"".join(parts))


def read(ending: str, data: bytes, folder: Path) -> None:
    path = folder / f"clip{ending}"
    path.write_bytes(data)
    read_recipe(path)


def open_as_scene(data: bytes, folder: Path) -> None:
    """The text of a recipe, packed into each kind of clip and opened as people open one; all say the same."""
    text = data.decode("utf-8", "replace")
    paths = [folder / "clip.mp4", folder / "clip.gif", folder / "frames"]
    paths[0].write_bytes(b"")
    append_to_mp4(paths[0], text)
    paths[1].write_bytes(gif_head((9, 9), "x") + b";")
    insert_into_gif(paths[1], text)
    paths[2].mkdir(exist_ok=True)
    (paths[2] / "recipe.json").write_bytes(text.encode())
    (paths[2] / "frame_00000.png").write_bytes(b"")
    store = PictureStore(folder / "pictures")
    first = load_source(str(paths[0]), store)
    assert all(load_source(str(path), store).scene == first.scene for path in paths[1:])
    first.scene.problems()


def clips(tmp_path: Path, ending: str) -> list[bytes]:
    found: list[bytes] = []
    recipe = small_recipe(PictureStore(tmp_path / "pictures"), num_frames=5)
    for size in ((16, 16), (32, 16)):
        path = tmp_path / f"seed{ending}"
        with ClipWriter(path, width=size[0], height=size[1], fps=8, recipe=recipe) as writer:
            for shade in (10, 200):
                writer.write(np.full((size[1], size[0], 3), shade, dtype=np.uint8))
        found.append(path.read_bytes())
        path.unlink()
    return [*found, b""]


@pytest.mark.parametrize(("ending", "made"), list(zip(FORMS, (boxes, elements, blocks), strict=True)), ids=FORMS)
def test_containers(ending: str, made: st.SearchStrategy[bytes], fuzz: Fuzz, tmp_path: Path) -> None:
    fuzz(Target(f"clip {ending}", partial(read, ending), clips(tmp_path, ending)), made)


def test_recipes_in_clips(fuzz: Fuzz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nobody pulls the plug here
    recipe = small_recipe(PictureStore(tmp_path / "pictures"))
    assert recipe_from_json(recipe_to_json(recipe)) == recipe
    text = recipe_to_json(recipe).encode()
    fuzz(Target("clip as scene", open_as_scene, [text], "json"), damaged(st.just(json.loads(text))))
