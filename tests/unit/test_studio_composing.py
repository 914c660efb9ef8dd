"""Sentences from the cast and mends of the words, English and Chinese: every label said, each word bound to its own."""

from __future__ import annotations

import dataclasses

import pytest

from engine.errors import InputError
from engine.scene import Scene
from studio.composing import bind_in_order, compose, insert_words, tell_apart, with_article
from studio.findings import findings, mends_for, too_many
from studio.places import bind_words
from tests.unit.small_scenes import at, pair, reference, words_of


@pytest.mark.parametrize(
    ("label", "article"),
    [
        ("man", "a "), ("orange hat", "an "), ("Anna", ""), ("glasses", ""), ("blue jeans", ""), ("green dress", "a "),
        ("unicorn", "a "), ("the old king", ""), ("first person", "the "), ("man with glasses", "a "), ("男人", ""),
        ("red hair", ""), ("his coat", ""), ("", ""),
    ],
)  # fmt: skip
def test_articles_as_english_has_them(label: str, article: str) -> None:
    assert with_article(label) == article


def test_a_prompt_is_written_from_the_cast() -> None:
    scene = compose(pair("whatever"))
    assert scene.prompt == (
        "A man wearing a red coat and a woman wearing a green dress stand together in a room, beside a lamp."
    )
    assert scene.spans == ()
    assert findings(scene) == ()


def test_one_prompt_of_every_kind_of_cast() -> None:
    whole = pair("")
    alone = dataclasses.replace(whole, subjects=whole.subjects[:1], objects=(), background=None)
    assert compose(alone).prompt == "A man wearing a red coat stands."
    things = dataclasses.replace(whole, subjects=())
    assert compose(things).prompt == "A lamp in a room."
    assert compose(dataclasses.replace(things, objects=())).prompt == "A room."
    with pytest.raises(InputError, match="Name your pictures"):
        compose(Scene())


def test_a_chinese_cast_gets_a_chinese_prompt() -> None:
    scene = compose(pair("", man="男人", coat="红色外套", woman="女人", dress="绿裙子", lamp="灯", room="房间"))
    assert scene.prompt == "在房间里，男人穿着红色外套和女人穿着绿裙子站在一起，旁边有灯。"
    assert [words_of(scene, one) for one in ("coat", "lamp")] == [["红色外套"], ["灯"]]
    assert findings(scene) == ()


def test_equal_labels_are_bound_one_by_one() -> None:
    scene = compose(pair("", woman="man", dress="red coat"))
    assert words_of(scene, "man") == words_of(scene, "woman") == ["man"]
    assert scene.spans_of("man")[0].start < scene.spans_of("woman")[0].start
    assert findings(scene) == ()


@pytest.mark.parametrize(
    ("prompt", "missing", "said"),
    [
        ("A man and a woman.", "coat", "A man wearing a red coat and a woman."),
        ("A man and a woman in a green dress.", "lamp", "A man and a woman in a green dress, beside a lamp."),
        ("A man walks", "room", "A man walks in a room"),
        ("A man walks.", "woman", "A man walks. A woman is there."),
        ("A man walks", "woman", "A man walks. A woman is there."),
        ("", "woman", "A woman is there."),
        ("", "room", "In a room"),
        ("Rain.", "coat", "Rain. Somebody is wearing a red coat."),
    ],
)
def test_missing_words_are_inserted_where_they_belong(prompt: str, missing: str, said: str) -> None:
    scene = insert_words(pair(prompt), missing)
    assert scene.prompt == said
    assert words_of(scene, missing) == [reference(scene, missing).label]


def test_words_said_once_more_further_ahead_keep_both_places() -> None:
    scene = insert_words(pair("A woman. Then comes the green dress of a woman."), "dress")
    assert scene.prompt == "A woman wearing a green dress. Then comes the green dress of a woman."
    assert words_of(scene, "dress") == ["green dress", "green dress"]
    assert not any(problem.code == "span_overlap" for problem in scene.problems())


def test_more_clothes_are_joined_to_the_first() -> None:
    scene = pair("A man in a red coat walks.")
    hat = dataclasses.replace(reference(scene, "coat"), id="hat", label="straw hat")
    first = dataclasses.replace(scene.subjects[0], attributes=(*scene.subjects[0].attributes, hat))
    scene = insert_words(dataclasses.replace(scene, subjects=(first, scene.subjects[1])), "hat")
    assert scene.prompt == "A man in a red coat and a straw hat walks."


def test_chinese_words_are_inserted_without_blanks() -> None:
    scene = insert_words(pair("男人在走路。", man="男人", coat="红色外套"), "coat")
    assert scene.prompt == "男人穿着红色外套在走路。"
    assert words_of(scene, "coat") == ["红色外套"]
    nameless = pair("x", coat="")
    with pytest.raises(InputError, match="name it first"):
        insert_words(nameless, "coat")


def test_inserted_words_mean_their_picture_even_when_it_was_bound_to_none() -> None:
    scene = dataclasses.replace(pair("A man and a woman."), unbound=("coat",))
    assert words_of(insert_words(scene, "coat"), "coat") == ["red coat"]


def test_two_men_are_told_apart_by_number_or_by_order() -> None:
    scene = pair("A man greets a man.", woman="man")
    shared = findings(scene)[-1]
    assert "binds none of them" in shared.message
    assert [mend.edit["kind"] for mend in shared.mends] == ["in_order", "tell_apart"]
    apart = tell_apart(scene, ["man", "woman"])
    assert apart.prompt == "The first man greets the second man."
    assert (words_of(apart, "man"), words_of(apart, "woman")) == (["first man"], ["second man"])
    ordered = bind_in_order(scene, ["man", "woman"])
    assert ordered.prompt == scene.prompt
    assert [(span.target, span.start) for span in ordered.spans] == [("man", 2), ("woman", 15)]
    for mended in (apart, ordered):
        assert not any("at once" in finding.message for finding in findings(mended))


def test_two_men_in_chinese() -> None:
    apart = tell_apart(pair("男人看着男人。", man="男人", woman="男人"), ["man", "woman"])
    assert apart.prompt == "第一个男人看着第二个男人。"
    assert words_of(apart, "woman") == ["第二个男人"]


def test_a_phrase_inside_another_is_pointed_out_and_mended() -> None:
    scene = pair("A young woman and a woman.", man="woman", woman="young woman")
    shared = next(finding for finding in findings(scene) if "stands inside" in finding.message)
    assert "“woman” stands inside “young woman”" in shared.message
    edit = shared.mends[0].edit
    mended = bind_words(scene, edit["reference"], edit["start"], edit["end"])
    assert words_of(mended, "man") == ["woman"]
    assert words_of(mended, "woman") == ["young woman"]
    assert not any("stands inside" in finding.message for finding in findings(mended))


def test_the_same_words_in_other_letters_are_offered() -> None:
    scene = pair("A man in a Red Coat.")
    first, insert = mends_for(scene, reference(scene, "coat"))
    assert first.title == "“Red Coat” means it"
    assert (first.edit["start"], first.edit["end"]) == at(scene, "Red Coat")
    assert insert.title == "Insert: wearing a red coat"


def test_every_missing_word_has_a_mend_and_no_words_at_all_have_one_for_all() -> None:
    found = [finding for finding in findings(pair("A man.")) if finding.may_skip]
    assert [finding.target for finding in found] == ["room", "lamp", "coat", "woman", "dress"]
    assert all(finding.mends for finding in found)
    assert findings(pair(""))[0].mends[0].edit == {"kind": "compose"}


def test_of_equal_labels_the_owner_is_named() -> None:
    found = findings(pair("A man, a woman, a lamp, a room.", dress="red coat"))
    assert [finding.message.split(":")[0] for finding in found] == ["Subject 1", "Subject 2"]


def test_a_cast_larger_than_in_training_is_told() -> None:
    scene = pair("x")
    coat = reference(scene, "coat")
    many = tuple(dataclasses.replace(coat, id=f"c{number}") for number in range(4))
    crowd = tuple(dataclasses.replace(scene.subjects[1], id=f"s{number}") for number in range(3))
    found = too_many(
        dataclasses.replace(scene, subjects=(dataclasses.replace(scene.subjects[0], attributes=many), *crowd))
    )
    assert [finding.target for finding in found] == [None, "one"]
    assert too_many(scene) == ()
