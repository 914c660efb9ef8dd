"""Sample folders from strangers: names, captions, scene files, links and pipes, and folders sent by a browser."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import shutil
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from starlette.datastructures import UploadFile

from engine.codec import to_json
from engine.errors import InputError
from engine.pictures import PictureStore, encode_png
from engine.sample_folder import read_sample_folder, write_sample_folder
from engine.scene import Reference, Role, Scene
from engine.sources import load_source
from studio.routes import _read_sent, file_name, inside
from studio.view import scene_view
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target
from tests.fuzz.mutation import SCRAPS

PNG = base64.b64encode(encode_png(np.full((3, 4, 3), 90, dtype=np.uint8))).decode()
OTHER_PNG = base64.b64encode(encode_png(np.full((2, 2, 3), 9, dtype=np.uint8))).decode()
CAPTION = base64.b64encode(b"one;a man in a red coat").decode()


def scene_json(name: str) -> str:
    reference = Reference(id="b", role=Role.background, label="x", image="i", mask=None)
    content = {"schema_version": 1, "scene": to_json(Scene(prompt="x", background=reference)), "pictures": {"i": name}}
    return base64.b64encode(json.dumps(content).encode()).decode()


OFFICIAL = {
    "caption.txt": CAPTION,
    "subjects/1/face_man.png": PNG,
    "subjects/1/red coat.png": OTHER_PNG,
    "subjects/10/face_woman.png": PNG,
    "objects/lamp.png": PNG,
    "background/park.png": OTHER_PNG,
}
SEEDS = [
    OFFICIAL,
    {"caption.txt": CAPTION, "subjects/1/face_a.png": PNG, "subjects/1/face_b.png": PNG},
    {"scene.json": scene_json("a.png"), "a.png": PNG},
    {"scene.json": scene_json("../bait.png"), "a.png": PNG},
    {"scene.json": scene_json("link.png"), "link.png": "->../../bait.png"},
    {"scene.json": scene_json("link.png"), "link.png": "->link.png"},
    {"scene.json": scene_json("a.png"), "a.png": "pipe"},
    {"caption.txt": CAPTION, "objects/x.png": "pipe", "objects/y.png": "->y.png", "objects/z.png": "folder"},
    {"caption.txt": CAPTION, "subjects/1/face_\udcff.png": PNG, "subjects/\udc80/face_x.png": PNG},
]

names = st.one_of(
    st.sampled_from(
        ["caption.txt", "scene.json", "subjects/1/face_man.png", "subjects/1/face_x.jpg", "subjects/1/face mask.png",
         "subjects/٣/face_x.png", "subjects/x/face_y.gif", "objects/a.b.png", "objects/.png", "objects/a.svg",
         "background/\udcff.png", "background/a\nb.png", "objects/" + "é" * 120 + ".png", "pictures/a.png", "a.png",
         "CON.png", "objects", "subjects/1", "recipe.json", "frame_00000.png"]
    ),
    st.text(max_size=12),
)  # fmt: skip
contents = st.one_of(
    st.sampled_from(
        [PNG, OTHER_PNG, CAPTION, "", "pipe", "folder", "->../../bait.png", "->/etc", "->.", scene_json("a.png")]
    ),
    st.binary(max_size=30).map(lambda data: base64.b64encode(data).decode()),
    st.sampled_from([one for one in SCRAPS if isinstance(one, str)]).map(lambda name: scene_json(name)),
)
made = st.dictionaries(names, contents, max_size=7).map(lambda one: json.dumps(one).encode("utf-8", "surrogatepass"))


def entries(data: bytes) -> Iterator[tuple[str, str]]:
    """Names and contents of a folder that is written down as a JSON object."""
    try:
        tree: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise InputError("This is no folder.") from None
    if not isinstance(tree, dict):
        raise InputError("This is no folder.")
    for name, content in list(tree.items())[:60]:
        yield name, content if isinstance(content, str) else json.dumps(content)


def raw(content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except ValueError:
        return content.encode("utf-8", "surrogatepass")


def build(data: bytes, root: Path) -> None:
    """Make the folder as far as the file system lets anybody; a name that leads out could not be unpacked either."""
    for name, content in entries(data):
        path = root / name
        if name.startswith("/") or ".." in path.parts:
            continue
        with contextlib.suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if content == "pipe":
                os.mkfifo(path)
            elif content == "folder":
                path.mkdir()
            elif content.startswith("->"):
                path.symlink_to(content[2:])
            else:
                # Two names may mean one entry ("a" and "a/"): a pipe that is there already must not be waited for.
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o600), "wb") as file:
                    file.write(raw(content))


@contextlib.contextmanager
def made_folder(data: bytes, folder: Path) -> Generator[Path]:
    root = folder / "sample"
    root.mkdir()
    try:
        build(data, root)
        yield root
    finally:
        shutil.rmtree(root)


def check(scene: Scene, store: PictureStore, folder: Path) -> None:
    """What was read can be shown, and written and read again."""
    json.dumps(scene_view(scene, "x"), ensure_ascii=False).encode()
    assert all(reference.image in store for reference in scene.references() if reference.image)
    target = folder / "copy"
    try:
        write_sample_folder(scene, store, target)
        assert read_sample_folder(target, store) == scene
    finally:
        shutil.rmtree(target, ignore_errors=True)


def read(data: bytes, folder: Path) -> None:
    store = PictureStore(folder / "pictures")
    with made_folder(data, folder) as root:
        check(read_sample_folder(root, store), store, folder)


def load(data: bytes, folder: Path) -> None:
    store = PictureStore(folder / "pictures")
    with made_folder(data, folder) as root:
        source = load_source(str(root), store)
        source.title.encode()
        source.scene.problems()


def send(loop: asyncio.AbstractEventLoop, data: bytes, folder: Path) -> None:
    """The folder as a browser sends it, with any names."""
    store = PictureStore(folder / "pictures")

    def answer(root: Path, title: str) -> dict[str, Any]:
        return scene_view(load_source(str(root), store).scene, title)

    sent = list(entries(data))
    files = [UploadFile(io.BytesIO(raw(content)), filename="x") for _, content in sent]
    json.dumps(
        loop.run_until_complete(_read_sent([name for name, _ in sent], files, answer)), ensure_ascii=False
    ).encode()


def place(data: bytes, folder: Path) -> None:
    """Names out of a browser: of a file in a sent folder, of a clip, and what is typed as a source."""
    name = data.decode("utf-8", "surrogatepass")
    found = file_name(name)
    assert found is None or (folder / found).parent == folder
    with contextlib.suppress(InputError):
        target = inside(folder, name)
        assert target is None or os.path.abspath(target).startswith(f"{folder}{os.sep}")
    load_source(name, PictureStore(folder))


def seeds_of(*trees: dict[str, str]) -> list[bytes]:
    return [json.dumps(tree).encode() for tree in trees]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nobody pulls the plug here
    (tmp_path / "trial" / "inside").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "trial" / "inside"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize(("name", "parse"), [("sample folder", read), ("folder as source", load)], ids=["read", "load"])
def test_folders(name: str, parse: Any, fuzz: Fuzz) -> None:
    fuzz(Target(name, parse, seeds_of(*SEEDS), "json"), made)


def test_sent_folders(fuzz: Fuzz) -> None:
    sent = [{f"picked/{name}": content for name, content in tree.items()} for tree in SEEDS]
    loop = asyncio.new_event_loop()
    try:
        fuzz(Target("sent folder", partial(send, loop), seeds_of(*sent), "json"), made)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_names(fuzz: Fuzz) -> None:
    seeds = [
        name.encode()
        for name in (
            "picked/subjects/1/face_man.png",
            "clip.mp4",
            "..\\..\\x.mp4",
            "~root/x",
            "01-two-friends-in-the-park",
            "a" * 300,
        )
    ]
    fuzz(
        Target("name", place, seeds, "text"),
        st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
