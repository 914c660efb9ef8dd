"""Drafts outlive the page: every step travels once, and what cannot be read is as good as not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.codec import to_json
from engine.errors import InputError
from studio.drafts import MAX_STEPS, DraftBook
from tests.unit.small_scenes import pair

TOKEN = "0123456789abcdef"


def _entry(prompt: str) -> dict[str, Any]:
    return {"scene": to_json(pair(prompt)), "title": "T", "preset": None}


def _message(present: str, past: list[str], future: list[str], **entries: dict[str, Any]) -> dict[str, Any]:
    return {"present": present, "past": past, "future": future, "entries": entries, "settings": {"seed": None}}


@pytest.fixture
def book(tmp_path: Path) -> DraftBook:
    return DraftBook(tmp_path / "drafts")


def test_a_history_is_kept_step_by_step_and_found_again(book: DraftBook, tmp_path: Path) -> None:
    assert book.open(TOKEN) is None
    assert book.keep(TOKEN, _message("a", [], [], a=_entry("one"))) == []
    assert book.keep(TOKEN, _message("b", ["a"], [], b=_entry("two"))) == []
    assert book.keep(TOKEN, _message("a", [], ["b"])) == []
    draft = DraftBook(tmp_path / "drafts").open(TOKEN)
    assert draft is not None
    assert (draft["present"], draft["past"], draft["future"]) == ("a", [], ["b"])
    assert draft["entries"]["b"]["scene"]["prompt"] == "two"
    assert draft["settings"] == {"seed": None}


def test_steps_that_are_gone_are_forgotten_and_missing_ones_asked_for(book: DraftBook) -> None:
    book.keep(TOKEN, _message("a", [], [], a=_entry("one")))
    book.keep(TOKEN, _message("b", [], [], b=_entry("two")))
    draft = book.open(TOKEN)
    assert draft is not None
    assert set(draft["entries"]) == {"b"}
    assert book.keep(TOKEN, _message("c", ["a", "b"], [])) == ["a", "c"]
    assert book.open(TOKEN) == draft  # nothing is written as long as the present scene is unknown
    assert book.keep(TOKEN, _message("c", ["a", "b"], [], c=_entry("three"))) == ["a"]
    kept = book.open(TOKEN)
    assert kept is not None
    assert kept["past"] == ["b"]


def test_a_very_long_history_loses_its_oldest_steps(book: DraftBook) -> None:
    names = [f"n{number}" for number in range(MAX_STEPS + 50)]
    entries = {name: _entry(name) for name in [*names, "now"]}
    assert book.keep(TOKEN, _message("now", names, [], **entries)) == []
    draft = book.open(TOKEN)
    assert draft is not None
    assert draft["past"] == names[50:]
    assert len(draft["entries"]) == MAX_STEPS + 1


@pytest.mark.parametrize("token", ["", "../../etc/passwd", "0123", "G" * 16, "a" * 65])
def test_a_draft_lies_nowhere_but_in_its_folder(book: DraftBook, token: str) -> None:
    with pytest.raises(InputError, match="reload"):
        book.keep(token, _message("a", [], [], a=_entry("one")))
    with pytest.raises(InputError, match="reload"):
        book.open(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"present": 3}, {"present": "x y"}, {"past": None}, {"past": [1]}, {"future": "a"},
        {"entries": {"a": None}}, {"entries": {"a": {"scene": {}, "title": "x", "preset": None}}},
        {"entries": {"A B": None}}, {"entries": {"a": {**_entry("x"), "title": 3}}},
    ],
)  # fmt: skip
def test_what_is_no_draft_is_refused(book: DraftBook, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        book.keep(TOKEN, {**_message("a", [], [], a=_entry("one")), **changes})
    assert book.open(TOKEN) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"present": "a"}', "null", "[" * 100_000])
def test_a_damaged_file_is_no_draft_and_is_written_anew(book: DraftBook, tmp_path: Path, content: str) -> None:
    path = tmp_path / "drafts" / f"{TOKEN}.json"
    path.parent.mkdir()
    path.write_text(content)
    assert book.open(TOKEN) is None
    assert book.keep(TOKEN, _message("a", [], [], a=_entry("one"))) == []
    assert json.loads(path.read_text())["present"] == "a"


def test_odd_settings_are_left_out(book: DraftBook) -> None:
    book.keep(TOKEN, {**_message("a", [], [], a=_entry("one")), "settings": {"seed": ["x"]}})
    draft = book.open(TOKEN)
    assert draft is not None
    assert draft["settings"] is None


def test_settings_with_loras_are_kept(book: DraftBook) -> None:
    lora = {"name": "ink", "digest": "0" * 64, "strength": 0.8}
    for settings, kept in (
        ({"steps": 3, "loras": [lora]}, True),
        ({"loras": []}, True),
        ({"loras": [lora] * 5}, False),
        ({"loras": [[lora]]}, False),
        ({"loras": [{**lora, "more": [lora]}]}, False),
    ):
        book.keep(TOKEN, {**_message("a", [], [], a=_entry("one")), "settings": settings})
        draft = book.open(TOKEN)
        assert draft is not None
        assert draft["settings"] == (settings if kept else None)


def test_old_pages_make_room_for_new_ones(book: DraftBook, tmp_path: Path) -> None:
    for number in range(65):
        book.keep(f"{number:016x}", _message("a", [], [], a=_entry("one")))
    assert len(list((tmp_path / "drafts").glob("*.json"))) == 60
    assert book.open(f"{64:016x}") is not None
