"""What a page may send as gestures, and the sentence for everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.errors import InputError
from engine.masks.gestures import MAX_STEPS, Box, Click, Gestures, Stroke, parse_gestures

WIDTH, HEIGHT = 400, 300


def test_everything_a_page_sends_is_read() -> None:
    data: Any = json.loads(
        '{"steps": [["click", 10, 20.5, true], ["box", 90, 80, 20, 10], ["stroke", 6, false, [1, 2, 3.5, 4]]],'
        ' "feather": 4, "fill_holes": true, "more": 1}'
    )
    assert parse_gestures(data, WIDTH, HEIGHT) == Gestures(
        steps=(Click(10, 20.5, True), Box(20, 10, 90, 80), Stroke(((1, 2), (3.5, 4)), 6, False)),
        feather=4,
        fill_holes=True,
    )


def test_what_lies_outside_is_moved_to_the_edge() -> None:
    steps = [["click", -5, 1e30, False], ["box", -9, -9, 9e9, 9e9], ["stroke", 1e9, True, [-1, 400]]]
    parsed = parse_gestures({"steps": steps}, WIDTH, HEIGHT).steps
    assert parsed == (Click(0, 300, False), Box(0, 0, 400, 300), Stroke(((0, 300),), 400, True))


@pytest.mark.parametrize(
    "data",
    [
        None, [], "steps", {}, {"steps": None}, {"steps": [None]}, {"steps": [[]]}, {"steps": [["click"]]},
        {"steps": [["click", "1", 2, True]]}, {"steps": [["click", 1, 2, 1]]}, {"steps": [["click", True, 2, True]]},
        {"steps": [["click", float("nan"), 2, True]]}, {"steps": [["click", float("inf"), 2, True]]},
        {"steps": [["click", 10**400, 2, True]]}, {"steps": [["box", 1, 2, 3]]}, {"steps": [["box", 5, 5, 5, 50]]},
        {"steps": [["stroke", 1, True, []]]}, {"steps": [["stroke", 1, True, [1]]]},
        {"steps": [["stroke", 1, True, [1, None]]]}, {"steps": [["stroke", "wide", True, [1, 2]]]},
        {"steps": [["stroke", 1, True, {"0": 1}]]}, {"steps": [["fill", 1, 2]]}, {"steps": [{"click": 1}]},
        {"steps": [], "feather": -1}, {"steps": [], "feather": 21}, {"steps": [], "feather": 1.5},
        {"steps": [], "feather": True}, {"steps": [], "fill_holes": "yes"},
        {"steps": [["click", 1, 1, True]] * (MAX_STEPS + 1)}, {"steps": [["stroke", 1, True, [1, 1] * 15_000]] * 3},
    ],
)  # fmt: skip
def test_anything_else_gets_a_sentence(data: object) -> None:
    with pytest.raises(InputError) as caught:
        parse_gestures(data, WIDTH, HEIGHT)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 160
