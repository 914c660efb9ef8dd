"""What a browser may send: any message at all to the desk, and addresses of pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from engine.cancel import CancelToken
from engine.codec import to_json
from engine.engines import resolve_settings
from engine.errors import InputError, UserError
from engine.events import Event
from engine.pictures import PictureStore
from engine.request import RenderRequest
from studio.clip_notes import ClipNotes
from studio.desk import Desk
from studio.drafts import DraftBook
from studio.job_store import JobStore
from studio.jobs import JobQueue
from studio.languages import LANGUAGES, sentences
from studio.library import Library
from studio.thumbnails import thumbnail
from studio.workshop import Workshop
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target
from tests.fuzz.test_json import damaged, loaded, scraps
from tests.unit.tiny_studio import tiny_scene

FAULTS = {sentences(language)["fault"] for language in LANGUAGES}


class Refusing:
    """An engine that is never ready: what is asked, not what is rendered, is looked at here."""

    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]:
        raise InputError("Nothing is rendered here.")


def new_desk(folder: Path) -> Desk:
    pictures = PictureStore(folder / "pictures")
    return Desk(
        queue=JobQueue(Refusing, pictures, lambda: folder / "clips", JobStore(folder / "studio.sqlite3")),
        library=Library(pictures),
        pictures=pictures,
        drafts=DraftBook(folder / "drafts"),
        local=True,
        missing_weights=lambda _: None,
        clips=lambda: folder / "clips",
        exports=lambda: folder / "exports",
        notes=ClipNotes(folder / "clip-notes"),
        workshop=Workshop(),
    )


def ask(desk: Desk, data: bytes, _folder: Path) -> None:
    answer = desk.ask(loaded(data))
    # The page gets it as JSON in UTF-8, and no browser knows NaN.
    json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
    error = answer.get("error")
    if error is not None:
        assert error not in FAULTS
        raise UserError(str(error))


def messages(folder: Path) -> list[dict[str, Any]]:
    scene = to_json(tiny_scene(PictureStore(folder / "pictures")))
    chosen = to_json(resolve_settings("nano")) | {"seed": "3"}
    words = {"scene": scene, "prompt": scene["prompt"], "title": "a title"}
    return [
        {"do": "begin"},
        {"do": "choose", "preset": "01-two-friends-in-the-park"},
        {"do": "open", "path": "/nowhere"},
        {"do": "open_clip", "clip": "a.mp4"},
        {"do": "revise", **words},
        {"do": "mark", **words, "start": 2, "end": 5, "reference": "man"},
        {"do": "render", **words, "settings": chosen, "allow_unbound": True},
        {"do": "cancel", "job": "job-1"},
        {"do": "look", "version": -1, "preview": "a/1"},
        {"do": "clips", "since": 0},
        {"do": "clip_rename", "clip": "a.mp4", "title": "a title"},
        {"do": "clip_poster", "clip": "a.mp4", "frame": 3},
        {"do": "clip_remove", "clip": "a.mp4"},
        {"do": "clip_restore", "token": "0123456789ab"},
        {"do": "clip_swap", "clip": "a.mp4", "first": "coat", "second": "dress"},
        {"do": "clip_edit", "edit": {"clip": "a.mp4", "start": 1, "end": 4, "speed": 0.5, "times": 2, "joined": []}},
        {"do": "task", "task": "task-1", "seen": 3},
        {"do": "save", "clip": "a.mp4", "format": "mp4", "pictures": False},
    ]


def look_at(ids: list[str], data: bytes, folder: Path) -> None:
    """The address of a picture: its name, mask and role, each of them anything."""
    tree = loaded(data)
    words = [str(word) for word in tree] if isinstance(tree, list) else []
    image, mask, role = (*words, "", "", "")[:3]
    found = thumbnail(PictureStore(folder / "pictures"), image, mask or None, role or None)
    assert image in ids
    found.unlink()


@pytest.fixture(autouse=True)
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "trial" / "inside"
    folder.mkdir(parents=True)
    monkeypatch.setenv("LUMOSX_HOME", str(folder))
    monkeypatch.setattr("os.fsync", lambda _: None)  # nobody pulls the plug here
    # Ten seeds of the built-in presets, read anew for every message, would be all that this tests.
    monkeypatch.setattr("engine.sources.builtin_presets_dir", lambda: folder / "presets")
    monkeypatch.setattr("studio.desk._NEWS_S", 0.0)
    return folder


def test_messages(fuzz: Fuzz, inside: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    seeds = messages(inside)
    made = st.one_of(
        damaged(st.sampled_from(seeds)), scraps.map(lambda one: json.dumps(one).encode("utf-8", "surrogatepass"))
    )
    desk = new_desk(inside)
    fuzz(Target("message", partial(ask, desk), [json.dumps(one).encode() for one in seeds], "json"), made)


def test_addresses_of_pictures(fuzz: Fuzz, inside: Path) -> None:
    scene = tiny_scene(PictureStore(inside / "pictures"))
    coat = scene.subjects[0].attributes[0]
    ids = [coat.image, coat.mask or "", "f" * 64, "..", "../bait"]
    seeds = [[one, other, role] for one in ids for other in (*ids, "") for role in ("object", "face", "")]
    words = st.one_of(st.sampled_from([*ids, "", "face"]), st.text(max_size=66))
    made = st.lists(words, max_size=4).map(lambda one: json.dumps(one).encode("utf-8", "surrogatepass"))
    fuzz(Target("picture address", partial(look_at, ids), [json.dumps(one).encode() for one in seeds], "json"), made)
