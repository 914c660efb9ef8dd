"""Which words mean which picture: found, bound, let go, and never by accident."""

from __future__ import annotations

import pytest

from engine.errors import InputError
from engine.scene import Reference, Role, Scene
from studio.places import bind_words, places, proposed, splice, toggle_words, unbind_words
from tests.unit.small_scenes import at, pair, reference, words_of


@pytest.mark.parametrize(
    ("prompt", "label", "found"),
    [
        ("A man and a woman", "man", ["man"]),
        ("A woman", "man", []),
        ("a man, a man", "man", ["man", "man"]),
        ("一个男人穿着红色外套。", "红色外套", ["红色外套"]),
        ("一个man穿着coat", "man", ["man"]),
        ("tom &amp; jerry run", "tom & jerry", ["tom &amp; jerry"]),
        ("anything", "", []),
        ("a man-made man", "man", ["man", "man"]),
    ],
)
def test_labels_are_found_as_whole_words(prompt: str, label: str, found: list[str]) -> None:
    assert [prompt[start:end] for start, end in proposed(prompt, label)] == found


def test_bound_words_are_added_to_those_that_mean_it_already() -> None:
    scene = pair("A man in a red coat and a woman in a green dress. He waves.")
    bound = bind_words(scene, "man", *at(scene, "He"))
    assert words_of(bound, "man") == ["man", "He"]
    assert words_of(bound, "woman") == ["woman"]


def test_words_move_from_one_person_to_another() -> None:
    scene = pair("A man in a red coat and a woman in a green dress.")
    moved = bind_words(scene, "woman", *at(scene, "man"))
    assert words_of(moved, "woman") == ["man", "woman"]
    assert words_of(moved, "man") == []
    assert "man" in moved.unbound


def test_of_a_shared_noun_only_the_marked_one_is_bound() -> None:
    scene = pair("A man in a red coat and a tall man in a green dress.", woman="man")
    bound = bind_words(scene, "woman", *at(scene, "tall man"))
    assert words_of(bound, "woman") == ["tall man"]
    assert words_of(bound, "man") == ["man"]
    assert bound.spans_of("man")[0].start == 2


def test_letting_the_proposed_words_go_and_binding_them_again_leaves_no_trace() -> None:
    scene = pair("A man in a red coat and a woman in a green dress.")
    free = unbind_words(scene, "coat", *at(scene, "red coat"))
    assert free.unbound == ("coat",)
    assert bind_words(free, "coat", *at(scene, "red coat")) == scene


def test_one_of_two_occurrences_is_let_go() -> None:
    scene = pair("A man and the man and a woman.")
    start, end = at(scene, "the man")
    free = unbind_words(scene, "man", start + 4, end)
    assert [(span.start, span.end) for span in free.spans_of("man")] == [at(scene, "man")]


def test_a_key_binds_and_the_same_key_lets_go() -> None:
    scene = pair("A man in a warm thing and a woman in a green dress.")
    start, end = at(scene, "green dress")
    free = toggle_words(scene, "two", start, end)
    assert isinstance(free, Scene)
    assert words_of(free, "dress") == []
    again = toggle_words(free, "two", start, end)
    assert isinstance(again, Scene)
    assert words_of(again, "dress") == ["green dress"]


def test_a_wider_marking_widens_and_an_unclear_one_asks() -> None:
    scene = pair("A man in a long red coat and a woman in a green dress.")
    wider = toggle_words(scene, "one", *at(scene, "long red coat"))
    assert isinstance(wider, Scene)
    assert words_of(wider, "coat") == ["long red coat"]
    asked = toggle_words(scene, "one", *at(scene, "and a"))
    assert not isinstance(asked, Scene)
    assert [one.id for one in asked] == ["man", "coat"]


@pytest.mark.parametrize(("owner", "start", "end"), [("one", 1, 2), ("nobody", 0, 5), ("one", 90, 99), ("one", 5, 2)])
def test_what_cannot_be_bound_is_told(owner: str, start: int, end: int) -> None:
    with pytest.raises(InputError, match=r"Mark some words|no longer there"):
        toggle_words(pair("A man in a red coat."), owner, start, end)


def test_splicing_keeps_the_words_of_every_binding_outside() -> None:
    scene = pair("A man in a red coat and a woman in a green dress.")
    scene = bind_words(scene, "man", *at(scene, "and a"))
    spliced = splice(scene, 0, 1, "Early today, a tall")
    assert words_of(spliced, "man") == ["man", "and a"]
    assert words_of(splice(scene, *at(scene, "and"), "or"), "man") == ["man"]


def test_references_without_label_mean_nothing() -> None:
    nameless = Reference(id="x", role=Role.object, label=" ", image="0" * 64)
    assert places(pair("A man."), nameless) == []
    assert reference(pair("A man."), "man").label == "man"
