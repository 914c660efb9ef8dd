"""The process that cuts, and the page's side of it: asked, killed, closed, and what the studio answers with."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from engine.errors import InputError, MachineError, PictureError
from engine.masks.grabcut import GrabCut
from engine.masks.kept import forget, view_path
from engine.masks.process import CutterProcess, CutterProgram
from engine.masks.programs import BUILT_IN, installed_cutters
from engine.masks.worker import Worker, mask_png
from engine.pictures import PictureStore, model_picture
from engine.scene import Reference, Role
from studio.cutting import Cutting
from tests.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
CLICK = {"steps": [["click", 120, 90, True]]}
STUBBORN = """
import json, os, sys
for line in sys.stdin:
    question = json.loads(line)
    if question["do"] == "die": os._exit(3)
    if question["do"] == "sleep": import time; time.sleep(60)
    print(json.dumps({"pid": os.getpid()}), flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


@pytest.fixture
def picture(store: PictureStore) -> str:
    rgb = np.empty((200, 300, 3), dtype=np.uint8)
    rgb[:] = (20, 160, 40)
    rgb[60:130, 90:180] = (200, 30, 30)
    return store.add_array(rgb)


@pytest.fixture
def worker(store: PictureStore) -> Worker:
    return Worker(GrabCut(), store)


def question(picture: str, **more: Any) -> dict[str, Any]:
    return {"do": "mask", "picture": picture, "base": None, "role": "attribute", "gestures": CLICK, **more}


def image(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data.split(",")[1])))


def test_a_mask_travels_as_one_bit_per_pixel(worker: Worker, picture: str) -> None:
    answer = worker.answer(question(picture))
    left, top, width, height = answer["box"]
    kept = np.zeros((200, 300), dtype=np.bool_)
    with image(answer["mask"]) as mask:
        assert (mask.format, mask.mode, mask.size, mask.info["transparency"]) == ("PNG", "P", (width, height), 0)
        kept[top : top + height, left : left + width] = np.asarray(mask.convert("RGBA"))[:, :, 3] > 0
    assert kept[60:130, 90:180].sum() >= 70 * 90 - 4  # corners are a pixel round
    assert kept.sum() <= 70 * 90
    assert answer["share"] == pytest.approx(kept.mean())
    # only what is kept and a margin, in which the page smooths the edge
    assert np.array_equal(answer["box"], (88, 58, 94, 74))
    assert len(mask_png(np.zeros((1365, 2048), np.bool_))) < 3000


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 16), (33, 8), (50, 301)])
def test_a_mask_of_any_size_travels_unchanged(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(2).random(size) > 0.6
    with Image.open(io.BytesIO(mask_png(mask))) as read:
        read.load()  # checks the sums, too
        assert np.array_equal(np.asarray(read.convert("RGBA"))[:, :, 3] > 0, mask)


def test_the_box_stays_inside_the_picture(worker: Worker, picture: str) -> None:
    everything = {"steps": [["stroke", 500, True, [150, 100]]]}
    answer = worker.answer(question(picture, gestures=everything))
    assert (tuple(answer["box"]), answer["share"]) == ((0, 0, 300, 200), 1.0)


@pytest.mark.parametrize("role", ["face", "attribute", "object", "background"])
@pytest.mark.parametrize("feather", [0, 20])
def test_the_preview_is_what_the_model_gets(
    worker: Worker, store: PictureStore, picture: str, role: str, feather: int
) -> None:
    asked = question(picture, role=role, gestures={**CLICK, "feather": feather})
    kept = worker.answer({**asked, "do": "keep"})["mask"]
    assert kept in store
    sent = model_picture(Reference(id="a", role=Role(role), label="", image=picture, mask=kept), store)
    with image(worker.answer(asked)["preview"]) as preview:
        shown = np.asarray(preview.convert("RGB")).astype(int)
    assert shown.shape == sent.shape
    assert np.abs(shown - sent).mean() < 4  # the loss of JPEG


def test_the_preview_of_a_large_picture_is_its_cut_out_made_small(worker: Worker, store: PictureStore) -> None:
    rgb = np.random.default_rng(4).integers(0, 40, (1503, 2501, 3), dtype=np.uint8)
    rgb[301:1102, 407:1709] += np.array((190, 20, 30), np.uint8)
    asked = question(store.add_array(rgb), gestures={"steps": [["box", 380, 280, 1730, 1120]]})
    kept = worker.answer({**asked, "do": "keep"})["mask"]
    sent = model_picture(Reference(id="a", role=Role.attribute, label="", image=asked["picture"], mask=kept), store)
    with image(worker.answer(asked)["preview"]) as preview:
        shown = np.asarray(preview.convert("RGB")).astype(int)
    assert np.abs(np.array(shown.shape[:2]) - np.array((801, 1302)) * 512 / 2501).max() < 1.5
    small = cv2.resize(sent, shown.shape[1::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shown - small)[2:-2, 2:-2].mean() < 3


def test_a_single_pixel_of_a_large_picture_has_a_preview(worker: Worker, store: PictureStore) -> None:
    picture = store.add_array(np.full((2048, 1365, 3), 90, np.uint8))
    answer = worker.answer(question(picture, gestures={"steps": [["stroke", 0.5, True, [1364.5, 2047.5]]]}))
    assert answer["box"] == (1362, 2045, 3, 3)
    with image(answer["preview"]) as preview:
        assert preview.size == (1, 1)


def test_nothing_kept_is_no_mask(worker: Worker, picture: str) -> None:
    answer = worker.answer(question(picture, gestures={"steps": []}))
    assert (answer["mask"], answer["preview"], answer["share"]) == (None, None, 0.0)
    refused = worker.answer(question(picture, do="keep", gestures={"steps": []}))
    assert refused == {"error": "Nothing is cut out yet; click the thing to keep.", "kind": "InputError"}


def test_what_cannot_be_cut_gets_a_sentence(worker: Worker, store: PictureStore, picture: str) -> None:
    small = store.add_mask(np.full((20, 30), 255, np.uint8))
    assert "another size" in worker.answer(question(picture, base=small))["error"]
    assert "missing" in worker.answer(question("0" * 64))["error"]
    assert "not a picture" in worker.answer(question("../../etc/passwd"))["error"]
    assert "gesture" in worker.answer(question(picture, gestures={"steps": [["click", None, 1, True]]}))["error"]
    assert "fault" in worker.answer({"do": "nonsense"})


def test_an_earlier_mask_is_gone_on_from(worker: Worker, store: PictureStore, picture: str) -> None:
    earlier = np.zeros((200, 300), dtype=np.uint8)
    earlier[10:20, 10:30] = 255
    base = store.add_mask(earlier)
    kept = store.load_mask(worker.answer(question(picture, base=base, do="keep"))["mask"])
    earlier[60:130, 90:180] = 255
    assert (kept != earlier).sum() <= 4  # corners are a pixel round


def test_the_view_is_made_once_and_can_be_forgotten(worker: Worker, picture: str) -> None:
    answer = worker.answer({"do": "open", "picture": picture})
    assert answer == {"width": 300, "height": 200, "ready": True}
    with Image.open(view_path(picture)) as view:
        assert (view.format, view.size) == ("WEBP", (300, 200))
    forget(picture)
    assert not view_path(picture).exists()


@pytest.fixture
def process(store: PictureStore) -> Iterator[CutterProcess]:
    one = CutterProcess(BUILT_IN, store.root)
    yield one
    one.close()


def test_a_real_process_answers_and_loads_no_torch(process: CutterProcess, picture: str) -> None:
    assert process.pid is None
    answer = process.ask(question(picture))
    assert answer["mask"].startswith("data:image/png;base64,")
    maps = Path(f"/proc/{process.pid}/maps")
    if maps.exists():
        assert "libtorch" not in maps.read_text()
    with pytest.raises(PictureError, match="missing"):
        process.ask(question("0" * 64))


def test_a_killed_process_is_started_again_and_nothing_is_lost(process: CutterProcess, picture: str) -> None:
    first, pid = process.ask(question(picture)), process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert process.ask(question(picture)) == first
    assert process.pid not in (None, pid)


def test_closing_ends_the_process(store: PictureStore, picture: str) -> None:
    process = CutterProcess(BUILT_IN, store.root)
    process.ask({"do": "open", "picture": picture})
    pid = process.pid
    assert pid is not None
    process.close()
    assert process.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(MachineError, match="being closed"):
        process.ask({"do": "open", "picture": picture})


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CutterProgram:
    """A program that dies or sleeps when asked to."""
    (tmp_path / "stubborn_cutter.py").write_text(STUBBORN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return CutterProgram(name="stubborn", title="", note="", builtin=True, module="stubborn_cutter")


def test_a_question_that_kills_is_not_asked_for_ever(stubborn: CutterProgram, tmp_path: Path) -> None:
    process = CutterProcess(stubborn, tmp_path)
    with pytest.raises(MachineError, match="stopped twice"):
        process.ask({"do": "die"})
    assert process.ask({"do": "live"})["pid"] == process.pid
    process.close()


def test_a_question_that_takes_for_ever_is_given_up(stubborn: CutterProgram, tmp_path: Path) -> None:
    process = CutterProcess(stubborn, tmp_path, longest_s=1.0)
    with pytest.raises(MachineError, match="too long"):
        process.ask({"do": "sleep"})
    process.close()


def test_closing_interrupts_a_question(stubborn: CutterProgram, tmp_path: Path) -> None:
    process = CutterProcess(stubborn, tmp_path)
    process.ask({"do": "live"})
    caught: list[Exception] = []

    def ask() -> None:
        try:
            process.ask({"do": "sleep"})
        except MachineError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(process._lock.locked, "a question under way")
    time.sleep(0.3)
    process.close()
    thread.join(PATIENCE_S)
    assert len(caught) == 1


def test_the_process_ends_when_the_studio_is_killed(store: PictureStore, picture: str) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from engine.masks.process import CutterProcess\nfrom engine.masks.programs import BUILT_IN\n"
        f"one = CutterProcess(BUILT_IN, Path({str(store.root)!r}))\n"
        f"one.ask({{'do': 'open', 'picture': {picture!r}}})\nprint(one.pid, flush=True)\ntime.sleep(600)\n"
    )
    studio = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with studio:
        assert studio.stdout is not None
        pid = int(studio.stdout.readline())
        studio.kill()
    wait_until(lambda: not _alive(pid), "an end of the process that cuts")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.fixture
def cutting(store: PictureStore) -> Iterator[Cutting]:
    one = Cutting(installed_cutters, store)
    yield one
    one.close()


def sent(picture: str, number: int, **more: Any) -> dict[str, Any]:
    fields = {"cutter": "built-in", "base": None, "role": "attribute", "page": "tab", "gestures": CLICK}
    return {"picture": picture, "number": number, **fields, **more}


def hostile(picture: str, more: dict[str, Any]) -> dict[str, Any]:
    return {**sent(picture, 1), **more}


def test_the_studio_opens_answers_and_keeps(cutting: Cutting, store: PictureStore, picture: str) -> None:
    opened = cutting.answers["cut_open"]({"picture": picture})
    assert (opened["width"], opened["height"], opened["view"]) == (300, 200, f"studio/view/{picture}")
    assert [one["name"] for one in opened["cutters"]] == ["built-in"]
    assert "Segment Anything (375 MB): get it under Models" in opened["install"]
    while not cutting.answers["cut_prepare"]({"picture": picture, "cutter": "built-in"})["ready"]:
        pass
    answer = cutting.answers["cut_gestures"](sent(picture, 1))
    assert answer["number"] == 1
    assert answer["share"] == pytest.approx(0.105, abs=1e-4)
    kept = store.load_mask(cutting.answers["cut_keep"](sent(picture, 2))["mask"])
    assert kept.mean() / 255 == pytest.approx(answer["share"])


def test_older_gestures_give_way_to_newer_ones_of_the_same_page_only(cutting: Cutting, picture: str) -> None:
    ask = cutting.answers["cut_gestures"]
    assert "mask" in ask(sent(picture, 7))
    assert ask(sent(picture, 6)) == {"number": 6, "superseded": True}
    assert "mask" in ask(sent(picture, 6, page="another tab"))
    assert "mask" in ask(sent(picture, 8))


@pytest.mark.parametrize(
    "more",
    [
        {"picture": "0" * 64}, {"picture": 7}, {"picture": "../x"}, {"cutter": "scissors"}, {"cutter": None},
        {"base": "0" * 64}, {"base": 5}, {"role": "hat"}, {"role": None}, {"page": ""}, {"page": None},
        {"page": "x" * 65}, {"number": "1"}, {"number": True}, {"gestures": None}, {"gestures": {"steps": [[1]]}},
    ],
)  # fmt: skip
def test_a_hostile_message_gets_a_sentence(cutting: Cutting, picture: str, more: dict[str, Any]) -> None:
    with pytest.raises((InputError, PictureError)) as caught:
        cutting.answers["cut_gestures"](hostile(picture, more))
    assert str(caught.value).endswith(".")
