"""What the page is told: marks on the prompt, owners with numbers, and the truth about what is named."""

from __future__ import annotations

from typing import Any

import pytest

from engine.codec import from_json
from engine.engines import engine_info, engine_names, resolve_settings
from engine.errors import InputError
from engine.scene import PromptSpan, Reference, Role, Scene, Subject
from studio.view import clip_title, clip_view, engine_view, scene_view


def _reference(name: str, role: Role, label: str) -> Reference:
    return Reference(id=name, role=role, label=label, image=name[0] * 64)


def _scene(prompt: str, **changes: Any) -> Scene:
    first = Subject(
        id="s1", face=_reference("a", Role.face, "man"), attributes=(_reference("b", Role.attribute, "red coat"),)
    )
    second = Subject(id="s2", face=_reference("c", Role.face, "woman"))
    return Scene(prompt=prompt, subjects=(first, second), objects=(_reference("d", Role.object, "lamp"),), **changes)


def _marked(view: dict[str, Any]) -> list[tuple[str, str, str]]:
    marks = sorted(view["marks"], key=lambda mark: mark["start"])
    return [(view["prompt"][mark["start"] : mark["end"]], mark["badge"], mark["tone"]) for mark in marks]


def test_phrases_carry_the_number_and_tone_of_their_owner() -> None:
    view = scene_view(_scene("A man in a red coat, a woman, a lamp; the man waves."), "Title")
    assert _marked(view) == [
        ("man", "1", "s1"), ("red coat", "1", "s1"), ("woman", "2", "s2"), ("lamp", "O", "object"), ("man", "1", "s1"),
    ]  # fmt: skip
    assert view["problems"] == []
    assert [owner["title"] for owner in view["owners"]] == ["Subject 1", "Subject 2", "Object"]
    assert view["owners"][0]["references"][0]["bound"] == "named 2 times"


def test_the_prompt_and_the_value_travel_unchanged() -> None:
    prompt = "A &amp; man 😀 in a red  coat <b>woman</b> ${1}\n\n\tman"
    view = scene_view(_scene(prompt), "Title")
    assert view["prompt"] == prompt
    assert from_json(Scene, view["scene"]).prompt == prompt
    assert _marked(view)[0][0] == "man"


def test_a_part_of_another_word_does_not_count_as_named() -> None:
    view = scene_view(_scene("A woman in a red coat with a lamp."), "Title")
    assert ("man", "1", "s1") not in _marked(view)
    assert [problem["target"] for problem in view["problems"]] == ["a"]
    assert "man" in view["problems"][0]["text"]
    assert view["problems"][0]["mends"][0]["edit"] == {"kind": "insert", "reference": "a"}
    assert view["may_skip_binding"]


def test_own_spans_win_over_the_label_and_shared_words_show_both_owners() -> None:
    spans = (PromptSpan(start=0, end=8, target="a"), PromptSpan(start=4, end=8, target="c"))
    view = scene_view(_scene("The pair and a man, a woman, a red coat, a lamp.", spans=spans), "Title")
    assert _marked(view)[:2] == [("The pair", "1", "s1"), ("pair", "2", "s2")]
    assert view["owners"][0]["references"][0]["bound"] == "named once: “The pair”"


def test_a_reference_bound_to_no_words_on_purpose_is_no_problem() -> None:
    view = scene_view(_scene("A man in a red coat, a woman.", unbound=("d",)), "Title")
    assert view["problems"] == []
    assert view["owners"][2]["references"][0]["bound"] == "bound to no words"


@pytest.mark.parametrize("name", engine_names())
def test_every_offered_size_and_length_is_legal(name: str) -> None:
    view = engine_view(engine_info(name), None, engine_info(name).defaults)
    assert f"{engine_info(name).defaults.width}x{engine_info(name).defaults.height}" in [
        one["value"] for one in view["sizes"]
    ]
    for size in view["sizes"]:
        for length in view["frames"]:
            width, height = (int(part) for part in size["value"].split("x"))
            try:
                resolve_settings(name, width=width, height=height, num_frames=int(length["value"]))
            except InputError as error:  # pragma: no cover
                pytest.fail(f"{size} {length}: {error}")


def test_clip_titles_come_from_our_names_and_leave_others_alone() -> None:
    assert clip_title("20260101-101010-two-friends-seed42.mp4") == "Two friends"
    assert clip_title("20260101-101010-two-friends-seed42-2.mp4") == "Two friends"
    assert clip_title("holiday_2019.v2.mp4") == "Holiday_2019.v2"
    assert clip_view("a b#.mp4", None, None)["url"] == "studio/clip/a%20b%23.mp4"
