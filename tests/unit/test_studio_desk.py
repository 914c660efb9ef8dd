"""What the page asks and what it gets: values for people, a sentence for every mistake, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.cancel import CancelToken
from engine.engines import engine_info
from engine.errors import InputError
from engine.events import Event, Finished
from engine.pictures import PictureStore
from engine.request import Clip, RenderRequest
from studio.clip_notes import ClipNotes
from studio.desk import Desk
from studio.drafts import DraftBook
from studio.job_store import JobStore
from studio.jobs import JobQueue, JobState
from studio.languages import sentences
from studio.library import Library
from studio.workshop import Workshop
from tests.patience import PATIENCE_S, wait_until

WORDS = "A man in a red coat."


class _Engine:
    def render(
        self, request: RenderRequest, pictures: PictureStore, cancel: CancelToken, out: Path, *, resume: Path
    ) -> Iterator[Event]:
        out.write_bytes(b"no video")
        yield Finished(
            clip=Clip(id="c", path=out, request=request, engine_version="0", weights_digest="d", seconds=1.0)
        )


class _Stand:
    def __init__(self, home: Path, *, local: bool = True) -> None:
        self.home = home
        self.missing: str | None = None
        self.workshop = Workshop()
        pictures = PictureStore(home / "pictures")
        self.queue = JobQueue(_Engine, pictures, lambda: home / "clips", JobStore(home / "studio.sqlite3"))
        self.desk = Desk(
            queue=self.queue,
            library=Library(pictures),
            pictures=pictures,
            drafts=DraftBook(home / "drafts"),
            local=local,
            missing_weights=lambda _: self.missing,
            clips=lambda: home / "clips",
            exports=lambda: home / "exports",
            notes=ClipNotes(home / "clip-notes"),
            workshop=self.workshop,
        )

    def ask(self, **message: Any) -> dict[str, Any]:
        return self.desk.ask(message)

    def settings(self, **changes: Any) -> dict[str, Any]:
        one = engine_info("nano").defaults
        return {
            "engine": "nano", "width": one.width, "height": one.height, "num_frames": one.num_frames,
            "num_inference_steps": one.num_inference_steps, "seed": "3", **changes,
        }  # fmt: skip

    def wait(self) -> None:
        version = -1
        while not all(job.final for job in self.queue.jobs()):
            version = self.queue.wait(version, 5)


def _preset(folder: Path, words: str = WORDS) -> None:
    (folder / "subjects" / "1").mkdir(parents=True)
    for name, colour in (("face_man", "tan"), ("red coat", "red")):
        Image.new("RGB", (20, 20), colour).save(folder / "subjects" / "1" / f"{name}.png")
    (folder / "caption.txt").write_text(f"x;{words}")


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Stand]:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path))
    _preset(tmp_path / "presets" / "01-test_man")
    stand = _Stand(tmp_path)
    yield stand
    assert stand.queue.close(PATIENCE_S)


@pytest.fixture
def scene(stand: _Stand) -> dict[str, Any]:
    return stand.ask(do="choose", preset="01-test_man")["scene"]


def test_half_letters_become_question_marks(stand: _Stand, scene: dict[str, Any]) -> None:
    fault = sentences("en")["fault"]
    assert stand.ask(do="cancel", job="\ud800").get("error") != fault
    answer = stand.ask(do="revise", scene=scene, prompt="a \ud800 man", title="\udfff")
    assert answer["scene"]["prompt"] == "a ? man"
    json.dumps(answer, ensure_ascii=False).encode()


def test_the_page_begins_with_presets_engines_and_formats(stand: _Stand) -> None:
    answer = stand.ask(do="begin")
    mine = next(preset for preset in answer["presets"] if preset["name"] == "01-test_man")
    assert mine["title"] == "Test man"
    assert mine["about"] == "1 subject, 1 attribute"
    assert [picture["whole"] for picture in mine["pictures"]] == [False, True]
    assert answer["engines"][0]["name"] == "nano"
    assert answer["formats"][0] == {"value": "mp4", "title": "MP4"}


def test_a_broken_preset_is_told_and_the_others_stay(stand: _Stand) -> None:
    _preset(stand.home / "presets" / "broken")
    (stand.home / "presets" / "broken" / "subjects" / "1" / "face_man.png").write_bytes(b"no picture")
    presets = {preset["name"]: preset for preset in stand.ask(do="begin")["presets"]}
    assert "face_man.png" in presets["broken"]["error"]
    assert presets["01-test_man"]["error"] is None


def test_a_preset_that_changes_is_read_anew(stand: _Stand) -> None:
    assert stand.ask(do="choose", preset="01-test_man")["prompt"] == WORDS
    (stand.home / "presets" / "01-test_man" / "caption.txt").write_text("x;Another man.")
    assert stand.ask(do="choose", preset="01-test_man")["prompt"] == "Another man."


@pytest.mark.parametrize(
    "message",
    [
        {"do": "choose", "preset": "gone"},
        {"do": "choose"},
        {"do": "open", "path": ""},
        {"do": "open", "path": "/no/such/place"},
        {"do": "open", "path": "x\0y"},
        {"do": "open", "path": "9" * 5000},
        {"do": "open", "path": "\ud800"},
        {"do": "open", "path": "~nobody-of-this-name/x"},
        {"do": "open_clip", "clip": "../../etc/passwd"},
        {"do": "save", "clip": "gone.mp4", "format": "mp4"},
        {"do": "clips", "since": "many"},
        {"do": "revise", "scene": {"prompt": 1}, "prompt": "x"},
        {"do": "render", "scene": None, "prompt": "x", "settings": {}},
        {"do": "fly"},
        {},
    ],
)
def test_a_mistake_is_answered_with_one_sentence(stand: _Stand, message: dict[str, Any]) -> None:
    answer = stand.ask(**message)
    assert set(answer) <= {"error", "field"}
    assert answer["error"].encode().endswith(b".")
    assert "fault" not in answer["error"] and "went wrong" not in answer["error"]  # noqa: PT018


@pytest.mark.parametrize("message", [None, 3, "begin", ["begin"]])
def test_what_is_no_message_is_answered_too(stand: _Stand, message: object) -> None:
    assert "reload" in stand.desk.ask(message)["error"]


def test_paths_are_for_this_machine_only(tmp_path: Path, stand: _Stand) -> None:
    folder = tmp_path / "mine"
    _preset(folder)
    assert stand.ask(do="open", path=f' "{folder}" ')["title"] == "Mine"
    remote = _Stand(tmp_path, local=False)
    assert "same machine" in remote.ask(do="open", path=str(folder))["error"]


def test_a_folder_of_pictures_alone_is_told_what_a_scene_has(tmp_path: Path, stand: _Stand) -> None:
    (tmp_path / "Summer").mkdir()
    Image.new("RGB", (20, 20), "tan").save(tmp_path / "Summer" / "beach.png")
    with pytest.raises(InputError, match="“Our summer” holds pictures but no scene"):
        stand.desk.read_folder(tmp_path / "Summer", "Our summer")
    with pytest.raises(InputError, match=r"has no caption\.txt"):
        stand.desk.read_folder(tmp_path / "presets", "Presets")


def test_a_request_becomes_a_job_with_the_words_of_the_page(stand: _Stand, scene: dict[str, Any]) -> None:
    words = "A man in a red coat, running."
    answer = stand.ask(do="render", scene=scene, prompt=words, title="Run", settings=stand.settings())
    stand.wait()
    job = stand.queue.job(answer["job"])
    assert job is not None
    assert job.state is JobState.done
    assert job.request.scene.prompt == words
    assert job.request.settings.seed == 3
    seen = stand.ask(do="look", version=-1)
    assert seen["jobs"][0]["clip"]["builtin"] is True
    assert not seen["busy"]
    assert "jobs" not in stand.ask(do="look", version=seen["version"])


def test_what_cannot_render_says_so_at_the_right_place(stand: _Stand, scene: dict[str, Any]) -> None:
    ask = {"do": "render", "scene": scene, "prompt": WORDS, "title": "x"}
    assert stand.ask(**ask, settings=stand.settings(num_inference_steps=0))["field"] == "num_inference_steps"
    assert "red coat" in stand.ask(**{**ask, "prompt": "A man."}, settings=stand.settings())["error"]
    assert "job" in stand.ask(**{**ask, "prompt": "A man."}, settings=stand.settings(), allow_unbound=True)
    stand.missing = "Download the weights first."
    assert stand.ask(**ask, settings=stand.settings()) == {"error": "Download the weights first.", "field": "engine"}
    stand.missing = None
    lora = {"name": "ink", "digest": "0" * 64, "strength": 1}
    answer = stand.ask(**ask, settings=stand.settings(loras=[lora]))
    assert (answer["field"], "“ink” is not on this machine" in answer["error"]) == ("loras", True)
    assert "LoRA“ink”" in stand.ask(**ask, settings=stand.settings(loras=[lora]), language="zh")["error"]
    for picture in (stand.home / "pictures").rglob("*.png"):
        picture.unlink()
    assert "choose the scene again" in stand.ask(**ask, settings=stand.settings())["error"]


def test_a_fault_of_the_program_is_logged_and_told_plainly(stand: _Stand, caplog: pytest.LogCaptureFixture) -> None:
    (stand.home / "clips").write_text("a file where the folder should be")
    answer = stand.ask(do="clips")
    assert set(answer) == {"error"}
    assert "Traceback" not in answer["error"]
    assert "Traceback" in caplog.text


def test_the_queue_can_be_held_put_in_order_changed_and_tidied(stand: _Stand, scene: dict[str, Any]) -> None:
    def render(words: str, **more: Any) -> dict[str, Any]:
        return stand.ask(
            do="render", scene=scene, prompt=WORDS, title=words, settings=stand.settings(), allow_unbound=True, **more
        )

    def shown() -> list[str]:
        return [job["title"] for job in stand.ask(do="look")["jobs"]]

    assert stand.ask(do="queue_pause", paused=True) == {"paused": True}
    ids = [render(word)["job"] for word in ("one", "two", "three")]
    assert stand.ask(do="queue_move", job=ids[2], by=-2) == {}
    assert shown() == ["three", "one", "two"]
    opened = stand.ask(do="queue_open", job=ids[0])
    assert (opened["title"], opened["prompt"], opened["settings"]["seed"]) == ("one", WORDS, "3")
    assert render("one, changed", replaces=ids[0])["job"] == ids[0]
    assert stand.ask(do="cancel", job=ids[1]) == {"cancelled": True}
    assert shown() == ["two", "three", "one, changed"]
    assert "no longer" in stand.ask(do="queue_forget", job="unknown")["error"]
    look = stand.ask(do="look")
    assert look["queue"] == {"paused": True, "holdable": True, "trouble": "", "more": 0}
    assert [job["state"] for job in look["jobs"]] == ["cancelled", "waiting", "waiting"]
    assert look["jobs"][0]["picture"]["url"].startswith("studio/picture/")
    assert stand.ask(do="queue_forget", job=ids[1]) == {}
    stand.ask(do="queue_pause", paused=False)
    stand.wait()
    assert [job["state"] for job in stand.ask(do="look")["jobs"]] == ["done", "done"]
    assert "begun" in render("late", replaces=ids[0])["error"]


def test_a_failed_job_is_tried_again_and_its_log_can_be_kept(
    stand: _Stand, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.jobs._PAUSES_S", (2 * PATIENCE_S,))  # it stands still until it is told to go on
    (stand.home / "clips").write_text("something stands where the clips should go")
    job = stand.ask(do="render", scene=scene, prompt=WORDS, title="x", settings=stand.settings(), allow_unbound=True)[
        "job"
    ]
    wait_until(lambda: stand.queue.trouble, "a queue that says what is in its way")
    assert "something else stands there" in stand.ask(do="look")["queue"]["trouble"]
    (stand.home / "clips").unlink()
    stand.ask(do="queue_now")
    stand.wait()
    assert stand.ask(do="look")["jobs"][0]["state"] == "done"
    assert "no log" in stand.ask(do="queue_log", job=job)["text"]
    assert "no longer" in stand.ask(do="queue_retry", job=job)["error"]


@pytest.mark.parametrize("name", ["cancel", "queue_retry", "queue_move", "queue_forget", "queue_open", "queue_log"])
def test_a_message_about_no_job_is_answered_in_a_sentence(stand: _Stand, name: str) -> None:
    assert "reload" in stand.ask(do=name)["error"]
    assert stand.ask(do=name, job="gone", by=1) != {}


def test_a_cut_out_goes_into_the_scene(stand: _Stand, scene: dict[str, Any]) -> None:
    coat = scene["subjects"][0]["attributes"][0]
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[5:9, 5:9] = 255
    kept = PictureStore(stand.home / "pictures").add_mask(mask)

    def cut(mask: str) -> dict[str, Any]:
        change = {
            "kind": "set_picture",
            "reference": coat["id"],
            "pictures": [{"picture": coat["image"], "mask": mask}],
        }
        return stand.ask(do="edit", scene=scene, edit=change)

    answer = cut(kept)
    assert answer["scene"]["subjects"][0]["attributes"][0] == {**coat, "mask": kept}
    assert f"mask={kept}" in answer["owners"][0]["references"][1]["picture"]
    assert "error" in cut("0" * 64)
    assert "cut_open" not in stand.desk._answers  # what cuts is given to the desk, not made by it


def test_a_draft_is_rendered_as_chosen_and_called_one(stand: _Stand, scene: dict[str, Any]) -> None:
    draft = {"step_cache": 0.1, "step_cache_kind": "magnitude"}
    answer = stand.ask(do="render", scene=scene, prompt=WORDS, title="T", settings=stand.settings(**draft))
    assert "error" not in answer
    stand.wait()
    (job,) = stand.queue.jobs()
    assert (job.request.settings.step_cache, job.request.settings.step_cache_kind) == (0.1, "magnitude")
    (shown,) = stand.ask(do="look", version=-1)["jobs"]
    assert shown["clip"]["draft"] == ["steps are taken over until they are off by 0.1"]
    assert (shown["clip"]["step_cache"], shown["clip"]["step_cache_kind"]) == (0.1, "magnitude")


def test_a_draft_that_lacks_its_figures_is_told_beside_its_control(
    stand: _Stand, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.weights.magnitudes.MAGNITUDES_NAME", "not-there.json")
    for language, words in (
        ("en", "have not been measured yet: run `python3"),
        ("zh", "的幅度尚未测量：请运行 `python3"),
    ):
        answer = stand.ask(
            do="render", scene=scene, prompt=WORDS, title="T", language=language,
            settings=stand.settings(step_cache=0.1, step_cache_kind="magnitude"),
        )  # fmt: skip
        assert answer["field"] == "step_cache_kind"
        assert words in answer["error"]
        assert "weights calibrate nano" in answer["error"]
    assert stand.queue.jobs() == ()
