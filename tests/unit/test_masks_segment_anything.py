"""Segment Anything as a cutter, at tiny size: the library's own classes, random weights, real files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import WeightsError
from engine.masks.cutter import Guess, Prompts
from engine.masks.gestures import Box, Click, Gestures, Stroke
from engine.masks.kept import embedding_path, forget
from engine.masks.segment_anything import Network, SegmentAnything, build, load_predictor
from engine.masks.workpiece import Workpiece
from engine.pictures import RgbArray, picture_id
from tests.unit.tiny_sam import tiny_state, write_tiny_checkpoint


class TinyCutter(SegmentAnything):
    """Looks at pictures of the tiny network's size."""

    look_px = 256
    work_px = 64


def _picture(height: int = 96, width: int = 160) -> RgbArray:
    rgb = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rgb[20:70, 40:110] = (200, 30, 30)
    return rgb


@pytest.fixture
def cutter(tmp_path: Path) -> TinyCutter:
    path = write_tiny_checkpoint(tmp_path / "tiny.pth")
    return TinyCutter(lambda: Network(predictor=load_predictor(path), weights="tiny"), lambda: "tiny")


def test_the_sizes_are_read_off_the_checkpoint() -> None:
    state = tiny_state()
    model = build(state)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == {
        name: tuple(tensor.shape) for name, tensor in state.items()
    }
    assert [block.window_size for block in model.image_encoder.blocks] == [6, 0]
    assert "torchvision" not in sys.modules


def test_a_click_is_answered_as_the_library_answers_it(cutter: TinyCutter, tmp_path: Path) -> None:
    rgb = _picture()
    prepared = cutter.prepare("a" * 64, rgb, (96, 160))
    guess = cutter.mask(prepared, Prompts(clicks=(Click(70, 40, True),), box=None), None)
    predictor = load_predictor(tmp_path / "tiny.pth")
    predictor.set_image(rgb)
    theirs, scores, small = predictor.predict(
        np.array([[70.0, 40.0]]), np.array([1]), multimask_output=True, return_logits=True
    )
    best = int(np.argmax(scores))
    assert np.abs(guess.memory[0] - small[best]).max() < 0.02 * np.abs(small).max()  # ours kept in half precision
    # random weights are unsure nearly everywhere: what counts is where they are not
    sure = np.abs(theirs[best]) > 0.3 * np.abs(theirs[best]).max()
    assert sure.mean() > 0.1
    assert np.array_equal((guess.soft > 0.5)[sure], (theirs[best] > 0)[sure])


def test_every_prompt_counts_and_answers_repeat(cutter: TinyCutter) -> None:
    prepared = cutter.prepare("a" * 64, _picture(), (38, 64))
    click = Click(28, 16, True)
    first = cutter.mask(prepared, Prompts(clicks=(click,), box=None), None)
    answers = [
        first,
        cutter.mask(prepared, Prompts(clicks=(click, Click(5, 5, False)), box=None), first),
        cutter.mask(prepared, Prompts(clicks=(), box=Box(10, 5, 50, 30)), None),
        cutter.mask(prepared, Prompts(clicks=(click,), box=Box(10, 5, 50, 30)), None),
        cutter.mask(prepared, Prompts(clicks=(click,), box=None), Guess(soft=np.ones((38, 64), np.float32))),
    ]
    assert all(one.soft.shape == (38, 64) and one.soft.dtype == np.float32 for one in answers)
    for number, one in enumerate(answers):
        assert all(not np.array_equal(one.soft, other.soft) for other in answers[:number])
    again = cutter.mask(prepared, Prompts(clicks=(click,), box=None), None)
    assert np.array_equal(again.soft, first.soft)


def test_a_picture_is_looked_at_once(cutter: TinyCutter, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = _picture()
    picture = picture_id(rgb)
    assert not cutter.ready(picture)
    first = cutter.mask(cutter.prepare(picture, rgb, (38, 64)), Prompts(clicks=(Click(28, 16, True),), box=None), None)
    assert cutter.ready(picture)
    other = TinyCutter(cutter._load, lambda: "tiny")
    monkeypatch.setattr(other._loaded().predictor, "set_image", lambda _: pytest.fail("looked again"))
    again = other.mask(other.prepare(picture, rgb, (38, 64)), Prompts(clicks=(Click(28, 16, True),), box=None), None)
    assert np.array_equal(first.soft, again.soft)
    forget(picture)
    assert not cutter.ready(picture)


def test_a_damaged_memory_is_made_again(cutter: TinyCutter) -> None:
    path = embedding_path("a" * 64, "tiny")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a tensor")
    prepared = cutter.prepare("a" * 64, _picture(), (38, 64))
    assert prepared.embedding.shape == (32, 16, 16)
    assert path.stat().st_size > 32 * 16 * 16 * 2


def test_all_gestures_work_with_it(cutter: TinyCutter) -> None:
    rgb = _picture()
    piece = Workpiece("a" * 64, rgb, rgb.shape[1], rgb.shape[0], cutter)
    piece.prepare()
    piece.begin_from("", None)
    gestures = Gestures(
        steps=(
            Box(30, 10, 120, 80), Click(75, 45, True), Stroke(((5.0, 5.0), (30.0, 5.0)), 4, True), Click(150, 90, False)
        ),
        feather=10,
    )  # fmt: skip
    view = piece.view_mask("", gestures)
    assert view[5, 10]  # what the brush added stays through the click that follows
    full = piece.full_mask("", gestures, rgb, None)
    assert np.array_equal(full > 0, view)


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_file_that_is_no_checkpoint(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    if content is None:
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(
        WeightsError,
        match="cannot be read: press Check on the page's Models",
    ):
        load_predictor(path)
