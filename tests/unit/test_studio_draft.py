"""Edits of the page's scene: words change, bindings keep their words; settings point at the control at fault."""

from __future__ import annotations

import pytest

from engine.codec import to_json
from engine.engines import engine_info
from engine.errors import InputError
from engine.request import LoraChoice
from engine.scene import PromptSpan, Reference, Role, Scene, Subject
from studio.draft import FieldError, changed, edit_prompt, parse_scene, settings_from
from studio.view import settings_view

PROMPT = "A man in a red coat waves."


def _scene(*spans: tuple[int, int]) -> Scene:
    face = Reference(id="f", role=Role.face, label="man", image="0" * 64)
    coat = Reference(id="c", role=Role.attribute, label="red coat", image="1" * 64)
    return Scene(
        prompt=PROMPT,
        subjects=(Subject(id="s", face=face, attributes=(coat,)),),
        spans=tuple(PromptSpan(start=start, end=end, target="c") for start, end in spans),
    )


def _words(scene: Scene) -> list[str]:
    return [scene.prompt[span.start : span.end] for span in scene.spans]


@pytest.mark.parametrize(
    ("prompt", "kept"),
    [
        ("A tall man in a red coat waves.", ["red coat"]),
        ("A man in a red coat waves twice.", ["red coat"]),
        ("red coat waves.", ["red coat"]),
        ("A man in a red coat", ["red coat"]),
        ("A man in a blue coat waves.", []),
        ("A man in a red raincoat waves.", []),
        ("", []),
        (PROMPT, ["red coat"]),
    ],
)
def test_a_binding_keeps_its_words_or_goes(prompt: str, kept: list[str]) -> None:
    edited = edit_prompt(_scene((11, 19)), prompt)
    assert edited.prompt == prompt
    assert _words(edited) == kept


@pytest.mark.parametrize(
    ("old", "new", "caret", "change"),
    [
        ("red red", "red red red", 4, (0, 0, "red ")),  # typed before: the caret says so
        ("red red", "red red red", 8, (4, 4, "red ")),
        ("red red", "red red red", None, (7, 7, " red")),
        ("aaa", "aa", 1, (1, 2, "")),
        ("aaa", "aa", 0, (0, 1, "")),
        ("abc", "axc", 2, (1, 2, "x")),
        ("abc", "abc", 1, (3, 3, "")),
        ("abc", "", 0, (0, 3, "")),
        ("abc", "xyz", 99, (0, 3, "xyz")),
    ],
)
def test_what_changed_is_told_by_the_caret(old: str, new: str, caret: int | None, change: tuple[int, int, str]) -> None:
    start, end, text = changed(old, new, caret)
    assert old[:start] + text + old[end:] == new
    if old != new:
        assert (start, end, text) == change


def test_typing_letter_by_letter_moves_bindings_along() -> None:
    scene = _scene((11, 19))
    for count in range(1, 12):
        scene = edit_prompt(scene, "Early today"[:count] + PROMPT)
    assert _words(scene) == ["red coat"]


def test_a_prompt_beyond_all_measure_is_refused() -> None:
    with pytest.raises(InputError, match="shorten it"):
        edit_prompt(_scene(), "x" * 10_001)


def test_only_a_scene_is_taken_for_a_scene() -> None:
    scene = _scene((11, 19))
    assert parse_scene(to_json(scene)) == scene
    for bad in (None, "scene", {}, {**to_json(scene), "surplus": 1}, {**to_json(scene), "prompt": 3}):
        with pytest.raises(InputError):
            parse_scene(bad)


def _chosen(**changes: object) -> dict[str, object]:
    defaults = engine_info("nano").defaults
    chosen: dict[str, object] = {
        "engine": "nano",
        "width": defaults.width,
        "height": defaults.height,
        "num_frames": defaults.num_frames,
        "num_inference_steps": defaults.num_inference_steps,
        "seed": None,
    }
    return chosen | changes


def test_an_open_seed_is_drawn_anew_and_a_kept_one_is_kept() -> None:
    drawn = {settings_from(_chosen()).seed for _ in range(4)}
    assert len(drawn) > 1
    assert (
        settings_from(_chosen(seed="9007199254740993")).seed == 9007199254740993
    )  # more than a browser's number holds


LORA: dict[str, object] = {"name": "ink", "digest": "0" * 64, "strength": 1}


def test_guidance_shift_and_loras_are_the_engines_unless_a_page_says_so() -> None:
    usual = engine_info("nano").defaults
    open_ones = settings_from(_chosen(guidance_scale=None))
    assert (open_ones.guidance_scale, open_ones.shift, open_ones.loras) == (usual.guidance_scale, usual.shift, ())
    chosen = settings_from(_chosen(guidance_scale=2, shift=5.5, loras=[LORA | {"strength": 0.5}]))
    assert (chosen.guidance_scale, chosen.shift) == (2.0, 5.5)
    assert chosen.loras == (LoraChoice(name="ink", digest="0" * 64, strength=0.5),)
    shown = settings_view(chosen)
    assert settings_from(shown) == chosen


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_inference_steps": None}, "num_inference_steps"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 2.5}, "num_inference_steps"),
        ({"num_inference_steps": True}, "num_inference_steps"),
        ({"width": 100}, "width"),
        ({"num_frames": 24}, "num_frames"),
        ({"width": 2048, "height": 2048, "num_frames": 401}, "num_frames"),
        ({"seed": "1.5"}, "seed"),
        ({"seed": "-1"}, "seed"),
        ({"seed": "٣"}, "seed"),
        ({"seed": 7}, "seed"),
        ({"seed": "9" * 30}, "seed"),
        ({"seed": "9" * 6000}, "seed"),
        ({"engine": 3}, "engine"),
        ({"step_cache": None}, "step_cache"),
        ({"step_cache": "0.1"}, "step_cache"),
        ({"step_cache": True}, "step_cache"),
        ({"step_cache": 1.5}, "step_cache"),
        ({"step_cache": float("nan")}, "step_cache"),
        ({"step_cache_kind": "third"}, "step_cache_kind"),
        ({"step_cache_kind": 3}, "step_cache_kind"),
        ({"step_cache_kind": ["magnitude"]}, "step_cache_kind"),
        ({"guidance_scale": 31}, "guidance_scale"),
        ({"guidance_scale": "6"}, "guidance_scale"),
        ({"relation_guidance": -1}, "relation_guidance"),
        ({"binding_strength": "strong"}, "binding_strength"),
        ({"guided_share": 2}, "guided_share"),
        ({"shift": 0}, "shift"),
        ({"loras": {}}, "loras"),
        ({"loras": [LORA | {"digest": "../../etc/passwd"}]}, "loras"),
        ({"loras": [LORA | {"path": "x"}]}, "loras"),
        ({"loras": [LORA | {"strength": None}]}, "loras"),
        ({"loras": [LORA | {"strength": 5}]}, "loras"),
        ({"loras": [LORA, LORA]}, "loras"),
        ({"loras": [7]}, "loras"),
    ],
)
def test_a_bad_setting_names_its_control(changes: dict[str, object], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        settings_from(_chosen(**changes))
    assert caught.value.field == field
    assert str(caught.value).endswith(".")


def test_a_draft_is_asked_for_and_nothing_said_means_none() -> None:
    left_open = settings_from(_chosen())
    assert (left_open.step_cache, left_open.step_cache_kind) == (0.0, "first-block")
    asked = settings_from(_chosen(step_cache=1, step_cache_kind="magnitude"))
    assert (asked.step_cache, asked.step_cache_kind) == (1.0, "magnitude")


def test_an_unknown_engine_is_a_sentence() -> None:
    with pytest.raises(InputError, match="choose one of nano"):
        settings_from(_chosen(engine="gigantic"))
