"""The gallery's part of the desk: the list, search words, titles, deleting with undo, dress swap, edits and saving."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.cancel import CancelToken
from engine.clip import ClipWriter, read_recipe
from engine.engines import resolve_settings
from engine.errors import InputError
from engine.events import Event
from engine.pictures import PictureStore
from engine.portable import make_recipe
from engine.recipe import Recipe
from engine.request import RenderRequest
from engine.scene import Reference, Role, Scene, Subject
from engine.sources import Source
from studio import clip_shelf, put_aside
from studio.clip_notes import ClipNotes
from studio.clip_shelf import ClipShelf
from studio.formats import measure
from studio.gallery_desk import GalleryDesk
from studio.job_store import JobStore
from studio.jobs import JobQueue
from studio.languages import speaking
from studio.put_aside import PutAside
from studio.workshop import Workshop
from tests.patience import PATIENCE_S
from tests.unit.small_recipe import small_recipe

PROMPT = "A man in a red coat meets a woman in a green dress."


class _Never:
    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]:
        raise InputError("Nothing is rendered here.")


def dressed_recipe(store: PictureStore, people: int = 2, garments: int = 1) -> Recipe:
    """Each person has a face and garments; the first two are the ones of `PROMPT`."""
    words = [("man", "red coat"), ("woman", "green dress"), ("child", "blue hat")]
    subjects: list[Subject] = []
    prompt = PROMPT
    for number, (who, what) in enumerate(words[:people]):
        labels = [what, *(f"{what} {more}" for more in range(2, garments + 1))]
        subjects.append(
            Subject(
                id=who,
                face=Reference(id=f"{who}-face", role=Role.face, label=who, image=_picture(store, 10 * number)),
                attributes=tuple(
                    Reference(id=label, role=Role.attribute, label=label, image=_picture(store, 10 * number + place))
                    for place, label in enumerate(labels, start=1)
                ),
            )
        )
        prompt += "".join(f" {label}." for label in labels[1:]) + (f" A {who} in a {what}." if number > 1 else "")
    scene = Scene(prompt=prompt, subjects=tuple(subjects))
    settings = resolve_settings("nano", width=64, height=48, num_frames=5, fps=8, seed=77)
    return make_recipe(RenderRequest(scene=scene, settings=settings), store, "d")


def _picture(store: PictureStore, seed: int) -> str:
    return store.add_array(np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8))


class _Stand:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.clips = home / "clips"
        self.clips.mkdir()
        self.pictures = PictureStore(home / "pictures")
        self.workshop = Workshop()
        self.missing: str | None = None
        self.marked = False
        self.queue = JobQueue(_Never, self.pictures, lambda: self.clips, JobStore(home / "studio.sqlite3"))
        self.queue.pause(True)
        self.notes = ClipNotes(home / "clip-notes")
        self.desk = GalleryDesk(
            clips=lambda: self.clips,
            exports=lambda: home / "exports",
            notes=self.notes,
            workshop=self.workshop,
            pictures=self.pictures,
            queue=self.queue,
            missing_weights=lambda _: self.missing,
            open_source=self._open,
            marked=lambda: self.marked,
        )

    def _open(self, source: Source, title: str) -> dict[str, Any]:
        assert source.settings is not None
        return {"scene": source.scene, "title": title, "settings": {"seed": str(source.settings.seed)}}

    def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        return self.desk.answers[name](fields)

    def write(self, name: str, recipe: Recipe, *, age: int = 0) -> str:
        path = self.clips / name
        with ClipWriter(path, width=64, height=48, fps=8, recipe=recipe) as writer:
            for number in range(5):
                writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
        moment = 10**18 - age * 10**9
        os.utime(path, ns=(moment, moment))
        return name

    def finished(self, task: str) -> dict[str, Any]:
        seen = -1
        while True:
            answer = self.ask("task", task=task, seen=seen)
            if answer["state"] in ("done", "failed", "cancelled"):
                return answer
            seen = answer["num_done"]


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Stand]:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path))
    stand = _Stand(tmp_path)
    yield stand
    assert stand.workshop.close()
    assert stand.queue.close(PATIENCE_S)


def test_clips_come_once_newest_first_and_later_only_what_changed(stand: _Stand) -> None:
    recipe = dressed_recipe(stand.pictures)
    names = [stand.write(f"20260101-00000{age}-pair-seed77.mp4", recipe, age=age) for age in range(3)]
    (stand.clips / "notes.txt").write_text("private")
    if os.name == "posix":
        (stand.clips / os.fsdecode(b"no text \xff.mp4")).write_bytes(b"")
    first = stand.ask("clips", since=0)
    assert first["names"] == [clip["name"] for clip in first["clips"]] == names
    clip = first["clips"][0]
    assert (clip["title"], clip["width"], clip["num_frames"], clip["fps"]) == ("Pair", 64, 5, 8)
    assert clip["poster"].startswith(f"studio/poster/{names[0]}?v=")
    assert clip["swap"] == {"pair": ["red coat", "green dress"], "more": False}
    again = stand.ask("clips", since=first["number"])
    assert (again["clips"], again["names"]) == ([], names)
    newer = stand.write("20260101-000009-pair-seed77.mp4", recipe, age=-9)
    stand.ask("clip_rename", clip=names[2], title="  The   third ")
    later = stand.ask("clips", since=first["number"])
    assert [(one["name"], one["title"]) for one in later["clips"]] == [(newer, "Pair"), (names[2], "The third")]
    assert later["names"] == [newer, *names]
    (stand.clips / newer).unlink()
    after = stand.ask("clips", since=later["number"])
    assert (after["clips"], after["names"]) == ([], names)


def test_a_recipe_is_read_once(stand: _Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: Path) -> Recipe:
        read.append(path.name)
        return read_recipe(path)

    monkeypatch.setattr(clip_shelf, "read_recipe", counted)
    recipe = dressed_recipe(stand.pictures)
    one = stand.write("one.mp4", recipe)
    for _ in range(3):
        stand.ask("clips", since=0)
    stand.ask("clip_poster", clip=one, frame=3)
    stand.ask("clips", since=0)
    assert read == [one]
    stand.write("one.mp4", recipe, age=5)
    stand.ask("clips", since=0)
    assert read == [one, one]


def test_a_listed_clip_leaves_its_pictures_in_the_file(stand: _Stand) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    lamp = Reference(id="lamp", role=Role.object, label="lamp", image=stand.pictures.add_array(noise), mask=None)
    request = RenderRequest(scene=Scene(prompt="a lamp", objects=(lamp,)), settings=resolve_settings("nano"))
    recipe = make_recipe(request, stand.pictures, "test")
    assert sum(map(len, recipe.pictures.values())) > 200_000
    stand.write("lamp.mp4", recipe)
    entries = ClipShelf(lambda: stand.clips, stand.notes).entries()
    assert entries[0].request == recipe.request
    assert len(pickle.dumps(entries)) < 10_000


@pytest.mark.parametrize(
    ("typed", "found"),
    [("green dress", True), ("MEETS", False), ("meets", True), ("pair", True), ("seed 77", True), ("nano", True)],
)
def test_a_clip_is_found_by_its_words(stand: _Stand, typed: str, found: bool) -> None:
    stand.write("20260101-000000-pair-seed77.mp4", dressed_recipe(stand.pictures))
    words = stand.ask("clips", since=0)["clips"][0]["words"]
    assert (typed in words) is found  # the page looks for what was typed in lower case
    stand.ask("clip_rename", clip="20260101-000000-pair-seed77.mp4", title="Über den Dächern")
    assert "über den dächern" in stand.ask("clips", since=0)["clips"][0]["words"]


def test_a_file_without_a_recipe_is_listed_and_cannot_be_edited(stand: _Stand) -> None:
    (stand.clips / "holiday.mp4").write_bytes(b"no video")
    clip = stand.ask("clips", since=0)["clips"][0]
    assert (clip["has_scene"], clip["swap"]) == (False, None)
    with pytest.raises(InputError, match="played but not edited"):
        stand.ask("clip_edit", edit={"clip": "holiday.mp4", "end": 1})
    with pytest.raises(InputError, match="damaged"):
        stand.ask("clip_swap", clip="holiday.mp4")


def test_a_deleted_clip_comes_back_until_its_time_is_up(stand: _Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    name = stand.write("one.mp4", dressed_recipe(stand.pictures))
    stand.ask("clip_rename", clip=name, title="Mine")
    before = stand.desk.version()
    token = stand.ask("clip_remove", clip=name)["token"]
    listed = stand.ask("clips", since=0)
    assert (listed["names"], listed["removed"][0]["title"]) == ([], "Mine")
    assert stand.desk.version() != before
    assert stand.ask("clip_restore", token=token) == {"clip": name}
    assert stand.ask("clips", since=0)["clips"][0]["title"] == "Mine"
    assert read_recipe(stand.clips / name)
    assert [path.name for path in stand.clips.iterdir()] == [name]
    token = stand.ask("clip_remove", clip=name)["token"]
    monkeypatch.setattr(put_aside, "UNDO_S", 0.0)
    PutAside(lambda: stand.clips, stand.notes.forget).waiting()
    assert list(stand.clips.iterdir()) == []
    assert stand.notes.of(name).title == ""
    with pytest.raises(InputError, match="too long ago"):
        stand.ask("clip_restore", token=token)


def test_time_runs_anew_after_a_restart_and_a_taken_name_is_kept(tmp_path: Path) -> None:
    now = [0.0]
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "one.mp4").write_bytes(b"first")
    dropped: list[str] = []
    aside = PutAside(lambda: clips, dropped.append, clock=lambda: now[0])
    token = aside.remove(clips / "one.mp4")
    (clips / "one.mp4").write_bytes(b"second")
    now[0] = 29.0
    assert [round(one.left_s) for one in aside.waiting()] == [1]
    later = PutAside(lambda: clips, dropped.append, clock=lambda: now[0])
    assert [round(one.left_s) for one in later.waiting()] == [30]
    now[0] = 31.0
    assert later.restore(token) == "one-2.mp4"
    assert (clips / "one.mp4").read_bytes() == b"second"
    assert (clips / "one-2.mp4").read_bytes() == b"first"
    later.remove(clips / "one.mp4")
    now[0] = 62.0
    assert (later.waiting(), dropped) == ([], ["one.mp4"])
    assert [path.name for path in clips.iterdir()] == ["one-2.mp4"]


def test_a_dress_swap_is_the_same_request_with_the_things_exchanged(stand: _Stand) -> None:
    name = stand.write("pair.mp4", dressed_recipe(stand.pictures))
    answer = stand.ask("clip_swap", clip=name)
    job = stand.queue.job(answer["job"])
    assert job is not None
    assert job.title == "Pair, clothes exchanged"
    with speaking("zh"):
        named = stand.queue.job(stand.ask("clip_swap", clip=name)["job"])
    assert named is not None
    assert named.title == "Pair，换装"
    was = read_recipe(stand.clips / name).request
    assert job.request.settings == was.settings
    assert job.request.scene.prompt == "A man in a green dress meets a woman in a red coat."
    man, woman = job.request.scene.subjects
    assert [one.label for one in (*man.attributes, *woman.attributes)] == ["green dress", "red coat"]
    assert (man.face, woman.face) == (was.scene.subjects[0].face, was.scene.subjects[1].face)
    stand.missing = "Download the weights first."
    with pytest.raises(InputError, match="Download"):
        stand.ask("clip_swap", clip=name)


def test_where_several_could_be_meant_the_user_chooses(stand: _Stand) -> None:
    three = stand.write("three.mp4", dressed_recipe(stand.pictures, people=3))
    assert stand.ask("clips", since=0)["clips"][0]["swap"] == {"pair": None, "more": True}
    choice = stand.ask("clip_swap", clip=three)["choice"]
    assert [[thing["label"] for thing in one["things"]] for one in choice] == [
        ["red coat"],
        ["green dress"],
        ["blue hat"],
    ]
    assert stand.queue.jobs() == ()
    job = stand.queue.job(stand.ask("clip_swap", clip=three, first="red coat", second="blue hat")["job"])
    assert job is not None
    assert [subject.attributes[0].label for subject in job.request.scene.subjects] == [
        "blue hat", "green dress", "red coat",
    ]  # fmt: skip
    with pytest.raises(InputError, match="two different people"):
        stand.ask("clip_swap", clip=three, first="red coat", second="red coat")
    two = stand.write("two.mp4", dressed_recipe(stand.pictures, garments=2))
    assert "choice" in stand.ask("clip_swap", clip=two, choose=True)
    assert "job" in stand.ask("clip_swap", clip=two)
    alone = stand.write("alone.mp4", small_recipe(stand.pictures, width=64, height=48, num_frames=5))
    with pytest.raises(InputError, match="two people"):
        stand.ask("clip_swap", clip=alone)


def test_a_clip_opens_with_its_words_or_as_a_cast_for_new_ones(stand: _Stand) -> None:
    name = stand.write("pair.mp4", dressed_recipe(stand.pictures))
    assert stand.ask("open_clip", clip=name)["scene"].prompt == PROMPT
    assert stand.ask("open_clip", clip=name)["settings"]["seed"] == "77"
    cast = stand.ask("open_clip", clip=name, words=False)
    assert (cast["scene"].prompt, cast["scene"].spans, len(cast["scene"].references())) == ("", (), 4)
    assert cast["settings"]["seed"] is None


def test_an_edit_becomes_a_new_clip_of_the_gallery(stand: _Stand) -> None:
    name = stand.write("20260101-000000-pair-seed77.mp4", dressed_recipe(stand.pictures))
    stand.ask("clip_rename", clip=name, title="The pair")
    done = stand.finished(stand.ask("clip_edit", edit={"clip": name, "start": 1, "times": 2})["task"])
    assert (done["state"], done["num_done"], done["num_all"]) == ("done", 13, 13)
    made = stand.ask("clips", since=0)["clips"][0]
    assert made["name"] == done["result"]["clip"]
    assert (made["title"], made["num_frames"], made["edited"]) == ("The pair (edited)", 8, ["trimmed", "looped"])
    assert measure(stand.clips / made["name"]).num_frames == 8
    failed = stand.finished(stand.ask("clip_edit", edit={"clip": name, "end": 99})["task"])
    assert (failed["state"], "5 frames only" in failed["fault"]) == ("failed", True)
    with pytest.raises(InputError, match="too far from 1"):
        stand.ask("clip_edit", edit={"clip": name, "speed": 0})
    with pytest.raises(InputError, match="no longer in the clips folder"):
        stand.ask("clip_edit", edit={"clip": name, "joined": ["gone.mp4"]})


def test_a_clip_is_saved_by_the_name_the_user_gave_it(stand: _Stand) -> None:
    name = stand.write("20260101-000000-pair-seed77.mp4", dressed_recipe(stand.pictures))
    own = stand.finished(stand.ask("save", clip=name, format="mp4")["task"])["result"]
    assert own == {"url": f"studio/clip/{name}", "name": name}
    stand.ask("clip_rename", clip=name, title='Man: "coat" / dress?')
    zipped = stand.finished(stand.ask("save", clip=name, format="png")["task"])
    assert zipped["result"]["name"] == "Man coat dress.zip"
    assert zipped["num_done"] == zipped["num_all"] == 5
    with pytest.raises(InputError, match="no such format"):
        stand.ask("save", clip=name, format="exe")


def test_a_clip_that_is_sent_opens_and_a_foreign_one_is_named(stand: _Stand, tmp_path: Path) -> None:
    name = stand.write("20260101-000000-pair-seed77.mp4", dressed_recipe(stand.pictures))
    answer = stand.desk.read_clip(stand.clips / name, "from afar.mp4")
    assert (answer["title"], answer["scene"].prompt) == ("From afar", PROMPT)
    for content in (b"", b"no video", b"\0\0\0\x08free"):
        (tmp_path / "clip.mp4").write_bytes(content)
        with pytest.raises(InputError) as caught:
            stand.desk.read_clip(tmp_path / "clip.mp4", "holiday.mp4")
        assert "“holiday.mp4”" in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def test_notes_are_found_again_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    notes = ClipNotes(tmp_path)
    notes.rename("a.mp4", "红 coat")
    notes.choose_poster("a.mp4", 4)
    notes.rename("a.mp4", "红 \ud800coat")
    notes.rename("b.mp4", "B")
    for path in tmp_path.iterdir():
        if "B" in path.read_text(encoding="utf-8"):
            path.write_text("{")
    again = ClipNotes(tmp_path)
    assert (again.of("a.mp4").title, again.of("a.mp4").poster) == ("红 coat", 4)
    assert again.of("b.mp4").title == ""
    with pytest.raises(InputError, match="no title"):
        again.rename("a.mp4", "x" * 121)
