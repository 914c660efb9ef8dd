"""Faces: found by InsightFace's own class in a process of its own, put in order, cropped, and looked at."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.errors import MachineError, PictureError, WeightsError
from engine.faces.detector import Scrfd
from engine.faces.found import (
    FoundFace,
    crop_box,
    face_in,
    from_data,
    is_tilted,
    looks_away,
    people,
    to_data,
)
from engine.faces.kept import forget, keep_faces, known_faces
from engine.faces.process import FaceProcess, FaceProgram, installed_finder
from engine.pictures import PictureStore
from tests.unit.tiny_scrfd import BOX, CELL_PX, group_photograph, write_detector

STRAIGHT = ((10.0, 20.0), (30.0, 20.0), (20.0, 30.0), (12.0, 42.0), (28.0, 42.0))


def face(x0: float, y0: float, x1: float, y1: float, score: float = 0.9) -> FoundFace:
    return FoundFace(box=(x0, y0, x1, y1), score=score, points=STRAIGHT)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Scrfd:
    return Scrfd(write_detector(tmp_path_factory.mktemp("model") / "det_500m.onnx"))


def load(path: Path, tmp_path: Path) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    store = PictureStore(tmp_path / "pictures")
    return store.load(store.add_file(path))


@pytest.mark.parametrize("number", [1, 2, 5])
def test_every_face_of_a_group_is_found_where_it_is(detector: Scrfd, tmp_path: Path, number: int) -> None:
    noses = [(2 + 4 * place, 4 + 2 * (place % 2)) for place in range(number)]
    found = people(detector.find(load(group_photograph(tmp_path / "a.png", noses), tmp_path)))
    assert len(found) == number
    for one, (column, row) in zip(found, noses, strict=True):
        x, y = column * CELL_PX, row * CELL_PX
        assert one.box == pytest.approx((x + BOX[0], y + BOX[1], x + BOX[2], y + BOX[3]), abs=1)
        assert one.points[2] == pytest.approx((x + 0.5 * CELL_PX, y + 0.6 * CELL_PX), abs=1)
        assert not looks_away(one)


def test_nothing_is_found_where_nobody_is(detector: Scrfd, tmp_path: Path) -> None:
    assert detector.find(load(group_photograph(tmp_path / "a.png", []), tmp_path)) == ()


def test_large_pictures_are_scaled_there_and_back(detector: Scrfd, tmp_path: Path) -> None:
    # 32 px in a picture of 1280 px are one cell of the largest look, and too little for the others
    big = load(group_photograph(tmp_path / "a.png", [(7, 6)], (1280, 800)), tmp_path).repeat(3, 0).repeat(3, 1)
    (one,) = people(detector.find(big))
    x, y = 3 * 7 * CELL_PX, 3 * 6 * CELL_PX
    assert one.box == pytest.approx(tuple(3 * part + at for part, at in zip(BOX, (x, y, x, y), strict=True)), abs=3)


def test_a_face_that_looks_away_is_known_by_its_points(detector: Scrfd, tmp_path: Path) -> None:
    picture = load(group_photograph(tmp_path / "a.png", [(4, 4), (12, 4)], turned=(1,)), tmp_path)
    assert [looks_away(one) for one in people(detector.find(picture))] == [False, True]


def test_a_tilted_head_and_a_profile() -> None:
    assert not is_tilted(face(0, 0, 40, 60))
    lying = FoundFace(box=(0, 0, 60, 40), score=1, points=((20, 30), (20, 10), (30, 20), (42, 28), (42, 12)))
    assert is_tilted(lying)
    assert not looks_away(lying)
    profile = FoundFace(box=(0, 0, 60, 60), score=1, points=((20, 20), (22, 20), (40, 30), (20, 42), (22, 42)))
    assert looks_away(profile)


def test_people_stand_from_left_to_right_row_by_row() -> None:
    back = [face(60, 10, 90, 50), face(10, 0, 40, 40), face(110, 5, 140, 45)]
    front = [face(85, 100, 115, 140), face(30, 110, 60, 150)]
    assert people([*front, *back]) == (back[1], back[0], back[2], front[1], front[0])


def test_the_unsure_the_tiny_and_the_far_are_left_out() -> None:
    near = face(100, 100, 300, 400)
    assert people([near, face(0, 0, 15, 18), face(400, 0, 430, 40), face(500, 0, 700, 300, score=0.4)]) == (near,)
    assert people([]) == ()


def test_a_crop_is_tight_with_a_little_of_what_is_around() -> None:
    one = face(200, 200, 300, 330)
    x0, y0, x1, y1 = crop_box(one, [one], 1000, 1000)
    assert (x0, y0, x1, y1) == (184, 171, 316, 343)
    assert 0.7 < (x1 - x0) / (y1 - y0) < 0.8  # the published samples: 0.68 to 0.81
    assert crop_box(face(0, 0, 90, 120), [], 95, 122) == (0, 0, 95, 122)


def test_a_crop_keeps_clear_of_the_neighbour() -> None:
    left, right = face(100, 100, 200, 230), face(206, 110, 300, 236)
    box = crop_box(left, [left, right], 1000, 1000)
    assert 200 <= box[2] <= 206
    assert crop_box(right, [left, right], 1000, 1000)[0] >= 200
    behind = face(150, 150, 250, 280)  # one face covers a part of another: nothing to keep clear of
    assert crop_box(left, [left, behind], 1000, 1000) == crop_box(left, [left], 1000, 1000)


def test_which_face_a_box_shows() -> None:
    small, large = face(10, 10, 40, 50), face(60, 10, 160, 140)
    assert face_in((0, 0, 50, 60), [small, large]) is small
    assert face_in((0, 0, 200, 200), [small, large]) is large
    assert face_in((200, 200, 300, 300), [small, large]) is None


@pytest.mark.parametrize("data", [[], [1] * 14, "face", None, {"a": 1}, [float("nan")] * 15, [None] * 15])
def test_what_is_no_face_is_refused(data: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_data(data)


def test_what_was_found_is_remembered_and_can_be_forgotten(home: Path) -> None:
    picture = "a" * 64
    assert known_faces(picture) is None
    keep_faces(picture, [face(1, 2, 30, 40)])
    assert known_faces(picture) == (face(1, 2, 30, 40),)
    assert from_data(to_data(face(1, 2, 30, 40))) == face(1, 2, 30, 40)
    keep_faces(picture, [])
    assert known_faces(picture) == ()
    kept = home / "cache" / "faces" / f"{picture}.json"
    for broken in ("[", "3", "[3]", '[["a"]]'):
        kept.write_text(broken)
        assert known_faces(picture) is None
    forget(picture)
    assert not kept.exists()


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x07" * 50])
def test_a_file_that_is_no_network_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "det.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read: press Check"):
        Scrfd(tmp_path / "det.onnx")


WORKER = """
import sys
from pathlib import Path
from engine.faces.detector import Scrfd
from engine.faces.worker import run
sys.exit(run(lambda: Scrfd(Path({model!r})), Path(sys.argv[1])))
"""


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaceProcess]:
    model = write_detector(tmp_path / "det.onnx")
    (tmp_path / "tiny_face_worker.py").write_text(WORKER.format(model=str(model)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    one = FaceProcess(FaceProgram(module="tiny_face_worker"), tmp_path / "pictures")
    yield one
    one.close()


def test_a_process_of_its_own_finds_faces_and_outlives_bad_pictures(process: FaceProcess, tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "pictures")
    picture = store.add_file(group_photograph(tmp_path / "a.png", [(4, 4), (12, 5)]))
    with pytest.raises(PictureError, match="missing"):
        process.ask({"picture": "0" * 64})
    faces = people([from_data(one) for one in process.ask({"picture": picture})["faces"]])
    assert [round(one.box[0]) for one in faces] == [4 * CELL_PX + BOX[0], 12 * CELL_PX + BOX[0]]
    maps = Path(f"/proc/{process.pid}/maps")
    if maps.exists():
        assert "libtorch" not in maps.read_text()
        assert "onnxruntime" in maps.read_text()
        assert "onnxruntime" not in Path("/proc/self/maps").read_text() or "onnxruntime" in sys.modules


def test_without_the_weights_there_is_no_finder_and_its_process_says_why(tmp_path: Path) -> None:
    assert installed_finder() is None
    store = PictureStore(tmp_path / "pictures")
    process = FaceProcess(FaceProgram(), store.root)
    with pytest.raises(WeightsError, match="face detector are not installed"):
        process.ask({"picture": "0" * 64})
    process.close()
    with pytest.raises(MachineError, match="being closed"):
        process.ask({"picture": "0" * 64})


def test_faces_travel_as_plain_numbers() -> None:
    assert len(json.loads(json.dumps(to_data(face(1, 2, 3, 4))))) == 15
