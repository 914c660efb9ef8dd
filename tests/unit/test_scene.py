"""The scene: order of references, what keeps it from rendering, and that it costs nothing to import."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.scene import MAX_PROMPT_CHARS, PromptSpan, Reference, Role, Scene, Subject

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "A man in a red coat meets a woman in a park beside a bicycle."


def picture(identifier: str, role: Role, label: str) -> Reference:
    return Reference(id=identifier, role=role, label=label, image=identifier[0] * 64)


def full_scene() -> Scene:
    return Scene(
        prompt=PROMPT,
        subjects=(
            Subject(
                id="s1",
                face=picture("a", Role.face, "man"),
                attributes=(picture("b", Role.attribute, "red coat"), picture("c", Role.attribute, "coat")),
            ),
            Subject(id="s2", face=picture("d", Role.face, "woman")),
        ),
        objects=(picture("e", Role.object, "bicycle"),),
        background=picture("f", Role.background, "park"),
    )


def codes(scene: Scene) -> list[str]:
    return [problem.code for problem in scene.problems()]


def test_references_come_in_model_order() -> None:
    scene = full_scene()
    assert [reference.id for reference in scene.references()] == ["f", "e", "a", "b", "c", "d"]
    assert scene.num_free == 2
    assert scene.groups == (3, 1)
    assert scene.num_free + sum(scene.groups) == len(scene.references())


def test_a_complete_scene_has_no_problems() -> None:
    assert full_scene().problems() == ()
    assert Scene(prompt="A dog runs.").problems() == ()  # no references at all: plain text-to-video


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_is_a_problem(prompt: str) -> None:
    assert codes(Scene(prompt=prompt)) == ["prompt_empty"]


def test_an_endless_prompt_is_a_problem() -> None:
    assert codes(Scene(prompt="a" * (MAX_PROMPT_CHARS + 1))) == ["prompt_long"]


def test_a_subject_without_a_face_is_named_by_its_number() -> None:
    scene = full_scene()
    faceless = replace(scene, subjects=(scene.subjects[0], Subject(id="s2", face=None)))
    (problem,) = faceless.problems()
    assert (problem.code, problem.target) == ("face_missing", "s2")
    assert "no face in subject 2" in problem.message


def test_missing_pictures_and_empty_masks_are_problems() -> None:
    scene = full_scene()
    assert scene.background is not None
    assert codes(replace(scene, background=replace(scene.background, image=""))) == ["picture_missing"]
    assert codes(replace(scene, background=replace(scene.background, mask=""))) == ["picture_missing"]


def test_a_reference_in_the_wrong_place_is_a_problem() -> None:
    scene = full_scene()
    assert codes(replace(scene, objects=(picture("e", Role.face, "bicycle"),))) == ["wrong_role"]


def test_ids_are_unique_over_subjects_and_references() -> None:
    scene = full_scene()
    assert codes(replace(scene, objects=(picture("a", Role.object, "bicycle"),))) == ["id_twice"]
    assert codes(replace(scene, subjects=(replace(scene.subjects[0], id="e"), scene.subjects[1]))) == ["id_twice"]
    assert codes(replace(scene, subjects=(replace(scene.subjects[0], id=""), scene.subjects[1]))) == ["id_empty"]


@pytest.mark.parametrize(
    ("span", "code"),
    [
        (PromptSpan(start=2, end=5, target="nobody"), "span_target"),
        (PromptSpan(start=2, end=5, target="s1"), "span_target"),
        (PromptSpan(start=5, end=5, target="a"), "span_range"),
        (PromptSpan(start=-1, end=5, target="a"), "span_range"),
        (PromptSpan(start=2, end=len(PROMPT) + 1, target="a"), "span_range"),
        (PromptSpan(start=1, end=2, target="a"), "span_blank"),
    ],
)
def test_spans_that_point_nowhere_are_problems(span: PromptSpan, code: str) -> None:
    assert codes(replace(full_scene(), spans=(span,))) == [code]


def test_spans_of_one_reference_may_not_overlap_but_those_of_two_may() -> None:
    first, second = PromptSpan(start=11, end=19, target="b"), PromptSpan(start=15, end=19, target="b")
    assert codes(replace(full_scene(), spans=(second, first))) == ["span_overlap"]
    assert codes(replace(full_scene(), spans=(first, replace(second, target="c")))) == []


def test_a_label_that_the_prompt_lacks_is_unbound_until_words_are_marked_or_declined() -> None:
    scene = replace(full_scene(), objects=(picture("e", Role.object, "lamp"),))
    (problem,) = scene.problems()
    assert (problem.code, problem.target) == ("unbound", "e")
    assert "lamp" in problem.message
    assert codes(replace(scene, spans=(PromptSpan(start=53, end=60, target="e"),))) == []
    assert codes(replace(scene, unbound=("e",))) == []


def test_labels_are_compared_after_cleaning_and_case_matters() -> None:
    def one(prompt: str, label: str) -> list[str]:
        return codes(Scene(prompt=prompt, objects=(picture("e", Role.object, label),)))

    assert one("The chef’s  hat &amp; coat", " chef's hat & coat ") == []
    assert one("A red\ncoat", "red  coat") == []
    assert one("A red coat", "Red coat") == ["unbound"]
    assert one("A red coat", "  ") == ["unbound"]


def test_declining_words_contradicts_marking_them_and_needs_a_reference() -> None:
    bound = replace(full_scene(), spans=(PromptSpan(start=2, end=5, target="a"),), unbound=("a",))
    assert codes(bound) == ["unbound_and_bound"]
    assert codes(replace(full_scene(), unbound=("nobody",))) == ["unbound_target"]


def test_every_problem_is_one_sentence() -> None:
    broken = Scene(
        prompt=" ",
        subjects=(Subject(id="s1", face=None), Subject(id="s1", face=picture("a", Role.object, ""))),
        objects=(replace(picture("e", Role.object, "x"), image=""),),
        spans=(PromptSpan(start=0, end=9, target="e"), PromptSpan(start=0, end=9, target="q")),
        unbound=("q", "e"),
    )
    found = broken.problems()
    assert len({problem.code for problem in found}) >= 7
    for problem in found:
        assert problem.message.endswith(".")
        assert "\n" not in problem.message
        assert problem.message[0].isupper() or problem.message[0] == "“"


def test_light_modules_load_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "PIL", "gradio", "transformers", "ftfy", "platformdirs")
    code = (
        "import sys, engine.scene, engine.request, engine.errors, engine.events, engine.cancel, engine.codec, "
        "engine.paths, engine.engines\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
