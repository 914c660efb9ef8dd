"""A person is deleted from everywhere: no file of the data folder holds their pictures or names one any more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.clip import ClipWriter
from engine.codec import to_json
from engine.errors import InputError, PictureError
from engine.masks.kept import embedding_path, view_path
from engine.paths import cache_dir, clips_dir, drafts_dir, jobs_file, pictures_dir, presets_dir, unfinished_dir
from engine.pictures import PictureStore, model_picture, picture_id
from engine.portable import make_recipe
from engine.recipe import read_recipe
from engine.request import RenderRequest
from engine.scene import Scene
from engine.shared_file import write_shared
from engine.sources import load_source
from studio.drafts import DraftBook
from studio.forgetting import Forgetting
from studio.job_store import JobState, JobStore
from studio.jobs import JobQueue
from studio.library import Library
from studio.own_presets import part_of, save_preset
from studio.thumbnails import thumbnail
from studio.view import scene_view
from tests.unit.tiny_studio import tiny_scene, tiny_settings


class _House:
    """A data folder in which a man was used wherever somebody can be used."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = PictureStore(pictures_dir())
        self.scene = tiny_scene(self.store)
        self.request = RenderRequest(scene=self.scene, settings=tiny_settings())
        self.jobs = JobStore(jobs_file())
        self.queue = JobQueue(lambda: pytest.fail("nothing is rendered here"), self.store, clips_dir, self.jobs)
        self.library = Library(self.store)
        self.forgetting = Forgetting(
            pictures=self.store,
            library=self.library,
            queue=self.queue,
            show=scene_view,
        )
        man = self.scene.subjects[0]
        assert man.face is not None
        self.images = {man.face.image, man.attributes[0].image}
        self.cut = picture_id(model_picture(man.attributes[0], self.store))
        self.mask = man.attributes[0].mask or ""
        self.ids = {*self.images, self.cut, self.mask}
        self.bytes = [self.store.path(one).read_bytes() for one in self.images | {self.mask}]
        self._fill()

    def _fill(self) -> None:
        save_preset(self.scene, self.store, "Both of them")
        save_preset(part_of(self.scene, "one"), self.store, "The man alone")
        save_preset(part_of(self.scene, "two"), self.store, "The woman alone")
        entry = {"scene": to_json(self.scene), "title": "x", "preset": None}
        alone = {"scene": to_json(part_of(self.scene, "two")), "title": "x", "preset": None}
        drafts = DraftBook(drafts_dir())
        drafts.keep("a" * 32, _history(["1", "2"], "3", {"1": alone, "2": entry, "3": entry}))
        drafts.keep("b" * 32, _history(["1"], "2", {"1": alone, "2": alone}))
        self.jobs.add(self.request, "waits")
        other = replace(self.request, scene=replace(part_of(self.scene, "two"), prompt="a woman"))
        self.jobs.add(other, "somebody else")
        clips_dir().mkdir()
        self.clip = clips_dir() / "clip.mp4"
        recipe = make_recipe(self.request, self.store, "digest")
        settings = self.request.settings
        with ClipWriter(self.clip, width=32, height=32, fps=settings.fps, recipe=recipe) as writer:
            writer.write(np.full((32, 32, 3), 77, dtype=np.uint8))
        load_source(str(self.clip), self.store)  # the cut-out comes into the store under a name of its own
        for one in self.ids - {self.mask}:
            thumbnail(self.store, one, None, None)
            view_path(one).parent.mkdir(parents=True, exist_ok=True)
            view_path(one).write_bytes(b"view")
            embedding_path(one, "weights").parent.mkdir(parents=True, exist_ok=True)
            embedding_path(one, "weights").write_bytes(b"seen")
        for folder in ("conditioning", "exports"):
            (cache_dir() / folder).mkdir()
        (cache_dir() / "conditioning" / "key.safetensors").write_bytes(b"latent of somebody")
        write_shared(self.scene, self.store, cache_dir() / "exports" / "out.lumosx", title="x", whole_pictures=True)
        jobs_file().with_name("studio.sqlite3.damaged-1").write_bytes(next(iter(self.images)).encode())
        self.queue._refresh()

    def ask(self, do: str, **more: Any) -> Any:
        message = {"scene": to_json(self.scene), "subject": "one", "title": "x", **more}
        return self.forgetting.answers[do](message)

    def found(self) -> dict[str, str]:
        """Files of the data folder that name or hold one of the pictures."""
        found: dict[str, str] = {}
        for path in self.home.rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            if any(one.encode() in data or one in path.name for one in self.ids):
                found[path.relative_to(self.home).as_posix()] = "names"
            elif any(one in data for one in self.bytes):
                found[path.relative_to(self.home).as_posix()] = "holds"
        return found


def _history(past: list[str], present: str, entries: dict[str, Any]) -> dict[str, Any]:
    return {"past": past, "present": present, "future": [], "entries": entries, "settings": None}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    made = _House(tmp_path / "home")
    yield made
    made.queue.close()


def test_the_list_says_what_is_kept_where_and_changes_nothing(house: _House) -> None:
    before = house.found()
    places = {
        path.split("/")[0].split("-")[0] for path in before
    }  # a queue may still lie in its log, studio.sqlite3-wal
    assert places >= {"presets", "drafts", "pictures", "cache", "studio.sqlite3"}
    answer = house.ask("forget_look")
    said = " ".join(answer["kept"])
    assert "The 2 pictures in this box" in said
    assert "“Both of them” loses this person" in said
    assert "“The man alone”, which holds nobody else" in said
    assert "The woman alone" not in said
    assert "on 1 of the pages" in said
    assert "1 renders in the queue" in said
    assert answer["clips"] == 1
    assert house.found() == before


def test_nothing_is_left_of_a_person_whose_clips_go_as_well(house: _House) -> None:
    unfinished = unfinished_dir() / f"{house.jobs.jobs()[0].id}.safetensors"
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"half a clip")
    answer = house.ask("forget", clips=True)
    assert house.found() == {}
    assert not house.clip.exists()
    assert not unfinished.exists()
    assert not (cache_dir() / "conditioning").exists()
    assert set(answer["gone"]) >= house.ids
    assert [one["id"] for one in answer["owners"]] == ["two"]
    assert [job.title for job in house.queue.jobs()] == ["somebody else"]


def test_everybody_else_keeps_everything(house: _House) -> None:
    house.ask("forget", clips=True)
    woman = house.scene.subjects[1]
    assert woman.face is not None
    assert woman.face.image in house.store
    both = load_source(str(presets_dir() / "my-both-of-them"), house.store)
    assert (both.title, [one.id for one in both.scene.subjects]) == ("Both of them", ["two"])
    assert both.scene.prompt == house.scene.prompt
    assert sorted(entry.name for entry in presets_dir().iterdir()) == ["my-both-of-them", "my-the-woman-alone"]
    draft = DraftBook(drafts_dir()).open("a" * 32)
    assert draft is not None
    assert (draft["past"], draft["present"]) == (["1"], "3")
    assert [one["id"] for one in draft["entries"]["3"]["scene"]["subjects"]] == ["two"]
    untouched = DraftBook(drafts_dir()).open("b" * 32)
    assert untouched is not None
    assert untouched["past"] == ["1"]


def test_clips_that_stay_lose_the_pictures_inside_them_and_play_on(house: _House) -> None:
    before = house.clip.read_bytes()
    house.ask("forget", clips=False)
    assert house.found() == {}
    recipe = read_recipe(house.clip)
    assert recipe.request.scene.prompt == house.scene.prompt
    assert house.ids.isdisjoint(recipe.pictures)
    assert len(recipe.pictures) == 1
    start = before.index(b"mdat")
    assert before[start : start + 200] in house.clip.read_bytes()


def test_a_running_render_is_cancelled_first(house: _House) -> None:
    job = house.jobs.jobs()[0]
    house.jobs.claim("somebody", lambda job, taken: clips_dir() / "new.mp4")
    house.queue._refresh()
    before = house.found()
    with pytest.raises(InputError, match="cancel it first"):
        house.ask("forget", clips=True)
    assert house.found() == before
    assert house.jobs.finish(job.id, "somebody", JobState.failed, error="x")


@pytest.mark.parametrize("name", ["*", "a", "x" * 300, "../../views/secret", "0" * 63])
@pytest.mark.parametrize("where", ["image", "mask"])
def test_what_names_no_picture_deletes_nothing(house: _House, name: str, where: str) -> None:
    before = house.found()
    scene = to_json(house.scene)
    scene["subjects"][0]["attributes"][0][where] = name
    message = {"scene": scene, "subject": house.scene.subjects[0].id, "title": "x", "clips": True}
    with pytest.raises(PictureError, match="is not a picture of this program"):
        house.forgetting.answers["forget"](message)
    assert house.found() == before


def test_another_pages_scene_loses_the_same_pictures(house: _House) -> None:
    answer = house.ask("forget_pictures", gone=sorted(house.images))
    assert [one["id"] for one in answer["owners"]] == ["two"]
    with pytest.raises(InputError):
        house.ask("forget_pictures", gone="all")
    empty = Scene(subjects=(replace(house.scene.subjects[0], face=None, attributes=()),))
    with pytest.raises(InputError, match="no picture"):
        house.ask("forget_look", scene=to_json(empty))


def test_the_page_gets_what_json_can_say(house: _House) -> None:
    json.dumps(house.ask("forget", clips=False))
