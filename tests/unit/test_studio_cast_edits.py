"""Edits of the cast: every one a new value that could render or could be mended, and no binding on other words."""

from __future__ import annotations

import pytest

from engine.errors import InputError
from engine.scene import Role, Scene
from studio import cast_edits
from studio.cast_edits import Picked, label_from
from tests.unit.small_scenes import pair, reference, words_of

PROMPT = "A man in a red coat and a woman in a green dress stand in a room, beside a lamp."


def _picked(*names: str) -> list[Picked]:
    return [Picked(image=f"{number + 7:064x}", name=name) for number, name in enumerate(names)]


def _ids(scene: Scene) -> list[str]:
    return [one.id for one in scene.subjects] + [one.id for one in scene.references()]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Anna.jpg", "Anna"),
        ("face_old man.png", "old man"),
        ("red_coat-2.webp", "red coat"),
        ("C:\\pictures\\blue hat (3).png", "blue hat"),
        ("IMG_20240101_1234.jpg", ""),
        ("DSC0001.JPG", ""),
        ("1234.png", ""),
        ("Screenshot 2024-01-01.png", ""),
        ("红色外套.png", "红色外套"),
        ("0a1b2c3d4e5f60718293.png", ""),
        ("", ""),
        ("x" * 90 + ".png", ""),
    ],
)
def test_a_file_name_that_says_something_becomes_the_label(name: str, label: str) -> None:
    assert label_from(name) == label


def test_each_picture_becomes_a_person_with_an_own_name() -> None:
    scene = cast_edits.add_people(Scene(), _picked("Anna.png", "IMG_1.png", "IMG_2.png"))
    assert [one.face.label for one in scene.subjects if one.face] == ["Anna", "first person", "second person"]
    assert len(set(_ids(scene))) == len(_ids(scene)) == 6
    assert scene == cast_edits.add_people(Scene(), _picked("Anna.png", "IMG_1.png", "IMG_2.png"))


def test_clothes_things_and_a_place_go_where_they_belong() -> None:
    scene = cast_edits.add_attributes(pair(PROMPT), "two", _picked("Straw Hat.png", "IMG_1.png"))
    scene = cast_edits.add_objects(scene, _picked("Kite.png"))
    assert [one.label for one in scene.subjects[1].attributes] == ["green dress", "straw hat", ""]
    assert [one.role for one in scene.objects] == [Role.object, Role.object]
    assert len(set(_ids(scene))) == len(_ids(scene))


def test_another_place_takes_the_words_of_the_former_one() -> None:
    scene = cast_edits.set_background(pair(PROMPT), _picked("Beach.png")[0])
    assert scene.prompt == PROMPT.replace("room", "beach")
    assert words_of(scene, "room") == ["beach"]
    unnamed = cast_edits.set_background(pair(PROMPT), _picked("IMG_3.png")[0])
    assert unnamed.prompt == PROMPT
    first = cast_edits.set_background(Scene(), _picked("Beach.png")[0])
    assert first.background is not None
    assert first.background.label == "beach"


def test_removing_takes_bindings_along() -> None:
    scene = cast_edits.remove(pair(PROMPT), "one")
    assert [one.id for one in scene.references()] == ["room", "lamp", "woman", "dress"]
    faceless = cast_edits.remove(pair(PROMPT), "man")
    assert faceless.subjects[0].face is None
    again = cast_edits.set_face(faceless, "one", _picked("Otto.png")[0])
    assert again.subjects[0].face is not None
    assert again.subjects[0].face.label == "Otto"
    with pytest.raises(InputError, match="no longer"):
        cast_edits.remove(pair(PROMPT), "ghost")


def test_a_new_label_renames_its_words() -> None:
    scene = cast_edits.rename(pair(PROMPT), "man", " Otto  the tall ")
    assert scene.prompt.startswith("A Otto the tall in a red coat")
    assert words_of(scene, "man") == ["Otto the tall"]
    assert words_of(scene, "coat") == ["red coat"]


def test_words_that_mean_somebody_else_or_are_there_already_stay() -> None:
    both = pair("A man and a man.", woman="man")
    assert cast_edits.rename(both, "woman", "tall man").prompt == both.prompt
    said = pair("A man with a hat.")
    assert cast_edits.rename(said, "man", "hat").prompt == said.prompt
    assert cast_edits.rename(said, "man", "").prompt == said.prompt
    with pytest.raises(InputError, match="shorten"):
        cast_edits.rename(said, "man", "x" * 201)


def test_order_and_owners_change_and_words_stay_bound() -> None:
    scene = cast_edits.move_subject(pair(PROMPT), "two", 0)
    assert [one.id for one in scene.subjects] == ["two", "one"]
    assert [one.id for one in cast_edits.move_subject(scene, "two", 99).subjects] == ["one", "two"]
    moved = cast_edits.move(pair(PROMPT), "coat", "two", before="dress")
    assert [one.id for one in moved.subjects[1].attributes] == ["coat", "dress"]
    assert words_of(moved, "coat") == ["red coat"]
    free = cast_edits.move(moved, "coat", "objects")
    assert reference(free, "coat").role is Role.object
    assert reference(cast_edits.move(free, "lamp", "one"), "lamp").role is Role.attribute
    with pytest.raises(InputError, match="Only clothes"):
        cast_edits.move(pair(PROMPT), "man", "two")


def test_a_copy_stands_behind_its_original() -> None:
    scene = cast_edits.duplicate(pair(PROMPT), "one")
    assert [one.id for one in scene.subjects] == ["one", "subject-1", "two"]
    assert [one.label for one in scene.subjects[1].references] == ["man", "red coat"]
    assert len(set(_ids(scene))) == len(_ids(scene))


@pytest.mark.parametrize(
    ("prompt", "dress", "swapped"),
    [
        (PROMPT, "green dress", "A man in a green dress and a woman in a red coat stand in a room, beside a lamp."),
        ("A man in a red coat, a woman in an orange hat.", "orange hat",
         "A man in an orange hat, a woman in a red coat."),
        ("男人穿着红色外套，女人穿着裙子。", "裙子", "男人穿着红色外套，女人穿着裙子。"),
    ],
)  # fmt: skip
def test_exchanged_clothes_change_owners_and_words(prompt: str, dress: str, swapped: str) -> None:
    scene = cast_edits.swap(pair(prompt, dress=dress), "coat", "dress")
    assert scene.prompt == swapped
    assert [one.id for one in scene.subjects[0].attributes] == ["dress"]
    assert [one.id for one in scene.subjects[1].attributes] == ["coat"]
    if "coat" in prompt:
        assert words_of(scene, "coat") == ["red coat"]
        assert words_of(scene, "dress") == [dress]
        assert scene.spans == ()
        assert cast_edits.swap(scene, "coat", "dress") == pair(prompt, dress=dress)


def test_marked_words_are_exchanged_as_they_were_marked() -> None:
    scene = pair("A man in a warm thing and a woman in a green dress.")
    from studio.places import bind_words

    bound = bind_words(scene, "coat", 11, 21)
    swapped = cast_edits.swap(bound, "coat", "dress")
    assert swapped.prompt == "A man in a green dress and a woman in a warm thing."
    assert words_of(swapped, "coat") == ["warm thing"]
    assert words_of(swapped, "dress") == ["green dress"]


def test_a_cast_is_inserted_with_ids_of_its_own() -> None:
    scene = cast_edits.insert_cast(pair(PROMPT), pair("A man sings."))
    assert len(scene.subjects) == 4
    assert scene.prompt == PROMPT
    assert scene.background == pair(PROMPT).background
    assert len(set(_ids(scene))) == len(_ids(scene))
    assert cast_edits.insert_cast(Scene(), pair(PROMPT)) == pair(PROMPT)


def test_a_cast_beyond_all_measure_is_refused() -> None:
    with pytest.raises(InputError, match="at most"):
        cast_edits.add_people(Scene(), _picked(*["IMG.png"] * 13))
    with pytest.raises(InputError, match="at most"):
        cast_edits.add_objects(Scene(), _picked(*["IMG.png"] * 49))
