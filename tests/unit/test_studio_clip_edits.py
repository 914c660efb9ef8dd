"""Edits of clips: what may be asked, how long the result is to the frame, and which frames it shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.clip import ClipWriter, read_recipe
from engine.errors import Cancelled, InputError
from engine.pictures import PictureStore
from engine.recipe import Recipe
from studio.clip_edits import ClipEdit, ClipFacts, num_frames, parse_edit, steps_of
from studio.clip_making import make_clip
from studio.formats import frames_of, measure
from tests.unit.small_recipe import small_recipe

NUM_FRAMES = 9
FPS = 8


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return small_recipe(PictureStore(tmp_path / "pictures"), width=64, height=48, num_frames=NUM_FRAMES)


def write(path: Path, recipe: Recipe, *, size: tuple[int, int] = (64, 48), fps: int = FPS, first: int = 0) -> Path:
    """A clip whose frame number n has the grey level first + 20 n."""
    path.parent.mkdir(exist_ok=True)
    with ClipWriter(path, width=size[0], height=size[1], fps=fps, recipe=recipe) as writer:
        for number in range(NUM_FRAMES):
            writer.write(np.full((size[1], size[0], 3), first + 20 * number, np.uint8))
    return path


def numbers(path: Path) -> list[int]:
    """Which frames of the first clip a clip shows."""
    return [round(float(frame.mean()) / 20) for frame in frames_of(path)]


def make(tmp_path: Path, edit: ClipEdit, *paths: Path) -> Path:
    said: list[tuple[int, int]] = []
    target = tmp_path / "made.mp4"
    make_clip(edit, paths, target, tmp_path / "work", lambda done, to_do: said.append((done, to_do)))
    assert said[-1][0] == said[-1][1]
    assert [done for done, _ in said] == sorted(done for done, _ in said)
    assert list((tmp_path / "work").iterdir()) == []
    return target


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"start": 2, "end": 6}, [2, 3, 4, 5]),
        ({"end": 1}, [0]),
        ({"start": 8}, [8]),
        ({"speed": 2.0}, [0, 2, 4, 6, 8]),
        ({"speed": 0.5, "end": 3}, [0, 0, 1, 1, 2, 2]),
        ({"speed": 0.75, "end": 3}, [0, 0, 1, 2]),
        ({"times": 3, "start": 3, "end": 5}, [3, 4, 3, 4, 3, 4]),
        ({"back": True, "end": 4}, [0, 1, 2, 3, 2, 1]),
        ({"back": True, "end": 2}, [0, 1]),
        ({"back": True, "times": 2, "start": 4, "end": 7}, [4, 5, 6, 5, 4, 5, 6, 5]),
        ({"back": True, "speed": 3.0}, [0, 3, 6, 3]),
        ({"speed": 10.0}, [0]),
    ],
)
def test_an_edit_shows_exactly_these_frames(
    tmp_path: Path, recipe: Recipe, changes: dict[str, Any], shown: list[int]
) -> None:
    clip = write(tmp_path / "clips" / "one.mp4", recipe)
    before = clip.read_bytes()
    edit = ClipEdit(clip="one.mp4", **changes)
    made = make(tmp_path, edit, clip)
    assert numbers(made) == shown
    assert measure(made) == ClipFacts(width=64, height=48, fps=FPS, num_frames=len(shown))
    assert num_frames(edit, [measure(clip)]) == len(shown)
    assert clip.read_bytes() == before


def test_the_new_clip_carries_the_recipe_and_says_what_was_done(tmp_path: Path, recipe: Recipe) -> None:
    clip = write(tmp_path / "clips" / "one.mp4", recipe)
    made = make(tmp_path, ClipEdit(clip="one.mp4", start=1, speed=0.5), clip)
    found = read_recipe(made)
    assert found.edited is not None
    assert found.edited.steps == ("trimmed", "speed changed")
    assert (found.edited.num_frames, found.edited.fps, found.edited.width) == (16, FPS, 64)
    assert found.statement.endswith(", edited (trimmed, speed changed)")
    assert dataclasses.replace(found, edited=None) == recipe
    again = tmp_path / "again"
    again.mkdir()
    twice = read_recipe(make(again, ClipEdit(clip="made.mp4", back=True), made)).edited
    assert twice is not None
    assert twice.steps == ("trimmed", "speed changed", "there and back")
    assert twice.num_frames == 30


def test_clips_are_joined_at_the_first_ones_size_and_rate(tmp_path: Path, recipe: Recipe) -> None:
    one = write(tmp_path / "clips" / "one.mp4", recipe)
    tall = write(tmp_path / "clips" / "tall.mp4", recipe, size=(48, 64), fps=4, first=80)
    edit = ClipEdit(clip="one.mp4", end=2, joined=("tall.mp4", "one.mp4"))
    frames = list(frames_of(make(tmp_path, edit, one, tall, one)))
    assert len(frames) == 2 + 18 + 9
    assert all(frame.shape == (48, 64, 3) for frame in frames)
    second = frames[2]
    assert second[:, :8].max() < 12  # what the tall one leaves free is black
    assert abs(int(second[24, 32, 0]) - 80) < 8
    assert [round(float(frame[24, 32].mean()) / 20) for frame in frames[2:8]] == [4, 4, 5, 5, 6, 6]
    assert [round(float(frame.mean()) / 20) for frame in frames[-2:]] == [7, 8]


def test_a_cancelled_edit_leaves_nothing(tmp_path: Path, recipe: Recipe) -> None:
    clip = write(tmp_path / "clips" / "one.mp4", recipe)

    def stop(done: int, _to_do: int) -> None:
        if done == NUM_FRAMES + 2:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        make_clip(ClipEdit(clip="one.mp4", times=2), [clip], clip.parent / "new.mp4", tmp_path / "work", stop)
    assert [path.name for path in clip.parent.iterdir()] == ["one.mp4"]
    assert list((tmp_path / "work").iterdir()) == []


def test_frames_that_are_not_there_are_told(tmp_path: Path, recipe: Recipe) -> None:
    clip = write(tmp_path / "clips" / "one.mp4", recipe)
    for edit in (ClipEdit(clip="one.mp4", end=10), ClipEdit(clip="one.mp4", start=9)):
        with pytest.raises(InputError, match="9 frames only"):
            make(tmp_path, edit, clip)
    with pytest.raises(InputError, match="Nothing would change"):
        make(tmp_path, ClipEdit(clip="one.mp4", start=0, end=9), clip)
    (clip.parent / "no.mp4").write_bytes(b"no video")
    with pytest.raises(InputError):
        make(tmp_path, ClipEdit(clip="one.mp4", joined=("no.mp4",)), clip, clip.parent / "no.mp4")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "incomplete"),
        ({}, "incomplete"),
        ({"clip": 3}, "incomplete"),
        ({"clip": "a", "joined": "b"}, "incomplete"),
        ({"clip": "a", "joined": [1]}, "incomplete"),
        ({"clip": "a", "start": 1.5}, "whole numbers"),
        ({"clip": "a", "times": True}, "whole numbers"),
        ({"clip": "a", "end": "9"}, "whole numbers"),
        ({"clip": "a", "speed": "fast"}, "a number"),
        ({"clip": "a", "speed": 0}, "too far from 1"),
        ({"clip": "a", "speed": float("nan")}, "too far from 1"),
        ({"clip": "a", "speed": 1e9}, "too far from 1"),
        ({"clip": "a", "times": 0}, "from 1 to 50"),
        ({"clip": "a", "start": -1}, "before it begins"),
        ({"clip": "a", "start": 5, "end": 5}, "before it begins"),
        ({"clip": "a", "joined": ["b"] * 21}, "At most 20"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(data: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_edit(data)


def test_a_plain_edit_is_read_and_changes_nothing() -> None:
    edit = parse_edit({"clip": "a.mp4"})
    facts = ClipFacts(width=8, height=8, fps=8, num_frames=5)
    assert edit == ClipEdit(clip="a.mp4")
    assert steps_of(edit, facts) == ()
    with pytest.raises(InputError, match="3000 at most"):
        num_frames(ClipEdit(clip="a.mp4", times=50, speed=0.1), [dataclasses.replace(facts, num_frames=81)])
