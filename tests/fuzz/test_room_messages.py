"""Every message that a page or a program may send to a room: scene, gallery, sharing, forgetting, reports, models and
so on, each of them damaged in any way. A name that the room answers and nobody tries here fails a test of its own."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from engine.asking import checked
from engine.clip import ClipWriter
from engine.codec import to_json
from engine.engines import resolve_settings
from engine.errors import InputError, UserError
from engine.masks.grabcut import GrabCut
from engine.masks.process import CutterProgram
from engine.masks.programs import BUILT_IN
from engine.masks.worker import Worker
from engine.memory.lent import Lent
from engine.pictures import PictureStore
from engine.portable import make_recipe
from engine.shared_file import write_shared
from studio.backend import Backend
from studio.home import personal_home
from studio.job_store import JobStore
from studio.jobs import JobQueue
from studio.languages import say
from studio.models_desk import ModelsDesk
from studio.reports import Reports
from studio.room import Room
from studio.visitor_queue import VisitorQueue
from studio.workshop import Report, Task, Workshop
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target
from tests.fuzz.test_browser_messages import FAULTS, Refusing, inside, messages
from tests.fuzz.test_json import damaged, loaded, scraps
from tests.unit.tiny_studio import tiny_request, tiny_scene

__all__ = ["inside"]

JOB = "the job"
"""Stands for the id of a render that is there."""
TOKEN = "0123456789abcdef"
_MOST_JOBS = 40
PERSON = {"subject": "one", "title": "a title"}


class _CutterHere:
    """The process that cuts, without a process: the same questions, as JSON, to the same worker."""

    def __init__(self, _program: CutterProgram, pictures: Path, _longest_s: float = 0.0) -> None:
        self._worker = Worker(GrabCut(), PictureStore(pictures))

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        return checked(json.loads(json.dumps(self._worker.answer(json.loads(json.dumps(question))))))

    def ask_if(self, question: dict[str, Any], wanted: Callable[[], bool]) -> dict[str, Any] | None:
        return self.ask(question) if wanted() else None

    def close(self) -> None:
        pass


class _Workshop(Workshop):
    """Begins what it is given, without doing it: programs of their own write clips."""

    def begin(self, work: Callable[[Report], dict[str, Any]]) -> Task:
        assert callable(work)
        return super().begin(lambda _: {})


def _no_errand(*_: Any) -> None:
    raise InputError("Nothing is fetched here.")


@pytest.fixture
def room(inside: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setattr("studio.cutting.CutterProcess", _CutterHere)
    monkeypatch.setattr("studio.models_desk.Errand", _no_errand)
    monkeypatch.setattr("studio.loras_desk.Errand", _no_errand)
    monkeypatch.setattr("studio.room.Workshop", _Workshop)
    monkeypatch.setattr("studio.room.Reports", partial(Reports, examine=lambda: {"budget": {"ram_bytes": 10**9}}))
    monkeypatch.setattr("studio.gallery_desk._NEWS_S", 0.0)
    monkeypatch.setattr("studio.programs._WAIT_S", 0.01)
    monkeypatch.setattr("tempfile.tempdir", str(inside))
    pictures = PictureStore(personal_home().pictures)
    queue = JobQueue(Refusing, pictures, lambda: inside / "clips", JobStore(inside / "studio.sqlite3"))
    models = ModelsDesk(local=True)
    lent = Lent(seconds=60, card_bytes=10**11)
    backend = Backend(
        make_engine=Refusing,
        missing_weights=lambda _: None,
        cutters=lambda: (BUILT_IN,),
        face_finder=lambda: None,
        lent=lent,
    )
    found = Room(
        home=personal_home, queue=VisitorQueue(queue, "", None, lent), backend=backend, models=models, allowance=None
    )
    yield found
    found.ask({"do": "queue_pause", "paused": True})
    found.close()
    models.close()
    queue.close()


def all_messages(folder: Path) -> list[dict[str, Any]]:
    store = PictureStore(personal_home().pictures)
    scene = to_json(tiny_scene(store))
    man = scene["subjects"][0]["face"]
    words = {"scene": scene, "prompt": scene["prompt"], "title": "a title"}
    chosen = {**to_json(resolve_settings("nano")), "seed": "3"}
    cut = {"picture": man["image"], "base": None, "role": "face", "cutter": BUILT_IN.name, "page": "p", "number": 1}
    gestures = {
        "steps": [["box", 2, 2, 20, 30], ["click", 10, 12, True], ["stroke", 6, True, [13, 13, 19, 19]]],
        "feather": 1,
        "fill_holes": True,
    }
    picture = {"picture": man["image"], "mask": None, "name": "man.png", "box": [0, 0, 20, 20]}
    edits: list[dict[str, Any]] = [
        {"kind": "words"}, {"kind": "compose"},
        {"kind": "add_people", "pictures": [picture]}, {"kind": "add_objects", "pictures": [picture]},
        {"kind": "add_attributes", "subject": "one", "pictures": [picture]},
        {"kind": "set_background", "pictures": [picture]},
        {"kind": "set_face", "subject": "one", "pictures": [picture]},
        {"kind": "set_picture", "reference": "man", "pictures": [picture]},
        {"kind": "rename", "reference": "man", "label": "boy"}, {"kind": "remove", "target": "man"},
        {"kind": "duplicate", "subject": "one"}, {"kind": "move_subject", "subject": "one", "place": 1},
        {"kind": "move", "reference": "coat", "owner": "two", "before": None},
        {"kind": "swap", "first": "man", "second": "woman"},
        {"kind": "bind", "reference": "man", "start": 2, "end": 5},
        {"kind": "toggle", "owner": "one", "start": 2, "end": 5},
        {"kind": "insert", "reference": "man"}, {"kind": "tell_apart", "references": ["man", "woman"]},
        {"kind": "in_order", "references": ["man", "woman"]},
    ]  # fmt: skip
    return [
        *messages(folder),
        *({"do": "edit", **words, "edit": edit} for edit in edits),
        {"do": "begin_empty"},
        {"do": "insert_preset", **words, "preset": "my-mine"},
        {"do": "choose", "preset": "my-mine"},
        {"do": "save_preset", **words, "name": "Mine", "what": "scene", "replace": True},
        {"do": "delete_preset", "preset": "my-mine"},
        {"do": "framing", "picture": man["image"], "mask": scene["subjects"][0]["attributes"][0]["mask"]},
        {
            "do": "keep",
            "token": TOKEN,
            "present": "1",
            "past": [],
            "future": [],
            "settings": chosen,
            "entries": {"1": {"scene": scene, "title": "a title", "preset": None}},
        },
        {"do": "reopen", "token": TOKEN},
        {"do": "queue_pause", "paused": False},
        {"do": "queue_now"},
        *({"do": f"queue_{what}", "job": JOB} for what in ("retry", "forget", "open", "log")),
        {"do": "queue_move", "job": JOB, "by": -1},
        {"do": "render", **words, "settings": chosen, "count": 3, "replaces": JOB},
        {"do": "clip_length", "edit": {"clip": "a.mp4", "start": 1, "end": 4, "speed": 0.5, "times": 2, "joined": []}},
        {"do": "task_cancel", "task": "task-1"},
        {"do": "share", **words, "what": "one", "name": "Mine", "zip": False, "whole": True, "settings": chosen},
        {"do": "share_preset", "preset": "my-mine", "name": "", "zip": True},
        {"do": "insert_shared", **words, "shared": scene},
        {"do": "forget_look", **words, **PERSON},
        {"do": "forget", **words, **PERSON, "clips": True},
        {"do": "forget_pictures", **words, "gone": [man["image"]]},
        {"do": "report", "job": None, "words": True},
        {"do": "prefer", "mark": True, "chosen": "zh", "language": "zh"},
        {"do": "find_faces", "picture": man["image"], "one": True},
        {"do": "models"},
        {"do": "models_do", "name": "segment-anything", "kind": "install", "accepted": True, "path": "/nowhere"},
        {"do": "models_stop", "name": "lumosx"},
        {"do": "lora_add", "path": "/nowhere.safetensors"},
        {"do": "lora_remove", "digest": "0" * 64},
        {"do": "notices"},
        {"do": "notice_seen", "name": "consent"},
        {"do": "cost", "references": 3, "settings": chosen},
        {"do": "forecast", "references": 3, "settings": chosen},
        {"do": "cut_open", **cut},
        {"do": "cut_prepare", **cut},
        {"do": "cut_gestures", **cut, "gestures": gestures},
        {"do": "cut_keep", **cut, "gestures": gestures},
    ]


class World:
    """A room in which everything is there that messages speak of; what they destroy is put back before the next."""

    def __init__(self, room: Room, home: Path) -> None:
        self.room = room
        self._home = home
        self._store = PictureStore(personal_home().pictures)
        self.scene = to_json(tiny_scene(self._store))
        self._clip = self._made_clip()
        self.job = ""
        self.put_back()

    def put_back(self) -> None:
        """Pictures, a clip, a preset, a draft and a failed render."""
        man = self.scene["subjects"][0]["face"]["image"]
        if man not in self._store:
            tiny_scene(self._store)
        clip = self._home / "clips" / "a.mp4"
        if not clip.is_file():
            clip.parent.mkdir(exist_ok=True)
            clip.write_bytes(self._clip)
        words = {"scene": self.scene, "prompt": self.scene["prompt"], "title": "a title"}
        if not (personal_home().presets / "my-mine").is_dir():
            self.room.ask({"do": "save_preset", **words, "name": "Mine", "what": "scene", "replace": True})
        jobs = {one["id"] for one in self.room.ask({"do": "look", "version": -1})["jobs"]}
        if self.job not in jobs or len(jobs) > _MOST_JOBS:
            for job in jobs:
                self.room.ask({"do": "cancel", "job": job})
                self.room.ask({"do": "queue_forget", "job": job})
            settings = {**to_json(resolve_settings("nano")), "seed": "3"}
            self.job = self.room.ask({"do": "render", **words, "settings": settings, "allow_unbound": True})["job"]

    def _made_clip(self) -> bytes:
        request, out = tiny_request(self._store), self._home / "made.mp4"
        settings = request.settings
        recipe = make_recipe(request, self._store, "tiny")
        with ClipWriter(out, width=settings.width, height=settings.height, fps=settings.fps, recipe=recipe) as writer:
            for level in range(settings.num_frames):
                writer.write(np.full((settings.height, settings.width, 3), 20 * level % 256, np.uint8))
        data = out.read_bytes()
        out.unlink()
        return data


def answers_of(room: Room) -> set[str]:
    return set(room._desk._answers)


def test_every_message_that_a_room_answers_is_tried(room: Room, inside: Path) -> None:
    tried = {str(one["do"]) for one in all_messages(inside)}
    assert answers_of(room) - tried == set()
    assert tried - answers_of(room) <= {"mark"}  # of an older page


def ask(world: World, data: bytes, _folder: Path) -> None:
    world.put_back()
    answer = world.room.ask(loaded(data.replace(JOB.encode(), world.job.encode())))
    # The page gets it as JSON in UTF-8, and no browser knows NaN.
    json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
    error = answer.get("error")
    if error is not None:
        assert error not in FAULTS
        raise UserError(str(error))


def test_as_they_are_messages_are_understood(room: Room, inside: Path) -> None:
    world, refused = World(room, inside), set[str]()
    for message in all_messages(inside)[len(messages(inside)) :]:
        world.put_back()
        answer = room.ask(json.loads(json.dumps(message).replace(JOB, world.job)))
        if "error" in answer:
            refused.add(f"{message['do']}: {answer['error']}")
    # The render that is tried again fails at once, before or after the next message: either answer is right.
    in_time = {f"queue_forget: {say('job_running')}", f"queue_move: {say('job_begun')}"}
    assert refused - in_time == {
        "edit: Only two different clothes or things can be exchanged.",
        "models_do: There is no /nowhere; check the path.",
        "lora_add: There is no /nowhere.safetensors; check the path.",
        "lora_remove: This LoRA is no longer here; the list shows those that are.",
        f"render: {say('job_begun')}",
    }


def test_messages_to_a_room(fuzz: Fuzz, room: Room, inside: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    seeds = all_messages(inside)
    made = st.one_of(
        damaged(st.sampled_from(seeds)), scraps.map(lambda one: json.dumps(one).encode("utf-8", "surrogatepass"))
    )
    parse = partial(ask, World(room, inside))
    fuzz(Target("message to a room", parse, [json.dumps(one).encode() for one in seeds], "json"), made)


def call(room: Room, data: bytes, _folder: Path) -> None:
    """A call of a program: its name and what it is given, as Gradio hands it on."""
    tree = loaded(data)
    name, *given = tree if isinstance(tree, list) and tree else [None]
    function = room.programs.endpoints.get(str(name))
    if function is None or not isinstance(name, str):
        raise InputError("Gradio knows no such endpoint.")
    word = (str,)
    kinds = {"submit": (str, (dict, type(None)), str), "follow": word, "fetch": word, "cancel": word, "presets": ()}
    if len(given) != len(kinds[name]) or not all(map(isinstance, given, kinds[name])):
        raise InputError("Gradio refuses what does not fit the types.")
    answer = function(*given)
    if isinstance(answer, Iterator):
        with closing(answer):  # pyright: ignore[reportArgumentType]
            answer = list(islice(answer, 50))
    json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()


def test_calls_of_programs(fuzz: Fuzz, room: Room, inside: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    store = PictureStore(personal_home().pictures)
    request = tiny_request(store)
    shared = inside / "scene.lumosx"
    write_shared(request.scene, store, shared, title="A", settings=request.settings)
    code = base64.b64encode(shared.read_bytes()).decode()
    shared.unlink()
    job = room.programs.submit(code, {"num_inference_steps": 2}, "a title")["job"]
    seeds: list[list[Any]] = [
        ["submit", code, {"width": 64, "guidance_scale": 1.5, "seed": 3, "engine": "nano"}, "a title"],
        ["submit", "01-two-friends-in-the-park", None, ""],
        ["follow", job], ["fetch", job], ["cancel", job], ["presets"],
    ]  # fmt: skip
    assert {seed[0] for seed in seeds} == set(room.programs.endpoints)
    made = damaged(st.sampled_from(seeds))
    fuzz(Target("call of a program", partial(call, room), [json.dumps(one).encode() for one in seeds], "json"), made)
